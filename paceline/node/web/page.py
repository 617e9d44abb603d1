"""The status page of a node: what it knows, as HTML made here; one small script only refreshes it.

Everything that comes from the cluster (names, descriptions) is text that somebody wrote, so every
value is escaped in one place (`_cell`) and the content security policy allows nothing inline.
"""

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from typing import Any

from starlette.responses import HTMLResponse, RedirectResponse, Response

from paceline.ids import short
from paceline.node.web.auth import LINK_LIFE_S, SESSION_LIFE_S, Guard
from paceline.node.web.call import Call, Row, answer
from paceline.node.web.errors import Refused
from paceline.node.web.ports import Document, TaskQuery
from paceline.node.web.schemas import LoginQuery

TASKS_SHOWN = 50

_LOCKED = (
    "<p>This page needs a key. Run <code>paceline web</code> on this machine: it makes a link "
    "that opens the page once.</p>"
)


async def page(call: Call) -> Response:
    """Answer the whole page; without a session, how to get one."""
    guard: Guard = call.request.app.state.guard
    inside = guard.has_session(call.request)
    body = await _content(call) if inside else _LOCKED
    script = '<script src="/static/page.js" defer></script>' if inside else ""
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Paceline</title>'
        '<meta name="viewport" content="width=device-width">'
        f'<link rel="stylesheet" href="/static/page.css">{script}</head>'
        '<body><h1>Paceline</h1><p id="age" role="status"></p>'
        f"<main>{body}</main></body></html>"
    )


async def fragment(call: Call) -> Response:
    """Answer the part of the page that changes; the script asks for it again and again."""
    return HTMLResponse(await _content(call))


async def make_link(call: Call) -> Response:
    """Answer a link that opens the page once, within two minutes."""
    guard: Guard = call.request.app.state.guard
    url = f"{call.request.url.scheme}://{call.request.url.netloc}/login?token={guard.links.issue()}"
    return answer({"url": url, "expires_in_s": LINK_LIFE_S}, 201)


async def log_in(call: Call) -> Response:
    """Turn a one-time link into a session cookie, which opens reading only."""
    guard: Guard = call.request.app.state.guard
    session = guard.log_in(call.query.token)
    response = RedirectResponse("/", 303)
    response.set_cookie(
        guard.cookie, session, max_age=SESSION_LIFE_S, httponly=True, samesite="strict"
    )
    return response


async def static(call: Call) -> Response:
    """Answer the page's own script or style."""
    kinds = {"page.js": "text/javascript", "page.css": "text/css"}
    name = call.id
    if name not in kinds:
        raise Refused(404, "NotFound", "there is no such file")
    text = resources.files("paceline.node.web").joinpath("static", name).read_text("utf-8")
    return Response(text, media_type=kinds[name])


ROWS = (
    Row("GET", "/fragment", fragment, "The changing part of the page", "HTML"),
    Row("POST", "/api/v1/login-links", make_link, "Make a one-time link", "url", status=201),
)
PUBLIC_ROWS = (
    Row("GET", "/login", log_in, "Open the page", "a redirect", query=LoginQuery, public=True),
    Row("GET", "/", page, "The status page", "HTML", public=True),
    Row("GET", "/static/{id}", static, "The page's files", "text", public=True),
)


async def _content(call: Call) -> str:
    status = await call.service.status()
    tasks = await call.service.tasks(TaskQuery(limit=TASKS_SHOWN))
    return "".join((_summary(status), _members(status["members"]), _tasks(tasks["tasks"])))


def _summary(status: Document) -> str:
    leader = status.get("leader_id")
    names = {member["node_id"]: member["name"] for member in status["members"]}
    quorum = (
        f"survives {status['failures_tolerated']} failures"
        if status["quorum"]
        else "NO QUORUM: reading only"
    )
    rows = (
        ("this node", f"{names.get(status['node_id'], '')} {status['node_id']}"),
        ("role", status["role"]),
        ("leader", f"{names.get(leader, '')} {leader}" if leader else "none known"),
        ("cluster", quorum),
        ("term", status["term"]),
        ("commit index", f"{status['commit_index']} (applied {status['applied_index']})"),
    )
    kind = "ok" if status["quorum"] else "bad"
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{_text(value)}</dd>" for name, value in rows)
    warnings = "".join(f"<p>Warning: {_text(warning)}</p>" for warning in status["warnings"])
    return f'<dl class="{kind}">{lines}</dl>{warnings}'


def _members(members: Sequence[Document]) -> str:
    rows = (
        (m["name"], m["node_id"], m["status"], m["role"], _load(m), ", ".join(_tool_names(m)))
        for m in members
    )
    return _table("Members", ("name", "id", "status", "role", "running", "tools"), rows)


def _load(member: Document) -> str:
    running = member.get("running", 0)
    count = running if isinstance(running, int) else len(running or ())
    return f"{count} of {member.get('slots', 0)}"


def _tool_names(member: Document) -> list[str]:
    tools = member.get("tools") or ()
    return [tool if isinstance(tool, str) else str(tool.get("name", "")) for tool in tools]


def _tasks(tasks: Sequence[Document]) -> str:
    rows = (
        (short(t["task_id"]), t["status"], f"{t.get('progress', 0)} %", t.get("description", ""))
        for t in tasks
    )
    return _table("Tasks", ("id", "status", "progress", "description"), rows)


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    none = f'<tr><td colspan="{len(heads)}">none</td></tr>'
    return (
        f"<h2>{escape(title)}</h2><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body or none}</tbody></table>"
    )


def _cell(value: Any) -> str:
    return f"<td>{_text(value)}</td>"


def _text(value: Any) -> str:
    text = str(value)
    return escape(text if len(text) <= 200 else text[:199] + "…")
