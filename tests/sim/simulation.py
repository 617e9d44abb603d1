"""One seed from start to verdict: chaos, healing, and what must be true at the end.

Safety is checked after every event, in both phases. Liveness is checked in the second: all faults
stop, a majority is up (a minority may stay down for good), and within a bounded number of election
timeouts there must be a leader, new writes and reads must get through, and all members that are up
must have the same state. At the end the whole history of the clients must be linearizable.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from paceline.consensus.messages import HardState, Membership, SnapshotMeta
from paceline.consensus.storage.protocol import StoredLog
from tests.linearizability import SearchTooLong, check
from tests.sim.clients import KEYS, Client, History, Noise
from tests.sim.faults import Faults
from tests.sim.invariants import Observer
from tests.sim.network import Network
from tests.sim.operator import Operator
from tests.sim.process import Process
from tests.sim.scenario import Scenario, draw
from tests.sim.world import MILLISECOND, SECOND, Line, Violation, World

HEALING_TIMEOUTS = 20
"""After so many of the longest election timeouts (plus a few seconds) all must be well."""
GLANCE_US = 50 * MILLISECOND

Condition = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one seed."""

    seed: int
    digest: str
    events: int
    operations: int
    committed: int
    counts: dict[str, int]
    scenario: Scenario
    violation: Violation | None
    story: tuple[Line, ...]


