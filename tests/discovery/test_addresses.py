"""How addresses are written."""

import socket

import pytest

from paceline.discovery.addresses import one_spelling

NAME = socket.if_indextoname(1)


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("fe80::1%1", f"fe80::1%{NAME}"),
        (f"FE80::1%{NAME}", f"fe80::1%{NAME}"),
        ("fe80::1%4000000000", "fe80::1%4000000000"),
        ("fe80::1%99999999999999999999", "fe80::1%99999999999999999999"),
        ("fe80::1", "fe80::1"),
    ],
)
def test_an_address_has_one_spelling(said: str, written: str) -> None:
    assert one_spelling(said) == written
    assert one_spelling(written) == written


@pytest.mark.parametrize("host", ["", "localhost", "10.0.0.300", "fe80::1%", "[::1]"])
def test_what_is_no_address_has_none(host: str) -> None:
    with pytest.raises(ValueError, match="address"):
        one_spelling(host)
