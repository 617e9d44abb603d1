"""What a person may have looked at: what ails the cluster, and whether states agree."""

import asyncio
from dataclasses import asdict
from pathlib import Path

from paceline.node.checksum import StateChecksum
from paceline.node.doctor import databases
from paceline.node.doctor.finding import Finding, warning
from paceline.node.doctor.mesh import Mesh
from paceline.node.members import Members
from paceline.node.verdict import warnings
from paceline.node.web.ports import Document, Health


class Inspection:
    """The `InspectionService` of a node."""

    def __init__(
        self, *, checksum: StateChecksum, members: Members, mesh: Mesh, state: Path
    ) -> None:
        """Wire it: `state` is the file of the applied state."""
        self._checksum = checksum
        self._members = members
        self._mesh = mesh
        self._state = state

    async def compare(self) -> Document:
        """Compare the state of all nodes now, and answer what that came to."""
        verdict = await self._checksum.compare()
        return {
            "index": verdict.index,
            "equal": verdict.equal,
            "decided": verdict.decided,
            "compared": list(verdict.compared),
            "differing": {node_id: list(what) for node_id, what in verdict.differing.items()},
            "missing": verdict.missing,
            "names": {node: self._members.name_of(node) for node in sorted(self._members.ids)},
            "warnings": warnings(verdict, self._members.name_of),
        }

    async def findings(self) -> list[Document]:
        """Examine the cluster, and this node's state on its disk."""
        state = await asyncio.to_thread(databases.live_state, self._state)
        found = [state, *await self._mesh.examine(), *self._differences()]
        return [asdict(each) for each in found]

    def warnings(self) -> list[str]:
        """Answer what the last comparison found, for the status."""
        return self._checksum.warnings()

    def judged(self, health: Health) -> Health:
        """Answer the health, worse if this node's state is known to be wrong."""
        if not health.ready or not self._checksum.unfit:
            return health
        return Health(healthy=health.healthy, ready=False, reason=self._checksum.unfit)

    def _differences(self) -> list[Finding]:
        advice = "`paceline doctor --compare` compares the states again"
        return [warning("state", text, advice) for text in self._checksum.warnings()]
