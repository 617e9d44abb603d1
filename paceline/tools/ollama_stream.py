"""The wire side of Ollama's `/api/chat`: what the lines of one answer mean."""

import json
from collections.abc import Iterator
from typing import Any

from paceline.tasks.model import ResultStatus
from paceline.tools.chat import ModelCall
from paceline.tools.events import Event, Log, Text
from paceline.tools.lines import LineSplitter

ANSWER_LIMIT_BYTES = 16 * 1024 * 1024
CALLS_LIMIT = 64


class OllamaAnswer:
    """Collects one streamed answer, line by line."""

    def __init__(self) -> None:
        self._lines = LineSplitter()
        self._thoughts = LineSplitter()
        self._answer = bytearray()
        self.usage: dict[str, int] = {}
        self.calls: list[ModelCall] = []
        self._done_reason: str | None = None
        self._error = ""

    @property
    def over(self) -> bool:
        """Answer whether nothing that may still come matters."""
        return bool(self._error) or self._done_reason is not None

    @property
    def text(self) -> str:
        """Answer what the model has said."""
        return self._answer.decode()

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take what the connection gave; give what it means."""
        for line in self._lines.feed(data):
            if line.strip() and not self.over:
                yield from self._read(line)

    def _read(self, line: str) -> Iterator[Event]:
        try:
            chunk = json.loads(line)
        except (ValueError, RecursionError):
            chunk = None
        if not isinstance(chunk, dict):
            self._error = f"Ollama sent what is not a JSON object: {line[:200]}"
        elif "error" in chunk:
            self._error = f"Ollama gave up: {chunk['error']}"
        else:
            yield from self._message(chunk)
            if chunk.get("done"):
                self._done(chunk)

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
        for call in message.get("tool_calls") or ():
            self._call(call)

    def _call(self, call: Any) -> None:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and len(self.calls) < CALLS_LIMIT:
            given = function.get("arguments")
            arguments = given if isinstance(given, dict) else None
            self.calls.append(ModelCall(str(function.get("name")), arguments))

    def _done(self, chunk: dict[str, Any]) -> None:
        self._done_reason = str(chunk.get("done_reason") or "stop")
        self.usage = {
            "tokens_in": _count(chunk.get("prompt_eval_count")),
            "tokens_out": _count(chunk.get("eval_count")),
        }

    def message(self) -> dict[str, Any]:
        """Answer it as a message of the conversation."""
        calls = [
            {"function": {"name": call.name, "arguments": dict(call.arguments or {})}}
            for call in self.calls
        ]
        return {"role": "assistant", "content": self.text, "tool_calls": calls}

    def judge(self) -> tuple[ResultStatus, str]:
        """Answer whether it is a whole answer, and if not, why."""
        if self._error:
            return ResultStatus.ERROR, self._error
        if self._done_reason is None:
            return ResultStatus.ERROR, "the connection to Ollama ended in the middle of the answer"
        if self._done_reason == "length":
            reason = "the answer hit the model's length limit: raise options.num_predict or num_ctx"
            return ResultStatus.TURN_LIMIT, reason
        if not self._answer.strip() and not self.calls:
            return ResultStatus.FAILED, "the model answered nothing"
        return ResultStatus.OK, ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
