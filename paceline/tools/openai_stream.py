"""The wire side of Chat Completions: what the server-sent events of one answer mean.

Services differ in the details. So: the end is `[DONE]`, or the end of the connection once a choice
has its `finish_reason`; calls may come whole or in pieces; usage may come in an event of its own.
"""

import json
from collections.abc import Iterator
from typing import Any

from paceline.tasks.model import ResultStatus
from paceline.tools.chat import ModelCall
from paceline.tools.events import Event, Log, Text
from paceline.tools.lines import LineSplitter

ANSWER_LIMIT_BYTES = 16 * 1024 * 1024
CALLS_LIMIT = 64


class OpenAIAnswer:
    """Collects one streamed answer, event by event."""

    def __init__(self) -> None:
        self._lines = LineSplitter()
        self._thoughts = LineSplitter()
        self._said = bytearray()
        self._size = 0
        self._pieces: dict[int, dict[str, str]] = {}
        self._ended = False
        self._reason = ""
        self._error = ""
        self.usage: dict[str, int] = {}

    @property
    def over(self) -> bool:
        """Answer whether nothing that may still come matters."""
        return bool(self._error) or self._ended

    @property
    def text(self) -> str:
        """Answer what the model has said."""
        return self._said.decode()

    @property
    def calls(self) -> list[ModelCall]:
        """Answer what it wants done."""
        return [
            ModelCall(piece["name"], _object(piece["arguments"]), piece["id"])
            for _, piece in sorted(self._pieces.items())
        ]

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take what the connection gave; give what it means."""
        for line in self._lines.feed(data):
            name, _, value = line.partition(":")
            if name == "data" and not self.over:
                yield from self._event(value.strip())

    def _event(self, data: str) -> Iterator[Event]:
        if data == "[DONE]":
            self._ended = True
            return
        chunk = _object(data)
        if chunk is None:
            self._error = f"the service sent what is not a JSON object: {data[:200]}"
        elif error := chunk.get("error"):
            words = error.get("message") if isinstance(error, dict) else error
            self._error = f"the service gave up: {words}"
        else:
            yield from self._chunk(chunk)

    def _chunk(self, chunk: dict[str, Any]) -> Iterator[Event]:
        if isinstance(usage := chunk.get("usage"), dict):
            self._use(usage)
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return
        if isinstance(delta := choice.get("delta"), dict):
            yield from self._delta(delta)
        self._reason = str(choice.get("finish_reason") or self._reason)

    def _delta(self, delta: dict[str, Any]) -> Iterator[Event]:
        thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
        if isinstance(thought, str):
            for line in self._thoughts.feed(thought.encode("utf-8", "replace")):
                yield Log("thinking", line)
        if isinstance(text := delta.get("content"), str) and text:
            self._said += text.encode("utf-8", "replace")  # JSON may hold half a character
            self._grow(len(text))
            yield Text(text)
        for call in delta.get("tool_calls") or ():
            if isinstance(call, dict):
                self._call(call)

    def _call(self, call: dict[str, Any]) -> None:
        index = call.get("index")
        place = index if isinstance(index, int) else len(self._pieces)
        function = call.get("function")
        if not isinstance(function, dict) or len(self._pieces) > CALLS_LIMIT:
            return
        piece = self._pieces.setdefault(place, {"id": "", "name": "", "arguments": ""})
        piece["id"] = str(call.get("id") or piece["id"])
        piece["name"] = str(function.get("name") or piece["name"])
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # some services send an object, against the format
            piece["arguments"] = json.dumps(arguments)
        elif isinstance(arguments, str):
            piece["arguments"] += arguments
            self._grow(len(arguments))

    def _grow(self, characters: int) -> None:
        self._size += characters
        if self._size > ANSWER_LIMIT_BYTES:
            self._error = f"the answer is longer than {ANSWER_LIMIT_BYTES} bytes"

    def _use(self, usage: dict[str, Any]) -> None:
        details = usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else 0
        self.usage = {
            "tokens_in": _count(usage.get("prompt_tokens")),
            "tokens_out": _count(usage.get("completion_tokens")),
            "cached": _count(cached),
        }

    def message(self) -> dict[str, Any]:
        """Answer it as a message of the conversation."""
        calls = [
            {
                "id": piece["id"],
                "type": "function",
                "function": {"name": piece["name"], "arguments": piece["arguments"] or "{}"},
            }
            for _, piece in sorted(self._pieces.items())
        ]
        return {"role": "assistant", "content": self.text or None, "tool_calls": calls}

    def judge(self) -> tuple[ResultStatus, str]:
        """Answer whether it is a whole answer, and if not, why."""
        if self._error:
            return ResultStatus.ERROR, self._error
        if not self._reason:
            return ResultStatus.ERROR, "the connection ended in the middle of the answer"
        if self._reason == "length":
            return ResultStatus.TURN_LIMIT, "the answer hit the model's length limit"
        if self._reason == "content_filter":
            return ResultStatus.FAILED, "the service's content filter stopped the answer"
        if not self._said.strip() and not self._pieces:
            return ResultStatus.FAILED, "the model answered nothing"
        return ResultStatus.OK, ""


def _object(text: str) -> dict[str, Any] | None:
    """Answer the JSON object, or None if it is none. No text at all is an empty one."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
