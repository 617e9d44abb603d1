"""This machine's own addresses."""

import socket

import psutil

from paceline.discovery.record import usable_hosts

LOOPBACK = "127.0.0.1"
_EVERY = {"", "*", "0.0.0.0", "::"}


def local_hosts(bind_host: str = "*") -> tuple[str, ...]:
    """Answer the addresses at which others may reach what is bound to `bind_host`.

    Routable ones first; link-local IPv6 ones with their scope; loopback only where there is nothing
    else, for others have a loopback of their own.
    """
    if bind_host not in _EVERY:
        return usable_hosts([bind_host])
    families = {socket.AF_INET} if bind_host == "0.0.0.0" else {socket.AF_INET, socket.AF_INET6}
    running = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found = [
        address.address
        for name, addresses in psutil.net_if_addrs().items()
        if name in running
        for address in addresses
        if address.family in families and not _is_loopback(address.address)
    ]
    return usable_hosts(found) or (LOOPBACK,)


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"
