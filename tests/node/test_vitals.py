"""Liveness and leases, by a clock that the test moves."""

from dataclasses import replace

from paceline.node.vitals import ALIVE_MS, Lease, VitalsTable, read_resources
from paceline.tasks.model import Resources, Vitals
from tests.clocks import ManualClock


def vitals(node_id: str = "a", incarnation: int = 1, sequence: int = 1) -> Vitals:
    return Vitals(node_id, incarnation, sequence, Resources(), (), 1, ())


def test_a_node_lives_while_it_is_heard() -> None:
    clock = ManualClock()
    table = VitalsTable(clock=clock, applied_index=lambda: 77)
    assert not table.alive("a")
    assert table.silent_ms("a") is None
    table.note(vitals())
    clock.advance(ALIVE_MS)
    assert table.alive("a")
    clock.advance(1)
    assert not table.alive("a")
    assert table.silent_ms("a") == ALIVE_MS + 1


def test_old_and_reordered_vitals_change_nothing() -> None:
    clock = ManualClock()
    table = VitalsTable(clock=clock, applied_index=lambda: 77)
    table.note(vitals(incarnation=2, sequence=5))
    clock.advance(100)
    for stale in (vitals(incarnation=2, sequence=4), vitals(incarnation=1, sequence=99)):
        table.note(stale)
    assert table.silent_ms("a") == 100


def test_proof_of_death_holds_until_it_is_heard_again() -> None:
    clock = ManualClock()
    table = VitalsTable(clock=clock, applied_index=lambda: 77)
    table.note(vitals())
    table.mark_dead("a")
    assert not table.alive("a")
    table.note(vitals(incarnation=2))
    assert table.alive("a")


def test_a_new_process_marks_what_was_given_to_the_earlier_one() -> None:
    table = VitalsTable(clock=ManualClock(), applied_index=lambda: 77)
    for incarnation, expected in ((1, 0), (2, 77)):
        table.note(vitals(incarnation=incarnation))
        heard = table.get("a")
        assert heard is not None
        assert heard.restart_index == expected


def test_an_external_worker_keeps_what_it_was_given_since_it_was_attached() -> None:
    table = VitalsTable(clock=ManualClock(), applied_index=lambda: 77)
    for incarnation, expected in ((10, 0), (50, 50)):
        table.note(vitals(incarnation=incarnation), external=True)
        heard = table.get("a")
        assert heard is not None
        assert heard.restart_index == expected
    table.forget("a")
    assert table.silent_ms("a") is None


def test_a_lease_counts_from_when_the_beat_was_sent() -> None:
    clock = ManualClock()
    lease = Lease(clock=clock, lease_ms=1000)
    sent_ms = clock.monotonic_ms()
    clock.advance(400)
    lease.renew(sent_ms)
    assert lease.remaining_ms == 600
    clock.advance(601)
    assert lease.remaining_ms < 0


def test_a_lease_cannot_be_renewed_into_the_future_or_backwards() -> None:
    clock = ManualClock()
    lease = Lease(clock=clock, lease_ms=1000)
    lease.renew(clock.monotonic_ms() + 99_999)
    assert lease.remaining_ms == 1000
    lease.renew(clock.monotonic_ms() - 500)
    assert lease.remaining_ms == 1000


def test_resources_are_those_of_a_machine() -> None:
    resources = read_resources("/")
    assert 0 <= resources.memory_percent <= 100
    assert resources.cpu_count >= 1
    assert resources.memory_bytes > 0
    assert replace(resources, cpu_percent=0.0).disk_free_bytes >= 0
