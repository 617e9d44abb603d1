"""Attempts with real processes, real git, real blobs: what comes of them, and what is left."""

import asyncio
import errno
import hashlib
import os
import random
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import StorageFull, ToolError
from paceline.node.attempt import clear_attempts, remove_attempt, run_attempt, sweep_attempts
from paceline.node.blobs import BlobStore
from paceline.node.desk import Desk, Work
from paceline.tasks.model import BlobRef, Outcome, Output, ResultStatus
from paceline.tools.contract import Job
from paceline.tools.events import Event, Final, Log, Text, ToolCall, ToolResult, Usage
from paceline.tools.process import child_process
from tests.node.desks import (
    MIB,
    Played,
    attempt,
    commit,
    git,
    make_desk,
    make_repository,
    make_work,
    sensitive,
)
from tests.tools.children import has_number, lives, number_in, run, shell, until

ANY_BYTES = bytes(range(256)) * 4096  # 1 MiB, with NUL and what is not UTF-8


def place(desk: Desk, work: Work) -> Path:
    return desk.place_of(work)


async def logged(desk: Desk, work: Work) -> list[str]:
    pages = desk.logs.follow(work.key)
    return [f"{line.stream}: {line.line}" async for page in pages for line in page.lines]


def test_from_a_line_to_an_outcome(tmp_path: Path) -> None:
    desk = make_desk(tmp_path)
    work = make_work("echo working; printf 'the result' > $PACELINE_OUTPUT")
    outcome = run(attempt(work, desk))
    assert outcome.status is ResultStatus.OK
    assert outcome.output == Output(b"the result")
    assert outcome.exit_code == 0
    assert outcome.log_tail == "working"
    assert outcome.duration_ms > 0
    assert run(logged(desk, work)) == ["stdout: working"]


def test_without_output_there_is_an_empty_one(tmp_path: Path) -> None:
    assert run(attempt(make_work("true"), make_desk(tmp_path))).output == Output(b"")


@pytest.mark.parametrize("size", [0, 1, 32 * 1024, 32 * 1024 + 1, MIB])
def test_output_and_input_byte_for_byte(tmp_path: Path, size: int) -> None:
    """What one subtask writes, the next one reads, inline or as a blob."""
    data = ANY_BYTES[:size]
    (tmp_path / "source").write_bytes(data)
    desk = make_desk(tmp_path)
    first = run(attempt(make_work(f"cat {tmp_path}/source > $PACELINE_OUTPUT"), desk))
    assert (first.output.blob is None) == (size <= 32 * 1024)
    assert first.output.size == size
    second = make_work(
        'cmp "$PACELINE_INPUTS/its name" $SOURCE && cat "$PACELINE_INPUTS/its name"'
        " > $PACELINE_OUTPUT".replace("$SOURCE", str(tmp_path / "source")),
        inputs={"its name": first.output},
        subtask_id="subtask-2",
    )
    outcome = run(attempt(second, desk))
    assert outcome.status is ResultStatus.OK, outcome.text
    assert outcome.output == first.output


def test_a_large_output_is_a_blob_with_its_copies(tmp_path: Path) -> None:
    async def replicate(ref: BlobRef) -> list[str]:
        return ["other"]

    async def nobody(ref: BlobRef) -> list[str]:
        raise StorageFull("nobody has room")

    line = f"head -c {MIB} /dev/zero > $PACELINE_OUTPUT"
    for number, (hook, holders) in enumerate(((replicate, ("me", "other")), (nobody, ("me",)))):
        desk = make_desk(tmp_path / str(number))
        blobs = BlobStore(
            directory=tmp_path / str(number) / "b", node_id="me", budget_bytes=MIB, replicate=hook
        )
        outcome = run(attempt(make_work(line), replace(desk, blobs=blobs)))
        sha256 = hashlib.sha256(bytes(MIB)).hexdigest()
        assert outcome.output.blob == BlobRef(sha256, MIB, holders)


# --- the environment ---


