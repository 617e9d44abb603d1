"""Snapshots on their way: loss, repetition, resumption, damage, bounds."""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from paceline.consensus.messages import Membership, SnapshotMeta
from paceline.consensus.spool import FileSpool, Incoming, MemorySource, MemorySpool, Spool
from paceline.consensus.transfer import (
    SNAPSHOT_MESSAGES,
    ReceivedSnapshot,
    SnapshotChunk,
    SnapshotCredit,
    SnapshotMessage,
    SnapshotOffer,
    SnapshotReceiver,
    SnapshotResult,
    SnapshotSender,
    TransferLimits,
)
from paceline.errors import CorruptStorage, ProtocolError
from tests.consensus.replica_cluster import Cluster
from tests.consensus.test_replica import SMALL_LOG, _leave_behind

LIMITS = TransferLimits(chunk_bytes=100, window_bytes=400, resend_ticks=3, patience_ticks=30)
META = SnapshotMeta(7, 2, Membership(voters=("a", "b")))
LANES: list["Lane"] = []


@pytest.fixture(autouse=True)
def _close_lanes() -> Iterator[None]:
    yield
    while LANES:
        LANES.pop().close()


class Lane:
    """A sender "a" and a receiver "b" with a bulk lane between them that a test may disturb."""

    def __init__(self, data: bytes, spool: Spool | None = None, term: int = 2) -> None:
        self.source = MemorySource(data)
        self.received: ReceivedSnapshot | None = None
        self.crossed: list[SnapshotMessage] = []
        self.disturb: Callable[[SnapshotMessage], list[SnapshotMessage]] = lambda m: [m]
        self._waiting: list[tuple[str, SnapshotMessage]] = []
        LANES.append(self)
        offer = SnapshotOffer(term, META, self.source.size, self.source.sha256)
        self.sender = SnapshotSender(
            to="b", offer=offer, source=self.source, send=self._send, limits=LIMITS
        )
        self.receiver = SnapshotReceiver(
            spool=spool or MemorySpool(), send=self._send, limits=LIMITS
        )

    def _send(self, to: str, message: SnapshotMessage) -> None:
        message = SNAPSHOT_MESSAGES.decode(SNAPSHOT_MESSAGES.encode(message))
        self.crossed.append(message)
        self._waiting += [(to, copy) for copy in self.disturb(message)]

    def settle(self) -> None:
        while self._waiting:
            to, message = self._waiting.pop(0)
            if to == "a":
                self.sender.receive(message)
            else:
                self._to_receiver(message)

    def close(self) -> None:
        self.receiver.close()
        if self.received is not None:
            self.received.source.close()

    def _to_receiver(self, message: SnapshotMessage) -> None:
        received = None
        if self.received is not None:  # installed by now: a state that is not newer is not wanted
            self._send("a", SnapshotResult(self.sender.offer.sha256))
        elif isinstance(message, SnapshotOffer):
            received = self.receiver.offered("a", message)
        elif isinstance(message, SnapshotChunk):
            received = self.receiver.chunk("a", message)
        if received is not None:
            self.received = received
            self._send("a", SnapshotResult(message.sha256))

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.settle()
            if self.sender.outcome is None:
                self.sender.tick()
            self.receiver.tick()
        self.settle()

    def start(self) -> None:
        self.sender.start()
        self.settle()

    def content(self) -> bytes:
        assert self.received is not None
        return self.received.source.read(0, self.received.source.size)


@pytest.fixture(params=["memory", "file"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Spool:
    return MemorySpool() if request.param == "memory" else FileSpool(tmp_path)


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 400, 5000])
def test_every_size_arrives(size: int, spool: Spool) -> None:
    data = Random(size).randbytes(size)
    lane = Lane(data, spool)
    lane.start()
    assert lane.content() == data
    assert lane.sender.outcome is True


