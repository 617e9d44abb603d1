"""What is done for an external worker about one attempt: claim, assign, bring the outcome in."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import structlog

from paceline.clock import Clock
from paceline.errors import Conflict, InputError, NotFound, PacelineError, Unavailable
from paceline.node.blobs import BlobStore
from paceline.node.collection import INLINE_LIMIT_BYTES, replicated
from paceline.node.desk import Work
from paceline.node.guest import Guest, Piece
from paceline.node.guest_words import assignment, outcome_of, output_bytes
from paceline.node.logs import LogKey, LogStore
from paceline.node.proposals import Proposals
from paceline.node.redaction import Redactor
from paceline.node.web.ports import ExternalResult
from paceline.tasks import queries
from paceline.tasks.commands import AttemptRef, Command, FinishAttempt, LoseAttempts, StartAttempts
from paceline.tasks.model import Outcome, Output, ResultStatus
from paceline.tasks.queries_work import ActiveAttempt

PROPOSE_TIMEOUT_S = 10.0
PAUSE_S = 0.5
INPUTS_LIMIT_BYTES = 1024 * 1024

log = structlog.get_logger(__name__)


class GuestWork:
    """Does it, in the name of the worker."""

    def __init__(
        self,
        *,
        connection: sqlite3.Connection,
        proposals: Proposals,
        read_work: Callable[[ActiveAttempt], Work],
        logs: LogStore,
        blobs: BlobStore,
        redactor: Redactor,
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        """`on_change` is told when what a worker has in hand has changed."""
        self._connection = connection
        self._proposals = proposals
        self._read_work = read_work
        self._logs = logs
        self._blobs = blobs
        self._redactor = redactor
        self._clock = clock
        self._on_change = on_change

    def given(self, guest: Guest) -> Sequence[ActiveAttempt]:
        """Answer what the state gives to the worker."""
        return queries.attempts_of_node(self._connection, guest.worker_id)

    def piece(self, given: ActiveAttempt) -> Piece:
        """Answer an attempt as something in hand, its log opened."""
        key = LogKey(given.ref.subtask_id, given.ref.attempt, given.ref.token)
        return Piece(
            ref=given.ref,
            timeout_ms=int(given.spec.timeout_s * 1000),
            log=self._logs.open(key),
            begun_ms=self._clock.monotonic_ms(),
        )

    async def propose(self, command: Command) -> Any:
        """Answer what the log made of it. Raise PacelineError."""
        return await self._proposals.propose(command, timeout_s=PROPOSE_TIMEOUT_S)

    async def claim(self, guest: Guest, fresh: Sequence[ActiveAttempt]) -> None:
        """Claim in the worker's name; only what was claimed is told to it."""
        refs = tuple(each.ref for each in fresh)
        try:
            await self.propose(StartAttempts(refs, guest.worker_id))
            ours = {each.ref for each in self.given(guest)}
            for each in fresh:
                if each.ref in ours and each.ref not in guest.pieces:
                    guest.pieces[each.ref] = piece = self.piece(each)
                    self._on_change()
                    await self.tell(guest, piece)
        except PacelineError as error:
            log.warning("could not claim for a worker", name=guest.name, error=str(error))
            await asyncio.sleep(PAUSE_S)
        finally:
            guest.claiming.difference_update(refs)

    async def tell(self, guest: Guest, piece: Piece) -> None:
        """Send the assignment, with what the subtask needs of others."""
        given = next((each for each in self.given(guest) if each.ref == piece.ref), None)
        if given is None:
            return
        try:
            work = self._read_work(given)
            if work.sensitive:
                raise InputError("sensitive work is not told to external workers")
            data = assignment(work, await self._inputs(work))
        except (InputError, NotFound) as error:
            await self.finish(guest, piece, Outcome(ResultStatus.ERROR, str(error)))
        except PacelineError as error:
            await self.give_back(guest, piece, str(error))
        else:
            self._send(guest, piece, data)

    def _send(self, guest: Guest, piece: Piece, data: dict[str, Any]) -> None:
        if guest.connected and piece.ref in guest.pieces:
            piece.told = True
            piece.log.write("node", f"given to the external worker {guest.name}")
            guest.say("task_assignment", **data)

    async def _inputs(self, work: Work) -> dict[str, str]:
        """Answer the outputs of what it needs, as text. Raise InputError if they are too large."""
        if sum(output.size for output in work.inputs.values()) > INPUTS_LIMIT_BYTES:
            raise InputError(
                f"its inputs have over {INPUTS_LIMIT_BYTES} bytes, too many for an external worker"
            )
        return {name: await self._text(output) for name, output in work.inputs.items()}

    async def _text(self, output: Output) -> str:
        data = output.inline
        if output.blob:
            await self._blobs.fetch(output.blob)
            data = await self._blobs.get(output.blob.sha256, INPUTS_LIMIT_BYTES)
        return data.decode("utf-8", "replace")

    async def take(self, guest: Guest, piece: Piece, result: ExternalResult) -> None:
        """Bring a worker's result into the log; return once it counts.

        Raise Conflict where the work is somebody else's by now, NoQuorum, TimedOut.
        """
        output = await self._output(output_bytes(result))
        outcome = outcome_of(result, output, usage=dict(result.usage), cost_usd=result.cost_usd)
        if piece.cancelled_ms is not None:
            outcome = Outcome(ResultStatus.CANCELLED, "cancelled")
        if not await self._commit(guest, piece, outcome):
            raise Conflict(f"{piece.ref.subtask_id} was given to another worker meanwhile")

    async def _output(self, data: bytes) -> Output:
        if len(data) <= INLINE_LIMIT_BYTES:
            return Output(data)
        return Output(blob=await replicated(await self._blobs.put(data), self._blobs))

    async def finish(self, guest: Guest, piece: Piece, outcome: Outcome) -> None:
        """Bring in an outcome that this node found, however long that takes."""
        while True:
            try:
                await self._commit(guest, piece, outcome)
            except Unavailable:
                await asyncio.sleep(PAUSE_S)
                continue
            except PacelineError as error:
                log.warning("an outcome was refused", name=guest.name, error=str(error))
                guest.drop(piece.ref)
            return

    async def _commit(self, guest: Guest, piece: Piece, outcome: Outcome) -> bool:
        piece.finishing = True
        command = FinishAttempt(piece.ref, guest.worker_id, self._complete(outcome, piece))
        try:
            counted = bool(await self.propose(command))
        except PacelineError:
            piece.finishing = False
            raise
        guest.drop(piece.ref)
        self._on_change()
        return counted

    def _complete(self, outcome: Outcome, piece: Piece) -> Outcome:
        return replace(
            outcome,
            text=self._redactor.text(outcome.text),
            duration_ms=self._clock.monotonic_ms() - piece.begun_ms,
            log_tail=piece.log.tail(),
        )

    async def give_back(self, guest: Guest, piece: Piece, reason: str) -> None:
        """Let others have it."""
        piece.finishing = True
        await self.lose((piece.ref,), reason)
        guest.drop(piece.ref)
        self._on_change()

    async def lose(self, refs: tuple[AttemptRef, ...], reason: str) -> None:
        """Say that these were cut off, however long that takes."""
        while True:
            try:
                await self.propose(LoseAttempts(refs, reason))
            except Unavailable:
                await asyncio.sleep(PAUSE_S)
                continue
            except PacelineError as error:
                log.warning("giving back was refused", error=str(error))
            return
