"""The tool against real HTTP on loopback: the stand-in, and services that answer oddly."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import InvalidSettings
from paceline.tasks.model import ResultStatus
from paceline.tools.events import (
    CallResult,
    CostBasis,
    Limit,
    LimitKind,
    Log,
    Text,
    ToolCall,
    Usage,
)
from paceline.tools.openai import OpenAI
from paceline.tools.openai_stream import OpenAIAnswer
from tests.rigs.standin.server import RETRY_AFTER_S, standin
from tests.rigs.standin.talk import TOKENS_IN, TOKENS_OUT
from tests.tools.children import run
from tests.tools.jobs import job, play

NOBODY_LISTENS = "http://127.0.0.1:9/v1"  # port 9 of loopback: discard, never served


def tool(server: Any, scenario: str = "write", **config: Any) -> OpenAI:
    given = {"base_url": f"{server.url}/s/{scenario}/v1", "api_key": "key-1", "model": "standin"}
    return OpenAI({**given, **config})


def test_it_works_on_files(tmp_path: Path) -> None:
    work = job(tmp_path, instructions="Write it. [[file:a/b.txt]]", must_change=True)
    with standin() as server:
        result, events = run(play(tool(server), work))
    assert (result.status, result.text) == (ResultStatus.OK, "Done: a/b.txt is written.")
    assert (work.workspace / "a" / "b.txt").exists()
    assert work.output.read_text() == result.text
    assert result.usage == {"tokens_in": 2 * TOKENS_IN, "tokens_out": 2 * TOKENS_OUT, "cached": 0}
    assert [event for event in events if isinstance(event, ToolCall | CallResult)] == [
        ToolCall(
            "write_file", {"path": "a/b.txt", "content": 'print("hello from the stand-in")\n'}
        ),
        CallResult("write_file", True, "written: a/b.txt, 33 bytes"),
    ]


def test_without_files_it_only_answers(tmp_path: Path) -> None:
    work = job(tmp_path, instructions="Say it.")
    with standin() as server:
        result, _ = run(play(tool(server, "text"), work))
    assert result.text == "Stand-in answer, no tool used."
    assert "tools" not in server.requests[-1].body


def test_what_is_asked(tmp_path: Path) -> None:
    work = job(tmp_path, {"up": b"stream"}, settings={"model": "m2", "options": {"seed": 1}})
    with standin() as server:
        run(play(tool(server, options={"seed": 2, "top_p": 1}), work))
    body = server.requests[-1].body
    assert (body["model"], body["seed"], body["top_p"]) == ("m2", 1, 1)
    assert body["stream_options"] == {"include_usage": True}
    assert 'The result of "up"' in body["messages"][1]["content"]


@pytest.mark.parametrize(
    ("scenario", "status", "words", "limit"),
    [
        ("auth", ResultStatus.AUTH, "Check tools.OpenAI.api_key", None),
        ("forbidden", ResultStatus.AUTH, "permission denied", None),
        ("nomodel", ResultStatus.ERROR, "has no model standin", None),
        ("error500", ResultStatus.ERROR, "answered 500: internal error", None),
        ("overload", ResultStatus.ERROR, "is overloaded", Limit(LimitKind.OVERLOAD)),
        (
            "quota",
            ResultStatus.QUOTA,
            f"it asks to wait {RETRY_AFTER_S} s",
            Limit(LimitKind.RATE, RETRY_AFTER_S * 1000),
        ),
    ],
)
def test_refusals(
    tmp_path: Path, scenario: str, status: ResultStatus, words: str, limit: Limit | None
) -> None:
    work = job(tmp_path)
    with standin() as server:
        result, _ = run(play(tool(server, scenario), work))
    assert (result.status, result.limit) == (status, limit)
    assert words in result.text
    assert "key-1" not in result.text
    assert not work.output.exists()


def test_turns_have_a_bound(tmp_path: Path) -> None:
    work = job(tmp_path, settings={"permission": "run", "max_turns": 3})
    with standin() as server:
        result, _ = run(play(tool(server, "loop"), work))
    assert result.status is ResultStatus.TURN_LIMIT
    assert len(server.requests) == 3
    assert result.usage["tokens_in"] == 3 * TOKENS_IN


def test_so_has_what_it_may_cost(tmp_path: Path) -> None:
    settings = {"permission": "run", "budget_usd": 0.003}
    with standin() as server:
        agent = tool(server, "loop", prices={"standin": {"input": 1.0, "output": 1.0}})
        result, _ = run(play(agent, job(tmp_path, settings=settings)))
    assert result.status is ResultStatus.TURN_LIMIT
    assert "more than its budget of 0.003 USD" in result.text
    assert len(server.requests) == 3
    assert result.cost_usd == pytest.approx(3 * (TOKENS_IN + TOKENS_OUT) / 1e6)
    assert result.cost_basis is CostBasis.COMPUTED


def test_one_that_hangs_is_given_up(tmp_path: Path) -> None:
    with standin() as server:
        result, events = run(play(tool(server, "hang"), job(tmp_path, idle_timeout_s=0.5)))
    assert result.status is ResultStatus.TIMEOUT
    assert any(isinstance(event, Text) for event in events)


def test_one_that_changes_nothing_has_failed(tmp_path: Path) -> None:
    with standin() as server:
        result, _ = run(play(tool(server, "text"), job(tmp_path, must_change=True)))
    assert result.status is ResultStatus.FAILED
    assert "standin changed no file. It said: Stand-in answer" in result.text


def test_nobody_there(tmp_path: Path) -> None:
    agent = OpenAI({"base_url": NOBODY_LISTENS, "model": "m"})
    result, _ = run(play(agent, job(tmp_path)))
    assert result.status is ResultStatus.ERROR
    assert f"nothing answers at {NOBODY_LISTENS}" in result.text
    assert "nothing answers" in run(agent.detect()).reason


# --- services that answer oddly ---


@contextmanager
def answering(body: bytes, status: int = 200, **headers: str) -> Iterator[str]:
    """Serve one answer to everything; give the address."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sse(*chunks: Any) -> bytes:
    return b"".join(
        b"data: " + (chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode()) + b"\n\n"
        for chunk in chunks
    )


