"""Results over real HTTP: a document, and files that are sent as they are read."""

import pytest

from paceline.errors import Conflict, NotFound
from tests.e2e.cluster import wait_for
from tests.node.web.served import Served

RESULT = "/api/v1/tasks/t1/result"


def test_a_result_of_a_task_or_one_subtask(served: Served) -> None:
    assert served.call("GET", RESULT).json["commit"] == "1" * 40
    assert served.call("GET", f"{RESULT}?subtask=build").status == 200
    asked = [("document", "t1", ""), ("document", "t1", "build")]
    assert served.service.results.asked == asked
    assert served.call("GET", f"{RESULT}?colour=red").status == 422
    assert served.call("GET", RESULT, bearer=False).status == 401


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        (f"{RESULT}/patch?subtask=b", ("patch", "t1", "b")),
        (f"{RESULT}/bundle?since=abc", ("bundle", "t1", "", "abc")),
        ("/api/v1/subtasks/s1/output", ("output", "s1")),
    ],
)
def test_files_are_sent_whole_and_closed(served: Served, path: str, asked: tuple[str, ...]) -> None:
    results = served.service.results
    results.data = bytes(range(256)) * 4096
    found = served.call("GET", path)
    assert (found.status, found.body) == (200, results.data)
    kind = "text/x-diff" if path.startswith(f"{RESULT}/patch") else "application/octet-stream"
    assert found.headers["content-type"].startswith(kind)
    assert found.headers["content-length"] == str(len(results.data))
    assert found.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20%C3%BC"
    assert found.headers["x-paceline-commit"] == "c0ffee"
    assert results.asked == [asked]
    wait_for("the file to be closed", lambda: results.sent[0].closed, 30)


@pytest.mark.parametrize(("error", "status"), [(NotFound("no"), 404), (Conflict("no"), 409)])
def test_what_cannot_be_had(served: Served, error: Exception, status: int) -> None:
    served.service.results.failure = error  # type: ignore[assignment]
    for path in (RESULT, f"{RESULT}/patch", f"{RESULT}/bundle", "/api/v1/subtasks/s1/output"):
        assert served.call("GET", path).status == status
