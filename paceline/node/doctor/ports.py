"""The ports of the node on this machine: free for it, taken by it, or taken by somebody else."""

import errno
import json
import socket
from pathlib import Path
from typing import Any, Final

import psutil

from paceline.node.doctor.finding import Finding, ok, problem, warning
from paceline.node.ports import FILE

ROLES: Final = ("greeting", "control", "bulk")


def known_ports(path: Path) -> tuple[int, ...]:
    """Answer the three ports at which the node of a data directory listened the last time."""
    port = _read(path / FILE).get("port")
    if not isinstance(port, int) or not 0 < port < 65534:
        return ()
    return tuple(port + offset for offset in range(len(ROLES)))


def examine(path: Path) -> list[Finding]:
    """Answer who has the node's ports."""
    node_pid = _read(path / "node.json").get("pid")
    ports = known_ports(path)
    if not ports:
        return [ok("ports", "none chosen yet: a node takes free ones")]
    holders = _holders()
    return [
        _examine(port, role, holders.get(port), node_pid)
        for port, role in zip(ports, ROLES, strict=True)
    ]


def _examine(port: int, role: str, holder: int | None, node_pid: object) -> Finding:
    name = f"{port} ({role})"
    if holder is not None and holder == node_pid:
        return ok("ports", "held by the node", subject=name)
    if isinstance(node_pid, int) and holder is None and _taken(port):
        return ok("ports", "taken, most likely by the node that is running", subject=name)
    if holder is None and not _taken(port):
        if isinstance(node_pid, int) and psutil.pid_exists(node_pid):
            return warning(
                "ports", "nobody listens, though a node is running", "restart it", subject=name
            )
        return ok("ports", "free", subject=name)
    return problem(
        "ports",
        f"taken by {_name(holder)}",
        "stop that program, or start the node with another --port (others find it by mDNS, or by "
        "`--join` with the new address)",
        subject=name,
    )


def _taken(port: int) -> bool:
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
    return False


def _holders() -> dict[int, int]:
    """Answer who listens at which port, as far as this user may know."""
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.AccessDenied, PermissionError):
        return {}
    return {
        each.laddr[1]: each.pid
        for each in connections
        if each.status == psutil.CONN_LISTEN and each.pid and each.laddr
    }


def _name(pid: int | None) -> str:
    if pid is None:
        return "another program (whose, this user may not see)"
    try:
        return f"{psutil.Process(pid).name()} (process {pid})"
    except psutil.Error:
        return f"process {pid}"


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
