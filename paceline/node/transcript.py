"""What a tool says, made into a log and the words of an outcome."""

import json
from collections.abc import Iterable

from paceline.node.logs import LogWriter
from paceline.node.redaction import Redactor
from paceline.tools.events import Event, Final, Log, Text, ToolCall, ToolResult, Usage
from paceline.tools.lines import LineSplitter

TEXT_LIMIT_BYTES = 16 * 1024
ARGUMENTS_LIMIT = 1000
"""Characters of a tool call's arguments that are logged."""


class Transcript:
    """Takes the events of one run, in order."""

    def __init__(self, log: LogWriter, redactor: Redactor) -> None:
        self._log = log
        self._redactor = redactor
        self._words = LineSplitter()
        self._said = ""
        self._usage: dict[str, int] = {}
        self._result: ToolResult | None = None

    def take(self, event: Event) -> None:
        """Log an event, and keep what the outcome needs of it."""
        match event:
            case Log(stream, line):
                self._log.write(stream, line)
            case Text(text):
                self._write_words(self._words.feed(text.encode("utf-8", "replace")))
            case ToolCall(name, arguments):
                shown = json.dumps(arguments, default=str, ensure_ascii=False)
                self._log.write("tool", f"{name} {shown[:ARGUMENTS_LIMIT]}")
            case Usage(tokens):
                self._usage = dict(tokens)
            case Final(result):
                self._result = result

    def end(self) -> None:
        """Log the last words, if they did not end a line."""
        self._write_words(self._words.end())

    @property
    def result(self) -> ToolResult | None:
        """Answer how the run ended, or None if the tool did not say."""
        return self._result

    @property
    def usage(self) -> dict[str, int]:
        """Answer the tokens used, as far as the tool said."""
        return dict((self._result.usage if self._result else {}) or self._usage)

    @property
    def text(self) -> str:
        """Answer the result's own words, else the end of what the agent said; at most 16 KiB.

        Secrets are taken out first, so that none is cut in two and stays.
        """
        text = self._result.text if self._result else ""
        return shorten(self._redactor.text(text[: 4 * TEXT_LIMIT_BYTES]) or self._said)

    def _write_words(self, lines: Iterable[str]) -> None:
        for line in lines:
            written = self._log.write("text", line)
            self._said = f"{self._said}\n{written}".lstrip("\n")[-TEXT_LIMIT_BYTES:]


def shorten(text: str, limit_bytes: int = TEXT_LIMIT_BYTES) -> str:
    """Answer the text as valid UTF-8 of at most `limit_bytes`, with a note if it was longer."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit_bytes:
        return data.decode()
    note = f"\n[{len(data)} bytes, the beginning is shown]"
    return data[: limit_bytes - len(note)].decode("utf-8", "ignore") + note
