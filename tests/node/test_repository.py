"""Real repositories, real bundles, real git."""

import asyncio
import os
import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from paceline.errors import CorruptStorage, InputError, Unavailable
from paceline.node.blobs import BlobStore
from paceline.node.pinning import Dirty
from paceline.node.remotes import Remotes
from paceline.node.repository import Repositories
from paceline.node.sourcing import Sources
from paceline.tasks.draft import RepositoryDraft
from paceline.tasks.model import Repository
from tests.node.desks import MIB, commit, git, make_repository
from tests.tools.children import run


class Node:
    """A blob store and the repositories of a node; chunks come from `others`."""

    def __init__(self, directory: Path, node_id: str, *others: "Node") -> None:
        self.blobs = BlobStore(
            directory=directory / node_id / "blobs",
            node_id=node_id,
            budget_bytes=100 * MIB,
            read_chunk=self._read_chunk,
        )
        self.repositories = Repositories(directory=directory / node_id / "cache", blobs=self.blobs)
        self._others = {other.blobs._node_id: other for other in others}
        self.asked = 0

    async def _read_chunk(self, node_id: str, sha256: str, offset: int, limit: int) -> bytes:
        self.asked += 1
        if node_id not in self._others:
            raise Unavailable(f"{node_id} is away")
        return await self._others[node_id].blobs.read(sha256, offset, limit)


def read(cache: Path, commit_id: str, name: str) -> str:
    return git(cache, "show", f"{commit_id}:{name}")


def pin(node: Node, path: Path, ref: str = "HEAD") -> Repository:
    return run(node.repositories.pin(path, ref))[0]


