"""Machines on a LAN, given nothing but a token: they find each other, and go on as they die."""

from copy import copy
from pathlib import Path

import pytest

from tests.e2e.cluster import completed, wait_for
from tests.e2e.machines import Fleet, History, Machine, all_tasks, check, fleet, submitting
from tests.rigs.fixtures import MakeLan

pytestmark = [pytest.mark.e2e, pytest.mark.netns, pytest.mark.timeout(180)]

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


def test_they_find_each_other_and_survive_the_leaders_death(
    make_lan: MakeLan, tmp_path: Path
) -> None:
    with fleet(make_lan(3), tmp_path, ["--slots", "1"]) as machines:
        machines.start()
        task = completed(machines[2], machines[1].submit(PLAN))
        assert len({each["attempts"][0]["node_id"] for each in task["subtasks"][:3]}) == 3
        leader = machines.leader()
        others = machines.others(leader)
        task_id = others[0].submit(PLAN)
        leader.power_off()
        assert completed(others[1], task_id, timeout_s=90)["progress"] == 100
        assert machines.leader(others) in others


def test_clusters_of_two_tokens_on_one_lan_stay_apart(make_lan: MakeLan, tmp_path: Path) -> None:
    with fleet(make_lan(4), tmp_path) as machines:
        ours, theirs = machines.machines[:2], machines.machines[2:]
        for machine in theirs:
            machine.environment = {"PACELINE_TOKEN": "the-token-of-the-neighbours"}
        for machine in machines.machines:
            machine.spawn()
        machines.wait_converged(ours)
        machines.wait_converged(theirs)
        with submitting(machines.machines, "apart", pause_s=0.3) as history:
            wait_for("some tasks", lambda: len(history.acknowledged) >= 8, 60)
        for half in (ours, theirs):
            assert members(half[0]) == {machine.node_id for machine in half}
            check_half(machines, half, history)


def check_half(machines: Fleet, half: list[Machine], history: History) -> None:
    """Each cluster has what it acknowledged, and nothing of the other's."""
    names = {machine.name for machine in half}
    mine = [each for each in history.acknowledged if each.name.split("-")[1] in names]
    alone = copy(machines)
    alone.machines = half
    check(alone, History(mine))
    others = {each.task_id for each in history.acknowledged} - {each.task_id for each in mine}
    assert not others & {task["task_id"] for task in all_tasks(half[0])}


def members(machine: Machine) -> set[str]:
    return {member["node_id"] for member in machine.status()["members"]}
