"""What release 0.1 wrote and read, as a grammar. It never changes."""

from typing import Any

from tests.golden.grammar import (
    Reader,
    Unreadable,
    anything,
    array,
    binary,
    boolean,
    family,
    integer,
    mapping,
    number,
    one_of,
    optional,
    record,
    text,
)

# --- frames ---------------------------------------------------------------------------------------

KINDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 18})


def messages(value: Any) -> Any:
    """Read `[kind, body, kind, body, ...]`. Messages of unknown kinds were skipped."""
    if not isinstance(value, list) or not value or len(value) % 2:
        raise Unreadable(f"{value!r} are no pairs")
    pairs = zip(map(integer, value[::2]), map(binary, value[1::2]), strict=True)
    return [part for kind, body in pairs if kind in KINDS for part in (kind, body)]


FRAME = record(one_of(1), messages)
GREETING = record(one_of(1), one_of(1, 2, 3, 4), binary, binary)

# --- who and where --------------------------------------------------------------------------------

CONTACT = record(
    text, binary, array(text), integer, integer, integer, text, text, text, boolean, integer
)
HELLO = record(CONTACT, text, mapping(text))
HELLO_REPLY = record(HELLO, array(CONTACT))
GOSSIP = record(array(CONTACT))

# --- consensus ------------------------------------------------------------------------------------

ENTRY = record(integer, integer, integer, binary)
MEMBERSHIP = record(array(text), array(text), array(text), array(text), boolean)
SNAPSHOT_META = record(integer, integer, MEMBERSHIP)
HEAD = (text, text, integer)
RAFT = family(
    {
        1: record(*HEAD, integer, integer, boolean, boolean),
        2: record(*HEAD, boolean, boolean),
        3: record(*HEAD, integer, integer, integer, array(ENTRY)),
        4: record(*HEAD, integer, boolean, integer, integer, integer),
        5: record(*HEAD, integer, integer),
        6: record(*HEAD, integer),
        7: record(*HEAD, SNAPSHOT_META),
        8: record(*HEAD),
        9: record(*HEAD, integer),
        10: record(*HEAD, integer, integer),
    }
)
SNAPSHOT = family(
    {
        1: record(integer, SNAPSHOT_META, integer, binary),
        2: record(binary, integer, integer),
        3: record(binary, integer, binary),
        4: record(binary, text),
    }
)

# --- commands -------------------------------------------------------------------------------------

PRIVACY = one_of("normal", "sensitive")
BLOB_REF = record(text, integer, array(text))
REPOSITORY = record(text, text, text, BLOB_REF)
OUTPUT = record(binary, optional(BLOB_REF))
SUBTASK_SPEC = record(
    text,
    text,
    array(text),
    array(text),
    text,
    text,
    text,
    integer,
    integer,
    number,
    integer,
    mapping(text),
    optional(PRIVACY),
    mapping(anything),
)
TASK_SPEC = record(
    text,
    text,
    text,
    array(SUBTASK_SPEC),
    optional(REPOSITORY),
    PRIVACY,
    one_of("low", "medium", "high"),
    array(text),
    integer,
    mapping(anything),
)
RESULT_STATUS = one_of(
    "ok", "failed", "cancelled", "timeout", "quota", "auth", "denied", "turn_limit", "error"
)
OUTCOME = record(
    RESULT_STATUS,
    text,
    OUTPUT,
    optional(integer),
    mapping(integer),
    optional(number),
    integer,
    text,
    text,
    optional(integer),
    mapping(anything),
)
TOOL_STATE = record(text, boolean, text, text, integer)
ATTEMPT_REF = record(text, integer, integer)
PLACEMENT = record(text, integer, text, text, number)
COMMAND = family(
    {
        1: record(TASK_SPEC, text, text),
        2: record(array(PLACEMENT)),
        3: record(array(ATTEMPT_REF), text),
        4: record(ATTEMPT_REF, text, OUTCOME),
        5: record(array(ATTEMPT_REF), text),
        6: record(text, text),
        7: record(text, text),
        8: record(text, text, text, integer, array(TOOL_STATE), mapping(text), mapping(text), text),
        9: record(text, text, text),
        10: record(text),
    }
)
LOG_ENTRY = record(one_of(1), binary, integer, integer, text, COMMAND)

# --- heartbeats, calls and chunks -----------------------------------------------------------------

RESOURCES = record(number, number, number, integer, integer, integer, number)
VITALS = record(
    text,
    integer,
    integer,
    RESOURCES,
    array(TOOL_STATE),
    integer,
    array(record(text, integer, integer)),
    mapping(text),
    integer,
    array(text),
)
LOG_KEY = record(text, integer, integer)
BLOB_CHUNK = record(integer, binary)

READERS: dict[str, Reader] = {
    "frame": FRAME,
    "greeting": GREETING,
    "hello": HELLO,
    "hello_reply": HELLO_REPLY,
    "gossip": GOSSIP,
    "raft": RAFT,
    "snapshot": SNAPSHOT,
    "membership": MEMBERSHIP,
    "snapshot_meta": SNAPSHOT_META,
    "log_entry": LOG_ENTRY,
    "beat": record(VITALS, integer),
    "beat_reply": record(integer, integer),
    "request": record(integer, text, integer, anything),
    "response": record(integer, anything),
    "error": record(integer, text, text, optional(text), optional(integer)),
    "cancel": record(integer),
    "propose": record(binary, integer, COMMAND),
    "proposed": record(integer, anything),
    "blob_request": record(integer, text, integer, integer),
    "blob_chunk": BLOB_CHUNK,
    "blob_hold": BLOB_REF,
    "log_request": record(LOG_KEY, integer, boolean),
    "log_page": record(array(record(integer, text, text)), integer, boolean),
    "subtask_spec": SUBTASK_SPEC,
    "repository": REPOSITORY,
    "output": OUTPUT,
    "outcome": OUTCOME,
}
"""By the family that a recorded sample belongs to."""
