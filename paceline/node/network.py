"""A node's sockets and what it knows of other nodes: strangers, members, discovery."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from random import Random, SystemRandom

from paceline import __version__
from paceline.clock import Clock
from paceline.discovery.discovery import Discovery
from paceline.discovery.record import Contact
from paceline.errors import Unavailable
from paceline.node.admitting import Admitting
from paceline.node.calls import Calls
from paceline.node.credentials import Credentials
from paceline.node.data_dir import DataDir
from paceline.node.greeting import Greeting, Hello, HelloReply, greet
from paceline.node.keys import NodeKeys, load_or_create_keys
from paceline.node.members import Members
from paceline.node.ports import candidate_ports, remember_port
from paceline.node.token import TokenKeys
from paceline.node.transport import Transport
from paceline.node.twins import Identity, Life, TwinWatch
from paceline.settings import NodeSettings

GREET_TIMEOUT_S = 2.0


class Network:
    """Everything between this node and the others, short of what they say to each other."""

    def __init__(
        self,
        *,
        settings: NodeSettings,
        clock: Clock,
        on_twin: Callable[[Life], None] = lambda life: None,
    ) -> None:
        """Wire it: `on_twin(life)` hears of another process with this node's key."""
        self._on_twin = on_twin
        self._settings = settings
        self._clock = clock
        self.node_id = ""
        self.credentials = Credentials(given=settings.token)
        self.keys: NodeKeys
        self.identity: Identity
        self.admitting: Admitting
        self.greeting: Greeting
        self.transport: Transport
        self.calls: Calls
        self.discovery: Discovery
        self.members: Members

    async def open(
        self, data_dir: DataDir, stack: AsyncExitStack, *, token: str | None = None
    ) -> None:
        """Load the keys, listen, and get ready to look around; `stack` closes it all.

        `token` is one that the node has kept, in case that none was given.

        Raise Unavailable if the ports are taken, CorruptStorage for damaged keys.
        """
        self.keys = keys = load_or_create_keys(data_dir.path)
        self.node_id = keys.node_id
        self.identity = Identity(keys=keys, started_ms=self._clock.now_ms(), on_twin=self._on_twin)
        await self.credentials.begin(token)
        await self._open_sockets(keys, data_dir, stack)
        self.discovery = self._make_discovery(data_dir, keys.public)
        self.members = Members(
            node_id=self.node_id, transport=self.transport, discovery=self.discovery
        )
        self.admitting = Admitting(
            node_id=self.node_id,
            discovery=self.discovery,
            members=self.members,
            calls=self.calls,
            credentials=self.credentials,
            identity=self.identity,
            clock=self._clock,
        )
        self.credentials.on_change(self._announce_hint)

    def twin_watch(self, cluster_id: str) -> TwinWatch:
        """Answer the one that looks for another process with this node's key."""
        return TwinWatch(
            identity=self.identity,
            own=lambda: self.discovery.own,
            keys=lambda: self.credentials.keys,
            cluster_id=lambda: self.members.cluster_id or cluster_id,
            others=lambda: self.members.contacts()[1:],
            hearsay=lambda: self.discovery.twin,
            random=Random(SystemRandom().getrandbits(64)),
        )

    def _announce_hint(self, keys: TokenKeys) -> None:
        own = self.discovery.own
        if own.cluster_hint != keys.hint:
            self.discovery.announce(replace(own, cluster_hint=keys.hint))

    async def _open_sockets(self, keys: NodeKeys, data_dir: DataDir, stack: AsyncExitStack) -> None:
        """Listen for strangers and for members, at ports that can be had."""
        for port in candidate_ports(self._settings.port, data_dir):
            greeting = Greeting(
                bind_host=self._settings.bind, port=port, answer=self._answer, join=self._join
            )
            transport = Transport(
                keys=keys, bind_host=self._settings.bind, port=port, allowed=self._allowed
            )
            try:
                await greeting.open()
                await transport.open()
                break
            except Unavailable:
                greeting.close()
                if port in (0, self._settings.port):
                    raise
        self.greeting, self.transport = greeting, transport
        stack.callback(greeting.close)
        stack.callback(transport.close)
        self.calls = Calls(transport=transport)
        remember_port(greeting.port, data_dir)

    # The sockets are open before there are members to ask.

    def _allowed(self, public_key: bytes) -> bool:
        return self.members.allowed(public_key)

    def _answer(self, hello: Hello) -> HelloReply:
        return self.admitting.answer(hello)

    async def _join(self, body: bytes, address: str) -> bytes:
        return await self.admitting.handle(body, address)

    def _make_discovery(self, data_dir: DataDir, public_key: bytes) -> Discovery:
        settings = self._settings
        own = Contact(
            node_id=self.node_id,
            public_key=public_key,
            hosts=(),
            join_port=self.greeting.port,
            control_port=self.transport.control_port,
            bulk_port=self.transport.bulk_port,
            cluster_hint=self.credentials.keys.hint if self.credentials.keys else "",
            name=settings.name,
            version=__version__,
            founded=data_dir.read_json("cluster.json") is not None,
        )
        return Discovery(
            own=own,
            data_dir=data_dir.path,
            greet=self._greet,
            connected=self.transport.connected,
            clock=self._clock,
            random=Random(SystemRandom().getrandbits(64)),
            bind_host=settings.bind,
            mdns=settings.mdns,
        )

    async def _greet(self, address: str) -> list[Contact]:
        reply = await greet(address, Hello(self.discovery.own), GREET_TIMEOUT_S)
        return [reply.hello.contact]
