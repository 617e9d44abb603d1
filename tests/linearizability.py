"""Is a history of reads and writes one that a single copy of the data could have given?

Linearizability (Herlihy and Wing 1990): every operation seems to happen at one instant between its
call and its return. The search is Wing and Gong's (1993) with Lowe's memory (2017) of what was
tried: take any operation that nothing unfinished had to precede, apply it to a model, go on; step
back when stuck; never look twice at the same set of placed operations with the same state. A
history is linearizable if it is so key by key (Horn and Kroening 2015), so keys are searched apart.

A history is JSON lines `{client, op, key, value, invoke_ns, return_ns, ok}`. A key holds either

- a register, None at first: `write` (value), `read` (value = what it answered), `cas`
  (value = [expected, new]); or
- a list, empty at first: `append` (value; each is appended once per key), `read` (value = list).

`ok` true: it answered. `ok` null: the outcome is unknown, the operation may take effect at any
moment after its call or never; `return_ns` is ignored. `ok` false: it certainly changed nothing;
only a `cas` says something by that (the expected value was not there), others are left out.

A list's state is not kept: every read must be a beginning of the longest one, which fixes the order
of its elements, so that a length says it all. End a run with one read per key, or nothing does.

    python -m tests.linearizability FILE        exit status 1 if it is not linearizable
"""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

FOREVER_NS = 1 << 62
LIMIT_STEPS = 20_000_000
"""A search that takes more steps is given up with `SearchTooLong`; it is no verdict."""

Model = Callable[[Any, "Operation"], "tuple[bool, Any]"]
"""Answers (may it happen in this state, the state after it)."""


class InvalidHistory(ValueError):
    """The file is not a history as the head of this module has it."""


class SearchTooLong(RuntimeError):
    """The search took more steps than it may; the history may be either."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of a history."""

    client: str | int
    op: str
    key: str
    value: Any
    invoke_ns: int
    return_ns: int | None
    ok: bool | None

    def __str__(self) -> str:
        outcome = {True: "", False: " (refused)", None: " (outcome unknown)"}[self.ok]
        end = "?" if self.ok is None else self.return_ns
        shown = json.dumps(self.value)
        shown = shown if len(shown) <= 60 else f"{shown[:28]} ... {shown[-28:]}"
        return f"[{self.invoke_ns}..{end}] client {self.client}: {self.op} {shown}{outcome}"


@dataclass(frozen=True, slots=True)
class Violation:
    """Why the operations on one key have no order; `operation` could not be placed."""

    key: str
    reason: str
    operation: Operation | None = None

    def __str__(self) -> str:
        return f"key {self.key!r}: {self.reason}" + (
            f": {self.operation}" if self.operation else ""
        )


def check(history: Iterable[Operation], limit_steps: int = LIMIT_STEPS) -> list[Violation]:
    """Answer one violation for each key that is not linearizable; an empty list is a good history.

    Raise InvalidHistory for a history that means nothing, SearchTooLong beyond `limit_steps`.
    """
    keys: dict[str, list[Operation]] = {}
    for operation in history:
        _validate(operation)
        keys.setdefault(operation.key, []).append(operation)
    found = [_check_key(key, operations, limit_steps) for key, operations in sorted(keys.items())]
    return [violation for violation in found if violation is not None]


