"""Scores and finds of the corpus as tables: `python -m tests.corpus.calibrate [held_out] [-v]`.

Recall of a class: of the changes that have this flaw, how many are told so. Precision: of the
changes that are told so, how many have it. A change may have further flaws than the one it was
written for; those are in its heading and count as well.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.corpus.corpus import CASES, HELD_OUT, Grade, Scored, load, rules_of, score_all


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one class: rightly told, wrongly told, and not told though it is there."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def recall(self) -> float:
        return self.right / (self.right + self.missed) if self.right + self.missed else 1.0


def count(scored: Sequence[Scored]) -> dict[str, Counts]:
    """Answer the counts of each class that anything in the corpus was written for."""
    classes = sorted({flaw for one in scored for flaw in one.variant.classes})
    return {flaw: _count(flaw, scored) for flaw in classes}


def _count(flaw: str, scored: Iterable[Scored]) -> Counts:
    pairs = Counter((flaw in _all_classes(one), bool(one.rules & rules_of(flaw))) for one in scored)
    return Counts(pairs[True, True], pairs[False, True], pairs[True, False])


def _all_classes(one: Scored) -> set[str]:
    """Answer the flaws of a change; classes that the same rules stand for are one."""
    rules = [rules_of(flaw) for flaw in one.variant.classes]
    same = {"stub", "placeholder"} if any("stub" in r for r in rules) else set()
    return {*one.variant.classes, *same}


def main(arguments: list[str]) -> None:
    directory = HELD_OUT if "held_out" in arguments else CASES
    scored = asyncio.run(score_all(load(directory)))
    if "-v" in arguments:
        for one in scored:
            parts = " ".join(f"{p.name}={p.score}" for p in one.evaluation.parts)
            print(f"{one.score:5.2f} {one.variant.grade.name:9} {one.variant.name:45} {parts}")
            print("      " + ", ".join(sorted(one.rules)))
    for grade in reversed(Grade):
        scores = sorted(one.score for one in scored if one.variant.grade is grade)
        middle = scores[len(scores) // 2]
        print(
            f"{grade.name.lower():10} {len(scores):3} changes:"
            f" {scores[0]:.2f} - {middle:.2f} - {scores[-1]:.2f}"
        )
    print("\n| class | changes | precision | recall |\n|---|---|---|---|")
    counts = count(scored)
    for flaw, found in counts.items():
        total = found.right + found.missed
        print(f"| {flaw} | {total} | {found.precision:.2f} | {found.recall:.2f} |")
    everything = Counts(
        sum(c.right for c in counts.values()),
        sum(c.wrong for c in counts.values()),
        sum(c.missed for c in counts.values()),
    )
    print(f"| all | {len(scored)} | {everything.precision:.2f} | {everything.recall:.2f} |")


if __name__ == "__main__":
    main(sys.argv[1:])
