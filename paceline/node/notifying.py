"""Tells people who are not looking: a checkpoint has opened, a task has ended.

The activity log is what is told from, and a small file says how far: so nothing is missed while the
node was down, and nothing is told twice but what a crash cut off between telling and noting. Each
node tells those whom its own owner named; nodes do not know of each other's.

A webhook gets a signature over time and body, so that its owner can tell who speaks and a recorded
message is worth nothing later: `Paceline-Signature: t=SECONDS,v1=HEX`, HEX being HMAC-SHA-256 of
`SECONDS.BODY` under the shared secret.
"""

import asyncio
import hashlib
import hmac
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
import structlog

from paceline.clock import Clock
from paceline.errors import PacelineError
from paceline.node.data_dir import write_atomically
from paceline.node.quality_file import Notify
from paceline.tasks import queries
from paceline.tasks.model import Privacy
from paceline.tools.environment import build_environment
from paceline.tools.process import Ending, ProcessSpec, child_process

SIGNATURE = "Paceline-Signature"
TRIES = 5
FIRST_PAUSE_S = 1.0
LAST_PAUSE_S = 30.0
COMMAND_TIMEOUT_S = 30.0
WEBHOOK_TIMEOUT_S = 10.0
PAGE = 200
BEHIND_LIMIT = 10_000
"""Events further behind than this are not told any more."""

WORDS_LENGTH = 200

_DESKTOP = ("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR")
_TOLD = {
    "checkpoint_pending": "checkpoint",
    "task_completed": "task",
    "task_failed": "task",
    "task_cancelled": "task",
}

log = structlog.get_logger(__name__)


class Notifier:
    """One node's voice."""

    def __init__(
        self,
        *,
        settings: Notify,
        connection: sqlite3.Connection,
        cursor_file: Path,
        environment: Mapping[str, str],
        clock: Clock,
        pause_s: float = FIRST_PAUSE_S,
        minute_of_day: Callable[[], int] | None = None,
    ) -> None:
        """Wire it: `environment` is the node's own; `pause_s` is before a second try."""
        self._settings = settings
        self._connection = connection
        self._cursor_file = cursor_file
        self._environment = environment
        self._clock = clock
        self._pause_s = pause_s
        self._minute_of_day = minute_of_day or _minute_of_day
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look again: the state has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Tell for ever what is to be told."""
        if not self._settings.wanted:
            return
        after = await self._begin()
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            after = await self._tell_after(after)

    async def _begin(self) -> int:
        """Answer up to where all has been told; at the very first, all that is there."""
        last = _last_id(self._connection)
        try:
            told = int(await asyncio.to_thread(self._cursor_file.read_text, "ascii"))
        except (OSError, ValueError):
            told = last
        told = max(min(told, last), last - BEHIND_LIMIT)
        await self._note(told)
        return told

    async def _tell_after(self, after: int) -> int:
        while page := queries.activity(self._connection, after=after, limit=PAGE):
            for event in page:
                if _TOLD.get(event["action"]) in self._settings.events:
                    await self._quiet_over()
                    await self._tell(event)
                    await self._note(event["log_id"])
            after = int(page[-1]["log_id"])
            if len(page) == PAGE:  # else it costs more than it saves: these are looked at again
                await self._note(after)
        return after

    async def _quiet_over(self) -> None:
        quiet = self._settings.quiet
        left_s = quiet.left_s(self._minute_of_day()) if quiet else 0
        if left_s:
            await asyncio.sleep(left_s)

    async def _tell(self, event: dict[str, Any]) -> None:
        message = describe(self._connection, event)
        if message is None:
            return
        ways = [self._run_command, self._call_webhook]
        wanted = (self._settings.command, self._settings.webhook)
        for way in (way for way, value in zip(ways, wanted, strict=True) if value):
            await self._until_told(way, message)

    async def _until_told(self, way: Callable[[dict[str, Any]], Any], message: Any) -> None:
        """Try some times; then go on with what comes after it."""
        pause_s = self._pause_s
        for _ in range(TRIES):
            trouble = await way(message)
            if not trouble:
                return
            log.warning("a notification was not taken", reason=trouble, about=message["event"])
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    async def _run_command(self, message: dict[str, Any]) -> str:
        """Run the owner's line; answer what is wrong, or nothing."""
        spec = ProcessSpec(
            argv=("/bin/sh", "-c", self._settings.command),
            directory=self._cursor_file.parent,
            environment=build_environment(
                self._environment,
                home=Path.home(),
                temporary=Path("/tmp"),
                passed=_DESKTOP,
                added=_variables(message),
            ),
            timeout_s=COMMAND_TIMEOUT_S,
            output_limit_bytes=64 * 1024,
        )
        try:
            async with child_process(spec) as child:
                async for _ in child:
                    pass
        except PacelineError as error:
            return str(error)
        if child.ending is not Ending.EXITED:
            return f"the command took longer than {COMMAND_TIMEOUT_S:g} s"
        return "" if child.exit_code == 0 else f"the command ended with {child.exit_code}"

    async def _call_webhook(self, message: dict[str, Any]) -> str:
        body = json.dumps(message, separators=(",", ":")).encode()
        seconds = self._clock.now_ms() // 1000
        headers = {
            "Content-Type": "application/json",
            SIGNATURE: signature(self._settings.secret, seconds, body),
        }
        try:
            async with httpx.AsyncClient(
                timeout=WEBHOOK_TIMEOUT_S, follow_redirects=False, trust_env=False
            ) as client:
                answer = await client.post(self._settings.webhook, content=body, headers=headers)
        except httpx.HTTPError as error:
            return f"the webhook cannot be reached: {type(error).__name__}"
        return "" if answer.is_success else f"the webhook answered {answer.status_code}"

    async def _note(self, told: int) -> None:
        try:
            await asyncio.to_thread(write_atomically, self._cursor_file, str(told))
        except PacelineError as error:
            log.warning("what was told could not be noted", reason=str(error))


