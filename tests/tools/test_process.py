"""Children that do not behave, and what becomes of them."""

import asyncio
import os
import resource
import signal
import time
from pathlib import Path

import pytest

from paceline.errors import ToolError
from paceline.tools.marks import MARK_VARIABLE
from paceline.tools.process import ChildProcess, Ending, ProcessSpec, child_process
from tests.tools.children import (
    finish,
    has_number,
    lives,
    number_in,
    python,
    run,
    shell,
    until,
)

MIB = 1024 * 1024


def test_lines_of_both_streams_and_the_exit_status(tmp_path: Path) -> None:
    child, lines = run(finish(shell(tmp_path, "echo out; echo err >&2; printf last; exit 7")))
    assert child.exit_code == 7
    assert child.ending is Ending.EXITED
    assert {(line.stream, line.text) for line in lines} == {
        ("stdout", "out"),
        ("stderr", "err"),
        ("stdout", "last"),
    }


def test_the_environment_is_what_was_given_and_the_mark(tmp_path: Path) -> None:
    spec = shell(tmp_path, "", argv=("/usr/bin/env",), environment={"ONLY": "this"})
    _, lines = run(finish(spec))
    names = {line.text.partition("=")[0] for line in lines}
    assert names == {"ONLY", MARK_VARIABLE}


def test_stdin_is_at_its_end(tmp_path: Path) -> None:
    _, lines = run(finish(shell(tmp_path, "cat; echo read nothing")))
    assert [line.text for line in lines] == ["read nothing"]


def test_what_is_not_utf_8_is_replaced(tmp_path: Path) -> None:
    _, lines = run(finish(shell(tmp_path, r"printf 'a\377b\000c\n'")))
    assert [line.text for line in lines] == ["a\ufffdb\0c"]


def test_a_program_that_is_not_there_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="nowhere"):
        run(finish(shell(tmp_path, "", argv=("/nowhere",))))
    assert not (tmp_path / "run.mark").exists()


def test_a_signal_is_the_exit_status(tmp_path: Path) -> None:
    child, _ = run(finish(shell(tmp_path, "kill -9 $$")))
    assert child.exit_code == -9


def test_a_line_of_many_megabytes_arrives_whole(tmp_path: Path) -> None:
    _, lines = run(finish(python(tmp_path, f"print('x' * {10 * MIB})")))
    assert [len(line.text) for line in lines] == [10 * MIB]


def test_a_line_over_the_limit_is_cut(tmp_path: Path) -> None:
    program = f"print('x' * {3 * MIB}); print('next')"
    _, lines = run(finish(python(tmp_path, program, line_limit_bytes=MIB)))
    assert lines[0].text == "x" * MIB + f" [{2 * MIB} bytes cut]"
    assert lines[1].text == "next"


def test_a_flood_is_bounded(tmp_path: Path) -> None:
    """96 MiB come, 8 MiB are given out, and memory does not grow by what is thrown away."""
    program = f"import sys\nfor _ in range(96): sys.stdout.write('line of text\\n' * {MIB // 13})"
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child, lines = run(_count(python(tmp_path, program, output_limit_bytes=8 * MIB)))
    assert child.exit_code == 0
    assert 7 * MIB < lines * 13 < 9 * MIB
    assert child.dropped_bytes > 80 * MIB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 48 * 1024


async def _count(spec: ProcessSpec) -> tuple[ChildProcess, int]:
    lines = 0
    async with child_process(spec) as child:
        async for _ in child:
            lines += 1
    return child, lines


def test_a_reader_that_waits_holds_the_child_up(tmp_path: Path) -> None:
    """The child cannot write more than the buffer and the pipe while nobody reads."""
    program = (
        "import os\n"
        "for n in range(200):\n"
        "    os.write(1, b'x' * 65535 + b'\\n')\n"
        "    open('new', 'w').write(str(n)); os.replace('new', 'written')\n"
    )

    async def test() -> None:
        async with child_process(python(tmp_path, program)) as child:
            written = tmp_path / "written"
            await until(lambda: has_number(written) and number_in(written) >= 15)
            for _ in range(20):
                await asyncio.sleep(0.01)
            assert number_in(written) < 30
            assert len([line async for line in child]) == 200

    run(test())


