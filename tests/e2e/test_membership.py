"""Nodes come and go: leaving, draining, revoking, replacing, trusting, recovering."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from paceline.errors import Conflict, NotFound
from tests.e2e.cluster import TOKEN, Cluster, Node, cluster, completed, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

QUICK = """
description: says hello
subtasks:
  - name: hello
    tool: command
    run: echo hello > "$PACELINE_OUTPUT"
"""
SECRET = """
description: for trusted eyes
privacy: sensitive
subtasks:
""" + "".join(
    f"""
  - name: s{number}
    tool: command
    run: echo {number} > "$PACELINE_OUTPUT"
"""
    for number in range(6)
)


def until_told(file: Path) -> str:
    """A task whose one subtask ends when the file is there."""
    return f"""
description: waits for a person
subtasks:
  - name: waiting
    tool: command
    run: while [ ! -e {file} ]; do sleep 0.05; done; echo done > "$PACELINE_OUTPUT"
"""


def paceline(node: Node, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command line on a node's directory."""
    command = [sys.executable, "-P", "-m", "paceline", *words, "--data-dir", str(node.directory)]
    return subprocess.run(
        command, input=typed, capture_output=True, text=True, timeout=120, check=False
    )


def newcomer(nodes: Cluster, directory: Path, token: str, *options: str) -> Node:
    """A further node, not yet started, that asks the first one that is up."""
    address = next(node.address for node in nodes.nodes if node.process is not None)
    node = Node(
        directory.name,
        directory,
        [*nodes.nodes[0].options, "--join", address, *options],
        environment={"PACELINE_TOKEN": token},
    )
    nodes.nodes.append(node)
    return node


def members(node: Node) -> set[str]:
    return {each["node_id"] for each in node.status()["members"]}


def hears_all(node: Node) -> bool:
    return all(each["status"] == "online" for each in node.status()["members"])


def member(seen_by: Node, node_id: str) -> dict[str, object]:
    return next(each for each in seen_by.status()["members"] if each["node_id"] == node_id)


def holder(node: Node, task_id: str) -> str | None:
    """Answer who runs the first subtask now."""
    first = node.task(task_id)["subtasks"][0]
    return first["attempts"][-1]["node_id"] if first["status"] == "in_progress" else None


def named(nodes: Cluster, node_id: str) -> Node:
    return next(each for each in nodes.nodes if each.process and each.node_id == node_id)


# --- stop and leave -------------------------------------------------------------------------------


def test_a_leader_that_is_stopped_leaves_a_leader_behind(tmp_path: Path) -> None:
    """When its process has ended, the others follow another one already: nobody had to wait."""
    with cluster(tmp_path, 3) as nodes:
        wait_for("all to hear all", lambda: all(map(hears_all, nodes.nodes)), 20)
        leader, survivors = nodes.leader(), nodes.followers()
        before, term = leader.node_id, leader.status()["term"]
        assert leader.stop() == 0
        seen = [survivor.status() for survivor in survivors]
        assert {each["leader_id"] for each in seen} <= {node.node_id for node in survivors}
        assert before not in {each["leader_id"] for each in seen}
        assert {each["term"] for each in seen} == {term + 1}, "one election, and nobody's failed"


