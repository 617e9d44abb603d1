"""Calls between two nodes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from paceline import codec, errors
from paceline.errors import (
    Busy,
    InvalidPlan,
    NodeUnreachable,
    NotFound,
    NotLeader,
    PacelineError,
    StorageFull,
    TimedOut,
)
from paceline.node.calls import Calls
from paceline.node.keys import new_keys
from paceline.node.wire import CONTROL_LIMIT_BYTES, Kind
from tests.node.transports import Station, connected, run, until


@asynccontextmanager
async def callers(**limits: int) -> AsyncIterator[tuple[Station, Calls, Station, Calls]]:
    """Open two connected nodes that serve each other's calls."""
    async with connected(2) as (a, b):
        calls_a, calls_b = (Calls(transport=one.transport, **limits) for one in (a, b))
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(calls.run()) for calls in (calls_a, calls_b)]
            await asyncio.sleep(0)
            yield a, calls_a, b, calls_b
            for task in running:
                task.cancel()


Test = Callable[[Calls, Station, Calls], Awaitable[None]]


def with_two(test: Test, **limits: int) -> None:
    """Run a test with the calls of one node, the other node, and its calls."""

    async def body() -> None:
        async with callers(**limits) as (_, mine, other, theirs):
            await test(mine, other, theirs)

    run(body())


async def forever(sender: str, body: Any) -> Any:
    await asyncio.Event().wait()


def test_a_call_is_answered_and_knows_who_asks() -> None:
    async def test() -> None:
        async with callers() as (a, mine, b, theirs):

            async def serve(sender: str, body: Any) -> Any:
                return [sender, body]

            theirs.serve("echo", serve)
            body = {"text": "x", "list": [1, None, b"raw", 2.5]}
            assert await mine.call(b.node_id, "echo", body, timeout_s=20) == [a.node_id, body]

    run(test())


def test_many_calls_at_once_are_told_apart() -> None:
    async def test(mine: Calls, other: Station, theirs: Calls) -> None:
        async def serve(sender: str, body: Any) -> Any:
            await asyncio.sleep(0.001 * (body % 7))
            return body * 2

        theirs.serve("double", serve)
        answers = await asyncio.gather(
            *[mine.call(other.node_id, "double", n, timeout_s=20) for n in range(500)]
        )
        assert answers == [2 * n for n in range(500)]

    with_two(test)


@pytest.mark.parametrize(
    "error",
    [
        kind("planted")
        for kind in vars(errors).values()
        if isinstance(kind, type) and kind not in {NotLeader, InvalidPlan}
    ],
    ids=lambda error: type(error).__name__,
)
def test_each_error_is_raised_as_its_own_type(error: PacelineError) -> None:
    async def test(mine: Calls, other: Station, theirs: Calls) -> None:
        async def serve(sender: str, body: Any) -> Any:
            raise error

        theirs.serve("fail", serve)
        with pytest.raises(PacelineError, match="planted") as caught:
            await mine.call(other.node_id, "fail", timeout_s=20)
        assert type(caught.value) is type(error)

    with_two(test)


def test_errors_keep_their_details() -> None:
    async def test(mine: Calls, other: Station, theirs: Calls) -> None:
        async def not_leader(sender: str, body: Any) -> Any:
            raise NotLeader("abc")

        async def invalid(sender: str, body: Any) -> Any:
            raise InvalidPlan("no such key", 7)

        theirs.serve("lead", not_leader)
        theirs.serve("plan", invalid)
        with pytest.raises(NotLeader) as leader:
            await mine.call(other.node_id, "lead", timeout_s=20)
        assert leader.value.leader_id == "abc"
        with pytest.raises(InvalidPlan) as plan:
            await mine.call(other.node_id, "plan", timeout_s=20)
        assert str(plan.value) == "line 7: no such key"
        assert plan.value.line == 7

    with_two(test)


def test_a_subtype_of_a_listed_error_arrives_as_that() -> None:
    class DiskFull(StorageFull):
        """Known here only."""

    async def test(mine: Calls, other: Station, theirs: Calls) -> None:
        async def serve(sender: str, body: Any) -> Any:
            raise DiskFull("no room")

        theirs.serve("fail", serve)
        with pytest.raises(StorageFull) as caught:
            await mine.call(other.node_id, "fail", timeout_s=20)
        assert type(caught.value) is StorageFull

    with_two(test)


def test_a_mistake_in_a_handler_fails_that_call_only_and_tells_nothing() -> None:
    async def test(mine: Calls, other: Station, theirs: Calls) -> None:
        async def broken(sender: str, body: Any) -> Any:
            raise KeyError("a secret detail")

        async def unencodable(sender: str, body: Any) -> Any:
            return object()

        async def fine(sender: str, body: Any) -> Any:
            return "fine"

        theirs.serve("broken", broken)
        theirs.serve("unencodable", unencodable)
        theirs.serve("fine", fine)
        for method in ("broken", "unencodable"):
            with pytest.raises(PacelineError) as caught:
                await mine.call(other.node_id, method, timeout_s=20)
            assert "secret" not in str(caught.value)
        assert await mine.call(other.node_id, "fine", timeout_s=20) == "fine"

    with_two(test)


def test_an_unknown_method_is_not_found() -> None:
    async def test(mine: Calls, other: Station, theirs: Calls) -> None:
        with pytest.raises(NotFound, match="not served"):
            await mine.call(other.node_id, "later-version", timeout_s=20)

    with_two(test)


