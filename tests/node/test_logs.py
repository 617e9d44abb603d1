import asyncio
import os
from pathlib import Path

import pytest

from paceline.clock import SystemClock
from paceline.errors import NotFound
from paceline.node.logs import LINE_LIMIT, PAGE_LINES, LogKey, LogLine, LogStore
from paceline.node.redaction import Redactor
from tests.tools.children import run

KEY = LogKey("subtask-1", 1, 40)


def store(directory: Path, **fields: int) -> LogStore:
    redactor = Redactor(["the-secret-value"])
    return LogStore(directory=directory, clock=SystemClock(), redactor=redactor, **fields)


def words(lines: tuple[LogLine, ...]) -> list[tuple[str, str]]:
    return [(line.stream, line.line) for line in lines]


async def everything(logs: LogStore, key: LogKey = KEY) -> list[tuple[str, str]]:
    return [line async for page in logs.follow(key) for line in words(page.lines)]


def test_lines_are_read_back_in_pages(tmp_path: Path) -> None:
    logs = store(tmp_path)
    log = logs.open(KEY)
    for number in range(10):
        log.write("stdout", f"line {number}")
    first = run(logs.read(KEY, 0, 6))
    assert words(first.lines) == [("stdout", f"line {number}") for number in range(6)]
    assert not first.ended
    second = run(logs.read(KEY, first.next, 6))
    assert words(second.lines) == [("stdout", f"line {number}") for number in range(6, 10)]
    assert not second.ended, "more may come"
    log.close()
    assert run(logs.read(KEY, second.next)).ended
    assert run(logs.read(KEY, first.next)).ended
    assert not run(logs.read(KEY, 0, 6)).ended, "there is more"


def test_any_text_survives(tmp_path: Path) -> None:
    logs = store(tmp_path)
    log = logs.open(KEY)
    lines = ["", '"quoted" \\', "grüße \U0001f6b4", "nul \0 escape \x1b[0m", "two\nlines", "\u2028"]
    for line in (*lines, "half \ud83d"):
        log.write("stderr", line)
    log.close()
    expected = [*lines[:4], "two\\nlines", "\u2028", "half ?"]
    assert run(everything(logs)) == [("stderr", line) for line in expected]


def test_secrets_do_not_reach_the_disk(tmp_path: Path) -> None:
    logs = store(tmp_path)
    log = logs.open(KEY)
    log.write("stdout", "it is the-secret-value")
    for line in ("-----BEGIN RSA PRIVATE KEY-----", "b3BlbnNz", "-----END RSA PRIVATE KEY-----"):
        log.write("stdout", line)
        log.write("stderr", "of another stream")
    assert "the-secret-value" not in log.tail()
    log.close()
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*.jsonl"))
    assert b"the-secret-value" not in kept
    assert b"b3BlbnNz" not in kept
    assert kept.count(b"of another stream") == 3


def test_a_long_line_is_cut(tmp_path: Path) -> None:
    logs = store(tmp_path)
    log = logs.open(KEY)
    log.write("stdout", "x" * (LINE_LIMIT + 5))
    log.close()
    assert run(everything(logs)) == [("stdout", "x" * LINE_LIMIT + " [5 characters cut]")]


def test_a_log_is_bounded(tmp_path: Path) -> None:
    logs = store(tmp_path, limit_bytes=10_000)
    log = logs.open(KEY)
    for number in range(1000):
        log.write("stdout", f"line {number}")
    log.close()
    kept = run(everything(logs))
    assert kept[-1] == ("node", "the log is full: what follows is not kept")
    assert kept[0] == ("stdout", "line 0")
    assert log.dropped_lines == 1000 - (len(kept) - 1)
    assert (tmp_path / "subtask-1" / "1-40.jsonl").stat().st_size < 10_200
    assert log.tail().endswith("line 999"), "the end is known all the same"


def test_the_tail_is_bounded(tmp_path: Path) -> None:
    log = store(tmp_path).open(KEY)
    log.write("stdout", "first")
    assert log.tail() == "first"
    for number in range(2000):
        log.write("stdout", f"grüße {number}")
    assert len(log.tail().encode()) <= 4096
    assert log.tail().endswith("grüße 1998\ngrüße 1999")
    log.write("stdout", "é" * 10_000)
    assert log.tail() == "é" * 2048 or len(log.tail().encode()) <= 4096
    log.close()


