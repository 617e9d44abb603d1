"""One node's process: the real `Replica` and `Core` on a simulated disk, network and clock.

A process has lives. What a life leaves behind is on its two disks (the log's and the machine's);
callbacks of an earlier life reach nobody. A paused process (SIGSTOP, a suspended laptop) does
nothing, and finds all that came meanwhile when it goes on. Its clock runs a little fast or slow.
"""

import traceback
from collections.abc import Callable, Sequence

from paceline.consensus.core import Core, CoreConfig
from paceline.consensus.messages import (
    Membership,
    Message,
    SnapshotMeta,
    decode_message,
    encode_message,
)
from paceline.consensus.recovery import recover
from paceline.consensus.replica import Decision, Replica, ReplicaLimits
from paceline.consensus.spool import MemorySpool
from paceline.consensus.storage.protocol import LogWrite, SnapshotSource, StoredLog
from paceline.consensus.transfer import SNAPSHOT_MESSAGES, SnapshotCredit, SnapshotOffer
from paceline.errors import CorruptStorage, PacelineError
from tests.sim.disk import Disk, LogImage, SimStorage
from tests.sim.invariants import Observer
from tests.sim.machine import KvMachine, KvState, MachineDisk, Post
from tests.sim.network import Network
from tests.sim.unanswered import Unanswered
from tests.sim.watched import Glance
from tests.sim.world import MILLISECOND, Violation, World

Action = Callable[[], None]

TICK_US = 50 * MILLISECOND
MAILBOX = 5_000
"""With so much waiting for a paused process, the sockets take no more messages."""
NEWS_US = 2 * MILLISECOND
"""As in the node: so long the news of a commit may wait for an append."""


class _Machine(KvMachine):
    """A machine that lets the observer look on."""

    after_restore: Callable[[SnapshotMeta, int], None]
    refused = False
    """There was no room for a snapshot: until there is, the replica writes nothing."""

    def restore(self, source: SnapshotSource, meta: SnapshotMeta) -> None:
        """See StateMachine."""
        before, self.refused = self.state.index, True
        super().restore(source, meta)
        self.refused = False
        self.after_restore(meta, before)


