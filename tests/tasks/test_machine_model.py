"""Random commands, in any order, repeated and stale: the SQLite machine against its dumb twin.

Hypothesis looks for the short game that goes wrong; the long games, one per seed, get to where
tasks complete, fail, are cancelled and retried many times over.
"""

from collections.abc import Callable
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from paceline.tasks.model import BlobRef, Outcome, RepositoryChange, ResultStatus
from tests.tasks.entries import OK
from tests.tasks.game import NODES, Game

Move = Callable[[Game, Random], None]

CHANGE = RepositoryChange("base", "start", "commit", BlobRef("ab" * 32, 512, ("n1", "n2")), 1, 2, 3)

MOVES: dict[Move, int] = {
    lambda g, r: g.submit(_shape(r), r.randint(1, 3), r.choice(["", "", "k1", "k2"])): 4,
    lambda g, r: g.place_what_is_ready(r.randrange(100), r.choice(NODES)): 40,
    lambda g, r: g.finish_what_is_active(r.randrange(100), _outcome(r)): 25,
    lambda g, r: g.lose_what_is_active(r.randrange(100), _seldom(r)): 6,
    lambda g, r: g.start(r.randrange(5), r.choice(NODES), _seldom(r)): 25,
    lambda g, r: g.finish(r.randrange(100), r.choice(NODES), _outcome(r), _seldom(r)): 6,
    lambda g, r: g.lose(r.choices(range(100), k=3), _seldom(r)): 3,
    lambda g, r: g.allocate(r.choices(range(100), k=3), r.choice(NODES), -_seldom(r)): 6,
    lambda g, r: g.cancel(r.randrange(100)): 3,
    lambda g, r: g.cancel_subtask(r.randrange(1_000)): 4,
    lambda g, r: g.change(
        r.randrange(100),
        r.choice([None, False, False, True]),
        r.choice([None, 0, 90]),
        r.choice([None, None, 0, 50]),
    ): 5,
    lambda g, r: g.end_overdue(): 3,
    lambda g, r: g.retry(r.randrange(100)): 6,
    lambda g, r: g.set_budget(r.randrange(100), r.choice([None, 0.0, 1.5, 20.0])): 3,
    lambda g, r: g.judge(r.choice(NODES), r.choice(["online", "online", "offline"])): 3,
    lambda g, r: g.register(r.choice(NODES)): 3,
    lambda g, r: g.forget(r.choice(NODES)): 1,
    lambda g, r: g.found(r.randrange(2), r.choice(NODES)): 2,
    lambda g, r: g.admit(r.choice(NODES), r.choice(NODES)): 6,
    lambda g, r: g.trust(r.choice(NODES), r.random() < 0.7, r.choice(NODES)): 4,
    lambda g, r: g.revoke(r.choice(NODES), r.choice(NODES)): 1,
    lambda g, r: g.rotate(r.choice(NODES)): 1,
    lambda g, r: g.remove(r.choice(NODES), r.choice(NODES)): 1,
    lambda g, r: g.recover(r.choice(NODES)): 1,
    lambda g, r: g.repeat(r.randrange(1_000)): 6,
    lambda g, r: g.no_command(r.choice([0, 2])): 1,
    lambda g, r: g.catch_up(r.randint(1, 100)): 3,
    lambda g, r: g.restore(): 1,
}
"""What may be played, and how often."""


def _seldom(random: Random) -> int:
    return random.choice([0, 0, 0, 0, 1])


def _outcome(random: Random) -> Outcome:
    status = random.choice([*ResultStatus, *[ResultStatus.OK] * 15])
    after_ms = random.choice([None, 0, 5_000]) if status is ResultStatus.QUOTA else None
    change = CHANGE if random.random() < 0.3 else None
    return Outcome(status, "words", retryable_after_ms=after_ms, change=change)


def _shape(random: Random) -> list[list[int]]:
    return [
        [random.randrange(100) for _ in range(random.randrange(3))]
        for _ in range(random.randint(1, 6))
    ]


@pytest.mark.parametrize("seed", range(12))
def test_a_long_game(seed: int) -> None:
    random = Random(seed)
    game = Game()
    try:
        for move in random.choices(list(MOVES), list(MOVES.values()), k=400):
            move(game, random)
            game.check()
        game.end()
        assert "completed" in {sub.status for sub in game.twin.subtasks.values()}
    finally:
        game.close()


PICKS = st.integers(0, 99)
NODE = st.sampled_from(NODES)
SKEW = st.sampled_from([0, 0, 0, 1])
OUTCOMES = st.one_of(
    st.just(OK),
    st.builds(Outcome, st.sampled_from(ResultStatus), st.just("words")),
    st.builds(Outcome, st.just(ResultStatus.QUOTA), retryable_after_ms=st.integers(0, 10**7)),
)


