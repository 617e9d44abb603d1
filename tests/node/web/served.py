"""The fake service behind the real server on a real loopback port, in a thread of its own."""

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from paceline.node.web.server import WebServer
from tests.node.web.fake_service import FakeService

T = TypeVar("T")


class Served:
    """A running server; `run` does something on its loop, `call` speaks HTTP to it."""

    def __init__(self, directory: Path) -> None:
        self.token_path = directory / "api.token"
        self.loop = asyncio.new_event_loop()
        self.service: FakeService
        self.web: WebServer
        self._thread = threading.Thread(target=self._main, name="served")

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def start(self) -> None:
        self._thread.start()
        self.run(self._start)

    async def _start(self) -> None:
        self.service = FakeService()
        self.web = WebServer(
            service=self.service, host="127.0.0.1", port=0, token_path=self.token_path
        )
        await self.web.start()

    def stop(self) -> None:
        self.run(self.web.stop)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    def run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(make(), self.loop).result(15)

    @property
    def token(self) -> str:
        return self.token_path.read_text().strip()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.web.port, timeout=10)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        bearer: bool = True,
        **headers: str,
    ) -> "Answer":
        data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        if data is not None:
            said.setdefault("Content-Type", "application/json")
        if bearer:
            said.setdefault("Authorization", f"Bearer {self.token}")
        connection = self.connect()
        try:
            connection.request(method, path, data, said)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@contextmanager
def serving(directory: Path) -> Iterator[Served]:
    served = Served(directory)
    served.start()
    try:
        yield served
    finally:
        served.stop()
