import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from paceline.tools import marks
from paceline.tools.marks import MARK_VARIABLE, Mark, sweep
from tests.tools.children import lives, run


def start(mark: Mark) -> "subprocess.Popen[bytes]":
    """Start a process that carries a mark, as a node that crashed would have left it."""
    environment = {"PATH": os.environ["PATH"], MARK_VARIABLE: mark.value}
    process = subprocess.Popen(["sleep", "1000"], env=environment, start_new_session=True)
    while b"sleep" not in Path(f"/proc/{process.pid}/cmdline").read_bytes():
        time.sleep(0.001)  # exec has begun, but is not over
    return process


def test_a_crashed_nodes_processes_are_swept(tmp_path: Path) -> None:
    ours, other = Mark.create(tmp_path / "a.mark"), Mark.create(tmp_path / "b.mark")
    left, spared = start(ours), start(other)
    try:
        assert run(sweep([ours.file])) == 1
        assert left.wait(timeout=10) == -9
        assert lives(spared.pid)
        assert not ours.file.exists()
        assert other.file.exists()
    finally:
        spared.kill()
        spared.wait()


def test_a_damaged_mark_file_kills_nobody(tmp_path: Path) -> None:
    """An empty mark would be carried by everybody."""
    empty = tmp_path / "run.mark"
    empty.write_text("")
    mark = Mark.create(tmp_path / "b.mark")
    bystander = start(mark)
    try:
        assert run(sweep([empty])) == 1
        assert lives(bystander.pid)
        assert not empty.exists()
    finally:
        bystander.kill()
        bystander.wait()


def test_the_portable_search_finds_the_same(tmp_path: Path) -> None:
    mark = Mark.create(tmp_path / "a.mark")
    process = start(mark)
    try:
        assert marks._find([mark.value], None) == [process.pid]
        assert list(marks._find_portably([mark.value], None)) == [process.pid]
        assert list(marks._find_portably(["0" * 32], process.pid)) == [process.pid]
    finally:
        process.kill()
        process.wait()
    assert marks._find([mark.value], process.pid) == []


@pytest.mark.netns
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root, unshare")
def test_found_where_the_session_was_begun_outside_of_the_namespace(tmp_path: Path) -> None:
    """As in a container that was entered: there getsid(2) answers 0 for everybody."""
    inside = textwrap.dedent(f"""
        import asyncio, os, subprocess
        from pathlib import Path
        from paceline.tools.marks import MARK_VARIABLE, Mark

        mark = Mark.create(Path({str(tmp_path / "a.mark")!r}))
        child = subprocess.Popen(["/bin/sleep", "1000"], env={{MARK_VARIABLE: mark.value}})
        assert os.getsid(child.pid) == 0
        assert asyncio.run(mark.kill())
        assert child.wait(timeout=10) == -9
    """)
    namespace = ["unshare", "--pid", "--fork", "--mount-proc"]
    subprocess.run([*namespace, sys.executable, "-c", inside], check=True, timeout=60)


def test_zombies_are_not_alive(tmp_path: Path) -> None:
    mark = Mark.create(tmp_path / "a.mark")
    process = start(mark)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert run(mark.alive(process.pid)) == []
    process.wait()


def test_who_is_just_executing_a_program_is_not_missed(tmp_path: Path) -> None:
    """Chains of processes that do nothing but exec: the search comes upon that moment often."""
    mark = Mark.create(tmp_path / "a.mark")
    environment = {"PATH": os.environ["PATH"], MARK_VARIABLE: mark.value}
    chain = ("sh", "-c", 'exec sh -c "$0" "$0"', 'exec sh -c "$0" "$0"')
    for _ in range(10):
        chains = [subprocess.Popen(chain, env=environment) for _ in range(4)]
        assert run(mark.kill())
        assert [process.wait(timeout=10) for process in chains] == [-9] * 4
