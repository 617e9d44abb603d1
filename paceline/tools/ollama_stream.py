"""The wire side of Ollama's `/api/chat`: what its lines and its refusals mean."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from paceline.tasks.model import ResultStatus
from paceline.tools.events import Event, Log, Text, ToolResult, Usage
from paceline.tools.lines import LineSplitter

ANSWER_LIMIT_BYTES = 16 * 1024 * 1024


class Answer:
    """Collects one streamed answer, line by line."""

    def __init__(self) -> None:
        self._lines = LineSplitter()
        self._thoughts = LineSplitter()
        self._answer = bytearray()
        self._usage: dict[str, int] = {}
        self._done_reason: str | None = None
        self._error = ""

    @property
    def over(self) -> bool:
        """Answer whether nothing that may still come matters."""
        return bool(self._error) or self._done_reason is not None

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take what the connection gave; give what it means."""
        for line in self._lines.feed(data):
            if line.strip() and not self.over:
                yield from self._read(line)

    def _read(self, line: str) -> Iterator[Event]:
        try:
            chunk = json.loads(line)
        except ValueError:
            chunk = None
        if not isinstance(chunk, dict):
            self._error = f"Ollama sent what is not a JSON object: {line[:200]}"
        elif "error" in chunk:
            self._error = f"Ollama gave up: {chunk['error']}"
        else:
            yield from self._message(chunk)
            if chunk.get("done"):
                yield self._done(chunk)

    def _message(self, chunk: dict[str, Any]) -> Iterator[Event]:
        message = chunk.get("message")
        if not isinstance(message, dict):
            return
        for thought in self._thoughts.feed(
            str(message.get("thinking") or "").encode("utf-8", "replace")
        ):
            yield Log("thinking", thought)
        if text := str(message.get("content") or ""):
            self._answer += text.encode("utf-8", "replace")  # JSON may hold half a character
            if len(self._answer) > ANSWER_LIMIT_BYTES:
                self._error = f"the answer is longer than {ANSWER_LIMIT_BYTES} bytes"
            yield Text(text)

    def _done(self, chunk: dict[str, Any]) -> Event:
        self._done_reason = str(chunk.get("done_reason") or "stop")
        self._usage = {
            "input_tokens": _count(chunk.get("prompt_eval_count")),
            "output_tokens": _count(chunk.get("eval_count")),
        }
        return Usage(self._usage)

    def finish(self, output: Path) -> ToolResult:
        """Judge the whole, and write a complete answer to `output`. Blocks for the write."""
        status, reason = self._judge()
        if status is ResultStatus.OK:
            output.write_bytes(self._answer)
            reason = self._answer.decode()
        return ToolResult(status, reason, usage=self._usage)

    def _judge(self) -> tuple[ResultStatus, str]:
        if self._error:
            return ResultStatus.ERROR, self._error
        if self._done_reason is None:
            return ResultStatus.ERROR, "the connection to Ollama ended in the middle of the answer"
        if self._done_reason == "length":
            reason = "the answer hit the model's length limit: raise options.num_predict or num_ctx"
            return ResultStatus.TURN_LIMIT, reason
        if not self._answer.strip():
            return ResultStatus.FAILED, "the model answered nothing"
        return ResultStatus.OK, ""


def refusal(response: httpx.Response, body: bytes, model: str, url: str) -> ToolResult:
    """Answer what an HTTP status other than 200 means for the attempt."""
    said = _error_text(body) or response.reason_phrase
    match response.status_code:
        case 404:
            reason = f"Ollama at {url} has no model {model}: get it with `ollama pull {model}`"
            return ToolResult(ResultStatus.ERROR, f"{reason} ({said})")
        case 401 | 403:
            return ToolResult(ResultStatus.AUTH, f"Ollama at {url} refuses this node: {said}")
        case 429:
            after_ms = _retry_after_ms(response)
            return ToolResult(
                ResultStatus.QUOTA, f"Ollama is over its limit: {said}", retryable_after_ms=after_ms
            )
    return ToolResult(ResultStatus.ERROR, f"Ollama answered {response.status_code}: {said}")


def _error_text(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, LookupError, TypeError):
        return body[:500].decode("utf-8", "replace").strip()


def _retry_after_ms(response: httpx.Response) -> int | None:
    """Answer the pause that the server asks for, if it gives it in seconds."""
    value = response.headers.get("retry-after", "")
    return int(value) * 1000 if value.isdigit() and len(value) < 8 else None


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
