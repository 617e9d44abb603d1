"""The owner's `quality.toml` in the data directory: judging on this machine, and who is told.

[evaluation]
enabled = true          # judge what agents change here
run_tests = false       # run the repository's own tests and linters for that

[notify]                # when a checkpoint opens, and when a task ends
events = ["checkpoint", "task"]
command = 'notify-send Paceline "$PACELINE_SUMMARY"'
webhook = "https://example.org/paceline"
secret = "..."          # signs what the webhook gets
quiet = "22:00-07:00"   # local time: then nothing is sent; what still matters comes afterwards
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from paceline.errors import InvalidSettings
from paceline.node.assessing import Assessing

NAME = "quality.toml"
SIZE_LIMIT_BYTES = 64 * 1024
SECRET_LENGTH_MIN = 16
LINE_LIMIT = 4_096
EVENTS = ("checkpoint", "task")

_QUIET = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From one minute of the day to another; over midnight where the first is the later."""

    start: int
    end: int

    def left_s(self, minute: int) -> int:
        """Answer for how many seconds it is quiet still, at that minute of the day."""
        if self.start <= self.end:
            quiet = self.start <= minute < self.end
        else:
            quiet = minute >= self.start or minute < self.end
        return ((self.end - minute) % (24 * 60)) * 60 if quiet else 0


@dataclass(frozen=True, slots=True)
class Notify:
    """Who is told of what. Nobody, unless there is a command or a webhook."""

    events: tuple[str, ...] = EVENTS
    command: str = ""
    webhook: str = ""
    secret: str = field(default="", repr=False)
    quiet: QuietHours | None = None

    @property
    def wanted(self) -> bool:
        """Answer whether anybody is to be told anything."""
        return bool(self.events and (self.command or self.webhook))


@dataclass(frozen=True, slots=True)
class QualitySettings:
    """All that the file says."""

    assessing: Assessing = field(default_factory=Assessing)
    notify: Notify = field(default_factory=Notify)


def read_quality_file(path: Path) -> QualitySettings:
    """Answer what the file says, the defaults where there is none. Raise InvalidSettings."""
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT_BYTES + 1)
    except FileNotFoundError:
        return QualitySettings()
    except OSError as error:
        raise InvalidSettings(f"{path} cannot be read: {error}") from error
    if len(data) > SIZE_LIMIT_BYTES:
        raise InvalidSettings(f"{path} is larger than {SIZE_LIMIT_BYTES} bytes")
    try:
        return _read(tomllib.loads(data.decode()))
    except (ValueError, InvalidSettings) as error:
        raise InvalidSettings(f"{path}: {error}") from error


def _read(root: Mapping[str, Any]) -> QualitySettings:
    _known(root, ("evaluation", "notify"), "the file")
    evaluation = _table(root, "evaluation", ("enabled", "run_tests"))
    flags = {key: _flag(f"evaluation.{key}", value) for key, value in evaluation.items()}
    names = ("events", "command", "webhook", "secret", "quiet")
    return QualitySettings(Assessing(**flags), _notify(_table(root, "notify", names)))


def _notify(table: Mapping[str, Any]) -> Notify:
    texts = {name: _text(name, table.get(name, "")) for name in ("command", "webhook", "secret")}
    events = table.get("events", EVENTS)
    if not isinstance(events, list | tuple) or not set(events) <= set(EVENTS):
        raise InvalidSettings(f"notify.events must be a list of {', '.join(EVENTS)}")
    url = urlsplit(texts["webhook"])
    if texts["webhook"] and (url.scheme not in ("http", "https") or not url.hostname):
        raise InvalidSettings("notify.webhook must be an http:// or https:// address")
    if texts["webhook"] and len(texts["secret"]) < SECRET_LENGTH_MIN:
        raise InvalidSettings(
            f"notify.secret must have at least {SECRET_LENGTH_MIN} characters: it signs what the "
            "webhook gets"
        )
    return Notify(events=tuple(events), quiet=_quiet(table.get("quiet")), **texts)


def _quiet(value: object) -> QuietHours | None:
    if value is None:
        return None
    found = _QUIET.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise InvalidSettings('notify.quiet must be like "22:00-07:00"')
    start_hour, start_minute, end_hour, end_minute = map(int, found.groups())
    return QuietHours(start_hour * 60 + start_minute, end_hour * 60 + end_minute)


def _table(root: Mapping[str, Any], name: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    table = root.get(name, {})
    if not isinstance(table, dict):
        raise InvalidSettings(f"{name} must be a table, [{name}]")
    _known(table, keys, f"[{name}]")
    return table


def _known(table: Mapping[str, Any], keys: tuple[str, ...], what: str) -> None:
    for key in table:
        if key not in keys:
            raise InvalidSettings(f"{what} has no key {key!r}; there are {', '.join(keys)}")


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidSettings(f"{name} must be true or false")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > LINE_LIMIT:
        raise InvalidSettings(f"notify.{name} must be text of at most {LINE_LIMIT} characters")
    return value
