"""Every error that Paceline raises on purpose, as one tree.

A type says whose fault it is; a message says what to do about it.

    PacelineError
    ├── InputError              what the caller gave is wrong; nothing was changed
    │   ├── InvalidPlan         a plan file or template; carries the line where that is known
    │   └── InvalidSettings     an option, an environment variable or the configuration file
    ├── NotFound                no such task, subtask, node, checkpoint, blob ...
    ├── Conflict                the state refuses it (already decided, stale token, illegal change)
    ├── Unavailable             right, but not now; trying again may help
    │   ├── NodeUnreachable     no node answers at that address
    │   ├── NoQuorum            too few voters are connected to commit anything
    │   ├── TimedOut            no answer in time; the outcome is unknown
    │   ├── NotLeader           this node does not lead; `leader_id` says who does, if known
    │   └── Busy                a queue is at its bound
    ├── ProtocolError           a peer sent what no correct node sends
    ├── StorageError            the disk, or what is on it
    │   ├── CorruptStorage      a checksum, a gap, a foreign file
    │   ├── NewerFormat         written by a newer version of this program
    │   └── StorageFull         no room; nothing is acknowledged until there is
    └── ToolError               a tool (an agent's program) could not be run at all
"""


class PacelineError(Exception):
    """The root of the tree. `str(error)` is a sentence for a person."""


class InputError(PacelineError):
    """What the caller gave is wrong; nothing was changed."""


class InvalidPlan(InputError):
    """A plan file or template is refused. `line` is 1-based, or None where it is not known."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason if line is None else f"line {line}: {reason}")
        self.reason = reason
        self.line = line


class InvalidSettings(InputError):
    """An option, an environment variable or the configuration file is refused."""


class NotFound(PacelineError):
    """Nothing has that id or name."""


class Conflict(PacelineError):
    """The state refuses the change; nothing was changed."""


class Unavailable(PacelineError):
    """The request is right, but cannot be served now."""


class NodeUnreachable(Unavailable):
    """No node answers there."""


class NoQuorum(Unavailable):
    """Too few voters are connected to commit anything."""


class TimedOut(Unavailable):
    """No answer in time: whether it took effect is unknown."""


class NotLeader(Unavailable):
    """Another node leads, or none. `leader_id` is who does as far as it knows, else None."""

    def __init__(self, leader_id: str | None = None) -> None:
        super().__init__(f"not the leader (the leader is {leader_id or 'not known'})")
        self.leader_id = leader_id


class Busy(Unavailable):
    """A queue is at its bound; try again in a moment."""


class ProtocolError(PacelineError):
    """A peer sent what no correct node sends."""


class StorageError(PacelineError):
    """The disk, or what is on it."""


class CorruptStorage(StorageError):
    """What is on disk is not what was written."""


class NewerFormat(StorageError):
    """A newer version wrote it: this program must be updated before it goes on."""


class StorageFull(StorageError):
    """There is no room on the disk; nothing is acknowledged until there is."""


class ToolError(PacelineError):
    """A tool could not be run at all."""
