"""The OpenAPI document says what is so: random requests made from it, right and wrong.

Whatever is sent, the answer has a status and a form that the document names, and is never a defect
(500). What the document calls right in form is not refused for its form.
"""

import json
import re
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.node.web.served import Served

STREAMS = ("application/x-ndjson", "text/event-stream")
FORM = (400, 415, 422)
LEFT_OUT = {"/api/v1/node/stop", "/api/v1/node/leave", "/login"}
"""They end the service that is asked, or belong to browsers."""

text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def document(served_once: Served) -> dict[str, Any]:
    found: dict[str, Any] = served_once.call("GET", "/api/v1/openapi.json").json
    return found


@pytest.fixture(scope="module")
def served_once(tmp_path_factory: pytest.TempPathFactory) -> Any:
    server = Served(tmp_path_factory.mktemp("served"))
    server.start()
    yield server
    server.stop()


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if path not in LEFT_OUT and not _streams(operation)
    ]


def _streams(operation: dict[str, Any]) -> bool:
    kinds = [kind for answer in operation["responses"].values() for kind in answer["content"]]
    return any(kind in STREAMS for kind in kinds)


def of_schema(schema: dict[str, Any], shared: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Answer values that the schema allows: as much of JSON Schema as the document uses."""
    if "$ref" in schema:
        return of_schema(shared[schema["$ref"].rsplit("/", 1)[-1]], shared)
    if "anyOf" in schema:
        return st.one_of(*(of_schema(each, shared) for each in schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    return _of_type(schema, shared)


def _of_type(schema: dict[str, Any], shared: dict[str, Any]) -> st.SearchStrategy[Any]:
    match schema.get("type"):
        case "object":
            return _object(schema, shared)
        case "array":
            items = of_schema(schema.get("items", {}), shared)
            return st.lists(items, min_size=schema.get("minItems", 0), max_size=3)
        case "string":
            return _string(schema)
        case "integer" | "number" as kind:
            return _number(schema, whole=kind == "integer")
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return anything


def _number(schema: dict[str, Any], *, whole: bool) -> st.SearchStrategy[Any]:
    least = schema.get("minimum", schema.get("exclusiveMinimum", -1000) + 1)
    most = schema.get("maximum", schema.get("exclusiveMaximum", least + 1001) - 1)
    return st.integers(least, most) if whole else st.floats(least, most)


def _string(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda moment: moment.isoformat() + "Z")
    most = min(schema.get("maxLength", 20), 20)
    if "pattern" in schema:
        pattern = re.compile(schema["pattern"], re.ASCII)
        found = st.from_regex(pattern, fullmatch=True)
        return found.filter(lambda word: schema.get("minLength", 0) <= len(word) <= most)
    shown = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=most)
    return shown.filter(lambda word: len(word) >= schema.get("minLength", 0))


def _object(schema: dict[str, Any], shared: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    if "properties" not in schema:
        values = schema.get("additionalProperties", True)
        inner = of_schema(values, shared) if isinstance(values, dict) else anything
        return st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3)
    required = set(schema.get("required", ()))
    parts = {name: of_schema(each, shared) for name, each in schema["properties"].items()}
    return st.fixed_dictionaries(
        {name: part for name, part in parts.items() if name in required},
        optional={name: part for name, part in parts.items() if name not in required},
    )


@settings(
    max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
@given(data=st.data())
def test_requests_made_from_the_document(
    served_once: Served, document: dict[str, Any], data: st.DataObject
) -> None:
    path, method, operation = data.draw(st.sampled_from(operations(document)))
    wrong = data.draw(st.booleans())
    target = re.sub(r"{\w+}", lambda _: quote(data.draw(text.filter(bool)), safe=""), path)
    query = data.draw(_query(operation, document, wrong))
    body = data.draw(_body(operation, document, wrong))
    if query:
        target += "?" + urlencode(query)
    raw = None if body is None else json.dumps(body).encode()
    answer = served_once.call(method.upper(), target, raw=raw)
    assert answer.status < 500 or answer.status in (503, 504), answer.body
    _check_form(operation, answer)
    if not wrong and answer.status in FORM:
        # Two halves that exclude each other cannot be said in a schema.
        assert answer.json["code"] in ("InputError", "InvalidPlan")
        assert "`" in answer.json["detail"] or answer.status == 422


def _query(
    operation: dict[str, Any], document: dict[str, Any], wrong: bool
) -> st.SearchStrategy[dict[str, Any]]:
    shared = document["components"]["schemas"]
    known = {
        each["name"]: of_schema(each["schema"], shared).filter(lambda value: value is not None)
        for each in operation["parameters"]
        if each["in"] == "query"
    }
    words = st.fixed_dictionaries({}, optional={**known, **({"surplus": text} if wrong else {})})
    return words.map(
        lambda said: {
            name: str(value).lower() if isinstance(value, bool) else value
            for name, value in said.items()
        }
    )


def _body(
    operation: dict[str, Any], document: dict[str, Any], wrong: bool
) -> st.SearchStrategy[Any]:
    if "requestBody" not in operation:
        return anything if wrong else st.none()
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    right = of_schema(schema, document["components"]["schemas"])
    return anything | right if wrong else right


def _check_form(operation: dict[str, Any], answer: Any) -> None:
    kind = answer.headers["content-type"].partition(";")[0]
    if answer.status < 400:
        assert kind in _kinds(operation), (answer.status, kind)
        return
    assert kind == "application/problem+json"
    problem = answer.json
    assert problem["status"] == answer.status
    assert set(problem) >= {"type", "title", "code", "detail"}


def _kinds(operation: dict[str, Any]) -> set[str]:
    return {kind for answer in operation["responses"].values() for kind in answer["content"]}


def test_it_names_every_call_of_the_seed(document: dict[str, Any]) -> None:
    seed = {
        "/tasks": ("post", "get"),
        "/tasks/{id}": ("get", "patch"),
        "/tasks/{id}/subtasks": ("get",),
        "/subtasks/{id}/result": ("post",),
        "/subtasks/{id}/logs": ("post",),
        "/subtasks/{id}/evaluation": ("get",),
        "/workers": ("post", "get"),
        "/workers/{id}/heartbeat": ("post",),
        "/workers/{id}": ("delete",),
        "/checkpoints": ("get",),
        "/checkpoints/{id}/resolve": ("post",),
    }
    for path, methods in seed.items():
        assert set(methods) <= set(document["paths"][f"/api/v1{path}"]), path
