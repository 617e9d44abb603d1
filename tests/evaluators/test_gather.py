"""The change between a base and a work tree, in real repositories, hostile ones among them."""

import asyncio
import os
from pathlib import Path

import pytest

from paceline.errors import InputError
from paceline.evaluators import gather as gather_module
from paceline.evaluators.change import FILE_LIMIT_BYTES, LINE_LIMIT_BYTES, FileChange, Kind, Status
from paceline.evaluators.gather import Gathered, gather
from tests.evaluators.repositories import commit, git, repository, write


def gathered(path: Path, base: str = "HEAD") -> Gathered:
    return asyncio.run(gather(path, base))


def only(path: Path, base: str = "HEAD") -> FileChange:
    (file,) = gathered(path, base).change.files
    return file


def test_nothing_differs(tmp_path: Path) -> None:
    repo = repository(tmp_path, {"a.py": "x = 1\n"})
    assert gathered(repo).change.files == ()


def test_modified_lines(tmp_path: Path) -> None:
    repo = repository(tmp_path, {"a.py": "1\n2\n3\n4\n"})
    write(repo, {"a.py": "1\ntwo\n3\n4\n5\n"})
    file = only(repo)
    assert (file.status, file.removed) == (Status.MODIFIED, 1)
    assert file.added == {2, 5}
    assert (file.old, file.new) == ("1\n2\n3\n4\n", "1\ntwo\n3\n4\n5\n")


def test_untracked_files_belong_to_it_and_ignored_ones_do_not(tmp_path: Path) -> None:
    repo = repository(tmp_path, {".gitignore": "*.log\n"})
    write(repo, {"new/a.py": "x\ny\n", "b.log": "z\n"})
    file = only(repo)
    assert (file.path, file.status) == ("new/a.py", Status.ADDED)
    assert file.added == {1, 2}


def test_deleted(tmp_path: Path) -> None:
    repo = repository(tmp_path, {"a.py": "1\n2\n"})
    (repo / "a.py").unlink()
    file = only(repo)
    assert (file.status, file.old, file.new, file.removed) == (Status.DELETED, "1\n2\n", None, 2)


def test_renamed_with_a_new_line(tmp_path: Path) -> None:
    text = "".join(f"line {n}\n" for n in range(30))
    repo = repository(tmp_path, {"a.py": text})
    (repo / "a.py").unlink()
    write(repo, {"b.py": text + "more\n"})
    file = only(repo)
    assert (file.path, file.old_path, file.status) == ("b.py", "a.py", Status.RENAMED)
    assert file.added == {31}


def test_an_older_base_and_staged_changes(tmp_path: Path) -> None:
    repo = repository(tmp_path, {"a.py": "1\n"})
    write(repo, {"a.py": "1\n2\n"})
    commit(repo)
    write(repo, {"a.py": "1\n2\n3\n"})
    git(repo, "add", "a.py")
    assert only(repo, "HEAD").added == {3}
    assert only(repo, "HEAD~1").added == {2, 3}


def test_before_the_first_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", ".")
    write(tmp_path, {"a.py": "1\n"})
    assert only(tmp_path).added == {1}


def test_from_a_subdirectory_the_whole_repository(tmp_path: Path) -> None:
    repo = repository(tmp_path, {"sub/a.py": "1\n", "b.py": "1\n"})
    write(repo, {"b.py": "2\n"})
    found = gathered(repo / "sub")
    assert [file.path for file in found.change.files] == ["b.py"]
    assert found.repository == repo.resolve()


def test_a_linked_work_tree(tmp_path: Path) -> None:
    repo = repository(tmp_path / "main", {"a.py": "1\n"})
    git(repo, "worktree", "add", "-q", str(tmp_path / "other"), "-b", "side")
    write(tmp_path / "other", {"a.py": "2\n"})
    assert only(tmp_path / "other").new == "2\n"


def test_content_that_looks_like_a_patch(tmp_path: Path) -> None:
    """A line `++ b/other` is `+++ b/other` in a patch."""
    repo = repository(tmp_path, {"a.txt": "old", "other": "1\n"})
    write(repo, {"a.txt": "++ b/other\n@@ -1,9 +1,9 @@\n++ b/other"})
    file = only(repo)
    assert (file.path, file.removed) == ("a.txt", 1)
    assert file.added == {1, 2, 3}


NAMES = [b"with space.py", "\u00fcber.py".encode(), b"new\nline.py", b'quo"te\\.py', b"\xff\xfe.py",
         b"-rf", b"tab\t.py", b":(exclude)x.py"]  # fmt: skip


def test_weird_names(tmp_path: Path) -> None:
    repo = repository(tmp_path, {"a.py": "1\n"})
    for lines, name in enumerate(NAMES, start=1):
        with open(os.path.join(os.fsencode(repo), name), "wb") as file:
            file.write(b"x\n" * lines)
    found = gathered(repo).change.files
    assert sorted(len(file.added) for file in found) == list(range(1, len(NAMES) + 1))
    assert all(file.path.encode("utf-8") for file in found)  # whatever the bytes were


