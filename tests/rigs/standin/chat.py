"""OpenAI's Chat Completions (also of many other services), and Ollama's `/api/chat`."""

import json
from collections.abc import Iterator

from tests.rigs.standin.talk import (
    TOKENS_IN,
    TOKENS_OUT,
    Conversation,
    Json,
    Offer,
    Turn,
    new_id,
    pieces,
    results_since_user,
    words,
)

OLLAMA_VERSION = "0.20.0"
OLLAMA_MODEL = {
    "name": "standin:latest",
    "model": "standin:latest",
    "modified_at": "2026-01-01T00:00:00Z",
    "size": 1234567,
    "digest": "0" * 64,
    "details": {"format": "gguf", "family": "standin", "parameter_size": "1B"},
}
_CODES = {401: "invalid_api_key", 429: "insufficient_quota", 404: "model_not_found"}


def read(body: Json, *, stream: bool = False) -> Conversation:
    """`stream` is what the API does unless it is told."""
    messages = body.get("messages", [])
    shape = body.get("response_format") or {}
    wanted = (shape.get("json_schema") or {}).get("schema", {})
    return Conversation(
        model=body.get("model", ""),
        stream=bool(body.get("stream", stream)),
        offers=[
            Offer(tool["function"]["name"], tool["function"].get("parameters") or {})
            for tool in body.get("tools") or []
            if "function" in tool
        ],
        results=results_since_user(
            messages, lambda m: m.get("role") == "user", lambda m: m.get("role") == "tool"
        ),
        text="\n".join(words(messages)),
        wanted_json=wanted if shape.get("type") == "json_schema" else None,
    )


def document(conversation: Conversation, turn: Turn) -> Json:
    message: Json = {"role": "assistant", "content": turn.text}
    if turn.calls:
        message["tool_calls"] = _calls(turn)
    choice = {"index": 0, "message": message, "finish_reason": _reason(turn)}
    return {
        **_head(conversation),
        "object": "chat.completion",
        "choices": [choice],
        "usage": _usage(),
    }


def frames(conversation: Conversation, turn: Turn) -> Iterator[str]:
    head = {**_head(conversation), "object": "chat.completion.chunk"}
    for delta in _deltas(turn):
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        yield f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"
    ended = {"index": 0, "delta": {}, "finish_reason": _reason(turn)}
    yield f"data: {json.dumps({**head, 'choices': [ended]})}\n\n"
    yield f"data: {json.dumps({**head, 'choices': [], 'usage': _usage()})}\n\n"
    yield "data: [DONE]\n\n"


def _deltas(turn: Turn) -> Iterator[Json]:
    yield {"role": "assistant", "content": ""}
    for piece in pieces(turn.text):
        yield {"content": piece}
    for index, call in enumerate(_calls(turn)):
        arguments = call["function"]["arguments"]
        begun = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        yield {"tool_calls": [begun]}
        for piece in pieces(arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _head(conversation: Conversation) -> Json:
    return {"id": new_id("chatcmpl-"), "created": 1_767_225_600, "model": conversation.model}


def _reason(turn: Turn) -> str:
    return "tool_calls" if turn.calls else "stop"


def _usage() -> Json:
    return {
        "prompt_tokens": TOKENS_IN,
        "completion_tokens": TOKENS_OUT,
        "total_tokens": TOKENS_IN + TOKENS_OUT,
    }


def _calls(turn: Turn) -> list[Json]:
    return [
        {
            "id": f"call_{call.id}",
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
        }
        for call in turn.calls
    ]


def refusal(turn: Turn) -> Json:
    code = _CODES.get(turn.status, "server_error")
    kind = "invalid_request_error"
    return {"error": {"message": turn.error, "type": kind, "param": None, "code": code}}


def ollama_frames(conversation: Conversation, turn: Turn) -> Iterator[str]:
    head = {"model": conversation.model, "created_at": "2026-01-01T00:00:00Z"}
    for piece in pieces(turn.text):
        yield _line({**head, "message": _said(piece), "done": False})
    if turn.calls:
        calls = [
            {"function": {"name": call.name, "arguments": call.arguments}} for call in turn.calls
        ]
        yield _line({**head, "message": {**_said(""), "tool_calls": calls}, "done": False})
    yield _line(
        {
            **head,
            "message": _said(""),
            "done": True,
            "done_reason": "stop",
            "prompt_eval_count": TOKENS_IN,
            "eval_count": TOKENS_OUT,
        }
    )


def _said(text: str) -> Json:
    return {"role": "assistant", "content": text}


def _line(chunk: Json) -> str:
    return json.dumps(chunk) + "\n"
