"""One seed from start to verdict: chaos, healing, and what must be true at the end.

Safety is checked after every event, in both phases. Liveness is checked in the second: all faults
stop, a majority is up (a minority may stay down for good), and within a bounded number of election
timeouts there must be a leader, new writes and reads must get through, and all members that are up
must have the same state. At the end the whole history of the clients must be linearizable.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paceline.consensus.messages import HardState, Membership, SnapshotMeta
from paceline.consensus.storage.protocol import StoredLog
from tests.linearizability import SearchTooLong, check
from tests.sim.clients import Client, History, Noise
from tests.sim.faults import Faults
from tests.sim.healing import Healing
from tests.sim.invariants import Observer
from tests.sim.network import Network
from tests.sim.operator import Operator
from tests.sim.process import Process
from tests.sim.scenario import Scenario, draw
from tests.sim.world import Line, Violation, World


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
        self._everybody: list[Process] = []
        self.history = History()
        self.clients: list[Client] = []
        mark = StoredLog(HardState(), SnapshotMeta(0, 0, founding), ())
        for name in names:
            self._new_process(name, mark)
        self.healing = Healing(
            world=self.world,
            scenario=scenario,
            network=self.network,
            observer=self.observer,
            history=self.history,
            processes=self._everybody,
            clients=self.clients,
            new_client=self._new_client,
        )
        for number in range(scenario.clients):
            self.clients.append(self._new_client(f"c{number}", self.healing.up))
        self._noise = Noise(
            world=self.world,
            observer=self.observer,
            history=self.history,
            servers=self.healing.up,
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
        return self._everybody

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
        self._everybody.append(process)
        return process

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
        return not lost and self.healing.can_do_without([name])

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
        self._faults.stop()
        self._operator.stop()
        self._noise.stop()
        self.healing.run()

    # --- the end ----------------------------------------------------------------------------------

    def _final_checks(self) -> None:
        world, observer = self.world, self.observer
        members = self.healing.sound_members()
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
