"""A WebSocket client on a plain socket, for tests; the frames are wsproto's."""

import json
import socket
from collections import deque
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)


class Refused(Exception):
    """The server did not accept; `status` is why."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Closed(Exception):
    """The connection has ended."""


class WebSocket:
    """One connection; `receive` answers JSON documents."""

    def __init__(
        self, port: int, path: str, headers: dict[str, str], timeout_s: float = 20.0
    ) -> None:
        """Connect. Raise Refused, Closed."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self._events: deque[Event] = deque()
        self._frames = WSConnection(ConnectionType.CLIENT)
        extra = [(name.encode(), value.encode()) for name, value in headers.items()]
        request = Request(host=f"127.0.0.1:{port}", target=path, extra_headers=extra)
        self._socket.sendall(self._frames.send(request))
        answer = self._next()
        if isinstance(answer, RejectConnection):
            self.close()
            raise Refused(answer.status_code)
        assert isinstance(answer, AcceptConnection)

    def send(self, document: object) -> None:
        self.send_text(json.dumps(document))

    def send_text(self, text: str) -> None:
        try:
            self._socket.sendall(self._frames.send(TextMessage(text)))
        except OSError as error:
            raise Closed from error

    def receive(self) -> Any:
        """Answer the next document. Raise Closed at the end, TimeoutError."""
        text = ""
        while True:
            event = self._next()
            if isinstance(event, TextMessage):
                text += event.data
                if event.message_finished:
                    return json.loads(text)
            elif isinstance(event, CloseConnection):
                self.close()
                raise Closed(f"{event.code} {event.reason}")
            elif isinstance(event, Ping):
                self._socket.sendall(self._frames.send(event.response()))
            else:
                assert not isinstance(event, BytesMessage)

    def close(self) -> None:
        """Hang up without a word, as a process does that ends."""
        self._socket.close()

    def _next(self) -> Event:
        while not self._events:
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                raise
            except OSError as error:
                self.close()
                raise Closed from error
            if not data:
                self.close()
                raise Closed
            self._frames.receive_data(data)
            self._events.extend(self._frames.events())
        return self._events.popleft()
