"""Five machines on a bad Wi-Fi: every fifth frame is lost, and each takes 50 ms and then some."""

import time
from pathlib import Path

import pytest

from tests.e2e.machines import check, fleet, say, submitting, wait_until
from tests.rigs.fixtures import MakeLan

pytestmark = [pytest.mark.e2e, pytest.mark.netns, pytest.mark.timeout(300)]

BAD_S = 15.0
TASKS_EACH = 2


def test_a_cluster_serves_on_a_network_that_loses_every_fifth_frame(
    make_lan: MakeLan, tmp_path: Path
) -> None:
    lan = make_lan(5, wires=True)
    with fleet(lan, tmp_path) as machines:
        say("five machines from start to five voters", machines.start())
        term = machines.leader().status()["term"]
        with submitting(machines.machines, "bad", pause_s=0.5) as history:
            lan.impair(delay_ms=50, jitter_ms=10, loss=0.2)
            bad_s = time.monotonic()
            time.sleep(BAD_S)
            wait_until(
                "each client to be served",
                lambda: all(
                    sum(each.name.split("-")[1] == machine.name for each in history.since(bad_s))
                    >= TASKS_EACH
                    for machine in machines.machines
                ),
                timeout_s=90,
            )
            served = history.since(bad_s)
            waits = sorted(each.at_s - each.began_s for each in served)
            lan.impair()
            say("all agree after the network was bad", machines.wait_converged())
        terms = machines.leader().status()["term"] - term
        print(f"measured: {len(served)} acknowledged, {terms} changes of term")
        say("median of a submission", waits[len(waits) // 2])
        say("longest submission", waits[-1])
        check(machines, history)
