"""What runs behind walls: real processes that try to see, to change and to outlive."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from paceline.errors import InvalidSettings
from paceline.tools.isolation import (
    DIRECTORIES,
    Confinement,
    Isolation,
    Kind,
    check_walls,
    path_directories,
    probe,
    program_files,
)
from paceline.tools.process import Ending, child_process
from tests.tools.children import PATH, finish, has_number, run, shell, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's")

ESCAPE = (
    "import os, sys, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork() == 0:\n"
    "        os.execve('/bin/sh', ['sh', '-c', 'echo 1 > away; sleep 600; true', {name!r}], {{}})\n"
    "    os._exit(0)\n"
    "os.wait()\n"
    "while not os.path.exists('away'): time.sleep(0.01)\n"
)
"""A daemon that has left its session, its parent and its environment behind."""


def place(directory: Path) -> Path:
    """An attempt's directory, beside a home with a secret."""
    for name in DIRECTORIES:
        (directory / "place" / name).mkdir(parents=True)
    (directory / "owner").mkdir()
    (directory / "owner" / "secret").write_text("the owner's own")
    return directory / "place"


@pytest.fixture
def best(tmp_path: Path) -> Isolation:
    """What works here; CI has bubblewrap, other machines may not."""
    (tmp_path / "probe").mkdir()
    found = run(probe(PATH, tmp_path / "probe"))
    if not found.is_sandbox:
        if os.environ.get("PACELINE_TOOLS_REQUIRED"):
            pytest.fail(found.reason)
        pytest.skip(found.reason)
    return found


def walled(directory: Path, isolation: Isolation, line: str, **fields: Any) -> Any:
    here = place(directory)
    walls = Confinement(isolation=isolation, place=here, readable=path_directories(PATH, hidden=()))
    return shell(
        here / "workspace",
        line,
        **{"mark_file": here / "run.mark", "confinement": walls, **fields},
    )


def named(name: str) -> list[int]:
    """The processes with that word in their command line."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if name in (process.info["cmdline"] or ())
    ]


def test_it_sees_its_own_directories_and_the_system_but_no_home(
    tmp_path: Path, best: Isolation
) -> None:
    here = tmp_path / "place"
    line = (
        f"cat {tmp_path}/owner/secret; ls {tmp_path}/owner;"
        f"echo made > {here}/output; echo done > in-workspace; echo kept > $TMPDIR/x;"
        f"echo no > {here}/kept/file; echo no > /usr/no; git --version; cat {here}/kept/file"
    )
    spec = walled(tmp_path, best, line, environment={"PATH": PATH, "TMPDIR": str(here / "tmp")})
    (here / "kept").mkdir()
    (here / "kept" / "file").write_text("as it was\n")
    _, lines = run(finish(spec))
    out = [each.text for each in lines if each.stream == "stdout"]
    assert not any("secret" in each or "own" in each for each in out)
    assert out[0].startswith("git version")
    assert out[1:] == ["as it was"]
    assert (here / "output").read_text() == "made\n"
    assert (here / "workspace" / "in-workspace").read_text() == "done\n"
    assert not Path("/usr/no").exists()


def test_a_daemon_without_mark_session_and_parent_dies_with_the_run(
    tmp_path: Path, best: Isolation
) -> None:
    name = f"daemon-of-{tmp_path.name}-{os.getpid()}"
    program = ESCAPE.format(name=name)
    spec = walled(tmp_path, best, "", argv=(sys.executable, "-c", program))
    walls = spec.confinement.running(sys.executable)
    walls = walls.seeing([Path(sys.base_prefix), Path(sys.prefix)])

    async def test() -> None:
        child, lines = await finish(replace(spec, confinement=walls))
        assert child.exit_code == 0, lines
        assert (spec.directory / "away").exists(), "it was there"
        await until(lambda: not named(name))

    run(test())


@pytest.mark.parametrize("kind", [Kind.BUBBLEWRAP, Kind.NAMESPACE])
def test_the_kernel_ends_all_when_the_first_process_is_killed(
    tmp_path: Path, best: Isolation, kind: Kind
) -> None:
    """So it is when the node itself dies: nobody has to look for them."""
    program = {Kind.BUBBLEWRAP: best.program, Kind.NAMESPACE: "/usr/bin/unshare"}[kind]
    name = f"left-{kind.name}-{os.getpid()}"
    line = f"env -i setsid sh -c 'sleep 600; true' {name} & echo 1 > begun; wait"
    spec = walled(tmp_path, Isolation(kind, program), line)

    async def test() -> None:
        async with child_process(spec) as child:
            await until(lambda: has_number(spec.directory / "begun") and bool(named(name)))
            os.kill(child.pid, signal.SIGKILL)
            await until(lambda: not named(name))

    run(test())


def test_it_is_asked_to_end_before_it_is_killed(tmp_path: Path, best: Isolation) -> None:
    line = "trap 'echo asked > asked; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    spec = walled(tmp_path, best, line, timeout_s=1.0)
    child, _ = run(finish(spec))
    assert child.ending is Ending.TIMEOUT
    assert (spec.directory / "asked").read_text() == "asked\n"
    assert child.gone


def test_its_exit_status_is_the_programs(tmp_path: Path, best: Isolation) -> None:
    child, _ = run(finish(walled(tmp_path, best, "exit 7")))
    assert (child.exit_code, child.ending) == (7, Ending.EXITED)


def test_memory_has_a_limit(tmp_path: Path) -> None:
    program = "import time; held = bytearray(200 * 1024 * 1024); print('held'); time.sleep(600)"
    argv = (sys.executable, "-u", "-c", program)
    child, _ = run(finish(shell(tmp_path, "", argv=argv, memory_limit_bytes=100 * 1024**2)))
    assert child.ending is Ending.MEMORY


# --- what programs need ---------------------------------------------------------------------------


def tree(directory: Path, *files: str) -> None:
    for name in files:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("")


def test_an_installation_is_seen_with_its_libraries_and_no_more(tmp_path: Path) -> None:
    tree(tmp_path, "prefix/bin/agent", "prefix/lib/x", "prefix/share/keyrings/k", "other/y")
    found = program_files(str(tmp_path / "prefix/bin/agent"), hidden=())
    assert found == (tmp_path / "prefix/bin", tmp_path / "prefix/lib")


def test_node_modules_come_together_and_links_are_followed(tmp_path: Path) -> None:
    tree(tmp_path, "p/node_modules/agent/cli.js", "bin/z")
    (tmp_path / "bin/agent").symlink_to("../p/node_modules/agent/cli.js")
    found = program_files(str(tmp_path / "bin/agent"), hidden=())
    assert found == (tmp_path / "bin", tmp_path / "p/node_modules")


def test_no_program_brings_a_home_into_view(tmp_path: Path) -> None:
    tree(tmp_path, "home/agent", "home/x")
    assert program_files(str(tmp_path / "home/agent"), hidden=(tmp_path / "home",)) == ()
    assert path_directories(str(tmp_path / "home"), hidden=(tmp_path / "home/data",)) == ()


@pytest.mark.parametrize(
    "config",
    [
        {"sandbox": "maybe"},
        {"readable": "/data"},
        {"writable": ["data"]},
        {"memory_limit_mib": -1},
        {"memory_limit_mib": True},
    ],
)
def test_settings_that_are_none(config: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match=next(iter(config))):
        check_walls("codex", config)
