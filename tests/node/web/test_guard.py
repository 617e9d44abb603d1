"""Who gets in: the token, the Host, the Origin, the one-time link."""

import stat
from pathlib import Path

import pytest

from paceline.errors import StorageError
from paceline.node.web.auth import Expiring, read_or_make_token
from tests.node.web.served import Served

STATUS = "/api/v1/status"


@pytest.mark.parametrize("path", [STATUS, "/api/v1/tasks", "/api/v1/events", "/api/v1/running"])
def test_reading_needs_the_token(served: Served, path: str) -> None:
    answer = served.call("GET", path, bearer=False)

    assert answer.status == 401
    assert answer.json["code"] == "Unauthorized"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert served.call("GET", path).status == 200


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Bearer x", "Basic dTpw", "Bearer ü", "bearer\tx"]
)
def test_a_wrong_token_is_refused_whatever_it_looks_like(served: Served, value: str) -> None:
    assert served.call("GET", STATUS, bearer=False, Authorization=value).status == 401


def test_a_token_that_only_begins_right_is_refused(served: Served) -> None:
    for wrong in (served.token[:-1], served.token + "x", served.token.swapcase()):
        header = f"Bearer {wrong}"
        assert served.call("GET", STATUS, bearer=False, Authorization=header).status == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/"])
def test_supervisors_need_no_token_and_learn_nothing_of_the_cluster(
    served: Served, path: str
) -> None:
    answer = served.call("GET", path, bearer=False)

    assert answer.status == 200
    assert b"aaaabbbb" not in answer.body


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_loopback_names_with_our_port_are_ours(served: Served, name: str) -> None:
    assert served.call("GET", STATUS, Host=f"{name}:{served.web.port}").status == 200


@pytest.mark.parametrize(
    "host", ["evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil.example:{port}", ""]
)
def test_a_foreign_host_is_misdirected_even_with_the_token(served: Served, host: str) -> None:
    answer = served.call("GET", STATUS, Host=host.format(port=served.web.port))

    assert answer.status in (400, 421)
    assert served.call("GET", "/healthz", Host="evil.example").status == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "file://"])
def test_a_foreign_origin_is_refused_even_with_the_token(served: Served, origin: str) -> None:
    assert served.call("GET", STATUS, Origin=origin).status == 403


def test_our_own_origin_is_fine(served: Served) -> None:
    assert served.call("GET", STATUS, Origin=f"http://localhost:{served.web.port}").status == 200


def test_a_link_opens_reading_once_and_nothing_else(served: Served) -> None:
    link = served.call("POST", "/api/v1/login-links").json["url"]
    path = link.removeprefix(f"http://127.0.0.1:{served.web.port}")
    first = served.call("GET", path, bearer=False)
    cookie = first.headers["set-cookie"]
    session = cookie.partition(";")[0]

    assert first.status == 303
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert served.call("GET", path, bearer=False).status == 403
    assert served.call("GET", STATUS, bearer=False, Cookie=session).status == 200
    assert b"main.js" in served.call("GET", "/", bearer=False, Cookie=session).body
    stop = served.call("POST", "/api/v1/node/stop", bearer=False, Cookie=session)
    assert stop.status == 401
    assert not served.service.stopped.is_set()


def test_what_expires_is_forgotten_and_bounded() -> None:
    now = 0.0
    kept = Expiring(10, 3, lambda: now)
    first, *others = [kept.issue() for _ in range(4)]

    assert not kept.holds(first)
    assert all(map(kept.holds, others))
    assert kept.take(others[0])
    assert not kept.take(others[0])
    now = 10.0
    assert not kept.holds(others[1])


def test_every_answer_forbids_what_is_not_ours(served: Served) -> None:
    for path in ("/", STATUS, "/nothing"):
        headers = served.call("GET", path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


def test_the_page_loads_only_its_own_files(served: Served) -> None:
    assert served.call("GET", "/static/main.js", bearer=False).status == 200
    assert served.call("GET", "/static/b_layout.css", bearer=False).status == 200
    for path in ("/static/../auth.py", "/static/..%2fauth.py", "/static/%2e%2e/auth.py"):
        assert served.call("GET", path, bearer=False).status == 404


def test_the_token_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "api.token"
    token = read_or_make_token(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(token) >= 43
    assert read_or_make_token(path) == token


def test_a_token_that_others_could_read_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.token"
    before = read_or_make_token(path)
    path.chmod(0o644)

    assert read_or_make_token(path) != before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_token_that_cannot_be_kept_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match=r"api\.token"):
        read_or_make_token(tmp_path / "file" / "api.token")