def choice(reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (sse(choice("stop", content="Hi.")), ResultStatus.OK, "Hi."),
        (sse(choice(content="half")), ResultStatus.ERROR, "in the middle of the answer"),
        (sse(choice("length", content="long")), ResultStatus.TURN_LIMIT, "length limit"),
        (sse(choice("content_filter")), ResultStatus.FAILED, "content filter"),
        (sse(choice("stop")), ResultStatus.FAILED, "answered nothing"),
        (sse({"error": {"message": "no room"}}), ResultStatus.ERROR, "gave up: no room"),
        (sse(b"<html>"), ResultStatus.ERROR, "not a JSON object"),
        (sse([1]), ResultStatus.ERROR, "not a JSON object"),
        (sse({"choices": "none"}, {"choices": [3]}), ResultStatus.ERROR, "in the middle"),
        (b": comment\n\nevent: x\n\n", ResultStatus.ERROR, "in the middle"),
        (b"", ResultStatus.ERROR, "in the middle"),
    ],
)
def test_what_an_answer_means(
    tmp_path: Path, body: bytes, status: ResultStatus, words: str
) -> None:
    with answering(body) as url:
        result, _ = run(play(OpenAI({"base_url": url, "model": "m"}), job(tmp_path)))
    assert result.status is status
    assert words in result.text


def test_a_model_that_knows_no_tools(tmp_path: Path) -> None:
    body = b'{"error": {"message": "m does not support tools"}}'
    with answering(body, status=400) as url:
        agent = OpenAI({"base_url": url, "model": "m", "permission": "edit"})
        result, _ = run(play(agent, job(tmp_path)))
    assert result.status is ResultStatus.ERROR
    assert "cannot use tools, so it cannot work on files" in result.text


def test_a_redirection_is_not_followed(tmp_path: Path) -> None:
    """The key would go with it."""
    with standin() as server, answering(b"", 302, Location=server.url) as url:
        agent = OpenAI({"base_url": url, "api_key": "key-1", "model": "m"})
        result, _ = run(play(agent, job(tmp_path)))
    assert result.status is ResultStatus.ERROR
    assert server.requests == []


