"""What a follower does with its log when the leader speaks (figure 2, AppendEntries; section 5).

Every answer names what the two logs share. It is true of the log in memory; that it leaves only
when the log is durable is the sender's care (`Ready.after_sync`).
"""

from paceline.consensus.log import Log
from paceline.consensus.messages import Append, AppendReply, InstallSnapshot
from paceline.errors import ProtocolError
from paceline.ids import NodeId


def receive_append(log: Log, node_id: NodeId, message: Append) -> AppendReply:
    """Merge an append into the log, or refuse it with a hint where to try next.

    The commit index follows the leader's only as far as this message has verified the log: what
    stands after that may be a leftover of an earlier term. Raise ProtocolError, and change nothing,
    for what no correct leader sends.
    """
    _check(message)
    prev_index = message.prev_index
    if prev_index > log.commit_index and log.term_at(prev_index) != message.prev_term:
        return _refuse(log, node_id, message)
    # Up to the commit index all logs agree, so an older append is fine even if compacted away.
    verified = log.accept(prev_index, message.entries)
    log.commit_to(min(message.commit, verified))
    match = max(verified, log.commit_index)
    return AppendReply(node_id, message.sender, message.term, match)


def receive_snapshot(log: Log, node_id: NodeId, message: InstallSnapshot) -> AppendReply:
    """Take a snapshot as far as the log lacks it; `log.snapshot` changes if it replaces the log.

    An older snapshot than what is committed brings nothing. One that this log reaches brings only
    the knowledge that it is committed: the entries behind it stay.
    """
    meta = message.meta
    if meta.index > log.commit_index:
        if log.term_at(meta.index) == meta.term:
            log.commit_to(meta.index)
        else:
            log.restore(meta)
    return AppendReply(node_id, message.sender, message.term, log.commit_index)


def _check(message: Append) -> None:
    entries = message.entries
    if entries and (
        entries[0].index != message.prev_index + 1
        or entries[-1].index != message.prev_index + len(entries)
    ):
        raise ProtocolError(f"{message.sender} sent entries that do not follow each other")


def _refuse(log: Log, node_id: NodeId, message: Append) -> AppendReply:
    """Answer with the last index whose term is not above the refused one: no later one can match.

    One such hint per term of disagreement is enough to find the match point, and nothing that is
    committed needs to be doubted.
    """
    hint = log.last_within_term(message.prev_term, message.prev_index - 1)
    hint = max(hint, log.commit_index)
    return AppendReply(
        node_id,
        message.sender,
        message.term,
        match=0,
        rejected=True,
        prev_index=message.prev_index,
        hint_index=hint,
        hint_term=log.term_at(hint) or 0,
    )
