"""The page of a node: a shell of HTML, and the scripts and styles that fill it.

The shell holds nothing of the cluster; the scripts read it over the same REST interface as the
command line does, and the live stream keeps it true. Everything is a file of `static/`, served as
it is: nothing is built, nothing comes from elsewhere. Scripts only ever make text nodes of what
somebody wrote, and the content security policy forbids them anything else.
"""

import gzip
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib import resources
from string import Template

from starlette.responses import HTMLResponse, RedirectResponse, Response

from paceline import __version__
from paceline.node.web.auth import LINK_LIFE_S, SESSION_LIFE_S, Guard
from paceline.node.web.call import Call, Row, answer
from paceline.node.web.errors import Refused
from paceline.node.web.schemas import LoginQuery

_KINDS = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}


async def page(call: Call) -> Response:
    """Answer the shell; without a session, how to get one."""
    guard: Guard = call.request.app.state.guard
    return HTMLResponse(_shell() if guard.has_session(call.request) else _text("locked.html"))


async def make_link(call: Call) -> Response:
    """Answer a link that opens the page once, within two minutes."""
    guard: Guard = call.request.app.state.guard
    url = f"{call.request.url.scheme}://{call.request.url.netloc}/login?token={guard.links.issue()}"
    return answer({"url": url, "expires_in_s": LINK_LIFE_S}, 201)


async def log_in(call: Call) -> Response:
    """Turn a one-time link into a session: a cookie that opens reading, and a key for the rest.

    The key travels in the fragment of the address, which no browser sends to any server.
    """
    guard: Guard = call.request.app.state.guard
    session, key = guard.log_in(call.query.token)
    response = RedirectResponse(f"/#key={key}", 303)
    response.set_cookie(
        guard.cookie, session, max_age=SESSION_LIFE_S, httponly=True, samesite="strict"
    )
    return response


async def log_out(call: Call) -> Response:
    """End the session that asks."""
    guard: Guard = call.request.app.state.guard
    guard.log_out(call.request)
    response = answer({"logged_out": True})
    response.delete_cookie(guard.cookie, httponly=True, samesite="strict")
    return response


async def static(call: Call) -> Response:
    """Answer one of the page's own files."""
    packed = _files().get(call.id)
    if packed is None:
        raise Refused(404, "NotFound", "there is no such file")
    kind = _KINDS[call.id.rpartition(".")[2]]
    if "gzip" in call.request.headers.get("accept-encoding", ""):
        return Response(packed, headers={"Content-Encoding": "gzip"}, media_type=kind)
    return Response(gzip.decompress(packed), media_type=kind)


ROWS = (
    Row(
        "POST",
        "/api/v1/login-links",
        make_link,
        "Make a one-time link",
        "url",
        status=201,
        bearer_only=True,
    ),
    Row("POST", "/api/v1/logout", log_out, "End the browser's session", "logged_out"),
)
PUBLIC_ROWS = (
    Row("GET", "/login", log_in, "Open the page", "a redirect", query=LoginQuery, public=True),
    Row("GET", "/", page, "The page", "HTML", public=True),
    Row("GET", "/static/{id}", static, "The page's files", "text", public=True),
)


@cache
def _files() -> Mapping[str, bytes]:
    """Answer what may be served from `static/`, by name, packed with gzip; read once."""
    folder = resources.files("paceline.node.web") / "static"
    names = (file.name for file in folder.iterdir())
    return {
        name: gzip.compress(_text(name).encode(), mtime=0)
        for name in sorted(names)
        if name.rpartition(".")[2] in _KINDS
    }


@cache
def _shell() -> str:
    """Answer the page with all its files named in its head: none is found only by loading others.

    A browser then asks for all of them at once.
    """
    scripts = [name for name in _files() if name.endswith(".js")]
    styles = [name for name in _files() if name.endswith(".css")]
    lines = [f'<link rel="stylesheet" href="/static/{escape(name)}">' for name in styles]
    lines += [f'<link rel="modulepreload" href="/static/{escape(name)}">' for name in scripts]
    return Template(_text("shell.html")).substitute(files="\n".join(lines), version=__version__)


def _text(name: str) -> str:
    folder = resources.files("paceline.node.web") / "static"
    return folder.joinpath(name).read_text("utf-8")
