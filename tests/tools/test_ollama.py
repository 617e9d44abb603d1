"""The tool against a real HTTP server on loopback that plays Ollama from a script."""

import asyncio
import threading
from pathlib import Path

import pytest

from paceline.errors import InvalidSettings
from paceline.tasks.model import ResultStatus
from paceline.tools.events import Log, Text, Usage
from paceline.tools.ollama import Ollama
from tests.rigs.ollama_server import INPUT_TOKENS, OUTPUT_TOKENS, done, ollama_server, say
from tests.tools.children import run
from tests.tools.jobs import job, play

NOBODY_LISTENS = "http://127.0.0.1:9"  # port 9 of loopback: discard, never served


def test_the_answer_is_the_output(tmp_path: Path) -> None:
    with ollama_server() as server:
        work = job(tmp_path, instructions="Greet.")
        result, events = run(play(Ollama({"base_url": server.url}), work))
    assert result.status is ResultStatus.OK
    assert result.text == "Hello world"
    assert work.output.read_bytes() == b"Hello world"
    assert result.usage == {"tokens_in": INPUT_TOKENS, "tokens_out": OUTPUT_TOKENS}
    assert events == [
        Log("tool", f"asking small:latest at {server.url}"),
        Text("Hello "),
        Text("world"),
        Usage(result.usage),
    ]
    [request] = server.requests
    assert request["model"] == "small:latest"
    assert request["messages"][1] == {"role": "user", "content": "Greet."}


@pytest.mark.parametrize(
    ("config", "settings", "expected"),
    [
        ({}, {}, "small:latest"),
        ({"model": "large:8b"}, {}, "large:8b"),
        ({"model": "small:latest"}, {"model": "large:8b"}, "large:8b"),
    ],
)
def test_which_model(
    tmp_path: Path, config: dict[str, str], settings: dict[str, str], expected: str
) -> None:
    with ollama_server() as server:
        tool = Ollama({"base_url": server.url, **config})
        run(play(tool, job(tmp_path, settings=settings)))
    assert server.requests[0]["model"] == expected


def test_options_of_both_sides(tmp_path: Path) -> None:
    with ollama_server() as server:
        tool = Ollama({"base_url": server.url, "options": {"num_ctx": 8192, "seed": 1}})
        run(play(tool, job(tmp_path, settings={"options": {"seed": 2}})))
    assert server.requests[0]["options"] == {"num_ctx": 8192, "seed": 2}


def test_inputs_are_in_the_prompt_bounded(tmp_path: Path) -> None:
    inputs = {
        "a": "grüße".encode(),
        "b": b"\0binary\0",
        "c": "é".encode() * 50_000,
        "d": b"\xff\xfe not text",
    }
    with ollama_server() as server:
        work = job(tmp_path, inputs, instructions="Sum up.")
        run(play(Ollama({"base_url": server.url}), work))
    prompt = server.requests[0]["messages"][1]["content"]
    assert prompt.startswith('Sum up.\n\nThe result of "a":\n<result>\ngrüße\n</result>')
    assert 'The result of "b" is 8 bytes that are not text' in prompt
    assert 'The result of "d" is 11 bytes that are not text' in prompt
    assert "[cut here: 65536 of 100000 bytes]" in prompt
    assert prompt.count("é") == 32768


def test_many_inputs_are_bounded_together(tmp_path: Path) -> None:
    inputs = {f"input {number:02}": b"x" * 60_000 for number in range(20)}
    with ollama_server() as server:
        run(play(Ollama({"base_url": server.url}), job(tmp_path, inputs)))
    prompt = server.requests[0]["messages"][1]["content"]
    assert len(prompt) < 270_000
    assert "[cut here: 0 of 60000 bytes]" in prompt


def test_thoughts_are_log_not_output(tmp_path: Path) -> None:
    chat = [say("", thinking="hm, "), say("", thinking="well\n"), say("Yes."), done()]
    with ollama_server(chat=chat) as server:
        work = job(tmp_path)
        _, events = run(play(Ollama({"base_url": server.url}), work))
    assert Log("thinking", "hm, well") in events
    assert work.output.read_bytes() == b"Yes."


