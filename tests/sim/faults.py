"""What goes wrong, and when.

Swarm testing (Groce et al. 2012): each seed allows some kinds of faults and not others, since a run
with everything at once hides what one kind would show. A fault picks its victims among the nodes
that are there, prefers leaders now and then, and undoes itself after a while.
"""

import random
from collections.abc import Callable, Sequence
from typing import Protocol

from tests.sim.disk import Disk
from tests.sim.network import Link, Network
from tests.sim.world import MILLISECOND, World

GLANCE_US = 3 * MILLISECOND
"""So often a fault that waits for something looks whether it is so."""


class Victim(Protocol):
    """What a fault may do to a process."""

    name: str
    disk: Disk
    up: bool

    @property
    def leads(self) -> bool:
        """Answer whether it says that it leads."""
        ...

    def start(self) -> None:
        """Start it again from its disk."""
        ...

    def crash(self, *, power: bool) -> None:
        """End it at once; with `power`, unsynced state may be lost."""
        ...

    def pause(self, for_us: int) -> None:
        """Stop it for a while, as SIGSTOP does."""
        ...

    def transfer(self, to: str) -> None:
        """Ask it to hand leadership over."""
        ...

    def lose(self, peer: str) -> None:
        """Tell it that the connection to `peer` dropped."""
        ...