def test_nothing_of_the_node_leaks_into_the_child(tmp_path: Path) -> None:
    desk = make_desk(tmp_path)
    work = make_work("env; tr '\\0' '\\n' < /proc/self/environ; echo HOME=$HOME; ls -a $HOME")
    lines = "\n".join(run(logged_after(desk, work)))
    assert "the-secret-value" not in lines
    assert "[redacted]" not in lines, "it was not even there to be taken out"
    for name in desk.environment:
        if name not in ("PATH", "LANG", "HOME"):
            assert name not in lines
    assert f"HOME={place(desk, work) / 'home'}" in lines
    assert f"TMPDIR={place(desk, work) / 'tmp'}" in lines


async def logged_after(desk: Desk, work: Work) -> list[str]:
    outcome = await attempt(work, desk)
    assert outcome.status is ResultStatus.OK, outcome.text
    return await logged(desk, work)


def test_secrets_that_it_knows_do_not_get_out(tmp_path: Path) -> None:
    work = make_work("echo it is the-secret-value; echo the-secret-value >&2; exit 1")
    desk = make_desk(tmp_path)
    outcome = run(attempt(work, desk))
    said = outcome.text + outcome.log_tail + "".join(run(logged(desk, work)))
    assert "the-secret-value" not in said
    assert "it is [redacted]" in outcome.text


# --- the repository ---


