"""A program's side of a node's REST interface, with the standard library only.

A node is found by its data directory: `node.json` says where it listens, `api.token` opens it.
Every failure is one of Paceline's own errors: those that the node answered come back as the type
that it raised there, the others say that no node answers.
"""

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

from paceline import errors

TIMEOUT_S = 30.0
ANSWER_LIMIT_BYTES = 64 * 1024 * 1024
DOWNLOAD_BYTES = 256 * 1024
LINE_LIMIT_BYTES = 4 * 1024 * 1024

Document = dict[str, Any]


class Link:
    """Speaks to the one node that runs with this data directory; one connection per call."""

    waits: Callable[[], AbstractContextManager[object]] = nullcontext
    """Entered around every exchange: the command line shows there that it waits."""

    def __init__(self, data_dir: Path, timeout_s: float = TIMEOUT_S) -> None:
        self.data_dir = data_dir
        self._timeout_s = timeout_s

    def get(self, path: str, **query: object) -> Document:
        """Answer the document at `path` (below /api/v1). None in the query = not said."""
        return self._exchange("GET", _target(path, query), None)

    def post(self, path: str, body: Mapping[str, Any] | None = None, **query: object) -> Document:
        """Send a document and answer what comes back."""
        return self._exchange(
            "POST", _target(path, query), json.dumps(body or {}, ensure_ascii=False).encode()
        )

    def patch(self, path: str, body: Mapping[str, Any]) -> Document:
        """Send what is to be otherwise and answer what comes back."""
        return self._exchange(
            "PATCH", _target(path, {}), json.dumps(body, ensure_ascii=False).encode()
        )

    def stream(self, path: str, *, follow: bool = False, **query: object) -> Iterator[Document]:
        """Yield documents as they come; with `follow`, wait for each without limit."""
        target = _target(path, {**query, "follow": "true" if follow else None})
        connection = self._connect(None if follow else self._timeout_s)
        try:
            with _translated("GET", self.data_dir):
                yield from _lines(_checked(self._send(connection, "GET", target, None)))
        finally:
            connection.close()

    def download(self, path: str, target: IO[bytes], **query: object) -> Mapping[str, str]:
        """Write what is at `path` to a file as it comes; answer the headers, in lower case.

        Raise TimedOut where it ends early.
        """
        connection = self._connect(self._timeout_s)
        try:
            with _translated("GET", self.data_dir):
                response = _checked(self._send(connection, "GET", _target(path, query), None))
                left = response.length or 0
                while chunk := response.read(DOWNLOAD_BYTES):
                    target.write(chunk)
                    left -= len(chunk)
                if left > 0:
                    raise errors.TimedOut("the node ended before it had sent everything")
                return {name.lower(): value for name, value in response.headers.items()}
        finally:
            connection.close()

    def _exchange(self, method: str, target: str, body: bytes | None) -> Document:
        connection = self._connect(self._timeout_s)
        try:
            with type(self).waits(), _translated(method, self.data_dir):
                response = _checked(self._send(connection, method, target, body))
                return _document(response.read(ANSWER_LIMIT_BYTES + 1))
        finally:
            connection.close()

    def _connect(self, timeout_s: float | None) -> http.client.HTTPConnection:
        host, port = web_address(self.data_dir)
        connection = http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        try:
            connection.connect()
        except OSError as error:
            raise _no_node(self.data_dir) from error
        connection.sock.settimeout(timeout_s)
        return connection

    def _send(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: bytes | None
    ) -> http.client.HTTPResponse:
        headers = {"Authorization": f"Bearer {_token(self.data_dir)}", "Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, target, body, headers)
        return connection.getresponse()


def read_node_file(data_dir: Path) -> Document:
    """Answer what `node.json` says. Raise NodeUnreachable where there is none."""
    try:
        document = json.loads((data_dir / "node.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _no_node(data_dir) from error
    if not isinstance(document, dict) or "page_url" not in document:
        raise _no_node(data_dir)
    return document


def web_address(data_dir: Path) -> tuple[str, int]:
    """Answer host and port of the node's REST interface."""
    parts = urlsplit(str(read_node_file(data_dir)["page_url"]))
    if not parts.hostname or not parts.port:
        raise _no_node(data_dir)
    return parts.hostname, parts.port


def segment(identifier: str) -> str:
    """Answer an id as one segment of a path, whatever a person typed."""
    return quote(identifier, safe="")


class _translated:  # noqa: N801 - reads as a word at its use
    """Turns what goes wrong on the way into Paceline's errors.

    A context manager by hand: contextlib costs every start of the command more than this does.
    """

    def __init__(self, method: str, data_dir: Path) -> None:
        self._method = method
        self._data_dir = data_dir

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BrokenPipeError | ConnectionError | http.client.HTTPException):
            if self._method != "GET":
                raise errors.TimedOut(
                    "the node went away before it answered: whether it took effect is unknown"
                ) from error
            raise errors.NodeUnreachable(
                f"the node of {self._data_dir} went away before it had answered"
            ) from error
        if isinstance(error, TimeoutError):
            raise errors.TimedOut(
                "the node did not answer in time: whether it took effect is unknown"
            ) from error


def _target(path: str, query: Mapping[str, object]) -> str:
    said = {key: value for key, value in query.items() if value not in (None, "")}
    return f"/api/v1/{path}" + (f"?{urlencode(said)}" if said else "")


def _no_node(data_dir: Path) -> errors.NodeUnreachable:
    return errors.NodeUnreachable(
        f"no node is running with data directory {data_dir}; start one with `paceline node start` "
        "or name another with --data-dir"
    )


def _token(data_dir: Path) -> str:
    try:
        return (data_dir / "api.token").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.PacelineError(
            f"cannot read {data_dir / 'api.token'}: only the user who runs the node may"
        ) from error


def _checked(response: http.client.HTTPResponse) -> http.client.HTTPResponse:
    if response.status < 400:
        return response
    if response.status == 503 and "json" not in response.headers.get("Content-Type", ""):
        # The server itself says this, before anything of a node has seen the request.
        raise errors.Busy("the node has too many connections; try again in a moment")
    raise problem(_document(response.read(ANSWER_LIMIT_BYTES)))


def _document(data: bytes) -> Document:
    try:
        document = json.loads(data)
    except ValueError as error:
        raise errors.ProtocolError("what answers there is not a Paceline node") from error
    if not isinstance(document, dict):
        raise errors.ProtocolError("what answers there is not a Paceline node")
    return document


def problem(document: Document) -> errors.PacelineError:
    """Answer a problem document as the error that it was made from."""
    code, detail = document.get("code", ""), str(document.get("detail", "the node refused"))
    if code == "InvalidPlan":
        return errors.InvalidPlan(detail, document.get("line"))
    if code == "NotLeader":
        return errors.NotLeader(document.get("leader_id"))
    kind = getattr(errors, str(code), None)
    if isinstance(kind, type) and issubclass(kind, errors.PacelineError):
        return kind(detail)
    return errors.PacelineError(detail)


def _lines(response: http.client.HTTPResponse) -> Iterator[Document]:
    while line := response.readline(LINE_LIMIT_BYTES):
        document = _document(line)
        if "problem" in document:
            raise problem(document["problem"])
        yield document
