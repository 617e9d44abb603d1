"""A client of the measured cluster, in a process of its own.

    python -m bench._client

Lines in: the list of members, then {"do": "load" | "probe"}.
"""

import asyncio
import time
from itertools import count

from bench._load import ClosedLoop, Done
from bench._station import Station, heard, pack, tell, unpack
from paceline.node.wire import Kind

PROBE_S = 0.01


class Client:
    """Proposes over the network."""

    def __init__(self, station: Station) -> None:
        self._transport = station.transport
        self._numbers = count()
        self._waiting: dict[int, Done] = {}
        self.to = ""
        self._transport.on(Kind.RESPONSE, self._on_response)

    def issue(self, data: bytes, done: Done) -> None:
        number = next(self._numbers)
        self._waiting[number] = done
        if not self._transport.send(self.to, Kind.REQUEST, pack([number, data])):
            del self._waiting[number]
            asyncio.get_running_loop().call_soon(done, False)

    async def probe(self, targets: list[str]) -> float:
        """Offer a command to all of `targets` again and again; answer when the first is committed.

        The time is the machine's monotonic clock, which the parent reads as well.
        """
        committed: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        def done(ok: bool) -> None:
            if ok and not committed.done():
                committed.set_result(time.monotonic())

        while not committed.done():
            for self.to in targets:
                self.issue(b"probe", done)
            await asyncio.wait([committed], timeout=PROBE_S)
        return committed.result()

    def _on_response(self, sender: str, body: bytes) -> None:
        number, ok = unpack(body)
        done = self._waiting.pop(number, None)
        if done is not None:
            done(ok)


async def main() -> None:
    station = Station()
    others = await station.meet()
    client = Client(station)
    await station.connected(others)
    tell({"ids": others})
    while True:
        order = await heard()
        if order["do"] == "probe":
            tell({"at": await client.probe([others[at] for at in order["to"]])})
        else:
            client.to = others[order["to"]]
            load = ClosedLoop(client.issue, order["outstanding"], order["size"], order["s"])
            tell(await load.run())


if __name__ == "__main__":
    asyncio.run(main())