def test_half_a_character_is_no_harm(tmp_path: Path) -> None:
    lone = b'{"message": {"content": "a\\ud83d"}, "done": false}\n'
    with ollama_server(chat=[lone, done()]) as server:
        result, _ = run(play(Ollama({"base_url": server.url}), job(tmp_path)))
    assert result.text == "a?"


def test_lines_may_arrive_in_any_pieces(tmp_path: Path) -> None:
    line = b'{"message": {"content": "one"}, "done": false}\n'
    chat = [line[:20], line[20:] + line[:7], line[7:], done()]
    with ollama_server(chat=chat) as server:
        result, _ = run(play(Ollama({"base_url": server.url}), job(tmp_path)))
    assert result.text == "oneone"


# --- what goes wrong ---


def test_not_running(tmp_path: Path) -> None:
    tool = Ollama({"base_url": NOBODY_LISTENS})
    result, _ = run(play(tool, job(tmp_path)))
    assert result.status is ResultStatus.ERROR
    assert result.text == f"Ollama is not running at {NOBODY_LISTENS}: start it with `ollama serve`"


def test_the_model_is_missing(tmp_path: Path) -> None:
    with ollama_server() as server:
        tool = Ollama({"base_url": server.url, "model": "absent"})
        result, _ = run(play(tool, job(tmp_path)))
    assert result.status is ResultStatus.ERROR
    assert "get it with `ollama pull absent`" in result.text


def test_there_is_no_model_at_all(tmp_path: Path) -> None:
    with ollama_server(models=[]) as server:
        result, _ = run(play(Ollama({"base_url": server.url}), job(tmp_path)))
    assert result.status is ResultStatus.ERROR
    assert "has no model" in result.text


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, ResultStatus.AUTH),
        (403, ResultStatus.AUTH),
        (429, ResultStatus.QUOTA),
        (500, ResultStatus.ERROR),
        (503, ResultStatus.ERROR),
        (400, ResultStatus.ERROR),
    ],
)
def test_what_a_status_means(tmp_path: Path, status: int, expected: ResultStatus) -> None:
    with ollama_server(status=status, headers={"Retry-After": "7"}) as server:
        work = job(tmp_path)
        result, _ = run(play(Ollama({"base_url": server.url}), work))
    assert result.status is expected
    assert "broken on purpose" in result.text
    assert result.retryable_after_ms == (7000 if status in (429, 503) else None)
    assert not work.output.exists()


@pytest.mark.parametrize(
    ("chat", "status", "words"),
    [
        ([say("half")], ResultStatus.ERROR, "in the middle"),
        ([say("half"), {"error": "out of memory"}], ResultStatus.ERROR, "out of memory"),
        ([say("half"), b"<html>\n", done()], ResultStatus.ERROR, "not a JSON object"),
        ([say("half"), b"[1, 2]\n", done()], ResultStatus.ERROR, "not a JSON object"),
        ([say("half"), done("length")], ResultStatus.TURN_LIMIT, "length limit"),
        ([say("  \n"), done()], ResultStatus.FAILED, "answered nothing"),
    ],
)
def test_an_answer_that_is_none(
    tmp_path: Path, chat: list[object], status: ResultStatus, words: str
) -> None:
    with ollama_server(chat=chat) as server:
        work = job(tmp_path)
        result, _ = run(play(Ollama({"base_url": server.url}), work))
    assert result.status is status
    assert words in result.text
    assert not work.output.exists()


def test_a_hanging_model_is_given_up(tmp_path: Path) -> None:
    with ollama_server(chat=[say("a"), threading.Event()]) as server:
        tool = Ollama({"base_url": server.url})
        result, _ = run(play(tool, job(tmp_path, idle_timeout_s=0.3)))
        assert result.status is ResultStatus.TIMEOUT
        assert result.text == "stopped: the model said nothing for 0.3 s"
        assert server.gone.wait(20)


