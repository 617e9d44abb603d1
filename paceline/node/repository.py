"""The repositories that this node knows: pinned here, or come from others to be worked on.

    cache/KEY.git             a bare repository with all states of one repository that came here
    cache/commits/COMMIT      holds KEY: that commit is complete in that cache

KEY stands for the root commits; it is the same whatever the repository is called and wherever it
lies, and travels in the name of the bundle's one head. Different repositories never share a cache,
since who works on one could read what is in the other. The caches hold objects only, no refs
(nothing is ever pruned in them, so nothing need be held fast); nobody works in them, see
`workspace`.
"""

import asyncio
import re
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path

from paceline.errors import CorruptStorage, ToolError
from paceline.node.blobs import BlobStore
from paceline.node.data_dir import write_atomically
from paceline.node.git import BULK_TIMEOUT_S, GitFailed, git, object_format
from paceline.node.pinning import (
    Dirty,
    inspect,
    notes_on,
    require_committed,
    require_folder,
    resolve,
    with_uncommitted,
    write_bundle,
)
from paceline.tasks.model import BlobRef, Repository, RepositoryChange

KEPT_BUNDLES = 64
"""Of so many recently pinned commits the bundle is not made anew."""

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_HEAD = re.compile(r"([0-9a-f]+) refs/paceline/([0-9a-f]{32})/([0-9a-f]+)")