def test_following_gives_every_line_once(tmp_path: Path) -> None:
    logs = store(tmp_path)

    async def test() -> None:
        log = logs.open(KEY)
        followers = [asyncio.create_task(everything(logs)) for _ in range(3)]
        for number in range(3 * PAGE_LINES):
            log.write("stdout", str(number))
            if number % 97 == 0:
                await asyncio.sleep(0.001)
        log.close()
        late = asyncio.create_task(everything(logs))
        for follower in (*followers, late):
            assert await follower == [("stdout", str(n)) for n in range(3 * PAGE_LINES)]

    run(test())


def test_following_waits_and_is_told_of_the_end(tmp_path: Path) -> None:
    logs = store(tmp_path)

    async def test() -> None:
        log = logs.open(KEY)
        pages = logs.follow(KEY)
        first = asyncio.ensure_future(anext(pages))
        await asyncio.sleep(0.05)
        assert not first.done()
        log.write("stdout", "now")
        assert words((await first).lines) == [("stdout", "now")]
        last = asyncio.ensure_future(anext(pages))
        await asyncio.sleep(0.05)
        assert not last.done()
        log.close()
        assert (await last).ended
        with pytest.raises(StopAsyncIteration):
            await anext(pages)

    run(test())


def test_a_log_of_a_former_process_has_ended(tmp_path: Path) -> None:
    log = store(tmp_path).open(KEY)
    log.write("stdout", "line")
    page = run(store(tmp_path).read(KEY))
    log.close()
    assert words(page.lines) == [("stdout", "line")]
    assert page.ended


def test_what_a_crash_left_half_written_is_passed_over(tmp_path: Path) -> None:
    log = store(tmp_path).open(KEY)
    log.write("stdout", "whole")
    log.close()
    with (tmp_path / "subtask-1" / "1-40.jsonl").open("ab") as file:
        file.write(b'{"time_ms": 1, "str')
    assert run(everything(store(tmp_path))) == [("stdout", "whole")]


def test_no_such_log(tmp_path: Path) -> None:
    logs = store(tmp_path)
    for subtask_id in ("absent", "../other", "", "."):
        with pytest.raises(NotFound):
            run(logs.read(LogKey(subtask_id, 1, 1)))


def test_which_logs_there_are(tmp_path: Path) -> None:
    logs = store(tmp_path)
    keys = [LogKey("subtask-1", attempt, token) for attempt, token in ((1, 9), (2, 10), (3, 100))]
    for key in keys:
        logs.open(key).close()
    assert logs.attempts("subtask-1") == keys
    run(logs.remove(keys[0]))
    assert logs.attempts("subtask-1") == keys[1:]
    assert logs.attempts("other") == []


def test_the_oldest_logs_go_first_and_none_that_is_written(tmp_path: Path) -> None:
    logs = store(tmp_path)
    keys = [LogKey(f"subtask-{number}", 1, 40) for number in range(5)]
    for age, key in enumerate(keys):
        log = logs.open(key)
        log.write("stdout", "x" * 1000)
        if key is not keys[1]:
            log.close()
        file = tmp_path / key.subtask_id / "1-40.jsonl"
        os.utime(file, (1_000_000 + age, 1_000_000 + age))
    assert run(logs.collect(10_000)) == 0
    assert run(logs.collect(3_500)) > 2_000
    left = [key for key in keys if logs.attempts(key.subtask_id)]
    assert left == [keys[1], keys[3], keys[4]]
    assert not (tmp_path / keys[0].subtask_id).exists()
    logs._writers[keys[1]].close()


def test_a_full_disk_does_not_end_the_work(tmp_path: Path) -> None:
    """/dev/full takes nothing."""
    (tmp_path / "subtask-1").mkdir()
    (tmp_path / "subtask-1" / "1-40.jsonl").symlink_to("/dev/full")
    log = store(tmp_path).open(KEY)
    log.write("stdout", "line")
    log.write("stdout", "another")
    log.write("stdout", "third")
    assert log.tail() == "line\nanother\nthird"
    log.close()
