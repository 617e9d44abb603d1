"""This machine's network interfaces, their addresses, and a firewall that may be in the way."""

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from paceline.node.doctor.finding import Finding, ok, warning

UFW: Final = Path("/etc/ufw/ufw.conf")


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface that is up, with its addresses (link-local IPv6 ones without their scope)."""

    name: str
    addresses: tuple[str, ...]


def interfaces() -> list[Interface]:
    """Answer the interfaces that are up and have an IP address; not the loopback."""
    stats, found = psutil.net_if_stats(), []
    for name, said in sorted(psutil.net_if_addrs().items()):
        addresses = tuple(
            each.address.partition("%")[0]
            for each in said
            if each.family in (socket.AF_INET, socket.AF_INET6)
        )
        usable = tuple(each for each in addresses if not ipaddress.ip_address(each).is_loopback)
        if usable and name in stats and stats[name].isup:
            found.append(Interface(name, usable))
    return found


def multicast_targets(found: list[Interface]) -> list[tuple[str, int, str]]:
    """Answer `(interface, IP version, address)`: the first address of each version."""
    targets = []
    for each in found:
        parsed = [ipaddress.ip_address(address) for address in each.addresses]
        for version in (4, 6):
            first = next((str(address) for address in parsed if address.version == version), None)
            if first is not None:
                targets.append((each.name, version, first))
    return targets


def examine(found: list[Interface]) -> list[Finding]:
    """Answer the interfaces; a machine without any is cut off."""
    if not found:
        return [
            warning(
                "network",
                "no interface but the loopback is up: no other machine can reach this one",
                "connect it to a network",
            )
        ]
    return [ok("network", ", ".join(each.addresses), subject=each.name) for each in found]


def firewall(ports: tuple[int, ...]) -> list[Finding]:
    """Answer the firewall that is known to run here, with how to let the node's ports through."""
    name = _firewall()
    if not name:
        return []
    wanted = f"{min(ports)}:{max(ports)}" if ports else "the three ports of the node"
    advice = {
        "ufw": f"if others cannot reach this node: `ufw allow {wanted}/tcp`, `ufw allow 5353/udp`",
        "firewalld": "if others cannot reach this node: `firewall-cmd --permanent --add-port="
        f"{wanted.replace(':', '-')}/tcp --add-service=mdns`, then `firewall-cmd --reload`",
    }[name]
    return [ok("network", f"a firewall is active ({name}); {advice}")]


def _firewall() -> str:
    try:
        if "ENABLED=yes" in UFW.read_text(encoding="utf-8"):
            return "ufw"
    except (OSError, UnicodeError):
        pass
    names = {each.info["name"] for each in psutil.process_iter(["name"])}
    return "firewalld" if "firewalld" in names else ""
