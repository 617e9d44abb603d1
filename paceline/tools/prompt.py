"""The words that a model is given: the instructions, then what earlier subtasks handed on."""

from pathlib import Path

from paceline.tools.contract import Job

INPUT_LIMIT_BYTES = 64 * 1024
"""Of one input; the beginning is kept, with a note."""

INPUTS_LIMIT_BYTES = 256 * 1024
"""Of all inputs together."""


def compose(job: Job) -> str:
    """Answer the prompt. Blocks while it reads the inputs, which it bounds."""
    parts = [job.instructions]
    left = INPUTS_LIMIT_BYTES
    for file in sorted(job.inputs.iterdir()):
        words, used = _input(file, min(INPUT_LIMIT_BYTES, left))
        parts.append(words)
        left -= used
    return "\n\n".join(parts)


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
