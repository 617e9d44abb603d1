"""Records what the current code writes, as a release's golden bytes. Run once for each release:

    python -m tests.golden.record tests/golden/0_2

It refuses to overwrite: the bytes of a release never change.
"""

import json
import sqlite3
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path

from paceline.consensus.membership import encode_membership
from paceline.consensus.messages import Entry, EntryKind, HardState, Membership, SnapshotMeta
from paceline.consensus.storage.protocol import LogWrite
from paceline.consensus.storage.sqlite import SqliteLogStorage
from paceline.discovery.record import to_txt
from paceline.tasks.commands import (
    AttemptRef,
    Command,
    Envelope,
    FinishAttempt,
    StartAttempts,
    encode_envelope,
)
from paceline.tasks.machine import TaskMachine
from tests.golden import samples

WIRE, TXT, RAFT, STATE = "wire.json", "txt.json", "raft.sql", "state.sql"
ALLOCATED_AT = 5
"""The index of the entry that allocates, which is the attempt's token."""
SNAPSHOT = SnapshotMeta(2, 1, Membership(voters=(samples.A, samples.B)))
HARD_STATE = HardState(term=3, vote=samples.A, commit=13)


def log() -> tuple[Entry, ...]:
    """Answer a log of every command, with an empty entry and one of membership."""
    envelopes = [
        Envelope(number.to_bytes(16, "big"), 0, samples.NOW_MS + number, samples.A, command)
        for number, command in enumerate(_in_order(), start=1)
    ]
    found = [Entry(1, 1, EntryKind.EMPTY, b"")]
    membership = Membership(voters=(samples.A, samples.B))
    found.append(Entry(2, 1, EntryKind.MEMBERSHIP, encode_membership(membership)))
    for envelope in envelopes:
        found.append(Entry(len(found) + 1, 3, EntryKind.COMMAND, encode_envelope(envelope)))
    return tuple(found)


def _in_order() -> list[Command]:
    """Answer the commands in an order in which they take effect, with the token that is given."""
    submit, allocate, _, _, lose, cancel, retry, register, status, forget = samples.COMMAND_SAMPLES
    ref = AttemptRef("task-1-build", 1, ALLOCATED_AT)
    start = StartAttempts((ref,), samples.A)
    finish = FinishAttempt(ref, samples.A, samples.OUTCOME)
    changes = [register, submit, allocate, start, finish, lose, cancel]
    return [*changes, retry, status, forget, register]


def write_raft(path: Path) -> None:
    """Make a `raft.db`: a snapshot's mark, a vote, and entries."""
    failures: list[Exception] = []
    storage = SqliteLogStorage(
        path, loop_call=lambda callback: callback(), on_failure=failures.append
    )
    done = threading.Event()
    storage.write(LogWrite(HARD_STATE, SNAPSHOT, log()[SNAPSHOT.index :]), done.set)
    done.wait(30)
    storage.close()
    assert not failures


def write_state(path: Path) -> None:
    """Make a `state.db` in which every command has been applied."""
    machine = TaskMachine(path)
    machine.apply(log())
    machine.close()


def dump(path: Path) -> str:
    """Answer a database as SQL text."""
    with closing(sqlite3.connect(path)) as connection:
        head = [
            f"PRAGMA {name} = {connection.execute(f'PRAGMA {name}').fetchone()[0]};"
            for name in ("application_id", "user_version")
        ]
        return "\n".join([*head, *connection.iterdump()]) + "\n"


def main(directory: Path) -> None:
    """Record everything into a new directory."""
    directory.mkdir()
    wire = {name: sample.data.hex() for name, sample in samples.samples().items()}
    txt = {key: value.hex() for key, value in to_txt(samples.CONTACT).items()}
    (directory / WIRE).write_text(json.dumps(wire, indent=1) + "\n")
    (directory / TXT).write_text(json.dumps(txt, indent=1) + "\n")
    with tempfile.TemporaryDirectory() as scratch:
        for name, write in ((RAFT, write_raft), (STATE, write_state)):
            path = Path(scratch) / name
            write(path)
            (directory / name).write_text(dump(path))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