def test_a_flood_does_not_starve_the_event_loop(tmp_path: Path) -> None:
    async def test() -> int:
        turns = 0
        async with asyncio.TaskGroup() as group:

            async def breathe() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            breather = group.create_task(breathe())
            _, lines = await finish(shell(tmp_path, "yes | head -100000"))
            assert len(lines) == 100_000
            breather.cancel()
        return turns

    assert run(test()) > 1000


# --- time ---


def test_wall_clock_ends_a_child_that_talks(tmp_path: Path) -> None:
    child, lines = run(
        finish(shell(tmp_path, "while :; do echo on; sleep 0.05; done", timeout_s=0.5))
    )
    assert child.ending is Ending.TIMEOUT
    assert lines
    assert not lives(child.pid)


def test_wall_clock_ends_a_child_that_floods(tmp_path: Path) -> None:
    child, _ = run(_count(shell(tmp_path, "exec yes", timeout_s=0.5)))
    assert child.ending is Ending.TIMEOUT
    assert not lives(child.pid)


def test_silence_ends_a_child(tmp_path: Path) -> None:
    line = "echo one; exec sleep 1000"
    child, lines = run(finish(shell(tmp_path, line, idle_timeout_s=0.3, timeout_s=50)))
    assert child.ending is Ending.IDLE
    assert [line.text for line in lines] == ["one"]


def test_a_child_that_talks_is_not_silent(tmp_path: Path) -> None:
    """In all it takes longer than it may be silent at once."""
    line = "for n in $(seq 14); do sleep 0.15; echo $n; done"
    child, lines = run(finish(shell(tmp_path, line, idle_timeout_s=1.5)))
    assert child.ending is Ending.EXITED
    assert len(lines) == 14


def test_the_last_words_after_term_are_heard(tmp_path: Path) -> None:
    line = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    child, lines = run(finish(shell(tmp_path, line, idle_timeout_s=0.5)))
    assert [line.text for line in lines if line.stream == "stdout"] == ["ready", "bye"]
    assert child.exit_code == 3


def test_who_ignores_term_is_killed(tmp_path: Path) -> None:
    line = "trap '' TERM; while :; do sleep 0.05; done"
    child, _ = run(finish(shell(tmp_path, line, timeout_s=0.3, grace_s=0.3)))
    assert child.exit_code == -9


# --- nobody is left ---

ONCE_IT_RUNS = "while [ ! -s pid ]; do sleep 0.01; done"

DETACHED = {
    "background": "sleep 1000 & echo $! > pid",
    "nohup": "nohup sleep 1000 >/dev/null 2>&1 & echo $! > pid",
    "setsid": f"setsid sh -c 'echo $$ > pid; exec sleep 1000' & {ONCE_IT_RUNS}",
    "daemon": (
        'setsid sh -c \'(setsid sh -c "echo \\$\\$ > pid; exec sleep 1000" '
        f"</dev/null >/dev/null 2>&1 &)' & {ONCE_IT_RUNS}"
    ),
    "clean environment": f"env -i sh -c 'echo $$ > pid; exec sleep 1000' & {ONCE_IT_RUNS}",
}


@pytest.mark.parametrize("way", DETACHED)
def test_who_detached_itself_ends_with_the_child(tmp_path: Path, way: str) -> None:
    child, _ = run(finish(shell(tmp_path, DETACHED[way])))
    assert child.exit_code == 0
    assert not lives(number_in(tmp_path / "pid"))
    assert not (tmp_path / "run.mark").exists()