def test_a_model_that_talks_for_ever_is_stopped(tmp_path: Path) -> None:
    class Drops(list[object]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            while True:
                yield say("la ")

    with ollama_server(chat=Drops()) as server:
        tool = Ollama({"base_url": server.url})
        result, _ = run(play(tool, job(tmp_path, timeout_s=0.5)))
        assert result.status is ResultStatus.TIMEOUT
        assert result.text == "stopped: it ran for longer than 0.5 s"
        assert server.gone.wait(20)


def test_cancelling_closes_the_connection(tmp_path: Path) -> None:
    """Which is what makes Ollama stop generating."""

    async def test(url: str, streaming: threading.Event) -> None:
        task = asyncio.create_task(play(Ollama({"base_url": url}), job(tmp_path)))
        await asyncio.to_thread(streaming.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with ollama_server(chat=[say("a"), threading.Event()]) as server:
        run(test(server.url, server.streaming))
        assert server.gone.wait(20)


# --- sensitive work ---


@pytest.mark.parametrize(
    ("config", "settings"),
    [({"base_url": "http://192.0.2.1:11434"}, {}), ({}, {"model": "wanted:cloud"})],
)
def test_sensitive_words_stay_here(
    tmp_path: Path, config: dict[str, str], settings: dict[str, str]
) -> None:
    with ollama_server() as server:
        tool = Ollama({"base_url": server.url, "model": "small:latest", **config})
        work = job(tmp_path, settings=settings, sensitive=True)
        result, _ = run(play(tool, work))
    assert result.status is ResultStatus.DENIED
    assert server.requests == []


def test_sensitive_work_with_a_model_here(tmp_path: Path) -> None:
    with ollama_server() as server:
        result, _ = run(play(Ollama({"base_url": server.url}), job(tmp_path, sensitive=True)))
    assert result.status is ResultStatus.OK


@pytest.mark.parametrize(
    ("config", "local"),
    [
        ({"base_url": "http://127.0.0.1:1"}, True),
        ({"base_url": "http://localhost:1"}, True),
        ({"base_url": "http://[::1]:1"}, True),
        ({"base_url": "http://192.0.2.1:1"}, False),
        ({"base_url": "https://ollama.example"}, False),
        ({"base_url": "http://127.0.0.1:1", "model": "big:480b-cloud"}, False),
    ],
)
def test_what_is_local(config: dict[str, str], local: bool) -> None:
    assert Ollama(config).local is local


# --- detection and configuration ---


def test_detected(tmp_path: Path) -> None:
    with ollama_server() as server:
        state = run(Ollama({"base_url": server.url}).detect())
    assert state.healthy
    assert state.version == "0.20.0"


@pytest.mark.parametrize(
    ("script", "config", "reason"),
    [
        ({"models": []}, {}, "has no model"),
        ({}, {"model": "absent"}, "ollama pull absent"),
        ({"version": {"other": 1}}, {}, "is not Ollama"),
        ({"version": [1]}, {}, "is not Ollama"),
    ],
)
def test_not_healthy(script: dict[str, object], config: dict[str, str], reason: str) -> None:
    with ollama_server(**script) as server:
        state = run(Ollama({"base_url": server.url, **config}).detect())
    assert not state.healthy
    assert reason in state.reason


def test_a_model_may_be_named_without_its_tag() -> None:
    with ollama_server() as server:
        assert run(Ollama({"base_url": server.url, "model": "small"}).health_check())


def test_nobody_there() -> None:
    state = run(Ollama({"base_url": NOBODY_LISTENS}).detect())
    assert not state.healthy
    assert "not running" in state.reason


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        (":8080", "http://127.0.0.1:8080"),
        ("box", "http://box:11434"),
        ("box:99", "http://box:99"),
        ("http://box:99/", "http://box:99"),
        ("https://box/ollama/", "https://box/ollama"),
        ("[::1]:99", "http://[::1]:99"),
    ],
)
def test_the_address_as_ollama_spells_it(
    given: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", given)
    assert Ollama({}).base_url == url
    assert Ollama({"base_url": "http://named:1"}).base_url == "http://named:1"


@pytest.mark.parametrize(
    "config", [{"base_url": "ftp://box"}, {"model": 5}, {"options": "num_ctx=1"}]
)
def test_a_wrong_configuration_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(InvalidSettings):
        run(Ollama(config).validate_config())


def test_proxies_of_the_environment_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", NOBODY_LISTENS)
    monkeypatch.setenv("ALL_PROXY", NOBODY_LISTENS)
    with ollama_server() as server:
        result, _ = run(play(Ollama({"base_url": server.url}), job(tmp_path)))
    assert result.status is ResultStatus.OK