class Repositories:
    """Repositories of one node. Used by many attempts at once."""

    def __init__(self, *, directory: Path, blobs: BlobStore) -> None:
        self._directory = directory
        self._commits = directory / "commits"
        self._commits.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in (*directory.glob("pin-*"), *directory.glob("new-*")):
            shutil.rmtree(left, ignore_errors=True)  # by a process that was killed
        self._blobs = blobs
        self._bundles: OrderedDict[str, BlobRef] = OrderedDict()
        self._filling: dict[str, asyncio.Lock] = {}

    @property
    def commits(self) -> tuple[str, ...]:
        """Answer which commits are here complete, for the planner."""
        return tuple(sorted(file.name for file in self._commits.iterdir()))

    async def pin(
        self, path: Path, ref: str = "HEAD", *, folder: str = "", dirty: Dirty = Dirty.LEAVE
    ) -> tuple[Repository, tuple[str, ...]]:
        """Answer the repository as a task carries it, and notes for the person who submits.

        Its bundle is in the blob store, and with other nodes if the store replicates. Raise
        InputError, StorageFull.
        """
        objects, bare = await inspect(path)
        commit = await resolve(path, ref)
        if folder:
            await require_folder(path, commit, folder)
        is_head = not bare and ref == "HEAD"
        if is_head and dirty is Dirty.INCLUDE:
            async with with_uncommitted(path, objects, commit) as (made, where):
                bundle = await self._bundle(where, made)
            return Repository(str(path), ref, made, bundle, folder), ()
        if is_head and dirty is Dirty.REFUSE:
            await require_committed(path)
        bundle = await self._bundle(objects, commit)
        notes = await notes_on(path, commit, bare=bare)
        return Repository(str(path), ref, commit, bundle, folder), notes

    async def _bundle(self, objects: Path, commit: str) -> BlobRef:
        bundle = self._bundles.get(commit)
        if bundle is None or not self._blobs.has(bundle.sha256):
            bundle = await self._make_bundle(objects, commit)
        self._remember(commit, bundle)
        return bundle

    async def _make_bundle(self, objects: Path, commit: str) -> BlobRef:
        with tempfile.TemporaryDirectory(dir=self._directory, prefix="pin-") as name:
            file = Path(name) / "bundle"
            await write_bundle(objects, commit, file)
            return await self._blobs.replicate(await self._blobs.put_file(file))

    def _remember(self, commit: str, bundle: BlobRef) -> None:
        self._bundles[commit] = bundle
        self._bundles.move_to_end(commit)
        while len(self._bundles) > KEPT_BUNDLES:
            self._bundles.popitem(last=False)

    async def ensure(self, repository: Repository) -> Path:
        """Answer the bare repository that has the commit, fetching its bundle if it must.

        Raise Unavailable if nobody gives it, CorruptStorage if it is not what it should be.
        """
        if cache := await self._cached(repository.commit):
            return cache
        if not _COMMIT.fullmatch(repository.commit):
            raise CorruptStorage(f"{repository.commit!r} is not the name of a commit")
        bundle = await self._blobs.fetch(repository.bundle)
        key = await self._key_in(bundle, repository.commit)
        async with self._filling.setdefault(key, asyncio.Lock()):
            return await self._cached(repository.commit) or await self._fill(
                self._directory / f"{key}.git", bundle, repository.commit
            )

    async def bring(self, cache: Path, change: RepositoryChange) -> None:
        """Have a subtask's commits in a cache that has its base. Raise as `ensure` does."""
        if await _has(cache, change.commit):
            return
        bundle = await self._blobs.fetch(change.bundle)
        if await self._key_in(bundle, change.commit) != cache.stem:
            raise CorruptStorage(f"commit {change.commit} is of another repository")
        async with self._filling.setdefault(cache.stem, asyncio.Lock()):
            if not await _has(cache, change.commit):
                await _unbundle(cache, bundle)

    async def collect(self, live: Collection[str]) -> int:
        """Delete the caches that have none of these commits; answer how many.

        `live` must have the commits of all tasks that may still run here.
        """
        keys = {commit: self._read_key(commit) for commit in self.commits}
        wanted = {key for commit, key in keys.items() if commit in live}
        dead = {key for key in keys.values() if key not in wanted}
        for key in dead:
            async with self._filling.setdefault(key, asyncio.Lock()):
                for commit in (each for each, its in keys.items() if its == key):
                    (self._commits / commit).unlink(missing_ok=True)
                cache = self._directory / f"{key}.git"
                await asyncio.to_thread(shutil.rmtree, cache, ignore_errors=True)
        return len(dead)

    async def _cached(self, commit: str) -> Path | None:
        """Answer the cache that has the commit, if there is one and the commit is really there."""
        key = self._read_key(commit) if _COMMIT.fullmatch(commit) else ""
        if not key:
            return None
        cache = self._directory / f"{key}.git"
        return cache if await _has(cache, commit) else None

    def _read_key(self, commit: str) -> str:
        try:
            return (self._commits / commit).read_text(encoding="ascii")
        except FileNotFoundError:
            return ""

    async def _key_in(self, bundle: Path, commit: str) -> str:
        """Answer the KEY in the name of the bundle's head. Raise CorruptStorage."""
        try:
            heads = await git("bundle", "list-heads", str(bundle), directory=self._directory)
        except GitFailed as error:
            raise CorruptStorage(f"the repository's bundle cannot be read: {error.said}") from error
        found = _HEAD.fullmatch(heads[0]) if len(heads) == 1 else None
        if found is None or found[1] != commit or found[3] != commit:
            raise CorruptStorage(f"the repository's bundle is not one of commit {commit}")
        return found[2]

    async def _fill(self, cache: Path, bundle: Path, commit: str) -> Path:
        """Put a bundle's objects into a cache, and mark the commit as there once it is."""
        if not await asyncio.to_thread(cache.is_dir):
            await self._make_cache(cache, object_format(commit))
        await _unbundle(cache, bundle)
        await asyncio.to_thread(write_atomically, self._commits / commit, cache.stem)
        return cache

    async def _make_cache(self, cache: Path, format_name: str) -> None:
        """Make an empty cache; it has its name only when it is whole."""
        with tempfile.TemporaryDirectory(dir=self._directory, prefix="new-") as name:
            fresh = Path(name) / "cache"
            fresh.mkdir(mode=0o700)
            make = ("init", "--quiet", "--bare", "--template=", f"--object-format={format_name}")
            await git(*make, ".", directory=fresh)
            fresh.rename(cache)


async def _has(cache: Path, commit: str) -> bool:
    try:
        await git("cat-file", "-e", f"{commit}^{{commit}}", directory=cache)
    except (GitFailed, ToolError):  # ToolError: the directory is not there
        return False
    return True


async def _unbundle(cache: Path, bundle: Path) -> None:
    """Put a bundle's objects into a cache: all of them, or none. Raise CorruptStorage."""
    try:
        for verb in ("verify", "unbundle"):
            await git("bundle", verb, str(bundle), directory=cache, timeout_s=BULK_TIMEOUT_S)
    except GitFailed as error:
        raise CorruptStorage(f"the repository's bundle is broken: {error.said}") from error
