"""The story of a run as lines for people."""

from collections.abc import Iterable, Iterator

from paceline.consensus.messages import decode_message
from paceline.consensus.transfer import SNAPSHOT_MESSAGES
from paceline.errors import ProtocolError
from tests.sim.simulation import Verdict
from tests.sim.world import Detail, Line


def lines(story: Iterable[Line]) -> Iterator[str]:
    """Answer one line per event: seconds, what happened, to whom; messages are decoded."""
    for time_us, what, details in story:
        yield f"{time_us / 1e6:10.6f}  {what:<14} " + " ".join(map(_shown, details))


def report(verdict: Verdict, last: int = 60) -> Iterator[str]:
    """Answer what is worth printing of a run that found something."""
    violation = verdict.violation
    yield f"seed {verdict.seed}: {violation or 'no violation'}"
    yield f"  {verdict.scenario}"
    yield f"  the last {min(last, len(verdict.story))} events of {verdict.events}:"
    for line in list(lines(verdict.story))[-last:]:
        yield f"  {line}"
    yield f"  replay: python -m tests.sim.runner --seed {verdict.seed}"


def _shown(detail: Detail) -> str:
    if not isinstance(detail, bytes):
        return str(detail)
    try:
        return str(decode_message(detail))
    except ProtocolError:
        pass
    try:
        return str(SNAPSHOT_MESSAGES.decode(detail))
    except ProtocolError:
        return detail.hex()
