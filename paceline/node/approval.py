"""Newcomers that wait for a person (`--approve`), and the code by which the person knows them.

With approval, the token alone admits nobody: who has stolen it still needs a person's yes. The
person compares a code that the newcomer shows with one that the cluster shows. Both derive it from
the transcript of their exchange (see `admission`), which has both keys and both nonces in it; so
somebody in between, who has an exchange of its own with either side, gets two codes.

Such a one could try to make the two codes equal, by choosing its nonce to the newcomer last. A code
has 40 bits, and each try costs a scrypt of 50 ms, while the newcomer waits for seconds only.

The list is the leader's own and in its memory. A newcomer asks again every moment; if another node
leads by then, or the entry is too old, it is listed anew, under the code of that exchange. Each
answer says which exchange that was, so that one answer that is lost does not lose the code.
"""

import asyncio
import hashlib
import unicodedata
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from paceline.clock import Clock
from paceline.discovery.record import Contact
from paceline.errors import Busy, InputError, NotFound
from paceline.ids import NodeId
from paceline.tokens import crockford

PENDING_LIMIT: Final = 64
LIFE_MS: Final = 15 * 60_000
SILENCE_MS: Final = 60_000
"""Who does not ask again for so long has gone."""
CODE_BYTES: Final = 5


async def approval_code(transcript: bytes) -> str:
    """Answer the code of an exchange, as `abcd-efgh`. Takes 50 ms, off the loop."""
    return await asyncio.to_thread(_code, transcript)


def _code(transcript: bytes) -> str:
    digest = hashlib.scrypt(
        transcript, salt=b"paceline approval 1", n=2**14, r=8, p=1, dklen=CODE_BYTES
    )
    text = crockford(digest)
    return f"{text[:4]}-{text[4:]}"


@dataclass(frozen=True, slots=True)
class Pending:
    """A newcomer that knows the token and waits."""

    contact: Contact
    code: str
    address: str
    """Where its request came from."""
    admitted_by: NodeId
    """The member that saw its proof."""
    tag: bytes = b""
    """Of the exchange that the code is of, so that the newcomer can tell which that was."""

    def document(self) -> dict[str, Any]:
        """Answer it for people and programs."""
        return {
            "node_id": self.contact.node_id,
            "name": self.contact.name,
            "address": self.address,
            "code": self.code,
        }


@dataclass(slots=True)
class _Waiting:
    pending: Pending
    since_ms: int
    seen_ms: int = field(default=0)


class Approvals:
    """The leader's list: bounded, and forgetting."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._waiting: OrderedDict[NodeId, _Waiting] = OrderedDict()

    def seen(self, node_id: NodeId) -> Pending | None:
        """Take note that a newcomer asks again. Answer how it is on the list, if it is."""
        self._forget_old()
        waiting = self._waiting.get(node_id)
        if waiting is None:
            return None
        waiting.seen_ms = self._clock.monotonic_ms()
        return waiting.pending

    def add(self, pending: Pending) -> Pending:
        """Put a newcomer on the list, and answer how it is on it. Raise Busy if it is full.

        One that is on it stays as it is: it may have asked twice while a code was being made.
        """
        if (known := self.seen(pending.contact.node_id)) is not None:
            return known
        if len(self._waiting) >= PENDING_LIMIT:
            raise Busy("too many newcomers wait for approval; try again later")
        now_ms = self._clock.monotonic_ms()
        self._waiting[pending.contact.node_id] = _Waiting(pending, now_ms, now_ms)
        return pending

    def find(self, wanted: str) -> Pending:
        """Answer who has that code, or that id (or a prefix of it), or that name.

        Raise NotFound, or InputError where several do.
        """
        self._forget_old()
        word = unicodedata.normalize("NFC", wanted.strip()).lower()
        code = word.replace("-", "").translate(str.maketrans("oil", "011"))
        found = [
            waiting.pending
            for waiting in self._waiting.values()
            if word and _is_meant(waiting.pending, word, code)
        ]
        if not found:
            raise NotFound(f"no newcomer {wanted!r} waits; `paceline approve` alone lists them")
        if len(found) > 1:
            raise InputError(f"several newcomers are called {wanted!r}; name the code")
        return found[0]

    def remove(self, node_id: NodeId) -> None:
        """Take one off the list."""
        self._waiting.pop(node_id, None)

    def documents(self) -> list[dict[str, Any]]:
        """Answer all who wait, the first to come first."""
        self._forget_old()
        return [waiting.pending.document() for waiting in self._waiting.values()]

    def _forget_old(self) -> None:
        now_ms = self._clock.monotonic_ms()
        for node_id, waiting in list(self._waiting.items()):
            if now_ms - waiting.since_ms > LIFE_MS or now_ms - waiting.seen_ms > SILENCE_MS:
                del self._waiting[node_id]


def _is_meant(pending: Pending, word: str, code: str) -> bool:
    """Answer whether that is whom a person means; a prefix of an id must be long enough."""
    contact = pending.contact
    by_id = len(word) >= 4 and contact.node_id.startswith(word)
    return pending.code.replace("-", "") == code or by_id or contact.name.lower() == word
