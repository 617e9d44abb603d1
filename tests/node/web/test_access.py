"""Who may see the join token, and how newcomers are let in, over real HTTP."""

import pytest

from tests.node.web.served import Served

NEWCOMER = {"node_id": "aaaabbbbccccdddd", "name": "cy", "address": "10.0.0.9", "code": "k7qm-2xpd"}


def test_the_token_is_told_and_changed(served: Served) -> None:
    first = served.call("GET", "/api/v1/token").json
    second = served.call("POST", "/api/v1/token/rotate").json

    assert (first["version"], second["version"]) == (1, 2)
    assert first["token"] != second["token"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/token"),
        ("POST", "/api/v1/token/rotate"),
        ("POST", "/api/v1/login-links"),
    ],
)
def test_a_browsers_session_does_not_open_them(served: Served, method: str, path: str) -> None:
    link = served.call("POST", "/api/v1/login-links").json["url"]
    opened = served.call("GET", link.partition(f":{served.web.port}")[2], bearer=False)
    cookie = opened.headers["set-cookie"].partition(";")[0]

    assert served.call("GET", "/api/v1/nodes", bearer=False, Cookie=cookie).status == 200
    assert served.call(method, path, bearer=False, Cookie=cookie).status == 401
    assert served.call(method, path, bearer=False).status == 401


def test_a_newcomer_is_let_in_by_its_code(served: Served) -> None:
    served.service.access.waiting.append(dict(NEWCOMER))

    assert served.call("GET", "/api/v1/newcomers").json == {"newcomers": [NEWCOMER]}
    path = "/api/v1/newcomers/approve"
    assert served.call("POST", path, {"newcomer": "zzzz-zzzz"}).status == 404
    assert served.call("POST", path, {"newcomer": ""}).status == 422
    assert served.call("POST", path, {"newcomer": "k7qm-2xpd"}).json == NEWCOMER
    assert served.call("GET", "/api/v1/newcomers").json == {"newcomers": []}
