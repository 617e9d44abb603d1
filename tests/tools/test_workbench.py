"""The files that a model may work on: what it can do, and what it cannot."""

import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline.tasks.model import PermissionLevel
from paceline.tools.workbench import ANSWER_LIMIT, Done, Workbench
from tests.tools.children import lives, run
from tests.tools.jobs import job

READ, EDIT, RUN = PermissionLevel


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "job").mkdir()
    return tmp_path / "job" / "workspace"


@pytest.fixture
def bench(tmp_path: Path, root: Path) -> Workbench:
    return Workbench(job(tmp_path / "job"), RUN)


def do(bench: Workbench, name: str, **arguments: Any) -> Done:
    return run(bench.do(name, arguments))


def test_write_read_edit_list_search_run(bench: Workbench, root: Path) -> None:
    assert do(bench, "write_file", path="src/a.py", content="one\ntwo\nthree\n").ok
    assert do(bench, "read_file", path="src/a.py").text == "one\ntwo\nthree\n"
    assert do(bench, "read_file", path="src/a.py", first_line=2, lines=1).text == "two\n"
    assert do(bench, "edit_file", path="src/a.py", old="two", new="2").ok
    assert (root / "src" / "a.py").read_text() == "one\n2\nthree\n"
    assert do(bench, "list_files").text == "src/"
    assert do(bench, "list_files", path="src").text == "a.py"
    assert do(bench, "search", text="THREE").text == "src/a.py:3: three"
    assert do(bench, "search", text="three", path="src").text == "src/a.py:3: three"
    assert do(bench, "run_command", command="cat src/a.py; exit 3") == Done(
        "one\n2\nthree\n[exit status 3]", ok=False
    )


def test_a_shorter_text_leaves_nothing_of_a_longer_one(bench: Workbench, root: Path) -> None:
    (root / "a").write_text("long text")
    do(bench, "write_file", path="a", content="x")
    assert (root / "a").read_text() == "x"


@pytest.mark.parametrize(
    ("level", "names"),
    [
        (READ, ["list_files", "read_file", "search"]),
        (EDIT, ["list_files", "read_file", "search", "write_file", "edit_file"]),
        (RUN, ["list_files", "read_file", "search", "write_file", "edit_file", "run_command"]),
    ],
)
def test_each_level_has_its_tools(tmp_path: Path, level: PermissionLevel, names: list[str]) -> None:
    (tmp_path / "job").mkdir()
    bench = Workbench(job(tmp_path / "job"), level)
    assert [schema["function"]["name"] for schema in bench.schemas()] == names
    for name in ("write_file", "run_command"):
        if name not in names:
            done = do(bench, name, path="a", content="x", command="touch a")
            assert done.denied
            assert not (tmp_path / "job" / "workspace" / "a").exists()


@pytest.mark.parametrize(
    "path",
    [
        *("../x", "/etc/passwd", "a/../../x", "..", "a/.."),
        *(".git/config", "sub/.git/hooks/x", ".GIT/config", "git~1/config"),
        *(".claude/settings.json", ".env", "sub/.mcp.json"),
        *("out/x", "out", "away/passwd", "", ".", "a\0b"),
    ],
)
@pytest.mark.parametrize("name", ["read_file", "write_file", "edit_file"])
def test_there_is_no_way_out(
    bench: Workbench, root: Path, tmp_path: Path, path: str, name: str
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_text("secret")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "away").symlink_to("/etc")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("secret")
    done = do(bench, name, path=path, content="evil", old="secret", new="evil")
    assert not done.ok
    assert "secret" not in done.text
    assert (tmp_path / "outside" / "x").read_text() == "secret"
    assert (root / ".git" / "config").read_text() == "secret"
    assert os.listdir(tmp_path / "outside") == ["x"]


def test_a_link_that_comes_in_between_is_not_followed(
    bench: Workbench, root: Path, tmp_path: Path
) -> None:
    """A command of the model swaps a directory for a link, again and again."""
    (tmp_path / "outside").mkdir()
    (root / "d").mkdir()
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            with suppress(OSError):  # the write may have made the directory anew
                os.rename(root / "d", root / "e")
                (root / "d").symlink_to(tmp_path / "outside")
                os.unlink(root / "d")
                os.rename(root / "e", root / "d")
                continue
            shutil.rmtree(root / "e", ignore_errors=True)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        written = 0
        for _ in range(400):
            written += bench_write(bench)
    finally:
        over.set()
        thread.join()
    assert written, "some writes found the directory"
    assert os.listdir(tmp_path / "outside") == []


