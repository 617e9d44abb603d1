"""Everything that an outsider could try, against real nodes: nothing gets in, nothing breaks."""

import asyncio
import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import zmq

from paceline import codec
from paceline.discovery.record import Contact
from paceline.errors import PacelineError, TimedOut
from paceline.node.admission import (
    MESSAGES,
    Opening,
    Proof,
    Standing,
    Visit,
    decode_message,
)
from paceline.node.founding import ask
from paceline.node.greeting import Greeting, Hello, HelloReply, greet, join
from paceline.node.inbound import CONNECTIONS_LIMIT
from paceline.node.keys import NodeKeys, load_keys, new_keys
from paceline.node.sockets import secure_client
from paceline.node.token import derive
from paceline.node.wire import Kind, encode_frame
from tests.e2e.cluster import TOKEN, Cluster, Node, cluster, completed, wait_for
from tests.node.test_transport_security import IN, OUT, attacker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

T = TypeVar("T")
LOCAL = ["--bind", "127.0.0.1", "--no-mdns", "--slots", "1"]
PLAN = "description: d\nsubtasks: [{name: a, tool: command, run: 'true'}]"
CROWD = 2000
"""TCP connections that say nothing."""
BOUNDED = 2 * CONNECTIONS_LIMIT + 400
"""What the three doors may hold, and what the node has open itself."""


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes of one cluster, which every test here leaves as they were."""
    nodes = Cluster(tmp_path_factory.mktemp("victims"), 2)
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.close()


@pytest.fixture(autouse=True)
def _unharmed(victims: Cluster) -> Iterator[None]:
    yield
    wait_for("the cluster to be as it was", victims.settled, 60)
    completed(victims.nodes[1], victims.nodes[0].submit(PLAN))


def run(work: Any) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(60):
            return await work

    return asyncio.run(bounded())


def contact_of(node: Node) -> Contact:
    """Answer what the node tells anybody."""
    me = stranger()
    return run(greet(node.address, Hello(me), 20)).hello.contact  # type: ignore[no-any-return]


def stranger(keys: NodeKeys | None = None, **changes: Any) -> Contact:
    keys = keys or new_keys()
    plain = Contact(keys.node_id, keys.public, ("127.0.0.1",), 9, 10, 11, name="stranger")
    return replace(plain, cluster_hint=derive(TOKEN).hint, **changes)


def ids(cluster: Cluster) -> set[str]:
    return {member["node_id"] for member in cluster.nodes[0].status()["members"]}


def newcomer(directory: Path, victims: Cluster, *, at: str = "", token: str = TOKEN) -> Node:
    options = [*LOCAL, "--join", at or victims.nodes[0].address]
    return Node("newcomer", directory / "newcomer", options, environment={"PACELINE_TOKEN": token})


# --- by the front door ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "reason"),
    [("", "takes its token"), ("pl1-abcd-efgh", "mistyped or cut"), ("short", "16 to 512")],
)
def test_without_a_proper_token_a_node_does_not_even_start(
    victims: Cluster, tmp_path: Path, token: str, reason: str
) -> None:
    node = newcomer(tmp_path, victims, token=token)
    node.spawn()
    assert node.process is not None
    assert node.process.wait(30) == 2
    assert reason in node.log()


def test_with_a_wrong_token_it_stays_outside(victims: Cluster, tmp_path: Path) -> None:
    node = newcomer(tmp_path, victims, token="a-token-that-is-another-one")
    node.spawn()
    try:
        wait_for("a word about it", lambda: "another token" in node.log(), 30)
        assert len(ids(victims)) == 2
        assert not (node.directory / "cluster.json").exists()
        assert node.process is not None
        assert node.process.poll() is None, "it goes on trying: the token here may be rotated"
    finally:
        node.kill()


def test_a_stranger_is_told_where_the_node_is_and_nothing_else(victims: Cluster) -> None:
    reply = run(greet(victims.nodes[0].address, Hello(stranger()), 20))
    assert reply.members == ()
    assert reply.hello.cluster_id == ""
    assert reply.hello.claims == {}
    told = repr(reply)
    for secret in (victims.nodes[1].node_id, TOKEN, str(victims.nodes[0].status()["cluster_id"])):
        assert secret not in told


# --- in between -----------------------------------------------------------------------------------


class Relay:
    """Stands between newcomers and a member, and keeps what passes."""

    def __init__(self, victim: str, change: Callable[[bytes], bytes] = lambda body: body) -> None:
        self._victim = victim
        self._change = change
        self.passed: list[bytes] = []
        self.greeting = Greeting(bind_host="127.0.0.1", answer=self._answer, join=self._join)

    def _answer(self, hello: Hello) -> HelloReply:
        mine = stranger(join_port=self.greeting.port, founded=True)
        return HelloReply(Hello(mine))

    async def _join(self, body: bytes, address: str) -> bytes:
        self.passed.append(body)
        return await join(self._victim, self._change(body), 20)

    async def serve(self, until: Callable[[], bool]) -> None:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(self.greeting.run())
            while not until():
                await asyncio.sleep(0.05)
            serving.cancel()
        self.greeting.close()


def messages(passed: list[bytes]) -> list[type]:
    return [type(decode_message(body)) for body in passed]


def test_who_relays_with_a_key_of_her_own_gets_no_proof(victims: Cluster, tmp_path: Path) -> None:
    mallory = stranger()

    def with_her_key(body: bytes) -> bytes:
        opening = decode_message(body)
        assert isinstance(opening, Opening)
        standing = codec.decode(Standing, opening.body)
        return MESSAGES.encode(Opening(codec.encode(replace(standing, contact=mallory))))

    relay = Relay(victims.nodes[0].address, with_her_key)

    async def test() -> None:
        await relay.greeting.open()
        node = newcomer(tmp_path, victims, at=f"127.0.0.1:{relay.greeting.port}")
        node.spawn()
        try:
            await relay.serve(lambda: len(relay.passed) >= 3)
        finally:
            node.kill()
        assert "does not know this cluster's token" in node.log()

    run(test())
    assert set(messages(relay.passed)) == {Opening}
    assert len(ids(victims)) == 2


def test_a_recorded_admission_opens_nothing_again(victims: Cluster, tmp_path: Path) -> None:
    """Relayed as it is, an admission does only what its two ends want; played again, nothing."""
    relay = Relay(victims.nodes[0].address)
    node = None

    async def record() -> Node:
        await relay.greeting.open()
        joining = newcomer(tmp_path, victims, at=f"127.0.0.1:{relay.greeting.port}")
        joining.spawn()
        await relay.serve((joining.directory / "node.json").exists)
        return joining

    try:
        node = run(record())
        assert Proof in messages(relay.passed)
        wait_for("it to be a member", lambda: node.node_id in ids(victims), 30)
        proof = next(body for body in relay.passed if isinstance(decode_message(body), Proof))
        for member in victims.nodes:
            with pytest.raises(TimedOut):
                run(join(member.address, proof, 1.0))
        assert len(ids(victims)) == 3
        assert paceline(node, "node", "leave").returncode == 0
        wait_for("it to have left", lambda: len(ids(victims)) == 2, 60)
        with pytest.raises(TimedOut):
            run(join(victims.nodes[0].address, proof, 1.0))
        assert len(ids(victims)) == 2
    finally:
        if node is not None:
            node.kill()


# --- at the members' doors ------------------------------------------------------------------------


def doors(node: Node) -> list[int]:
    contact = contact_of(node)
    return [contact.control_port, contact.bulk_port]


def foreign(socket: zmq.Socket[bytes], victim: Contact, member: Contact) -> None:
    secure_client(socket, new_keys(), victim.public_key)


def stolen(socket: zmq.Socket[bytes], victim: Contact, member: Contact) -> None:
    secret = new_keys().secret
    secure_client(socket, NodeKeys(public=member.public_key, secret=secret), victim.public_key)


def plain(socket: zmq.Socket[bytes], victim: Contact, member: Contact) -> None:
    socket.setsockopt_string(zmq.PLAIN_USERNAME, member.node_id)
    socket.setsockopt_string(zmq.PLAIN_PASSWORD, TOKEN)


def null(socket: zmq.Socket[bytes], victim: Contact, member: Contact) -> None:
    socket.setsockopt(zmq.ROUTING_ID, member.node_id.encode())


@pytest.mark.parametrize("disguise", [foreign, stolen, plain, null])
@pytest.mark.parametrize("lane", [0, 1])
def test_no_disguise_gets_through_the_handshake(
    victims: Cluster, disguise: Callable[..., None], lane: int
) -> None:
    victim, member = (contact_of(node) for node in victims.nodes)
    port = (victim.control_port, victim.bulk_port)[lane]

    async def test() -> None:
        async with attacker() as mallory:
            disguise(mallory.socket, victim, member)
            mallory.socket.connect(f"tcp://127.0.0.1:{port}")
            assert await mallory.event(IN, *OUT) != IN
            mallory.try_to_send(encode_frame([Kind.RAFT, b"I am your leader"]))

    run(test())


def test_garbage_and_giants_at_every_door_do_no_harm(victims: Cluster) -> None:
    node = victims.nodes[0]
    ports = [int(node.address.rpartition(":")[2]), *doors(node)]
    greeting = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00" + b"NULL".ljust(20, b"\0")
    giant = greeting + bytes(32) + b"\x04\x19\x05READY" + b"\x02" + b"\xff" * 8 + bytes(65536)
    for port in ports:
        for data in (b"", os.urandom(70_000), b"GET / HTTP/1.1\r\n\r\n", greeting, giant):
            there = ("127.0.0.1", port)
            with contextlib.suppress(OSError), socket.create_connection(there, 10) as connection:
                connection.sendall(data)
    assert node.client.get("status")["quorum"]


def descriptors(node: Node) -> int:
    assert node.process is not None
    return len(os.listdir(f"/proc/{node.process.pid}/fd"))


def test_thousands_of_connections_shut_nobody_out(victims: Cluster, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, CROWD + 512), hard))
    node = victims.nodes[0]
    ports = [int(node.address.rpartition(":")[2]), *doors(node)]
    crowd: list[socket.socket] = []
    joining = newcomer(tmp_path, victims)
    try:
        for number in range(CROWD):
            one = socket.socket()
            crowd.append(one)
            one.bind((f"127.88.{number % 50}.1", 0))
            one.settimeout(10)
            one.connect(("127.0.0.1", ports[number % 3]))
        wait_for("the node to have shut most of them", lambda: descriptors(node) < BOUNDED, 30)
        assert node.client.get("status")["quorum"]
        joining.start()
        wait_for("it to be a member", lambda: joining.node_id in ids(victims), 60)
    finally:
        for one in crowd:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with contextlib.suppress(PacelineError, FileNotFoundError):
            paceline(joining, "node", "leave")
            wait_for("it to have left", lambda: len(ids(victims)) == 2, 60)
        joining.kill()


# --- lies about others ----------------------------------------------------------------------------


def test_a_lie_about_where_a_member_is_does_not_cut_it_off(victims: Cluster) -> None:
    """An impostor's record, as by multicast or hello: the member's id and key, another address."""
    liar = victims.nodes[1]
    truth = contact_of(liar)
    lie = replace(truth, join_port=1, control_port=2, bulk_port=3, stamp_ms=truth.stamp_ms + 60_000)
    for _ in range(5):
        run(greet(victims.nodes[0].address, Hello(lie), 20))
    assert victims.settled()
    assert liar.stop() == 0
    liar.start()
    wait_for("both to be together again", victims.settled, 60)


def test_a_contact_whose_id_is_not_its_keys_is_not_even_heard(victims: Cluster) -> None:
    truth = contact_of(victims.nodes[1])
    with pytest.raises(PacelineError):
        run(greet(victims.nodes[0].address, Hello(replace(truth, public_key=bytes(32))), 1.0))


# --- who was in once ------------------------------------------------------------------------------


def paceline(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "paceline", *arguments, "--data-dir"]
    return subprocess.run(
        [*command, str(node.directory)], capture_output=True, text=True, check=False, timeout=60
    )


def test_a_revoked_node_is_out_at_once_and_for_good(tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as nodes:
        one, other = [node for node in nodes.nodes if node is not nodes.nodes[2]]
        out, gone = nodes.nodes[2], nodes.nodes[2].node_id
        revoked = paceline(one, "revoke", gone, "--yes")
        assert revoked.returncode == 0, revoked.stderr
        wait_for("it to be no member", lambda: gone not in ids(nodes), 30)
        token = json.loads(paceline(other, "token", "show", "--json").stdout)
        assert token["version"] == 2
        late = newcomer(tmp_path, nodes)
        late.spawn()  # with the old token
        wait_for("a word about it", lambda: "another token" in late.log(), 30)
        late.kill()
        assert len(ids(nodes)) == 2
        out.kill()
        keys = load_keys(out.directory / "node.key")
        for member in (one, other):
            assert "was revoked" in refusal(member, stranger(keys), token["token"])
        assert len(ids(nodes)) == 2
        completed(one, other.submit(PLAN))


def refusal(member: Node, contact: Contact, token: str) -> str:
    """Answer what somebody with that token and key is told who asks to join."""

    async def test() -> str:
        keys = derive(token)
        visit = Visit(replace(contact, cluster_hint=keys.hint), keys)
        met = visit.meet(await ask(member.address, visit.opening, 20))
        return visit.judge(met, await ask(member.address, met.proof, 20)).reason

    return str(run(test()))
