"""Three machines on a LAN, given nothing but a token: they find each other, and go on as they
die."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import ENDED, Node, wait_for
from tests.rigs.fixtures import MakeLan
from tests.rigs.lan import Lan

pytestmark = [pytest.mark.e2e, pytest.mark.netns, pytest.mark.timeout(180)]

TOKEN = "a-token-of-this-test-only"

PLAN = """
description: where does it run
subtasks:
  - {name: a, tool: command, run: "sleep 2; hostname > $PACELINE_OUTPUT"}
  - {name: b, tool: command, run: "sleep 2; hostname > $PACELINE_OUTPUT"}
  - {name: c, tool: command, run: "sleep 2; hostname > $PACELINE_OUTPUT"}
  - name: end
    needs: [a, b, c]
    tool: command
    run: cat "$PACELINE_INPUTS"/* | wc -l | tee "$PACELINE_OUTPUT"
"""


class Machine(Node):
    """A node in a host of the LAN; its REST interface is on that host's own loopback."""

    def __init__(self, lan: Lan, host: int, directory: Path) -> None:
        super().__init__(
            name=f"m{host}",
            directory=directory / f"m{host}",
            options=["--bind", lan.address(host), "--slots", "1"],
            prefix=["ip", "netns", "exec", lan.namespace(host)],
            environment={"PACELINE_TOKEN": TOKEN},
        )
        self.host = host

    def ask(self, *command: str) -> Any:
        """Run a reading command in the host and answer its document."""
        found = subprocess.run(
            [
                *self.prefix,
                sys.executable,
                "-m",
                "paceline",
                *command,
                "--json",
                "--data-dir",
                str(self.directory),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return json.loads(found.stdout) if found.returncode == 0 else None

    def status(self) -> Any:
        return self.ask("status")


def all_voters(machines: list[Machine]) -> Callable[[], bool]:
    """Answer a probe: all are voters of one cluster and follow one leader."""

    def probe() -> bool:
        seen = [machine.status() for machine in machines]
        return (
            None not in seen
            and len({each["cluster_id"] for each in seen}) == 1
            and len({each["leader_id"] for each in seen}) == 1
            and all(len(each["voters"]) == len(machines) for each in seen)
            and all(m["status"] == "online" for m in seen[0]["members"])
        )

    return probe


def ended(machine: Machine, task_id: str) -> Callable[[], Any]:
    def probe() -> Any:
        task = machine.ask("show", task_id)
        return task if task and task["status"] in ENDED else None

    return probe


def submit(machine: Machine, directory: Path) -> str:
    plan = directory / "plan.yaml"
    plan.write_text(PLAN)
    return str(wait_for("a task id", lambda: machine.ask("submit", str(plan)), 30)["task_id"])


def test_they_find_each_other_and_survive_the_leaders_death(
    make_lan: MakeLan, tmp_path: Path
) -> None:
    lan = make_lan(3)
    machines = [Machine(lan, host, tmp_path) for host in lan.hosts]
    try:
        for machine in machines:
            machine.spawn()
        wait_for("three voters", all_voters(machines), 60)
        task = wait_for("the end", ended(machines[1], submit(machines[0], tmp_path)), 60)
        assert task["status"] == "completed"
        assert len({each["node_id"] for each in task["subtasks"][:3]}) == 3
        leader = next(m for m in machines if m.node_id == machines[0].status()["leader_id"])
        others = [machine for machine in machines if machine is not leader]
        task_id = submit(others[0], tmp_path)
        lan.kill(leader.host, power=True)
        task = wait_for("the end", ended(others[1], task_id), 90)
        assert task["status"] == "completed"
        assert others[0].status()["leader_id"] in {other.node_id for other in others}
    except BaseException:
        for machine in machines:
            print(f"--- {machine.name}\n{machine.log()}")
        raise
    finally:
        for machine in machines:
            machine.kill()
