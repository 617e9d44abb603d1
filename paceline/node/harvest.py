"""What an attempt did to the repository, taken out of its work tree as commits that may travel.

An agent is not trusted, and it may have written to the work tree's own `.git`: git is not run
there. The files are looked at from a scratch repository (`tools.worktree`), which borrows the
objects. So:

1. what was taken out of the tree before (`tools.hygiene`) is put back, whatever now stands there;
2. what no result may carry is refused, and with it the attempt: a person must see it;
3. what the agent committed itself is kept, if it builds on where it began and carries nothing that
   is refused; what is left beyond that is committed by the node;
4. all commits since the task's base become one bundle, a blob with a copy on another node.
"""

import asyncio
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paceline.errors import PacelineError, ToolError
from paceline.node.collection import replicated
from paceline.node.desk import Desk, Work
from paceline.node.git import object_format, signature
from paceline.node.logs import LogWriter
from paceline.tasks.model import RepositoryChange, ResultStatus
from paceline.tools.contract import BaseTool
from paceline.tools.hygiene import Refusal, is_agent_file, is_git_name, refusals, restore
from paceline.tools.worktree import Change, WorkTree, raw_rows, work_tree

BUNDLE_LIMIT_BYTES = 1024 * 1024 * 1024
COMMITS_LIMIT = 1_000
"""More commits of an agent's own are made one."""

TOLD = 10
"""A refusal names at most so many paths."""

READ_BYTES = 1024 * 1024
REF_LIMIT_BYTES = 64 * 1024
ABSENT = "000000"
MARKS = (b"<<<<<<< ", b">>>>>>> ")
MARKS_READ_BYTES = 16 * 1024 * 1024

_NO_COMMIT = "does not have a commit checked out"
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@dataclass(frozen=True, slots=True)
class Start:
    """Where an attempt began in its repository.

    `index` is git's index of the untouched checkout, `kept` where the files in `taken` were put.
    `conflicts` are files that it was to resolve, in a merge of `parents`. `prepared` is what the
    repository's setup left: paths, each with mode and object, as they then were.
    """

    cache: Path
    base: str
    commit: str
    index: Path
    kept: Path
    taken: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    prepared: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    resolved: bool = False
    """It began with a merge that a person decided: what builds on it must have that, too."""


class Unfit(PacelineError):
    """What an attempt left cannot be taken; `status` is what it comes to, the words say why."""

    def __init__(self, status: ResultStatus, words: str) -> None:
        super().__init__(words)
        self.status = status


async def harvest(
    start: Start, work: Work, desk: Desk, tool: BaseTool, log: LogWriter
) -> RepositoryChange | None:
    """Answer what the attempt changed, or None if nothing. Nothing of it runs any more.

    Raise Unfit for what may not be taken; ToolError, TimedOut, StorageFull.
    """
    place = desk.place_of(work)
    root = place / "workspace"
    if not _is_real_directory(root):
        raise Unfit(ResultStatus.DENIED, "its work tree is not there any more")
    for path in await asyncio.to_thread(restore, root, start.kept, start.taken):
        log.write(
            "node", f"what was put in its place is gone, the repository's own is back: {path}"
        )
    own = await asyncio.to_thread(_release_objects, root)
    async with work_tree(
        root,
        within=place,
        index=start.index,
        borrowed=[start.cache / "objects", *own],
        object_format=object_format(start.commit),
    ) as tree:
        reaping = _Reaping(start=start, work=work, desk=desk, tree=tree, root=root, log=log)
        commit = await reaping.commit(tool)
        return await reaping.change(commit, place / "bundle") if commit else None


@dataclass(frozen=True, slots=True)
class Entry:
    """One path in two states: mode and object, as git writes them."""

    before: tuple[str, str]
    after: tuple[str, str]


async def entries(tree: WorkTree, before: str, after: str) -> dict[str, Entry]:
    """Answer what is different between two states, by path."""
    asked = ("diff-tree", "-r", "-z", "--raw", "--no-renames", "--full-index", before, after)
    fields = "\n".join(await tree.git(*asked)).split("\0")
    found = {}
    for head, path in zip(fields[::2], fields[1::2], strict=False):
        mode, new_mode, name, new_name, _ = head.strip().removeprefix(":").split(" ")
        found[path] = Entry((mode, name), (new_mode, new_name))
    return found


