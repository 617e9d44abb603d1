"""The one runner of command-line agents, with real child processes that play an agent."""

import json
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import InvalidSettings, ToolError
from paceline.tasks.model import ResultStatus
from paceline.tools.definition import Definition
from paceline.tools.definition_file import parse
from paceline.tools.events import (
    CallResult,
    CostBasis,
    Limit,
    LimitKind,
    Log,
    Permission,
    Text,
    ToolCall,
    Usage,
)
from paceline.tools.program import Program
from tests.tools.children import PATH, lives, number_in, run
from tests.tools.jobs import job, play

DEFINITION = """\
title = "Player"
binary = "player"
argv = ["-p"]
tail = ["--end"]
prompt = "stdin"
format = "jsonl"
http_words = 'status (\\d{3})'
session_usage_counts = true

[environment]
PLAYER_URL = "{base_url}"
PLAYER_HOME = "{home}"

[key]
variable = "PLAYER_KEY"
base_url = "https://player.example"
environment = { PLAYER_KEY = "{api_key}" }
home_files = { ".player/config.json" = '{"url": "{base_url}", "turns": {max_turns}}' }

[login]
files = [".player/login.json"]

[permissions]
read = { argv = ["--read"] }
edit = { argv = ["--edit"] }
run = { argv = ["--run"] }

[options]
model = { argv = ["--model", "{model}"] }
budget_usd = { argv = ["--budget", "{budget_usd}"] }
session = { argv = ["--resume", "{session}"] }

[health]
version = ["--version"]
login = ["login"]

[[events]]
when = { type = "say" }
text = "text"

[[events]]
when = { type = "call" }
call = "name"
arguments = "with"

[[events]]
when = { type = "called" }
result = "id"
result_text = "text"
result_failed = "failed"

[[events]]
when = { type = "used" }
tokens_in = "in"
tokens_out = "out"
cost = "usd"

[[events]]
when = { type = "denied" }
denied = "name"

[[events]]
when = { type = "error" }
failed = true
error = "text"

[[events]]
when = { type = "end" }
final = true
session = "session"

[[statuses]]
exits = 7
status = "turn_limit"
message = "it had its turns"
"""

END = {"type": "end", "session": "s-1"}


def player(directory: Path, program: str, *rows: Mapping[str, Any]) -> Path:
    """Make an agent's program: Python that runs `program`, then prints the rows."""
    binary = directory / "bin" / "player"
    binary.parent.mkdir(exist_ok=True)
    printed = "".join(f"print({json.dumps(row)!r}, flush=True)\n" for row in rows)
    binary.write_text(f"#!{sys.executable}\nimport json, os, sys, time\n{program}\n{printed}")
    binary.chmod(0o755)
    return binary


def definition(**replaced: str) -> Definition:
    text = DEFINITION
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    return parse(text, name="player", source="player.toml")


def tool(directory: Path, program: str = "", *rows: Mapping[str, Any], **config: Any) -> Program:
    binary = player(directory, program, *rows)
    return Program({"binary": str(binary), "api_key": "key-12345678", **config}, definition())


TELL = """
json.dump(
    {"argv": sys.argv[1:], "env": dict(os.environ), "stdin": sys.stdin.read(),
     "cwd": os.getcwd(), "config": open(os.environ["HOME"] + "/.player/config.json").read()},
    open("told.json", "w"))
"""


def told(work: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((work.workspace / "told.json").read_text())
    return answer


def test_what_the_child_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "SSH_AUTH_SOCK", "NODE_OPTIONS", "GIT_DIR", "LD_PRELOAD_X"):
        monkeypatch.setenv(name, "the node's own")
    work = job(tmp_path, instructions="Do it.", settings={"model": "big", "max_turns": 9})
    result, _ = run(play(tool(tmp_path, TELL, END), work))
    assert result.status is ResultStatus.OK
    seen = told(work)
    assert seen["argv"] == ["-p", "--edit", "--model", "big", "--end"]
    assert seen["stdin"] == "Do it."
    assert seen["cwd"] == str(work.workspace)
    assert json.loads(seen["config"]) == {"url": "https://player.example", "turns": 9}
    assert seen["env"]["PLAYER_KEY"] == "key-12345678"
    assert seen["env"]["HOME"] == str(tmp_path / "home")
    assert "the node's own" not in seen["env"].values()