def test_no_answer_in_time_is_said_so_and_the_work_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def test(mine: Calls, other: Station, theirs: Calls) -> None:
        async def serve(sender: str, body: Any) -> Any:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        theirs.serve("never", serve)
        with pytest.raises(TimedOut, match="did not answer"):
            await mine.call(other.node_id, "never", timeout_s=0.1)
        await cancelled.wait()

    with_two(test)


def test_a_caller_that_is_cancelled_cancels_the_work() -> None:
    async def test(mine: Calls, other: Station, theirs: Calls) -> None:
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def serve(sender: str, body: Any) -> Any:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        theirs.serve("never", serve)
        task = asyncio.create_task(mine.call(other.node_id, "never", timeout_s=20))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await cancelled.wait()

    with_two(test)


def test_a_call_to_nobody_fails_at_once() -> None:
    async def test(mine: Calls, other: Station, theirs: Calls) -> None:
        with pytest.raises(NodeUnreachable):
            await mine.call(new_keys().node_id, "anything", timeout_s=20)

    with_two(test)


def test_calls_that_wait_are_bounded() -> None:
    async def test(mine: Calls, other: Station, theirs: Calls) -> None:
        theirs.serve("never", forever)
        waiting = [
            asyncio.create_task(mine.call(other.node_id, "never", timeout_s=20)) for _ in range(8)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await mine.call(other.node_id, "never", timeout_s=20)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    with_two(test, outstanding_limit=8)


def test_calls_that_are_worked_on_are_bounded() -> None:
    async def test(mine: Calls, other: Station, theirs: Calls) -> None:
        theirs.serve("never", forever)
        waiting = [
            asyncio.create_task(mine.call(other.node_id, "never", timeout_s=20)) for _ in range(8)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="too many"):
            await mine.call(other.node_id, "never", timeout_s=20)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    with_two(test, running_limit=8)


def test_a_repeatable_call_fails_when_the_peer_is_lost_and_another_waits() -> None:
    async def test() -> None:
        async with callers() as (_a, mine, b, theirs):
            theirs.serve("never", forever)
            repeatable = asyncio.create_task(mine.call(b.node_id, "never", timeout_s=20))
            once = asyncio.create_task(mine.call(b.node_id, "never", timeout_s=2, repeatable=False))
            await asyncio.sleep(0.05)
            b.transport.close()
            with pytest.raises(NodeUnreachable, match="broke"):
                await repeatable
            assert not once.done()
            with pytest.raises(TimedOut):
                await once

    run(test())


def test_before_it_serves_a_node_says_that_it_is_busy() -> None:
    async def test() -> None:
        async with connected(2) as (a, b):
            mine, theirs = Calls(transport=a.transport), Calls(transport=b.transport)
            theirs.serve("never", forever)
            with pytest.raises(Busy):
                await mine.call(b.node_id, "never", timeout_s=20)

    run(test())


def test_nobody_answers_for_another_node() -> None:
    async def test() -> None:
        async with connected(3) as (a, b, c):
            mine = Calls(transport=a.transport)
            ids: list[int] = []
            b.transport.on(Kind.REQUEST, lambda sender, body: ids.append(codec.unpack(body)[0]))
            call = asyncio.create_task(mine.call(b.node_id, "never", timeout_s=20))
            await until(lambda: bool(ids))
            c.transport.send(a.node_id, Kind.RESPONSE, codec.pack([ids[0], "forged"]))
            c.transport.send(a.node_id, Kind.ERROR, codec.pack([ids[0], "NotFound", "forged"]))
            c.transport.send(a.node_id, Kind.VITALS, b"sent after")
            await a.received()
            assert not call.done()
            b.transport.send(a.node_id, Kind.RESPONSE, codec.pack([ids[0], "true"]))
            assert await call == "true"

    run(test())


def test_malformed_calls_are_dropped() -> None:
    async def test() -> None:
        async with callers() as (a, mine, b, _theirs):
            for kind in (Kind.REQUEST, Kind.RESPONSE, Kind.ERROR, Kind.CANCEL):
                for body in (b"", b"\xc1", codec.pack(["x"]), codec.pack([])):
                    a.transport.send(b.node_id, kind, body)
            with pytest.raises(NotFound):
                await mine.call(b.node_id, "still alive", timeout_s=20)
            stats = b.transport.link_stats(a.node_id)
            assert stats is not None
            assert stats.malformed == 16

    run(test())


def test_an_error_of_a_later_version_is_still_an_error() -> None:
    async def test() -> None:
        async with connected(2) as (a, b):
            mine = Calls(transport=a.transport)

            def refuse(sender: str, body: bytes) -> None:
                answer = codec.pack([codec.unpack(body)[0], "SystemExit", "odd"])
                b.transport.send(a.node_id, Kind.ERROR, answer)

            b.transport.on(Kind.REQUEST, refuse)
            with pytest.raises(PacelineError, match="SystemExit"):
                await mine.call(b.node_id, "anything", timeout_s=20)

    run(test())


def test_an_answer_that_is_too_large_is_an_error() -> None:
    async def test(mine: Calls, other: Station, theirs: Calls) -> None:
        async def serve(sender: str, body: Any) -> Any:
            return bytes(CONTROL_LIMIT_BYTES)

        theirs.serve("large", serve)
        with pytest.raises(PacelineError, match="too large"):
            await mine.call(other.node_id, "large", timeout_s=20)

    with_two(test)


def test_a_method_has_one_handler() -> None:
    async def test(mine: Calls, other: Station, theirs: Calls) -> None:
        mine.serve("method", forever)
        with pytest.raises(ValueError, match="served already"):
            mine.serve("method", forever)

    with_two(test)
