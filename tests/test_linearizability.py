"""The checker accepts what one copy of the data could have answered, and nothing else."""

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.linearizability import (
    InvalidHistory,
    Operation,
    SearchTooLong,
    Violation,
    check,
    parse,
)


def op(  # noqa: PLR0917 - as short to read as can be
    kind: str, value: Any, start: int, end: int | None, ok: bool | None = True, key: str = "x"
) -> Operation:
    return Operation(f"{start}", kind, key, value, start, end, ok)


def reason(history: Sequence[Operation]) -> str:
    (violation,) = check(history)
    return violation.reason


# --- registers ------------------------------------------------------------------------------------


def test_an_empty_history_is_good() -> None:
    assert check([]) == []


def test_a_read_sees_the_write_before_it() -> None:
    assert check([op("write", 1, 0, 1), op("read", 1, 2, 3)]) == []


def test_a_read_before_any_write_sees_nothing() -> None:
    assert check([op("read", None, 0, 1), op("write", 1, 2, 3)]) == []
    assert check([op("read", 1, 0, 1), op("write", 1, 2, 3)]) != []


def test_overlapping_operations_may_happen_in_either_order() -> None:
    assert check([op("write", 1, 0, 10), op("read", None, 1, 9)]) == []
    assert check([op("write", 1, 0, 10), op("read", 1, 1, 9)]) == []


def test_a_stale_read_is_found_and_named() -> None:
    stale = op("read", 1, 4, 5)
    history = [op("write", 1, 0, 1), op("write", 2, 2, 3), stale]
    (violation,) = check(history)
    assert violation.operation == stale
    assert violation.key == "x"


def test_two_reads_may_not_go_back_in_time() -> None:
    write = op("write", 2, 1, 10)
    forward = [op("write", 1, 0, 0), write, op("read", 1, 2, 3), op("read", 2, 4, 5)]
    back = [op("write", 1, 0, 0), write, op("read", 2, 2, 3), op("read", 1, 4, 5)]
    assert check(forward) == []
    assert check(back) != []


def test_a_lost_acknowledged_write_is_found() -> None:
    assert check([op("write", 1, 0, 1), op("read", None, 2, 3)]) != []


def test_an_unknown_write_may_happen_late_or_never() -> None:
    lost = op("write", 2, 1, None, ok=None)
    assert check([op("write", 1, 0, 0), lost, op("read", 1, 5, 6)]) == []
    assert check([op("write", 1, 0, 0), lost, op("read", 1, 5, 6), op("read", 2, 7, 8)]) == []


def test_an_unknown_write_happens_at_most_once() -> None:
    lost = op("write", 2, 1, None, ok=None)
    reads = [op("read", 2, 5, 6), op("read", 1, 9, 10), op("read", 2, 11, 12)]
    assert check([op("write", 1, 7, 8), lost, *reads]) != []


def test_a_refused_write_never_happened() -> None:
    history = [op("write", 1, 0, 1), op("write", 2, 2, 3, ok=False)]
    assert check([*history, op("read", 1, 4, 5)]) == []
    assert check([*history, op("read", 2, 4, 5)]) != []


def test_compare_and_set_needs_the_expected_value() -> None:
    write = op("write", 1, 0, 1)
    assert check([write, op("cas", [1, 2], 2, 3), op("read", 2, 4, 5)]) == []
    assert check([write, op("cas", [3, 2], 2, 3)]) != []


def test_a_refused_compare_and_set_saw_another_value() -> None:
    write = op("write", 1, 0, 1)
    assert check([write, op("cas", [3, 2], 2, 3, ok=False), op("read", 1, 4, 5)]) == []
    assert check([write, op("cas", [1, 2], 2, 3, ok=False)]) != []


def test_an_unknown_write_that_only_a_cas_can_tell_counts() -> None:
    history = [op("write", 1, 0, 1), op("write", 2, 2, None, ok=None), op("cas", [2, 1], 4, 5)]
    assert check([*history, op("read", 1, 6, 7)]) == []


def test_of_two_overlapping_cas_one_wins() -> None:
    both = [op("cas", [None, 1], 0, 5), op("cas", [None, 2], 0, 5)]
    one = [op("cas", [None, 1], 0, 5), op("cas", [None, 2], 0, 5, ok=False)]
    assert check(both) != []
    assert check(one) == []


def test_keys_are_apart() -> None:
    history = [op("write", 1, 0, 1, key="a"), op("read", None, 2, 3, key="b")]
    assert check(history) == []
    bad = [*history, op("read", None, 4, 5, key="a")]
    assert [violation.key for violation in check(bad)] == ["a"]


# --- lists ----------------------------------------------------------------------------------------


