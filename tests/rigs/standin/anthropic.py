"""Anthropic's Messages API: `POST /v1/messages`, as one document or as server-sent events."""

import json
from collections.abc import Iterator
from typing import Any

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

_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def read(body: Json) -> Conversation:
    messages = body.get("messages", [])
    shape = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    return Conversation(
        model=body.get("model", ""),
        stream=bool(body.get("stream")),
        offers=[
            Offer(tool["name"], tool.get("input_schema", {}))
            for tool in body.get("tools", [])
            if "name" in tool
        ],
        results=results_since_user(
            messages, lambda m: m.get("role") == "user" and not _results(m), _results
        ),
        text="\n".join(words(body.get("system")) + words(messages)),
        wanted_json=shape.get("schema", {}) if shape.get("type") == "json_schema" else None,
    )


def _results(message: Any) -> int:
    content = message.get("content")
    blocks = content if isinstance(content, list) else []
    return sum(block.get("type") == "tool_result" for block in blocks)


def document(conversation: Conversation, turn: Turn) -> Json:
    content: list[Json] = [{"type": "text", "text": turn.text}] if turn.text else []
    content += [
        {"type": "tool_use", "id": f"toolu_{call.id}", "name": call.name, "input": call.arguments}
        for call in turn.calls
    ]
    return {
        "id": new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": conversation.model,
        "content": content,
        "stop_reason": "tool_use" if turn.calls else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": TOKENS_IN,
            "output_tokens": TOKENS_OUT,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        },
    }


def frames(conversation: Conversation, turn: Turn) -> Iterator[str]:
    for event in _events(document(conversation, turn)):
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"


def _events(message: Json) -> Iterator[Json]:
    begun = {**message, "content": [], "stop_reason": None}
    begun["usage"] = {**message["usage"], "output_tokens": 1}
    yield {"type": "message_start", "message": begun}
    for index, block in enumerate(message["content"]):
        is_text = block["type"] == "text"
        empty = {"type": "text", "text": ""} if is_text else {**block, "input": {}}
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for piece in pieces(block["text"] if is_text else json.dumps(block["input"])):
            delta = (
                {"type": "text_delta", "text": piece}
                if is_text
                else {"type": "input_json_delta", "partial_json": piece}
            )
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": TOKENS_OUT}
    yield {"type": "message_delta", "delta": ended, "usage": usage}
    yield {"type": "message_stop"}


def refusal(turn: Turn) -> Json:
    kind = _KINDS.get(turn.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": turn.error}}