def test_calls_come_whole_or_in_pieces() -> None:
    def call(index: int | None, number: str, name: str, arguments: Any) -> dict[str, Any]:
        function = {"name": name, "arguments": arguments}
        return choice(tool_calls=[{"index": index, "id": number, "function": function}])

    answer = OpenAIAnswer()
    body = sse(
        call(0, "c0", "list_files", ""),
        call(1, "c1", "read_file", '{"pa'),
        call(1, "", "", 'th": "a"}'),
        call(2, "c2", "search", {"text": "x"}),
        call(3, "c3", "search", '{"text": '),
        choice("tool_calls"),
        b"[DONE]",
    )
    for start in range(0, len(body), 7):
        assert list(answer.feed(body[start : start + 7])) == []
    assert [(call.name, call.arguments, call.id) for call in answer.calls] == [
        ("list_files", {}, "c0"),
        ("read_file", {"path": "a"}, "c1"),
        ("search", {"text": "x"}, "c2"),
        ("search", None, "c3"),
    ]
    assert answer.over
    assert answer.judge()[0] is ResultStatus.OK
    assert answer.message()["tool_calls"][3]["function"]["arguments"] == '{"text": '


def test_thoughts_and_cached_tokens() -> None:
    answer = OpenAIAnswer()
    details = {"prompt_tokens_details": {"cached_tokens": 5}}
    usage = {"usage": {"prompt_tokens": 9, "completion_tokens": 2, **details}, "choices": []}
    events = list(answer.feed(sse(choice(reasoning_content="hm\n"), usage)))
    assert events == [Log("thinking", "hm")]
    assert answer.usage == {"tokens_in": 9, "tokens_out": 2, "cached": 5}
    assert Usage(answer.usage) == Usage({"tokens_in": 9, "tokens_out": 2, "cached": 5})


# --- detection and configuration ---


def test_detected() -> None:
    with standin() as server:
        state = run(tool(server).detect())
    assert state.healthy
    assert [request.path for request in server.requests] == ["/v1/models"]


def test_the_only_model_need_not_be_named(tmp_path: Path) -> None:
    with standin() as server:
        result, _ = run(play(tool(server, "text", model=""), job(tmp_path)))
    assert result.status is ResultStatus.OK
    assert server.requests[-1].body["model"] == "standin"


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b'{"data": [{"id": "a"}, {"id": "b"}]}', 200, "model to one of a, b"),
        (b'{"data": []}', 200, "has no model"),
        (b"<html>", 200, "is no such service"),
        (b"[]", 200, "is no such service"),
        (b'{"error": {"message": "bad key"}}', 401, "refuses this node (401): bad key"),
    ],
)
def test_not_healthy(body: bytes, status: int, reason: str) -> None:
    with answering(body, status) as url:
        state = run(OpenAI({"base_url": url}).detect())
    assert not state.healthy
    assert reason in state.reason


def test_no_key_for_the_maker_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert "there is no key: set tools.OpenAI.api_key" in run(OpenAI({}).detect()).reason


def test_the_nodes_key_is_told_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "the-makers")
    assert OpenAI({}).headers() == {"Authorization": "Bearer the-makers"}
    assert OpenAI({"base_url": "http://127.0.0.1:1/v1"}).headers() == {}


def test_sensitive_work_only_where_the_owner_says_so(tmp_path: Path) -> None:
    work = job(tmp_path, sensitive=True)
    with standin() as server:
        denied, _ = run(play(tool(server, "text"), work))
        assert denied.status is ResultStatus.DENIED
        assert server.requests == []
        done, _ = run(play(tool(server, "text", local=True), work))
    assert done.status is ResultStatus.OK


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"base_url": "box"}, "write an address"),
        ({"modle": "x"}, "no such setting"),
        ({"options": 1}, "must map"),
        ({"local": True}, "on this machine"),
        ({"permission": "x"}, "read, edit or run"),
        ({"prices": []}, "must map models"),
    ],
)
def test_a_wrong_configuration(config: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        run(OpenAI(config).validate_config())
