"""The parts of the simulation do what they say: the disk forgets, the network loses, and so on."""

import random

import pytest

from paceline.codec import encode
from paceline.consensus.messages import Entry, EntryKind, HardState, Membership, SnapshotMeta
from paceline.consensus.spool import MemorySource
from paceline.consensus.storage.protocol import LogWrite, StoredLog
from paceline.errors import CorruptStorage
from tests.sim.disk import Disk, LogImage, SimStorage
from tests.sim.machine import Command, KvMachine, MachineDisk, encode_command
from tests.sim.network import Conditions, Network
from tests.sim.scenario import draw
from tests.sim.world import SECOND, Violation, World

FOUNDED = StoredLog(HardState(), SnapshotMeta(0, 0, Membership(voters=("a",))), ())


def command(index: int, client: str = "c", request: int = 1, value: object = 1) -> Entry:
    data = encode_command(Command(client, request, "append", "list", value))
    return Entry(index, 1, EntryKind.COMMAND, data)


def write(*entries: Entry, term: int | None = None) -> LogWrite:
    hard_state = None if term is None else HardState(term, "a")
    return LogWrite(hard_state, None, entries)


# --- time -----------------------------------------------------------------------------------------


def test_events_happen_in_order_of_time_then_of_asking() -> None:
    world, seen = World(1), list[str]()
    world.after(5, lambda: seen.append("later"))
    world.after(3, lambda: seen.append("first"))
    world.after(3, lambda: seen.append("second"))
    world.run(10)
    assert seen == ["first", "second", "later"]
    assert world.now_us == 10


def test_a_swallowed_violation_still_ends_the_run() -> None:
    world = World(1)

    def act() -> None:
        with pytest.raises(Violation):
            world.fail("a promise", "broken")

    world.after(1, act)
    with pytest.raises(Violation, match="a promise: broken"):
        world.run(10)


def test_generators_are_forked_by_name() -> None:
    world = World(1)
    assert world.random("a").random() == World(1).random("a").random()
    assert world.random("a").random() != world.random("b").random()
    assert world.random("a").random() != World(2).random("a").random()


# --- the network ----------------------------------------------------------------------------------


class Wire:
    """A network between a and b that notes what arrives."""

    def __init__(self, conditions: Conditions) -> None:
        self.world = World(1)
        self.arrived: list[tuple[str, bytes, bool]] = []
        self.network = Network(world=self.world, conditions=conditions, deliver=self._deliver)

    def _deliver(self, to: str, sender: str, data: bytes, bulk: bool) -> None:
        self.arrived.append((to, data, bulk))

    def send_many(self, count: int) -> list[int]:
        for number in range(count):
            self.network.send("a", "b", bytes([number]))
        self.world.run(self.world.now_us + 10 * SECOND)
        return [data[0] for _, data, _ in self.arrived]


def test_an_ordered_link_keeps_the_order() -> None:
    assert Wire(Conditions(tail=0.5, ordered=True)).send_many(100) == list(range(100))


def test_an_unordered_link_does_not() -> None:
    got = Wire(Conditions(tail=0.5, ordered=False)).send_many(100)
    assert got != sorted(got)
    assert sorted(got) == list(range(100))


def test_some_are_lost_and_some_come_twice() -> None:
    assert len(Wire(Conditions(loss=0.3)).send_many(200)) < 180
    assert len(Wire(Conditions(repeat=0.3)).send_many(200)) > 220


def test_a_cut_is_one_way_and_cuts_add_up() -> None:
    wire = Wire(Conditions())
    wire.network.cut([("a", "b")])
    wire.network.cut([("a", "b")])
    wire.network.heal([("a", "b")])
    wire.network.send("a", "b", b"x")
    wire.network.send("b", "a", b"y")
    wire.world.run(SECOND)
    assert wire.arrived == [("a", b"y", False)]
    wire.network.heal([("a", "b")])
    assert wire.network.connected("a", "b")


def test_a_cut_takes_what_is_under_way() -> None:
    wire = Wire(Conditions())
    wire.network.send("a", "b", b"x")
    wire.network.cut([("a", "b")])
    wire.world.run(SECOND)
    assert wire.arrived == []