def test_it_works_in_the_commit(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", {"a.txt": "one", ".env": "KEPT=1"})
    desk = make_desk(tmp_path)
    repository, _ = run(desk.repositories.pin(source))
    work = make_work(
        "cat a.txt; git status --short; git branch --show-current; cat .env; "
        "git commit -q --allow-empty -m x && git log --format=%an -1",
        repository=repository,
    )
    assert run(logged_after(desk, work)) == [
        "stdout: one" + "paceline/task-1/subtask-1/1",
        "stdout: KEPT=1" + "Paceline",
    ]


def test_an_agent_does_not_see_what_would_steer_it(tmp_path: Path) -> None:
    files = {"a.txt": "one", ".env": "BASE_URL=evil", ".claude/settings.json": "{}"}
    source = make_repository(tmp_path / "source", files)

    async def play(job: Job) -> AsyncGenerator[Event, None]:
        yield Text(" ".join(sorted(os.listdir(job.workspace))))
        yield Final(ToolResult(ResultStatus.OK))

    desk = make_desk(tmp_path, played=Played(play))
    repository, _ = run(desk.repositories.pin(source))
    work = make_work(tool="played", repository=repository)
    outcome = run(attempt(work, desk))
    assert outcome.text == ".git a.txt"
    assert "node: taken out of the work tree: .claude" in run(logged(desk, work))


def test_two_attempts_on_one_repository_at_once(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", {"a.txt": "one"})
    commit(source, {"b.txt": "two"})
    desk = make_desk(tmp_path)
    repository, _ = run(desk.repositories.pin(source))
    line = "echo $PACELINE_SUBTASK_ID > a.txt; git commit -qam x; git gc -q; cat a.txt b.txt"
    works = [
        make_work(f"{line} > $PACELINE_OUTPUT", repository=repository, subtask_id=f"subtask-{n}")
        for n in range(6)
    ]

    async def test() -> list[Outcome]:
        return await asyncio.gather(*(attempt(work, desk) for work in works))

    for number, outcome in enumerate(run(test())):
        assert outcome.status is ResultStatus.OK, outcome.text
        assert outcome.output.inline == f"subtask-{number}\ntwo".encode()
    assert git(source, "branch", "-a") == "* main"


# --- failures ---


def test_a_failure_keeps_its_words_and_has_no_output(tmp_path: Path) -> None:
    desk = make_desk(tmp_path)
    work = make_work("printf partial > $PACELINE_OUTPUT; echo reason >&2; exit 3")
    outcome = run(attempt(work, desk))
    assert outcome.status is ResultStatus.FAILED
    assert outcome.exit_code == 3
    assert outcome.text == "exit status 3\nreason"
    assert outcome.output == Output()
    assert run(logged(desk, work))[-1] == "node: failed: exit status 3"


def test_out_of_time(tmp_path: Path) -> None:
    outcome = run(attempt(make_work("sleep 1000", timeout_s=0.3), make_desk(tmp_path)))
    assert outcome.status is ResultStatus.TIMEOUT


@pytest.mark.parametrize(
    ("settings", "config"),
    [({"idle_timeout_s": 0.3}, {}), ({}, {"idle_timeout_s": 0.3})],
)
def test_silent_for_too_long(
    tmp_path: Path, settings: dict[str, float], config: dict[str, float]
) -> None:
    desk = make_desk(tmp_path)
    desk.tools.tool("command").config = config
    outcome = run(attempt(make_work("sleep 1000", settings=settings), desk))
    assert outcome.status is ResultStatus.TIMEOUT
    assert "printed nothing" in outcome.text


def test_a_tool_that_is_not_there(tmp_path: Path) -> None:
    outcome = run(attempt(make_work(tool="absent"), make_desk(tmp_path)))
    assert outcome.status is ResultStatus.ERROR
    assert outcome.text == "this node has no tool absent; it has command"


def test_a_workspace_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "attempts").write_text("a file in the way")
    outcome = run(attempt(make_work("true"), make_desk(tmp_path)))
    assert outcome.status is ResultStatus.ERROR
    assert "attempts" in outcome.text


def test_the_same_attempt_does_not_begin_twice(tmp_path: Path) -> None:
    desk = make_desk(tmp_path)
    assert run(attempt(make_work("echo ran >> ../runs"), desk)).status is ResultStatus.OK
    again = run(attempt(make_work("echo ran >> ../runs"), desk))
    assert again.status is ResultStatus.ERROR
    assert "begun on this node before" in again.text
    assert (place(desk, make_work()) / "runs").read_text() == "ran\n"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../../escape", "x" * 300, "a\0b"])
def test_an_input_whose_name_is_no_files(tmp_path: Path, name: str) -> None:
    work = make_work("true", inputs={name: Output(b"x")})
    outcome = run(attempt(work, make_desk(tmp_path)))
    assert outcome.status is ResultStatus.ERROR
    assert "rename that subtask" in outcome.text
    assert not (tmp_path / "escape").exists()


def test_an_input_that_nobody_has(tmp_path: Path) -> None:
    gone = Output(blob=BlobRef("ab" * 32, 5, ("away",)))
    outcome = run(attempt(make_work("true", inputs={"a": gone}), make_desk(tmp_path)))
    assert outcome.status is ResultStatus.ERROR
    assert "cannot be fetched" in outcome.text


def test_a_corrupt_input(tmp_path: Path) -> None:
    desk = make_desk(tmp_path)
    ref = run(desk.blobs.put(ANY_BYTES))
    desk.blobs.path(ref.sha256).write_bytes(ANY_BYTES[:-1] + b"x")
    outcome = run(attempt(make_work("true", inputs={"a": Output(blob=ref)}), desk))
    assert outcome.status is ResultStatus.ERROR
    assert "the disk changed it" in outcome.text


def test_output_beyond_the_limits(tmp_path: Path) -> None:
    line = f"head -c {MIB} /dev/zero > $PACELINE_OUTPUT"
    desk = replace(make_desk(tmp_path), output_limit_bytes=1000)
    outcome = run(attempt(make_work(line), desk))
    assert outcome.status is ResultStatus.FAILED
    assert "at most 1000 are taken" in outcome.text
    full = make_desk(tmp_path / "full", budget_bytes=1000)
    outcome = run(attempt(make_work(line), full))
    assert outcome.status is ResultStatus.ERROR
    assert "do not fit" in outcome.text


@pytest.mark.parametrize(
    "line",
    [
        "ln -s /etc/passwd $PACELINE_OUTPUT",
        "mkfifo $PACELINE_OUTPUT",
        "mkdir $PACELINE_OUTPUT",
        "rm -f $PACELINE_OUTPUT; ln -s nowhere $PACELINE_OUTPUT",
    ],
)
def test_output_that_is_no_plain_file(tmp_path: Path, line: str) -> None:
    outcome = run(attempt(make_work(line), make_desk(tmp_path)))
    assert outcome.status is ResultStatus.FAILED
    assert "not a plain file" in outcome.text
    assert outcome.output == Output()


# --- tools that do not behave ---

DONE = Final(ToolResult(ResultStatus.OK))


def raising(error: BaseException) -> Callable[[Job], AsyncGenerator[Event, None]]:
    async def play(job: Job) -> AsyncGenerator[Event, None]:
        yield Log("stdout", "begun")
        raise error

    return play


def saying(*events: Event) -> Callable[[Job], AsyncGenerator[Event, None]]:
    async def play(job: Job) -> AsyncGenerator[Event, None]:
        for event in events:
            yield event

    return play


def result(**fields: Any) -> Final:
    return Final(ToolResult(**{"status": ResultStatus.OK, **fields}))


@pytest.mark.parametrize(
    ("play", "words"),
    [
        (raising(RuntimeError("boom")), "the tool played broke: RuntimeError: boom"),
        (raising(ToolError("cannot start")), "cannot start"),
        (raising(TimeoutError("its own")), "its own"),
        (raising(OSError(errno.ENOSPC, "full")), "no space is left on this node's disk"),
        (raising(OSError(errno.EIO, "broken disk")), "broken disk"),
        (saying(Text("half")), "ended without a result"),
        (saying(result(details={"x": object()})), "cannot be taken"),
        (saying(result(usage={"tokens": "many"})), "cannot be taken"),
        (saying(result(exit_code=2**70)), "cannot be taken"),
        (saying(result(session="x" * 100_000)), "cannot be taken"),
    ],
)
def test_a_broken_tool(
    tmp_path: Path, play: Callable[[Job], AsyncGenerator[Event, None]], words: str
) -> None:
    desk = make_desk(tmp_path, played=Played(play))
    outcome = run(attempt(make_work(tool="played"), desk))
    assert outcome.status is ResultStatus.ERROR
    assert words in outcome.text


def test_a_tool_that_does_not_heed_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paceline.node.attempt.OVERTIME_S", 0.2)
    closed = asyncio.Event()

    async def play(job: Job) -> AsyncGenerator[Event, None]:
        try:
            yield Usage({"input_tokens": 3})
            await asyncio.Event().wait()
        finally:
            closed.set()

    desk = make_desk(tmp_path, played=Played(play))
    outcome = run(attempt(make_work(tool="played", timeout_s=0.1), desk))
    assert outcome.status is ResultStatus.TIMEOUT
    assert outcome.usage == {"input_tokens": 3}
    assert closed.is_set()


def test_what_a_tool_says(tmp_path: Path) -> None:
    events = (
        Text("First li"),
        Text("ne\nsecond the-secret"),
        ToolCall("write_file", {"path": "a.py", "content": "x" * 5000}),
        Text("-value line"),
        Usage({"input_tokens": 1}),
        Usage({"input_tokens": 5, "output_tokens": 2}),
        result(session="s-1", cost_usd=0.5, details={"turns": 3}),
    )
    desk = make_desk(tmp_path, played=Played(saying(*events)))
    work = make_work(tool="played")
    outcome = run(attempt(work, desk))
    assert outcome.text == "First line\nsecond [redacted] line"
    assert outcome.usage == {"input_tokens": 5, "output_tokens": 2}
    assert (outcome.session, outcome.cost_usd, outcome.details) == ("s-1", 0.5, {"turns": 3})
    lines = run(logged(desk, work))
    assert lines[0] == "text: First line"
    assert lines[1].startswith('tool: write_file {"path": "a.py"')
    assert len(lines[1]) < 1100
    assert lines[2] == "text: second [redacted] line"


def test_long_and_odd_words_are_made_fit(tmp_path: Path) -> None:
    words = "grüße \ud83d " * 10_000
    desk = make_desk(tmp_path, played=Played(saying(result(text=words))))
    outcome = run(attempt(make_work(tool="played"), desk))
    assert outcome.status is ResultStatus.OK
    assert 16_000 < len(outcome.text.encode()) <= 16 * 1024
    assert outcome.text.startswith("grüße ? grüße")


# --- sensitive work ---


def test_sensitive_work_needs_a_local_tool(tmp_path: Path) -> None:
    seen: list[Job] = []

    async def play(job: Job) -> AsyncGenerator[Event, None]:
        seen.append(job)
        yield DONE

    desk = make_desk(tmp_path, played=Played(play))
    outcome = run(attempt(sensitive(make_work(tool="played")), desk))
    assert outcome.status is ResultStatus.DENIED
    assert seen == []
    assert run(attempt(sensitive(make_work("true")), desk)).status is ResultStatus.OK


# --- stopping ---

DETACHED = "setsid sh -c 'echo $$ > ../pid; exec sleep 1000' & exec sleep 1000"


def test_stopped_while_it_runs(tmp_path: Path) -> None:
    desk, work, stop = make_desk(tmp_path), make_work(DETACHED), asyncio.Event()
    pid = place(desk, work) / "pid"

    async def test() -> Outcome:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(attempt(work, desk, stop))
            await until(lambda: has_number(pid))
            stop.set()
        return task.result()

    outcome = run(test())
    assert outcome.status is ResultStatus.CANCELLED
    assert not lives(number_in(pid))
    assert not (place(desk, work) / "run.mark").exists()
    assert run(desk.logs.read(work.key)).ended


def test_cancelled_while_it_runs(tmp_path: Path) -> None:
    """The caller's own end: nothing is answered, and nothing is left."""
    desk, work = make_desk(tmp_path), make_work(DETACHED)
    pid = place(desk, work) / "pid"

    async def test() -> None:
        task = asyncio.create_task(attempt(work, desk))
        await until(lambda: has_number(pid))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(test())
    assert not lives(number_in(pid))
    assert run(desk.logs.read(work.key)).ended


def test_stopped_at_any_moment(tmp_path: Path) -> None:
    """From before it begins until after it has ended; with a repository and an input."""
    source = make_repository(tmp_path / "source", {"a.txt": "one"})
    desk = make_desk(tmp_path)
    repository, _ = run(desk.repositories.pin(source))
    inputs = {"a": Output(blob=run(desk.blobs.put(ANY_BYTES)))}
    line = "echo $$ > ../pid; setsid sleep 0.05; cat a.txt > $PACELINE_OUTPUT"
    rng = random.Random(7)
    seen = set()

    async def test(work: Work, delay_s: float) -> Outcome:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(run_attempt(work, desk, stop))
            await asyncio.sleep(delay_s)
            stop.set()
        return task.result()

    for number in range(40):
        work = make_work(line, inputs=inputs, repository=repository, attempt=number)
        outcome = run(test(work, rng.uniform(0, 0.2)))
        seen.add(outcome.status)
        assert outcome.status in (ResultStatus.CANCELLED, ResultStatus.OK), outcome.text
        assert not (place(desk, work) / "run.mark").exists()
        assert run(desk.logs.read(work.key)).ended
        if has_number(place(desk, work) / "pid"):
            assert not lives(number_in(place(desk, work) / "pid"))
    assert ResultStatus.CANCELLED in seen


def test_stopped_before_it_begins(tmp_path: Path) -> None:
    stop = asyncio.Event()
    stop.set()
    outcome = run(attempt(make_work("touch ../ran; sleep 1000"), make_desk(tmp_path), stop))
    assert outcome.status is ResultStatus.CANCELLED


# --- afterwards ---


def test_an_attempt_is_taken_away(tmp_path: Path) -> None:
    desk, work = make_desk(tmp_path), make_work("mkdir -p a/b; chmod 0 a/b; echo x > c")
    run(attempt(work, desk))
    assert place(desk, work).exists()
    run(remove_attempt(work, desk))
    assert not place(desk, work).exists()
    assert run(desk.logs.read(work.key)).ended, "its log stays"
    run(remove_attempt(make_work(subtask_id="never"), desk))


def test_what_a_crashed_node_left_running_is_swept(tmp_path: Path) -> None:
    """A second node process would find the mark of a first one that is gone."""
    desk, work = make_desk(tmp_path), make_work()
    place(desk, work).mkdir(parents=True)
    line = "setsid sh -c 'echo $$ > pid; exec sleep 1000' & wait"

    async def test() -> int:
        async with child_process(shell(place(desk, work), line)) as child:
            await until(lambda: has_number(place(desk, work) / "pid"))
            swept = await sweep_attempts(desk.directory)
            assert not lives(number_in(place(desk, work) / "pid"))
            async for _ in child:
                pass
            assert child.exit_code == -9
        return swept

    assert run(test()) == 1
    assert run(sweep_attempts(desk.directory)) == 0
    run(clear_attempts(desk.directory))
    assert list(desk.directory.iterdir()) == []