@pytest.mark.parametrize("way", DETACHED)
def test_who_detached_itself_ends_when_cancelled(tmp_path: Path, way: str) -> None:
    async def test() -> None:
        task = asyncio.create_task(finish(shell(tmp_path, f"{DETACHED[way]}; sleep 1000")))
        await until(lambda: has_number(tmp_path / "pid"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(test())
    assert not lives(number_in(tmp_path / "pid"))
    assert not (tmp_path / "run.mark").exists()


def test_a_tree_that_ignores_term_and_detached_itself(tmp_path: Path) -> None:
    stubborn = "echo $$ > pid; while :; do sleep 0.1; done"
    line = f"trap '' TERM; setsid sh -c '{stubborn}' & wait"
    spec = shell(tmp_path, line, timeout_s=1, grace_s=0.3)
    child, _ = run(finish(spec))
    assert child.ending is Ending.TIMEOUT
    assert not lives(number_in(tmp_path / "pid"))


def test_who_holds_the_pipe_open_does_not_hold_us_up(tmp_path: Path) -> None:
    """It escapes the sweep (no mark, other session, no parent), but not with our time."""
    line = (
        "env -i setsid sh -c '(env -i setsid sh -c \"echo \\$\\$ > pid; exec sleep 1000\" &)'"
        f"; {ONCE_IT_RUNS}; echo done"
    )
    child, lines = run(finish(shell(tmp_path, line)))
    assert child.exit_code == 0
    assert [line.text for line in lines] == ["done"]
    escaped = number_in(tmp_path / "pid")
    assert lives(escaped)
    os.kill(escaped, signal.SIGKILL)


@pytest.mark.parametrize("delay_turns", [0, 1, 2, 3, 5, 8, 13, 50])
def test_cancelled_while_it_starts(tmp_path: Path, delay_turns: int) -> None:
    async def test() -> None:
        line = "echo $$ > pid; exec sleep 1000"
        task = asyncio.create_task(finish(shell(tmp_path, line)))
        for _ in range(delay_turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(test())
    assert not (tmp_path / "run.mark").exists()
    if has_number(tmp_path / "pid"):
        assert not lives(number_in(tmp_path / "pid"))


def test_cancelled_while_it_starts_and_has_begun_to_work(tmp_path: Path) -> None:
    """The child runs already, with a grandchild, before we are told that it was started."""
    line = DETACHED["clean environment"] + "; exec sleep 1000"

    async def test(directory: Path, turns: int) -> None:
        task = asyncio.create_task(finish(shell(directory, line)))
        for _ in range(turns):
            await asyncio.sleep(0)
        give_up = time.monotonic() + 3
        while not has_number(directory / "pid") and time.monotonic() < give_up:
            time.sleep(0.01)  # noqa: ASYNC251 - the event loop is to stand still
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    begun = 0
    for turns in range(2, 12):
        directory = tmp_path / str(turns)
        directory.mkdir()
        run(test(directory, turns))
        if has_number(directory / "pid"):
            begun += 1
            assert not lives(number_in(directory / "pid"))
        assert not (directory / "run.mark").exists()
    assert begun


def test_cancelled_again_while_it_ends(tmp_path: Path) -> None:
    """Impatience does not leave anybody behind."""

    async def test() -> None:
        line = "trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done"
        task = asyncio.create_task(finish(shell(tmp_path, line, grace_s=0.5)))
        await until(lambda: has_number(tmp_path / "pid"))
        while not task.done():
            task.cancel()
            await asyncio.sleep(0.01)
        assert task.cancelled()

    run(test())
    assert not lives(number_in(tmp_path / "pid"))


def test_an_error_of_the_reader_ends_the_child(tmp_path: Path) -> None:
    async def test() -> None:
        async with child_process(shell(tmp_path, "echo $$; exec sleep 1000")) as child:
            async for line in child:
                raise RuntimeError(line.text)

    with pytest.raises(RuntimeError) as caught:
        run(test())
    assert not lives(int(str(caught.value)))
