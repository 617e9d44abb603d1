import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent

import pytest

from paceline.errors import Busy, CorruptStorage, StorageError, StorageFull
from paceline.node import outbox as module
from paceline.node.outbox import Outbox
from paceline.tasks.commands import AttemptRef
from paceline.tasks.model import BlobRef, Outcome, Output, ResultStatus
from tests.tools.children import run

REF = AttemptRef("subtask-1", 1, 40)
FULL = Outcome(
    ResultStatus.OK,
    "grüße\n\0",
    Output(b"\0\xff", BlobRef("ab" * 32, 5, ("a", "b"))),
    exit_code=0,
    usage={"input_tokens": 5},
    cost_usd=0.25,
    duration_ms=12,
    log_tail="tail",
    session="s",
    retryable_after_ms=7,
    details={"any": ["thing", 1, None]},
)


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Outbox]:
    outbox = await Outbox.open(directory / "outbox.db")
    try:
        yield outbox
    finally:
        await outbox.close()


def ref(number: int) -> AttemptRef:
    return AttemptRef(f"subtask-{number}", 1, 40)


def test_an_outcome_stays_until_it_is_confirmed(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as outbox:
            await outbox.put(REF, FULL)
        async with opened(tmp_path) as outbox:
            assert await outbox.pending() == [(REF, FULL)]
            await outbox.confirm(REF)
            await outbox.confirm(REF)
            assert await outbox.pending() == []
        async with opened(tmp_path) as outbox:
            assert await outbox.pending() == []

    run(test())


def test_the_first_outcome_of_an_attempt_stays(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as outbox:
            await outbox.put(REF, FULL)
            await outbox.put(REF, Outcome(ResultStatus.FAILED))
            assert await outbox.pending() == [(REF, FULL)]

    run(test())


def test_attempts_placed_by_one_entry_share_a_token(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as outbox:
            for number in (3, 1, 2):
                assert await outbox.begin(ref(number))
                await outbox.put(ref(number), Outcome(ResultStatus.OK, str(number)))
            await outbox.confirm(ref(1))
            kept = await outbox.pending()
            assert [(each, outcome.text) for each, outcome in kept] == [
                (ref(3), "3"),
                (ref(2), "2"),
            ]

    run(test())


def test_no_attempt_begins_twice(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as outbox:
            assert await outbox.begin(REF)
            assert not await outbox.begin(REF)
            assert await outbox.begin(AttemptRef("subtask-1", 2, 41))
        async with opened(tmp_path) as outbox:
            assert not await outbox.begin(REF)
            await outbox.put(REF, FULL)
            await outbox.confirm(REF)
            assert not await outbox.begin(REF), "also when its outcome is no longer kept"

    run(test())


def test_what_was_interrupted(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as outbox:
            for number in (1, 2, 3):
                await outbox.begin(ref(number))
            await outbox.put(ref(2), FULL)
            assert await outbox.interrupted() == [ref(1), ref(3)]

    run(test())


def test_many_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as outbox:
            async with asyncio.TaskGroup() as group:
                for number in range(500):
                    group.create_task(outbox.put(ref(number), FULL))
            assert len(await outbox.pending()) == 500
            async with asyncio.TaskGroup() as group:
                for number in range(500):
                    group.create_task(outbox.confirm(ref(number)))
            assert await outbox.pending() == []

    run(test())


def test_a_cancelled_put_is_put(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as outbox:
            task = asyncio.create_task(outbox.put(REF, FULL))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert [each for each, _ in await outbox.pending()] == [REF]

    run(test())


def test_it_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PENDING_LIMIT", 3)
    monkeypatch.setattr(module, "BEGUN_LIMIT", 5)

    async def test() -> None:
        async with opened(tmp_path) as outbox:
            for number in range(3):
                await outbox.put(ref(number), FULL)
            results = await asyncio.gather(
                outbox.put(ref(3), FULL), outbox.confirm(ref(0)), return_exceptions=True
            )
            assert isinstance(results[0], Busy)
            assert results[1] is None, "a refusal does not undo what shares its commit"
            await outbox.put(ref(3), FULL)
            for number in range(20):
                await outbox.begin(ref(number))
            assert await outbox.interrupted() == [ref(number) for number in range(15, 20)]

    run(test())


KILLED = """
    import asyncio, sys
    from pathlib import Path
    from paceline.node.outbox import Outbox
    from paceline.tasks.commands import AttemptRef
    from paceline.tasks.model import Outcome, ResultStatus

    async def put(outbox, number):
        ref = AttemptRef("subtask", number, 40)
        await outbox.begin(ref)
        await outbox.put(ref, Outcome(ResultStatus.OK, "x" * 2000))
        print(number, flush=True)

    async def main():
        outbox = await Outbox.open(Path(sys.argv[1]))
        number = 0
        while True:
            await asyncio.gather(*(put(outbox, number + n) for n in range(5)))
            number += 5

    asyncio.run(main())
"""


@pytest.mark.parametrize("after", [1, 12, 40])
def test_what_was_said_to_be_put_survives_kill_9(tmp_path: Path, after: int) -> None:
    path = tmp_path / "outbox.db"
    argv = (sys.executable, "-c", dedent(KILLED), str(path))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        said = [int(child.stdout.readline()) for _ in range(after)]
        os.kill(child.pid, signal.SIGKILL)
        said += [int(line) for line in child.stdout]

    async def test() -> None:
        async with opened(tmp_path) as outbox:
            kept = {each.attempt: outcome for each, outcome in await outbox.pending()}
            assert set(said) <= set(kept)
            assert all(outcome.text == "x" * 2000 for outcome in kept.values())
            for number in said:
                assert not await outbox.begin(AttemptRef("subtask", number, 40))

    run(test())


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"not a database, but long enough to be read as one" * 20)
    with pytest.raises(CorruptStorage):
        run(Outbox.open(tmp_path / "outbox.db"))


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "outbox.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StorageError, match="newer version"):
        run(Outbox.open(tmp_path / "outbox.db"))


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    """SQLite's own page limit stands in for the disk's end: the same error code."""

    async def test() -> None:
        async with opened(tmp_path) as outbox:
            await outbox.put(REF, FULL)
            await outbox._do(lambda connection: connection.execute("PRAGMA max_page_count = 12"))
            large = Outcome(ResultStatus.OK, "x" * 100_000)
            with pytest.raises(StorageFull):
                await outbox.put(ref(2), large)
            assert await outbox.pending() == [(REF, FULL)]
            await outbox.confirm(REF)

    run(test())
