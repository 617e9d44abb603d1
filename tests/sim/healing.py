"""The second phase: all faults end, but for a few that a cluster must do without, and all is well.

What may stay is chosen so that a majority is sound in every membership that any node may go by: a
minority stays down, or one node's disk stays full, or one node hears nothing, or is heard by
nobody. Within a bounded number of election timeouts there must be a leader, new writes and reads
must get through, all sound members must have the same state, and nobody anywhere may wait for an
answer. And then nothing may happen any more: a leader that a majority hears is left alone, whatever
the ailing node says.
"""

import random
from collections.abc import Callable, Iterable, Sequence

from tests.sim.clients import KEYS, Client, History
from tests.sim.invariants import Observer
from tests.sim.network import Link, Network
from tests.sim.process import Process
from tests.sim.scenario import Scenario
from tests.sim.world import MILLISECOND, SECOND, World

HEALING_TIMEOUTS = 20
"""After so many of the longest election timeouts (plus a few seconds) all must be well."""
CALM_TIMEOUTS = 2
"""Twice so many of the longest election timeouts must then pass without an election."""
SURE_TICKS = 6
"""With shorter election timeouts a heartbeat may be late on a network and a loop without faults."""
GLANCE_US = 50 * MILLISECOND
AILMENTS = ("", "", "", "full log", "full state", "deaf", "mute")

Condition = Callable[[], bool]


