"""What a leader knows of a follower, whatever order the answers come in."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from paceline.consensus.progress import Inflight, Progress, ProgressState


@settings(deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 50),
    st.lists(st.one_of(st.tuples(st.just("send"), st.integers(0, 20)), st.just(("ack", 0)))),
    st.data(),
)
def test_the_window_agrees_with_a_plain_list(
    max_messages: int, max_bytes: int, steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    window, twin, last = Inflight(max_messages, max_bytes), list[tuple[int, int]](), 0
    for name, size in steps:
        if name == "send" and not window.full:
            last += 1
            window.add(last, size)
            twin.append((last, size))
        elif name == "ack":
            index = data.draw(st.integers(0, last + 1))
            window.release(index)
            twin = [sent for sent in twin if sent[0] > index]
        assert len(window) == len(twin)
        held = sum(size for _, size in twin)
        assert window.full == (len(twin) >= max_messages or held >= max_bytes)


def test_a_cleared_window_is_empty() -> None:
    window = Inflight(1, 1)
    window.add(3, 100)
    assert window.full
    window.clear()
    assert not window.full
    assert len(window) == 0


class AnyOrder(RuleBasedStateMachine):
    """Answers and reports come in any order, old ones too."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = Progress(1, Inflight(3, 100), heard=0)
        self.last_index = 0
        self.best = 0

    @rule(count=st.integers(1, 5))
    def append(self, count: int) -> None:
        self.last_index += count

    @precondition(lambda self: self.progress.state is not ProgressState.SNAPSHOT)
    @rule(count=st.integers(0, 3))
    def send(self, count: int) -> None:
        if not self.progress.paused and not self.progress.inflight.full:
            last = min(self.last_index, self.progress.next_index - 1 + count)
            self.progress.sent(last, 10)

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        match = data.draw(st.integers(0, self.last_index))
        assert self.progress.acknowledge(match) == (match > self.best)
        self.best = max(self.best, match)
        if self.progress.state is ProgressState.PROBE and match == self.best:
            self.progress.replicate()
            assert self.progress.next_index == self.best + 1

    @rule(data=st.data(), hint=st.integers(0, 50))
    def reject(self, data: st.DataObject, hint: int) -> None:
        before = (self.progress.state, self.progress.next_index)
        prev_index = data.draw(st.integers(0, self.last_index))
        if self.progress.reject(prev_index, hint):
            assert prev_index > self.best
            assert self.progress.state is ProgressState.PROBE
            assert self.progress.next_index <= prev_index
        else:
            assert (self.progress.state, self.progress.next_index) == before

    @rule()
    def unreachable(self) -> None:
        if self.progress.state is ProgressState.REPLICATE:
            self.progress.probe()
            assert self.progress.next_index == self.best + 1

    @rule(data=st.data(), ok=st.booleans())
    def snapshot(self, data: st.DataObject, ok: bool) -> None:
        if self.progress.state is ProgressState.SNAPSHOT:
            pending = self.progress.pending_snapshot
            self.progress.end_snapshot(ok)
            assert self.progress.paused
            assert self.progress.next_index == 1 + (max(pending, self.best) if ok else self.best)
        elif self.last_index:
            self.progress.await_snapshot(data.draw(st.integers(1, self.last_index)))

    @invariant()
    def match_only_grows_and_is_before_next(self) -> None:
        assert self.progress.match == self.best
        assert self.progress.next_index > self.progress.match
        assert len(self.progress.inflight) <= 3


AnyOrder.TestCase.settings = settings(deadline=None, max_examples=60)
TestAnyOrder = AnyOrder.TestCase


def test_a_probe_is_one_append_at_a_time() -> None:
    progress = Progress(5, Inflight(3, 100), heard=0)
    progress.sent(7, 10)
    assert progress.paused
    assert progress.next_index == 5
    assert progress.acknowledge(7)
    progress.replicate()
    assert (progress.match, progress.next_index, progress.paused) == (7, 8, False)


def test_a_late_rejection_of_another_probe_is_ignored() -> None:
    progress = Progress(9, Inflight(3, 100), heard=0)
    assert progress.reject(8, 5)
    assert progress.next_index == 6
    assert not progress.reject(8, 1)
    assert not progress.reject(6, 1)
    assert progress.reject(5, 1)
    assert progress.next_index == 2
