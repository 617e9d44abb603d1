"""One PySyncObj node, told what to do in lines of JSON. Runs in PySyncObj's own environment.

_pysyncobj_node.py ADDRESS OTHER,OTHER JOURNAL BATCH
"""

import json
import os
import sys
import threading
import time

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated

KEYS = 1000
PROBE_S = 0.01
GRACE_S = 10.0


class Store(SyncObj):  # type: ignore[misc]
    """One value per key."""

    def __init__(self, address: str, others: list[str], conf: object) -> None:
        super().__init__(address, others, conf)
        self.values: dict[int, bytes] = {}

    @replicated  # type: ignore[untyped-decorator]
    def put(self, key: int, value: bytes) -> None:
        self.values[key] = value


class Load:
    """Keeps `outstanding` commands under way; each callback issues the next."""

    def __init__(self, store: Store, outstanding: int, size: int, seconds: float) -> None:
        self._store = store
        self._outstanding = outstanding
        self._data = os.urandom(size)
        self._seconds = seconds
        self._latencies: list[float] = []
        self._errors = 0
        self._left = outstanding
        self._over = threading.Event()

    def run(self) -> dict[str, float]:
        start = time.monotonic()
        self._stop = start + self._seconds
        for key in range(self._outstanding):
            self._next(key % KEYS)
        self._over.wait(self._seconds + GRACE_S)
        elapsed_s = time.monotonic() - start
        latencies = sorted(self._latencies) or [float("inf")]
        return {
            "ops_per_s": len(self._latencies) / elapsed_s,
            "p50_ms": latencies[len(latencies) // 2] * 1000,
            "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
            "errors": self._errors,
        }

    def _next(self, key: int) -> None:
        start = time.monotonic()

        def done(_: object, error: object) -> None:
            now = time.monotonic()
            if error == FAIL_REASON.SUCCESS:
                self._latencies.append(now - start)
            else:
                self._errors += 1
            if now < self._stop:
                self._next(key)
            else:
                self._left -= 1
                if self._left == 0:
                    self._over.set()

        self._store.put(key, self._data, callback=done)


def probe(store: Store) -> dict[str, float]:
    """Offer a command again and again; answer when the first is committed."""
    committed = threading.Event()
    times: list[float] = []

    def done(_: object, error: object) -> None:
        if error == FAIL_REASON.SUCCESS:
            times.append(time.monotonic())
            committed.set()

    while not committed.wait(PROBE_S):
        store.put(0, b"probe", callback=done)
    return {"at": times[0]}


def leads(store: Store) -> dict[str, bool]:
    status = store.getStatus()
    return {"leads": store.isReady() and str(status["leader"]) == str(status["self"])}


def main() -> None:
    address, others, journal, batch = sys.argv[1:]
    conf = SyncObjConf(
        autoTick=True,
        appendEntriesUseBatch=bool(int(batch)),
        journalFile=journal,
        fullDumpFile=journal + ".dump",
    )
    store = Store(address, others.split(","), conf)
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "status":
            answer: object = leads(store)
        elif order["do"] == "probe":
            answer = probe(store)
        else:
            answer = Load(store, order["outstanding"], order["size"], order["s"]).run()
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
