"""A process that does nothing but discover: run as `python -m tests.discovery.finder`.

It writes one JSON document per line: `ready` with its id and port, then `contact` for each news.
At SIGUSR1 it says of itself that it has founded a cluster.
`Finder` starts one and reads what it writes.
"""

import argparse
import asyncio
import contextlib
import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from paceline.clock import SystemClock
from paceline.discovery.discovery import Discovery
from paceline.discovery.record import Contact
from paceline.node.greeting import Greeting, Hello, HelloReply, greet
from paceline.node.keys import load_or_create_keys
from tests.rigs.lan import Lan

ROOT = Path(__file__).parents[2]
PATIENCE_S = 40.0

Predicate = Callable[[dict[str, Any]], bool]


class Finder:
    """A finder process, on a host of a LAN or on this machine's loopback interface."""

    def __init__(
        self, data_dir: Path, *options: str, lan: Lan | None = None, host: int = 0
    ) -> None:
        data_dir.mkdir(exist_ok=True)
        module = ("-m", "tests.discovery.finder")
        command = [sys.executable, *module, "--data-dir", str(data_dir), *options]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
        self.process: subprocess.Popen[str] = (
            lan.popen(host, *command, **pipes) if lan else subprocess.Popen(command, **pipes)
        )
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.heard: dict[str, dict[str, Any]] = {}
        ready = self._next(PATIENCE_S)
        assert ready is not None, "the finder ended before it was ready"
        self.node_id: str = ready["ready"]
        self.port: int = ready["port"]

    def find(self, other: "Finder", accept: Predicate = lambda contact: True) -> dict[str, Any]:
        """Wait until the other is known, as `accept` wants it, and answer its contact."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            contact = self.heard.get(other.node_id)
            if contact is not None and accept(contact):
                return contact
            line = self._next(deadline - time.monotonic())
            assert line is not None, f"not found; known: {sorted(self.heard)}"
            self.heard[line["contact"]] = line

    def knows(self, other: "Finder") -> bool:
        """Answer whether it has reported the other by now."""
        while (line := self._next(0)) is not None:
            self.heard[line["contact"]] = line
        return other.node_id in self.heard

    def stop(self) -> int:
        """Ask it to end, and answer its exit status."""
        self.process.terminate()
        return self.process.wait(timeout=PATIENCE_S)

    def kill(self) -> None:
        """End it without a goodbye."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> "Finder":
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _next(self, timeout_s: float) -> dict[str, Any] | None:
        try:
            return self._lines.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return None

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                self._lines.put(json.loads(line))
        self._lines.put(None)


class Seeker:
    """What runs inside a finder process."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._greeting = Greeting(bind_host=options.bind, port=options.port, answer=self._answer)

    async def run(self) -> None:
        """Discover until cancelled."""
        options, keys = self._options, load_or_create_keys(self._options.data_dir)
        await self._greeting.open()
        port = self._greeting.port
        self._discovery = Discovery(
            own=Contact(keys.node_id, keys.public, (), port, 1001, 1002, name="finder"),
            data_dir=options.data_dir,
            greet=self._greet,
            connected=lambda node_id: False,
            clock=SystemClock(),
            random=Random(),
            bind_host=options.bind,
            join=options.join,
            mdns=not options.no_mdns,
        )
        self._discovery.on_contact(write)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._found)
        print(json.dumps({"ready": keys.node_id, "port": port}), flush=True)
        await self._discovery.run()

    def _found(self) -> None:
        self._discovery.announce(replace(self._discovery.own, founded=True))

    def _answer(self, hello: Hello) -> HelloReply:
        self._discovery.learn(hello.contact)
        return HelloReply(Hello(self._discovery.own), self._discovery.contacts)

    async def _greet(self, address: str) -> Sequence[Contact]:
        reply = await greet(address, Hello(self._discovery.own), 2.0)
        return [reply.hello.contact, *reply.members]


def write(contact: Contact) -> None:
    """Write a contact as one line."""
    print(
        json.dumps(
            {
                "contact": contact.node_id,
                "hosts": contact.hosts,
                "port": contact.join_port,
                "founded": contact.founded,
            }
        ),
        flush=True,
    )


async def main() -> None:
    """Run a seeker until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--bind", default="*")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--join", action="append", default=[])
    parser.add_argument("--no-mdns", action="store_true")
    seeker = asyncio.create_task(Seeker(parser.parse_args()).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, seeker.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await seeker


if __name__ == "__main__":
    asyncio.run(main())
