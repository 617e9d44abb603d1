"""OpenAI's Responses API: `POST /v1/responses`, as one document or as server-sent events."""

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


def read(body: Json) -> Conversation:
    items = body.get("input", [])
    items = [{"role": "user", "content": items}] if isinstance(items, str) else items
    shape = (body.get("text") or {}).get("format") or {}
    return Conversation(
        model=body.get("model", ""),
        stream=bool(body.get("stream")),
        offers=list(_offers(body.get("tools") or [])),
        results=results_since_user(
            items,
            lambda item: item.get("role") == "user",
            lambda item: str(item.get("type", "")).endswith("_output"),
        ),
        text="\n".join(words(body.get("instructions")) + words(items)),
        wanted_json=shape.get("schema", {}) if shape.get("type") == "json_schema" else None,
    )


def _offers(tools: list[Any]) -> Iterator[Offer]:
    for tool in tools:
        if tool.get("type") == "function":
            yield Offer(tool["name"], tool.get("parameters") or {})
        elif tool.get("type") == "custom":
            yield Offer(tool["name"], free=True)


def document(conversation: Conversation, turn: Turn) -> Json:
    return {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": 1_767_225_600,
        "status": "completed",
        "model": conversation.model,
        "output": list(_items(turn)),
        "error": None,
        "incomplete_details": None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": TOKENS_IN,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": TOKENS_OUT,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": TOKENS_IN + TOKENS_OUT,
        },
    }


def _items(turn: Turn) -> Iterator[Json]:
    if turn.text:
        part = {"type": "output_text", "text": turn.text, "annotations": []}
        head = {"type": "message", "id": new_id("msg_"), "role": "assistant"}
        yield {**head, "status": "completed", "content": [part]}
    for call in turn.calls:
        head = {"call_id": f"call_{call.id}", "name": call.name, "status": "completed"}
        if call.free_text is None:
            arguments = json.dumps(call.arguments)
            yield {"type": "function_call", "id": f"fc_{call.id}", "arguments": arguments, **head}
        else:
            kind = {"type": "custom_tool_call", "id": f"ctc_{call.id}"}
            yield {**kind, "input": call.free_text, **head}


def frames(conversation: Conversation, turn: Turn) -> Iterator[str]:
    for number, event in enumerate(_events(document(conversation, turn))):
        event["sequence_number"] = number
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"


def _events(whole: Json) -> Iterator[Json]:
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(whole["output"]):
        where = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            yield from _message(item, where)
        else:
            yield from _call(item, where)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": whole}


def _message(item: Json, where: Json) -> Iterator[Json]:
    part = item["content"][0]
    at = {**where, "content_index": 0}
    begun = {**item, "status": "in_progress", "content": []}
    index = where["output_index"]
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    yield {"type": "response.content_part.added", "part": {**part, "text": ""}, **at}
    for piece in pieces(part["text"]):
        yield {"type": "response.output_text.delta", "delta": piece, "logprobs": [], **at}
    yield {"type": "response.output_text.done", "text": part["text"], "logprobs": [], **at}
    yield {"type": "response.content_part.done", "part": part, **at}


def _call(item: Json, where: Json) -> Iterator[Json]:
    free = item["type"] == "custom_tool_call"
    key = "input" if free else "arguments"
    kind = "response.custom_tool_call_input" if free else "response.function_call_arguments"
    begun = {**item, "status": "in_progress", key: ""}
    index = where["output_index"]
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    yield {"type": f"{kind}.delta", "delta": item[key], **where}
    yield {"type": f"{kind}.done", key: item[key], **where}
