"""Questions and answers between members, over the control lane.

A call is one REQUEST and one RESPONSE, ERROR, or nothing. Nothing is retried here: messages may be
lost, so what an unanswered call did is unknown, and only its caller knows whether to repeat it.
Errors of `paceline.errors` cross the network by name and are raised as the same type there; the
list is closed. Whatever else a handler raises arrives as a plain PacelineError without its text.
"""

import asyncio
import inspect
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from paceline import codec, errors
from paceline.errors import (
    Busy,
    InputError,
    InvalidPlan,
    NodeUnreachable,
    NotFound,
    NotLeader,
    PacelineError,
    ProtocolError,
    TimedOut,
)
from paceline.ids import NodeId
from paceline.node.transport import Transport
from paceline.node.wire import CONTROL_LIMIT_BYTES, Kind

CallHandler = Callable[[NodeId, Any], Awaitable[Any]]

OUTSTANDING_LIMIT: Final = 2048
"""Calls to one peer that wait for their answer."""
RUNNING_LIMIT: Final = 2048
"""Calls of one peer that are worked on here."""
TIMEOUT_LIMIT_MS: Final = 600_000
"""No call is worked on for longer, whatever its caller says."""
MESSAGE_LIMIT: Final = 2000
"""Characters of an error's message that travel."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Request:
    call_id: int
    method: str
    timeout_ms: int
    """After which nobody waits for the answer."""
    body: Any = None


@dataclass(frozen=True, slots=True)
class _Response:
    call_id: int
    body: Any = None


@dataclass(frozen=True, slots=True)
class _Error:
    call_id: int
    type_name: str
    message: str
    leader_id: str | None = None
    """Of NotLeader."""
    line: int | None = None
    """Of InvalidPlan."""


@dataclass(frozen=True, slots=True)
class _Cancel:
    call_id: int


@dataclass(slots=True)
class _Outstanding:
    to: NodeId
    answer: asyncio.Future[Any]
    repeatable: bool


class Calls:
    """Both ends of calls. `run()` must be running while calls of others are to be served."""

    def __init__(
        self,
        *,
        transport: Transport,
        outstanding_limit: int = OUTSTANDING_LIMIT,
        running_limit: int = RUNNING_LIMIT,
    ) -> None:
        self._transport = transport
        self._outstanding_limit = outstanding_limit
        self._running_limit = running_limit
        self._methods: dict[str, CallHandler] = {}
        # Random, so that an answer to this node's former process is not taken for one to this.
        self._next_id = secrets.randbits(48)
        self._outstanding: dict[int, _Outstanding] = {}
        self._outstanding_to: Counter[NodeId] = Counter()
        self._running: dict[tuple[NodeId, int], asyncio.Task[None]] = {}
        self._running_of: Counter[NodeId] = Counter()
        self._tasks: asyncio.TaskGroup | None = None
        transport.on(Kind.REQUEST, self._on_request)
        transport.on(Kind.RESPONSE, self._on_response)
        transport.on(Kind.ERROR, self._on_error)
        transport.on(Kind.CANCEL, self._on_cancel)
        transport.on_link(self._on_link)

    async def run(self) -> None:
        """Serve until cancelled; handlers that are still at work are cancelled with it."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await asyncio.Event().wait()
        finally:
            self._tasks = None

    def serve(self, method: str, handler: CallHandler) -> None:
        """Answer calls of `method` with what `await handler(sender, body)` gives (plain data).

        Raise ValueError if it has a handler already.
        """
        if method in self._methods:
            raise ValueError(f"{method} is served already")
        self._methods[method] = handler

    async def call(
        self,
        to: NodeId,
        method: str,
        body: Any = None,
        *,
        timeout_s: float,
        repeatable: bool = True,
    ) -> Any:
        """Answer what `method` gives at another node. `body` and answer are plain data.

        Raise what its handler raised there; Busy or NodeUnreachable if nothing was sent; TimedOut
        if there was no answer in time (the outcome is then unknown). When the way to the peer
        breaks meanwhile, a `repeatable` call raises NodeUnreachable at once; any other waits on,
        because the answer may still come by the peer's own way to this node.
        """
        if self._outstanding_to[to] >= self._outstanding_limit:
            raise Busy(f"{self._outstanding_limit} calls to {to} wait for their answers")
        request = _Request(self._next_id, method, int(timeout_s * 1000), body)
        self._next_id += 1
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._outstanding[request.call_id] = _Outstanding(to, answer, repeatable)
        self._outstanding_to[to] += 1
        try:
            self._send_request(to, request)
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            self._give_up(to, request.call_id)
            raise TimedOut(f"{to} did not answer {method} within {timeout_s:g} s") from None
        except asyncio.CancelledError:
            self._give_up(to, request.call_id)
            raise
        finally:
            if answer.done() and not answer.cancelled():
                answer.exception()  # an answer in the moment of giving up is nobody's loss
            del self._outstanding[request.call_id]
            self._outstanding_to[to] -= 1

    # --- the calling side -------------------------------------------------------------------------

    def _send_request(self, to: NodeId, request: _Request) -> None:
        if self._transport.send(to, Kind.REQUEST, codec.encode(request)):
            return
        if self._transport.connected(to):
            raise Busy(f"the queue to {to} is full")
        raise NodeUnreachable(f"{to} is not connected")

    def _give_up(self, to: NodeId, call_id: int) -> None:
        self._transport.send(to, Kind.CANCEL, codec.encode(_Cancel(call_id)))

    def _on_response(self, sender: NodeId, body: bytes) -> None:
        response = codec.decode(_Response, body)
        answer = self._waiting_for(sender, response.call_id)
        if answer is not None:
            answer.set_result(response.body)

    def _on_error(self, sender: NodeId, body: bytes) -> None:
        error = codec.decode(_Error, body)
        answer = self._waiting_for(sender, error.call_id)
        if answer is not None:
            answer.set_exception(_to_exception(error))

    def _waiting_for(self, sender: NodeId, call_id: int) -> asyncio.Future[Any] | None:
        """Answer who waits, if it was asked of that sender: nobody answers for another node."""
        outstanding = self._outstanding.get(call_id)
        if outstanding is None or outstanding.to != sender or outstanding.answer.done():
            return None
        return outstanding.answer

    def _on_link(self, node_id: NodeId, up: bool) -> None:
        if up or not self._outstanding_to[node_id]:
            return
        for outstanding in self._outstanding.values():
            affected = outstanding.to == node_id and outstanding.repeatable
            if affected and not outstanding.answer.done():
                reason = f"the connection to {node_id} broke before it answered"
                outstanding.answer.set_exception(NodeUnreachable(reason))

    # --- the serving side -------------------------------------------------------------------------

    def _on_request(self, sender: NodeId, body: bytes) -> None:
        request = codec.decode(_Request, body)
        handler = self._methods.get(request.method)
        if handler is None:
            reason = f"{request.method[:80]!r} is not served here: another version?"
            self._refuse(sender, request.call_id, NotFound(reason))
        elif self._tasks is None or self._running_of[sender] >= self._running_limit:
            self._refuse(sender, request.call_id, Busy("too many calls at once"))
        elif (sender, request.call_id) not in self._running:
            self._start(sender, request, handler)

    def _start(self, sender: NodeId, request: _Request, handler: CallHandler) -> None:
        assert self._tasks is not None
        key = (sender, request.call_id)
        self._running_of[sender] += 1
        task = self._running[key] = self._tasks.create_task(self._serve(sender, request, handler))
        task.add_done_callback(lambda _: self._finished(key))

    def _finished(self, key: tuple[NodeId, int]) -> None:
        del self._running[key]
        self._running_of[key[0]] -= 1

    async def _serve(self, sender: NodeId, request: _Request, handler: CallHandler) -> None:
        try:
            async with asyncio.timeout(min(request.timeout_ms, TIMEOUT_LIMIT_MS) / 1000):
                result = await handler(sender, request.body)
            answer = codec.encode(_Response(request.call_id, result))
            if len(answer) > CONTROL_LIMIT_BYTES:
                raise InputError(f"the answer to {request.method} is too large")
        except PacelineError as error:
            self._refuse(sender, request.call_id, error)
        except TimeoutError:
            log.info("a call took too long", method=request.method, sender=sender)
        except Exception:
            # A mistake in one handler must not end all others, nor tell the peer about our insides.
            log.exception("a call failed", method=request.method, sender=sender)
            self._refuse(sender, request.call_id, PacelineError("the call failed at that node"))
        else:
            self._transport.send(sender, Kind.RESPONSE, answer)

    def _refuse(self, sender: NodeId, call_id: int, error: PacelineError) -> None:
        self._transport.send(sender, Kind.ERROR, codec.encode(_to_error(call_id, error)))

    def _on_cancel(self, sender: NodeId, body: bytes) -> None:
        task = self._running.get((sender, codec.decode(_Cancel, body).call_id))
        if task is not None:
            task.cancel()


# --- errors across the network --------------------------------------------------------------------


_ERROR_TYPES: Final[dict[str, type[PacelineError]]] = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, PacelineError)
}


def _to_error(call_id: int, error: PacelineError) -> _Error:
    name = next(k.__name__ for k in type(error).__mro__ if k.__name__ in _ERROR_TYPES)
    message = error.reason if isinstance(error, InvalidPlan) else str(error)
    return _Error(
        call_id,
        name,
        message[:MESSAGE_LIMIT],
        leader_id=error.leader_id if isinstance(error, NotLeader) else None,
        line=error.line if isinstance(error, InvalidPlan) else None,
    )


def _to_exception(error: _Error) -> PacelineError:
    kind = _ERROR_TYPES.get(error.type_name)
    if kind is None:
        return ProtocolError(f"an unknown error, {error.type_name[:80]!r}: {error.message}")
    if kind is NotLeader:
        return NotLeader(error.leader_id)
    if kind is InvalidPlan:
        return InvalidPlan(error.message, error.line)
    return kind(error.message)
