"""Take secrets out of what leaves the node: log lines, and the words of an outcome.

Two nets: the very values that this node knows to be secret, and the shapes of well-known keys. No
guessing by entropy: that blots out ordinary long words. Works on whole lines, because a secret cut
in two by a buffer's edge would slip through.
"""

import re
from collections.abc import Iterable

MARK = "[redacted]"

SHORTEST_SECRET = 8
"""Values shorter than this are not searched for: they would blot out ordinary words."""

_SHAPES = (
    r"sk-ant-[A-Za-z0-9_-]{16,}",
    r"sk-[A-Za-z0-9_-]{20,}",
    r"gh[opsur]_[A-Za-z0-9]{30,}",
    r"github_pat_[A-Za-z0-9_]{22,}",
    r"AIza[A-Za-z0-9_-]{35}",
    r"AKIA[A-Z0-9]{16}",
    r"xox[a-z]-[A-Za-z0-9-]{10,}",
    r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
)
_SHAPE = re.compile(r"(?<![A-Za-z0-9])(?:" + "|".join(_SHAPES) + ")")
_HINTS = ("sk-", "gh", "github_pat_", "AIza", "AKIA", "xox", "eyJ")
_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----")
_KEY_ENDS = re.compile(r"-----END [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----")


class Redactor:
    """Knows the node's secrets. One per node; `lines` makes one state per stream."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self._known: re.Pattern[str] | None = None
        self.register(*secrets)

    def register(self, *secrets: str) -> None:
        """Take these values out from now on; longer ones win where one holds another."""
        self._secrets.update(value for value in secrets if len(value) >= SHORTEST_SECRET)
        if self._secrets:
            longest_first = sorted(self._secrets, key=len, reverse=True)
            self._known = re.compile("|".join(map(re.escape, longest_first)))

    def known_in(self, data: bytes) -> bool:
        """Answer whether one of the very values that are secret here is in these bytes."""
        return any(secret.encode() in data for secret in self._secrets)

    @property
    def longest_bytes(self) -> int:
        """Answer how long the longest of them is: so much two pieces of data must overlap."""
        return max((len(secret.encode()) for secret in self._secrets), default=0)

    def line(self, line: str) -> str:
        """Answer one whole line without secrets."""
        if self._known:
            line = self._known.sub(MARK, line)
        if any(hint in line for hint in _HINTS):
            line = _SHAPE.sub(MARK, line)
        return line

    def text(self, text: str) -> str:
        """Answer many lines without secrets, private keys that span lines included."""
        stream = RedactedStream(self)
        return "\n".join(stream.line(line) for line in text.split("\n"))


class RedactedStream:
    """One stream's lines, in order: remembers whether a private key has begun and not ended."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._in_key = False

    def line(self, line: str) -> str:
        """Answer the next line without secrets."""
        if self._in_key:
            self._in_key = not _KEY_ENDS.search(line)
            return MARK
        if "PRIVATE KEY" in line and (begin := _KEY_BEGINS.search(line)):
            self._in_key = not _KEY_ENDS.search(line, begin.end())
            return MARK
        return self._redactor.line(line)
