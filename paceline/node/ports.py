"""Which ports to listen at when the owner does not care (`--port 0`).

The same ones as the last time, if they can be had: then the others find a restarted node at the
address that they remember, without multicast. New ones are taken from below the range from which
systems give ports to outgoing connections, where nobody takes them by accident.
"""

from collections.abc import Iterator
from random import SystemRandom

from paceline.errors import CorruptStorage
from paceline.node.data_dir import DataDir

FILE = "ports.json"
LOWEST, HIGHEST = 10_000, 32_000
TRIES = 8


def candidate_ports(wanted: int, data_dir: DataDir) -> Iterator[int]:
    """Answer what to try, in order; the last resort, 0, is any port at all.

    A node listens at a port and the two after it.
    """
    if wanted:
        yield wanted
        return
    try:
        known = data_dir.read_json(FILE) or {}
    except CorruptStorage:  # a hint, no more
        known = {}
    if isinstance(port := known.get("port"), int) and 0 < port < HIGHEST:
        yield port
    for _ in range(TRIES):
        yield SystemRandom().randrange(LOWEST, HIGHEST, 3)
    yield 0


def remember_port(port: int, data_dir: DataDir) -> None:
    """Try this first the next time."""
    data_dir.write_json(FILE, {"port": port})