def parse(lines: Iterable[str]) -> list[Operation]:
    """Read JSON lines; empty ones are passed over. Raise InvalidHistory with the line's number."""
    operations = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            operations.append(Operation(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise InvalidHistory(f"line {number}: {error}") from error
    return operations


def _validate(operation: Operation) -> None:
    if operation.op not in ("read", "write", "cas", "append"):
        raise InvalidHistory(f"no such operation: {operation.op}")
    if operation.ok is not None and (
        operation.return_ns is None or operation.return_ns < operation.invoke_ns
    ):
        raise InvalidHistory(f"it returned before it was called: {operation}")


def _check_key(key: str, operations: Sequence[Operation], limit_steps: int) -> Violation | None:
    is_list = any(
        o.op == "append" or isinstance(o.value, list) for o in operations if o.op != "cas"
    )
    if not is_list:
        return _verdict(key, _Search(_relevant_register(operations), _register, None), limit_steps)
    if any(o.op in ("write", "cas") for o in operations):
        raise InvalidHistory(f"key {key!r} is both a register and a list")
    longest = _longest_read(operations)
    wrong = _wrong_list(key, operations, longest)
    if wrong is not None:
        return wrong
    search = _Search(_relevant_list(operations, longest), _list_model(longest), 0)
    return _verdict(key, search, limit_steps)


def _verdict(key: str, search: "_Search", limit_steps: int) -> Violation | None:
    if search.run(limit_steps):
        return None
    count, stuck = search.furthest
    reason = (
        f"{count} of {len(search.operations)} operations can be put in order, then one has no place"
    )
    return Violation(key, reason, stuck)


# --- the register ---------------------------------------------------------------------------------


def _register(state: Any, operation: Operation) -> tuple[bool, Any]:
    """Answer whether a register with that value could do it, and its value then."""
    if operation.op == "read":
        return state == operation.value, state
    if operation.op == "write":
        return True, operation.value
    expected, new = operation.value
    if operation.ok is False:
        return state != expected, state
    return state == expected, new


def _relevant_register(operations: Sequence[Operation]) -> list[Operation]:
    """Leave out what says nothing: refused operations, reads without an answer, unseen writes.

    A write of unknown outcome that no read saw may be left out where no cas could tell: between it
    and the next write there can have been no read.
    """
    told = any(o.op == "cas" for o in operations)
    seen = {_frozen(o.value) for o in operations if o.op == "read" and o.ok}
    return [
        o
        for o in operations
        if (o.ok or o.op == "cas" or (o.ok is None and o.op == "write"))
        and not (o.ok is None and o.op == "write" and not told and _frozen(o.value) not in seen)
    ]


# --- the list -------------------------------------------------------------------------------------


def _longest_read(operations: Sequence[Operation]) -> list[Any]:
    reads = (o.value for o in operations if o.op == "read" and o.ok)
    return list(max(reads, key=len, default=[]))


def _wrong_list(key: str, operations: Sequence[Operation], longest: list[Any]) -> Violation | None:
    """Answer what no order could explain: an element twice or from nowhere, reads that disagree."""
    appended = [_frozen(o.value) for o in operations if o.op == "append" and o.ok is not False]
    if len(set(appended)) != len(appended):
        raise InvalidHistory(f"key {key!r}: one value is appended by two operations")
    for operation in operations:
        if operation.op != "read" or not operation.ok:
            continue
        elements = [_frozen(element) for element in operation.value]
        if len(set(elements)) != len(elements):
            return Violation(key, "an element was appended once and read twice", operation)
        if not set(elements) <= set(appended):
            return Violation(key, "an element was read that nobody appended", operation)
        if longest[: len(elements)] != list(operation.value):
            return Violation(key, "two reads disagree on the order", operation)
    return None


def _list_model(longest: list[Any]) -> Model:
    """Answer a model whose state is the list's length; see the head of the module."""
    position = {_frozen(element): index for index, element in enumerate(longest)}
    end = len(longest)

    def model(length: int, operation: Operation) -> tuple[bool, int]:
        if operation.op == "read":
            return length == len(operation.value), length
        place = position.get(_frozen(operation.value))
        if place is None:
            return length >= end, length + 1
        return length == place, length + 1

    return model


def _relevant_list(operations: Sequence[Operation], longest: list[Any]) -> list[Operation]:
    """Leave out refused operations and appends of unknown outcome that no read saw."""
    seen = {_frozen(element) for element in longest}
    return [
        o
        for o in operations
        if o.ok or (o.ok is None and o.op == "append" and _frozen(o.value) in seen)
    ]


def _frozen(value: Any) -> Any:
    """Answer a hashable stand-in for a JSON value."""
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value


# --- the search -----------------------------------------------------------------------------------


class _Event:
    """A call or a return, linked in order of time; those of placed operations are cut out."""

    __slots__ = ("after", "before", "number", "partner")

    def __init__(self, number: int) -> None:
        self.number = number
        self.partner: _Event | None = None  # the return of a call; None for a return
        self.before: _Event = self
        self.after: _Event | None = None


@dataclass(frozen=True, slots=True)
class _Position:
    """A point of the search: what has been placed, and the model's state after it.

    Operations with an answer are numbered in order of their calls, then the others. All below
    `base` are placed; bit i of `window` is number base + i; bit i of `unknown` the i-th of unknown
    outcome. So a point takes as many bits as operations overlap, however long the history is.
    """

    base: int
    window: int
    unknown: int
    state: Any

    def place(self, number: int, answered: int, state: Any) -> "_Position":
        """Answer the point after placing operation `number`, one of `answered` with an answer."""
        if number >= answered:
            return _Position(self.base, self.window, self.unknown | 1 << number - answered, state)
        window = self.window | 1 << number - self.base
        ones = (~window & (window + 1)).bit_length() - 1
        return _Position(self.base + ones, window >> ones, self.unknown, state)

    def memory(self) -> tuple[Any, ...]:
        """Answer what makes two points equal."""
        return self.base, self.window, self.unknown, _frozen(self.state)


class _Search:
    """The search on one key, as a stack of placed operations that can be taken back."""

    def __init__(self, operations: Sequence[Operation], model: Model, state: Any) -> None:
        self.operations = sorted(operations, key=lambda o: (o.ok is None, o.invoke_ns))
        self.furthest: tuple[int, Operation | None] = (-1, None)
        self._model = model
        self._answered = sum(o.ok is not None for o in operations)
        self._observes = [o.op == "read" or o.ok is False for o in self.operations]
        self._head = _linked(self.operations)
        self._position = _Position(0, 0, 0, state)
        self._stack: list[tuple[_Event, _Position, bool]] = []
        self._tried: set[tuple[Any, ...]] = set()

    def run(self, limit_steps: int) -> bool:
        """Answer whether there is an order. `furthest` tells where the longest attempt stuck."""
        event = self._fresh()
        for _ in range(limit_steps):
            if self._position.base == self._answered:
                return True
            assert event is not None  # an operation with an answer is left: its return is ahead
            if event.partner is None:  # it can wait no longer, and all calls before it were tried
                self._note(event)
                if not self._stack:
                    return False
                event = self._take_back()
            elif (following := self._step(event)) is None or self._seen(following):
                event = event.after
            else:
                self._place(event, following, settled=False)
                event = self._fresh()
        raise SearchTooLong(f"no verdict after {limit_steps} steps")

    def _fresh(self) -> _Event | None:
        """Place what only observes, then answer the first call to try.

        A read (or refused cas) that may happen now may as well happen now: any order from here on
        stays one with it moved to the front. So there is no other way to try.
        """
        event = self._head.after
        while event is not None and event.partner is not None:
            following = self._step(event) if self._observes[event.number] else None
            if following is not None:
                self._place(event, following, settled=True)
                event = self._head.after
            else:
                event = event.after
        return self._head.after

    def _step(self, event: _Event) -> _Position | None:
        possible, state = self._model(self._position.state, self.operations[event.number])
        return self._position.place(event.number, self._answered, state) if possible else None

    def _seen(self, position: _Position) -> bool:
        memory = position.memory()
        if memory in self._tried:
            return True
        self._tried.add(memory)
        return False

    def _place(self, event: _Event, following: _Position, *, settled: bool) -> None:
        self._stack.append((event, self._position, settled))
        _cut(event)
        self._position = following

    def _take_back(self) -> _Event | None:
        """Undo up to the last choice; answer the call after it, or a return if there was none."""
        while True:
            event, self._position, settled = self._stack.pop()
            _mend(event)
            if not settled:
                return event.after
            if not self._stack:
                return event.partner

    def _note(self, event: _Event) -> None:
        if len(self._stack) > self.furthest[0]:
            self.furthest = (len(self._stack), self.operations[event.number])


def _linked(operations: Sequence[Operation]) -> _Event:
    """Answer the head of the list of events. At one instant calls come before returns."""
    head = _Event(-1)
    times: list[tuple[int, int, int, _Event]] = []
    for number, operation in enumerate(operations):
        call, end = _Event(number), _Event(number)
        call.partner = end
        until = FOREVER_NS if operation.ok is None else operation.return_ns or 0
        times.append((operation.invoke_ns, 0, number, call))
        times.append((until, 1, number, end))
    last = head
    for *_, event in sorted(times, key=lambda item: item[:3]):
        last.after, event.before = event, last
        last = event
    return head


def _cut(call: _Event) -> None:
    """Take a call and its return out of the list; both remember where they were."""
    for event in (call, call.partner):
        assert event is not None
        event.before.after = event.after
        if event.after is not None:
            event.after.before = event.before


def _mend(call: _Event) -> None:
    """Put back what `_cut` took out last."""
    for event in (call.partner, call):
        assert event is not None
        event.before.after = event
        if event.after is not None:
            event.after.before = event


def relative(history: Sequence[Operation]) -> list[Operation]:
    """Answer the history with times counted from its first call, for people to read."""
    start = min((o.invoke_ns for o in history), default=0)
    return [
        replace(
            o,
            invoke_ns=o.invoke_ns - start,
            return_ns=None if o.return_ns is None else o.return_ns - start,
        )
        for o in history
    ]


def main(arguments: Sequence[str]) -> int:
    """Check one file; say what is wrong with it."""
    if len(arguments) != 1:
        print("usage: python -m tests.linearizability FILE", file=sys.stderr)
        return 2
    try:
        with Path(arguments[0]).open(encoding="utf-8") as lines:
            history = relative(parse(lines))
        violations = check(history)
    except (OSError, InvalidHistory, SearchTooLong) as error:
        print(error, file=sys.stderr)
        return 2
    for violation in violations:
        print(violation)
    print(f"{len(history)} operations, {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
