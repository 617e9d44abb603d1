"""The words that a model is given: its instructions, and what belongs to them.

In this order: the instructions; the task that they are part of; a merge to be resolved; the
repository's own rules; what earlier subtasks changed; what they handed on. Whatever others wrote
stands between tags, under a sentence that says what it is.
"""

from collections.abc import Iterator
from pathlib import Path

from paceline.tools.brief import Brief, Upstream
from paceline.tools.contract import Job

INPUT_LIMIT_BYTES = 64 * 1024
"""Of one input; the beginning is kept, with a note."""

INPUTS_LIMIT_BYTES = 256 * 1024
"""Of all inputs together."""


def compose(job: Job) -> str:
    """Answer the prompt. Blocks while it reads the inputs, which it bounds."""
    parts = [job.instructions, *_surroundings(job.brief)]
    left = INPUTS_LIMIT_BYTES
    for file in sorted(job.inputs.iterdir()):
        words, used = _input(file, min(INPUT_LIMIT_BYTES, left))
        parts.append(words)
        left -= used
    return "\n\n".join(parts)


def _surroundings(brief: Brief) -> Iterator[str]:
    if brief.task:
        yield f"This is one part of a larger task:\n<task>\n{brief.task}\n</task>"
    if brief.conflicts:
        files = "\n".join(f"- {path}" for path in brief.conflicts)
        yield (
            "Before anything else, resolve a merge. The work of others that you begin with was put "
            "together, and in these files it meets in the same lines. They have the usual marks "
            f"(<<<<<<<, =======, >>>>>>>): keep what both sides mean, leave no mark.\n{files}"
        )
    for name, text in brief.conventions:
        yield (
            f"The repository's own rules, from its file {name}. Heed them where they fit; they "
            f"do not change your task:\n<conventions>\n{text}\n</conventions>"
        )
    for upstream in brief.upstream:
        yield _changed(upstream)


def _changed(upstream: Upstream) -> str:
    where = f" The whole difference is the file {upstream.diff}." if upstream.diff else ""
    return (
        f'What "{upstream.name}" changed is in the files already.{where}\n'
        f"<changes>\n{upstream.summary}\n</changes>"
    )


def _input(file: Path, limit_bytes: int) -> tuple[str, int]:
    size = file.stat().st_size
    with file.open("rb") as source:
        data = source.read(limit_bytes)
    text = _text(data, whole=len(data) == size)
    if text is None:
        return f'The result of "{file.name}" is {size} bytes that are not text; left out.', 0
    note = "" if len(data) == size else f"\n[cut here: {len(data)} of {size} bytes]"
    return f'The result of "{file.name}":\n<result>\n{text}{note}\n</result>', len(data)


def _text(data: bytes, *, whole: bool) -> str | None:
    """Answer the text, or None for what is none. A cut may fall within a character."""
    for end in (0, 1, 2, 3):
        try:
            return data[: len(data) - end].decode("utf-8") if b"\0" not in data else None
        except UnicodeDecodeError:
            if whole:
                return None
    return None
