"""Which of two contacts is believed."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline import codec
from paceline.discovery.gossip import (
    CONTACTS_LIMIT,
    decode_contacts,
    encode_contacts,
    merge,
    merge_all,
    next_stamp,
)
from paceline.discovery.record import Contact
from paceline.errors import ProtocolError
from tests.discovery.contacts import contact, contacts_of_one_node

OLD = contact(1, stamp_ms=10, join_port=1000, hosts=("10.0.0.1",))
NEW = contact(1, stamp_ms=20, join_port=2000, hosts=("10.0.0.2",))


def test_the_newer_record_wins_in_either_order() -> None:
    assert merge(OLD, NEW).join_port == 2000
    assert merge(NEW, OLD).join_port == 2000


def test_new_addresses_come_first_and_old_ones_are_kept() -> None:
    assert merge(OLD, NEW).hosts == ("10.0.0.2", "10.0.0.1")


def test_hearing_the_same_again_is_no_news() -> None:
    merged = merge(OLD, NEW)
    for again in (OLD, NEW, merged):
        assert merge(merged, again) == merged


def test_at_the_same_stamp_the_node_itself_is_believed() -> None:
    said = contact(1, stamp_ms=20, join_port=3000)
    assert merge(NEW, said).join_port == 2000
    assert merge(NEW, said, direct=True).join_port == 3000


def test_an_old_direct_record_does_not_undo_a_new_one() -> None:
    assert merge(NEW, OLD, direct=True).join_port == 2000


@given(st.lists(contacts_of_one_node(), min_size=1, max_size=5))
def test_order_and_repetition_do_not_matter(said: list[Contact]) -> None:
    results = set()
    for order in itertools.islice(itertools.permutations(said + said[:1]), 24):
        believed = None
        for one in order:
            believed = merge(believed, one)
        assert believed is not None
        results.add((believed.stamp_ms, believed.join_port, frozenset(believed.hosts)))
    assert len(results) == 1
    assert results.pop()[0] == max(one.stamp_ms for one in said)


def test_lists_are_merged_per_node() -> None:
    merged = merge_all([OLD, contact(2)], [NEW, contact(3)])
    assert [one.node_id for one in merged] == sorted(contact(n).node_id for n in (1, 2, 3))
    assert {one.join_port for one in merged} == {2000, 7700}


def test_a_new_stamp_is_above_all_that_was_heard() -> None:
    assert next_stamp(own_ms=5, heard_ms=9, now_ms=100) == 100
    assert next_stamp(own_ms=5, heard_ms=900, now_ms=100) == 901  # the clock was set back
    assert next_stamp(own_ms=100, heard_ms=0, now_ms=100) == 101


def test_contacts_travel_without_scopes_and_bounded() -> None:
    many = [contact(number, hosts=("10.0.0.1", "fe80::1%eth0")) for number in range(300)]
    heard = decode_contacts(encode_contacts(many))
    assert len(heard) == CONTACTS_LIMIT
    assert heard[0] == contact(0, hosts=("10.0.0.1",))


@pytest.mark.parametrize("body", [b"", b"\xc1", codec.pack([1]), codec.pack([[["id", b"key"]]])])
def test_malformed_gossip_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_contacts(body)


def test_gossip_about_an_impossible_node_is_refused() -> None:
    with pytest.raises(ProtocolError):
        decode_contacts(encode_contacts([contact(1, node_id=contact(2).node_id)]))
