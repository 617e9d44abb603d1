"""The real programs of agents, pinned, against the stand-in, in namespaces with only loopback.

`make tools` installs them. Nothing here reaches any network: what a program cannot do offline, it
cannot do here. PACELINE_TEST_TOOLS_ALL=1 adds the programs that are too heavy for every run (Qwen
Code, Copilot, Aider, if they are installed, and OpenCode's slow retries).
"""

import os
import shutil
from typing import Any

import pytest

from tests.rigs.standin.rig import drive, unavailable
from tests.rigs.standin.scenarios import SECRET
from tests.rigs.standin.talk import TOKENS_IN, TOKENS_OUT

pytestmark = [pytest.mark.e2e, pytest.mark.netns, pytest.mark.timeout(600)]

ALL = bool(os.environ.get("PACELINE_TEST_TOOLS_ALL"))
QUICK = ("claude_code", "codex", "gemini_cli", "openai", "ollama")
HEAVY = ("qwen", "copilot", "aider") if ALL else ()
EVERY = (*QUICK, "opencode", *HEAVY)
TALKERS = ("claude_code", "codex", "gemini_cli", *(("opencode", "qwen", "copilot") if ALL else ()))
"""Those that say how it went (Aider does not). How `openai` and `ollama` fail is shown by tests
that need no namespace, `tests/tools/`."""

SILENT = ("copilot", "aider")
"""Those that do not say how many tokens they used."""


def driven(tool: str, **order: Any) -> dict[str, Any]:
    if reason := unavailable(tool):
        if os.environ.get("PACELINE_TOOLS_REQUIRED"):
            pytest.fail(reason)
        pytest.skip(reason)
    answer = drive(tool, **order)
    assert answer["left"] == [], "no process outlives its run"
    return answer


@pytest.mark.parametrize("tool", EVERY)
def test_each_edits_a_repository(tool: str) -> None:
    order = {"job": {"must_change": True, "settings": {"permission": "edit"}}}
    answer = driven(tool, **order)
    result = answer["result"]
    assert (result["status"], answer["healthy"]) == ("ok", True), result["text"]
    assert answer["files"] == {"hello.py": 'print("hello from the stand-in")\n'}
    assert answer["output"]
    assert answer["events"][-1] == "Final"
    if tool not in SILENT:
        tokens = {kind: result["usage"][kind] for kind in ("tokens_in", "tokens_out")}
        assert tokens == {"tokens_in": 2 * TOKENS_IN, "tokens_out": 2 * TOKENS_OUT}
        assert "ToolCall" in answer["events"]


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
@pytest.mark.parametrize("tool", [*TALKERS, *(["opencode"] if ALL else []), "openai"])
def test_each_works_behind_walls(tool: str) -> None:
    scenario = {"job": {"settings": {"permission": "run"}}, "walls": True}
    answer = driven(tool, **scenario)
    assert answer["result"]["status"] == "ok", answer["result"]["text"]
    assert list(answer["files"]) == ["hello.py"]


@pytest.mark.parametrize("tool", EVERY)
def test_a_hostile_repository_runs_nothing_and_gets_no_key(tool: str) -> None:
    answer = driven(tool, hostile=True)
    assert answer["result"]["status"] == "ok", answer["result"]["text"]
    assert list(answer["files"]) == ["hello.py"], "what was stripped is not there"
    assert answer["ran"] == []
    assert {scenario for scenario, _ in answer["requests"]} == {"write"}


def test_the_hostile_repository_is_one() -> None:
    """Nothing stripped: a program runs the repository's code, in spite of its own switches."""
    answer = driven("opencode", hostile=True, strip=False)
    assert answer["ran"] == ["opencode-plugin"]


@pytest.mark.parametrize("tool", TALKERS)
@pytest.mark.parametrize(
    ("scenario", "status", "words"),
    [
        ("auth", "auth", "api_key"),
        ("quota", "quota", ""),
        ("overload", "error", "overloaded"),
        ("nomodel", "error", "no such model"),
    ],
)
def test_what_goes_wrong_with_the_service(
    tool: str, scenario: str, status: str, words: str
) -> None:
    answer = driven(tool, scenario=scenario, job={"timeout_s": 120.0, "idle_timeout_s": 60.0})
    result = answer["result"]
    assert result["status"] == status, result["text"]
    assert words in result["text"]
    assert len(result["text"]) < 2000
    assert "    at " not in result["text"], "a reason, not a stack trace"
    assert answer["output"] is None
    kinds = {"quota": ("rate", "credit"), "overload": ("overload",)}.get(scenario)
    assert (result["limit"] or {}).get("kind") in (kinds or (None,))


@pytest.mark.parametrize("tool", TALKERS)
def test_one_that_never_ends_has_so_many_turns(tool: str) -> None:
    order = {"settings": {"permission": "run", "max_turns": 3}}
    answer = driven(tool, scenario="loop", job=order)
    assert answer["result"]["status"] == "turn_limit", answer["result"]["text"]
    assert "max_turns" in answer["result"]["text"]


@pytest.mark.parametrize("tool", TALKERS)
def test_a_service_that_hangs_is_given_up(tool: str) -> None:
    answer = driven(tool, scenario="hang", job={"idle_timeout_s": 10.0})
    assert answer["result"]["status"] == "timeout", answer["result"]["text"]
    assert "said nothing for 10 s" in answer["result"]["text"]


@pytest.mark.parametrize("tool", TALKERS)
def test_a_slow_answer_is_an_answer(tool: str) -> None:
    answer = driven(tool, scenario="slow")
    assert answer["result"]["status"] == "ok", answer["result"]["text"]
    assert "word59" in answer["result"]["text"]


@pytest.mark.parametrize("tool", TALKERS)
def test_a_secret_in_the_answer_is_not_the_tools_to_hide(tool: str) -> None:
    """The node takes secrets out of what it stores; the tool must hand on what was said."""
    assert SECRET in driven(tool, scenario="secret")["result"]["text"]


@pytest.mark.parametrize("tool", TALKERS)
def test_a_reader_changes_nothing(tool: str) -> None:
    answer = driven(tool, job={"settings": {"permission": "read"}})
    assert answer["result"]["status"] == "ok", answer["result"]["text"]
    assert answer["files"] == {}


def test_what_was_denied_is_said() -> None:
    """The other programs do not even offer what they would deny."""
    answer = driven("claude_code", scenario="sleep", job={"settings": {"permission": "edit"}})
    result = answer["result"]
    assert result["status"] == "denied", result["text"]
    assert result["denials"] == ["Bash"]
    assert "the permission level `edit` does not allow: Bash" in result["text"]


@pytest.mark.parametrize("tool", EVERY)
def test_a_stopped_run_takes_its_commands_along(tool: str) -> None:
    """Their shell tools leave the session of their program; nothing that they started stays."""
    if tool == "aider":
        return  # it runs no commands
    order = {"settings": {"permission": "run"}}
    answer = driven(tool, scenario="sleep", stop=True, job=order)
    assert answer["result"]["status"] == "cancelled"


@pytest.mark.parametrize("tool", ["claude_code", "codex", *(["opencode"] if ALL else [])])
def test_a_session_goes_on(tool: str) -> None:
    answer = driven(tool, again="Create second.py. [[file:second.py]]")
    result = answer["result"]
    assert result["status"] == "ok", result["text"]
    assert list(answer["files"]) == ["hello.py", "second.py"]
    assert "a script that says hello" in answer["said"][-1], "it knows what was said before"
    assert result["usage"]["tokens_in"] == 2 * TOKENS_IN, "of this run only"
