"""One batch of log entries on its way into the tables, inside the machine's open transaction.

A command looks before it changes anything, so a refusal leaves no trace and needs no savepoint.
Should one prove unusable half-way all the same (a number too large for a column, say), `Spoilt` is
raised; the machine then rolls the whole batch back and applies it again carefully, with a savepoint
around each entry, where the culprit comes to a refusal. Both ways give the same state and results,
so it does not matter that other nodes meet the same entry in another batch.
"""

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from paceline.errors import InputError, NewerFormat, PacelineError, ProtocolError, StorageError
from paceline.tasks import commands
from paceline.tasks.apply_attempts import (
    allocate,
    finish_attempt,
    lose_attempts,
    recall_attempts,
    start_attempts,
)
from paceline.tasks.apply_budget import change_budget
from paceline.tasks.apply_checkpoints import open_checkpoint, resolve_checkpoint
from paceline.tasks.apply_control import cancel_subtask, change_task, end_overdue
from paceline.tasks.apply_external import attach_worker
from paceline.tasks.apply_foreach import expand_lists
from paceline.tasks.apply_members import (
    admit_member,
    found_cluster,
    recover_cluster,
    remove_member,
    require_not_revoked,
    revoke_member,
    rotate_token,
    trust_member,
)
from paceline.tasks.apply_submit import submit_task
from paceline.tasks.apply_tasks import cancel_task, retry_task
from paceline.tasks.apply_workers import forget_worker, register_worker, set_worker_status
from paceline.tasks.commands import Command, Envelope, decode_envelope
from paceline.tasks.effects import MAX_TIME_MS, Effects, Marks
from paceline.tasks.requests import REQUEST_ID_BYTES, Requests

log = logging.getLogger(__name__)

COMMAND_KIND: Final = 1
"""The kind of a log entry that carries a command (EntryKind.COMMAND of consensus)."""

PRUNE_EVERY: Final = 1024
"""Old requests and activity rows are dropped at each entry whose index divides by this."""

HANDLERS: Final[Mapping[type[Command], Callable[[Effects, Any], Any]]] = {
    commands.SubmitTask: submit_task,
    commands.Allocate: allocate,
    commands.StartAttempts: start_attempts,
    commands.FinishAttempt: finish_attempt,
    commands.LoseAttempts: lose_attempts,
    commands.CancelTask: cancel_task,
    commands.RetryTask: retry_task,
    commands.RegisterWorker: register_worker,
    commands.SetWorkerStatus: set_worker_status,
    commands.ForgetWorker: forget_worker,
    commands.FoundCluster: found_cluster,
    commands.AdmitMember: admit_member,
    commands.RevokeMember: revoke_member,
    commands.RotateToken: rotate_token,
    commands.TrustMember: trust_member,
    commands.RemoveMember: remove_member,
    commands.RecoverCluster: recover_cluster,
    commands.CancelSubtask: cancel_subtask,
    commands.ChangeTask: change_task,
    commands.EndOverdue: end_overdue,
    commands.RecallAttempts: recall_attempts,
    commands.SetBudget: change_budget,
    commands.AttachWorker: attach_worker,
    commands.OpenCheckpoint: open_checkpoint,
    commands.ResolveCheckpoint: resolve_checkpoint,
}
"""For each command, the function that applies it; results are plain data, to be packed."""


_OF_THE_DATA: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
)


class LogEntry(Protocol):
    """What the log gives: consensus' `Entry`, which this layer must not know."""

    @property
    def index(self) -> int:
        """Answer the position in the log."""
        ...

    @property
    def term(self) -> int:
        """Answer the term of the leader that wrote it."""
        ...

    @property
    def kind(self) -> int:
        """Answer COMMAND_KIND for a command."""
        ...

    @property
    def data(self) -> bytes:
        """Answer the envelope's bytes, for a command."""
        ...


class Spoilt(Exception):
    """An entry failed half-way: the transaction must be rolled back and done again carefully."""


