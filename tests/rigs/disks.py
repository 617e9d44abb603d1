"""Disks that are small, full or broken, for tests of what is done about it.

`small_disk` is a file system of its own, which only root can mount. `FailingDisk` is a library that
a process is started with: it makes the calls that write or sync chosen files fail, as a disk does
that breaks, and writes down each time it did.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE_BYTES = 4096
SOURCE = Path(__file__).with_name("failing_disk.c")


@contextlib.contextmanager
def small_disk(directory: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a file system of that size on a directory, which is made for it."""
    directory.mkdir(mode=0o700)
    options = f"size={size_bytes},mode=0700"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(command, check=False).returncode != 0:
        pytest.skip("needs root, to mount a small tmpfs")
    try:
        yield directory
    finally:
        # Whoever still has a file open there is about to let go of it, or fails for another reason.
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


class Ballast:
    """A file that takes up room."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def fill(self) -> None:
        """Take all room there is."""
        with self._path.open("ab", buffering=0) as file:
            for size in (256 * PAGE_BYTES, PAGE_BYTES):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass

    def give(self, pages: int = 1) -> None:
        """Give up so many pages; all that are left if there are fewer."""
        size = self._path.stat().st_size
        os.truncate(self._path, max(0, size - pages * PAGE_BYTES))

    def drop(self) -> None:
        """Give up everything."""
        self._path.unlink()


class FailingDisk:
    """A library for LD_PRELOAD, built on the spot, and the orders that it reads."""

    def __init__(self, directory: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("needs a C compiler, to build a disk that fails")
        self._library = directory / "failing_disk.so"
        self._order = directory / "order"
        self._record = directory / "record"
        build = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror"]
        subprocess.run([*build, "-o", str(self._library), str(SOURCE), "-ldl"], check=True)

    @property
    def environment(self) -> dict[str, str]:
        """Answer what the process to be troubled is started with."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAILING_DISK_ORDER": str(self._order),
            "FAILING_DISK_RECORD": str(self._record),
        }

    def fail(self, calls: str, file: str, error: int) -> None:
        """From now on, let `sync` or `write` calls on files whose path ends so give this errno.

        A file of `*` is any. An errno of 0 only writes the calls down.
        """
        beside = self._order.with_suffix(".new")
        beside.write_text(f"{calls} {error} {file}\n")
        beside.rename(self._order)

    def repair(self) -> None:
        """Let everything work again."""
        self._order.unlink(missing_ok=True)

    @property
    def failures(self) -> list[str]:
        """Answer the calls that were made to fail, `sync` or `write` and the path of each."""
        return self._record.read_text().splitlines() if self._record.exists() else []
