"""What steers agents goes out and comes back; what no result may carry is named."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from paceline.errors import ToolError
from paceline.tools.hygiene import (
    Refusal,
    is_agent_file,
    is_git_name,
    refusals,
    restore,
    strip,
)
from paceline.tools.worktree import Change, work_tree
from tests.rigs.standin.hostile import hostile_files
from tests.tools.children import run

FILE = 0o100644
LINK = 0o120000


def write(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


def tree(root: Path) -> list[str]:
    """All that is there, links and empty directories included, but not `.git`."""
    found = [
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_symlink() or path.exists()
    ]
    return sorted(path for path in found if not path.startswith(".git/") and path != ".git")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".claude", True),
        (".claude/settings.json", True),
        ("deep/in/.Claude/x", True),
        (".MCP.json", True),
        (".env", True),
        (".env.local", True),
        ("opencode.jsonc", True),
        (".github/hooks/x.json", True),
        (".github/copilot-instructions.md", True),
        (".aider.conf.yml", True),
        (".github/workflows/ci.yml", False),
        ("hooks/x.json", False),
        ("claude/settings.json", False),
        ("my.env", False),
        ("AGENTS.md", False),
        ("src/opencode.py", False),
    ],
)
def test_what_steers_agents(path: str, expected: bool) -> None:
    assert is_agent_file(path) is expected


def test_an_agent_may_have_files_of_its_own() -> None:
    assert is_agent_file("a/.mine/x", [".mine"])
    assert not is_agent_file("a/.mine/x")


@pytest.mark.parametrize(
    "name", [".git", ".GIT", ".git.", ".git ", "git~1", ".git::$INDEX", ".g\u200cit", "\ufeff.git"]
)
def test_names_that_some_file_system_takes_for_git(name: str) -> None:
    assert is_git_name(name)


@pytest.mark.parametrize("name", [".gitignore", "git", ".github", "digit~1"])
def test_names_that_none_does(name: str) -> None:
    assert not is_git_name(name)


def test_out_and_back(tmp_path: Path) -> None:
    root, keep = tmp_path / "work", tmp_path / "keep"
    write(
        root, ".claude/a/b.json", ".github/hooks/h.json", ".github/ci.yml", "src/.env", "src/x.py"
    )
    before = {path: (root / path).read_text() for path in tree(root) if (root / path).is_file()}
    taken = strip(root, keep)
    assert taken == (".claude", ".github/hooks", "src/.env")
    assert tree(root) == [".github", ".github/ci.yml", "src", "src/x.py"]
    assert restore(root, keep, taken) == ()
    assert {p: (root / p).read_text() for p in tree(root) if (root / p).is_file()} == before


def test_nothing_of_the_rigs_hostile_repository_stays(tmp_path: Path) -> None:
    root = tmp_path / "work"
    for path, text in hostile_files(tmp_path / "mark", "http://127.0.0.1:1").items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    strip(root, tmp_path / "keep")
    assert tree(root) == [".github"]


def test_links_that_lead_out_go_too(tmp_path: Path) -> None:
    root = tmp_path / "work"
    write(root, "a/x", ".git/config")
    for name, target in (
        ("out", "../elsewhere"),
        ("absolute", str(root / "a")),
        ("git", ".git/config"),
        ("a/up", "../.."),
        ("within", "a/x"),
        ("dangling", "a/none"),
    ):
        (root / name).symlink_to(target)
    (root / "two").symlink_to("out")
    assert strip(root, tmp_path / "keep") == ("a/up", "absolute", "git", "out", "two")
    assert (root / "within").is_symlink()
    assert (root / ".git" / "config").exists()


def test_what_an_agent_put_in_its_place_goes(tmp_path: Path) -> None:
    root, keep = tmp_path / "work", tmp_path / "keep"
    write(root, ".claude/settings.json", ".github/hooks/h.json", "src/.env")
    taken = strip(root, keep)
    write(root, ".claude/evil.json")
    (root / ".github").rmdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / ".github").symlink_to(outside)  # writing back must not follow it
    (root / "src").rmdir()
    (root / "src").write_text("a file now")
    assert restore(root, keep, taken) == (".claude",)
    assert os.listdir(outside) == []
    assert (root / ".github" / "hooks" / "h.json").read_text() == ".github/hooks/h.json"
    assert (root / "src" / ".env").read_text() == "src/.env"
    assert not (root / ".claude" / "evil.json").exists()


def test_what_is_lost_is_said(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="is lost"):
        restore(tmp_path, tmp_path / "keep", [".claude"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (Change("src/x.py", 0, FILE, 10), ""),
        (Change("src/x.py", FILE, 0), ""),
        (Change(".github/workflows/ci.yml", 0, FILE, 10), ""),
        (Change("a/.claude/settings.json", 0, FILE, 10), "steers agents"),
        (Change(".env", FILE, 0), "steers agents"),
        (Change("a/.git/hooks/x", 0, FILE, 10), "git's own data"),
        (Change("GIT~1/config", 0, FILE, 10), "git's own data"),
        (Change("lib", 0, 0o160000), "a repository within"),
        (Change("link", 0, LINK, 5, "../x"), "a link out of the repository"),
        (Change("link", 0, LINK, 5, "/etc/passwd"), "a link out of the repository"),
        (Change("a/link", 0, LINK, 5, "../b"), ""),
        (Change("link", 0, LINK, 5, ".git/config"), "a link out of the repository"),
        (Change("big", 0, FILE, 101), "101 bytes, more than 100"),
    ],
)
def test_what_no_result_may_carry(tmp_path: Path, change: Change, reason: str) -> None:
    found = refusals(tmp_path, [change], file_limit_bytes=100)
    assert [refusal.path for refusal in found] == ([change.path] if reason else [])
    assert not found or reason in found[0].reason


def test_too_much_altogether(tmp_path: Path) -> None:
    changes = [Change(f"f{number}", 0, FILE, 40) for number in range(3)]
    assert refusals(tmp_path, changes, total_limit_bytes=100, files_limit=2) == (
        Refusal("", "3 files were changed, more than 2"),
        Refusal("", "the changed files have 120 bytes, over 100"),
    )


# --- what has changed ---


def git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=x", "-c", "user.email=x@localhost")
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


async def look(root: Path, change: str) -> tuple[Change, ...]:
    """What git says of the work tree after a shell line has changed it."""
    async with work_tree(root) as files:
        before = await files.state()
        await asyncio.to_thread(
            subprocess.run, ["/bin/sh", "-c", change], cwd=root, check=True, capture_output=True
        )
        return await files.changes(before, await files.state())


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    root.mkdir()
    git(root, "init", "-q")
    write(root, "a", "dir/b")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "base")
    return root


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("true", ()),
        ("touch a", ()),
        ("printf new > 'with space'", (Change("with space", 0, FILE, 3),)),
        ("printf other > a; rm dir/b", (Change("a", FILE, FILE, 5), Change("dir/b", FILE, 0))),
        ("ln -s ../out link", (Change("link", 0, LINK, 6, "../out"),)),
        ("chmod +x a", (Change("a", FILE, 0o100755, 1),)),
        ("printf x > \"$(printf 'new\\nline')\"", (Change("new\nline", 0, FILE, 1),)),
        ("git -c user.name=x -c user.email=x@y commit -q --allow-empty -m x", ()),
    ],
)
def test_changes(repository: Path, change: str, expected: tuple[Change, ...]) -> None:
    assert run(look(repository, change)) == expected


def test_a_repository_within(repository: Path) -> None:
    inner = "git init -q sub && cd sub && git -c user.name=x -c user.email=x@y commit -q "
    [change] = run(look(repository, inner + "--allow-empty -m x"))
    assert change.path == "sub"
    assert change.is_repository


def test_nothing_that_an_agent_configured_runs_or_hides(repository: Path, tmp_path: Path) -> None:
    """Filters, monitors and hooks in `.git/config`; files that its index hides."""
    evil = tmp_path / "evil"
    change = f"""
        git update-index --assume-unchanged a
        git config core.fsmonitor 'touch {evil}-monitor; false'
        git config core.hooksPath {tmp_path}/hooks
        git config filter.x.clean 'touch {evil}-filter; cat'
        git config filter.x.process 'touch {evil}-process'
        git config diff.external 'touch {evil}-diff'
        echo '* filter=x' > .git/info/attributes
        echo '* filter=x diff=x' > .gitattributes
        printf hidden > a
    """
    found = run(look(repository, change))
    assert [each.path for each in found] == [".gitattributes", "a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["work"]


def test_any_directory_can_be_looked_at(tmp_path: Path) -> None:
    root = tmp_path / "plain"
    write(root, "a")
    assert [change.path for change in run(look(root, "echo x > b"))] == ["b"]


def test_known_content_is_not_stored_again(repository: Path) -> None:
    async def objects() -> int:
        async with work_tree(repository) as files:
            await files.state()
            scratch = Path(files._scratch) / "repository" / "objects"
            return sum(1 for path in scratch.rglob("*") if len(path.name) == 38)

    assert run(objects()) <= 2, "at most the trees"
