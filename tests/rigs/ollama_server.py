"""A small Ollama server for tests: real HTTP on loopback, scripted answers, no model.

    with ollama_server(chat=[say("Hello "), say("world"), done()]) as server:
        ...  # server.url, server.requests

`chat` is what `/api/chat` streams: each item is a dict (one line of JSON), bytes (sent raw), or an
Event (waited for, so that a stream can hang until the client has gone or the test says go).
"""

import json
import select
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VERSION = "0.20.0"
INPUT_TOKENS = 1200
OUTPUT_TOKENS = 34

Chunk = Mapping[str, Any] | bytes | threading.Event


def say(text: str, **message: str) -> dict[str, Any]:
    """A piece of the answer."""
    return {"message": {"role": "assistant", "content": text, **message}, "done": False}


def done(reason: str = "stop") -> dict[str, Any]:
    """The last line."""
    return {
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": reason,
        "prompt_eval_count": INPUT_TOKENS,
        "eval_count": OUTPUT_TOKENS,
        "eval_duration": 2_000_000,
    }


@dataclass
class Script:
    """What the server answers. `status` other than 200 is answered with `error` to a chat."""

    chat: Sequence[Chunk] = (say("Hello "), say("world"), done())
    models: Sequence[str] = ("small:latest", "large:8b")
    status: int = 200
    error: str = "broken on purpose"
    headers: Mapping[str, str] = field(default_factory=dict)
    version: Any = field(default_factory=lambda: {"version": VERSION})


class Server(ThreadingHTTPServer):
    """Remembers the chats that were asked for, and whose client went away in the middle."""

    daemon_threads = True

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.requests: list[dict[str, Any]] = []
        self.gone = threading.Event()
        """A client closed its connection while a chat was streamed."""
        self.streaming = threading.Event()
        """A chat has begun to wait in the middle of its stream."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def ollama_server(**script: Any) -> Iterator[Server]:
    """Serve until the block is left; arguments are the fields of `Script`."""
    server = Server(Script(**script))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""

    def do_GET(self) -> None:
        script = self.server.script
        match self.path:
            case "/api/version":
                self._answer(200, script.version)
            case "/api/tags":
                self._answer(200, {"models": [{"name": name} for name in script.models]})
            case _:
                self._answer(404, {"error": "not found"})

    def do_POST(self) -> None:
        script = self.server.script
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        if script.status != 200:
            self._answer(script.status, {"error": script.error}, script.headers)
        elif body["model"] not in (*script.models, "wanted:cloud"):
            self._answer(404, {"error": f"model '{body['model']}' not found"})
        else:
            self._stream(script.chat)

    def _answer(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, chunks: Sequence[Chunk]) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for chunk in chunks:
                if isinstance(chunk, threading.Event):
                    self._wait(chunk)
                else:
                    self._send(chunk)
            self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            self.server.gone.set()

    def _send(self, chunk: Mapping[str, Any] | bytes) -> None:
        data = chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _wait(self, go: threading.Event) -> None:
        """Wait until the test says go, or the client has gone."""
        self.server.streaming.set()
        while not go.wait(0.01):
            if select.select([self.connection], [], [], 0)[0] and not self.connection.recv(1):
                raise ConnectionResetError("the client has gone")
