"""Agents on whole nodes, against services that refuse, count and cost: the tool `openai`."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from paceline.client import Document
from tests.e2e.cluster import Cluster, Node, attempts, completed, wait_for
from tests.rigs.standin.server import Server, standin
from tests.rigs.standin.talk import TOKENS_IN, TOKENS_OUT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PRICE = 1000.0
"""US dollars per million tokens: one answer costs some dollars."""

ANSWERS = 2
"""One to write the file, one to say so."""

COST_USD = ANSWERS * (TOKENS_IN + TOKENS_OUT) * PRICE / 1_000_000


@dataclass
class Refusing:
    """A service whose limit is reached for an hour."""

    url: str = ""
    asked: list[str] = field(default_factory=list)


@contextmanager
def refusing() -> Iterator[Refusing]:
    service = Refusing()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            service.asked.append(self.path)
            body = json.dumps({"error": {"message": "rate limit exceeded"}}).encode()
            self.send_response(429)
            self.send_header("retry-after", "3600")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            body = json.dumps({"data": [{"id": "standin"}]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def configure(node: Node, base_url: str) -> None:
    node.directory.mkdir(mode=0o700, parents=True)
    (node.directory / "tools.toml").write_text(
        f'[openai]\nbase_url = "{base_url}/v1"\nmodel = "standin"\napi_key = "sk-no-key-at-all"\n'
        f'prices = {{"*" = {{input = {PRICE}, output = {PRICE}}}}}\n'
    )


@dataclass
class Bench:
    """Three nodes: the first is refused, the second served, the third has no agent."""

    cluster: Cluster
    refused: Refusing
    service: Server

    @property
    def limited(self) -> Node:
        return self.cluster.nodes[0]

    @property
    def served(self) -> Node:
        return self.cluster.nodes[1]

    @property
    def bare(self) -> Node:
        return self.cluster.nodes[2]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("nodes")
    with refusing() as refused, standin() as service:
        nodes = Cluster(directory, 3)
        configure(nodes.nodes[0], refused.url)
        configure(nodes.nodes[1], f"{service.url}/s/write")
        (nodes.nodes[2].directory).mkdir(mode=0o700)
        (nodes.nodes[2].directory / "tools.toml").write_text("[openai]\nenabled = false\n")
        try:
            nodes.start()
            yield Bench(nodes, refused, service)
        finally:
            nodes.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    place.mkdir()
    for command in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "base"]):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *command], cwd=place, check=True)
    return place


def plan(source: Path, *names: str, more: str = "") -> str:
    subtasks = "".join(
        f"  - {{name: {name}, tool: openai, permission: edit, instructions: 'Write {name}.py. "
        f"[[file:{name}.py]]'}}\n"
        for name in names
    )
    return f"description: Write\nrepository: {source}\n{more}\nsubtasks:\n{subtasks}"


def tool_at(node: Node, where: Node, name: str = "openai") -> Document:
    found = node.client.get("tools")["tools"]
    return next(t for t in found if (t["name"], t["node_id"]) == (name, where.node_id))


def explained(node: Node, task_id: str, waits_for: str) -> Document:
    def find() -> Document | None:
        subtasks = node.client.get(f"tasks/{task_id}/explain")["subtasks"]
        return next((each for each in subtasks if each["waits_for"] == waits_for), None)

    return wait_for(f"a subtask that waits for {waits_for}", find, 60)


def test_a_refused_node_rests_for_all_and_the_work_goes_elsewhere(
    bench: Bench, source: Path
) -> None:
    node = bench.bare
    done = completed(node, node.submit(plan(source, "a", "b", "c", "d")))
    tried = [each for made in attempts(done).values() for each in made]
    quota = [each for each in tried if each["result_status"] == "quota"]
    assert {each["node_id"] for each in quota} == {bench.limited.node_id}
    assert len(quota) <= 2, "no more than were there at once: it has two slots"
    good = [each for each in tried if each["status"] == "succeeded"]
    assert {each["node_id"] for each in good} == {bench.served.node_id}
    assert all(each["details"]["cost_basis"] == "computed" for each in good)
    rests = tool_at(node, bench.limited)
    assert (rests["throttled_by"], rests["healthy"]) == ("rate", True)
    assert rests["throttled_until"] > done["completed_at"]
    assert tool_at(node, bench.served)["throttled_until"] is None


def test_usage_is_counted_and_a_budget_holds_work_back(bench: Bench, source: Path) -> None:
    node = bench.bare
    before = node.client.get("usage", by="node")["total"]["cost_usd"]
    subtasks = plan(source, "first", "second", more=f"budget_usd: {COST_USD / 2}")
    task_id = node.submit(subtasks.replace("name: second,", "name: second, needs: first,"))
    held = explained(node, task_id, "budget")
    assert held["name"] == "second"
    assert f"of its budget of {COST_USD / 2:g} USD" in held["reason"]
    node.client.post(f"tasks/{task_id}/budget", {"budget_usd": 100.0})
    done = completed(node, task_id)
    assert done["usage"]["tokens_in"] >= TOKENS_IN
    assert done["budget_usd"] == 100.0
    by_node = node.client.get("usage", by="node")
    spent = by_node["total"]["cost_usd"] - before
    assert spent == pytest.approx(done["usage"]["cost_usd"])
    assert by_node["rows"][0]["node_id"] == bench.served.node_id
    assert tool_at(node, bench.served)["cost_today_usd"] == pytest.approx(
        by_node["total"]["cost_usd"]
    )


def test_a_limit_is_known_after_the_leader_and_the_others_are_gone(
    bench: Bench, source: Path
) -> None:
    """What was learnt stands in the log: whoever leads heeds it."""
    asked = len(bench.refused.asked)
    bench.served.kill()
    node = bench.bare
    wait_for("a leader", lambda: node.status()["quorum"] and node.status()["leader_id"], 30)
    task_id = node.submit(plan(source, "late"))
    waits = explained(node, task_id, "node")
    reasons = {each["node_id"]: each["reason"] for each in waits["nodes"]}
    assert "openai: throttled until" in reasons[bench.limited.node_id]
    assert len(bench.refused.asked) == asked, "nobody asked in vain"
    bench.served.start()
    completed(node, task_id, timeout_s=120)


def test_agents_are_kept_apart_and_looked_at_anew(bench: Bench) -> None:
    node = bench.bare
    checked = node.client.post("tools/check")
    assert checked["unanswered"] == {}
    kinds = {each["isolation"] for each in checked["tools"] if each["name"] == "openai"}
    assert len(kinds) == 1
    assert {each["isolation"] for each in checked["tools"] if each["name"] == "command"} == {
        "marks"
    }
