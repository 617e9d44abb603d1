"""How often one client may ask: a bucket of requests that fills again at a steady rate.

Generous: a page, a command in a loop and an external worker that logs line by line stay far below.
It is there so that a client gone wild costs itself, and not the node's heartbeats. A client is who
it says it is (its credentials), and where it comes from; the buckets are few, and the one that was
used longest ago gives way.
"""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from paceline.node.web.errors import Refused

PER_SECOND = 500.0
BURST = 2_000.0
CLIENTS_MAX = 1_024


@dataclass(slots=True)
class _Bucket:
    left: float
    filled_s: float


class Rates:
    """The buckets of all clients of a node."""

    def __init__(
        self,
        monotonic_s: Callable[[], float],
        *,
        per_second: float = PER_SECOND,
        burst: float = BURST,
    ) -> None:
        self._now_s = monotonic_s
        self._per_second = per_second
        self._burst = burst
        self._buckets: OrderedDict[bytes, _Bucket] = OrderedDict()

    def take(self, connection: HTTPConnection) -> None:
        """Count one request. Raise Refused (429) with the time after which to try again."""
        bucket = self._bucket(_client(connection))
        if bucket.left < 1:
            wait_s = math.ceil((1 - bucket.left) / self._per_second)
            raise Refused(
                429,
                "Busy",
                f"more than {self._per_second:g} requests a second for long; ask less often",
                {"Retry-After": str(wait_s)},
            )
        bucket.left -= 1

    def _bucket(self, client: bytes) -> _Bucket:
        now_s = self._now_s()
        bucket = self._buckets.setdefault(client, _Bucket(self._burst, now_s))
        self._buckets.move_to_end(client)
        if len(self._buckets) > CLIENTS_MAX:
            self._buckets.popitem(last=False)
        grown = (now_s - bucket.filled_s) * self._per_second
        bucket.left = min(self._burst, bucket.left + grown)
        bucket.filled_s = now_s
        return bucket


def _client(connection: HTTPConnection) -> bytes:
    host = connection.client.host if connection.client else ""
    headers = connection.headers
    said = (host, headers.get("authorization", ""), headers.get("cookie", ""))
    return hashlib.sha256("\n".join(said).encode("utf-8", "surrogateescape")).digest()
