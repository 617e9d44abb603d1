"""What a command loads before it does anything: little, or `paceline status` would be slow."""

import subprocess
import sys

import pytest

from tests.cli.command import Node, environment

HEAVY = {
    "asyncio",
    "fastapi",
    "msgpack",
    "psutil",
    "pydantic",
    "rich",
    "starlette",
    "structlog",
    "uvicorn",
    "yaml",
    "zeroconf",
    "zmq",
}
PROGRAM = """
import sys
from paceline.cli.main import cli
try:
    cli.main(sys.argv[1:], standalone_mode=False)
finally:
    sys.stderr.write(" ".join(sorted(name for name in sys.modules if "." not in name)))
"""


@pytest.mark.parametrize(
    "command",
    [["status"], ["nodes", "--json"], ["tasks"], ["events"], ["submit", "x", "--type", "bug_fix"]],
)
def test_a_plain_command_loads_nothing_heavy(node: Node, command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command],
        capture_output=True,
        text=True,
        env=environment(PACELINE_DATA_DIR=str(node.data_dir)),
        check=True,
        timeout=60,
    )

    assert not HEAVY & set(done.stderr.split())