def test_files_with_secrets_are_private(tmp_path: Path) -> None:
    work = job(tmp_path, instructions="Secret plan.")
    run(play(tool(tmp_path, "", END), work))
    for file in (tmp_path / "home" / ".player" / "config.json", tmp_path / "output.prompt"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_no_argument_holds_the_key_or_the_prompt(tmp_path: Path) -> None:
    work = job(tmp_path, instructions="Do it.")
    run(play(tool(tmp_path, TELL, END), work))
    assert not any("key-1234" in part or "Do it" in part for part in told(work)["argv"])


def test_a_prompt_may_be_an_argument(tmp_path: Path) -> None:
    text = DEFINITION.replace('prompt = "stdin"', 'prompt = "argv"').replace("--end", "{prompt}")
    agent = Program(
        {"binary": str(player(tmp_path, TELL, END)), "api_key": "k"},
        parse(text, name="player", source="player.toml"),
    )
    work = job(tmp_path, instructions="--version; $(touch x)")
    run(play(agent, work))
    assert told(work)["argv"][-1] == "--version; $(touch x)"
    assert told(work)["stdin"] == ""


def test_what_it_says_is_told_as_events(tmp_path: Path) -> None:
    rows = (
        {"type": "say", "text": "I begin."},
        {"type": "call", "id": "c1", "name": "write", "with": {"path": "a"}},
        {"type": "called", "id": "c1", "text": "no room", "failed": True},
        {"type": "used", "in": 10, "out": 3, "usd": 0.5},
        {"type": "say", "text": "Done."},
        {"type": "unheard of", "text": "ignored"},
        END,
    )
    program = "print('not JSON'); print('careful', file=sys.stderr)"
    work = job(tmp_path)
    result, events = run(play(tool(tmp_path, program, *rows), work))
    assert (result.status, result.text, result.session) == (ResultStatus.OK, "Done.", "s-1")
    assert work.output.read_text() == "Done."
    assert Log("stderr", "careful") in events
    assert [event for event in events if event != Log("stderr", "careful")] == [
        Log("stdout", "not JSON"),
        Text("I begin."),
        ToolCall("write", {"path": "a"}),
        CallResult("write", False, "no room"),
        Usage({"tokens_in": 10, "tokens_out": 3}),
        Text("Done."),
    ]


def test_output_that_the_agent_wrote_itself_stays(tmp_path: Path) -> None:
    program = "open(os.environ['PACELINE_OUTPUT'], 'w').write('mine')"
    work = job(tmp_path)
    run(play(tool(tmp_path, program, {"type": "say", "text": "Done."}, END), work))
    assert work.output.read_text() == "mine"


# --- how it ends ---


@pytest.mark.parametrize(
    ("program", "rows", "status", "words"),
    [
        ("", (), ResultStatus.FAILED, "Player ended without saying that it finished"),
        ("sys.exit(3)", (), ResultStatus.FAILED, "Player failed with exit status 3"),
        ("os.kill(os.getpid(), 15)", (), ResultStatus.FAILED, "killed by signal 15"),
        ("", ({"type": "error", "text": "bad"}, END), ResultStatus.FAILED, "bad"),
        ("sys.exit(7)", (), ResultStatus.TURN_LIMIT, "Player: it had its turns"),
        (
            "print('status 401: no', file=sys.stderr); sys.exit(1)",
            (),
            ResultStatus.AUTH,
            "Check tools.player.api_key or log in with `player` and set use_login = true",
        ),
        (
            "print('status 500: oh', file=sys.stderr); sys.exit(1)",
            (),
            ResultStatus.ERROR,
            "the service answered 500",
        ),
        ("", ({"type": "denied", "name": "Bash"}, END), ResultStatus.DENIED, "`edit` does not"),
    ],
)
def test_what_an_ending_means(
    tmp_path: Path, program: str, rows: tuple[dict[str, Any], ...], status: str, words: str
) -> None:
    work = job(tmp_path)
    result, _ = run(play(tool(tmp_path, program, *rows), work))
    assert result.status == status
    assert words in result.text
    assert not work.output.exists()


def test_a_limit_is_told_with_its_reset(tmp_path: Path) -> None:
    program = "print('status 429: try again in 90s', file=sys.stderr); sys.exit(1)"
    result, _ = run(play(tool(tmp_path, program), job(tmp_path)))
    assert result.status is ResultStatus.QUOTA
    assert result.limit == Limit(LimitKind.RATE, 90_000)
    assert result.retryable_after_ms == 90_000
    assert "asks to wait 1 min 30 s" in result.text


def test_an_agent_that_only_writes_about_limits_hits_none(tmp_path: Path) -> None:
    rows = ({"type": "say", "text": "429 rate limit, usage limit reached|1"}, END)
    result, _ = run(play(tool(tmp_path, "", *rows), job(tmp_path)))
    assert (result.status, result.limit) == (ResultStatus.OK, None)


def test_what_is_denied_to_a_reader_is_no_failure(tmp_path: Path) -> None:
    rows = ({"type": "denied", "name": "Write"}, END)
    work = job(tmp_path, settings={"permission": "read"})
    result, events = run(play(tool(tmp_path, "", *rows), work))
    assert result.status is ResultStatus.OK
    assert result.denials == ("Write",)
    assert any(isinstance(event, Permission) for event in events)


@pytest.mark.parametrize(
    ("program", "settings", "status"),
    [
        ("", {}, ResultStatus.FAILED),
        ("open('new', 'w').write('x')", {}, ResultStatus.OK),
        ("open('old', 'w').write('other')", {}, ResultStatus.OK),
        ("os.remove('old')", {}, ResultStatus.OK),
        ("", {"permission": "read"}, ResultStatus.OK),
    ],
)
def test_work_that_must_change_files(
    tmp_path: Path, program: str, settings: dict[str, str], status: ResultStatus
) -> None:
    work = job(tmp_path, must_change=True, settings=settings)
    (work.workspace / "old").write_text("old")
    result, _ = run(play(tool(tmp_path, program, END), work))
    assert result.status is status


def test_one_that_says_nothing_for_too_long(tmp_path: Path) -> None:
    rows = ({"type": "say", "text": "I think"},)
    binary = player(tmp_path, "", *rows)
    binary.write_text(binary.read_text() + "\ntime.sleep(600)\n")
    agent = Program({"binary": str(binary), "api_key": "k"}, definition())
    result, _ = run(play(agent, job(tmp_path, idle_timeout_s=1.0)))
    assert result.status is ResultStatus.TIMEOUT
    assert result.text == "Player was stopped: it said nothing for 1 s"


def test_one_that_waits_for_its_provider_is_limited_not_slow(tmp_path: Path) -> None:
    program = (
        "print('429 rate limit: retry in 3600s', file=sys.stderr, flush=True); time.sleep(600)"
    )
    result, _ = run(play(tool(tmp_path, program), job(tmp_path, idle_timeout_s=1.0)))
    assert result.status is ResultStatus.QUOTA
    assert result.limit == Limit(LimitKind.RATE, 3_600_000)


def test_one_that_has_had_its_turns_is_stopped_with_its_children(tmp_path: Path) -> None:
    program = """
if not os.fork():
    os.setsid()
    open("child", "w").write(str(os.getpid()))
    time.sleep(600)
while not os.path.exists("child") or not open("child").read():
    time.sleep(0.01)
for number in range(100000):
    print(json.dumps({"type": "call", "name": "again"}), flush=True)
    time.sleep(0.01)
"""
    work = job(tmp_path, settings={"max_turns": 5})
    result, events = run(play(tool(tmp_path, program), work))
    assert result.status is ResultStatus.TURN_LIMIT
    assert sum(isinstance(event, ToolCall) for event in events) == 6
    assert not lives(number_in(work.workspace / "child"))


# --- money ---

USED = {"type": "used", "in": 1_000_000, "out": 100_000, "usd": 9.0}


def test_a_reported_cost_is_believed_of_the_makers_own_service(tmp_path: Path) -> None:
    result, _ = run(play(tool(tmp_path, "", USED, END), job(tmp_path)))
    assert (result.cost_usd, result.cost_basis) == (9.0, CostBasis.REPORTED)


def test_and_of_no_other(tmp_path: Path) -> None:
    agent = tool(tmp_path, "", USED, END, base_url="http://127.0.0.1:1")
    result, _ = run(play(agent, job(tmp_path)))
    assert (result.cost_usd, result.cost_basis) == (None, CostBasis.NONE)


def test_configured_prices_win(tmp_path: Path) -> None:
    prices = {"*": {"input": 2.0, "output": 10.0}}
    result, _ = run(play(tool(tmp_path, "", USED, END, prices=prices), job(tmp_path)))
    assert (result.cost_usd, result.cost_basis) == (3.0, CostBasis.COMPUTED)


def test_a_budget_ends_the_run(tmp_path: Path) -> None:
    rows = [{**USED, "usd": 0.25}, {**USED, "usd": 1.5}]
    binary = player(tmp_path, "", *rows)
    binary.write_text(binary.read_text() + "\ntime.sleep(600)\n")
    agent = Program({"binary": str(binary), "api_key": "k"}, definition())
    result, _ = run(play(agent, job(tmp_path, settings={"budget_usd": 1.0})))
    assert result.status is ResultStatus.TURN_LIMIT
    assert "1.5000 USD, more than its budget of 1 USD" in result.text


def test_usage_of_a_session_that_goes_on_is_only_what_is_new(tmp_path: Path) -> None:
    work = job(tmp_path, session="s-1", session_usage={"tokens_in": 400, "tokens_out": 3})
    program = "open('argv', 'w').write(' '.join(sys.argv))"
    result, _ = run(play(tool(tmp_path, program, {**USED, "in": 1000, "out": 10}, END), work))
    assert result.usage == {"tokens_in": 600, "tokens_out": 7}
    assert "--resume s-1 --end" in (work.workspace / "argv").read_text()


# --- who may ---


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "--dangerous"}, "model must be a name"),
        ({"model": 'x", "evil": "'}, "model must be a name"),
        ({"model": "a b"}, "model must be a name"),
        ({"permission": "all"}, "permission must be read, edit or run"),
        ({"max_turns": 0}, "max_turns must be"),
        ({"max_turns": True}, "max_turns must be"),
        ({"budget_usd": -1}, "budget_usd must be"),
        ({"budget_usd": "1"}, "budget_usd must be"),
    ],
)
def test_a_wish_that_is_none(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    work = job(tmp_path, settings=settings)
    result, _ = run(play(tool(tmp_path, TELL, END), work))
    assert result.status is ResultStatus.DENIED
    assert words in result.text
    assert not (work.workspace / "told.json").exists()


def test_a_node_may_permit_less(tmp_path: Path) -> None:
    agent = tool(tmp_path, TELL, END, permission="edit")
    with pytest.raises(ToolError, match="no more than `edit`"):  # another node may permit it
        run(play(agent, job(tmp_path, settings={"permission": "run"})))


def test_a_node_that_permits_only_reading_lowers_what_is_not_said(tmp_path: Path) -> None:
    work = job(tmp_path)
    run(play(tool(tmp_path, TELL, END, permission="read"), work))
    assert "--read" in told(work)["argv"]


def test_sensitive_work_only_with_a_service_here(tmp_path: Path) -> None:
    work = job(tmp_path, sensitive=True)
    result, _ = run(play(tool(tmp_path, TELL, END), work))
    assert result.status is ResultStatus.DENIED
    here: dict[str, Any] = {"base_url": "http://127.0.0.1:1", "local": True}
    assert not tool(tmp_path).local
    assert not tool(tmp_path, base_url="http://127.0.0.1:1").local, "only the owner can know"
    assert tool(tmp_path, **here).local
    result, _ = run(play(tool(tmp_path, TELL, END, **here), work))
    assert result.status is ResultStatus.OK


def test_without_a_key_nothing_is_started(tmp_path: Path) -> None:
    work = job(tmp_path)
    agent = Program({"binary": str(player(tmp_path, TELL, END))}, definition())
    result, _ = run(play(agent, work))
    assert result.status is ResultStatus.AUTH
    assert "set tools.player.api_key or the node's variable PLAYER_KEY" in result.text
    assert not (work.workspace / "told.json").exists()


def test_the_key_may_be_the_nodes_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAYER_KEY", "from-the-node")
    agent = Program({"binary": str(player(tmp_path, TELL, END))}, definition())
    assert agent.secrets == ("from-the-node",)
    work = job(tmp_path)
    run(play(agent, work))
    assert told(work)["env"]["PLAYER_KEY"] == "from-the-node"


# --- the owner's login ---

LOGIN = "assert open(os.environ['HOME'] + '/.player/login.json').read() == 'token'"


@pytest.fixture
def owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "owner"
    (home / ".player").mkdir(parents=True)
    (home / ".player" / "other").write_text("private")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PLAYER_KEY", "key-that-is-not-used")
    return home


def test_a_login_is_lent_only_if_the_owner_says_so(tmp_path: Path, owner: Path) -> None:
    (owner / ".player" / "login.json").write_text("token")
    lent = job(tmp_path)
    agent = Program({"binary": str(player(tmp_path, LOGIN, END)), "use_login": True}, definition())
    result, _ = run(play(agent, lent))
    assert result.status is ResultStatus.OK, result.text
    assert sorted(os.listdir(tmp_path / "home" / ".player")) == ["login.json"]
    other = tmp_path / "other"
    other.mkdir()
    result, _ = run(play(tool(tmp_path, LOGIN, END), job(other)))
    assert result.status is ResultStatus.FAILED


def test_nobody_is_logged_in(tmp_path: Path, owner: Path) -> None:
    agent = Program({"binary": str(player(tmp_path, "", END)), "use_login": True}, definition())
    result, _ = run(play(agent, job(tmp_path)))
    assert result.status is ResultStatus.AUTH
    assert "nobody is logged in: run `player` once" in result.text


# --- what is here ---

HEALTH = """
if "--version" in sys.argv:
    open(os.path.dirname(sys.argv[0]) + "/asked", "a").write("x")
    print("player v1.2.3 (build 7)")
    sys.exit(0)
if "login" in sys.argv:
    print("not logged in")
    sys.exit(1)
"""


def test_detected_once_per_installed_file(tmp_path: Path) -> None:
    agent = tool(tmp_path, HEALTH)
    for _ in range(3):
        state = run(agent.detect())
        assert (state.healthy, state.version, state.reason) == (True, "1.2.3", "")
    assert (tmp_path / "bin" / "asked").read_text() == "x"
    player(tmp_path, HEALTH.replace("1.2.3", "1.2.4-beta"))
    assert run(agent.detect()).version == "1.2.4-beta"


def test_not_installed(tmp_path: Path) -> None:
    state = run(Program({"api_key": "k"}, definition()).detect())
    assert not state.healthy
    assert "Player is not installed: no player on the PATH" in state.reason
    result, _ = run(play(Program({"api_key": "k"}, definition()), job(tmp_path)))
    assert result.status is ResultStatus.ERROR


def test_installed_but_no_key(tmp_path: Path) -> None:
    state = run(Program({"binary": str(player(tmp_path, HEALTH))}, definition()).detect())
    assert (state.healthy, state.version) == (False, "1.2.3")
    assert "there is no key" in state.reason


def test_a_login_that_has_ended(tmp_path: Path, owner: Path) -> None:
    (owner / ".player" / "login.json").write_text("old token")
    binary = str(player(tmp_path, HEALTH))
    state = run(Program({"binary": binary, "use_login": True}, definition()).detect())
    assert not state.healthy
    assert state.reason == "Player is not logged in: not logged in"


def test_one_that_does_not_start(tmp_path: Path) -> None:
    state = run(tool(tmp_path, "sys.exit('no such library')").detect())
    assert not state.healthy
    assert state.reason == "Player does not start: no such library"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"modle": "x"}, "tools.player.modle: no such setting; there are api_key"),
        ({"base_url": "ftp://x"}, "base_url: write an address"),
        ({"base_url": 'http://x/" }'}, "base_url: write an address"),
        ({"model": "--x"}, "tools.player: model must be"),
        ({"permission": "root"}, "permission must be"),
        ({"prices": {"x": {"in": 1}}}, "may have input, output, cached"),
        ({"prices": {"x": {"input": -1}}}, "0 or more"),
        ({"local": True}, "only with a base_url on this machine"),
        ({"nice": 30}, "nice must be"),
        ({"pass_environment": ["AWS_SECRET"]}, "never passed on"),
    ],
)
def test_a_wrong_configuration(config: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        run(Program(config, definition()).validate_config())


def test_the_seeds_face(tmp_path: Path) -> None:
    agent = tool(tmp_path, HEALTH, {"type": "say", "text": "Hello."}, END)
    assert run(agent.validate_config())
    assert run(agent.health_check())
    answer = run(agent.execute("Greet.", {"workspace": tmp_path}))
    assert answer["success"] is True
    assert (answer["text"], answer["output"], answer["status"]) == ("Hello.", b"Hello.", "ok")


def test_the_path_of_the_job_finds_the_program(tmp_path: Path) -> None:
    player(tmp_path, "", END)
    work = job(tmp_path)
    environment = {**work.environment, "PATH": f"{tmp_path / 'bin'}{os.pathsep}{PATH}"}
    other = tmp_path / "other"
    other.mkdir()
    agent = Program({"api_key": "k"}, definition())
    result, _ = run(play(agent, job(other, environment=environment)))
    assert result.status is ResultStatus.OK
