"""`paceline doctor` on machines of a LAN: what is well, what is blocked, what a start would say."""

import contextlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import completed
from tests.e2e.machines import PLAN, Machine, fleet
from tests.rigs.fixtures import MakeLan

pytestmark = [pytest.mark.e2e, pytest.mark.netns, pytest.mark.timeout(180)]

Finding = dict[str, Any]


def doctor(machine: Machine, *options: str) -> tuple[int, list[Finding]]:
    """Run it on that machine; answer its exit status and its findings."""
    command = [sys.executable, "-P", "-m", "paceline", "doctor", "--json"]
    process = machine.lan.popen(
        machine.host,
        *command,
        *("--data-dir", machine.directory, *options),
        stdout=subprocess.PIPE,
    )
    output, _ = process.communicate(timeout=120)
    return process.returncode, json.loads(output)["findings"]


def about(findings: list[Finding], area: str, level: str = "") -> list[Finding]:
    return [each for each in findings if each["area"] == area and level in ("", each["level"])]


def firewall(machine: Machine, rule: str) -> None:
    """Have the machine's own firewall drop what matches, as it comes in."""
    machine.lan.run(machine.host, "nft", "add", "table", "inet", "guard")
    chain = "{ type filter hook input priority 0 ; }"
    machine.lan.run(machine.host, "nft", "add", "chain", "inet", "guard", "input", chain)
    words = ("rule", "inet", "guard", "input", *rule.split(), "drop")
    machine.lan.run(machine.host, "nft", "add", *words)


def bulk_port(machine: Machine) -> int:
    return int(json.loads((machine.directory / "ports.json").read_text())["port"]) + 2


def test_a_cluster_that_is_well_and_one_with_a_firewall(make_lan: MakeLan, tmp_path: Path) -> None:
    with fleet(make_lan(3), tmp_path) as machines:
        machines.start()
        completed(machines[1], machines[1].submit(PLAN.format(name="work")))
        status, findings = doctor(machines[1], "--compare")
        assert about(findings, "reach")[0]["text"].startswith("all 6 ways")
        assert about(findings, "clock")[0]["level"] == "ok"
        assert "3 nodes hold the same state" in about(findings, "state")[0]["text"]
        (multicast,) = about(findings, "multicast")
        assert multicast["level"] == "ok"
        assert "of nodes answered" in multicast["text"]
        assert [each for each in findings if each["level"] == "problem"] == []
        assert status == 0
        behind_a_firewall(machines[1], machines[3])


def behind_a_firewall(asker: Machine, closed: Machine) -> None:
    """New connections to one port, and all multicast, are dropped by the machine itself."""
    port = bulk_port(closed)
    firewall(closed, f"tcp dport {port} tcp flags syn")
    firewall(closed, "udp dport 5353")
    status, findings = doctor(asker)
    problems = about(findings, "reach", "problem")
    assert {each["subject"] for each in problems} == {"m1 -> m3", "m2 -> m3"}
    assert all(f":{port}: no answer" in each["text"] for each in problems)
    assert all("firewall" in each["advice"] for each in problems)
    assert status == 1
    _, there = doctor(closed)
    (multicast,) = about(there, "multicast")
    assert multicast["level"] == "warning"
    assert "does not come back" in multicast["text"]


def test_without_a_node_it_says_what_a_start_would_say(make_lan: MakeLan, tmp_path: Path) -> None:
    with fleet(make_lan(1), tmp_path) as machines:
        machine = machines[1]
        machine.start()
        completed(machine, machine.submit(PLAN.format(name="work")))
        machine.stop()
        status, findings = doctor(machine)
        assert (status, about(findings, "data", "problem")) == (0, [])
        assert any("fit together" in each["text"] for each in about(findings, "data"))
        with contextlib.closing(sqlite3.connect(machine.directory / "raft.db")) as connection:
            connection.execute("UPDATE entry SET term = term + 1 WHERE idx = 3")
            connection.commit()
        status, findings = doctor(machine)
        (finding,) = about(findings, "data", "problem")
        assert status == 1
        machine.spawn()
        assert machine.process is not None
        assert machine.process.wait(timeout=60) == 1
        assert finding["text"].partition(": ")[2].partition(". ")[0] in machine.log()
