"""Repositories that are named by a URL: fetched by the submitting node, with its owner's means.

    remotes/KEY.git      a mirror of one URL; KEY is its SHA-256, shortened

The owner's own git configuration, agents and helpers give the credentials; nothing is ever asked on
a terminal or in a window. Only protocols that fetch are allowed: no helper program of a URL's
choice. A password in a URL is used and never shown.
"""

import asyncio
import hashlib
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from paceline.errors import InputError, TimedOut
from paceline.tools.process import Ending, ProcessSpec, child_process

TIMEOUT_S = 900.0
KEPT_S = 14 * 24 * 3600.0
"""A mirror that nobody has asked for in so long is deleted."""

SCHEMES = ("http", "https", "ssh", "git", "file")
SAID_LIMIT = 1000

_SCP = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[^:\s][^\s]*")
_PASSWORD = re.compile(r"(://)[^/@\s]+@")
_GIT_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY")


def is_url(path: str) -> bool:
    """Answer whether a repository is named by a URL, or as `user@host:path`."""
    return "://" in path or _SCP.fullmatch(path) is not None


def shown(url: str) -> str:
    """Answer the URL without user and password."""
    return _PASSWORD.sub(r"\1", url)


class Remotes:
    """The mirrors of one node."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in directory.glob("new-*"):
            shutil.rmtree(left, ignore_errors=True)  # by a process that was killed
        self._directory = directory
        self._locks: dict[str, asyncio.Lock] = {}

    async def mirror(self, url: str) -> Path:
        """Answer a bare repository that has what the URL has now.

        Raise InputError for a URL that is none or cannot be fetched, TimedOut.
        """
        _check(url)
        key = hashlib.sha256(url.encode()).hexdigest()[:32]
        mirror = self._directory / f"{key}.git"
        async with self._locks.setdefault(key, asyncio.Lock()):
            if await asyncio.to_thread(mirror.is_dir):
                await _git(url, "fetch", "--quiet", "--prune", "--force", "origin", at=mirror)
            else:
                await self._clone(url, mirror)
            await asyncio.to_thread(os.utime, mirror)
        return mirror

    async def _clone(self, url: str, mirror: Path) -> None:
        with tempfile.TemporaryDirectory(dir=self._directory, prefix="new-") as name:
            fresh = Path(name) / "mirror"
            make = ("clone", "--quiet", "--mirror", "--template=", "--", url, str(fresh))
            await _git(url, *make, at=self._directory)
            fresh.rename(mirror)

    def collect(self, *, kept_s: float = KEPT_S) -> int:
        """Delete mirrors that have not been asked for in a long time; answer how many."""
        before = time.time() - kept_s
        old = [each for each in self._directory.glob("*.git") if each.stat().st_mtime < before]
        for each in old:
            shutil.rmtree(each, ignore_errors=True)
        return len(old)


def _check(url: str) -> None:
    scheme = urlsplit(url).scheme if "://" in url else "ssh"
    if scheme not in SCHEMES or url.startswith("-") or not url.isprintable():
        raise InputError(f"{shown(url)} is no URL of a repository: use {', '.join(SCHEMES)}")


async def _git(url: str, *arguments: str, at: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in _GIT_VARIABLES}
    spec = ProcessSpec(
        argv=("git", "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", *arguments),
        directory=at,
        environment={
            **kept,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "SSH_ASKPASS": "/bin/false",
            "GIT_SSH_COMMAND": kept.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
            "GIT_ALLOW_PROTOCOL": ":".join(SCHEMES),
            "LC_ALL": "C",
        },
        timeout_s=TIMEOUT_S,
        nice=0,
        output_limit_bytes=1024 * 1024,
    )
    async with child_process(spec) as child:
        said = [line.text async for line in child]
    if child.ending is not Ending.EXITED:
        raise TimedOut(f"{shown(url)} was not fetched within {TIMEOUT_S:g} s")
    if child.exit_code != 0:
        words = shown(" ".join(said).replace(url, shown(url)))[:SAID_LIMIT]
        raise InputError(f"{shown(url)} cannot be fetched: {words}")
