"""Newcomers that wait for a person: found by code, bounded, forgotten."""

import asyncio
import re
from dataclasses import replace

import pytest

from paceline.discovery.record import Contact
from paceline.errors import Busy, InputError, NotFound
from paceline.node.approval import (
    LIFE_MS,
    PENDING_LIMIT,
    SILENCE_MS,
    Approvals,
    Pending,
    approval_code,
)
from paceline.node.keys import new_keys
from tests.clocks import ManualClock


def pending(name: str = "cy", code: str = "k7qm-2xpd") -> Pending:
    keys = new_keys()
    return Pending(
        Contact(keys.node_id, keys.public, (), 1, 2, 3, name=name), code, "10.0.0.9", "a"
    )


def test_both_sides_of_an_exchange_have_the_same_code_and_others_another() -> None:
    codes = [asyncio.run(approval_code(t)) for t in (b"t" * 32, b"t" * 32, b"u" * 32)]
    assert codes[0] == codes[1] != codes[2]
    assert all(re.fullmatch(r"[0-9a-hjkmnp-tv-z]{4}-[0-9a-hjkmnp-tv-z]{4}", code) for code in codes)


@pytest.mark.parametrize("said", ["k7qm-2xpd", "K7QM2XPD", " k7qm-2xpd ", "cy", "CY"])
def test_one_is_found_however_it_is_called(said: str) -> None:
    approvals = Approvals(clock=ManualClock())
    waiting = pending()
    assert approvals.add(waiting) == waiting
    assert approvals.find(said) == waiting
    assert approvals.find(waiting.contact.node_id[:6]) == waiting


def test_nobody_is_found_by_nothing_or_too_little() -> None:
    approvals = Approvals(clock=ManualClock())
    waiting = pending()
    approvals.add(waiting)
    for said in ("", "k7qm", waiting.contact.node_id[:3], "bo"):
        with pytest.raises(NotFound, match="lists them"):
            approvals.find(said)


def test_two_of_one_name_need_the_code() -> None:
    approvals = Approvals(clock=ManualClock())
    approvals.add(pending())
    approvals.add(pending(code="aaaa-bbbb"))
    with pytest.raises(InputError, match="code"):
        approvals.find("cy")
    assert approvals.find("aaaabbbb").code == "aaaa-bbbb"


def test_who_no_longer_asks_is_forgotten_and_nobody_waits_for_ever() -> None:
    clock = ManualClock()
    approvals = Approvals(clock=clock)
    gone, patient = pending(), pending()
    approvals.add(gone)
    approvals.add(patient)
    clock.advance(SILENCE_MS)
    assert approvals.seen(patient.contact.node_id)
    clock.advance(1)
    assert [each["node_id"] for each in approvals.documents()] == [patient.contact.node_id]
    for _ in range(LIFE_MS // SILENCE_MS):
        approvals.seen(patient.contact.node_id)
        clock.advance(SILENCE_MS)
    assert approvals.documents() == []


def test_who_asks_twice_at_once_is_listed_once_under_its_first_code() -> None:
    approvals = Approvals(clock=ManualClock())
    first = pending()
    second = replace(first, code="aaaa-bbbb")
    assert approvals.seen(first.contact.node_id) is None
    assert approvals.add(first) == approvals.add(second) == first
    assert approvals.seen(first.contact.node_id) == first
    assert len(approvals.documents()) == 1


def test_the_list_is_bounded() -> None:
    approvals = Approvals(clock=ManualClock())
    for _ in range(PENDING_LIMIT):
        approvals.add(pending())
    with pytest.raises(Busy):
        approvals.add(pending())
