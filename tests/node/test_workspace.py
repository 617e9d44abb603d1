import asyncio
import contextlib
import threading
from pathlib import Path

from paceline.node.blobs import BlobStore
from paceline.node.repository import Repositories
from paceline.node.workspace import branch_of, checkout, remove_directory
from tests.node.desks import MIB, commit, git, make_repository
from tests.tools.children import run


def cached(directory: Path, source: Path) -> tuple[Path, str]:
    """Pin and cache a repository; answer the cache and the commit."""
    blobs = BlobStore(directory=directory / "blobs", node_id="me", budget_bytes=100 * MIB)
    repositories = Repositories(directory=directory / "cache", blobs=blobs)
    pinned, _ = run(repositories.pin(source))
    return run(repositories.ensure(pinned)), pinned.commit


def test_a_checkout_is_the_commit_on_its_own_branch(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", {"a.txt": "one", "deep/b.txt": "two"})
    cache, commit_id = cached(tmp_path, source)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    branch = branch_of("task-1", "subtask-1", 2)
    run(checkout(cache, commit_id, branch=branch, workspace=workspace))
    assert (workspace / "deep" / "b.txt").read_text() == "two"
    assert git(workspace, "status", "--porcelain") == ""
    assert git(workspace, "branch", "--show-current") == "paceline/task-1/subtask-1/2"
    assert git(workspace, "log", "--format=%H") == commit_id


def test_attempts_share_nothing_that_one_could_change(tmp_path: Path) -> None:
    """What one leaves in its repository's configuration, hooks and refs is its own."""
    cache, commit_id = cached(tmp_path, make_repository(tmp_path / "source", {"a": "1"}))
    one, other = tmp_path / "one", tmp_path / "other"

    async def test() -> None:
        for place in (one, other):
            place.mkdir()
        await asyncio.gather(
            checkout(cache, commit_id, branch="paceline/t/s/1", workspace=one),
            checkout(cache, commit_id, branch="paceline/t/s/1", workspace=other),
        )

    before = {str(file): file.read_bytes() for file in cache.rglob("*") if file.is_file()}
    run(test())
    git(one, "config", "core.fsmonitor", "/bin/false")
    git(one, "tag", "left-here")
    commit(one, {"a": "2"})
    git(one, "gc", "-q", "--prune=now")
    assert git(other, "tag") == ""
    assert "fsmonitor" not in git(other, "config", "--list")
    assert {str(file): file.read_bytes() for file in cache.rglob("*") if file.is_file()} == before
    assert git(other, "log", "--format=%H") == commit_id


def test_hooks_and_filters_of_the_commit_do_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    source = make_repository(
        tmp_path / "source",
        {".gitattributes": "* filter=evil\n", "a": "1", "hooks/post-checkout": f"touch {trace}"},
    )
    cache, commit_id = cached(tmp_path, source)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    run(checkout(cache, commit_id, branch="b", workspace=workspace))
    assert (workspace / "a").read_text() == "1"
    assert not trace.exists()


def test_one_can_commit_there_at_once(tmp_path: Path) -> None:
    """Without a home directory that would say who one is."""
    cache, commit_id = cached(tmp_path, make_repository(tmp_path / "source", {"a": "1"}))
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    run(checkout(cache, commit_id, branch="b", workspace=workspace))
    assert git(workspace, "config", "user.email") == "paceline@localhost"


def test_directories_without_rights_are_removed(tmp_path: Path) -> None:
    """As root this holds anyway; as anybody else the rights must be given first."""
    locked = tmp_path / "attempt" / "cache" / "module"
    locked.mkdir(parents=True)
    (locked / "file").write_text("x")
    locked.chmod(0o500)
    locked.parent.chmod(0o500)
    run(remove_directory(tmp_path / "attempt"))
    assert not (tmp_path / "attempt").exists()


def test_removing_goes_on_while_somebody_still_writes(tmp_path: Path) -> None:
    """A thread of a cancelled attempt makes files for a moment longer."""
    attempt = tmp_path / "attempt"
    attempt.mkdir()
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with contextlib.suppress(OSError):
                (attempt / str(number)).write_bytes(b"")

    async def test() -> None:
        writer = threading.Thread(target=write)
        writer.start()
        removal = asyncio.create_task(remove_directory(attempt))
        await asyncio.sleep(0.02)
        stop.set()
        writer.join()
        await removal

    run(test())
    assert not attempt.exists()


def test_removing_does_not_follow_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    attempt = tmp_path / "attempt"
    attempt.mkdir()
    (attempt / "link").symlink_to(outside)
    run(remove_directory(attempt))
    run(remove_directory(attempt))
    assert (outside / "file").exists()
