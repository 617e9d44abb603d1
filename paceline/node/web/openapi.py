"""The OpenAPI 3.1 document, made from the same rows as the routes.

Written here rather than by a framework: the rows already say everything, and the framework that
would read it off function signatures costs each node 0.2 s of start-up and 11 MB for good.
"""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from paceline import __version__
from paceline.node.web.call import Row
from paceline.node.web.schemas import Empty

_SCHEMAS = "#/components/schemas/"


def describe(rows: Sequence[Row]) -> dict[str, Any]:
    """Answer the document for these calls."""
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {"Problem": _PROBLEM}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Paceline node", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _operation(row: Row, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": row.handler.__name__,
        "summary": row.summary,
        "parameters": [*_path_parameters(row.path), *_query_parameters(row.query)],
        "responses": {
            str(row.status): {
                "description": row.answer,
                "content": {row.media_type: {"schema": _answered(row.media_type)}},
            },
            "default": {
                "description": "a problem (RFC 9457)",
                "content": {"application/problem+json": {"schema": {"$ref": f"{_SCHEMAS}Problem"}}},
            },
        },
    }
    if row.body is not Empty:
        operation["requestBody"] = {
            "required": any(field.is_required() for field in row.body.model_fields.values()),
            "content": {"application/json": {"schema": _reference(row.body, schemas)}},
        }
    if row.public:
        operation["security"] = []
    return operation


def _answered(media_type: str) -> dict[str, Any]:
    """Answer the schema of an answer: a document, or a stream of something else."""
    return {"type": "object"} if media_type == "application/json" else {"type": "string"}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]


def _query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    shared = schema.get("$defs", {})
    return [
        {"name": name, "in": "query", "schema": _inlined(part, shared)}
        for name, part in schema.get("properties", {}).items()
    ]


def _inlined(part: Any, shared: dict[str, Any]) -> Any:
    """Put definitions where they are used: a parameter has no place to define them."""
    if isinstance(part, list):
        return [_inlined(item, shared) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _inlined(shared[part["$ref"].rsplit("/", 1)[-1]], shared)
    return {key: _inlined(value, shared) for key, value in part.items()}


def _reference(model: type[BaseModel], schemas: dict[str, Any]) -> dict[str, str]:
    schema = model.model_json_schema(ref_template=_SCHEMAS + "{model}")
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema
    return {"$ref": _SCHEMAS + model.__name__}


_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "the name of a type in paceline/errors.py"},
        "detail": {"type": "string"},
        "line": {"type": ["integer", "null"], "description": "of a plan, 1-based"},
        "leader_id": {"type": ["string", "null"]},
    },
}
