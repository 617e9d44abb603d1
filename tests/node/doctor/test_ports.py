"""Who has the node's ports, with real sockets on loopback."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.node.doctor import ports
from paceline.node.doctor.finding import Level


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A program that listens; the two ports above its own are most likely free."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        yield bound


def node_with(path: Path, port: int, pid: int | None) -> Path:
    (path / "ports.json").write_text(json.dumps({"port": port}))
    if pid is not None:
        (path / "node.json").write_text(json.dumps({"pid": pid}))
    return path


def test_a_port_that_somebody_else_has(tmp_path: Path, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    finding = ports.examine(node_with(tmp_path, port, None))[0]
    assert finding.level is Level.PROBLEM
    assert finding.subject == f"{port} (greeting)"
    assert f"process {os.getpid()}" in finding.text or "another program" in finding.text


def test_a_port_that_the_node_has(tmp_path: Path, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    finding = ports.examine(node_with(tmp_path, port, os.getpid()))[0]
    assert finding.level is Level.OK


def test_free_ports(tmp_path: Path, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    assert ports.examine(node_with(tmp_path, port, None))[0].text == "free"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"port": "x"}', '{"port": 70000}', "\x00"])
def test_an_unreadable_file_is_no_port(tmp_path: Path, text: str) -> None:
    (tmp_path / "ports.json").write_text(text)
    assert ports.known_ports(tmp_path) == ()