def test_kinds_are_named_and_not_followed(tmp_path: Path) -> None:
    repo = repository(tmp_path / "r", {"a.py": "1\n"})
    write(repo, {"b.bin": b"a\0b", "large.txt": b"x\n" * FILE_LIMIT_BYTES})
    write(repo, {"packed.js": "a." * LINE_LIMIT_BYTES, "data.json": "1 " * LINE_LIMIT_BYTES})
    (repo / "link").symlink_to("/etc/passwd")
    os.mkfifo(repo / "pipe")
    inner = repository(repo / "inner", {"c.py": "1\n"})
    assert inner.exists()
    files = gathered(repo).change.by_path
    assert {path: file.kind for path, file in files.items()} == {
        "b.bin": Kind.BINARY,
        "large.txt": Kind.TOO_LARGE,
        "link": Kind.SYMLINK,
        "inner": Kind.SUBMODULE,
        "packed.js": Kind.UNREADABLE,
        "data.json": Kind.TEXT,
    }
    assert files["link"].new == "/etc/passwd"
    assert files["b.bin"].new is None


def test_a_file_behind_a_linked_directory_is_not_read(tmp_path: Path) -> None:
    write(tmp_path / "outside", {"secret.py": "key\n"})
    repo = repository(tmp_path / "r", {"d/secret.py": "1\n"})
    (repo / "d" / "secret.py").unlink()
    (repo / "d").rmdir()
    (repo / "d").symlink_to(tmp_path / "outside")
    assert "key" not in repr(gathered(repo).change)


@pytest.mark.parametrize(
    "config",
    [
        '[filter "x"]\n\tclean = touch PWNED\n\tsmudge = touch PWNED\n\trequired = true\n',
        '[diff "x"]\n\ttextconv = touch PWNED;\n\tcommand = touch PWNED\n',
        "[core]\n\tfsmonitor = touch PWNED\n\thooksPath = .\n\tpager = touch PWNED\n",
        "[diff]\n\texternal = touch PWNED\n[core]\n\tsshCommand = touch PWNED\n",
        "[include]\n\tpath = ../evil\n",
    ],
)
def test_nothing_that_a_repository_configures_is_run(tmp_path: Path, config: str) -> None:
    repo = repository(tmp_path / "r", {"a.py": "1\n", ".gitattributes": "* filter=x diff=x\n"})
    proof = tmp_path / "pwned"
    command = config.replace("PWNED", str(proof))
    (repo / "evil").write_text(f"[core]\n\tfsmonitor = touch {proof}\n")
    with (repo / ".git" / "config").open("a") as file:
        file.write(command)
    write(repo, {"a.py": "2\n"})
    assert "a.py" in gathered(repo).change.by_path
    assert not proof.exists()


def test_attributes_and_the_index_hide_nothing(tmp_path: Path) -> None:
    repo = repository(tmp_path, {"a.py": "1\n", "b.py": "1\n", "c.py": "1\n"})
    write(repo, {".gitattributes": "*.py -diff binary\n", "a.py": "2\n", "b.py": "2\n"})
    write(repo, {"c.py": "2\n"})
    git(repo, "update-index", "--assume-unchanged", "b.py")
    git(repo, "update-index", "--skip-worktree", "c.py")
    files = gathered(repo).change.by_path
    assert {files[name].added for name in ("a.py", "b.py", "c.py")} == {frozenset({1})}


def test_the_repository_itself_is_not_touched(tmp_path: Path) -> None:
    repo = repository(tmp_path, {"a.py": "1\n"})
    write(repo, {"a.py": "2\n", "new.py": "1\n"})

    def state() -> dict[str, int]:
        return {str(p): p.stat().st_mtime_ns for p in (repo / ".git").rglob("*")}

    before = state()
    gathered(repo)
    assert state() == before


def test_configuration_is_that_of_the_base(tmp_path: Path) -> None:
    repo = repository(tmp_path, {".paceline/evaluators.toml": "[thresholds]\ncheckpoint = 8\n"})
    write(repo, {".paceline/evaluators.toml": "[evaluators.security]\nenabled = false\n"})
    assert gathered(repo).config == "[thresholds]\ncheckpoint = 8\n"


def test_manifests_are_those_of_the_base(tmp_path: Path) -> None:
    repo = repository(tmp_path, {"package.json": '{"scripts": {"test": "node --test"}}'})
    write(repo, {"package.json": '{"scripts": {"test": "true"}}'})
    assert gathered(repo).manifests == {"package.json": '{"scripts": {"test": "node --test"}}'}


def test_an_unknown_base(tmp_path: Path) -> None:
    repo = repository(tmp_path, {"a.py": "1\n"})
    for base in ("nowhere", "--upload-pack=touch", "HEAD:a.py"):
        with pytest.raises(InputError, match="is no commit of"):
            gathered(repo, base)


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a git repository"):
        gathered(tmp_path)
    with pytest.raises(InputError, match="is not a directory"):
        gathered(tmp_path / "absent")


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather_module, "FILES_LIMIT", 3)
    repo = repository(tmp_path, {"a.py": "1\n"})
    write(repo, {f"n{number}.py": "1\n" for number in range(4)})
    with pytest.raises(InputError, match="at most 3 can be judged"):
        gathered(repo)


def test_what_is_too_much_together_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather_module, "CHANGE_LIMIT_BYTES", 10)
    repo = repository(tmp_path, {"a.py": "1\n"})
    write(repo, {"b.py": "12345678\n", "c.py": "12345678\n"})
    found = gathered(repo).change
    assert [file.kind for file in found.files] == [Kind.TEXT, Kind.TOO_LARGE]
    assert found.notes == ("c.py: too large, not read",)