def bench_write(bench: Workbench) -> bool:
    """Write without an event loop: quick enough to meet the other thread."""
    try:
        bench._write({"path": "d/x", "content": "evil"})
    except OSError:
        return False
    return True


def test_agents_files_are_not_even_seen(bench: Workbench, root: Path) -> None:
    for path in (".git/x", ".claude/x", ".env", "a/.env", "a/b"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("needle")
    assert do(bench, "list_files").text == "a/"
    assert do(bench, "list_files", path="a").text == "b"
    assert do(bench, "search", text="needle").text == "a/b:1: needle"


def test_only_plain_files_are_opened(bench: Workbench, root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert "not a plain file" in do(bench, "read_file", path="pipe").text
    assert not do(bench, "write_file", path="pipe", content="x").ok
    assert do(bench, "search", text="x").text == "[nothing found]"


def test_what_is_not_text(bench: Workbench, root: Path) -> None:
    (root / "a").write_bytes(b"needle\0")
    assert do(bench, "read_file", path="a") == Done("the file is not text", ok=False)
    assert do(bench, "search", text="needle").text == "[nothing found]"


def test_everything_has_a_bound(bench: Workbench, root: Path) -> None:
    (root / "long").write_text("x" * 100 + "\n" * 100_000)
    assert len(do(bench, "read_file", path="long").text) <= ANSWER_LIMIT
    assert "read on with first_line" in do(bench, "read_file", path="long").text
    (root / "huge").write_bytes(b"x" * (5 * 1024 * 1024))
    assert "more than 4194304 bytes" in do(bench, "read_file", path="huge").text
    assert "at most 1048576" in do(bench, "write_file", path="a", content="x" * 1_048_577).text
    for number in range(600):
        (root / f"f{number:03}").write_text("needle")
    assert do(bench, "list_files").text.endswith("[102 more]")
    assert do(bench, "search", text="needle").text.count("\n") == 100
    done = do(bench, "run_command", command="yes | head -n 100000")
    assert done.ok
    assert len(done.text) <= ANSWER_LIMIT


def test_all_writes_of_a_run_have_one_bound(bench: Workbench) -> None:
    text = "x" * 1_048_576
    answers = [do(bench, "write_file", path="a", content=text).ok for _ in range(33)]
    assert answers == [True] * 32 + [False]


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("fly", {}, "there is no tool fly; there are list_files,"),
        ("read_file", {}, "read_file needs path"),
        ("read_file", None, "no JSON object"),
        ("read_file", {"path": 3}, "path must be text"),
        ("read_file", {"path": "a", "lines": "3"}, "lines must be a number"),
        ("read_file", {"path": "none"}, "No such file"),
        ("read_file", {"path": "dir"}, "Is a directory"),
        ("list_files", {"path": "none"}, "No such file"),
        ("edit_file", {"path": "a", "old": "y", "new": ""}, "0 times"),
        ("edit_file", {"path": "a", "old": "x", "new": ""}, "2 times"),
        ("edit_file", {"path": "a", "old": "", "new": "z"}, "0 times"),
        ("write_file", {"path": "a/b", "content": ""}, "Not a directory"),
        ("search", {"text": ""}, "which text"),
    ],
)
def test_every_mistake_is_an_answer(
    bench: Workbench, root: Path, name: str, arguments: Any, words: str
) -> None:
    (root / "dir").mkdir()
    (root / "a").write_text("x x")
    done = run(bench.do(name, arguments))
    assert not done.ok
    assert words in done.text


def test_a_commands_children_are_gone(bench: Workbench, root: Path) -> None:
    do(bench, "run_command", command="setsid sleep 600 & echo $! > pid")
    pid = (root / "pid").read_text().strip()
    assert not lives(int(pid))


PIECES = st.sampled_from(["..", ".", "", "a", "out", ".git", "d", "/", "x" * 300, "é", "\udcff"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(parts=st.lists(PIECES, max_size=6))
def test_any_path_stays_within(
    bench: Workbench, root: Path, tmp_path: Path, parts: list[str]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(exist_ok=True)
    if not (root / "out").is_symlink():
        (root / "out").symlink_to(outside)
        (root / "d").mkdir()
    done = do(bench, "write_file", path="/".join(parts), content="evil")
    assert os.listdir(outside) == []
    assert sorted(os.listdir(tmp_path)) == ["job", "outside"]
    assert done.text
