"""This machine's own addresses, and how addresses are written."""

import contextlib
import ipaddress
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


def one_spelling(host: str) -> str:
    """Answer an IP address in the one way in which it is compared. Raise ValueError for no address.

    IPv4 never stands inside IPv6, and a scope is the name of its interface here, not the number.
    Two spellings of one address are worse than untidy: libzmq takes them for two when it connects
    and for one when it disconnects, so hanging up on one would hang up on the other.
    """
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    plain, _, scope = str(address).partition("%")
    with contextlib.suppress(ValueError, OSError, OverflowError):
        return f"{plain}%{socket.if_indextoname(int(scope))}"
    return str(address)


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"