def apply_batch(
    db: sqlite3.Connection, marks: Marks, entries: Sequence[LogEntry], *, careful: bool
) -> tuple[list[Any], Effects]:
    """Apply entries that are all new; answer one result each, and what changed.

    `marks` is moved on with them and written. Raise Spoilt (never when careful), or sqlite3.Error
    where the disk fails.
    """
    read = [_read(entry) for entry in entries]
    effects = Effects(db, marks)
    known = [each.request_id for each in read if isinstance(each, Envelope)]
    requests = Requests(db, marks, known)
    batch = _Batch(effects, requests, careful=careful)
    results = []
    for entry, content in zip(entries, read, strict=True):
        results.append(batch.apply(entry, content))
        if entry.index % PRUNE_EVERY == 0:
            requests.prune(entry.index)
            effects.prune_log()
    requests.flush()
    effects.flush()
    marks.store(db)
    return results, effects


class _Batch:
    def __init__(self, effects: Effects, requests: Requests, *, careful: bool) -> None:
        self._effects = effects
        self._requests = requests
        self._run = self._run_carefully if careful else self._run_plainly

    def apply(self, entry: LogEntry, content: Envelope | PacelineError | None) -> Any:
        self._effects.index = entry.index
        marks = self._effects.marks
        marks.applied_index, marks.applied_term = entry.index, entry.term
        if isinstance(content, Envelope):
            return self._command(content)
        return content

    def _command(self, envelope: Envelope) -> Any:
        first = self._requests.first_result(envelope.request_id)
        if first is not None:
            return first[0]
        try:
            self._requests.require_recent(envelope.basis)
            require_not_revoked(self._effects, envelope.origin)
        except PacelineError as refusal:
            return _bare(refusal)
        self._effects.advance_time(envelope.now_ms)
        self._effects.level = envelope.level
        result = self._run(envelope.command)
        self._requests.remember(envelope.request_id, self._effects.index, result)
        return result

    def _run_plainly(self, command: Command) -> Any:
        before = self._effects.position()
        try:
            return _handle(self._effects, command)
        except StorageError:
            raise
        except PacelineError as refusal:
            if self._effects.position() != before:
                raise Spoilt from refusal
            return _bare(refusal)
        except Exception as error:
            if is_of_the_disk(error):
                raise
            raise Spoilt from error

    def _run_carefully(self, command: Command) -> Any:
        savepoint = self._effects.savepoint()
        try:
            result = _handle(self._effects, command)
        except StorageError:
            raise
        except PacelineError as refusal:
            self._effects.roll_back(savepoint)
            result = _bare(refusal)
        except Exception as error:
            if is_of_the_disk(error):
                raise
            log.exception("entry %d cannot be applied", self._effects.index)
            self._effects.roll_back(savepoint)
            result = InputError("the command holds something that cannot be stored")
        self._effects.release()
        return result


def _handle(effects: Effects, command: Command) -> Any:
    """Apply a command, and expand what has the list of its items by then."""
    result = HANDLERS[type(command)](effects, command)
    expand_lists(effects)
    return result


def is_of_the_disk(error: Exception) -> bool:
    """Answer whether the node is at fault, and not the entry: another node may fare better."""
    if isinstance(error, _OF_THE_DATA):
        return False
    return isinstance(error, sqlite3.Error | OSError | MemoryError)


def _read(entry: LogEntry) -> Envelope | PacelineError | None:
    """Answer the command; the refusal of an entry that is none; None where none is meant to be.

    Raise NewerFormat for what others apply and this version cannot: the node must stop.
    """
    if entry.kind != COMMAND_KIND:
        return None
    try:
        envelope = decode_envelope(entry.data)
    except NewerFormat as error:
        raise NewerFormat(f"entry {entry.index}: {error}") from None
    except PacelineError as error:
        return _bare(error)
    except Exception:
        log.exception("entry %d cannot be read", entry.index)
        return ProtocolError("the log entry cannot be read")
    if not 1 <= len(envelope.request_id) <= REQUEST_ID_BYTES:
        return InputError(f"a request id has 1 to {REQUEST_ID_BYTES} bytes")
    if not 0 <= envelope.now_ms <= MAX_TIME_MS:
        return InputError("the time of the command is not one")
    return envelope


def _bare(error: PacelineError) -> PacelineError:
    """Answer the error without the frames that it came through: it lives on as a result."""
    return error.with_traceback(None)
