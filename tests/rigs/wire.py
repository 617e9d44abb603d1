"""Cables that are slow and lose frames: run inside a switch's namespace by `Wire`.

The kernel's emulator of bad networks (tc netem) is a module that many kernels lack, while TAP
devices are everywhere. So each host hangs on a pair of them, one in the switch and one that becomes
the host's interface, and this process carries the frames from one to the other. What a host SENDS
is delayed, jittered and lost as it was told; so between two hosts with a delay of 50 ms each way
takes 50 ms, and a round trip 100. Frames may overtake each other when there is jitter, as they do
where netem does it.

It reads documents, one per line: first the list of pairs [device in the switch, device of the
host], then `{"host_device": ..., "delay_ms": ..., "jitter_ms": ..., "loss": ...}`. Each is answered
by one line when it is in force.
"""

import dataclasses
import fcntl
import heapq
import itertools
import json
import os
import random
import selectors
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
"""Numbers of Linux's if_tun.h."""
FRAME_LIMIT_BYTES = 65_536
FRAMES_PER_TURN = 64
QUEUE_LIMIT = 20_000
"""Frames under way; more are lost, as in any switch."""


@dataclass(frozen=True, slots=True)
class Impairment:
    """What happens to each frame that a host sends. `loss` is a probability."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0


class Wire:
    """The process that carries the frames, seen from outside."""

    def __init__(self, prefix: Sequence[str], pairs: Sequence[tuple[str, str]]) -> None:
        """Start it behind `prefix`, and wait until the devices are there."""
        # By its path: the file needs nothing but the standard library.
        self._process = subprocess.Popen(
            [*prefix, sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._tell(pairs)

    def impair(self, host_device: str, impairment: Impairment) -> None:
        """Treat what is sent on a host's device like this from now on."""
        self._tell({"host_device": host_device, **dataclasses.asdict(impairment)})

    def close(self) -> None:
        """End it; its devices go with it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _tell(self, document: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(document) + "\n")
        self._process.stdin.flush()
        if not self._process.stdout.readline():
            raise RuntimeError("the wire's process has ended")


@dataclass(slots=True)
class _End:
    """Where frames come in, and what becomes of them."""

    source: int
    target: int
    impairment: Impairment = field(default_factory=Impairment)


class Carrier:
    """What runs inside the process."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._selector = selectors.DefaultSelector()
        self._ends: dict[str, _End] = {}
        self._queue: list[tuple[float, int, int, bytes]] = []
        self._count = itertools.count()
        for switch_device, host_device in pairs:
            switch, host = _open_tap(switch_device), _open_tap(host_device)
            self._ends[host_device] = _End(host, switch)
            self._selector.register(host, selectors.EVENT_READ, self._ends[host_device])
            self._selector.register(switch, selectors.EVENT_READ, _End(switch, host))
        self._selector.register(0, selectors.EVENT_READ, None)
        self._commands = b""

    def run(self) -> None:
        """Carry frames until standard input ends."""
        while True:
            wait_s = max(0.0, self._queue[0][0] - time.monotonic()) if self._queue else None
            for key, _ in self._selector.select(wait_s):
                if key.data is not None:
                    self._take(key.data)
                elif not self._obey():
                    return
            self._deliver()

    def _take(self, end: _End) -> None:
        for _ in range(FRAMES_PER_TURN):
            try:
                frame = os.read(end.source, FRAME_LIMIT_BYTES)
            except OSError:  # nothing more, or the device is down
                return
            how = end.impairment
            if (how.loss and random.random() < how.loss) or len(self._queue) >= QUEUE_LIMIT:
                continue
            if how.delay_ms or how.jitter_ms:
                late_ms = max(0.0, how.delay_ms + random.uniform(-1, 1) * how.jitter_ms)
                due = time.monotonic() + late_ms / 1000
                heapq.heappush(self._queue, (due, next(self._count), end.target, frame))
            else:
                _write(end.target, frame)

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._queue and self._queue[0][0] <= now:
            _, _, target, frame = heapq.heappop(self._queue)
            _write(target, frame)

    def _obey(self) -> bool:
        """Do what the lines say that have come. Answer False at their end."""
        data = os.read(0, FRAME_LIMIT_BYTES)
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            document = json.loads(line)
            end = self._ends[document.pop("host_device")]
            end.impairment = Impairment(**document)
            print("done", flush=True)
        return bool(data)


def _open_tap(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return device


def _write(target: int, frame: bytes) -> None:
    try:
        os.write(target, frame)
    except OSError:  # the device is down, or full: the frame is lost
        return


if __name__ == "__main__":
    # Unbuffered: the lines after the first must stay where `select` sees them.
    first = b""
    while not first.endswith(b"\n"):
        first += os.read(0, 1)
    carrier = Carrier([(pair[0], pair[1]) for pair in json.loads(first)])
    print("done", flush=True)
    carrier.run()