class Faults:
    """Breaks things at random until `stop`. `may_lose` says whose disk may be lost for good."""

    def __init__(
        self,
        *,
        world: World,
        network: Network,
        victims: Callable[[], Sequence[Victim]],
        may_lose: Callable[[str], bool],
        kinds: Sequence[str],
        every_ms: int,
        unit_ms: int,
    ) -> None:
        """Wire it. `unit_ms` is the election timeout, by which all durations are measured."""
        self._world = world
        self._network = network
        self._victims = victims
        self._may_lose = may_lose
        self._every_ms = every_ms
        self._unit_ms = unit_ms
        self._turned: list[Link] = []
        self._random: random.Random = world.random("faults")
        self._stopped = False
        self._kinds = [kind for kind in kinds if kind in FAULTS]
        self._hits_where_it_hurts = AT_RISK in kinds

    def start(self) -> None:
        """Begin, after a moment of peace."""
        self._next()

    def stop(self) -> None:
        """Break nothing more. What is broken stays so until somebody mends it."""
        self._stopped = True

    def _next(self) -> None:
        if self._kinds:
            pause_us = self._random.randint(1, 2 * self._every_ms) * MILLISECOND
            self._world.after(pause_us, self._act)

    def _act(self) -> None:
        if self._stopped:
            return
        FAULTS[self._random.choice(self._kinds)](self)
        self._next()

    def _while_us(self, most: float) -> int:
        """Answer a duration of up to `most` election timeouts; short ones are as likely as long."""
        longest_us = most * self._unit_ms * MILLISECOND
        return int(longest_us * self._random.random() ** 2) + MILLISECOND

    def _later(self, most: float, undo: Callable[[], None]) -> None:
        """Undo a fault after a while, unless all faults were undone meanwhile."""
        self._after(self._while_us(most), undo)

    # --- choosing ---------------------------------------------------------------------------------

    def _one(self) -> Victim | None:
        """Answer a process that is up, a leader half of the time."""
        up = [victim for victim in self._victims() if victim.up]
        leaders = [victim for victim in up if victim.leads]
        if leaders and self._random.random() < 0.5:
            return self._random.choice(leaders)
        return self._random.choice(up) if up else None

    def _names(self) -> list[str]:
        return [victim.name for victim in self._victims()]

    def _halves(self) -> tuple[list[str], list[str]]:
        names = self._names()
        self._random.shuffle(names)
        size = self._random.randint(0, len(names))
        return names[:size], names[size:]

    # --- processes --------------------------------------------------------------------------------

    def crash(self) -> None:
        """Kill one process, or take its power; it comes back."""
        victim = self._one()
        if victim is not None:
            self._crash(victim, power=self._random.random() < 0.5)

    def rebirth(self) -> None:
        """Let a follower die, and start again at once: what it had asked is still under way."""
        followers = [victim for victim in self._victims() if victim.up and not victim.leads]
        if followers:
            victim = self._random.choice(followers)
            victim.crash(power=self._random.random() < 0.5)
            self._world.count("rebirths")
            self._after(self._random.randint(1, 50) * MILLISECOND, victim.start)

    def crash_many(self) -> None:
        """Take the power of many at once, often of all."""
        everybody = self._random.random() < 0.5
        for victim in self._victims():
            if victim.up and (everybody or self._random.random() < 0.6):
                self._crash(victim, power=True)

    def _crash(self, victim: Victim, *, power: bool) -> None:
        if self._stopped or not victim.up:
            return
        victim.crash(power=power)
        self._world.count("power losses" if power else "kills")
        if not power:  # the kernel closes the connections of a dead process; a dead machine cannot
            self._hang_up(victim)
        self._later(4, lambda: None if victim.up else victim.start())

    def _hang_up(self, victim: Victim) -> None:
        for other in self._victims():
            if other is victim or not self._network.connected(victim.name, other.name):
                continue
            delay_us = self._random.randint(100, 5_000)
            self._world.after(delay_us, lambda peer=other: peer.lose(victim.name))  # type: ignore[misc]

    def at_risk(self, victim: Victim) -> None:
        """Crash a process that is in the middle of something, now and then."""
        if self._hits_where_it_hurts and not self._stopped and self._random.random() < 0.2:
            self._world.count("crashes at risk")
            delay_us = self._random.randrange(2 * victim.disk.conditions.latency_us)
            power = self._random.random() < 0.5
            self._world.after(delay_us, lambda: self._crash(victim, power=power))

    def pause(self) -> None:
        """Stop one process for a while."""
        victim = self._one()
        if victim is not None:
            victim.pause(self._while_us(6))

    # --- the network ------------------------------------------------------------------------------

    def partition(self) -> None:
        """Cut the nodes into two groups."""
        left, right = self._halves()
        self._cut([(a, b) for a in left for b in right] + [(b, a) for a in left for b in right])

    def isolate(self) -> None:
        """Cut one node off: it hears nothing, or is not heard, or both."""
        victim = self._one()
        if victim is None:
            return
        others = [name for name in self._names() if name != victim.name]
        hears = [(other, victim.name) for other in others]
        heard = [(victim.name, other) for other in others]
        self._cut(self._random.choice([hears, heard, hears + heard]))

    def minority(self) -> None:
        """Leave a leader with a minority; its tail grows, and so does the others'."""
        leader = self._leader()
        if leader is not None:
            others = [name for name in self._names() if name != leader.name]
            self._random.shuffle(others)
            size = self._random.randint(0, len(others) // 2)
            left, right = [leader.name, *others[:size]], others[size:]
            self._cut([(a, b) for a in left for b in right] + [(b, a) for a in left for b in right])

    def turnover(self) -> None:
        """Cut the leader off at the very moment at which the one cut off before comes back.

        That is how logs get entries of many terms (paper, figures 7 and 8).
        """
        leader = self._leader()
        if leader is None:
            return
        self._network.heal(self._turned)
        others = [name for name in self._names() if name != leader.name]
        self._turned = [(leader.name, other) for other in others]
        if self._random.random() < 0.5:
            self._turned += [(other, leader.name) for other in others]
        self._network.cut(self._turned)
        self._world.count("turnovers")
        self._world.tell("turnover", leader.name)

    def comeback(self) -> None:
        """Let a leader with a minority come back as leader, with another minority, soon after.

        Its first tail, which one follower acknowledges, is replaced in between by a leader so brief
        that the second tail has entries of its own where the first one had its. What that follower
        said is then false, and must not count (it may still be on its way: see `Network`).
        """
        leader = self._leader()
        others = [victim for victim in self._victims() if victim is not leader and victim.up]
        if leader is None or len(others) < 3:
            return
        self._random.shuffle(others)
        self._world.count("comebacks")
        heal = self._part([leader, others[0]])

        def hand_back() -> None:
            heal()
            now = self._leader()
            if now is not None and now is not leader:
                now.transfer(leader.name)
                self._as_soon_as(lambda: leader.leads, part_again, 2)

        def part_again() -> None:
            if leader.leads:
                self._world.count("comebacks that led")
                self._after(3 * self._unit_ms * MILLISECOND, self._part([leader, others[1]]))

        def replaced() -> bool:
            return any(other.up and other.leads for other in others[1:])

        self._as_soon_as(replaced, hand_back, 6)

    def _part(self, some: Sequence[Victim]) -> Callable[[], None]:
        """Cut these nodes off from the others; answer how to heal that."""
        left = [victim.name for victim in some]
        right = [name for name in self._names() if name not in left]
        links = [(a, b) for a in left for b in right] + [(b, a) for a in left for b in right]
        self._network.cut(links)
        self._world.tell("parted", " ".join(left))
        return lambda: self._network.heal(links)

    def _as_soon_as(
        self, condition: Callable[[], bool], action: Callable[[], None], most: float
    ) -> None:
        """Act when it is so, or after so many election timeouts; look every few milliseconds."""
        deadline_us = self._world.now_us + int(most * self._unit_ms * MILLISECOND)

        def look() -> None:
            if condition() or self._world.now_us >= deadline_us:
                action()
            else:
                self._after(GLANCE_US, look)

        look()

    def _after(self, delay_us: int, action: Callable[[], None]) -> None:
        """Act later, unless all faults were undone meanwhile."""
        self._world.after(delay_us, lambda: None if self._stopped else action())

    def _leader(self) -> Victim | None:
        leaders = [victim for victim in self._victims() if victim.up and victim.leads]
        return self._random.choice(leaders) if leaders else None

    def bridge(self) -> None:
        """Let two groups talk to each other only through one node that is in both."""
        left, right = self._halves()
        if left and right:
            left.pop()
            self._cut([(a, b) for a in left for b in right] + [(b, a) for a in left for b in right])

    def one_way(self) -> None:
        """Cut a few single directions."""
        names = self._names()
        links = [(a, b) for a in names for b in names if a != b]
        self._cut(self._random.sample(links, min(len(links), self._random.randint(1, 3))))

    def _cut(self, links: list[Link]) -> None:
        self._network.cut(links)
        one_way = any((b, a) not in links for a, b in links)
        self._world.count("one-way cuts" if one_way else "two-way cuts")
        self._world.tell("cut", " ".join(f"{a}>{b}" for a, b in links))

        def heal() -> None:
            self._network.heal(links)
            self._world.tell("heal", " ".join(f"{a}>{b}" for a, b in links))

        self._later(8, heal)

    def swizzle(self) -> None:
        """Clog the links of some nodes one after the other; they open in another order."""
        names = self._names()
        self._world.count("swizzles")
        for name in self._random.sample(names, self._random.randint(1, len(names))):
            for_us = self._while_us(5)
            self._world.tell("clog", name, for_us)
            for other in names:
                self._network.clog((other, name), for_us)
                self._network.clog((name, other), for_us)

    def drop(self) -> None:
        """Drop the connection between two nodes; both notice."""
        victims = list(self._victims())
        if len(victims) < 2:
            return
        one, other = self._random.sample(victims, 2)
        self._network.drop_connection(one.name, other.name)
        self._world.count("connections dropped")
        self._world.tell("dropped", one.name, other.name)
        one.lose(other.name)
        other.lose(one.name)

    # --- disks ------------------------------------------------------------------------------------

    def slow_disk(self) -> None:
        """Make one disk slow."""
        victim = self._one()
        if victim is not None:
            conditions = victim.disk.conditions
            conditions.slow = self._random.choice((10, 100, 1000))
            self._world.tell("slow disk", victim.name, conditions.slow)
            self._later(6, lambda: setattr(conditions, "slow", 1))

    def full_disk(self) -> None:
        """Fill one disk: there is no room for the log, for the state, or for both."""
        victim = self._one()
        if victim is None:
            return
        what = self._random.choice((["full"], ["state_full"], ["full", "state_full"]))
        self._world.tell("full disk", victim.name, " ".join(what))

        def fill(full: bool) -> None:
            for each in what:
                setattr(victim.disk.conditions, each, full)

        fill(True)
        self._later(6, lambda: fill(False))

    def flip_a_bit(self) -> None:
        """Take one machine's power, and break what is on its disk, for good."""
        victim = self._one()
        if victim is not None and self._may_lose(victim.name):
            self._crash(victim, power=True)
            if victim.disk.flip_a_bit():
                self._world.tell("flipped a bit", victim.name)


FAULTS: dict[str, Callable[[Faults], None]] = {
    "crash": Faults.crash,
    "rebirth": Faults.rebirth,
    "crash_many": Faults.crash_many,
    "pause": Faults.pause,
    "partition": Faults.partition,
    "isolate": Faults.isolate,
    "minority": Faults.minority,
    "turnover": Faults.turnover,
    "comeback": Faults.comeback,
    "bridge": Faults.bridge,
    "one_way": Faults.one_way,
    "swizzle": Faults.swizzle,
    "drop": Faults.drop,
    "slow_disk": Faults.slow_disk,
    "full_disk": Faults.full_disk,
    "flip_a_bit": Faults.flip_a_bit,
}
"""Every kind of fault by its name, in a fixed order."""

AT_RISK = "at_risk"
"""The kind that strikes where a process says that it would hurt most."""

KINDS = (*FAULTS, AT_RISK)
