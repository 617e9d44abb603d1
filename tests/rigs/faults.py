"""Which frames a switch loses, as the rules of its packet filter. Pure.

All faults of a LAN are one value, and each change of it replaces the whole table at once (nft
applies a file as one transaction), so no test ever sees half a partition.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

TABLE = "rig"
NEIGHBOUR_DISCOVERY = "{ nd-neighbor-solicit, nd-neighbor-advert }"

Pair = tuple[int, int]
"""The number of a sending host and that of a receiving one."""


@dataclass(slots=True)
class Faults:
    """What is broken now."""

    parted: set[Pair] = field(default_factory=set)
    """Nothing passes, not even the question who has an address."""
    deaf: set[Pair] = field(default_factory=set)
    """No packet passes. ARP and its like do: the other direction depends on their answers."""
    quiet: set[int] = field(default_factory=set)
    """Hosts that no IP multicast reaches or leaves, as on guest networks; broadcast passes."""

    def part(self, groups: Iterable[Iterable[int]]) -> None:
        """Cut between each two of the groups, in both directions."""
        sides = [frozenset(group) for group in groups]
        self.parted |= {
            (one, other)
            for side in sides
            for another in sides
            if side is not another
            for one in side
            for other in another
        }

    def join(self, host: int) -> None:
        """Undo every cut and one-way loss of this host."""
        self.parted = {pair for pair in self.parted if host not in pair}
        self.deaf = {pair for pair in self.deaf if host not in pair}

    def rules(self, networks: Iterable[int]) -> str:
        """Answer the file for `nft -f` that makes the switch lose exactly this."""
        lines = [line for net in networks for line in self._lines(net)]
        return "\n".join(
            [
                f"table bridge {TABLE}",  # so that there is one to delete
                f"delete table bridge {TABLE}",
                f"table bridge {TABLE} {{",
                "chain forward {",
                "type filter hook forward priority 0; policy accept;",
                *lines,
                "}",
                "}",
                "",
            ]
        )

    def _lines(self, net: int) -> list[str]:
        lines = [f"{_between(*pair, net)} drop" for pair in sorted(self.parted)]
        for pair in sorted(self.deaf):
            way = _between(*pair, net)
            lines += [f"{way} icmpv6 type {NEIGHBOUR_DISCOVERY} accept"]
            lines += [f"{way} meta protocol {{ ip, ip6 }} drop"]
        for host in sorted(self.quiet):
            for direction in ("iifname", "oifname"):
                port = f'{direction} "{port_name(host, net)}"'
                lines += [f"{port} ip daddr 224.0.0.0/4 drop", f"{port} ip6 daddr ff02::fb drop"]
        return lines


def port_name(host: int, net: int) -> str:
    """Answer the name of the switch's port into which a host is plugged."""
    return f"p{host}n{net}"


def _between(sender: int, receiver: int, net: int) -> str:
    return f'iifname "{port_name(sender, net)}" oifname "{port_name(receiver, net)}"'
