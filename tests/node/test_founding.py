"""Who founds a cluster, and who joins; with real greeting sockets where it is about the network."""

import asyncio
from collections.abc import Callable

import pytest

from paceline.codec import decode, encode
from paceline.discovery.record import Contact
from paceline.node import founding
from paceline.node.founding import (
    FRESH_MS,
    SETTLE_MS,
    Founding,
    Settled,
    Surroundings,
    cluster_hint,
)
from paceline.node.greeting import Greeting, Hello, HelloReply
from paceline.node.keys import new_keys
from paceline.node.members import JoinAnswer, JoinRequest
from tests.clocks import ManualClock


def test_the_hint_tells_tokens_apart_and_gives_none_away() -> None:
    hints = {cluster_hint(token) for token in (None, "one-token-of-mine", "another-of-mine")}
    assert len(hints) == 3
    assert not any("mine" in hint for hint in hints)
    assert cluster_hint("one-token-of-mine") == cluster_hint("one-token-of-mine")


def test_the_lowest_id_founds_once_all_had_time_to_be_found() -> None:
    around = Surroundings(looking={"b": 1000, "c": 1000})
    assert not around.may_found("a", SETTLE_MS - 1, 1000)
    assert around.may_found("a", SETTLE_MS, 1000)
    assert not around.may_found("bb", SETTLE_MS, 1000)
    assert around.may_found("bb", SETTLE_MS, 1000 + FRESH_MS), "the others have gone"


def test_an_address_that_does_not_answer_forbids_founding() -> None:
    around = Surroundings(unanswered={"10.0.0.1:7433"})
    assert not around.may_found("a", 100 * SETTLE_MS, 0)


class Stranger:
    """A node with a greeting socket and nothing else."""

    def __init__(self, *, hint: str, cluster_id: str = "", accepts: bool = True) -> None:
        self.hint = hint
        self.cluster_id = cluster_id
        self.accepts = accepts
        self.asked: list[str] = []
        self.greeting = Greeting(bind_host="127.0.0.1", answer=self._answer, join=self._join)

    async def open(self) -> Contact:
        await self.greeting.open()
        self.contact = contact_at(self.greeting.port, self.hint)
        return self.contact

    def _answer(self, hello: Hello) -> HelloReply:
        return HelloReply(Hello(self.contact, self.cluster_id))

    async def _join(self, body: bytes, address: str) -> bytes:
        self.asked.append(decode(JoinRequest, body).contact.node_id)
        if self.accepts:
            return encode(JoinAnswer(True, "", self.cluster_id, (self.contact,)))
        return encode(JoinAnswer(False, "no room"))


def contact_at(port: int, hint: str) -> Contact:
    keys = new_keys()
    return Contact(
        node_id=keys.node_id,
        public_key=keys.public,
        hosts=("127.0.0.1",),
        join_port=port,
        control_port=port + 1,
        bulk_port=port + 2,
        cluster_hint=hint,
        founded=False,
    )


async def settle(
    stranger: Stranger,
    clock: ManualClock,
    *,
    own_hint: str,
    until: Callable[[], bool],
    own_ids: list[str] | None = None,
) -> Settled | None:
    """Answer how a newcomer that was given the stranger's address settles, or None if it waits."""
    there = await stranger.open()
    own = contact_at(9, own_hint)
    if own_ids is not None:
        own_ids.append(own.node_id)
    work = Founding(
        own=lambda: own,
        addresses=there.joins,
        known=tuple,
        learn=lambda contact: None,
        clock=clock,
    )
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(stranger.greeting.run())
        settling = group.create_task(work.settle())
        while not settling.done() and not until():
            clock.advance(SETTLE_MS // 5)
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        result = settling.result() if settling.done() else None
        settling.cancel()
        serving.cancel()
    stranger.greeting.close()
    return result


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(founding, "PAUSE_S", 0.01)


def test_a_newcomer_joins_the_cluster_that_it_was_pointed_to() -> None:
    stranger = Stranger(hint="h", cluster_id="c1")
    settled = asyncio.run(settle(stranger, ManualClock(), own_hint="h", until=lambda: False))
    assert settled == Settled("c1", founded=False, members=(stranger.contact,))
    assert len(stranger.asked) == 1


def test_it_asks_again_when_it_is_refused() -> None:
    stranger = Stranger(hint="h", cluster_id="c1", accepts=False)
    clock = ManualClock()
    settled = asyncio.run(
        settle(stranger, clock, own_hint="h", until=lambda: len(stranger.asked) > 2)
    )
    assert settled is None


def test_another_token_is_another_cluster_and_nothing_is_founded_instead() -> None:
    stranger = Stranger(hint="other", cluster_id="c1")
    clock = ManualClock()
    late = clock.now_ms() + 20 * SETTLE_MS
    settled = asyncio.run(
        settle(stranger, clock, own_hint="h", until=lambda: clock.now_ms() > late)
    )
    assert settled is None
    assert stranger.asked == []


def test_of_two_newcomers_only_the_one_with_the_lower_id_founds() -> None:
    for _ in range(6):  # the ids are random: both outcomes come up
        stranger = Stranger(hint="h")
        clock = ManualClock()
        late = clock.now_ms() + 4 * SETTLE_MS
        result, own_id = asyncio.run(two_newcomers(stranger, clock, late))
        if own_id < stranger.contact.node_id:
            assert result is not None
            assert result.founded
        else:
            assert result is None


async def two_newcomers(
    stranger: Stranger, clock: ManualClock, late: int
) -> tuple[Settled | None, str]:
    own_ids: list[str] = []
    result = await settle(
        stranger, clock, own_hint="h", until=lambda: clock.now_ms() > late, own_ids=own_ids
    )
    return result, own_ids[0]
