"""What people may ask of a node about the judging of work: to see it, and to decide."""

import sqlite3

from paceline.errors import InputError
from paceline.ids import NodeId, new_id
from paceline.node.proposals import Proposals
from paceline.node.web.ports import CheckpointDecision, Document
from paceline.tasks import queries, queries_quality
from paceline.tasks.commands import Comment, OpenCheckpoint, ResolveCheckpoint
from paceline.tasks.phases import CHECKPOINT

PROPOSE_TIMEOUT_S = 10.0


class Deciding:
    """Checkpoints and evaluations, as the node's own user sees them."""

    def __init__(
        self, *, node_id: NodeId, connection: sqlite3.Connection, proposals: Proposals
    ) -> None:
        self._node_id = node_id
        self._connection = connection
        self._proposals = proposals

    async def checkpoints(self, status: str, task_id: str) -> list[Document]:
        """Answer the checkpoints in brief, the oldest first."""
        if status and status not in CHECKPOINT:
            raise InputError(f"no checkpoint can be {status!r}: one of {', '.join(CHECKPOINT)}")
        task = queries.resolve_task_id(self._connection, task_id) if task_id else ""
        return queries_quality.checkpoints(self._connection, status=status, task_id=task)

    async def checkpoint(self, wanted: str) -> Document:
        """Answer one with all that a person needs to decide."""
        return queries_quality.checkpoint(self._connection, wanted)

    async def resolve(self, wanted: str, decision: CheckpointDecision) -> Document:
        """Decide, and answer the checkpoint in brief with the `task_status` that follows."""
        checkpoint_id = queries_quality.resolve_checkpoint_id(self._connection, wanted)
        command = ResolveCheckpoint(
            checkpoint_id,
            decision.decision,
            decision.feedback,
            tuple(Comment(*each) for each in decision.comments),
            self._node_id,
        )
        await self._proposals.propose(command, timeout_s=PROPOSE_TIMEOUT_S)
        return self._brief(checkpoint_id)

    async def open(self, task_id: str, subtask: str, reason: str) -> Document:
        """Have a task, or one subtask of it that has not begun, wait for a person."""
        found = queries.resolve_task_id(self._connection, task_id)
        subtask_id = queries.resolve_subtask_id(self._connection, found, subtask) if subtask else ""
        checkpoint_id = new_id()
        command = OpenCheckpoint(
            checkpoint_id, found, subtask_id, reason=reason, triggered_by=self._node_id
        )
        await self._proposals.propose(command, timeout_s=PROPOSE_TIMEOUT_S)
        return self._brief(checkpoint_id)

    async def evaluation(self, subtask_id: str) -> Document:
        """Answer the latest evaluation of a subtask (None = none) and all of them."""
        found = queries_quality.evaluations(self._connection, subtask_id)
        return {"evaluation": found[-1] if found else None, "evaluations": found}

    def _brief(self, checkpoint_id: str) -> Document:
        document = queries_quality.checkpoint(self._connection, checkpoint_id)
        task = queries.task(self._connection, document["task_id"])
        return {key: document[key] for key in queries_quality.LISTED} | {
            "task_status": task["status"]
        }
