"""A process that applies is killed (-9) in the middle of it, again and again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from paceline.tasks.commands import (
    Allocate,
    AttemptRef,
    FinishAttempt,
    Placement,
    StartAttempts,
    SubmitTask,
)
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import TaskSpec
from tests.tasks.entries import OK, Entry, Log, subtask, worker

TASKS = 60
ROUNDS = 12
BATCH = 7

CHILD = """
import sys
from pathlib import Path
from tests.tasks.test_machine_crash import apply_all
apply_all(Path(sys.argv[1]))
"""


def the_log() -> list[Entry]:
    """The same entries in every process: tasks of three, each worked off."""
    log = Log()
    log.command(worker("n1"))
    for number in range(TASKS):
        names = [f"{number}.{at}" for at in range(3)]
        subtasks = (subtask(names[0]), subtask(names[1], names[0]), subtask(names[2], names[1]))
        log.command(SubmitTask(TaskSpec(f"task {number}", "", "plan", subtasks), ""))
        for name in names:
            log.command(Allocate((Placement(name, 1, "n1", "command"),)))
            ref = AttemptRef(name, 1, log.index)
            log.command(StartAttempts((ref,), "n1"))
            log.command(FinishAttempt(ref, "n1", OK))
    return log.entries


def apply_all(path: Path) -> None:
    """Apply what is missing, telling the parent each index; save and sync now and then."""
    machine = TaskMachine(path)
    entries = the_log()
    for start in range(machine.applied_index, len(entries), BATCH):
        machine.apply(entries[start : start + BATCH])
        print(machine.applied_index, flush=True)
        if start % 5 == 0:
            machine.make_durable(lambda index: None)
        if start % 11 == 0:
            machine.save(lambda source: source.close())
    machine.close()


def run_and_kill(path: Path, after_lines: int) -> int:
    """Start a child, kill it after so many batches; answer the last index that it told."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    told = 0
    with child:
        assert child.stdout is not None
        for count, line in enumerate(child.stdout, start=1):
            told = int(line)
            if count == after_lines:
                child.send_signal(signal.SIGKILL)
    return told


def test_the_state_is_that_of_its_applied_index(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    entries = the_log()
    reference = TaskMachine(tmp_path / "reference.db")
    for number in range(ROUNDS):
        told = run_and_kill(path, after_lines=1 + number % 9)
        machine = TaskMachine(path)
        assert machine.applied_index >= told
        reference.apply(entries[reference.applied_index : machine.applied_index])
        assert machine.digest() == reference.digest()
        assert machine.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert sorted(each.name for each in tmp_path.glob("state.db.*")) == []
        machine.close()
    apply_rest = TaskMachine(path)
    apply_rest.apply(entries)
    done = apply_rest.connection.execute("SELECT DISTINCT status, progress FROM tasks").fetchall()
    assert done == [("completed", 100)]
    apply_rest.close()
    reference.close()
