"""Random scores, reviews and decisions among all other commands: the machine against its twin."""

from collections.abc import Callable
from random import Random

import pytest

from paceline.tasks.draft import CHECKPOINT, REVIEW
from paceline.tasks.model import (
    BlobRef,
    CheckpointFrequency,
    Evaluation,
    Finding,
    Outcome,
    RepositoryChange,
    ResultStatus,
    Review,
)
from tests.tasks.game import NODES
from tests.tasks.judging import JudgingGame

Move = Callable[[JudgingGame, Random], None]

CHANGE = RepositoryChange("base", "start", "commit", BlobRef("ab" * 32, 512, ("n1", "n2")), 1, 2, 3)
CONFLICTS = [ResultStatus.CONFLICT] * 3
DECISIONS = ["accept", "accept", "correct", "reject", "fail"]

MOVES: dict[Move, int] = {
    lambda g, r: g.submit_marked(_shape(r), _marks(r), r.choice(list(CheckpointFrequency))): 5,
    lambda g, r: g.place_what_is_ready(r.randrange(100), r.choice(NODES)): 40,
    lambda g, r: g.review_what_waits(r.randrange(100), r.choice(NODES)): 25,
    lambda g, r: g.finish_what_is_active(r.randrange(100), _outcome(r)): 40,
    lambda g, r: g.start(r.randrange(5), r.choice(NODES), r.choice([0, 0, 0, 1])): 20,
    lambda g, r: g.finish(r.randrange(100), r.choice(NODES), _outcome(r)): 6,
    lambda g, r: g.lose_what_is_active(r.randrange(100)): 6,
    lambda g, r: g.open(r.randrange(100), r.random() < 0.5): 5,
    lambda g, r: g.resolve(r.randrange(100), r.choice(DECISIONS)): 20,
    lambda g, r: g.allocate(r.choices(range(100), k=3), r.choice(NODES)): 6,
    lambda g, r: g.cancel(r.randrange(100)): 2,
    lambda g, r: g.retry(r.randrange(100)): 6,
    lambda g, r: g.judge(r.choice(NODES), r.choice(["online", "online", "offline"])): 2,
    lambda g, r: g.register(r.choice(NODES)): 3,
    lambda g, r: g.forget(r.choice(NODES)): 1,
    lambda g, r: g.repeat(r.randrange(1_000)): 6,
    lambda g, r: g.catch_up(r.randint(1, 100)): 3,
    lambda g, r: g.restore(): 1,
}
"""What may be played, and how often."""


def _marks(random: Random) -> list[str]:
    return random.choices([REVIEW, CHECKPOINT, "none"], k=3)


def _shape(random: Random) -> list[list[int]]:
    return [
        [random.randrange(100) for _ in range(random.randrange(3))]
        for _ in range(random.randint(1, 5))
    ]


def _outcome(random: Random) -> Outcome:
    status = random.choice([*ResultStatus, *CONFLICTS, *[ResultStatus.OK] * 25])
    changed = random.random() < 0.6
    score = random.choice([None, 3.0, 6.0, 9.0, 9.0, 9.0])
    finding = Finding("a.py", 1, "high", "it is wrong")
    evaluation = Evaluation(score, findings=(finding,), tests_failed=random.random() < 0.1)
    return Outcome(
        status,
        "words",
        retryable_after_ms=5_000 if status is ResultStatus.QUOTA else None,
        change=CHANGE if changed else None,
        evaluation=evaluation if changed and random.random() < 0.7 else None,
        review=random.choice([None, *[Review(True), Review(False, "no", (finding,))] * 3]),
    )


def _play(seed: int) -> set[tuple[str, ...]]:
    """Play a long game; answer which checkpoints and reviews there were."""
    random = Random(seed)
    game = JudgingGame()
    try:
        for move in random.choices(list(MOVES), list(MOVES.values()), k=500):
            move(game, random)
            game.check()
        game.end()
        reviewed = any(past.reviews for past in game.twin.past.values())
        kinds = {(str(kind), status) for _, _, kind, status in game.twin.checkpoints}
        return kinds | ({("reviewed",)} if reviewed else set())
    finally:
        game.close()


@pytest.mark.parametrize("seed", range(6))
def test_a_long_game(seed: int) -> None:
    assert _play(seed)


def test_the_games_get_everywhere() -> None:
    seen = set[tuple[str, ...]]().union(*map(_play, range(104, 109)))
    assert {
        *(
            (kind, "resolved")
            for kind in ("scheduled", "evaluation", "conflict", "manual", "review")
        ),
        ("scheduled", "skipped"),
        ("reviewed",),
    } <= seen