def test_a_list_grows_at_its_end() -> None:
    history = [op("append", 1, 0, 1), op("append", 2, 2, 3), op("read", [1, 2], 4, 5)]
    assert check(history) == []


def test_a_list_with_its_order_reversed_is_found() -> None:
    assert check([op("append", 1, 0, 1), op("append", 2, 2, 3), op("read", [2, 1], 4, 5)]) != []


def test_a_duplicated_append_is_found() -> None:
    history = [op("append", 1, 0, 1), op("read", [1, 1], 2, 3)]
    assert "read twice" in reason(history)


def test_a_lost_append_is_found() -> None:
    assert check([op("append", 1, 0, 1), op("append", 2, 2, 3), op("read", [2], 4, 5)]) != []
    assert check([op("append", 1, 0, 1), op("read", [], 2, 3)]) != []


def test_an_element_from_nowhere_is_found() -> None:
    assert "nobody appended" in reason([op("read", [7], 0, 1)])
    assert "nobody appended" in reason([op("append", 7, 0, 1, ok=False), op("read", [7], 2, 3)])


def test_reads_that_disagree_on_the_order_are_found() -> None:
    appends = [op("append", 1, 0, 9), op("append", 2, 0, 9)]
    reads = [op("read", [1], 1, 2), op("read", [2, 1], 3, 9)]
    assert "disagree" in reason([*appends, *reads])


def test_a_stale_list_is_found() -> None:
    history = [op("append", 1, 0, 1), op("append", 2, 2, 3), op("read", [1, 2], 4, 5)]
    assert check([*history, op("read", [1], 6, 7)]) != []


def test_an_unknown_append_may_show_late_or_never() -> None:
    lost = op("append", 2, 1, None, ok=None)
    history = [op("append", 1, 0, 1), lost, op("read", [1], 2, 3)]
    assert check(history) == []
    assert check([*history, op("read", [1, 2], 4, 5)]) == []


def test_appends_after_the_last_read_are_fine() -> None:
    assert check([op("append", 1, 0, 1), op("read", [1], 2, 3), op("append", 2, 4, 5)]) == []


def test_appends_that_nobody_reads_take_no_long_search() -> None:
    history = [op("append", number, 0, 100) for number in range(200)]
    assert check(history, limit_steps=1_000) == []


# --- against a dumb twin --------------------------------------------------------------------------


def possible_by_trying_all_orders(history: Sequence[Operation]) -> bool:
    """Answer the same for a register by trying every order of every subset of the unknown."""
    known = [o for o in history if o.ok or (o.ok is False and o.op == "cas")]
    unknown = [o for o in history if o.ok is None and o.op != "read"]
    subsets = itertools.chain.from_iterable(
        itertools.combinations(unknown, size) for size in range(len(unknown) + 1)
    )
    return any(
        fits(order) for subset in subsets for order in itertools.permutations([*known, *subset])
    )


def fits(order: Sequence[Operation]) -> bool:
    for index, later in enumerate(order):
        for earlier in order[index + 1 :]:
            if earlier.ok is not None and (earlier.return_ns or 0) < later.invoke_ns:
                return False
    state: Any = None
    for o in order:
        if o.op == "write":
            state = o.value
        elif o.op == "read":
            if state != o.value:
                return False
        elif (state == o.value[0]) != (o.ok is not False):
            return False
        elif o.ok is not False:
            state = o.value[1]
    return True


def small_history(random: random.Random) -> list[Operation]:
    history = []
    for client in range(random.randint(1, 6)):
        start = random.randint(0, 12)
        kind = random.choice(["read", "read", "write", "cas"])
        value: Any = random.choice([None, 1, 2]) if kind == "read" else random.randint(1, 2)
        if kind == "cas":
            value = [random.choice([None, 1, 2]), random.randint(1, 2)]
        ok = random.choice([True, True, True, None, False])
        end = start + random.randint(0, 6)
        history.append(Operation(client, kind, "x", value, start, end, ok))
    return history


def test_it_agrees_with_trying_all_orders() -> None:
    randomness = random.Random(1)
    verdicts = []
    for _ in range(1_500):
        history = small_history(randomness)
        expected = possible_by_trying_all_orders(history)
        assert (check(history) == []) is expected, "\n".join(map(str, history))
        verdicts.append(expected)
    assert 300 < sum(verdicts) < 1_200  # both verdicts are tried often


# --- long histories -------------------------------------------------------------------------------


def long_history(count: int, clients: int, seed: int, lists: bool) -> list[Operation]:
    """Answer what a correct single copy gives to clients who overlap, some without an answer."""
    randomness = random.Random(seed)
    free_at, history = [0] * clients, list[Operation]()
    state: Any = [] if lists else None
    for number in range(count):
        client = min(range(clients), key=lambda each: free_at[each])
        moment = free_at[client] + 50
        start, end = moment - randomness.randint(0, 49), moment + randomness.randint(0, 49)
        free_at[client] = end + 1
        history.append(_one(randomness, number, client, (start, moment, end), lists))
    history.sort(key=lambda o: o.invoke_ns)
    return _answered(history, state, lists)


