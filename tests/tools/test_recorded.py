"""What the real programs print, and what is made of it.

`recorded/` holds standard output of pinned versions against the stand-in, long texts cut; the files
`limit`, `turns` and `denied` are shorter, and those of plans' limits are written after the words
that the programs are known to use.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.tasks.model import PermissionLevel, ResultStatus
from paceline.tools.definition_file import shipped, shipped_names
from paceline.tools.events import CallResult, Event, Limit, LimitKind, ToolCall
from paceline.tools.judging import Ended, Judgement, judge
from paceline.tools.reading import Findings, Reader
from tests.rigs.standin.talk import TOKENS_IN, TOKENS_OUT

RECORDED = Path(__file__).parent / "recorded"
NOW = datetime(2026, 11, 22, 14, 30, tzinfo=UTC)
HOUR = 3_600_000


def read(tool: str, lines: list[str]) -> tuple[Findings, list[Event]]:
    reader = Reader(shipped(tool))
    events = [event for line in lines for event in reader.line(line)]
    events += list(reader.end())
    return reader.findings, events


def recorded(name: str) -> tuple[str, list[str]]:
    tool = name.partition("-")[0]
    return tool, (RECORDED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()


def judged(name: str, exit_code: int, stderr: str = "") -> Judgement:
    tool, lines = recorded(name)
    findings, _ = read(tool, lines)
    return judge(shipped(tool), Ended(findings=findings, exit_code=exit_code, stderr=stderr), NOW)


@pytest.mark.parametrize(
    ("tool", "call"),
    [
        ("claude_code", "Write"),
        ("codex", "command_execution"),
        ("gemini_cli", "write_file"),
        ("opencode", "write"),
        ("qwen", "write_file"),
        ("copilot", "create"),
    ],
)
def test_a_file_is_written(tool: str, call: str) -> None:
    findings, events = read(*recorded(f"{tool}-write"))
    assert findings.text == "Done: hello.py is written."
    assert findings.finished
    assert not findings.failed
    assert findings.session
    assert findings.calls == 1
    assert [event.name for event in events if isinstance(event, ToolCall)] == [call]
    ended = [event for event in events if isinstance(event, CallResult)]
    assert [(event.name, event.ok) for event in ended] == [(call, True)]
    if tool != "copilot":  # which does not say
        tokens = (findings.usage["tokens_in"], findings.usage["tokens_out"])
        assert tokens == (2 * TOKENS_IN, 2 * TOKENS_OUT)
    assert judged(f"{tool}-write", 0).status is ResultStatus.OK


@pytest.mark.parametrize("tool", ["claude_code", "codex", "gemini_cli", "opencode", "qwen"])
@pytest.mark.parametrize("missing", range(1, 3))
def test_one_that_breaks_off_has_not_succeeded(tool: str, missing: int) -> None:
    """Also with exit status 0, as some end after a signal."""
    _, lines = recorded(f"{tool}-write")
    findings, _ = read(tool, lines[:-missing])
    judgement = judge(shipped(tool), Ended(findings=findings, exit_code=0), NOW)
    assert judgement.status is ResultStatus.FAILED
    assert "without saying that it finished" in judgement.reason


@pytest.mark.parametrize(
    ("name", "exit_code", "status", "limit", "words"),
    [
        ("claude_code-auth", 1, "auth", None, "tools.claude_code.api_key"),
        ("claude_code-quota", 1, "quota", Limit(LimitKind.RATE), "Request rejected (429)"),
        ("claude_code-limit", 1, "quota", Limit(LimitKind.USAGE, 75 * 60_000), "resets 3:45pm"),
        ("claude_code-turns", 1, "turn_limit", None, "had its turns (max_turns)"),
        ("claude_code-denied", 0, "denied", None, "`edit` does not allow: Write"),
        ("codex-auth", 1, "auth", None, "unexpected status 401"),
        ("codex-quota", 1, "quota", Limit(LimitKind.CREDIT), "no credit is left"),
        ("codex-limit", 1, "quota", Limit(LimitKind.USAGE, 51 * HOUR), "allowance is used up"),
        ("gemini_cli-auth", 145, "auth", None, "invalid x-api-key"),
        ("gemini_cli-quota", 173, "quota", Limit(LimitKind.RATE), "rate limit exceeded"),
        ("gemini_cli-circles", 0, "failed", None, "went round in circles"),
        ("opencode-quota", 1, "quota", Limit(LimitKind.RATE, 7000), "asks to wait 7 s"),
        ("qwen-auth", 1, "auth", None, "401"),
        ("qwen-quota", 1, "quota", Limit(LimitKind.RATE), "429 rate limit exceeded"),
        ("copilot-auth", 1, "auth", None, "HTTP 401"),
        ("copilot-quota", 1, "quota", Limit(LimitKind.RATE), "429 rate limit"),
    ],
)
def test_what_went_wrong(
    name: str, exit_code: int, status: str, limit: Limit | None, words: str
) -> None:
    judgement = judged(name, exit_code)
    assert (judgement.status, judgement.limit) == (status, limit), judgement.reason
    assert words in judgement.reason
    assert judgement.reason.startswith(shipped(name.partition("-")[0]).title)


def test_tokens_from_a_cache_are_counted_once() -> None:
    findings, _ = read(*recorded("claude_code-turns"))
    assert findings.usage == {"tokens_in": 2400, "tokens_out": 68, "cached": 300}
    assert findings.reported_usd == 0.00822


@pytest.mark.parametrize(
    ("exit_code", "status", "words"),
    [
        (53, "turn_limit", "max_turns"),
        (41, "auth", "gemini"),
        (55, "error", "trust"),
        (173, "quota", "rate limit"),
        (244, "error", "500"),
        (1, "failed", "exit status 1"),
    ],
)
def test_geminis_exit_statuses(exit_code: int, status: str, words: str) -> None:
    ended = Ended(findings=Findings(), exit_code=exit_code)
    judgement = judge(shipped("gemini_cli"), ended, NOW)
    assert judgement.status == status
    assert words in judgement.reason


@pytest.mark.parametrize(
    ("said", "changed", "status"),
    [
        ("Applied edit to hello.py", True, "ok"),
        ("I will think about it.", False, "failed"),
        ("litellm.AuthenticationError: AuthenticationError: OpenAIException", False, "auth"),
        ("litellm.RateLimitError: slow down", True, "quota"),
        ("litellm.InternalServerError: oh", False, "error"),
    ],
)
def test_aider_ends_with_0_whatever_happens(said: str, changed: bool, status: str) -> None:
    findings, _ = read("aider", ["Aider v0.86.2", said])
    ended = Ended(findings=findings, exit_code=0, changed=changed)
    assert judge(shipped("aider"), ended, NOW).status == status


def test_reasons_are_short() -> None:
    """Stack traces, colours and repetitions are not why."""
    stderr = "\n".join(["\x1b[31mError: it broke\x1b[0m", *["    at f (file.js:1:2)"] * 50] * 20)
    ended = Ended(findings=Findings(), exit_code=1, stderr=stderr)
    reason = judge(shipped("gemini_cli"), ended, NOW).reason
    assert reason == "Gemini CLI failed with exit status 1.\nError: it broke"


def test_a_reader_is_forgiven_what_it_was_denied() -> None:
    findings, _ = read(*recorded("claude_code-denied"))
    ended = Ended(findings=findings, exit_code=0, permission=PermissionLevel.READ)
    assert judge(shipped("claude_code"), ended, NOW).status is ResultStatus.OK


KEYS = st.sampled_from(
    [
        "type",
        "message",
        "content",
        "role",
        "subtype",
        "usage",
        "item",
        "result",
        "error",
        "part",
        "tokens",
        "status",
        "text",
        "id",
        "input_tokens",
        "total_cost_usd",
        "permission_denials",
        "data",
        "success",
        "tool_name",
        "is_error",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
TYPES = st.sampled_from(
    [
        "assistant",
        "user",
        "result",
        "system",
        "item.completed",
        "turn.completed",
        "error",
        "step_finish",
        "tool_use",
    ]
)


@given(tool=st.sampled_from(shipped_names()), rows=st.lists(st.tuples(TYPES, JSON), max_size=5))
def test_any_output_can_be_read(tool: str, rows: list[tuple[str, object]]) -> None:
    """Programs change, and a model may print what looks like an event."""
    lines = [json.dumps({"type": kind, "message": row, "item": row}) for kind, row in rows]
    lines += [json.dumps({**row, "type": kind}) for kind, row in rows if isinstance(row, dict)]
    findings, _ = read(tool, [*lines, "[1", "{}", "null", '"x"', "[" * 5000])
    judgement = judge(shipped(tool), Ended(findings=findings, exit_code=0), NOW)
    assert judgement.status in ResultStatus
    assert all(count >= 0 for count in findings.usage.values())
