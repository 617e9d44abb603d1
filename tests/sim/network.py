"""A network that delays, loses, repeats, reorders and cuts.

What travels is bytes. A link is one direction between two nodes; a connection is both. Links can
be cut (what is sent or arrives then is gone), clogged (what is sent waits until the clog goes: the
"swizzle" of FoundationDB's tests) or slow. A dropped connection loses what is under way on it and
is noticed by both ends, as a closed TCP connection is.

The bulk lane is a second connection per pair: in order, with a bandwidth.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from paceline.consensus.messages import AppendReply, ReadReply, decode_message
from tests.sim.world import MILLISECOND, World

Link = tuple[str, str]

ECHOED = (AppendReply, ReadReply)


@dataclass(slots=True)
class Conditions:
    """How bad the network is, for one seed. Chances are per message."""

    delay_us: int = 500
    jitter_us: int = 1_500
    tail: float = 0.0
    """The chance of a delay of up to `tail_us`."""
    tail_us: int = 300 * MILLISECOND
    loss: float = 0.0
    repeat: float = 0.0
    echo_us: int = 0
    """Answers to appends and to reads come again, up to so much later, even on a cut link."""
    ordered: bool = True
    """Messages of one link never overtake each other (as on one TCP connection)."""
    bulk_bytes_per_ms: int = 2_000


@dataclass(slots=True)
class _LinkState:
    cuts: int = 0
    clogged_until_us: int = 0
    epoch: int = 0
    last_arrival_us: int = 0
    """When the last of those sent so far arrives."""
    last_bulk_us: int = 0


class Network:
    """All links. `deliver(to, sender, data, bulk)` is called when something arrives."""

    def __init__(
        self,
        *,
        world: World,
        conditions: Conditions,
        deliver: Callable[[str, str, bytes, bool], None],
    ) -> None:
        self.conditions = conditions
        self._world = world
        self._random: random.Random = world.random("network")
        self._deliver = deliver
        self._links: dict[Link, _LinkState] = {}

    def send(self, sender: str, to: str, data: bytes) -> None:
        """Send one message on the control lane."""
        chance, conditions = self._random.random, self.conditions
        link = self._link(sender, to)
        if link.cuts or (conditions.loss and chance() < conditions.loss):
            self._world.count("messages cut off" if link.cuts else "messages lost")
            self._world.tell("lost", sender, to, data)
            return
        self._put(link, sender, to, data)
        if conditions.repeat and chance() < conditions.repeat:
            self._world.count("messages repeated")
            self._put(link, sender, to, data)
        if conditions.echo_us and isinstance(decode_message(data), ECHOED):
            self._echo(sender, to, data)

    def send_bulk(self, sender: str, to: str, data: bytes) -> None:
        """Send one piece on the bulk lane: in order, no faster than the bandwidth."""
        link = self._link(sender, to)
        if link.cuts:
            self._world.tell("lost in bulk", sender, to, len(data))
            return
        start_us = max(self._world.now_us, link.last_bulk_us, link.clogged_until_us)
        took_us = self._delay_us() + len(data) * MILLISECOND // self.conditions.bulk_bytes_per_ms
        link.last_bulk_us = start_us + took_us
        self._arrive(link, sender, to, data, link.last_bulk_us - self._world.now_us, bulk=True)

    def connected(self, sender: str, to: str) -> bool:
        """Answer whether that direction is open now."""
        return self._link(sender, to).cuts == 0

    # --- faults -----------------------------------------------------------------------------------

    def cut(self, links: list[Link]) -> None:
        """Cut these directions; cuts add up, and each must be healed."""
        for link in links:
            self._link(*link).cuts += 1

    def heal(self, links: list[Link]) -> None:
        """Take one cut of each direction away."""
        for link in links:
            self._link(*link).cuts -= 1

    def clog(self, link: Link, for_us: int) -> None:
        """Hold back what is sent from now on; all of it arrives when the clog goes."""
        state = self._link(*link)
        state.clogged_until_us = max(state.clogged_until_us, self._world.now_us + for_us)

    def drop_connection(self, one: str, other: str) -> None:
        """Lose what is under way between the two."""
        self._link(one, other).epoch += 1
        self._link(other, one).epoch += 1

    def calm(self) -> None:
        """End all faults: every link open, nothing lost, repeated or late."""
        for link in self._links.values():
            link.cuts, link.clogged_until_us = 0, 0
        calm = self.conditions
        calm.tail, calm.loss, calm.repeat, calm.echo_us = 0.0, 0.0, 0.0, 0

    # --- one message ------------------------------------------------------------------------------

    def _link(self, sender: str, to: str) -> _LinkState:
        link = self._links.get((sender, to))
        if link is None:
            link = self._links[sender, to] = _LinkState()
        return link

    def _delay_us(self) -> int:
        chance, conditions = self._random.random, self.conditions
        delay_us = conditions.delay_us + int(chance() * conditions.jitter_us)
        if conditions.tail and chance() < conditions.tail:
            delay_us += int(chance() * conditions.tail_us)
        return delay_us

    def _echo(self, sender: str, to: str, data: bytes) -> None:
        self._world.count("messages echoed")
        later_us = int(self._random.random() * self.conditions.echo_us)
        self._world.after(later_us, lambda: self._deliver(to, sender, data, False))

    def _put(self, link: _LinkState, sender: str, to: str, data: bytes, later_us: int = 0) -> None:
        now_us = self._world.now_us
        arrival_us = max(now_us, link.clogged_until_us) + self._delay_us()
        if arrival_us < link.last_arrival_us:
            if self.conditions.ordered:
                arrival_us = link.last_arrival_us
            else:
                self._world.count("messages overtaken")
        link.last_arrival_us = max(arrival_us, link.last_arrival_us)
        self._arrive(link, sender, to, data, arrival_us - now_us, bulk=False)

    def _arrive(
        self, link: _LinkState, sender: str, to: str, data: bytes, delay_us: int, *, bulk: bool
    ) -> None:
        epoch = link.epoch

        def arrive() -> None:
            if link.cuts or link.epoch != epoch:
                self._world.tell("lost", sender, to, data)
            else:
                self._deliver(to, sender, data, bulk)

        self._world.after(delay_us, arrive)
