"""What a measured node and its client have in common: keys, a transport, and lines of JSON."""

import asyncio
import json
import os
import sys
from typing import Any

from paceline.codec import pack, unpack
from paceline.node.keys import NodeKeys, new_keys
from paceline.node.transport import Transport

LOOPBACK = "127.0.0.1"

__all__ = ["LOOPBACK", "Station", "pack", "unpack"]


class Station:
    """A member of the measured network. The parent introduces the members to each other."""

    def __init__(self) -> None:
        self.keys: NodeKeys = new_keys()
        self._members: set[bytes] = set()
        self.transport = Transport(
            keys=self.keys, bind_host=LOOPBACK, allowed=lambda key: key in self._members
        )

    async def meet(self) -> list[str]:
        """Tell the parent who this is, learn who the others are, and connect; answer their ids."""
        await self.transport.open()
        tell(
            {
                "key": self.keys.public.hex(),
                "control": self.transport.control_port,
                "bulk": self.transport.bulk_port,
            }
        )
        others = [other for other in await heard() if other["key"] != self.keys.public.hex()]
        return [self._add(other) for other in others]

    def _add(self, other: dict[str, Any]) -> str:
        key = bytes.fromhex(other["key"])
        self._members.add(key)
        node_id = NodeKeys(public=key, secret=b"").node_id
        self.transport.add_peer(node_id, key, [LOOPBACK], other["control"], other["bulk"])
        return node_id

    async def connected(self, node_ids: list[str]) -> None:
        """Wait until all of them can be sent to."""
        while not all(self.transport.connected(node_id) for node_id in node_ids):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def tell(answer: object) -> None:
    """Write a line for the parent."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def heard() -> Any:
    """Answer the parent's next line. The parent's end is ours."""
    line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    if not line:
        os._exit(0)
    return json.loads(line)
