"""What a person may have looked at more closely: whether all nodes hold the same state."""

from paceline.node.checksum import StateChecksum
from paceline.node.members import Members
from paceline.node.verdict import warnings
from paceline.node.web.ports import Document, Health


class Inspection:
    """The `InspectionService` of a node."""

    def __init__(self, *, checksum: StateChecksum, members: Members) -> None:
        self._checksum = checksum
        self._members = members

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
            "names": {
                node_id: self._members.name_of(node_id) for node_id in sorted(self._members.ids)
            },
            "warnings": warnings(verdict, self._members.name_of),
        }

    def warnings(self) -> list[str]:
        """Answer what the last comparison found, for the status."""
        return self._checksum.warnings()

    def judged(self, health: Health) -> Health:
        """Answer the health, worse if this node's state is known to be wrong."""
        if not health.ready or not self._checksum.unfit:
            return health
        return Health(healthy=health.healthy, ready=False, reason=self._checksum.unfit)