class Simulation:
    """One run. `story_lines` is how much of the story is kept; None keeps all of it."""

    def __init__(self, seed: int, story_lines: int | None = 300) -> None:
        self.scenario = scenario = draw(seed)
        self.world = World(seed, story_lines)
        self._lots = self.world.random("simulation")
        names = tuple(f"n{number}" for number in range(1, scenario.voters + 1))
        founding = Membership(voters=names)
        self.observer = Observer(self.world, founding)
        self.network = Network(world=self.world, conditions=scenario.network, deliver=self._deliver)
        self.processes: dict[str, Process] = {}
        self.history = History()
        mark = StoredLog(HardState(), SnapshotMeta(0, 0, founding), ())
        for name in names:
            self._new_process(name, mark)
        self.clients = [self._new_client(f"c{n}", self._up) for n in range(scenario.clients)]
        self._noise = Noise(
            world=self.world,
            observer=self.observer,
            history=self.history,
            servers=self._up,
            every_ms=scenario.noise_every_ms,
        )
        self._faults = Faults(
            world=self.world,
            network=self.network,
            victims=self._all,
            may_lose=self._may_lose,
            kinds=scenario.faults,
            every_ms=scenario.fault_every_ms,
            unit_ms=scenario.unit_ms,
        )
        self._operator = Operator(
            world=self.world,
            members=self._all,
            add=self._add,
            kinds=scenario.actions,
            every_ms=scenario.action_every_ms,
            max_voters=7,
        )

    def run(self) -> Verdict:
        """Run it all; the verdict carries the first violation, if there is one."""
        violation = None
        try:
            self._chaos()
            self._healing()
            self._final_checks()
        except Violation as found:
            violation = found
        world = self.world
        return Verdict(
            seed=world.seed,
            digest=world.digest,
            events=world.events,
            operations=len(self.history.operations),
            committed=self.observer.max_commit,
            counts=world.counts,
            scenario=self.scenario,
            violation=violation,
            story=tuple(world.story),
        )

    # --- the parts --------------------------------------------------------------------------------

    def _all(self) -> Sequence[Process]:
        return list(self.processes.values())

    def _up(self) -> Sequence[Process]:
        return [process for process in self.processes.values() if process.up]

    def _deliver(self, to: str, sender: str, data: bytes, bulk: bool) -> None:
        self.processes[to].receive(sender, data, bulk)

    def _new_process(self, name: str, founding: StoredLog) -> Process:
        scenario = self.scenario
        process = Process(
            world=self.world,
            network=self.network,
            observer=self.observer,
            founding=founding,
            config=scenario.core(name),
            limits=scenario.limits(),
            drift=self._lots.choice(scenario.drifts),
            pump_us=scenario.pump_us,
            at_risk=self._at_risk,
        )
        process.disk.conditions.latency_us = scenario.disk_latency_us
        self.processes[name] = process
        return process

    def _members_up(self) -> Sequence[Process]:
        members = self.observer.membership.members
        return [process for process in self._up() if process.name in members]

    def _at_risk(self, process: Process) -> None:
        self._faults.at_risk(process)

    def _new_client(self, name: str, servers: Callable[[], Sequence[Process]]) -> Client:
        return Client(
            world=self.world,
            observer=self.observer,
            name=name,
            history=self.history,
            servers=servers,
            pause_ms=self.scenario.client_pause_ms,
        )

    def _add(self) -> str | None:
        """Start a node that knows nothing."""
        if len(self.processes) >= self.scenario.max_nodes:
            return None
        name = f"n{len(self.processes) + 1}"
        self._new_process(name, StoredLog(HardState(), None, ())).start()
        return name

    def _may_lose(self, name: str) -> bool:
        """Answer whether the cluster can do without that node's disk, whichever set is in force."""
        lost = {process.name for process in self._all() if process.lost}
        return not lost and self._can_do_without([name])

    def _can_do_without(self, names: Iterable[str]) -> bool:
        """Answer whether a majority remains in every membership that any node may go by."""
        without = set(names)
        memberships = [self.observer.membership]
        memberships += [process.disk.durable.membership for process in self._all()]
        memberships += [process.queued.membership for process in self._up()]
        halves = [half for m in memberships for half in (m.voters, m.outgoing) if half]
        return all(sum(voter in without for voter in half) * 2 < len(half) for half in halves)

    # --- the phases -------------------------------------------------------------------------------

    def _chaos(self) -> None:
        for process in self._all():
            process.start()
        for client in self.clients:
            client.start()
        if self.scenario.noise_every_ms:
            self._noise.start()
        self._faults.start()
        self._operator.start()
        self.world.run(self.scenario.chaos_us)

    def _healing(self) -> None:
        """End all faults, let a minority stay down at times, and wait until all is well."""
        world = self.world
        world.tell("healing")
        self._faults.stop()
        self._operator.stop()
        self._noise.stop()
        self.network.calm()
        down = [process for process in self._all() if not process.up]
        leave_down = self._lots.random() < 0.5 and self._can_do_without(p.name for p in down)
        for process in self._all():
            process.disk.mend()
            process.resume()
            if not leave_down:
                process.start()
        for client in self.clients:
            client.stop()
        self._wait("all clients are done", lambda: all(client.idle for client in self.clients))
        self._wait("a new write is committed", self._write_once())
        self._wait("all members converge", self._converged)
        for key in KEYS:
            self._wait("a read is served", self._begin("read", key))

    def _wait(self, what: str, done: Condition) -> None:
        """Let time pass until it is so; look every 50 ms; a bound on the wait is the invariant."""
        world = self.world
        deadline_us = world.now_us + HEALING_TIMEOUTS * self.scenario.election_us + 5 * SECOND
        while not done():
            if world.now_us >= deadline_us:
                world.fail(
                    "liveness",
                    f"not after {HEALING_TIMEOUTS} election timeouts: {what}\n{self._overview()}",
                )
            world.run(world.now_us + GLANCE_US)

    def _overview(self) -> str:
        """Answer how everybody is, one line each."""
        membership, last = self.observer.membership, self.observer.max_commit
        lines = [f"  committed {last}, members {membership}"]
        for process in self._all():
            state = f"{process.glance()}, {len(process.unanswered)} wait" if process.up else "down"
            lines.append(f"  {process.name}: {state}")
        return "\n".join(lines)

    def _write_once(self) -> Condition:
        return self._begin("append", KEYS[1])

    def _begin(self, kind: str, key: str) -> Condition:
        """Let a fresh client do one operation, again and again until it gets through."""
        client = self._new_client(f"last {kind} {key}", self._members_up)
        client.stop()
        client.begin(kind, key)

        def done() -> bool:
            if client.idle and self.history.operations[-1].ok is None:
                client.begin(kind, key)
            return client.idle

        return done

    def _converged(self) -> bool:
        """Answer whether all members that are up have applied everything.

        And nobody waits for an answer, not even of a node that is a member no more.
        """
        membership, last = self.observer.membership, self.observer.max_commit
        up = self._members_up()
        leaders = [process for process in up if process.leads]
        return (
            not membership.joint
            and bool(leaders)
            and max(leader.term for leader in leaders) == max(process.term for process in up)
            and all(process.state.index == last for process in up)
            and not any(process.unanswered for process in self._up())
        )

    # --- the end ----------------------------------------------------------------------------------

    def _final_checks(self) -> None:
        world, observer = self.world, self.observer
        members = self._members_up()
        states = {process.state.encode() for process in members}
        if len(states) != 1:
            world.fail("state machine safety", f"{len(states)} states after {len(members)} agree")
        for request in self.history.acknowledged:
            if request not in observer.effects:
                world.fail("acknowledged is never lost", f"{request} is nowhere")
        try:
            violations = check(self.history.operations)
        except SearchTooLong as error:
            world.fail("linearizability", f"{world.seed}: {error}")
        for violation in violations:
            world.fail("linearizability", str(violation))


def simulate(seed: int, story_lines: int | None = 300) -> Verdict:
    """Run one seed."""
    return Simulation(seed, story_lines).run()