class _Reaping:
    """The steps of one harvest, on one scratch repository."""

    def __init__(
        self, *, start: Start, work: Work, desk: Desk, tree: WorkTree, root: Path, log: LogWriter
    ) -> None:
        self._start = start
        self._work = work
        self._desk = desk
        self._tree = tree
        self._root = root
        self._log = log

    async def commit(self, tool: BaseTool) -> str:
        """Answer the commit that has what was left, or nothing if that is what it began with."""
        start = self._start
        state = await self._without_setup(await self._state())
        changes = await self._tree.changes(start.commit, state)
        if not changes and not start.conflicts:
            return start.commit if start.resolved else ""
        found = await asyncio.to_thread(self._refused, changes, tool)
        if found:
            raise Unfit(ResultStatus.DENIED, _words(found))
        await asyncio.to_thread(self._check_marks)
        head = await self._head(tool)
        if head != start.commit and await self._tree_of(head) == state:
            return head
        parents = start.parents if start.conflicts and head == start.commit else (head,)
        return await self._make_commit(state, parents)

    async def change(self, commit: str, bundle: Path) -> RepositoryChange:
        """Answer the change that this commit is, its bundle kept and doubled."""
        start = self._start
        head = f"refs/paceline/{start.cache.stem}/{commit}"
        await self._tree.git("update-ref", head, commit)
        files, insertions, deletions = await self._count(commit)
        create = ("bundle", "create", "--quiet", str(bundle), head, f"^{start.base}")
        await self._tree.git(*create)
        size = (await asyncio.to_thread(bundle.stat)).st_size
        if size > BUNDLE_LIMIT_BYTES:
            words = f"the changes have {size} bytes; at most {BUNDLE_LIMIT_BYTES} are taken back"
            raise Unfit(ResultStatus.DENIED, words)
        blobs = self._desk.blobs
        ref = await replicated(await blobs.put_file(bundle), blobs)
        self._log.write(
            "node", f"changed {files} files, +{insertions} -{deletions}, commit {commit}"
        )
        if len(ref.holders) < 2:
            self._log.write("node", "only this node has these changes so far: no other took a copy")
        return RepositoryChange(start.base, start.commit, commit, ref, files, insertions, deletions)

    async def _state(self) -> str:
        try:
            return await self._tree.state()
        except ToolError as error:
            if _NO_COMMIT in str(error):  # a repository without commits cannot even be looked at
                raise Unfit(
                    ResultStatus.DENIED, f"a repository within the repository: {error}"
                ) from error
            raise

    async def _without_setup(self, state: str) -> str:
        """Answer the state without what the setup left and nobody has changed since."""
        prepared = self._start.prepared
        if not prepared:
            return state
        now = await entries(self._tree, self._start.commit, state)
        for path, left in prepared.items():
            if path in now and now[path].after == left:
                await self._put_back(path, now[path].before)
        return (await self._tree.git("write-tree"))[0]

    async def _put_back(self, path: str, before: tuple[str, str]) -> None:
        mode, name = before
        if mode == ABSENT:
            await self._tree.git("update-index", "--force-remove", "--", path)
        else:
            await self._tree.git("update-index", "--add", "--cacheinfo", f"{mode},{name},{path}")

    # --- what may be taken ------------------------------------------------------------------------

    def _refused(self, changes: Sequence[Change], tool: BaseTool) -> list[Refusal]:
        found = list(refusals(self._root, changes, tool.agent_files))
        for change in changes:
            if self._tells_a_secret(change):
                found.append(Refusal(change.path, "it has a secret of this node in it"))
            there = not change.mode or os.path.lexists(self._root / change.path)
            if not there and not change.is_repository:
                found.append(Refusal(change.path, "a name that cannot be read"))
        return found

    def _tells_a_secret(self, change: Change) -> bool:
        """Answer whether a file has a key or token in it that this node keeps to itself."""
        if not change.mode or change.is_link or change.is_repository:
            return False
        redactor, last = self._desk.redactor, b""
        for chunk in _read_chunks(self._root / change.path):
            if redactor.known_in(last + chunk):
                return True
            last = chunk[-redactor.longest_bytes :]
        return False

    def _check_marks(self) -> None:
        """Raise Unfit if a conflict that was to be resolved is still there."""
        marked = [path for path in self._start.conflicts if _has_marks(self._root / path)]
        if marked:
            words = f"the conflict is not resolved: marks are left in {', '.join(marked[:TOLD])}"
            raise Unfit(ResultStatus.FAILED, words)

    # --- the agent's own commits ------------------------------------------------------------------

    async def _head(self, tool: BaseTool) -> str:
        """Answer what the agent committed last, or where it began if that cannot be kept."""
        start = self._start
        head = await asyncio.to_thread(_read_head, self._root / ".git")
        if head in ("", start.commit):
            return start.commit
        try:
            await self._tree.git("merge-base", "--is-ancestor", start.commit, head)
            count = int((await self._tree.git("rev-list", "--count", f"{start.commit}..{head}"))[0])
            clean = count <= COMMITS_LIMIT and await self._is_clean(head, tool)
        except (ToolError, ValueError):
            clean = False
        if clean:
            return head
        self._log.write("node", "what was committed there cannot be kept as it is: made one commit")
        return start.commit

    async def _is_clean(self, head: str, tool: BaseTool) -> bool:
        """Answer whether no commit on the way carries what no result may."""
        asked = ("log", "--format=", "--raw", "-z", "-m", "--no-renames", "--full-index")
        raw = await self._tree.git(*asked, f"{self._start.commit}..{head}")
        return not any(
            stat.S_ISLNK(mode)
            or mode == 0o160000
            or is_agent_file(path, tool.agent_files)
            or any(is_git_name(part) for part in path.split("/"))
            for _, mode, path in raw_rows("\n".join(raw))
        )

    async def _tree_of(self, commit: str) -> str:
        return (await self._tree.git("rev-parse", f"{commit}^{{tree}}"))[0]

    # --- the node's commit ------------------------------------------------------------------------

    async def _make_commit(self, tree: str, parents: Sequence[str]) -> str:
        work = self._work
        words = (
            f"{work.spec.name}: {_first_line(work)}\n\n"
            f"Task: {work.task.task_id}\nSubtask: {work.spec.subtask_id}\nTool: {work.tool}"
        )
        named = [part for parent in parents for part in ("-p", parent)]
        signed = signature(self._desk.clock.now_ms() // 1000)
        made = await self._tree.git("commit-tree", tree, *named, "-m", words, added=signed)
        return made[0]

    async def _count(self, commit: str) -> tuple[int, int, int]:
        """Answer files, lines in, lines out; binary files have no lines."""
        asked = ("diff-tree", "-r", "--numstat", "--no-renames", self._start.commit, commit)
        rows = [line.split("\t", 2) for line in await self._tree.git(*asked)]
        lines = [(_number(row[0]), _number(row[1])) for row in rows if len(row) == 3]
        return len(lines), sum(each[0] for each in lines), sum(each[1] for each in lines)


def _words(found: Sequence[Refusal]) -> str:
    told = [f"{each.path}: {each.reason}" if each.path else each.reason for each in found[:TOLD]]
    more = [f"and {len(found) - TOLD} more"] if len(found) > TOLD else []
    return "\n".join(["what it left may not come back:", *told, *more])


def _first_line(work: Work) -> str:
    words = work.spec.description or work.task.description or work.spec.run
    return words.strip().partition("\n")[0][:100]


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _has_marks(file: Path) -> bool:
    beginning = next(_read_chunks(file, MARKS_READ_BYTES), b"")
    return any(line.startswith(MARKS) for line in beginning.split(b"\n"))


def _read_chunks(file: Path, size: int = READ_BYTES) -> Iterator[bytes]:
    """Read a plain file piece by piece; nothing where it is none. No link is followed."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    with os.fdopen(descriptor, "rb") as source:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            while chunk := source.read(size):
                yield chunk


# --- what an agent may have written to `.git` -----------------------------------------------------


def _release_objects(root: Path) -> list[Path]:
    """Answer the directory with the objects that were written there, if it is one.

    It is read without what it borrows from: an agent could have named another repository's objects.
    """
    objects = root / ".git" / "objects"
    information = objects / "info"
    if not all(map(_is_real_directory, (root / ".git", objects))):
        return []
    if os.path.lexists(information):
        if not _is_real_directory(information):
            return []
        for name in ("alternates", "http-alternates"):
            (information / name).unlink(missing_ok=True)
    return [objects]


def _is_real_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _read_head(git_directory: Path) -> str:
    """Answer the commit that HEAD names, or nothing; read by hand, no link is followed."""
    if not _is_real_directory(git_directory):
        return ""
    head = _read_small(git_directory / "HEAD").strip()
    name = head.removeprefix("ref: ").strip()
    if name == head:
        return head if _COMMIT.fullmatch(head) else ""
    if not name.startswith("refs/heads/") or ".." in name.split("/"):
        return ""
    found = _read_small(git_directory / name).strip() or _packed(git_directory, name)
    return found if _COMMIT.fullmatch(found) else ""


def _packed(git_directory: Path, name: str) -> str:
    for line in _read_small(git_directory / "packed-refs").splitlines():
        commit, _, ref = line.partition(" ")
        if ref == name:
            return commit
    return ""


def _read_small(file: Path) -> str:
    return next(_read_chunks(file, REF_LIMIT_BYTES), b"").decode("utf-8", "replace")
