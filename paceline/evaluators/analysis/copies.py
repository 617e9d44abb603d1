"""Files of a change on disk, for tools that read only files: under names of our own."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from paceline.evaluators.change import FileChange


@contextmanager
def copied(files: Sequence[FileChange]) -> Iterator[Mapping[Path, FileChange]]:
    """Write the resulting files into a directory of their own; it goes at the end.

    A file is called by its place in the list, so that nothing in its name is meant for a tool; only
    the extension is kept, which tools go by.
    """
    with tempfile.TemporaryDirectory(prefix="paceline-copies-") as name:
        copies = {}
        for number, file in enumerate(files):
            directory = Path(name)
            copy = directory / f"m{number:04}{_kept(file)}"
            copy.write_text(file.new or "", encoding="utf-8", errors="replace", newline="")
            copies[copy] = file
        yield copies


def _kept(file: FileChange) -> str:
    return file.suffix if file.suffix.isascii() and file.suffix[1:].isalnum() else ""
