"""The path of the metrics: closed to strangers, in Prometheus' own form, and counted itself."""

from pathlib import Path

import pytest

from paceline.node.web.server import WebServer
from tests.node.web.fake_service import FakeService
from tests.node.web.served import Served, serving


def test_metrics_need_the_token(served: Served) -> None:
    assert served.call("GET", "/metrics", bearer=False).status == 401

    answer = served.call("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"paceline_info 1.0" in answer.body


def test_requests_are_counted_by_their_place_in_the_table_never_by_an_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[tuple[str, str, int]] = []

    def make(**wiring: object) -> WebServer:
        del wiring["service"]
        return WebServer(
            service=FakeService(),
            meter=lambda method, path, status, _: counted.append((method, path, status)),
            **wiring,  # type: ignore[arg-type]
        )

    monkeypatch.setattr("tests.node.web.served.WebServer", make)
    with serving(tmp_path) as served:
        served.call("GET", "/api/v1/tasks/" + 36 * "a")
        served.call("GET", "/api/v1/nothing")

    assert counted == [("GET", "/api/v1/tasks/{id}", 404)]