class ShortGame(RuleBasedStateMachine):
    """The same moves as rules."""

    def __init__(self) -> None:
        super().__init__()
        self.game = Game()

    def teardown(self) -> None:
        try:
            self.game.end()
        finally:
            self.game.close()

    @invariant()
    def all_agree(self) -> None:
        self.game.check()

    @rule(
        shape=st.lists(st.lists(PICKS, max_size=2), min_size=1, max_size=5),
        max_attempts=st.integers(1, 3),
        key=st.sampled_from(["", "k1", "k2"]),
    )
    def submit(self, shape: list[list[int]], max_attempts: int, key: str) -> None:
        self.game.submit(shape, max_attempts, key)

    @rule(picks=st.lists(PICKS, max_size=3), node_id=NODE, skew=SKEW)
    def allocate(self, picks: list[int], node_id: str, skew: int) -> None:
        self.game.allocate(picks, node_id, -skew)

    @rule(pick=PICKS, node_id=NODE)
    def place_what_is_ready(self, pick: int, node_id: str) -> None:
        self.game.place_what_is_ready(pick, node_id)

    @rule(pick=PICKS, node_id=NODE, skew=SKEW)
    def start(self, pick: int, node_id: str, skew: int) -> None:
        self.game.start(pick, node_id, skew)

    @rule(pick=PICKS, node_id=NODE, outcome=OUTCOMES, skew=SKEW)
    def finish(self, pick: int, node_id: str, outcome: Outcome, skew: int) -> None:
        self.game.finish(pick, node_id, outcome, skew)

    @rule(pick=PICKS, outcome=OUTCOMES)
    def finish_what_is_active(self, pick: int, outcome: Outcome) -> None:
        self.game.finish_what_is_active(pick, outcome)

    @rule(picks=st.lists(PICKS, max_size=3), skew=SKEW)
    def lose(self, picks: list[int], skew: int) -> None:
        self.game.lose(picks, skew)

    @rule(pick=PICKS, skew=SKEW)
    def lose_what_is_active(self, pick: int, skew: int) -> None:
        self.game.lose_what_is_active(pick, skew)

    @rule(pick=PICKS)
    def cancel(self, pick: int) -> None:
        self.game.cancel(pick)

    @rule(pick=PICKS)
    def cancel_subtask(self, pick: int) -> None:
        self.game.cancel_subtask(pick)

    @rule(
        pick=PICKS,
        paused=st.sampled_from([None, False, True]),
        priority=st.sampled_from([None, 0, 90]),
        deadline_in_ms=st.sampled_from([None, 0, 5]),
    )
    def change(
        self, pick: int, paused: bool | None, priority: int | None, deadline_in_ms: int | None
    ) -> None:
        self.game.change(pick, paused, priority, deadline_in_ms)

    @rule()
    def end_overdue(self) -> None:
        self.game.end_overdue()

    @rule(pick=PICKS)
    def retry(self, pick: int) -> None:
        self.game.retry(pick)

    @rule(pick=PICKS, budget_usd=st.sampled_from([None, -1.0, 2.0, 3.5]))
    def set_budget(self, pick: int, budget_usd: float | None) -> None:
        self.game.set_budget(pick, budget_usd)

    @rule(node_id=NODE, status=st.sampled_from(["online", "offline"]))
    def judge(self, node_id: str, status: str) -> None:
        self.game.judge(node_id, status)

    @rule(node_id=NODE)
    def register(self, node_id: str) -> None:
        self.game.register(node_id)

    @rule(node_id=NODE)
    def forget(self, node_id: str) -> None:
        self.game.forget(node_id)

    @rule(number=st.integers(0, 1), node_id=NODE)
    def found(self, number: int, node_id: str) -> None:
        self.game.found(number, node_id)

    @rule(node_id=NODE, by=NODE)
    def admit(self, node_id: str, by: str) -> None:
        self.game.admit(node_id, by)

    @rule(node_id=NODE, by=NODE)
    def revoke(self, node_id: str, by: str) -> None:
        self.game.revoke(node_id, by)

    @rule(by=NODE)
    def rotate(self, by: str) -> None:
        self.game.rotate(by)

    @rule(node_id=NODE, wanted=st.booleans(), by=NODE)
    def trust(self, node_id: str, wanted: bool, by: str) -> None:
        self.game.trust(node_id, wanted, by)

    @rule(node_id=NODE, by=NODE)
    def remove(self, node_id: str, by: str) -> None:
        self.game.remove(node_id, by)

    @rule(node_id=NODE)
    def recover(self, node_id: str) -> None:
        self.game.recover(node_id)

    @rule(pick=PICKS)
    def repeat(self, pick: int) -> None:
        self.game.repeat(pick)

    @rule(kind=st.sampled_from([0, 2]))
    def no_command(self, kind: int) -> None:
        self.game.no_command(kind)

    @rule(batch=st.integers(1, 40))
    def catch_up(self, batch: int) -> None:
        self.game.catch_up(batch)

    @rule()
    def restore(self) -> None:
        self.game.restore()


TestShortGame = ShortGame.TestCase
TestShortGame.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