def test_no_more_than_a_window_is_under_way() -> None:
    lane = Lane(bytes(5000))
    lane.sender.start()
    lane._to_receiver(lane.sender.offer)
    credit = lane.crossed[-1]
    assert credit == SnapshotCredit(lane.source.sha256, 0, 400)
    lane.sender.receive(SnapshotCredit(lane.source.sha256, 0, 10**9))
    assert sum(isinstance(m, SnapshotChunk) for m in lane.crossed) == 4


@pytest.mark.parametrize("seed", range(20))
def test_lost_doubled_and_reordered_messages_do_no_harm(seed: int, spool: Spool) -> None:
    random = Random(seed)
    data = random.randbytes(3000)
    lane = Lane(data, spool)
    held: list[SnapshotMessage] = []

    def disturb(message: SnapshotMessage) -> list[SnapshotMessage]:
        copies = [message] * random.choice([0, 1, 1, 1, 2])
        if random.random() < 0.2:
            held.extend(copies)
            return []
        late = []
        if random.random() < 0.3:
            late, held[:] = held.copy(), []
        return copies + late

    lane.disturb = disturb
    lane.start()
    lane.run(300)
    if lane.received is None:  # patience ran out: a later offer goes on where this one ended
        lane.receiver.close()
        lane = Lane(data, spool)
        lane.start()
    assert lane.content() == data


def test_a_transfer_goes_on_where_an_earlier_one_ended(spool: Spool) -> None:
    data = Random(1).randbytes(5000)
    first = Lane(data, spool)
    allowed = [30]

    def cut(message: SnapshotMessage) -> list[SnapshotMessage]:
        allowed[0] -= 1
        return [message] if allowed[0] > 0 else []

    first.disturb = cut
    first.start()
    first.run(40)
    assert first.sender.outcome is False
    second = Lane(data, spool)
    second.start()
    assert second.content() == data
    sent = sum(len(m.data) for m in second.crossed if isinstance(m, SnapshotChunk))
    assert sent < 4500


def test_a_file_survives_a_restart_of_the_receiver(tmp_path: Path) -> None:
    data = Random(2).randbytes(1000)
    sha256 = hashlib.sha256(data).digest()
    before = FileSpool(tmp_path).open(1000, sha256)
    before.append(data[:700])
    before.suspend()
    after = FileSpool(tmp_path).open(1000, sha256)
    assert after.have == 700
    after.append(data[700:])
    source = after.finish()
    assert source.read(650, 100) == data[650:750]
    source.close()
    assert list(tmp_path.iterdir()) == []


def test_another_snapshot_drives_out_the_rest_of_an_old_one(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path)
    old = spool.open(10, b"1" * 32)
    old.append(b"abc")
    old.suspend()
    spool.open(10, b"2" * 32).suspend()
    assert [path.name for path in tmp_path.iterdir()] == [f"incoming-{(b'2' * 32).hex()}.part"]


def test_damage_is_noticed_and_the_whole_is_sent_again(spool: Spool) -> None:
    data = Random(3).randbytes(1000)
    lane = Lane(data, spool)

    def damage(message: SnapshotMessage) -> list[SnapshotMessage]:
        if isinstance(message, SnapshotChunk) and message.offset == 300:
            return [SnapshotChunk(message.sha256, 300, bytes(len(message.data)))]
        return [message]

    lane.disturb = damage
    lane.start()
    assert lane.received is None
    assert lane.sender.outcome is False
    assert "SHA-256" in lane.sender.refusal
    again = Lane(data, spool)
    again.start()
    assert again.content() == data


def test_damage_on_the_disk_between_two_attempts_is_noticed(tmp_path: Path) -> None:
    data = Random(4).randbytes(1000)
    sha256 = hashlib.sha256(data).digest()
    before = FileSpool(tmp_path).open(1000, sha256)
    before.append(data[:700])
    before.suspend()
    part = next(tmp_path.iterdir())
    part.write_bytes(bytes(10) + part.read_bytes()[10:])
    after = FileSpool(tmp_path).open(1000, sha256)
    after.append(data[700:])
    with pytest.raises(CorruptStorage):
        after.finish()
    afresh = FileSpool(tmp_path).open(1000, sha256)
    assert afresh.have == 0
    afresh.suspend()


