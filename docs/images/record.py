"""Makes the pictures of the README from the real program: run it in a terminal, draw its screen.

python docs/images/record.py            writes docs/images/*.svg (needs `pip install pyte`)
"""

import io
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pyte
from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
COLUMNS, LINES = 100, 42


class Terminal:
    """A program in a pseudo-terminal, and its screen as a person would see it."""

    def __init__(self, *command: str) -> None:
        self.screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        environment = {
            **os.environ,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "COLUMNS": str(COLUMNS),
            "LINES": str(LINES),
        }
        self._process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, close_fds=True
        )
        os.close(slave)

    def watch(self, seconds: float) -> bool:
        """Take in what it draws for so long; answer whether it still runs."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            ready, _, _ = select.select([self._master], [], [], 0.05)
            if not ready:
                continue
            try:
                data = os.read(self._master, 65536)
            except OSError:
                data = b""
            if not data:
                self._process.wait()
                return False
            self._stream.feed(data)
        return True

    def picture(self) -> Text:
        """Answer the screen, without the empty lines at its end."""
        rows = [self._row(number) for number in range(LINES)]
        while rows and not rows[-1].plain.strip():
            rows.pop()
        return Text("\n").join(rows)

    def _row(self, number: int) -> Text:
        row = Text()
        for column in range(COLUMNS):
            cell = self.screen.buffer[number][column]
            row.append(cell.data, style=_style(cell))
        row.rstrip()
        return row


def _style(cell: pyte.screens.Char) -> str:
    words = [name for name in ("bold", "italics", "underscore", "reverse") if getattr(cell, name)]
    style = " ".join({"italics": "italic", "underscore": "underline"}.get(w, w) for w in words)
    if cell.fg != "default":
        colour = f"#{cell.fg}" if len(cell.fg) == 6 and cell.fg.isalnum() else cell.fg
        style += " " + {"brown": "yellow", "brightbrown": "bright_yellow"}.get(
            colour, colour.replace("bright", "bright_") if "bright" in colour else colour
        )
    return style.strip()


def save(picture: Text, name: str, title: str) -> None:
    """Write a screen as SVG."""
    console = Console(width=COLUMNS, record=True, file=io.StringIO(), force_terminal=True)
    console.print(picture, soft_wrap=True)
    svg = console.export_svg(title=title, unique_id="paceline")
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # no fonts from elsewhere
    (HERE / name).write_text(svg)


def main() -> None:
    terminal = Terminal(sys.executable, "-m", "paceline", "demo")
    frames = []
    while terminal.watch(0.25):
        frames.append(terminal.picture())
    save(terminal.picture(), "demo.svg", "paceline demo")
    after_the_kill = [frame for frame in frames if "killed" in frame.plain]
    if after_the_kill:
        middle = after_the_kill[min(2, len(after_the_kill) - 1)]
        save(middle, "demo-middle.svg", "paceline demo, a moment after the leader was killed")


if __name__ == "__main__":
    main()