def test_a_clogged_link_lets_everything_go_at_last() -> None:
    wire = Wire(Conditions())
    wire.network.clog(("a", "b"), SECOND)
    wire.network.send("a", "b", b"x")
    wire.world.run(SECOND // 2)
    assert wire.arrived == []
    wire.world.run(2 * SECOND)
    assert wire.arrived == [("b", b"x", False)]


def test_a_dropped_connection_loses_what_is_under_way() -> None:
    wire = Wire(Conditions())
    wire.network.send("a", "b", b"x")
    wire.network.drop_connection("b", "a")
    wire.network.send("a", "b", b"y")
    wire.world.run(SECOND)
    assert wire.arrived == [("b", b"y", False)]


def test_bulk_takes_its_time_in_order() -> None:
    wire = Wire(Conditions(bulk_bytes_per_ms=1))
    wire.network.send_bulk("a", "b", b"x" * 500)
    wire.network.send_bulk("a", "b", b"y" * 500)
    wire.world.run(SECOND // 2 - 1)
    assert wire.arrived == []
    wire.world.run(2 * SECOND)
    assert [data[:1] for _, data, _ in wire.arrived] == [b"x", b"y"]


# --- the disk -------------------------------------------------------------------------------------


class Platter:
    """A disk with a storage on it."""

    def __init__(self, seed: int = 1) -> None:
        self.world = World(seed)
        self.disk = Disk(self.world, "a", FOUNDED)
        self.done: list[int] = []
        self.start()

    def start(self) -> None:
        self.storage = SimStorage(
            world=self.world,
            disk=self.disk,
            post=lambda action: action(),
            on_write=lambda write: None,
            on_compact=lambda meta, keep: None,
        )

    def write(self, number: int, *entries: Entry) -> None:
        self.storage.write(write(*entries, term=number), lambda: self.done.append(number))


def test_writes_complete_in_order_and_not_at_once() -> None:
    platter = Platter()
    platter.write(1, command(1))
    platter.write(2, command(2))
    assert platter.done == []
    assert platter.disk.durable.last_index == 0
    assert platter.storage.queued.last_index == 2
    platter.world.run(SECOND)
    assert platter.done == [1, 2]
    assert platter.disk.load().entries == (command(1), command(2))


def test_a_crash_keeps_a_beginning_of_what_was_queued() -> None:
    ends = set()
    for seed in range(40):
        platter = Platter(seed)
        for number in range(1, 4):
            platter.write(number, command(number))
        platter.storage.crash()
        platter.world.run(SECOND)
        stored = platter.disk.load()
        assert platter.done == []
        assert stored.hard_state.term == len(stored.entries)
        ends.add(len(stored.entries))
    assert ends == {0, 1, 2, 3}


def test_a_full_disk_stalls_and_goes_on() -> None:
    platter = Platter()
    platter.disk.conditions.full = True
    platter.write(1, command(1))
    platter.world.run(SECOND)
    assert platter.done == []
    assert platter.storage.stalled
    platter.disk.conditions.full = False
    platter.world.run(2 * SECOND)
    assert platter.done == [1]
    assert not platter.storage.stalled


def test_a_flipped_bit_is_found() -> None:
    platter = Platter()
    platter.write(1, command(1))
    platter.world.run(SECOND)
    assert platter.disk.flip_a_bit()
    with pytest.raises(CorruptStorage, match="entry 1"):
        platter.disk.load()


def test_a_conflicting_write_replaces_the_tail() -> None:
    log = LogImage(FOUNDED)
    log.write(write(command(1), command(2), command(3)))
    other = Entry(2, 2, EntryKind.EMPTY, b"")
    log.write(write(other))
    assert log.entries == [command(1), other]
    assert [log.term_at(index) for index in range(4)] == [0, 1, 2, None]


def test_a_gap_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        LogImage(FOUNDED).write(write(command(2)))


def test_a_truncated_membership_is_forgotten() -> None:
    log, both = LogImage(FOUNDED), Membership(voters=("a", "b"))
    log.write(write(Entry(1, 1, EntryKind.MEMBERSHIP, encode(both))))
    assert (log.membership, log.membership_index) == (both, 1)
    log.write(write(Entry(1, 2, EntryKind.EMPTY, b"")))
    assert log.membership == Membership(voters=("a",))


def test_compaction_keeps_a_tail_and_the_mark() -> None:
    log = LogImage(FOUNDED)
    log.write(write(*(command(index) for index in range(1, 6))))
    log.compact(SnapshotMeta(4, 1, Membership(voters=("a",))), keep_from=3)
    assert (log.first_index, log.last_index, log.base.index) == (3, 5, 4)


# --- the machine ----------------------------------------------------------------------------------


class Machine:
    """A machine with its disk."""

    def __init__(self) -> None:
        self.world = World(1)
        self.disk = MachineDisk()
        self.effects: list[int] = []
        self.machine = self.start()

    def start(self) -> KvMachine:
        self.machine = KvMachine(
            world=self.world,
            name="a",
            disk=self.disk,
            post=lambda action: action(),
            on_apply=lambda entry, _, effect: self.effects.append(entry.index) if effect else None,
        )
        return self.machine


def test_a_repeated_request_takes_effect_once() -> None:
    here = Machine()
    results = here.machine.apply([command(1), command(2), command(3, request=2, value=2)])
    assert results == [1, 1, 2]
    assert here.effects == [1, 3]
    assert here.machine.state.keys == {"list": [1, 2]}


def test_a_loss_of_power_takes_back_what_was_not_synced() -> None:
    ends = set()
    for seed in range(40):
        here = Machine()
        here.machine.apply([command(1), command(2)])
        synced = list[int]()
        here.machine.make_durable(synced.append)
        here.machine.apply([command(3), command(4)])
        here.world.run(SECOND)
        assert synced == [2]
        here.disk.crash(random.Random(seed), power=True)
        ends.add(here.start().applied_index)
    assert ends == {2, 3, 4}


def test_a_killed_process_loses_nothing_that_was_applied() -> None:
    here = Machine()
    here.machine.apply([command(1), command(2)])
    here.disk.crash(random.Random(1), power=False)
    assert here.start().applied_index == 2


def test_a_snapshot_brings_everything_sessions_too() -> None:
    here, there = Machine(), Machine()
    here.machine.apply([command(1), command(2, client="d")])
    meta = SnapshotMeta(2, 1, Membership(voters=("a",)))
    there.machine.restore(MemorySource(here.machine.state.encode()), meta)
    assert there.machine.digest() == here.machine.digest()
    assert there.machine.snapshot_meta == meta
    assert there.machine.apply([command(3, client="d")]) == [2]
    assert there.effects == []


def test_a_gap_in_what_is_applied_is_a_violation() -> None:
    with pytest.raises(Violation, match="without a gap"):
        Machine().machine.apply([command(2)])


# --- scenarios ------------------------------------------------------------------------------------


def test_a_scenario_depends_on_the_seed_alone() -> None:
    assert draw(5) == draw(5)
    assert len({repr(draw(seed)) for seed in range(50)}) == 50


def test_all_sizes_from_one_to_seven_are_drawn() -> None:
    assert {draw(seed).voters for seed in range(200)} == {1, 2, 3, 4, 5, 6, 7}