class Process:
    """A node. `config` and `limits` hold for all its lives; `drift` multiplies its ticks.

    `pump_us` is how late its loop may be; `at_risk` is called where a crash would hurt most.
    """

    def __init__(
        self,
        *,
        world: World,
        network: Network,
        observer: Observer,
        founding: StoredLog,
        config: CoreConfig,
        limits: ReplicaLimits,
        drift: float,
        pump_us: int,
        at_risk: Callable[["Process"], None],
    ) -> None:
        self.name = config.node_id
        self.disk = Disk(world, self.name, founding)
        self.up = False
        self.unanswered: Unanswered
        """Who waits for an answer of this life."""
        self._world = world
        self._network = network
        self._observer = observer
        self._config = config
        self._limits = limits
        self._tick_us = int(TICK_US * drift)
        self._pump_us = pump_us
        self._at_risk = at_risk
        self._random = world.random(f"process {self.name}")
        self._machine_disk = MachineDisk()
        self._spool = MemorySpool()
        self._was_offered = False
        self._life = 0
        self._paused = False
        self._refused = False
        self._mailbox: list[Action] = []
        self._pump_due = False
        self._handed_over = False

    # --- what others see --------------------------------------------------------------------------

    @property
    def lost(self) -> bool:
        """Answer whether its disk is broken, found out or not: it will not come back."""
        return self.disk.flipped

    @property
    def queued(self) -> LogImage:
        """See Node."""
        return self._storage.queued

    @property
    def state(self) -> KvState:
        """See Node."""
        return self._machine.state

    @property
    def durable_applied(self) -> int:
        """See Node."""
        return self._machine.durable_index

    @property
    def leads(self) -> bool:
        """See Victim."""
        return self.up and self._core.role == "leader"

    @property
    def term(self) -> int:
        """See Member."""
        return self._core.term

    @property
    def membership(self) -> Membership:
        """See Member."""
        return self._core.status().membership

    def glance(self) -> Glance:
        """See Node."""
        core = self._core
        applied = self._machine.state.index
        return Glance(core.term, core.role == "leader", core.commit_index, applied)

    @property
    def handed_over(self) -> bool:
        """See Node."""
        return self._handed_over and not self._machine.refused

    # --- its life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start from what the disks hold; one that is found to be broken is not tried again."""
        if self.up or self._refused:
            return
        self._life += 1
        self._mailbox, self._paused, self._pump_due = [], False, False
        self.unanswered = Unanswered(self._world, self.name, self._limits.read_timeout_ticks)
        self._post = self._new_post()
        self._storage = SimStorage(
            world=self._world,
            disk=self.disk,
            post=self._post,
            on_write=self._on_write,
            on_compact=self._on_compact,
        )
        self._machine = self._new_machine()
        self.up = True
        self._count_start()
        self._world.tell("start", self.name, self._life, self.state.index)
        try:
            self._boot()
        except CorruptStorage as error:
            self._refuse_to_start(error)

    def _count_start(self) -> None:
        log = self.disk.durable
        if self._life > 1 and log.membership.joint:
            self._world.count("restarts in a joint membership")
        if self.disk.restored.index > log.last_index:
            self._world.count("restarts with an unmarked snapshot")

    def _refuse_to_start(self, error: CorruptStorage) -> None:
        self.up, self._refused = False, True
        self._world.count("disks lost")
        self._world.tell("lost for good", self.name, str(error))
        if not self.disk.flipped:
            self._world.fail("a sound disk can be read", f"{self.name}: {error}")

    def _boot(self) -> None:
        stored = recover(self._storage, self._machine)
        if self.disk.flipped:
            self._world.fail("a flipped bit is found", self.name)
        lots = self._world.random(f"core {self.name} {self._life}")
        self._core = Core(self._config, stored, self._machine.applied_index, lots)
        self._replica = Replica(
            core=self._core,
            storage=self._storage,
            machine=self._machine,
            send=self._send,
            wake=self._wake,
            limits=self._limits,
            later=self._tell_news_later if self._config.hold_news else None,
            send_bulk=self._send_bulk,
            spool=self._spool,
            first_context=self._random.getrandbits(40),
        )
        self._observer.started(self)
        self._tick_after(self._random.randrange(self._tick_us))

    def _new_machine(self) -> _Machine:
        machine = _Machine(
            world=self._world,
            name=self.name,
            disk=self._machine_disk,
            is_full=lambda: self.disk.conditions.state_full,
            post=self._post,
            on_apply=lambda entry, _, effect: self._observer.applies(self, entry, effect),
        )
        machine.after_restore = self._restored
        return machine

    def _restored(self, meta: SnapshotMeta, before: int) -> None:
        self.disk.restored = meta
        self._observer.restores(self, meta, before)
        self._at_risk(self)

    def crash(self, *, power: bool) -> None:
        """End this life at once. With `power`, applied state that was not synced may be lost."""
        if not self.up:
            return
        self._world.tell("power lost" if power else "killed", self.name)
        self._world.count("crashes")
        self.up = False
        self._life += 1
        self._storage.crash()
        self._machine_disk.crash(self._random, power=power)
        if power and self._random.random() < 0.5:
            self._spool = MemorySpool()

    def pause(self, for_us: int) -> None:
        """Do nothing for a while."""
        if self._paused or not self.up:
            return
        self._world.tell("paused", self.name, for_us)
        self._world.count("pauses")
        self._paused = True
        life = self._life
        self._world.after(for_us, lambda: self.resume() if life == self._life else None)
        self._paused_at_us = self._world.now_us

    def resume(self) -> None:
        """Go on; the timer and what waits in the sockets come in either order."""
        if not (self.up and self._paused):
            return
        self._world.tell("resumed", self.name)
        self._paused = False
        elapsed = max(1, (self._world.now_us - self._paused_at_us) // self._tick_us)
        waiting, self._mailbox = self._mailbox, []
        tick = [lambda: self._tick(elapsed)]
        for action in tick + waiting if self._random.random() < 0.5 else waiting + tick:
            self.call(action)

    # --- events -----------------------------------------------------------------------------------

    def call(self, action: Action) -> bool:
        """Run something on the process's thread; answer False if there is no process."""
        if not self.up:
            return False
        if self._paused:
            self._mailbox.append(action)
            return True
        self._handed_over = False
        try:
            action()
        except Violation:
            raise
        except Exception as error:
            where = "".join(traceback.format_exception(error)[-3:])
            self._world.fail("no unexpected error", f"{self.name}: {error!r}\n{where}")
        self._observer.look(self)
        return True

    def _new_post(self) -> Post:
        """Answer how callbacks of this life come back to it; those of an ended life do not."""
        life = self._life

        def post(action: Action) -> None:
            if life == self._life:
                self.call(action)

        return post

    def _tick_after(self, delay_us: int) -> None:
        life = self._life

        def tick() -> None:
            if life != self._life:
                return
            self._tick_after(self._tick_us)
            if not self._paused:
                self.call(lambda: self._tick(1))

        self._world.after(delay_us, tick)

    def _tick(self, elapsed: int) -> None:
        stalled = elapsed > self._limits.election_ticks // 2
        if stalled:
            self._world.count("stalls noticed")
        self._replica.tick(elapsed)
        self.unanswered.tick(1 if stalled else elapsed)

    def _wake(self) -> None:
        if not self._pump_due:
            self._pump_due = True
            post = self._post
            self._world.after(int(self._random.random() * self._pump_us), lambda: post(self._pump))

    def _tell_news_later(self) -> None:
        post = self._post
        self._world.after(NEWS_US, lambda: post(self._replica.tell_news))

    def _pump(self) -> None:
        self._pump_due, self._handed_over = False, True
        self._replica.pump()

    def receive(self, sender: str, data: bytes, bulk: bool) -> None:
        """Take what arrives from the network."""
        if not self.up or (self._paused and len(self._mailbox) >= MAILBOX):
            return
        self._world.tell("bulk" if bulk else "receives", self.name, sender, data)
        if bulk:
            self.call(lambda: self._receive_bulk(sender, data))
        else:
            self.call(lambda: self._replica.receive(decode_message(data)))

    def _receive_bulk(self, sender: str, data: bytes) -> None:
        self._was_offered = isinstance(SNAPSHOT_MESSAGES.decode(data), SnapshotOffer)
        self._replica.receive_bulk(sender, data)
        self._was_offered = False

    def lose(self, peer: str) -> None:
        """See Victim."""
        self.call(lambda: self._replica.peer_lost(peer))

    # --- what callers ask for ---------------------------------------------------------------------

    def propose(self, data: bytes, done: Callable[[Decision], None]) -> bool:
        """See Server."""
        answer = self._decided("proposal", done)
        return self.call(lambda: self._replica.propose(data, answer()))

    def read(self, done: Callable[[PacelineError | None], None]) -> bool:
        """See Server."""

        def ask() -> None:
            unanswered = self.unanswered
            number = unanswered.asked("read")

            def answer(error: PacelineError | None) -> None:
                unanswered.answered(number, "read", error)
                done(error)

            self._replica.read(answer)

        return self.call(ask)

    def change_membership(
        self, voters: Sequence[str], learners: Sequence[str], done: Callable[[Decision], None]
    ) -> None:
        """See Member."""
        answer = self._decided("change", done)
        self.call(lambda: self._replica.change_membership(voters, learners, answer()))

    def _decided(
        self, what: str, done: Callable[[Decision], None]
    ) -> Callable[[], Callable[[Decision], None]]:
        """Answer how to ask for a decision: called at that moment, it gives the callback."""

        def asked() -> Callable[[Decision], None]:
            unanswered = self.unanswered
            number = unanswered.asked(what)

            def answer(decision: Decision) -> None:
                unanswered.answered(number, what, decision.error)
                done(decision)

            return answer

        return asked

    def transfer(self, to: str) -> None:
        """See Member. A refusal is fine."""

        def hand_over() -> None:
            try:
                self._replica.transfer(to)
            except PacelineError as error:
                self._world.tell("refused", self.name, str(error))

        self.call(hand_over)

    # --- what it does -----------------------------------------------------------------------------

    def _send(self, to: str, message: Message) -> None:
        self._observer.sends(self, message)
        self._network.send(self.name, to, encode_message(message))

    def _send_bulk(self, to: str, data: bytes) -> None:
        message = SNAPSHOT_MESSAGES.decode(data)
        if isinstance(message, SnapshotOffer):
            self._world.count("snapshots offered")
            self._observer.offers(message.term, message.meta)
        elif isinstance(message, SnapshotCredit) and self._was_offered and message.offset:
            self._world.count("snapshots resumed")
        self._network.send_bulk(self.name, to, data)

    def _on_write(self, write: LogWrite) -> None:
        self._observer.writes(self, write)
        if write.hard_state is not None and write.hard_state.vote:
            self._at_risk(self)

    def _on_compact(self, snapshot: SnapshotMeta, keep_from: int) -> None:
        self._observer.compacts(self, snapshot, keep_from)