class Healing:
    """Mends everything but what ails, then waits until all is well."""

    def __init__(
        self,
        *,
        world: World,
        scenario: Scenario,
        network: Network,
        observer: Observer,
        history: History,
        processes: Sequence[Process],
        clients: Sequence[Client],
        new_client: Callable[[str, Callable[[], Sequence[Process]]], Client],
    ) -> None:
        self._world = world
        self._scenario = scenario
        self._network = network
        self._observer = observer
        self._history = history
        self._processes = processes
        self._clients = clients
        self._new_client = new_client
        self._random: random.Random = world.random("healing")
        self._ailing: set[str] = set()

    def run(self) -> None:
        """Go through it all; the world's violation says what did not get well."""
        self._world.tell("healing")
        self._network.calm()
        self._mend()
        for client in self._clients:
            client.stop()
        self._wait("all clients are done", lambda: all(client.idle for client in self._clients))
        self._wait("a new write is committed", self._begin("append", KEYS[1]))
        self._wait("all members converge", self._converged)
        for key in KEYS:
            self._wait("a read is served", self._begin("read", key))
        if self._scenario.election_ticks >= SURE_TICKS and (self._ailing or self._chance(0.5)):
            self._stay_calm()

    # --- who is well ------------------------------------------------------------------------------

    def up(self) -> Sequence[Process]:
        """Answer the processes that run."""
        return [process for process in self._processes if process.up]

    def members(self) -> Sequence[Process]:
        """Answer the members that run."""
        members = self._observer.membership.members
        return [process for process in self.up() if process.name in members]

    def sound_members(self) -> Sequence[Process]:
        """Answer the members that run and lack nothing."""
        return [process for process in self.members() if process.name not in self._ailing]

    def can_do_without(self, names: Iterable[str]) -> bool:
        """Answer whether a majority remains in every membership that any node may go by."""
        without = set(names)
        memberships = [self._observer.membership]
        memberships += [process.disk.durable.membership for process in self._processes]
        memberships += [process.queued.membership for process in self.up()]
        halves = [half for m in memberships for half in (m.voters, m.outgoing) if half]
        return all(sum(voter in without for voter in half) * 2 < len(half) for half in halves)

    # --- mending ----------------------------------------------------------------------------------

    def _chance(self, of: float) -> bool:
        return self._random.random() < of

    def _mend(self) -> None:
        down = [process for process in self._processes if not process.up]
        leave_down = self._chance(0.5) and self.can_do_without(p.name for p in down)
        for process in self._processes:
            process.disk.mend()
            process.resume()
            if not leave_down:
                process.start()
        if down and leave_down:
            self._world.count("minorities left down")
        else:
            self._ail(self._random.choice(AILMENTS), self._random.choice(self._processes))

    def _ail(self, ailment: str, victim: Process) -> None:
        """Leave one node with something for good, if the cluster can do without it."""
        down = [process.name for process in self._processes if not process.up]
        if not ailment or not victim.up or not self.can_do_without([*down, victim.name]):
            return
        self._ailing.add(victim.name)
        self._world.count(f"left with: {ailment}")
        self._world.tell("ails", victim.name, ailment)
        others = [process.name for process in self._processes if process is not victim]
        match ailment:
            case "full log":
                victim.disk.conditions.full = True
            case "full state":
                victim.disk.conditions.state_full = True
            case "deaf":
                self._network.cut([(other, victim.name) for other in others])
            case _:
                self._network.cut([(victim.name, other) for other in others])

    # --- waiting ----------------------------------------------------------------------------------

    def _wait(self, what: str, done: Condition) -> None:
        """Let time pass until it is so; look every 50 ms; a bound on the wait is the invariant."""
        world = self._world
        deadline_us = world.now_us + HEALING_TIMEOUTS * self._scenario.election_us + 5 * SECOND
        while not done():
            if world.now_us >= deadline_us:
                world.fail(
                    "liveness",
                    f"not after {HEALING_TIMEOUTS} election timeouts: {what}\n{self._overview()}",
                )
            world.run(world.now_us + GLANCE_US)

    def _overview(self) -> str:
        """Answer how everybody is, one line each."""
        membership, last = self._observer.membership, self._observer.max_commit
        lines = [f"  committed {last}, members {membership}, ailing {sorted(self._ailing)}"]
        for process in self._processes:
            state = f"{process.glance()}, {len(process.unanswered)} wait" if process.up else "down"
            lines.append(f"  {process.name}: {state}")
        return "\n".join(lines)

    def _begin(self, kind: str, key: str) -> Condition:
        """Let a fresh client do one operation, again and again until it gets through."""
        client = self._new_client(f"last {kind} {key}", self.members)
        client.stop()
        client.begin(kind, key)

        def done() -> bool:
            if client.idle and self._history.operations[-1].ok is None:
                client.begin(kind, key)
            return client.idle

        return done

    def _converged(self) -> bool:
        """Answer whether all sound members have applied everything.

        And nobody waits for an answer, not even of a node that ails or is a member no more.
        """
        membership, last = self._observer.membership, self._observer.max_commit
        sound = self.sound_members()
        leaders = [process for process in sound if process.leads]
        return (
            not membership.joint
            and bool(leaders)
            and max(leader.term for leader in leaders) == max(process.term for process in sound)
            and all(process.state.index == last for process in sound)
            and not any(process.unanswered for process in self.up())
        )

    def _stay_calm(self) -> None:
        """Let time pass: nobody may become leader while there is one whom a majority hears.

        Where nobody ails, one follower, whose log is as good as any, does not hear it for a while.
        """
        world = self._world
        world.count("calm ends")
        before = self._leaders()
        links = [] if self._ailing else self._deafen_a_follower()
        for _ in range(2):
            world.run(world.now_us + CALM_TIMEOUTS * self._scenario.election_us)
            self._network.heal(links)
            links = []
        if before != self._leaders():
            world.fail(
                "a leader is left alone", f"{before} became {self._leaders()}\n{self._overview()}"
            )

    def _deafen_a_follower(self) -> list[Link]:
        followers = [process for process in self.sound_members() if not process.leads]
        down = [process.name for process in self._processes if not process.up]
        victim = self._random.choice(followers) if followers else None
        if victim is None or not self.can_do_without([*down, victim.name]):
            return []
        self._world.count("followers deafened")
        links = [(p.name, victim.name) for p in self._processes if p is not victim]
        self._network.cut(links)
        return links

    def _leaders(self) -> list[tuple[int, str]]:
        return [(process.term, process.name) for process in self.sound_members() if process.leads]
