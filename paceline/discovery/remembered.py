"""Contacts that outlive the process: where to look for the others when multicast does not work.

They are hints, so a damaged file is reported and then ignored; it is replaced at the next change.
"""

import base64
import binascii
import dataclasses
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import structlog

from paceline import codec
from paceline.discovery.record import Contact, checked, without_scoped
from paceline.errors import ProtocolError

FILE_NAME: Final = "peers.json"
VERSION: Final = 1
REMEMBERED_LIMIT: Final = 128
LIMIT_BYTES: Final = 1024 * 1024

log = structlog.get_logger(__name__)


def read_remembered(data_dir: Path) -> tuple[Contact, ...]:
    """Answer the contacts that were remembered; none if there are none, or none to be read."""
    path = data_dir / FILE_NAME
    try:
        if path.stat().st_size > LIMIT_BYTES:
            raise ValueError("the file is too large")
        document = json.loads(path.read_bytes())
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']!r}")
        return tuple(_from_json(item) for item in document["contacts"][:REMEMBERED_LIMIT])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, ProtocolError, RecursionError) as error:
        log.warning("remembered addresses cannot be read", path=str(path), reason=str(error))
        return ()


def write_remembered(data_dir: Path, contacts: Iterable[Contact]) -> None:
    """Replace what is remembered, atomically. Blocks for the disk. Raise OSError."""
    items = [_to_json(without_scoped(contact)) for contact in contacts]
    text = json.dumps({"version": VERSION, "contacts": items}, indent=1)
    temporary = data_dir / f".{FILE_NAME}.{secrets.token_hex(8)}"
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(data_dir / FILE_NAME)
    finally:
        temporary.unlink(missing_ok=True)


def _to_json(contact: Contact) -> dict[str, Any]:
    key = base64.b64encode(contact.public_key).decode("ascii")
    return dataclasses.asdict(contact) | {"public_key": key}


def _from_json(item: dict[str, Any]) -> Contact:
    try:
        key = base64.b64decode(item["public_key"], validate=True)
    except binascii.Error as error:
        raise ValueError("a key that is not base64") from error
    fields = [item[field.name] for field in dataclasses.fields(Contact)]
    fields[1] = key
    return checked(codec.from_plain(Contact, fields))
