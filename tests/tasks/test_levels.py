"""Format levels: what an older version would not take as it is meant is found before it is said."""

import dataclasses
import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline.codec import pack, unpack
from paceline.errors import NewerFormat, ProtocolError
from paceline.tasks import commands, levels, model
from paceline.tasks.commands import (
    NEWEST_LEVEL,
    Command,
    Envelope,
    ForgetWorker,
    decode_envelope,
    encode_envelope,
)
from paceline.tasks.levels import common, level_of
from paceline.tasks.machine import TaskMachine
from tests.golden.samples import COMMAND_SAMPLES
from tests.tasks.entries import START_MS, Driver, subtask


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Driver]:
    machine = TaskMachine(tmp_path / "state.db")
    yield Driver(machine)
    machine.close()


@pytest.mark.parametrize("command", COMMAND_SAMPLES, ids=lambda each: type(each).__name__)
def test_everything_of_the_first_release_is_level_1(command: Command) -> None:
    assert level_of(command) == 1


def test_a_newer_command_is_of_a_newer_level() -> None:
    assert level_of(commands.RotateToken("token", "n1")) == 2


def test_an_appended_field_counts_once_it_says_something() -> None:
    older = levels._Level(10, {commands.CancelTask: 1}, {})
    assert levels._within(older, commands.CancelTask("task"))
    assert not levels._within(older, commands.CancelTask("task", "a reason"))


def test_an_appended_field_deep_inside_counts() -> None:
    fields = {**levels._LEVELS[1].fields, model.ToolState: 2}
    older = levels._Level(10, fields, levels._LEVELS[1].values)
    plain = dataclasses.replace(REGISTER, tools=(model.ToolState("sh"),))
    assert levels._within(older, plain)
    assert not levels._within(older, REGISTER)


REGISTER = next(each for each in COMMAND_SAMPLES if isinstance(each, commands.RegisterWorker))
FINISH = next(each for each in COMMAND_SAMPLES if isinstance(each, commands.FinishAttempt))


def test_a_value_that_an_enumeration_did_not_have_counts() -> None:
    older = dataclasses.replace(levels._LEVELS[1], values={model.ResultStatus: 1})
    failed = dataclasses.replace(FINISH.outcome, status=model.ResultStatus.FAILED)
    assert levels._within(older, FINISH)
    assert not levels._within(older, dataclasses.replace(FINISH, outcome=failed))


def test_level_1_names_every_type_that_its_commands_hold() -> None:
    """A type that is missing in the table would make every command with it a newer one."""
    found: set[type] = set()
    for command in COMMAND_SAMPLES:
        _collect(command, found)
    assert found == {*levels._LEVELS[1].fields, *levels._LEVELS[1].values}


def _collect(value: Any, found: set[type]) -> None:
    if isinstance(value, enum.Enum):
        found.add(type(value))
    elif dataclasses.is_dataclass(value):
        found.add(type(value))
        for field in dataclasses.fields(value):
            _collect(getattr(value, field.name), found)
    elif isinstance(value, tuple):
        for each in value:
            _collect(each, found)


@pytest.mark.parametrize(
    ("known", "answer"), [((), 2), ((2, 2), 2), ((2, 1), 1), ((9, 3), 2), ((0,), 1)]
)
def test_a_cluster_works_at_the_lowest_level(known: tuple[int, ...], answer: int) -> None:
    assert common(known) == answer


# --- in the log -----------------------------------------------------------------------------------


def test_a_level_travels_with_the_entry() -> None:
    envelope = Envelope(b"id", 0, START_MS, "n1", ForgetWorker("n1"), level=2)
    assert decode_envelope(encode_envelope(envelope)) == envelope


def test_level_1_is_not_written() -> None:
    """So its entries are the very bytes of the first release."""
    envelope = Envelope(b"id", 0, START_MS, "n1", ForgetWorker("n1"))
    assert len(unpack(encode_envelope(envelope))) == 6


def entry(*rest: Any, version: int = 1, command: Any = (10, "n1")) -> bytes:
    return pack([version, b"id", 0, START_MS, "n1", command, *rest])


NEWER: dict[str, bytes] = {
    "version": entry(version=2),
    "version of another shape": pack([2, {"anything": 1}]),
    "level": entry(NEWEST_LEVEL + 1),
    "level of another shape": entry(NEWEST_LEVEL + 1, command={"anything": 1}),
    "command": entry(command=[999, 1, 2]),
}


@pytest.mark.parametrize("data", NEWER.values(), ids=NEWER)
def test_what_only_a_newer_version_knows_stops_this_one(drive: Driver, data: bytes) -> None:
    drive.register("n1")
    applied, before = drive.machine.applied_index, drive.machine.digest()
    known = drive.log.command(ForgetWorker("n1"))
    with pytest.raises(NewerFormat, match=r"entry 3.*update Paceline on this machine"):
        drive.machine.apply([known, drive.log.raw(1, data)])
    assert (drive.machine.applied_index, drive.machine.digest()) == (applied, before)


def test_it_goes_on_once_it_knows(drive: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = drive.log.raw(1, entry(3))
    with pytest.raises(NewerFormat):
        drive.machine.apply([unknown])
    monkeypatch.setattr(commands, "NEWEST_LEVEL", 3)
    assert len(drive.machine.apply([unknown])) == 1
    assert drive.submit(subtask("a")) == "task"


@pytest.mark.parametrize(
    "data",
    [
        entry("no level"),
        entry(None),
        entry(command=[]),
        entry(command=["tag"]),
        entry(command=[True, "n1"]),
        entry(version=0),
        pack([1, b"id", 0, START_MS, "n1"]),
    ],
)
def test_what_no_version_wrote_is_malformed(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_envelope(data)
