"""Google's Gemini API: `models/NAME:generateContent` and `:streamGenerateContent`."""

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
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
}


def read(body: Json, *, model: str, stream: bool) -> Conversation:
    items = body.get("contents", [])
    wishes = body.get("generationConfig") or {}
    shape = None
    if wishes.get("responseMimeType") == "application/json":
        shape = wishes.get("responseJsonSchema") or wishes.get("responseSchema") or {}
    return Conversation(
        model=model,
        stream=stream,
        offers=[
            Offer(tool["name"], tool.get("parametersJsonSchema") or tool.get("parameters") or {})
            for group in body.get("tools", [])
            for tool in group.get("functionDeclarations", [])
        ],
        results=results_since_user(
            items, lambda m: m.get("role", "user") == "user" and not _results(m), _results
        ),
        text="\n".join(words(body.get("systemInstruction")) + words(items)),
        wanted_json=shape,
    )


def _results(message: Any) -> int:
    return sum("functionResponse" in part for part in message.get("parts", []))


def document(conversation: Conversation, turn: Turn) -> Json:
    return _chunk(conversation, [{"text": turn.text}, *_calls(turn)], last=True)


def frames(conversation: Conversation, turn: Turn) -> Iterator[str]:
    for piece in pieces(turn.text):
        yield _frame(_chunk(conversation, [{"text": piece}]))
    yield _frame(_chunk(conversation, _calls(turn) or [{"text": ""}], last=True))


def _frame(chunk: Json) -> str:
    return f"data: {json.dumps(chunk)}\r\n\r\n"


def _calls(turn: Turn) -> list[Json]:
    return [
        {"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}}
        for call in turn.calls
    ]


def _chunk(conversation: Conversation, parts: list[Json], *, last: bool = False) -> Json:
    candidate: Json = {"index": 0, "content": {"role": "model", "parts": parts}}
    chunk: Json = {"modelVersion": conversation.model, "responseId": new_id("")}
    if last:
        candidate["finishReason"] = "STOP"
        chunk["usageMetadata"] = {
            "promptTokenCount": TOKENS_IN,
            "candidatesTokenCount": TOKENS_OUT,
            "totalTokenCount": TOKENS_IN + TOKENS_OUT,
        }
    return {**chunk, "candidates": [candidate]}


def refusal(turn: Turn) -> Json:
    status = _KINDS.get(turn.status, "INTERNAL")
    return {"error": {"code": turn.status, "message": turn.error, "status": status}}
