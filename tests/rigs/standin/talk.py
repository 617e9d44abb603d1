"""What the stand-in makes of a request, whatever API it came by, and what it answers."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

TOKENS_IN = 1200
TOKENS_OUT = 34
"""Of every answer, so that tests can count."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Offer:
    """A tool that the client lets the model use. `free`: it takes plain text, not JSON."""

    name: str
    schema: Mapping[str, Any] = field(default_factory=dict)
    free: bool = False

    @property
    def properties(self) -> Mapping[str, Any]:
        return dict(self.schema.get("properties", {}))


@dataclass
class Conversation:
    """A request in neutral words."""

    model: str = ""
    stream: bool = False
    offers: list[Offer] = field(default_factory=list)
    results: int = 0
    """Tool results since the last words of the user."""
    text: str = ""
    """All words in it."""
    wanted_json: Mapping[str, Any] | None = None
    """The schema, if the client wants JSON of a shape."""


@dataclass(frozen=True)
class Call:
    """The model uses a tool: with arguments, or with free text."""

    name: str
    arguments: Json = field(default_factory=dict)
    free_text: str | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:20])


@dataclass(frozen=True)
class Turn:
    """One answer, or a refusal (`status` other than 200)."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    status: int = 200
    error: str = ""
    hang: bool = False
    """After the first pieces, say nothing more."""
    pause_s: float = 0.0
    """Between two pieces."""


def words(value: Any) -> list[str]:
    """Every text that a message holds, in order."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [word for part in value for word in words(part)]
    if isinstance(value, dict):
        keys = ("text", "content", "parts", "output")
        return [word for key in keys for word in words(value.get(key))]
    return []


def results_since_user(
    items: Iterable[Any], is_user: Callable[[Any], bool], results: Callable[[Any], int]
) -> int:
    """How many tool results came after the last words of the user."""
    count = 0
    for item in items:
        count = 0 if is_user(item) else count
        count += results(item)
    return count


def pieces(text: str, size: int = 24) -> Iterator[str]:
    """A text as a model says it, bit by bit."""
    for start in range(0, len(text), size):
        yield text[start : start + size]


def new_id(prefix: str) -> str:
    return prefix + uuid.uuid4().hex[:20]
