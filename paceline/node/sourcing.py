"""From the repository that a person names to the one that a task carries."""

import os
from dataclasses import replace
from pathlib import Path

from paceline.errors import InputError
from paceline.node.pinning import Dirty
from paceline.node.remotes import Remotes, is_url, shown
from paceline.node.repository import Repositories
from paceline.tasks.draft import RepositoryDraft
from paceline.tasks.model import Repository


class Sources:
    """Pins what is named by a path on this machine, or by a URL."""

    def __init__(self, *, repositories: Repositories, remotes: Remotes) -> None:
        self._repositories = repositories
        self._remotes = remotes

    async def pin(
        self, draft: RepositoryDraft, *, directory: str, dirty: str
    ) -> tuple[Repository, tuple[str, ...]]:
        """Answer the commit that the ref stands for now, its bundle in the blobs; and notes.

        A relative path starts from `directory`. `dirty` says what becomes of changes that are not
        committed. Raise InputError, TimedOut, StorageFull.
        """
        folder = _folder(draft.folder)
        if is_url(draft.path):
            mirror = await self._remotes.mirror(draft.path)
            pinned, notes = await self._repositories.pin(mirror, draft.ref, folder=folder)
            return replace(pinned, source=shown(draft.path)), notes
        path = _absolute(draft.path, directory)
        return await self._repositories.pin(path, draft.ref, folder=folder, dirty=Dirty(dirty))


def _absolute(path: str, directory: str) -> Path:
    if not os.path.isabs(path) and not directory:
        raise InputError(f"the repository path {path!r} must be absolute")
    return Path(directory, os.path.expanduser(path))


def _folder(folder: str) -> str:
    """Answer the folder in its plain form. Raise InputError if it leads out of the repository."""
    parts = [part for part in folder.split("/") if part not in ("", ".")]
    if ".." in parts or folder.startswith("/") or not folder.isprintable():
        raise InputError(f"the folder {folder!r} must be a path within the repository")
    return "/".join(parts)
