"""What outlives the process."""

import json
from pathlib import Path

import pytest

from paceline.discovery.remembered import FILE_NAME, read_remembered, write_remembered
from tests.discovery.contacts import contact


def test_what_is_written_is_read(tmp_path: Path) -> None:
    contacts = (contact(1, founded=True, cluster_hint="abc", stamp_ms=7), contact(2))
    write_remembered(tmp_path, contacts)
    assert read_remembered(tmp_path) == contacts
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_nothing_is_remembered_at_first(tmp_path: Path) -> None:
    assert read_remembered(tmp_path) == ()


def test_a_later_write_replaces_an_earlier_one(tmp_path: Path) -> None:
    write_remembered(tmp_path, [contact(1)])
    write_remembered(tmp_path, [contact(2)])
    assert read_remembered(tmp_path) == (contact(2),)


def damaged() -> list[bytes]:
    good = {"version": 1, "contacts": []}
    item = {"node_id": contact(1).node_id, "public_key": "AAAA"}
    return [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b"[" * 100_000,
        json.dumps(good | {"version": 2}).encode(),
        json.dumps(good | {"contacts": 7}).encode(),
        json.dumps(good | {"contacts": [7]}).encode(),
        json.dumps(good | {"contacts": [item]}).encode(),
        b" " * 2_000_000,
    ]


@pytest.mark.parametrize("content", damaged(), ids=lambda content: repr(content[:20]))
def test_a_damaged_file_is_ignored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert read_remembered(tmp_path) == ()


def test_a_contact_that_was_tampered_with_is_ignored(tmp_path: Path) -> None:
    write_remembered(tmp_path, [contact(1)])
    path = tmp_path / FILE_NAME
    path.write_text(path.read_text().replace(contact(1).node_id, contact(2).node_id))
    assert read_remembered(tmp_path) == ()
