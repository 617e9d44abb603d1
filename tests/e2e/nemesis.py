"""Who breaks things: a seeded sequence of faults on a `kv_cluster`, two at a time at most.

The seed fixes which faults come, how long they last and how targets are chosen. Real processes do
not run the same way twice, so it fixes no run; `tests.sim` does that.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass

from tests.e2e.kv_cluster import KvCluster

FAULTS = ("kill", "pause", "partition", "disk-full")
ISOLATED = frozenset({"partition", "disk-full"})
"""These need a cluster whose nodes are isolated."""
AT_ONCE = 2
HOLD_S = (0.2, 4.0)
REST_S = (0.1, 1.5)
STEP_S = 0.05
REVIVE_S = 1.0

Undo = Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Active:
    kind: str
    until_s: float
    undo: Undo


class Nemesis:
    """Call `run` once, then `end`. `done` counts the faults, `stalled` the full logs seen."""

    def __init__(self, cluster: KvCluster, faults: Collection[str], seed: str) -> None:
        self.done: Counter[str] = Counter()
        self.stalled = 0
        self._cluster = cluster
        self._random = random.Random(f"{seed} nemesis")
        self._faults = sorted(faults)
        self._first = self._random.sample(self._faults, len(self._faults))
        self._active: list[_Active] = []
        self._down: set[int] = set()

    def run(self, seconds: float) -> None:
        """Break things, and mend them again, for so long."""
        end_s = time.monotonic() + seconds
        next_s = time.monotonic() + self._random.uniform(*REST_S)
        revive_s = time.monotonic() + REVIVE_S
        while (now := time.monotonic()) < end_s:
            self._mend(now)
            if now >= next_s and len(self._active) < AT_ONCE:
                self._break(now)
                next_s = now + self._random.uniform(*REST_S)
            if now >= revive_s:
                self._cluster.revive(self._down)
                revive_s = now + REVIVE_S
            time.sleep(STEP_S)

    def end(self) -> None:
        """Mend everything."""
        self._mend(float("inf"))
        self._cluster.revive()

    def _mend(self, now: float) -> None:
        over = [active for active in self._active if active.until_s <= now]
        self._active = [active for active in self._active if active.until_s > now]
        for active in over:
            active.undo()

    def _break(self, now: float) -> None:
        under_way = {active.kind for active in self._active}
        kinds = [kind for kind in self._faults if kind not in under_way]
        if not kinds:
            return
        # Each kind once, then whichever the lot falls on: so that no run goes without one.
        kind = self._first.pop() if self._first else self._random.choice(kinds)
        acts: dict[str, Callable[[], Undo]] = {
            "kill": self._kill,
            "pause": self._pause,
            "partition": self._partition,
            "disk-full": self._fill_disks,
        }
        until_s = now + self._random.uniform(*HOLD_S)
        self._active.append(_Active(kind, until_s, acts[kind]()))
        self.done[kind] += 1

    # --- the faults -------------------------------------------------------------------------------

    def _targets(self) -> list[int]:
        """Answer the leader, anybody, or any number of nodes, even all."""
        numbers = list(self._cluster.numbers)
        lot = self._random.random()
        anybody = self._random.choice(numbers)
        some = self._random.sample(numbers, self._random.randint(1, len(numbers)))
        if lot < 0.5:
            leader = self._cluster.leader()
            return [anybody if leader is None else leader]
        return [anybody] if lot < 0.85 else some

    def _kill(self) -> Undo:
        targets = self._targets()
        for number in targets:
            self._cluster.kill(number)
        self._down.update(targets)

        def undo() -> None:
            for number in targets:
                self._cluster.restart(number)
            self._down.difference_update(targets)

        return undo

    def _pause(self) -> Undo:
        targets = self._targets()
        for number in targets:
            self._cluster.pause(number)

        def undo() -> None:
            for number in targets:
                self._cluster.resume(number)

        return undo

    def _partition(self) -> Undo:
        cluster, lots = self._cluster, self._random
        everybody = list(cluster.numbers)
        leader = cluster.leader()
        lone = leader if leader is not None and lots.random() < 0.5 else lots.choice(everybody)
        others = [number for number in everybody if number != lone]
        shape = lots.choice(("alone", "halves", "deaf", "mute"))
        if shape == "alone":
            cluster.partition([lone], others)
        elif shape == "halves":
            lots.shuffle(others)
            cut = lots.randint(0, len(others) // 2)
            cluster.partition([lone, *others[:cut]], others[cut:])
        for other in others:
            if shape == "deaf":
                cluster.one_way(other, lone)
            elif shape == "mute":
                cluster.one_way(lone, other)
        return cluster.heal

    def _fill_disks(self) -> Undo:
        targets = self._targets()
        for number in targets:
            self._cluster.fill_disk(number)

        def undo() -> None:
            for number in targets:
                status = self._cluster.status(number)
                self.stalled += bool(status and status["stalled"])
                self._cluster.empty_disk(number)

        return undo