def test_a_receiver_that_lost_its_bytes_is_served_from_the_start() -> None:
    data = Random(5).randbytes(3000)
    lane = Lane(data)
    lane.disturb = lambda m: [] if isinstance(m, SnapshotChunk) and m.offset >= 1500 else [m]
    lane.start()
    lane.receiver = SnapshotReceiver(spool=MemorySpool(), send=lane._send, limits=LIMITS)
    lane.disturb = lambda message: [message]
    lane.run(10)
    assert lane.content() == data


def test_a_sender_gives_up_in_the_end() -> None:
    lane = Lane(bytes(1000))
    lane.disturb = lambda message: []
    lane.start()
    lane.run(31)
    assert lane.sender.outcome is False
    assert sum(isinstance(m, SnapshotOffer) for m in lane.crossed) <= 11


def test_a_receiver_forgets_a_sender_that_went_silent() -> None:
    lane = Lane(bytes(1000))
    lane.disturb = lambda m: [] if isinstance(m, SnapshotChunk) else [m]
    lane.start()
    assert lane.receiver.busy
    for _ in range(30):
        lane.receiver.tick()
    assert not lane.receiver.busy


def _offer(data: bytes, term: int = 2, size: int | None = None) -> SnapshotOffer:
    return SnapshotOffer(
        term, META, len(data) if size is None else size, hashlib.sha256(data).digest()
    )


class Receiving:
    def __init__(self, spool: Spool | None = None) -> None:
        self.sent: list[tuple[str, SnapshotMessage]] = []
        self.receiver = SnapshotReceiver(
            spool=spool or MemorySpool(),
            send=lambda to, message: self.sent.append((to, message)),
            limits=LIMITS,
        )

    def refusal(self) -> str:
        message = self.sent[-1][1]
        return message.refusal if isinstance(message, SnapshotResult) else ""


def test_a_second_offer_of_the_same_term_is_refused_but_a_newer_leaders_is_taken() -> None:
    receiving = Receiving()
    receiving.receiver.offered("a", _offer(b"one"))
    receiving.receiver.offered("c", _offer(b"two"))
    assert "another snapshot" in receiving.refusal()
    receiving.receiver.offered("c", _offer(b"two", term=3))
    assert isinstance(receiving.sent[-1][1], SnapshotCredit)
    late = SnapshotChunk(hashlib.sha256(b"one").digest(), 0, b"one")
    assert receiving.receiver.chunk("a", late) is None


@pytest.mark.parametrize("size", [-1, LIMITS.snapshot_bytes + 1])
def test_an_absurd_size_is_refused(size: int) -> None:
    receiving = Receiving()
    receiving.receiver.offered("a", _offer(b"x", size=size))
    assert "too large" in receiving.refusal()


def test_more_bytes_than_announced_are_not_kept() -> None:
    receiving = Receiving()
    offer = _offer(b"abc")
    receiving.receiver.offered("a", offer)
    assert receiving.receiver.chunk("a", SnapshotChunk(offer.sha256, 0, b"abcd")) is None
    assert receiving.sent[-1][1] == SnapshotCredit(offer.sha256, 0, 3)


