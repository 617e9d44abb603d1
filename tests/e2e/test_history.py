"""What clients see of real processes that are killed, paused, cut off and full is linearizable."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.history import ENOUGH
from tests.e2e.kv_clients import OPS
from tests.e2e.kv_cluster import PREFIX, isolation_missing
from tests.linearizability import Operation, check, parse
from tests.rigs.lan import PREFIX as LAN_PREFIX

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ALL = "kill,pause,partition,disk-full"
START_S = 180.0


@dataclass(frozen=True)
class Made:
    """One run of the command, as a process of its own, and what it left behind."""

    pid: int
    report: dict[str, Any]
    operations: list[Operation]


def spawn(*options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.e2e.history", "--json", *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )


def make(directory: Path, *options: str) -> Made:
    output = directory / "history.jsonl"
    process = spawn("--output", str(output), *options)
    try:
        printed, _ = process.communicate()
    finally:
        process.terminate()
        process.wait()
    assert process.returncode == 0, printed
    return Made(process.pid, json.loads(printed), parse(output.read_text().splitlines()))


def leftovers(pid: int) -> list[str]:
    """Answer directories, mounts, processes and namespaces that bear the mark of a run."""
    mark = f"{PREFIX}{pid}x"
    found = [str(path) for path in Path(tempfile.gettempdir()).glob(f"{mark}*")]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if mark in line]
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += [command] if mark in command else []
    return found + [str(path) for path in Path("/run/netns").glob(f"{LAN_PREFIX}{pid}x*")]


@pytest.fixture(scope="module")
def killed_and_paused(tmp_path_factory: pytest.TempPathFactory) -> Made:
    options = ["--nodes", "3", "--seconds", "10", "--faults", "kill,pause", "--seed", "7"]
    return make(tmp_path_factory.mktemp("history"), *options)


@pytest.fixture
def isolation() -> None:
    reason = isolation_missing()
    if reason is not None:
        pytest.skip(reason)


def answered(operations: Sequence[Operation], op: str) -> int:
    return sum(o.op == op and o.ok is True for o in operations)


def test_killed_and_paused_nodes_answer_as_one_copy_would(killed_and_paused: Made) -> None:
    report, operations = killed_and_paused.report, killed_and_paused.operations
    assert report["violations"] == check(operations) == []
    assert report["exits"] == [], report["errors"]
    assert set(report["faults_done"]) == {"kill", "pause"}
    for op in OPS:
        assert answered(operations, op) >= ENOUGH
    assert leftovers(killed_and_paused.pid) == []


def test_every_key_is_read_at_the_end(killed_and_paused: Made) -> None:
    operations = killed_and_paused.operations
    assert {o.key for o in operations if o.client == "end" and o.op == "read" and o.ok} == {
        o.key for o in operations
    }


def test_a_read_made_stale_by_hand_is_found(killed_and_paused: Made) -> None:
    """The last read of a list forgets an element whose append was acknowledged before it."""
    operations = killed_and_paused.operations
    done = {(o.key, o.value) for o in operations if o.op == "append" and o.ok}
    at, place = next(
        (at, place)
        for at, o in enumerate(operations)
        if o.client == "end" and o.key.startswith("list")
        for place, value in enumerate(o.value)
        if (o.key, value) in done
    )
    stale = [*operations]
    stale[at] = replace(stale[at], value=stale[at].value[:place])
    assert [violation.key for violation in check(stale)] == [operations[at].key]


def test_an_acknowledged_write_that_gets_lost_is_found(killed_and_paused: Made) -> None:
    """The last read of a register answers that it was never written."""
    operations = killed_and_paused.operations
    done = {o.key for o in operations if o.op == "write" and o.ok}
    at = next(at for at, o in enumerate(operations) if o.client == "end" and o.key in done)
    lost = [*operations]
    lost[at] = replace(lost[at], value=None)
    assert [violation.key for violation in check(lost)] == [operations[at].key]


@pytest.mark.netns
@pytest.mark.slow
@pytest.mark.usefixtures("isolation")
@pytest.mark.parametrize(
    ("nodes", "seconds", "faults"), [("3", "12", "partition,disk-full"), ("5", "25", ALL)]
)
def test_nodes_of_their_own_networks_and_disks_answer_as_one_copy_would(
    tmp_path: Path, nodes: str, seconds: str, faults: str
) -> None:
    options = ["--nodes", nodes, "--seconds", seconds, "--faults", faults, "--seed", "11"]
    made = make(tmp_path, *options)
    assert made.report["violations"] == []
    assert set(made.report["faults_done"]) == set(faults.split(","))
    for op in OPS:
        assert answered(made.operations, op) >= ENOUGH
    assert leftovers(made.pid) == []


@pytest.mark.netns
@pytest.mark.usefixtures("isolation")
def test_a_run_that_is_told_to_end_leaves_nothing() -> None:
    process = spawn("--nodes", "3", "--seconds", "100", "--faults", ALL)
    try:
        deadline = time.monotonic() + START_S
        while not socket_files(process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert leftovers(process.pid) != []
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 2
    assert leftovers(process.pid) == []


def socket_files(pid: int) -> list[str]:
    paths = Path(tempfile.gettempdir()).glob(f"{PREFIX}{pid}x*/*.sock")
    return [str(path) for path in paths]
