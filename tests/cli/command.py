"""The command `paceline` as a real process, against the fake service on a real port."""

import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.node.web.fake_service import FakeService
from tests.node.web.served import Served

TIMEOUT_S = 60


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**added: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PACELINE_", "NO_COLOR"))}
    return kept | added


def argv(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "paceline", *arguments]


def paceline(*arguments: str, given: str | bytes = b"", **environ: str) -> Ended:
    """Run the command to its end."""
    done = subprocess.run(
        argv(*arguments),
        input=given.encode() if isinstance(given, str) else given,
        capture_output=True,
        env=environment(**environ),
        timeout=TIMEOUT_S,
        check=False,
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


def paceline_on_terminal(*arguments: str, **environ: str) -> Ended:
    """Run the command with a terminal as its standard output and error, both in `out`."""
    leader, follower = pty.openpty()
    try:
        process = subprocess.Popen(
            argv(*arguments),
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env=environment(TERM="xterm-256color", COLUMNS="120", **environ),
        )
    finally:
        os.close(follower)
    shown = b""
    with open(leader, "rb", buffering=0) as screen:
        while part := _read(screen.fileno()):
            shown += part
    return Ended(process.wait(TIMEOUT_S), shown.decode("utf-8", "replace"), "")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says EIO when the last writer has closed its side.
        return b""


class Node:
    """A data directory in which a node seems to run, and what stands behind it."""

    def __init__(self, data_dir: Path, served: Served) -> None:
        self.data_dir = data_dir
        self.served = served
        self.write_node_file()

    def write_node_file(self, pid: int | None = None) -> None:
        document = {
            "pid": pid or os.getpid(),
            "node_id": "aaaabbbbccccdddd",
            "address": "127.0.0.1:1",
            "page_url": f"http://127.0.0.1:{self.served.web.port}/",
        }
        (self.data_dir / "node.json").write_text(json.dumps(document))

    @property
    def service(self) -> FakeService:
        return self.served.service

    def run(self, *arguments: str, given: str | bytes = b"", **environ: str) -> Ended:
        return paceline(*arguments, given=given, PACELINE_DATA_DIR=str(self.data_dir), **environ)

    def on_terminal(self, *arguments: str, **environ: str) -> Ended:
        return paceline_on_terminal(*arguments, PACELINE_DATA_DIR=str(self.data_dir), **environ)