def test_a_disk_without_room_refuses() -> None:
    class NoRoom:
        have = 0

        def append(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

        def finish(self) -> MemorySource:
            raise AssertionError("nothing is there")

        def suspend(self) -> None:
            pass

    class FullSpool:
        def open(self, size: int, sha256: bytes) -> Incoming:
            return NoRoom()

    receiving = Receiving(FullSpool())
    offer = _offer(b"abc")
    receiving.receiver.offered("a", offer)
    receiving.receiver.chunk("a", SnapshotChunk(offer.sha256, 0, b"abc"))
    assert "No space left" in receiving.refusal()
    assert not receiving.receiver.busy


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from paceline.consensus.spool import FileSpool

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
incoming = FileSpool(Path(sys.argv[1])).open(300_000, b"1" * 32)
incoming.append(bytes(100_000))
try:
    incoming.append(bytes(100_000))
except OSError:
    incoming.suspend()
    print(incoming.have)
"""


def test_a_file_that_ran_out_of_room_holds_no_half_chunk(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.strip() == "100000"
    again = FileSpool(tmp_path).open(300_000, b"1" * 32)
    assert again.have == 100_000
    again.suspend()


@pytest.mark.parametrize("data", [b"", b"\x90", b"\x91\x63", b"\x93\x02\x01\x01", b"\xc1"])
def test_malformed_bytes_are_a_protocol_error(data: bytes) -> None:
    cluster = Cluster(size=1)
    with pytest.raises(ProtocolError):
        cluster.nodes["a"].replica.receive_bulk("x", data)


# --- in the replica -------------------------------------------------------------------------------


def test_a_lossy_bulk_lane_only_delays_a_snapshot() -> None:
    cluster = Cluster(limits=SMALL_LOG)
    _, follower = _leave_behind(cluster)
    random = Random(6)
    cluster.lossy = lambda sender, to, bulk: bulk and random.random() < 0.5
    follower.start()
    cluster.agree()
    assert follower.machine.snapshot_meta is not None


def test_a_leader_that_dies_while_sending_is_replaced_as_a_sender() -> None:
    cluster = Cluster(limits=SMALL_LOG)
    leader, follower = _leave_behind(cluster)
    cluster.lossy = lambda sender, to, bulk: bulk
    follower.start()
    cluster.until(lambda: leader.machine.saved > 0)
    leader.crash()
    cluster.heal()
    cluster.elect()
    cluster.agree()
    assert follower.machine.snapshot_meta is not None


def test_several_followers_share_one_saved_state() -> None:
    cluster = Cluster(size=5, limits=SMALL_LOG)
    leader = cluster.elect()
    behind = [n for n in cluster.nodes.values() if n is not leader][:2]
    for node in behind:
        node.crash()
    for _ in range(60):
        assert cluster.commit(leader, b"x").error is None
    leader.machine.saved = 0
    cluster.lossy = lambda sender, to, bulk: bulk
    for node in behind:
        node.start()
    cluster.run(20)
    cluster.heal()
    cluster.agree()
    assert leader.machine.saved == 1


def test_an_offer_of_a_state_that_is_there_already_is_answered_as_done() -> None:
    cluster = Cluster(limits=SMALL_LOG)
    leader, follower = _leave_behind(cluster)
    follower.start()
    cluster.agree()
    sent: list[tuple[str, str, bytes, bool]] = []
    meta = SnapshotMeta(3, 1, Membership())
    offer = SnapshotOffer(follower.core.term, meta, 3, hashlib.sha256(b"abc").digest())
    follower.replica.receive_bulk(leader.name, SNAPSHOT_MESSAGES.encode(offer))
    sent.extend(cluster.network)
    assert SNAPSHOT_MESSAGES.decode(sent[-1][2]) == SnapshotResult(offer.sha256)


def test_an_offer_of_an_earlier_term_is_refused() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    meta = SnapshotMeta(1000, 1, Membership())
    offer = SnapshotOffer(leader.core.term - 1, meta, 3, hashlib.sha256(b"abc").digest())
    follower = next(n for n in cluster.nodes.values() if n is not leader)
    follower.replica.receive_bulk("x", SNAPSHOT_MESSAGES.encode(offer))
    answer = SNAPSHOT_MESSAGES.decode(cluster.network[-1][2])
    assert isinstance(answer, SnapshotResult)
    assert "term" in answer.refusal
