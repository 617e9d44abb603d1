"""Who founds a cluster, and who joins; with real greeting sockets where it is about the network."""

import asyncio
from collections.abc import Callable

import pytest

from paceline.clock import SystemClock
from paceline.discovery.record import Contact
from paceline.node import founding
from paceline.node.admission import (
    MESSAGES,
    Doorkeeper,
    JoinAnswer,
    Opening,
    Proof,
    decode_message,
)
from paceline.node.founding import FRESH_MS, SETTLE_MS, Founding, Settled, Surroundings
from paceline.node.greeting import Greeting, Hello, HelloReply
from paceline.node.keys import new_keys
from paceline.node.token import TokenKeys
from tests.clocks import ManualClock

OURS = TokenKeys("h", b"k" * 32)
OTHERS = TokenKeys("other", b"o" * 32)


def test_the_lowest_id_founds_once_all_had_time_to_be_found() -> None:
    around = Surroundings(looking={"b": 1000, "c": 1000})
    assert not around.may_found("a", SETTLE_MS - 1, 1000)
    assert around.may_found("a", SETTLE_MS, 1000)
    assert not around.may_found("bb", SETTLE_MS, 1000)
    assert around.may_found("bb", SETTLE_MS, 1000 + FRESH_MS), "the others have gone"


def test_an_address_that_does_not_answer_forbids_founding() -> None:
    around = Surroundings(unanswered={"10.0.0.1:7433"})
    assert not around.may_found("a", 100 * SETTLE_MS, 0)


def test_a_cluster_that_does_not_let_us_in_yet_forbids_founding() -> None:
    around = Surroundings(cluster_ms=1000)
    assert not around.may_found("a", 100 * SETTLE_MS, 1000 + FRESH_MS - 1)
    assert around.may_found("a", 100 * SETTLE_MS, 1000 + FRESH_MS), "it has gone"


class Stranger:
    """A node with a greeting socket and nothing else."""

    def __init__(
        self, *, keys: TokenKeys, hint: str = "", cluster_id: str = "", accepts: bool = True
    ) -> None:
        self.keys = keys
        self.hint = hint or keys.hint
        self.cluster_id = cluster_id
        self.accepts = accepts
        self.asked: list[str] = []
        self.openings = 0
        self.greeting = Greeting(bind_host="127.0.0.1", answer=self._answer, join=self._join)

    async def open(self) -> Contact:
        await self.greeting.open()
        self.contact = contact_at(self.greeting.port, self.hint, founded=bool(self.cluster_id))
        self.door = Doorkeeper(own=lambda: self.contact, clock=SystemClock())
        return self.contact

    def _answer(self, hello: Hello) -> HelloReply:
        return HelloReply(Hello(self.contact))

    async def _join(self, body: bytes, address: str) -> bytes:
        message = decode_message(body)
        if isinstance(message, Opening):
            self.openings += 1
            challenge = self.door.challenge(
                message, self.keys, cluster_id=self.cluster_id, has_work=False
            )
            return MESSAGES.encode(challenge)
        assert isinstance(message, Proof)
        proven = self.door.verify(message, self.keys, cluster_id=self.cluster_id)
        self.asked.append(proven.standing.contact.node_id)
        answer = (
            JoinAnswer(True, "", self.cluster_id, (self.contact,))
            if self.accepts
            else JoinAnswer(False, "no room")
        )
        return MESSAGES.encode(proven.verdict(answer))


def contact_at(port: int, hint: str, *, founded: bool = False) -> Contact:
    keys = new_keys()
    return Contact(
        node_id=keys.node_id,
        public_key=keys.public,
        hosts=("127.0.0.1",),
        join_port=port,
        control_port=port + 1,
        bulk_port=port + 2,
        cluster_hint=hint,
        founded=founded,
    )


async def settle(
    stranger: Stranger,
    clock: ManualClock,
    *,
    until: Callable[[], bool],
    own_ids: list[str] | None = None,
    step_ms: int = SETTLE_MS // 5,
) -> Settled | None:
    """Answer how a newcomer that was given the stranger's address settles, or None if it waits."""
    there = await stranger.open()
    own = contact_at(9, OURS.hint)
    if own_ids is not None:
        own_ids.append(own.node_id)
    work = Founding(
        own=lambda: own,
        addresses=there.joins,
        known=tuple,
        learn=lambda contact: None,
        keys=OURS,
        clock=clock,
    )
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(stranger.greeting.run())
        settling = group.create_task(work.settle())
        while not settling.done() and not until():
            clock.advance(step_ms)
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
    stranger = Stranger(keys=OURS, cluster_id="c1")
    settled = asyncio.run(settle(stranger, ManualClock(), until=lambda: False))
    assert settled == Settled("c1", founded=False, members=(stranger.contact,))
    assert len(stranger.asked) == 1


def test_it_asks_again_when_it_is_refused() -> None:
    stranger = Stranger(keys=OURS, cluster_id="c1", accepts=False)
    clock = ManualClock()
    asked_thrice = settle(stranger, clock, until=lambda: len(stranger.asked) > 2, step_ms=20)
    settled = asyncio.run(asked_thrice)
    assert settled is None


def test_another_token_is_another_cluster_and_nothing_is_founded_instead() -> None:
    stranger = Stranger(keys=OTHERS, cluster_id="c1")
    clock = ManualClock()
    late = clock.now_ms() + 20 * SETTLE_MS
    settled = asyncio.run(settle(stranger, clock, until=lambda: clock.now_ms() > late))
    assert settled is None
    assert stranger.openings == 0


def test_an_impostor_with_the_right_hint_gets_no_proof() -> None:
    """The hint can be had by anybody who listens; it opens nothing."""
    stranger = Stranger(keys=TokenKeys(OURS.hint, b"a guess".ljust(32)), cluster_id="c1")
    clock = ManualClock()
    settled = asyncio.run(settle(stranger, clock, until=lambda: stranger.openings > 2))
    assert settled is None
    assert stranger.asked == [], "who cannot prove first is shown nothing"


def test_of_two_newcomers_only_the_one_with_the_lower_id_founds() -> None:
    for _ in range(6):  # the ids are random: both outcomes come up
        stranger = Stranger(keys=OURS)
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
    result = await settle(stranger, clock, until=lambda: clock.now_ms() > late, own_ids=own_ids)
    return result, own_ids[0]
