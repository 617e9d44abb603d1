"""What a node says of itself, and what others might say instead."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.discovery.record import (
    SERVICE_TYPE,
    TXT_LIMIT_BYTES,
    Contact,
    checked,
    from_txt,
    heard,
    join_address,
    split_address,
    to_txt,
    usable_hosts,
    without_scoped,
)
from paceline.errors import InputError, ProtocolError
from tests.discovery.contacts import contact

LONGEST = contact(
    7,
    hosts=("10.0.0.1",),
    join_port=65535,
    control_port=65534,
    bulk_port=65533,
    cluster_hint="h" * 64,
    name="n" * 64,
    version="v" * 32,
    founded=True,
    stamp_ms=2**53 - 1,
)


def raw(properties: dict[str, bytes]) -> dict[bytes, bytes | None]:
    return {key.encode(): value for key, value in properties.items()}


@pytest.mark.parametrize("said", [contact(1), LONGEST])
def test_a_contact_survives_the_txt_record(said: Contact) -> None:
    assert from_txt(said.node_id, raw(to_txt(said)), said.hosts) == said


def test_the_longest_txt_record_is_within_its_limit() -> None:
    size = sum(len(key) + len(value) + 2 for key, value in to_txt(LONGEST).items())
    assert size < TXT_LIMIT_BYTES
    assert max(len(value) for value in to_txt(LONGEST).values()) < 255


def test_a_name_is_cut_between_characters() -> None:
    said = contact(1, name="\N{SNOWMAN}" * 64)
    heard = from_txt(said.node_id, raw(to_txt(said)), said.hosts)
    assert heard.name == "\N{SNOWMAN}" * 32


@pytest.mark.parametrize(
    "changes",
    [
        {b"v": b"2"},
        {b"v": None},
        {b"k": b""},
        {b"k": b"!!!"},
        {b"k": b"AAAA"},
        {b"p": b""},
        {b"p": b"1,2"},
        {b"p": b"1,2,3,4"},
        {b"p": b"1,2,0"},
        {b"p": b"1,2,65536"},
        {b"p": b"1,2,-3"},
        {b"p": "1,2,\N{SUPERSCRIPT THREE}".encode()},
        {b"p": b"1,2," + b"9" * 100},
        {b"c": b"\xff\xfe"},
        {b"c": b"a b"},
        {b"c": b"x" * 65},
        {b"n": b"tab\there"},
        {b"n": b"\x1b]0;title\x07"},
        {b"w": b"x" * 33},
        {b"t": b""},
        {b"t": b"-1"},
        {b"t": str(2**53).encode()},
        {b"extra": b"x" * 200, b"more": b"x" * 200},
    ],
)
def test_a_txt_record_that_no_node_makes_is_refused(changes: dict[bytes, bytes | None]) -> None:
    said = contact(1)
    with pytest.raises(ProtocolError):
        from_txt(said.node_id, raw(to_txt(said)) | changes, said.hosts)


def test_an_instance_that_is_not_named_after_its_key_is_refused() -> None:
    with pytest.raises(ProtocolError, match="key"):
        from_txt(contact(2).node_id, raw(to_txt(contact(1))), ())


def test_a_later_version_may_say_more() -> None:
    said = contact(1)
    assert from_txt(said.node_id, raw(to_txt(said)) | {b"new": b"x"}, said.hosts) == said


@given(
    st.text(max_size=20),
    st.dictionaries(
        st.sampled_from([b"v", b"k", b"p", b"c", b"n", b"w", b"f", b"t"]),
        st.none() | st.binary(max_size=60),
    ),
    st.lists(st.text(max_size=20)),
)
def test_any_txt_record_is_a_contact_or_a_protocol_error(
    instance: str, properties: dict[bytes, bytes | None], hosts: list[str]
) -> None:
    with pytest.raises(ProtocolError):
        from_txt(instance, properties, hosts)


def test_only_unicast_addresses_are_hosts_and_routable_ones_come_first() -> None:
    hosts = [
        "fe80::1%eth0",
        "example.org",
        "",
        "224.0.0.251",
        "0.0.0.0",
        "::",
        "ff02::fb",
        "169.254.7.7",
        "2001:db8::7",
        "10.0.0.7",
        "::ffff:10.0.0.7",
        "fe80::2",
        "10.0.0.300",
    ]
    expected = ("10.0.0.7", "2001:db8::7", "169.254.7.7", "fe80::1%eth0")
    assert usable_hosts(hosts) == expected


def test_hosts_are_bounded() -> None:
    assert len(usable_hosts(f"10.0.0.{number}" for number in range(1, 200))) == 8


def test_a_scope_is_not_told_to_others() -> None:
    said = contact(1, hosts=("10.0.0.1", "fe80::1%eth0", "2001:db8::7"))
    assert without_scoped(said).hosts == ("10.0.0.1", "2001:db8::7")


def test_a_scope_that_another_machine_tells_is_not_believed() -> None:
    assert heard(contact(1, hosts=("10.0.0.1", "fe80::1%eth0"))).hosts == ("10.0.0.1",)


def test_checked_drops_what_is_no_address() -> None:
    assert checked(contact(1, hosts=("localhost", "10.0.0.1"))).hosts == ("10.0.0.1",)


@pytest.mark.parametrize(("host", "port"), [("10.0.0.1", 1), ("::1", 65535), ("fe80::1%lo", 7)])
def test_addresses_are_written_and_read(host: str, port: int) -> None:
    assert split_address(join_address(host, port)) == (host, port)


@pytest.mark.parametrize(
    "address", ["", ":", "host", ":7", "host:", "host:0", "host:70000", "host:\N{SUPERSCRIPT TWO}"]
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(InputError):
        split_address(address)


def test_greeting_addresses_have_brackets_where_needed() -> None:
    said: Any = contact(1, hosts=("10.0.0.1", "2001:db8::7"))
    assert said.joins == ("10.0.0.1:7700", "[2001:db8::7]:7700")


def test_the_service_type_is_a_valid_one() -> None:
    name = SERVICE_TYPE.split(".", maxsplit=1)[0]
    assert len(name) - 1 <= 15  # RFC 6335 section 5.1
