"""A member that talks: run as `python -m tests.node.member_process`, a JSON document on stdin.

It binds fixed ports, sends a beat to its one peer twenty times a second, and writes one line of
JSON for each change of the link and each beat that it gets, with the beat's age in milliseconds
(the monotonic clock is the machine's, hence the same in all processes).
"""

import asyncio
import json
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from paceline.ids import NodeId, fingerprint
from paceline.node.keys import NodeKeys, new_keys
from paceline.node.transport import Transport
from paceline.node.wire import Kind
from tests.rigs.lan import Lan

ROOT = Path(__file__).parents[2]
PORT = 7700
BEAT_S = 0.05
PATIENCE_S = 30.0


class Member:
    """A member process on a host of a LAN, seen from the test."""

    def __init__(self, lan: Lan, host: int, keys: NodeKeys, peer: bytes, hosts: list[str]) -> None:
        command = [sys.executable, "-m", "tests.node.member_process"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process: subprocess.Popen[str] = lan.popen(host, *command, cwd=ROOT, **pipes)
        assert self.process.stdin is not None
        document = {
            "public": keys.public.hex(),
            "secret": keys.secret.hex(),
            "peer": peer.hex(),
            "hosts": hosts,
        }
        self.process.stdin.write(json.dumps(document))
        self.process.stdin.close()
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.ages_ms: list[int] = []
        """Of all beats that were read so far."""

    def link(self, *, up: bool) -> None:
        """Wait until it reports that its way to the peer is up, or down."""
        while (line := self._next()).get("link") is not up:
            self._note(line)

    def beats(self, count: int) -> None:
        """Wait for so many beats from now on."""
        while not self._lines.empty():
            self._note(self._next())
        for _ in range(count):
            while "beat" not in (line := self._next()):
                pass
            self._note(line)

    def close(self) -> None:
        """End it and let go of everything."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _note(self, line: dict[str, Any]) -> None:
        if "beat" in line:
            self.ages_ms.append(line["beat"])

    def _next(self) -> dict[str, Any]:
        return self._lines.get(timeout=PATIENCE_S)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(json.loads(line))


def pair_of_members(lan: Lan) -> tuple[Member, Member]:
    """Start members on hosts 1 and 2 of a LAN that know each other's addresses."""
    keys = (new_keys(), new_keys())
    hosts = [addresses(lan, host) for host in (1, 2)]
    first = Member(lan, 1, keys[0], keys[1].public, hosts[1])
    second = Member(lan, 2, keys[1], keys[0].public, hosts[0])
    return first, second


def addresses(lan: Lan, host: int) -> list[str]:
    """Answer a host's addresses as the other one may use them."""
    if lan.ipv4:
        return [lan.address(host, net) for net in lan.networks]
    lines = lan.run(host, "ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link")
    return [f"{lines.split()[3].partition('/')[0]}%eth0"]


def say(**line: Any) -> None:
    """Write one line."""
    print(json.dumps(line), flush=True)


def on_beat(sender: NodeId, body: bytes) -> None:
    """Write how old a beat is."""
    say(beat=time.monotonic_ns() // 1_000_000 - int(body))


async def main() -> None:
    """Beat until killed."""
    told = json.load(sys.stdin)
    peer = bytes.fromhex(told["peer"])
    keys = NodeKeys(bytes.fromhex(told["public"]), bytes.fromhex(told["secret"]))
    transport = Transport(keys=keys, port=PORT, allowed=lambda key: key == peer)
    transport.on(Kind.VITALS, on_beat)
    transport.on_link(lambda node_id, up: say(link=up))
    await transport.open()
    transport.add_peer(fingerprint(peer), peer, told["hosts"], PORT + 1, PORT + 2)
    while True:
        now_ms = time.monotonic_ns() // 1_000_000
        transport.send(fingerprint(peer), Kind.VITALS, b"%d" % now_ms)
        await asyncio.sleep(BEAT_S)


if __name__ == "__main__":
    asyncio.run(main())
