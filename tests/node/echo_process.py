"""A transport in a process of its own: run as `python -m tests.node.echo_process`.

It admits one key, given as hex, and sends back on the control lane every VITALS message that it
gets; BLOB messages of the bulk lane it only counts. It writes its contact as one line of JSON.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paceline.ids import NodeId, fingerprint
from paceline.node.keys import new_keys
from paceline.node.transport import Transport
from paceline.node.wire import Kind
from tests.node.transports import LOOPBACK, Station

ROOT = Path(__file__).parents[2]


class Echo:
    """An echo process, seen from the test."""

    def __init__(self, process: subprocess.Popen[str], host: str) -> None:
        assert process.stdout is not None
        self.process = process
        self.host = host
        document = json.loads(process.stdout.readline())
        self.node_id: str = document["node_id"]
        self.public_key = bytes.fromhex(document["public_key"])
        self.ports: tuple[int, int] = tuple(document["ports"])

    def add_to(self, station: Station) -> None:
        """Let a station know and admit it."""
        station.members.add(self.public_key)
        station.transport.add_peer(self.node_id, self.public_key, [self.host], *self.ports)


@contextmanager
def echo(station: Station) -> Iterator[Echo]:
    """Start an echo process that admits `station` and knows where it is."""
    ports = (station.transport.control_port, station.transport.bulk_port)
    words = [station.keys.public.hex(), station.host, *map(str, ports)]
    command = [sys.executable, "-m", "tests.node.echo_process", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield Echo(process, LOOPBACK)
    finally:
        process.kill()
        process.communicate()


async def main() -> None:
    """Echo until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("public_key", type=bytes.fromhex)
    parser.add_argument("host")
    parser.add_argument("control_port", type=int)
    parser.add_argument("bulk_port", type=int)
    options = parser.parse_args()
    keys = new_keys()
    transport = Transport(keys=keys, allowed=lambda key: bool(key == options.public_key))
    transport.on(Kind.VITALS, lambda sender, body: _send_back(transport, sender, body))
    transport.on(Kind.BLOB, lambda sender, body: None)
    await transport.open()
    ports = (transport.control_port, transport.bulk_port)
    document = {"node_id": keys.node_id, "public_key": keys.public.hex(), "ports": ports}
    print(json.dumps(document), flush=True)
    asker = fingerprint(options.public_key)
    there = ([options.host], options.control_port, options.bulk_port)
    transport.add_peer(asker, options.public_key, *there)
    await asyncio.Event().wait()


def _send_back(transport: Transport, sender: NodeId, body: bytes) -> None:
    transport.send(sender, Kind.VITALS, body)


if __name__ == "__main__":
    asyncio.run(main())