def _one(
    randomness: random.Random, number: int, client: int, times: tuple[int, int, int], lists: bool
) -> Operation:
    start, _, end = times
    kind = "read" if randomness.random() < (0.01 if lists else 0.5) else "write"
    kind = "append" if lists and kind == "write" else kind
    ok = None if kind != "read" and randomness.random() < 0.02 else True
    return Operation(client, kind, "x", number, start, end, ok)


def _answered(history: list[Operation], state: Any, lists: bool) -> list[Operation]:
    """Let the operations happen in order of their middles, and fill in what the reads answered."""
    middle: Callable[[Operation], int] = lambda o: o.invoke_ns + (o.return_ns or 0)  # noqa: E731
    done = []
    for o in sorted(history, key=middle):
        value = o.value
        if o.op == "read":
            value = list(state) if lists else state
        elif lists:
            state.append(value)
        else:
            state = value
        done.append(Operation(o.client, o.op, o.key, value, o.invoke_ns, o.return_ns, o.ok))
    if lists:
        last = max(o.return_ns or 0 for o in done) + 1
        done.append(Operation("last", "read", "x", list(state), last, last, True))
    return done


def with_stale_read(history: list[Operation]) -> list[Operation]:
    """Answer the history with a read at its end of what a read in its middle saw."""
    old = next(o for o in history[len(history) // 2 :] if o.op == "read")
    last = max(o.return_ns or 0 for o in history) + 1
    return [*history, Operation("stale", "read", "x", old.value, last, last + 1, True)]


@pytest.mark.parametrize("lists", [False, True], ids=["register", "list"])
def test_20_000_operations_good_and_bad(lists: bool) -> None:
    history = long_history(20_000, clients=10, seed=3, lists=lists)
    assert check(history) == []
    (violation,) = check(with_stale_read(history))
    assert violation.operation is not None
    assert violation.operation.client == "stale"


def test_an_operation_open_all_along_does_not_slow_it() -> None:
    history = long_history(5_000, clients=5, seed=4, lists=False)
    end = max(o.return_ns or 0 for o in history)
    assert check([Operation("slow", "write", "x", -1, 0, end + 10, True), *history]) == []


def test_a_search_that_is_too_long_is_no_verdict() -> None:
    history = with_stale_read(long_history(1_000, clients=10, seed=5, lists=False))
    with pytest.raises(SearchTooLong):
        check(history, limit_steps=100)


# --- the file and the command ---------------------------------------------------------------------


def lines(history: Sequence[Operation]) -> list[str]:
    names = Operation.__slots__
    return [json.dumps({name: getattr(o, name) for name in names}) for o in history]


def test_a_history_survives_its_file() -> None:
    history = [op("write", 1, 0, 1), op("read", 1, 2, 3), op("write", 2, 4, None, ok=None)]
    assert parse([*lines(history), ""]) == history


@pytest.mark.parametrize(
    "bad",
    [
        [op("delete", 1, 0, 1)],
        [op("write", 1, 5, 4)],
        [op("write", 1, 0, None)],
        [op("append", 1, 0, 1), op("append", 1, 2, 3)],
        [op("append", 1, 0, 1), op("write", 1, 2, 3)],
    ],
    ids=["no such operation", "back in time", "no end", "appended twice", "two kinds"],
)
def test_what_is_no_history_is_refused(bad: list[Operation]) -> None:
    with pytest.raises(InvalidHistory):
        check(bad)


def test_a_malformed_line_is_named() -> None:
    with pytest.raises(InvalidHistory, match="line 2"):
        parse([*lines([op("write", 1, 0, 1)]), "{"])


def test_a_violation_says_where() -> None:
    shown = str(Violation("x", "no place", op("read", [1] * 100, 4, 5)))
    assert shown.startswith("key 'x': no place: [4..5] client 4: read [1, 1")
    assert len(shown) < 200


@pytest.mark.parametrize(("last", "status"), [(2, 0), (1, 1)])
def test_the_command_says_it_by_its_exit_status(tmp_path: Path, last: int, status: int) -> None:
    file = tmp_path / "history.jsonl"
    history = [op("write", 1, 0, 1), op("write", 2, 2, 3), op("read", last, 4, 5)]
    file.write_text("\n".join(lines(history)), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "tests.linearizability", str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert ran.returncode == status, ran.stderr
    assert ran.stdout.splitlines()[-1] == f"3 operations, {status} violations"