def test_a_commit_travels_with_its_history(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", {"a.txt": "one"})
    first = git(source, "rev-parse", "HEAD")
    second = commit(source, {"a.txt": "two"})
    here = Node(tmp_path, "here")
    there = Node(tmp_path, "there", here)
    pinned = pin(here, source)
    assert (pinned.source, pinned.ref, pinned.commit) == (str(source), "HEAD", second)
    assert pinned.bundle.holders == ("here",)
    cache = run(there.repositories.ensure(pinned))
    assert read(cache, second, "a.txt") == "two"
    assert read(cache, first, "a.txt") == "one"
    assert git(cache, "fsck", "--full", "--strict", "--no-dangling") == ""
    assert there.repositories.commits == (second,)
    there._others.clear()
    assert run(there.repositories.ensure(pinned)) == cache, "it is here now"


def test_what_a_ref_may_be(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", {"a": "1"})
    first = git(source, "rev-parse", "HEAD")
    git(source, "tag", "-a", "v1", "-m", "tag")
    git(source, "branch", "side")
    second = commit(source, {"a": "2"})
    (source / "below").mkdir()
    node = Node(tmp_path, "here")
    expected = {"v1": first, "side": first, first[:8]: first, "HEAD~1": first, "main": second}
    for ref, commit_id in expected.items():
        assert pin(node, source, ref).commit == commit_id
    assert pin(node, source / "below").commit == second
    git(tmp_path, "clone", "-q", "--bare", str(source), "bare.git")
    assert pin(node, tmp_path / "bare.git", "side").commit == first


def test_a_pin_changes_nothing_in_the_repository(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", {"a": "1"})

    def state() -> dict[str, bytes]:
        files = (file for file in source.rglob("*") if file.is_file())
        return {str(file): file.read_bytes() for file in files}

    before = state()
    pin(Node(tmp_path, "here"), source)
    assert state() == before


def test_a_second_pin_of_a_commit_makes_no_second_bundle(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", {"a": "1"})
    node = Node(tmp_path, "here")
    first = pin(node, source)
    file = node.blobs.path(first.bundle.sha256)
    written = file.stat().st_mtime_ns
    assert pin(node, source, "main").bundle == first.bundle
    assert file.stat().st_mtime_ns == written
    run(node.blobs.collect([], young_s=0))
    assert node.blobs.has(pin(node, source).bundle.sha256), "unless it was collected"


# --- notes and refusals ---


def test_what_does_not_travel_is_said(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", {"a": "1"})
    node = Node(tmp_path, "here")
    assert run(node.repositories.pin(source))[1] == ()
    commit(
        source,
        {
            ".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = /x\n',
            "deep/.gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
        },
    )
    (source / "new file").write_text("not committed")
    pinned, notes = run(node.repositories.pin(source))
    assert [note.split(":")[0] for note in notes] == [
        "there are changes that are not committed",
        "submodules do not travel",
        "Git LFS files do not travel",
    ]
    files = git(
        run(node.repositories.ensure(pinned)), "ls-tree", "-r", "--name-only", pinned.commit
    )
    assert "new file" not in files


def test_no_such_thing(tmp_path: Path) -> None:
    node = Node(tmp_path, "here")
    source = make_repository(tmp_path / "source", {"a": "1"})
    (tmp_path / "plain").mkdir()
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    for path, ref, words in (
        (tmp_path / "absent", "HEAD", "not a directory"),
        (source / "a", "HEAD", "not a directory"),
        (tmp_path / "plain", "HEAD", "not a git repository"),
        (tmp_path / "empty", "HEAD", "no commits yet"),
        (source, "absent", "no branch, tag or commit 'absent'"),
        (source, "--help", "no branch, tag or commit"),
        (source, "HEAD:a", "no branch, tag or commit"),
        (source, "HEAD --all", "no branch, tag or commit"),
    ):
        with pytest.raises(InputError, match=words):
            pin(node, path, ref)


def test_a_history_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", {"a": "1"})
    commit(source, {"a": "2"})
    git(source, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{source}", "shallow")
    git(tmp_path, "clone", "-q", "--filter=blob:none", f"file://{source}", "partial")
    node = Node(tmp_path, "here")
    with pytest.raises(InputError, match="shallow clone"):
        pin(node, tmp_path / "shallow")
    with pytest.raises(InputError, match="partial clone"):
        pin(node, tmp_path / "partial")


def test_nothing_that_a_repository_configures_is_run(tmp_path: Path) -> None:
    """Hooks, a monitor and a credential helper that leave a trace."""
    source = make_repository(tmp_path / "source", {"a": "1"})
    trace = tmp_path / "trace"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho $0 >> {trace}\n")
    program.chmod(0o755)
    git(source, "config", "core.fsmonitor", str(program))
    git(source, "config", "credential.helper", str(program))
    (source / ".git" / "hooks").mkdir(exist_ok=True)
    for hook in ("post-checkout", "reference-transaction", "pre-auto-gc", "post-index-change"):
        (source / ".git" / "hooks" / hook).symlink_to(program)
    (source / "a").write_text("changed")
    git_status = git(source, "status", "--porcelain")
    assert git_status
    assert trace.exists(), "the monitor would run"
    trace.unlink()
    pin(Node(tmp_path, "here"), source)
    assert not trace.exists()


# --- caches ---


def test_one_repository_has_one_cache_whatever_it_is_called(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", {"a": "1"})
    git(tmp_path, "clone", "-q", str(source), "renamed")
    commit(tmp_path / "renamed", {"b": "2"})
    other = make_repository(tmp_path / "other", {"a": "1"}, message="another root")
    node = Node(tmp_path, "here")
    caches = [
        run(node.repositories.ensure(pin(node, path))) for path in (source, tmp_path / "renamed")
    ]
    assert caches[0] == caches[1]
    assert run(node.repositories.ensure(pin(node, other))) != caches[0]
    assert len(node.repositories.commits) == 3


def test_many_ask_at_once(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", {"a": random.Random(1).randbytes(MIB).hex()})
    here = Node(tmp_path, "here")
    pinned = [pin(here, source)]
    for number in range(3):
        commit(source, {"a": str(number)})
        pinned.append(pin(here, source))
    there = Node(tmp_path, "there", here)

    async def test() -> None:
        asked = [there.repositories.ensure(each) for each in pinned * 4]
        assert len(set(await asyncio.gather(*asked))) == 1

    run(test())
    assert set(there.repositories.commits) == {each.commit for each in pinned}
    assert (
        git(next((tmp_path / "there" / "cache").glob("*.git")), "fsck", "--full", "--no-dangling")
        == ""
    )


def test_a_cache_that_lost_its_objects_is_filled_again(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", {"a": "1"})
    node = Node(tmp_path, "here")
    pinned = pin(node, source)
    cache = run(node.repositories.ensure(pinned))
    for file in (cache / "objects" / "pack").iterdir():
        file.unlink()
    assert read(run(node.repositories.ensure(pinned)), pinned.commit, "a") == "1"


def test_what_a_killed_process_left_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "here" / "cache" / "pin-abc" / "objects").mkdir(parents=True)
    Node(tmp_path, "here")
    assert [file.name for file in (tmp_path / "here" / "cache").iterdir()] == ["commits"]


def test_a_bundle_of_something_else_is_refused(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", {"a": "1"})
    node = Node(tmp_path, "here")
    first = pin(node, source)
    commit(source, {"a": "2"})
    second = pin(node, source)
    garbage = run(node.blobs.put(b"no bundle"))
    foreign = tmp_path / "foreign.bundle"
    git(source, "bundle", "create", "-q", str(foreign), "main")
    for bundle in (first.bundle, garbage, run(node.blobs.put_file(foreign))):
        with pytest.raises(CorruptStorage):
            run(node.repositories.ensure(replace(second, bundle=bundle)))
    with pytest.raises(CorruptStorage, match="name of a commit"):
        run(node.repositories.ensure(replace(second, commit="../../x")))
    assert node.repositories.commits == ()


def test_a_bundle_cut_short_is_refused_and_its_commit_not_marked(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", {"a": random.Random(1).randbytes(MIB).hex()})
    node = Node(tmp_path, "here")
    pinned = pin(node, source)
    data = node.blobs.path(pinned.bundle.sha256).read_bytes()
    cut = run(node.blobs.put(data[: len(data) // 2]))
    with pytest.raises(CorruptStorage, match="broken"):
        run(node.repositories.ensure(replace(pinned, bundle=cut)))
    assert node.repositories.commits == ()
    run(node.repositories.ensure(pinned))


def test_collecting_keeps_repositories_with_live_commits(tmp_path: Path) -> None:
    node = Node(tmp_path, "here")
    source = make_repository(tmp_path / "source", {"a": "1"})
    old = pin(node, source)
    commit(source, {"a": "2"})
    live = pin(node, source)
    dead = pin(node, make_repository(tmp_path / "other", {"b": "1"}, message="other root"))
    caches = [run(node.repositories.ensure(each)) for each in (old, live, dead)]
    assert run(node.repositories.collect({live.commit})) == 1
    assert [os.path.exists(cache) for cache in caches] == [True, True, False]
    assert set(node.repositories.commits) == {old.commit, live.commit}
    run(node.repositories.ensure(dead))


# --- what is not committed ---


def test_uncommitted_work_is_refused_taken_or_left(tmp_path: Path) -> None:
    files = {"a": "1", "sub/b": "1", ".gitignore": "out\n", "gone": "1"}
    source = make_repository(tmp_path / "source", files)
    head = git(source, "rev-parse", "HEAD")
    node = Node(tmp_path, "here")
    pin_as = partial(node.repositories.pin, source)
    (source / "new").write_text("untracked")
    assert run(pin_as(dirty=Dirty.REFUSE))[0].commit == head, "untracked files are no reason"
    (source / "a").write_text("2")
    (source / "gone").unlink()
    (source / "out").write_text("ignored")
    (source / ".env").write_text("KEY=secret")
    git(source, "add", "a")
    before = git(source, "status", "--porcelain")
    with pytest.raises(InputError, match=r"not committed \(a, gone\): .*--include-dirty"):
        run(pin_as(dirty=Dirty.REFUSE))
    assert run(pin_as("main", dirty=Dirty.REFUSE))[0].commit == head, "named, it is meant so"
    pinned, notes = run(pin_as(dirty=Dirty.INCLUDE))
    assert notes == ()
    cache = run(node.repositories.ensure(pinned))
    changed = git(cache, "diff", "--name-status", head, pinned.commit)
    assert changed.split("\n") == ["M\ta", "D\tgone", "A\tnew"]
    assert git(cache, "log", "-1", "--format=%an %s", pinned.commit) == (
        "Paceline Work that was not committed yet"
    )
    assert git(source, "status", "--porcelain") == before, "nothing is touched"
    assert git(source, "rev-parse", "HEAD") == head
    git(source, "stash", "-q", "-u")
    assert run(pin_as(dirty=Dirty.INCLUDE))[0].commit == head, "nothing to be taken"


def test_a_folder_must_be_there(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", {"a": "1", "sub/b": "1"})
    node = Node(tmp_path, "here")
    assert run(node.repositories.pin(source, folder="sub"))[0].folder == "sub"
    for folder in ("none", "a", "sub/b"):
        with pytest.raises(InputError, match="no folder"):
            run(node.repositories.pin(source, folder=folder))


# --- by a URL ---


def sources(node: Node, tmp_path: Path) -> Sources:
    remotes = Remotes(tmp_path / "remotes")
    return Sources(repositories=node.repositories, remotes=remotes)


def test_a_url_is_fetched_again_each_time(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", {"a": "1", "sub/b": "1"})
    node = Node(tmp_path, "here")
    ways = sources(node, tmp_path)
    draft = RepositoryDraft(f"file://{source}", folder="./sub/")
    first, _ = run(ways.pin(draft, directory="", dirty="refuse"))
    assert (first.source, first.folder) == (f"file://{source}", "sub")
    second = commit(source, {"a": "2"})
    git(source, "branch", "side")
    assert run(ways.pin(draft, directory="", dirty="refuse"))[0].commit == second
    side = replace(draft, ref="side")
    assert run(ways.pin(side, directory="", dirty="refuse"))[0].commit == second
    mirrors = list((tmp_path / "remotes").iterdir())
    assert len(mirrors) == 1
    os.utime(mirrors[0], (0, 0))
    assert Remotes(tmp_path / "remotes").collect() == 1
    assert not mirrors[0].exists()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("ext::sh -c 'touch /tmp/x'", "must be absolute"),
        ("ext://sh", "is no URL"),
        ("file:///nowhere/at/all", "cannot be fetched"),
        ("https://me:secret@127.0.0.1:1/x.git", "cannot be fetched"),
        ("relative", "must be absolute"),
    ],
)
def test_urls_that_cannot_be_used(tmp_path: Path, path: str, words: str) -> None:
    ways = sources(Node(tmp_path, "here"), tmp_path)
    with pytest.raises(InputError, match=words) as told:
        run(ways.pin(RepositoryDraft(path), directory="", dirty="refuse"))
    assert "secret" not in str(told.value)
    assert list((tmp_path / "remotes").iterdir()) == []


@pytest.mark.parametrize("folder", ["../x", "/etc", "a/../../x"])
def test_a_folder_stays_in_the_repository(tmp_path: Path, folder: str) -> None:
    source = make_repository(tmp_path / "source", {"a": "1"})
    ways = sources(Node(tmp_path, "here"), tmp_path)
    with pytest.raises(InputError, match="within the repository"):
        run(ways.pin(RepositoryDraft(str(source), folder=folder), directory="", dirty="leave"))