def test_nodes_leave_one_after_the_other_down_to_the_last(tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as nodes:
        founder = nodes.leader()
        first, second = nodes.followers()
        assert "only trusted node" in refused(lambda: founder.client.post("node/leave"))
        founder.client.post("nodes/n1/trust", {"trusted": True})
        for other in (first, second):
            founder.client.post(f"nodes/{other.node_id}/trust", {"trusted": True})
        task_id = founder.submit(QUICK)
        completed(founder, task_id)
        for leaver, rest in ((founder, (first, second)), (first, (second,))):
            gone_id = leaver.node_id
            result = paceline(leaver, "node", "leave")
            assert result.returncode == 0, result.stderr
            assert leaver.process is not None
            assert leaver.process.wait(timeout=30) == 0
            for node in rest:
                forgets(node, gone_id)
        wait_for("no trace of the others", lambda: second.status()["learners"] == [], 20)
        assert second.status()["voters"] == [second.node_id]
        assert second.task(task_id)["status"] == "completed"
        assert "the last member" in refused(lambda: second.client.post("node/leave"))
        completed(second, second.submit(QUICK))
        leaves_a_mark(founder, second, nodes)


def forgets(node: Node, gone_id: str) -> None:
    wait_for("it is forgotten", lambda: gone_id not in members(node), 10)


def leaves_a_mark(left: Node, alive: Node, nodes: Cluster) -> None:
    """A start by mistake says what is the matter; --anew makes it another node."""
    old_id = paceline_start(left)
    left.options = [*left.options[:7], "--join", alive.address, "--anew"]
    left.start()
    assert left.node_id not in old_id
    wait_for("the new one is a voter", lambda: left.node_id in alive.status()["voters"], 20)
    assert [path.name[:7] for path in left.directory.glob("before-*")] == ["before-"]


def paceline_start(node: Node) -> str:
    result = paceline(node, "node", "start", "--no-mdns", "--port", "0", "--web-port", "0")
    assert result.returncode == 1
    assert "left the cluster" in result.stderr
    assert "--anew" in result.stderr
    return (node.directory / "left.json").read_text()


def refused(call: object) -> str:
    """Answer the words of the refusal."""
    assert callable(call)
    with pytest.raises(Conflict) as caught:
        call()
    return str(caught.value)


def test_who_is_needed_for_a_quorum_cannot_leave_but_a_missing_one_is_told(tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as nodes:
        leader = nodes.leader()
        dead, leaver = nodes.followers()
        dead_id = dead.node_id
        leader.client.post(f"nodes/{leaver.node_id}/trust", {"trusted": True})
        dead.kill()
        wait_for("it is missed", lambda: member(leader, dead_id)["missing_since"], 20)
        assert "no quorum" in refused(lambda: leaver.client.post("node/leave"))
        status = leader.status()
        assert status["failures_tolerated"] == 0
        assert any(f"{dead.name} is missing since" in text for text in status["warnings"])
        assert member(leader, leaver.node_id)["draining"] is False
        completed(leaver, leaver.submit(QUICK))


# --- drain ----------------------------------------------------------------------------------------


def test_a_draining_node_finishes_what_it_runs_and_gets_nothing_new(tmp_path: Path) -> None:
    with cluster(tmp_path, 2) as nodes:
        asked = nodes.nodes[0]
        told = tmp_path / "told"
        task_id = asked.submit(until_told(told))
        busy_id = wait_for("it runs", lambda: holder(asked, task_id), 20)
        other = next(node for node in nodes.nodes if node.node_id != busy_id)
        asked.client.post(f"nodes/{busy_id[:6]}/drain", {"on": True})
        for _ in range(3):
            document = completed(asked, asked.submit(QUICK))
            assert document["subtasks"][0]["attempts"][0]["node_id"] == other.node_id
        assert member(other, busy_id)["status"] == "draining"
        told.touch()
        attempts = completed(asked, task_id)["subtasks"][0]["attempts"]
        assert [each["status"] for each in attempts] == ["succeeded"]
        asked.client.post(f"nodes/{busy_id}/drain", {"on": False})
        wait_for("it is back", lambda: member(other, busy_id)["status"] == "online", 10)


# --- revoke and trust -----------------------------------------------------------------------------


def test_a_revoked_node_is_out_whatever_it_does(tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as nodes:
        thrower = nodes.followers()[0]
        stolen = nodes.leader()
        stolen_id = stolen.node_id
        told = tmp_path / "told"
        for _ in range(3):  # one of them is the leader's, two slots each
            thrower.submit(until_told(told))
        stolen_work = wait_for("it works", lambda: work_of(thrower, stolen_id), 20)
        result = paceline(thrower, "revoke", stolen.name, "--yes", "--reason", "stolen")
        assert result.returncode == 0, result.stderr
        assert "two voters" in result.stderr
        assert stolen_id not in members(thrower)
        told.touch()
        attempts = completed(thrower, stolen_work)["subtasks"][0]["attempts"]
        assert [each["status"] for each in attempts] == ["lost", "succeeded"]
        assert attempts[-1]["node_id"] != stolen_id
        cannot_come_back(thrower, stolen)
        fresh = strangers_need_the_new_token(nodes, thrower, tmp_path)
        also_one_that_is_off_and_one_of_two(nodes, thrower, fresh)


def work_of(node: Node, node_id: str) -> str | None:
    tasks = node.client.get("tasks")["tasks"]
    found = [each["task_id"] for each in tasks if holder(node, each["task_id"]) == node_id]
    return found[0] if found else None


def cannot_come_back(thrower: Node, stolen: Node) -> None:
    """It is alone at once, and a start with an address and the old token changes nothing."""
    stolen_id = stolen.node_id
    stolen.kill()
    stolen.options = [*stolen.options, "--join", thrower.address]
    stolen.spawn()
    with contextlib.suppress(AssertionError):  # it may have heard of it, and say so and end
        stolen.wait_ready()
        assert not stolen.status()["quorum"]
    assert stolen_id not in members(thrower)
    assert stolen_id not in thrower.status()["voters"]
    stolen.kill()


def strangers_need_the_new_token(nodes: Cluster, thrower: Node, directory: Path) -> Node:
    token = str(thrower.client.get("token")["token"])
    assert token != TOKEN
    nodes.nodes.sort(key=lambda node: node is not thrower)
    fresh = newcomer(nodes, directory / "fresh", token)
    fresh.start()
    wait_for("it votes", lambda: fresh.node_id in thrower.status()["voters"], 20)
    return fresh


def also_one_that_is_off_and_one_of_two(nodes: Cluster, thrower: Node, fresh: Node) -> None:
    off_id = fresh.node_id
    fresh.kill()
    assert thrower.client.post(f"nodes/{off_id}/revoke")["token_version"] == 3
    other_id = next(each for each in members(thrower) if each != thrower.node_id)
    assert thrower.client.post(f"nodes/{other_id}/revoke")["token_version"] == 4
    wait_for("it is alone", lambda: members(thrower) == {thrower.node_id}, 20)
    assert thrower.status()["voters"] == [thrower.node_id]
    completed(thrower, thrower.submit(QUICK))


def test_sensitive_work_runs_where_a_trusted_node_says(tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as nodes:
        founder, other, last = nodes.nodes
        assert "not trusted itself" in refused(
            lambda: other.client.post(f"nodes/{other.node_id}/trust", {"trusted": True})
        )
        assert holders(completed(other, other.submit(SECRET))) == {founder.node_id}
        founder.client.post(f"nodes/{other.name}/trust", {"trusted": True})
        other.client.post(f"nodes/{founder.name}/trust", {"trusted": False})
        assert holders(completed(last, last.submit(SECRET))) == {other.node_id}
        assert member(last, other.node_id)["trusted"] is True
        assert member(last, founder.node_id)["trusted"] is False
        with pytest.raises(NotFound):
            other.client.post("nodes/nobody/trust", {"trusted": True})


def holders(document: dict[str, list[dict[str, list[dict[str, str]]]]]) -> set[str]:
    return {a["node_id"] for each in document["subtasks"] for a in each["attempts"]}


# --- voters ---------------------------------------------------------------------------------------


def test_a_missing_voter_is_replaced_and_welcome_again(tmp_path: Path) -> None:
    with cluster(tmp_path, 3, ["--max-voters", "3", "--replace-after", "2"]) as nodes:
        spare = newcomer(nodes, tmp_path / "spare", TOKEN)
        spare.start()
        leader, missing = nodes.leader(), nodes.followers()[0]
        wait_for("the spare is there", lambda: leader.status()["learners"] == [spare.node_id], 20)
        missing_id = missing.node_id
        missing.kill()
        wait_for("it is replaced", lambda: leader.status()["learners"] == [missing_id], 30)
        assert spare.node_id in leader.status()["voters"]
        assert leader.status()["failures_tolerated"] == 1
        missing.start()
        spare.kill()
        wait_for("it votes again", lambda: missing_id in leader.status()["voters"], 30)
        completed(missing, missing.submit(QUICK))


# --- recovery -------------------------------------------------------------------------------------


def test_one_of_three_goes_on_alone_when_two_are_lost(tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as nodes:
        last, lost = nodes.nodes[2], nodes.nodes[:2]
        done, last_id, lost_ids = last.submit(QUICK), last.node_id, [n.node_id for n in lost]
        completed(last, done)
        old_cluster = last.status()["cluster_id"]
        running = paceline(last, "recover", "--yes")
        assert running.returncode == 1
        assert "already runs" in running.stderr
        for node in nodes.nodes:
            node.kill()
        unsure = paceline(last, "recover", typed="no\n")
        assert unsure.returncode != 0
        assert "n1, n2" in unsure.stderr, "it says who is given up"
        recovered = paceline(last, "recover", typed="recover\n")
        assert recovered.returncode == 0, recovered.stderr
        last.options = last.options[:5]
        last.start()
        assert last.node_id == last_id
        assert last.task(done)["status"] == "completed"
        completed(last, last.submit(QUICK))
        status = last.status()
        assert status["cluster_id"] != old_cluster
        assert (status["voters"], members(last)) == ([last_id], {last_id})
        assert member(last, last_id)["trusted"] is True
        the_old_ones_go_on_for_themselves(nodes, lost, lost_ids, last)
        one_may_join_anew(nodes, lost[0], last)


def the_old_ones_go_on_for_themselves(
    nodes: Cluster, lost: list[Node], lost_ids: list[str], last: Node
) -> None:
    """Not lost after all: two of three are the old cluster, and neither sees the other's work."""
    for node in lost:
        node.spawn()
    for node in lost:
        node.wait_ready()
    theirs = lost[0].submit(QUICK)
    completed(lost[0], theirs)
    assert last.node_id not in {n for n in lost_ids}
    assert members(last) == {last.node_id}
    with pytest.raises(NotFound):
        last.task(theirs)
    completed(last, last.submit(QUICK))


def one_may_join_anew(nodes: Cluster, node: Node, last: Node) -> None:
    node.kill()
    token = str(last.client.get("token")["token"])
    assert token != TOKEN
    node.environment = {"PACELINE_TOKEN": token}
    node.options = [*node.options, "--join", last.address, "--anew"]
    node.start()
    wait_for("it votes", lambda: node.node_id in last.status()["voters"], 20)
    completed(node, node.submit(QUICK))
