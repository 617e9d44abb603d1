"""How often a client may ask."""

import pytest
from starlette.requests import HTTPConnection

from paceline.node.web import rates
from paceline.node.web.errors import Refused
from paceline.node.web.rates import Rates


class Times:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def client(name: str) -> HTTPConnection:
    headers = [(b"authorization", name.encode())]
    return HTTPConnection({"type": "http", "client": ("127.0.0.1", 1), "headers": headers})


def test_a_burst_is_let_through_and_then_the_rate() -> None:
    times = Times()
    limits = Rates(times, per_second=2, burst=3)
    for _ in range(3):
        limits.take(client("a"))
    with pytest.raises(Refused) as refused:
        limits.take(client("a"))
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})
    limits.take(client("b"))
    times.now_s += 0.5
    limits.take(client("a"))
    with pytest.raises(Refused):
        limits.take(client("a"))


def test_a_long_rest_saves_no_more_than_a_burst() -> None:
    times = Times()
    limits = Rates(times, per_second=2, burst=3)
    limits.take(client("a"))
    times.now_s += 1e6
    for _ in range(3):
        limits.take(client("a"))
    with pytest.raises(Refused):
        limits.take(client("a"))


def test_strangers_cost_no_more_memory_than_a_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "CLIENTS_MAX", 5)
    limits = Rates(Times(), per_second=1, burst=1)
    for number in range(50):
        limits.take(client(str(number)))
    assert len(limits._buckets) == 5
    with pytest.raises(Refused):
        limits.take(client("49"))
