"""The state of the cluster in one document, as this node sees it: `paceline status`."""

import sqlite3
from collections.abc import Callable
from dataclasses import asdict

from paceline.clock import Clock
from paceline.discovery.record import Contact
from paceline.ids import NodeId
from paceline.node.electorate import tolerance
from paceline.node.members import Members
from paceline.node.replica_loop import ReplicaLoop
from paceline.node.vitals import VitalsTable
from paceline.node.web.ports import Document, Health
from paceline.tasks import queries, queries_members
from paceline.tasks.documents import iso
from paceline.tasks.model import WorkerStatus


class ClusterStatus:
    """Puts together what consensus, membership, vitals and the task state know."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        replicas: ReplicaLoop,
        members: Members,
        vitals: VitalsTable,
        connection: sqlite3.Connection,
        discovery: Callable[[], str],
        clock: Clock,
    ) -> None:
        """Wire it: `discovery` answers, in words, whether multicast works."""
        self._node_id = node_id
        self._replicas = replicas
        self._members = members
        self._vitals = vitals
        self._connection = connection
        self._discovery = discovery
        self._clock = clock

    def health(self) -> Health:
        """Answer whether this node works, and whether it can serve changes."""
        status = self._replicas.status
        if status.stalled:
            return Health(healthy=True, ready=False, reason="the disk is full")
        if not status.quorum_active:
            return Health(healthy=True, ready=False, reason="no leader with a quorum is known")
        return Health(healthy=True, ready=True)

    def document(self) -> Document:
        """Answer the document of `status --json`."""
        self._replicas.refresh()
        status = self._replicas.status
        membership = status.membership
        tolerated = self._failures_tolerated()
        members = self.members()
        return {
            "cluster_id": self._members.cluster_id,
            "node_id": self._node_id,
            "role": status.role,
            "leader_id": status.leader_id or None,
            "term": status.term,
            "commit_index": status.commit_index,
            "applied_index": status.applied_index,
            "quorum": status.quorum_active,
            "voters": list(membership.voters),
            "learners": list(membership.learners),
            "failures_tolerated": tolerated,
            "members": members,
            "tasks": queries.task_counts(self._connection),
            "discovery": self._discovery(),
            "stalled": status.stalled,
            "warnings": [*self._warnings(tolerated), *self._member_warnings(members)],
        }

    def members(self) -> list[Document]:
        """Answer one document per member, the leader first, then by name."""
        workers = {worker["node_id"]: worker for worker in queries.workers(self._connection)}
        trusted = queries_members.trusted(self._connection)
        leader_id = self._replicas.status.leader_id
        found = [
            self._member(node_id, workers.get(node_id, {})) | {"trusted": node_id in trusted}
            for node_id in self._members.ids - queries_members.left(self._connection)
        ]
        return sorted(
            found, key=lambda each: (each["node_id"] != leader_id, each["name"], each["node_id"])
        )

    def _member(self, node_id: NodeId, worker: Document) -> Document:
        contact = self._members.contact(node_id)
        heard = self._vitals.get(node_id)
        alive = self._vitals.alive(node_id)
        tools = [asdict(tool) for tool in heard.vitals.tools] if heard else worker.get("tools", [])
        return {
            "node_id": node_id,
            "name": worker.get("name") or (contact.name if contact else ""),
            "status": worker.get("status", "online") if alive else "offline",
            "draining": worker.get("draining", False),
            "missing_since": None if alive else self._missing_since(node_id, worker),
            "role": self._role(node_id),
            "address": _address(contact),
            "tools": [tool["name"] for tool in tools if tool["healthy"]],
            "tool_states": tools,
            "resources": asdict(heard.vitals.resources) if heard and alive else {},
            "slots": heard.vitals.slots if heard else worker.get("slots", 0),
            "running": len(heard.vitals.running) if heard and alive else 0,
            "labels": worker.get("labels", {}),
            "version": contact.version if contact else "",
            "silent_ms": self._vitals.silent_ms(node_id),
        }

    def _missing_since(self, node_id: NodeId, worker: Document) -> str | None:
        """Answer since when it is not there, as the leader judged it, or else as heard from here.

        None: this node has not heard of it since it started itself, and nobody has judged it.
        """
        if worker.get("status") == WorkerStatus.OFFLINE:
            return str(worker["updated_at"])
        silent_ms = self._vitals.silent_ms(node_id)
        return None if silent_ms is None else iso(self._clock.now_ms() - silent_ms)

    def _role(self, node_id: NodeId) -> str:
        if node_id == self._replicas.status.leader_id:
            return "leader"
        membership = self._replicas.status.membership
        return "voter" if node_id in membership.voters else "learner"

    def _failures_tolerated(self) -> int:
        """Answer how many more voters may fail now without the cluster stopping."""
        voters = self._replicas.status.membership.voters
        alive = {node_id for node_id in voters if self._vitals.alive(node_id)}
        return max(0, tolerance(set(voters), alive))

    def _member_warnings(self, members: list[Document]) -> list[str]:
        found = [
            f"{each['name'] or each['node_id']} is missing"
            + (f" since {each['missing_since']}" if each["missing_since"] else "")
            for each in members
            if each["status"] == "offline"
        ]
        if queries_members.members(self._connection) and not any(m["trusted"] for m in members):
            found.append(
                "no node is trusted: sensitive tasks wait for ever (docs/operations.md says why)"
            )
        return found

    def _warnings(self, tolerated: int) -> list[str]:
        status = self._replicas.status
        voters = status.membership.voters
        found = []
        if not status.quorum_active:
            found.append("no quorum: this node can be read, but nothing can be changed")
        elif len(voters) == 2:
            found.append("two voters: both must be up; add a third machine to survive a failure")
        elif len(voters) > 2 and tolerated == 0:
            found.append("one more failure would stop the cluster")
        if status.stalled:
            found.append("the disk is full: nothing is acknowledged until there is room")
        return found


def _address(contact: Contact | None) -> str:
    return contact.joins[0] if contact and contact.joins else ""
