"""Contacts for tests."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from paceline.discovery.record import Contact
from paceline.ids import fingerprint


def contact(number: int = 0, **changes: Any) -> Contact:
    """Answer a valid contact; each number is another node."""
    key = number.to_bytes(32, "big")
    hosts = (f"10.0.{number // 250}.{number % 250 + 1}",)
    plain = Contact(fingerprint(key), key, hosts, 7700, 7701, 7702, name=f"node {number}")
    return replace(plain, **changes)


def contacts_of_one_node() -> st.SearchStrategy[Contact]:
    """Answer records that one node made at different times, at most one per time."""

    def made(stamp_ms: int) -> Contact:
        port = 7000 + stamp_ms
        hosts = (f"10.0.0.{stamp_ms % 4 + 1}",)
        return contact(1, stamp_ms=stamp_ms, join_port=port, hosts=hosts)

    return st.integers(min_value=0, max_value=50).map(made)
