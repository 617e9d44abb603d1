"""Nobody speaks for another: what a member may put before the leader in whose name.

The transport proves who sends; a command says in whose name it is. The leader lets pass what
agrees. So nobody can claim in another's name what the state machine goes by: who trusts, who
revokes, whose outcome this is. Against a leader that lies there is no such protection: the log
follows its leader.
"""

from collections.abc import Callable

from paceline.errors import Conflict
from paceline.ids import NodeId
from paceline.tasks.commands import (
    AttachWorker,
    Command,
    FinishAttempt,
    FoundCluster,
    RecoverCluster,
    RegisterWorker,
    RemoveMember,
    ResolveCheckpoint,
    RevokeMember,
    RotateToken,
    StartAttempts,
    TrustMember,
)


def nobody(worker_id: str) -> str:
    """Answer who speaks for a worker, where no worker needs that."""
    return ""


def require_own_name(command: Command, sender: NodeId, via: Callable[[str], str] = nobody) -> None:
    """Raise Conflict if the command is in the name of another than its sender.

    `via` answers the node that speaks for an external worker, which is none itself.
    """
    match command:
        case TrustMember() | RotateToken() | RevokeMember() | ResolveCheckpoint():
            speaker = command.by
        case RemoveMember() if command.by == sender:
            speaker = command.node_id
        case RemoveMember():
            speaker = command.by
        case FoundCluster() | RegisterWorker() | StartAttempts() | FinishAttempt():
            speaker = command.node_id
        case AttachWorker():
            speaker = command.via
        case RecoverCluster():
            raise Conflict("a recovery is written into a log that is at rest, never proposed")
        case _:
            return
    if speaker != sender and via(speaker) != sender:
        raise Conflict(f"{sender} cannot speak for {speaker}")
