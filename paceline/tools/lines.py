"""Bytes in, lines out, with a bound: whatever a program prints, memory does not grow with it."""

LINE_LIMIT_BYTES = 16 * 1024 * 1024
"""Agents print whole files as one JSON line: 64 KiB, asyncio's own limit, is not enough."""


class LineSplitter:
    r"""Cuts a stream of bytes into lines. Of a line over the limit only the beginning is kept.

    Lines are decoded as UTF-8 with replacements, and lose `\n` or `\r\n`. A lone carriage return
    (a progress bar) stays in its line.
    """

    def __init__(self, limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._partial = bytearray()
        self._cut_bytes = 0

    def feed(self, data: bytes) -> list[str]:
        """Answer the lines that `data` completes."""
        *complete, rest = data.split(b"\n")
        lines = [self._line(piece) for piece in complete]
        self._add(rest)
        return lines

    def end(self) -> list[str]:
        """Answer the last line, if it had no newline."""
        return [self._line(b"")] if self._partial else []

    def _line(self, piece: bytes) -> str:
        self._add(piece)
        text = self._partial.removesuffix(b"\r").decode("utf-8", "replace")
        if self._cut_bytes:
            text += f" [{self._cut_bytes} bytes cut]"
        self._partial.clear()
        self._cut_bytes = 0
        return text

    def _add(self, piece: bytes) -> None:
        room = self._limit_bytes - len(self._partial)
        self._partial += piece[:room]
        self._cut_bytes += max(0, len(piece) - room)
