"""The metrics of a node; and that dashboard and alerts ask for nothing that is not among them."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from paceline.clock import SystemClock
from paceline.consensus.config import PeerProgress
from paceline.consensus.messages import Membership
from paceline.consensus.replica import ReplicaStatus
from paceline.node.exposition import Exposition, Sources
from paceline.node.meters import UNITS_MAX, Meters
from paceline.node.state_reader import StateReader
from paceline.node.transport import LinkStats, TransportStats
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import Outcome, Resources, ResultStatus, ToolState, Vitals
from tests.tasks.entries import Driver, subtask

OPS = Path(__file__).parents[2] / "ops"
PEER = "bbbb"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Driver]:
    machine = TaskMachine(tmp_path / "state.db")
    yield Driver(machine)
    machine.close()


def status(applied_index: int) -> ReplicaStatus:
    return ReplicaStatus(
        node_id="aaaa",
        role="leader",
        term=3,
        leader_id="aaaa",
        commit_index=applied_index,
        applied_index=applied_index,
        last_index=20,
        membership=Membership(voters=("aaaa", PEER)),
        quorum_active=True,
        peers=(PeerProgress(PEER, 12, 21, "replicate", True),),
        pending=0,
        stalled=False,
    )


LINK = LinkStats(
    up=True,
    address=None,
    sent_messages=4,
    sent_bytes=400,
    dropped=1,
    refusals=0,
    received_messages=5,
    received_bytes=500,
    malformed=0,
    last_heard_ms=None,
)
VITALS = Vitals(
    node_id="aaaa",
    incarnation=1,
    sequence=1,
    resources=Resources(disk_free_bytes=7_000),
    tools=(ToolState("command"), ToolState("codex", healthy=False)),
    slots=2,
    running=(),
    labels={},
    applied_index=0,
)


@asynccontextmanager
async def exposing(drive: Driver, directory: Path, meters: Meters) -> AsyncIterator[Exposition]:
    reader = await StateReader.open(directory / "state.db")
    try:
        yield Exposition(
            sources=Sources(
                node_id="aaaa",
                data_dir=directory,
                consensus=lambda: status(drive.machine.applied_index),
                transport=lambda: TransportStats(1, 2, 0, 0, 0),
                link=lambda peer: LINK if peer == PEER else None,
                members=lambda: {"aaaa", PEER},
                own_vitals=lambda: VITALS,
                blob_bytes=lambda: 99,
            ),
            meters=meters,
            reader=reader,
            clock=SystemClock(),
        )
    finally:
        await reader.close()


def parsed(text: bytes) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def scrapes(
    drive: Driver, directory: Path, meters: Meters, *between: Callable[[], object]
) -> list[Samples]:
    """Scrape once, and once more after each of these."""

    async def run() -> list[Samples]:
        async with exposing(drive, directory, meters) as exposition:
            found = [parsed(await exposition.text())]
            for change in between:
                change()
                found.append(parsed(await exposition.text()))
            return found

    return asyncio.run(run())


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def worked() -> Meters:
    """Meters of a node that has done one of everything."""
    meters = Meters()
    meters.proposal("SubmitTask", 0.003, "")
    meters.proposal("SubmitTask", 9.0, "NoQuorum")
    usage = {"input_tokens": 70, "output_tokens": 7}
    meters.outcome("codex", Outcome(ResultStatus.OK, usage=usage, cost_usd=0.25, duration_ms=2_000))
    meters.request("GET", "/api/v1/status", 200, 0.002)
    meters.leader_changes.inc()
    return meters


def test_a_scrape_tells_of_the_log_the_links_the_work_and_the_disk(
    drive: Driver, tmp_path: Path
) -> None:
    drive.register("n1")
    drive.submit(subtask("a"), subtask("b", "a"), subtask("c"))
    drive.allocate("a")

    (samples,) = scrapes(drive, tmp_path, worked())

    assert value(samples, "paceline_raft_term") == 3
    assert value(samples, "paceline_raft_follower_behind", peer=PEER) == 8
    assert value(samples, "paceline_peer_sent_bytes_total", peer=PEER) == 400
    assert value(samples, "paceline_transport_handshakes_refused_total") == 2
    assert value(samples, "paceline_subtasks", status="pending") == 2
    assert value(samples, "paceline_subtasks_ready") == 1
    assert value(samples, "paceline_ready_wait_seconds") > 1_000
    assert value(samples, "paceline_attempts_open", node="n1") == 1
    assert value(samples, "paceline_attempts_finished_total", tool="codex", result="ok") == 1
    assert value(samples, "paceline_cost_usd_total", tool="codex") == 0.25
    assert value(samples, "paceline_usage_total", tool="codex", unit="input_tokens") == 70
    assert value(samples, "paceline_proposals_failed_total", error="NoQuorum") == 1
    assert value(samples, "paceline_tool_healthy", tool="codex") == 0
    assert value(samples, "paceline_file_bytes", file="blobs") == 99
    assert value(samples, "paceline_file_bytes", file="state.db") > 0


def test_the_state_is_counted_again_only_when_it_has_changed(
    drive: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paceline.node.exposition.COUNT_AGAIN_MS", 0)
    before, same, after = scrapes(
        drive, tmp_path, Meters(), lambda: None, lambda: drive.submit(subtask("a"))
    )
    assert same.keys() == before.keys()

    assert ("paceline_subtasks", frozenset({("status", "pending")})) not in before
    assert value(after, "paceline_subtasks", status="pending") == 1


def test_a_tool_that_makes_up_units_without_end_is_held_to_some() -> None:
    meters = Meters()
    for number in range(3 * UNITS_MAX):
        meters.outcome("odd", Outcome(ResultStatus.OK, usage={f"unit{number}": 1}))

    (family,) = (f for f in meters.registry.collect() if f.name == "paceline_usage")
    units = {s.labels["unit"] for s in family.samples if s.name.endswith("_total")}
    assert len(units) == UNITS_MAX + 1
    assert "other" in units


def test_dashboard_and_alerts_ask_only_for_what_there_is(drive: Driver, tmp_path: Path) -> None:
    evaluation = "INSERT INTO evaluations VALUES ('e', 'a', 8.5, '{\"security\": 9}', '', 0, 1)"
    drive.submit(subtask("a"))
    drive.machine.connection.execute(evaluation)
    (samples,) = scrapes(drive, tmp_path, worked())
    known = {name for name, _ in samples}

    asked = {name for text in _expressions() for name in re.findall(r"paceline_\w+", text)}
    assert len(asked) > 20
    assert asked <= known


def _expressions() -> Iterator[str]:
    dashboard: dict[str, Any] = json.loads((OPS / "grafana-dashboard.json").read_text())
    yield from (target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    rules = yaml.safe_load((OPS / "prometheus-alerts.yml").read_text())
    for rule in rules["groups"][0]["rules"]:
        assert {"alert", "expr", "labels", "annotations"} <= rule.keys()
        yield rule["expr"]


@pytest.mark.skipif(not shutil.which("promtool"), reason="Prometheus is not installed")
def test_prometheus_itself_takes_the_rules() -> None:
    rules = str(OPS / "prometheus-alerts.yml")
    done = subprocess.run(
        ["promtool", "check", "rules", rules], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
