"""A scripted stand-in for the model services that agents talk to. Loopback only; no model runs.

One port speaks Anthropic Messages, Gemini, OpenAI Chat Completions and Responses, and Ollama. The
scenario (`scenarios`) is chosen by a prefix of the address, so that tests may share one server:

    with standin() as server:
        address = f"{server.url}/s/quota"      # every request is answered 429
        server.requests                         # what was asked, without credentials

Numbers of tokens are constants. Shapes are those of the public documentations, and real clients
take them.
"""

import contextlib
import gzip
import json
import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.rigs.standin import anthropic, chat, gemini, responses
from tests.rigs.standin.scenarios import SCENARIOS
from tests.rigs.standin.talk import TOKENS_IN, Conversation, Json, Turn

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
FRAMES_BEFORE_HANGING = 2
RETRY_AFTER_S = 7
"""What a 429 asks for."""

_SCENARIO = re.compile(r"/s/([a-z0-9]+)(/.*|$)")
_GEMINI = re.compile(r"/models/([^/:]+):(\w+)$")


@dataclass(frozen=True)
class Request:
    """One that was made. No header is kept: they hold keys."""

    scenario: str
    method: str
    path: str
    body: Json


class Server(ThreadingHTTPServer):
    """Remembers the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Request] = []
        self.hanging = threading.Event()
        """An answer has stopped in the middle."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def standin() -> Iterator[Server]:
    """Serve until the block is left."""
    server = Server()
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

    def do_HEAD(self) -> None:
        self._json({})

    def do_GET(self) -> None:
        self._route({})

    def do_POST(self) -> None:
        data = self._body()
        if self.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        try:
            body = json.loads(data or b"{}")
        except ValueError:
            body = {}
        self._route(body if isinstance(body, dict) else {})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _route(self, body: Json) -> None:
        path, scenario = urlsplit(self.path).path, "write"
        if prefix := _SCENARIO.match(path):
            scenario, path = prefix[1], prefix[2] or "/"
        self.server.requests.append(Request(scenario, self.command, path, body))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if scenario not in SCENARIOS:
                self._json({"error": f"there is no scenario {scenario}"}, 404)
            elif self.command != "POST" or not self._answer(path, body, scenario):
                self._rest(path)

    def _answer(self, path: str, body: Json, scenario: str) -> bool:
        """Answer for a model, if that is what is asked for."""
        if path.endswith("/messages"):
            self._play(anthropic.read(body), scenario, anthropic, SSE)
        elif (found := _GEMINI.search(path)) and found[2] != "countTokens":
            stream = found[2] == "streamGenerateContent"
            self._play(gemini.read(body, model=found[1], stream=stream), scenario, gemini, SSE)
        elif path.endswith("/chat/completions"):
            self._play(chat.read(body), scenario, chat, SSE)
        elif path.endswith("/responses"):
            self._play(responses.read(body), scenario, responses, SSE)
        elif path == "/api/chat":
            self._ollama(chat.read(body, stream=True), scenario)
        else:
            return False
        return True

    def _play(self, conversation: Conversation, scenario: str, dialect: Any, kind: str) -> None:
        turn = SCENARIOS[scenario](conversation)
        if turn.status != 200:
            refusal = getattr(dialect, "refusal", chat.refusal)
            self._refuse(refusal(turn), turn)
        elif conversation.stream:
            self._stream(turn, kind, dialect.frames(conversation, turn))
        else:
            self._json(dialect.document(conversation, turn))

    def _ollama(self, conversation: Conversation, scenario: str) -> None:
        turn = SCENARIOS[scenario](conversation)
        if not conversation.model.startswith("standin"):
            turn = Turn(status=404, error=f"model '{conversation.model}' not found")
        if turn.status != 200:
            self._refuse({"error": turn.error}, turn)
        else:
            self._stream(turn, NDJSON, chat.ollama_frames(conversation, turn))

    def _rest(self, path: str) -> None:
        """Answer what clients ask besides."""
        model = {"id": "standin", "object": "model", "created": 0, "owned_by": "standin"}
        answers: dict[str, Json] = {
            "count_tokens": {"input_tokens": TOKENS_IN},
            ":countTokens": {"totalTokens": TOKENS_IN},
            "/models": {"object": "list", "data": [model], "models": []},
            "/api/version": {"version": chat.OLLAMA_VERSION},
            "/api/tags": {"models": [chat.OLLAMA_MODEL]},
            "/api/show": {"capabilities": ["completion", "tools"]},
        }
        for ending, answer in answers.items():
            if path.endswith(ending):
                self._json(answer)
                return
        self._json({"error": {"message": f"no {self.command} {path} here"}}, 404)

    # --- HTTP ---

    def _json(self, answer: Json, status: int = 200, headers: Json | None = None) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, answer: Json, turn: Turn) -> None:
        limited = {"retry-after": str(RETRY_AFTER_S), "x-should-retry": "false"}
        self._json(answer, turn.status, limited if turn.status == 429 else None)

    def _stream(self, turn: Turn, kind: str, frames: Iterable[str]) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, frame in enumerate(frames, start=1):
            data = frame.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
            if turn.pause_s:
                time.sleep(turn.pause_s)
            if turn.hang and number == FRAMES_BEFORE_HANGING:
                self.server.hanging.set()
                self.connection.recv(1)  # answers when the client has gone
                return
        self.wfile.write(b"0\r\n\r\n")
