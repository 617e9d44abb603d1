"""Who is told of checkpoints and ends: a real command, a real HTTP server, a real state."""

import asyncio
import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from paceline.clock import SystemClock
from paceline.errors import InvalidSettings
from paceline.node.notifying import SIGNATURE, Notifier, signature
from paceline.node.quality_file import Notify, QuietHours, read_quality_file
from paceline.tasks.commands import NEWEST_LEVEL, OpenCheckpoint, ResolveCheckpoint, SubmitTask
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import Privacy, TaskSpec
from tests.tasks.entries import Driver, subtask

SECRET = "a shared secret of some length"


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Driver]:
    machine = TaskMachine(tmp_path / "state.db")
    driver = Driver(machine, NEWEST_LEVEL)
    driver.register("n1")
    yield driver
    machine.close()


def notifier(drive: Driver, directory: Path, settings: Notify, **fields: Any) -> Notifier:
    return Notifier(
        settings=settings,
        connection=drive.machine.connection,
        cursor_file=directory / "notified",
        environment=os.environ,
        clock=SystemClock(),
        pause_s=0.01,
        **fields,
    )


async def until(told: Any, count: int) -> None:
    """Wait, as long as it takes, for so many notifications."""
    async with asyncio.timeout(30):
        while len(told()) < count:
            await asyncio.sleep(0.02)


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def test_a_command_hears_of_checkpoints_and_ends_and_of_nothing_twice(
    drive: Driver, tmp_path: Path
) -> None:
    file = tmp_path / "told"
    line = f'echo "$PACELINE_EVENT $PACELINE_STATUS $PACELINE_SUMMARY" >> {file}'
    drive.submit(subtask("before"), task_id="before")
    drive.run("before")

    async def first() -> None:
        async with asyncio.TaskGroup() as group:
            telling = notifier(drive, tmp_path, Notify(command=line))
            task = group.create_task(telling.run())
            await asyncio.sleep(0)
            async with asyncio.timeout(30):
                while not (tmp_path / "notified").exists():
                    await asyncio.sleep(0.02)
            drive.submit(subtask("a"))
            drive(OpenCheckpoint("c1", "task", reason="look"))
            telling.wake()
            await until(lambda: lines(file), 1)
            drive(ResolveCheckpoint("c1", "accept", by="n1"))
            drive.run("a")
            telling.wake()
            last = drive.column("SELECT max(log_id) FROM activity_logs")
            noted = tmp_path / "notified"
            await until(lambda: [1] if noted.read_text() == str(last) else [], 1)
            task.cancel()

    async def second() -> None:
        """Another process: what happened meanwhile is told, what was told is not."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(notifier(drive, tmp_path, Notify(command=line)).run())
            await until(lambda: lines(file), 3)
            task.cancel()

    asyncio.run(first())
    drive.submit(subtask("b"), task_id="other")
    drive(OpenCheckpoint("c2", "other"))
    drive(ResolveCheckpoint("c2", "reject", by="n1"))
    asyncio.run(second())
    assert lines(file) == [
        "checkpoint manual words: waits for your decision",
        "task completed words: has completed",
        "task cancelled words: has cancelled",
    ], "a checkpoint that was decided meanwhile needs nobody"


class Server:
    """Answers 500 so many times, then 200; keeps what it got."""

    def __init__(self, failures: int) -> None:
        self.got: list[tuple[str, bytes]] = []
        left = [failures]
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                left[0] -= 1
                if left[0] < 0:
                    got.append((self.headers[SIGNATURE], body))
                self.send_response(500 if left[0] >= 0 else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/hook"
        self._thread = Thread(target=self._http.serve_forever)

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def test_a_webhook_is_signed_and_tried_again(drive: Driver, tmp_path: Path) -> None:
    (tmp_path / "notified").write_text("0")
    spec = TaskSpec("task", "secret words", "plan", (subtask("a"),), privacy=Privacy.SENSITIVE)
    drive(SubmitTask(spec, ""))
    drive(OpenCheckpoint("c1", "task", reason="secret reason"))

    async def tell(settings: Notify, server: Server) -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(notifier(drive, tmp_path, settings).run())
            await until(lambda: server.got, 1)
            task.cancel()

    with Server(failures=2) as server:
        asyncio.run(tell(Notify(webhook=server.url, secret=SECRET), server))
        (header, body) = server.got[0]
    seconds = int(header.partition(",")[0].removeprefix("t="))
    assert header == signature(SECRET, seconds, body)
    message = json.loads(body)
    assert (message["event"], message["checkpoint_id"]) == ("checkpoint", "c1")
    assert b"secret" not in body, "the words of a sensitive task stay where they are"


@pytest.mark.parametrize(
    ("quiet", "minute", "left_s"),
    [
        (QuietHours(60, 120), 59, 0),
        (QuietHours(60, 120), 60, 3600),
        (QuietHours(60, 120), 120, 0),
        (QuietHours(22 * 60, 7 * 60), 23 * 60, 8 * 3600),
        (QuietHours(22 * 60, 7 * 60), 6 * 60 + 59, 60),
        (QuietHours(22 * 60, 7 * 60), 12 * 60, 0),
    ],
)
def test_quiet_hours(quiet: QuietHours, minute: int, left_s: int) -> None:
    assert quiet.left_s(minute) == left_s


def test_the_file_is_read(tmp_path: Path) -> None:
    assert not read_quality_file(tmp_path / "none").notify.wanted
    file = tmp_path / "quality.toml"
    file.write_text(
        "[evaluation]\nrun_tests = true\n[notify]\ncommand = 'true'\nquiet = '22:00-07:00'\n"
    )
    read = read_quality_file(file)
    assert read.assessing.run_tests
    assert read.notify.quiet == QuietHours(22 * 60, 7 * 60)
    assert SECRET not in repr(Notify(secret=SECRET))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[notify]\nwebhook = 'https://x'\nsecret = 'short'", "at least 16"),
        ("[notify]\nwebhook = 'file:///etc'\n", "http"),
        ("[notify]\nquiet = '22-7'\n", "22:00-07:00"),
        ("[notify]\nevents = ['all']\n", "checkpoint, task"),
        ("[notify]\nhook = 'x'\n", "no key 'hook'"),
        ("[evaluation]\nrun_tests = 1\n", "true or false"),
        ("evaluation = 1\n", r"\[evaluation\]"),
        ("[", "quality.toml"),
    ],
)
def test_what_the_file_may_not_say(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "quality.toml"
    file.write_text(text)
    with pytest.raises(InvalidSettings, match=told):
        read_quality_file(file)
