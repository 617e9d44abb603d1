"""Exactly once: what each request id came to, for as long as it may be repeated.

Whoever proposes a command repeats it with the same request id until it knows the answer, and so it
may stand in the log twice. The second one changes nothing and answers what the first did. A request
is remembered for REQUESTS_KEPT entries. Its `basis`, the proposer's applied index when it was first
made, tells whether that was long enough: the first copy can only stand after the basis, so a basis
at or above the mark of forgetting cannot have been done and forgotten; one below it is refused.
(Client sessions: Ongaro's dissertation, section 6.3; here without sessions to open and expire.)
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from paceline import errors
from paceline.codec import pack, unpack
from paceline.errors import Conflict, PacelineError
from paceline.tasks.effects import Marks

REQUESTS_KEPT: Final = 100_000
"""Entries for which a request is remembered."""

REQUEST_ID_BYTES: Final = 64
"""No request id is longer."""

_QUERY_WIDTH: Final = 500

_ERRORS: Final[dict[str, type[PacelineError]]] = {
    kind.__name__: kind
    for kind in (
        errors.InputError,
        errors.NotFound,
        errors.Conflict,
        errors.ProtocolError,
        errors.PacelineError,
    )
}
"""What a command may be refused with; others are remembered as the root of the tree."""


class Requests:
    """The requests of one batch, over those that are stored."""

    def __init__(self, db: sqlite3.Connection, marks: Marks, request_ids: Sequence[bytes]) -> None:
        """Look up in one go what is known of these."""
        self._db = db
        self._marks = marks
        self._known = _stored(db, request_ids)
        self._fresh: list[tuple[int, bytes, bytes]] = []

    def first_result(self, request_id: bytes) -> list[Any] | None:
        """Answer `[result]` where the request was done before, None where it was not.

        A row that is due to be forgotten counts as forgotten, whether or not it is gone yet: that
        must not depend on where batches begin.
        """
        found = self._known.get(request_id)
        if found is None or found[0] <= self._marks.requests_pruned:
            return None
        return [decode_result(found[1])]

    def require_recent(self, basis: int) -> None:
        """Raise Conflict where the request may have been done and forgotten."""
        if basis < self._marks.requests_pruned:
            raise Conflict(
                "too old: this request was first made so long ago that it may have been done"
                " already; look at the state, and ask anew"
            )

    def remember(self, request_id: bytes, index: int, result: Any) -> None:
        """Note what the request came to; written by `flush`."""
        encoded = encode_result(result)
        self._known[request_id] = (index, encoded)
        self._fresh.append((index, request_id, encoded))

    def flush(self) -> None:
        """Write what was noted."""
        if self._fresh:
            self._db.executemany(
                "INSERT INTO requests (entry_index, request_id, result) VALUES (?, ?, ?)",
                self._fresh,
            )
            self._fresh.clear()

    def prune(self, index: int) -> None:
        """Forget the requests of entries that lie more than REQUESTS_KEPT behind `index`."""
        mark = index - REQUESTS_KEPT
        if mark > self._marks.requests_pruned:
            self.flush()
            self._marks.requests_pruned = mark
            self._db.execute("DELETE FROM requests WHERE entry_index <= ?", (mark,))


def encode_result(result: Any) -> bytes:
    """Answer a result, which is plain data or an error, as bytes."""
    if isinstance(result, PacelineError):
        return pack([type(result).__name__, str(result)])
    return pack([result])


def decode_result(data: bytes) -> Any:
    """Read what `encode_result` made."""
    match unpack(data):
        case [name, message]:
            return _ERRORS.get(name, PacelineError)(message)
        case [result]:
            return result
    raise errors.CorruptStorage("a remembered result cannot be read")


def _stored(db: sqlite3.Connection, request_ids: Sequence[bytes]) -> dict[bytes, tuple[int, bytes]]:
    found: dict[bytes, tuple[int, bytes]] = {}
    for part in _parts(request_ids):
        marks = ",".join("?" * len(part))
        rows = db.execute(
            f"SELECT request_id, entry_index, result FROM requests WHERE request_id IN ({marks})",
            part,
        )
        found.update((request_id, (index, result)) for request_id, index, result in rows)
    return found


def _parts(request_ids: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
    for start in range(0, len(request_ids), _QUERY_WIDTH):
        yield request_ids[start : start + _QUERY_WIDTH]
