"""The page: what it loads, how it stays true, and that only it, not a stranger, can act."""

import gzip
import http.client
import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import resources
from typing import Any

import pytest

from paceline.errors import TimedOut
from paceline.node.web.server import DOCUMENTED
from tests.node.web.fake_service import a_task
from tests.node.web.served import Answer, Served

Message = tuple[str, dict[str, Any]]

CANCEL = "/api/v1/tasks/00000001/cancel"


MAY_CHANGE = {
    ("POST", "tasks"),
    ("POST", "tasks/check"),
    ("PATCH", "tasks/{id}"),
    ("POST", "tasks/{id}/cancel"),
    ("POST", "tasks/{id}/retry"),
    ("POST", "tasks/{id}/checkpoint"),
    ("POST", "tasks/{id}/budget"),
    ("POST", "checkpoints/{id}/resolve"),
    ("POST", "newcomers/approve"),
    ("POST", "nodes/{id}/drain"),
    ("POST", "nodes/{id}/revoke"),
    ("POST", "node/leave"),
    ("POST", "tools/check"),
    ("POST", "checksum"),
    ("POST", "logout"),
}


class Browser:
    """What a browser that used a one-time link would send."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.origin = f"http://127.0.0.1:{served.web.port}"
        link = served.call("POST", "/api/v1/login-links").json["url"]
        answer = served.call("GET", link.removeprefix(self.origin), bearer=False)
        self.cookie = answer.headers["set-cookie"].partition(";")[0]
        self.location = answer.headers["location"]
        self.key = self.location.removeprefix("/#key=")

    def get(self, path: str, **headers: str) -> Answer:
        return self.served.call("GET", path, bearer=False, raw=None, Cookie=self.cookie, **headers)

    def post(self, path: str, body: object = None, **changes: str | None) -> Answer:
        headers = {"Cookie": self.cookie, "Origin": self.origin, "X_Paceline_Key": self.key}
        said = {name: value for name, value in (headers | changes).items() if value is not None}
        return self.served.call("POST", path, body or {}, raw=None, bearer=False, **said)


@pytest.fixture
def browser(served: Served) -> Browser:
    served.service.documents["00000001"] = a_task("00000001", "in_progress")
    return Browser(served)


def test_the_page_acts_with_its_session_its_key_and_its_origin(browser: Browser) -> None:
    assert browser.post(CANCEL, {"reason": "enough"}).status == 202
    assert browser.served.service.documents["00000001"]["status"] == "cancelled"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"X_Paceline_Key": None}, 403),
        ({"X_Paceline_Key": ""}, 403),
        ({"X_Paceline_Key": "0" * 64}, 403),
        ({"Origin": None}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "https://127.0.0.1"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Cookie": None}, 401),
        ({"Cookie": "paceline_1=x"}, 401),
        ({"Content_Type": "text/plain"}, 415),
    ],
)
def test_a_request_that_lacks_any_of_them_changes_nothing(
    browser: Browser, changes: dict[str, str | None], status: int
) -> None:
    assert browser.post(CANCEL, {"reason": "evil"}, **changes).status == status
    assert browser.served.service.documents["00000001"]["status"] == "in_progress"


def test_one_sessions_key_is_not_anothers(served: Served, browser: Browser) -> None:
    assert browser.post(CANCEL, X_Paceline_Key=Browser(served).key).status == 403


def test_our_page_under_another_loopback_name_is_another_origin(browser: Browser) -> None:
    """Both are ours, but a browser keeps the key of one from the other; so does the node."""
    other = f"http://localhost:{browser.served.web.port}"
    assert browser.post(CANCEL, Origin=other).status == 403


def test_the_key_is_where_no_other_server_on_this_machine_is_sent_it(browser: Browser) -> None:
    """Cookies go to every port of a host, so the key must neither be one nor be bought by one."""
    assert re.fullmatch(r"/#key=[0-9a-f]{64}", browser.location)
    assert browser.key not in browser.cookie
    for path in ("/", "/api/v1/status", "/api/v1/settings"):
        assert browser.key.encode() not in browser.get(path).body


@pytest.mark.parametrize("path", ["nodes/beta/trust", "backup"])
def test_some_things_are_for_the_bearer_token_alone(browser: Browser, path: str) -> None:
    body = {"trusted": True} if "trust" in path else {"path": "/tmp/nothing"}
    assert browser.post(f"/api/v1/{path}", body).status == 401
    assert browser.get("/api/v1/token").status == 401


def test_what_the_page_may_change_is_this_and_nothing_else() -> None:
    """Whoever adds a call that changes something must say whether it is for the page as well."""
    open_to_the_page = {
        (row.method, row.path.removeprefix("/api/v1/"))
        for row in DOCUMENTED
        if row.method not in ("GET", "HEAD") and not row.bearer_only
    }
    assert open_to_the_page == MAY_CHANGE


def test_revoking_from_the_page(browser: Browser) -> None:
    assert browser.post("/api/v1/nodes/beta/revoke", {"reason": "lost"}).status == 200
    assert browser.served.service.steward.asked == [("revoke", "beta", "lost")]


def test_who_logs_out_is_out(browser: Browser) -> None:
    assert browser.get("/api/v1/status").status == 200
    assert browser.post("/api/v1/logout").status == 200
    assert browser.get("/api/v1/status").status == 401
    assert browser.post(CANCEL).status == 401


# --- what the page is made of ---------------------------------------------------------------------


def test_the_shell_names_all_files_and_no_other_place(browser: Browser) -> None:
    shell = browser.get("/").body.decode()
    named = set(re.findall(r'(?:href|src)="/static/([^"]+)"', shell))
    folder = resources.files("paceline.node.web") / "static"
    scripts = {file.name for file in folder.iterdir() if file.name.endswith((".js", ".css"))}

    assert scripts <= named
    assert "http" not in shell
    assert not re.search(r"<script(?![^>]* src=)|style=|\son\w+=", shell)
    for name in named:
        assert browser.get(f"/static/{name}").status == 200


def test_scripts_find_each_other_and_never_make_markup_of_text(browser: Browser) -> None:
    folder = resources.files("paceline.node.web") / "static"
    for file in folder.iterdir():
        if not file.name.endswith(".js"):
            continue
        text = file.read_text("utf-8")
        for name in re.findall(r'from "\./([^"]+)"', text):
            assert (folder / name).is_file(), f"{file.name} imports {name}"
        plain = text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|eval\(|https?://", plain)


def test_the_whole_page_is_small(browser: Browser) -> None:
    names = re.findall(r'(?:href|src)="(/static/[^"]+)"', browser.get("/").body.decode())
    sizes = [len(browser.get(name, Accept_Encoding="gzip").body) for name in set(names)]
    assert sum(sizes) < 150_000


def test_files_come_packed_where_that_is_understood(browser: Browser) -> None:
    plain = browser.get("/static/main.js")
    packed = browser.get("/static/main.js", Accept_Encoding="gzip, br")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body


# --- the live stream ------------------------------------------------------------------------------


@contextmanager
def live(
    browser: Browser, path: str = "/api/v1/live", **headers: str
) -> Iterator[Iterator[Message]]:
    connection = browser.served.connect()
    with closing(connection):
        connection.request("GET", path, headers={"Cookie": browser.cookie, **headers})
        response = connection.getresponse()
        assert response.getheader("content-type", "").startswith("text/event-stream")
        yield messages(response)


def messages(response: http.client.HTTPResponse) -> Iterator[Message]:
    kind = ""
    while line := response.readline().decode().rstrip("\n"):
        while line:
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            if name == "data":
                yield kind, json.loads(value)
            line = response.readline().decode().rstrip("\n")


def test_the_stream_greets_and_tells_the_cluster_and_what_happened(browser: Browser) -> None:
    with live(browser) as stream:
        assert next(stream)[0] == "hello"
        told = [next(stream) for _ in range(4)]
    kinds = [kind for kind, _ in told]
    assert kinds.count("activity") == 3
    assert kinds.count("cluster") == 1
    status = next(document for kind, document in told if kind == "cluster")
    assert status["leader_id"] == "aaaabbbbccccdddd"


def test_a_page_that_comes_back_says_what_it_saw_last(browser: Browser) -> None:
    with live(browser, "/api/v1/live?after=5", **{"Last-Event-ID": "9"}) as stream:
        next(stream)
    asked = browser.served.service.requests[-1]
    assert (asked.after, asked.follow, asked.newest) == (9, True, 200)


@pytest.mark.parametrize("number", ["x", "-1", "9" * 30, "٣"])
def test_a_strange_last_event_is_none(browser: Browser, number: str) -> None:
    headers = {"Last-Event-ID": number.encode("utf-8").decode("latin-1")}
    with live(browser, "/api/v1/live?after=5", **headers) as stream:
        next(stream)
    assert browser.served.service.requests[-1].after == 5


def test_a_change_of_the_cluster_is_told_and_stillness_is_not(browser: Browser) -> None:
    with live(browser) as stream:
        for _ in range(5):
            next(stream)
        browser.served.service.quorum = False
        kind, document = next(stream)
    assert (kind, document["quorum"]) == ("cluster", False)


def test_a_stream_that_breaks_says_so(browser: Browser) -> None:
    browser.served.service.stream_failure = TimedOut("the state cannot be read")
    with live(browser) as stream:
        told = dict(stream)
    assert told["problem"]["detail"] == "the state cannot be read"


def test_a_page_that_goes_away_holds_nothing(browser: Browser) -> None:
    service = browser.served.service
    with live(browser) as stream:
        next(stream)
        next(stream)
        assert service.open_streams == 1

    async def drained() -> None:
        async with service.streams_changed:
            await service.streams_changed.wait_for(lambda: service.open_streams == 0)

    browser.served.run(drained)


def test_a_stranger_hears_nothing(served: Served) -> None:
    assert served.call("GET", "/api/v1/live", bearer=False).status == 401


def test_checking_a_plan_submits_nothing(browser: Browser) -> None:
    wrong = browser.post("/api/v1/tasks/check", {"plan": "subtasks: !bad", "format": "yaml"})
    assert (wrong.status, wrong.json["line"]) == (422, 2)
    right = browser.post("/api/v1/tasks/check", {"plan": "subtasks: []", "format": "yaml"})
    assert right.status == 200
    assert list(browser.served.service.documents) == ["00000001"]