def signature(secret: str, seconds: int, body: bytes) -> str:
    """Answer the header that proves who sends a body, and when."""
    signed = f"{seconds}.".encode() + body
    return f"t={seconds},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def describe(connection: sqlite3.Connection, event: Mapping[str, Any]) -> dict[str, Any] | None:
    """Answer what is told of an event; None where it does not matter any more.

    Of a sensitive task its words are left out: these go to others.
    """
    kind = _TOLD[event["action"]]
    details = event["details"]
    try:
        task = queries.task_spec(connection, event["task_id"])
    except PacelineError:
        return None
    checkpoint_id = details.get("checkpoint_id", "")
    if kind == "checkpoint" and not _waits(connection, checkpoint_id):
        return None
    words = "" if task.privacy is Privacy.SENSITIVE else task.description.partition("\n")[0]
    reason = "" if task.privacy is Privacy.SENSITIVE else details.get("reason", "")
    status = details.get("type", "") if kind == "checkpoint" else event["action"][len("task_") :]
    return {
        "event": kind,
        "status": status,
        "task_id": event["task_id"],
        "subtask_id": event["subtask_id"],
        "checkpoint_id": checkpoint_id,
        "description": words[:WORDS_LENGTH],
        "reason": reason[:WORDS_LENGTH],
        "timestamp": event["timestamp"],
    }


def _variables(message: Mapping[str, Any]) -> dict[str, str]:
    waits = message["event"] == "checkpoint"
    what = "waits for your decision" if waits else f"has {message['status']}"
    summary = f"{message['description'] or message['task_id']}: {what}"
    summary = "".join(c if c.isprintable() else " " for c in summary)
    return {
        "PACELINE_EVENT": message["event"],
        "PACELINE_STATUS": message["status"],
        "PACELINE_TASK_ID": message["task_id"],
        "PACELINE_CHECKPOINT_ID": message["checkpoint_id"],
        "PACELINE_SUMMARY": summary,
    }


def _waits(connection: sqlite3.Connection, checkpoint_id: str) -> bool:
    row = connection.execute(
        "SELECT 1 FROM checkpoints WHERE checkpoint_id = ? AND status = 'pending'",
        (checkpoint_id,),
    ).fetchone()
    return row is not None


def _last_id(connection: sqlite3.Connection) -> int:
    (last,) = connection.execute("SELECT last_log_id FROM meta").fetchone()
    return int(last)


def _minute_of_day() -> int:
    now = time.localtime()
    return now.tm_hour * 60 + now.tm_min


def concerns(changes: Iterable[Any]) -> bool:
    """Answer whether somebody may have to be told of any of these changes."""
    return any(change.kind in ("task", "checkpoint", "everything") for change in changes)
