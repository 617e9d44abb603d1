"""Changing who has a say (dissertation, chapter 4), as pure functions, and the trail of changes.

A MEMBERSHIP entry carries the whole new `Membership`, and every node uses the newest one in its log
from the moment the entry is there, committed or not. Two rules keep that safe.

* One step at a time. If the voters differ by at most one node, any majority of the old and any
  majority of the new set overlap, so the change is one entry (section 4.1). Otherwise the cluster
  passes through the joint state, in which both majorities are needed, and leaves it by a second
  entry once the first is committed (section 4.3).
* A leader starts a change only when the one before is committed, and an entry of its own term too.
  The second half is Ongaro's erratum of July 2015: without it, two leaders in two terms can each
  append a change to the same old set, and the two new sets need not overlap.

An uncommitted entry may be truncated, and then the membership before it is in force again; hence
the trail.
"""

from bisect import bisect_right
from collections.abc import Iterable
from operator import itemgetter

from paceline import codec
from paceline.consensus.messages import Entry, EntryKind, Membership
from paceline.consensus.quorum import voters_of
from paceline.errors import Conflict, InputError
from paceline.ids import NodeId

_INDEX = itemgetter(0)


def encode_membership(membership: Membership) -> bytes:
    """Answer the data of a MEMBERSHIP entry."""
    return codec.encode(membership)


def decode_membership(data: bytes) -> Membership:
    """Read the data of a MEMBERSHIP entry. Raise ProtocolError for anything else."""
    return codec.decode(Membership, data)


def next_membership(
    current: Membership,
    voters: Iterable[NodeId],
    learners: Iterable[NodeId],
    *,
    joint: bool = False,
    auto_leave: bool = True,
) -> Membership:
    """Answer the next step from `current` towards these voters and learners.

    `joint` passes through the joint state even where one entry would do; without `auto_leave` the
    joint state lasts until this is called again with the same voters and learners, which is all
    that may be asked for meanwhile. Raise InputError for sets that make no sense, and Conflict for
    what the joint state does not allow.
    """
    wanted = _checked(voters, learners)
    if current.joint:
        return _explicit_leave(current, wanted)
    changed = len(set(current.voters) ^ set(wanted.voters))
    if not joint and changed <= 1:
        return wanted
    staying = set(wanted.learners) & set(current.voters)
    return Membership(
        voters=wanted.voters,
        learners=tuple(node for node in wanted.learners if node not in staying),
        outgoing=current.voters,
        learners_next=tuple(sorted(staying)),
        auto_leave=auto_leave,
    )


def leave_joint(current: Membership) -> Membership:
    """Answer the membership that follows the joint state: the incoming half, on its own."""
    return Membership(
        voters=current.voters,
        learners=tuple(sorted({*current.learners, *current.learners_next})),
    )


def _checked(voters: Iterable[NodeId], learners: Iterable[NodeId]) -> Membership:
    wanted = Membership(voters=tuple(sorted(set(voters))), learners=tuple(sorted(set(learners))))
    if not wanted.voters:
        raise InputError("a cluster needs at least one voter")
    both = set(wanted.voters) & set(wanted.learners)
    if both:
        raise InputError(f"{', '.join(sorted(both))}: either a voter or a learner, not both")
    return wanted


def _explicit_leave(current: Membership, wanted: Membership) -> Membership:
    left = leave_joint(current)
    if current.auto_leave or left != wanted:
        raise Conflict("a membership change is under way: wait until it is done")
    return left


class MembershipTrail:
    """The memberships that stand in the log, oldest first; the last one is in force."""

    def __init__(self, index: int, membership: Membership) -> None:
        self._trail = [(index, membership)]

    @property
    def index(self) -> int:
        """Answer the index of the entry (or snapshot) that brought the membership in force."""
        return self._trail[-1][0]

    @property
    def current(self) -> Membership:
        """Answer the membership in force."""
        return self._trail[-1][1]

    def at(self, index: int) -> Membership:
        """Answer the membership as of that index, which must not be before the oldest kept."""
        return self._trail[self._position(index)][1]

    def members_since(self, index: int) -> tuple[NodeId, ...]:
        """Answer every member of the membership as of `index` and of all later ones, sorted."""
        return tuple(sorted({node for known in self._since(index) for node in known.members}))

    def is_voter_since(self, index: int, node_id: NodeId) -> bool:
        """Answer whether a node votes in the membership as of `index` or in any later one."""
        return any(node_id in voters_of(known) for known in self._since(index))

    def record(self, entries: Iterable[tuple[int, Membership]]) -> None:
        """Add the memberships of appended entries."""
        self._trail.extend(entries)

    def truncate(self, first: int) -> None:
        """Forget what stood at `first` and after it: the membership before is in force again."""
        while len(self._trail) > 1 and self._trail[-1][0] >= first:
            self._trail.pop()

    def compact(self, index: int) -> None:
        """Forget what was superseded at or before `index`."""
        del self._trail[: self._position(index)]

    def _since(self, index: int) -> list[Membership]:
        return [membership for _, membership in self._trail[self._position(index) :]]

    def _position(self, index: int) -> int:
        return max(0, bisect_right(self._trail, index, key=_INDEX) - 1)


def memberships_in(entries: Iterable[Entry]) -> list[tuple[int, Membership]]:
    """Answer index and membership of each MEMBERSHIP entry. Raise ProtocolError if malformed."""
    kind = int(EntryKind.MEMBERSHIP)
    return [(entry[0], decode_membership(entry[3])) for entry in entries if entry[2] == kind]
