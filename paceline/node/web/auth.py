"""Who may talk to a node over HTTP, and from where.

Three doors, because three kinds of stranger knock on a loopback port:

- other users of the machine: every call needs the bearer token, which only the owner of the data
  directory can read (0600), or a session cookie bought with a one-time link made with that token;
- web pages that resolve their own name to 127.0.0.1 (DNS rebinding): the Host header must be one of
  the loopback names with our own port;
- web pages that send requests across origins: a foreign Origin is refused, and the cookie alone
  only ever opens reading, so that no forged request can change anything.

Cookies are shared by all ports of a host: whatever other program the browser visits on 127.0.0.1 is
sent ours, and could use it. So what changes something needs more: the session's action key in a
header. The login hands it over in the fragment of the address, which browsers send to nobody, and
the page keeps it in storage that belongs to this host and port alone.
"""

import hashlib
import hmac
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from starlette.requests import HTTPConnection, Request

from paceline.errors import StorageError
from paceline.node.data_dir import write_atomically
from paceline.node.web.errors import Refused

TOKEN_BYTES = 32
LINK_LIFE_S = 120
SESSION_LIFE_S = 12 * 3600
LINKS_MAX = 16
SESSIONS_MAX = 64

ACTION_HEADER = "x-paceline-key"

_SAFE_METHODS = frozenset({"GET", "HEAD"})


def read_or_make_token(path: Path) -> str:
    """Answer the bearer token of a node, made at its first start. Raise StorageError.

    A file that others can read is made private again rather than trusted less: whoever could read
    it until now may have, so its content is replaced too.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists() and not stat.S_IMODE(path.stat().st_mode) & 0o077:
            token = path.read_text(encoding="ascii").strip()
            if len(token) >= TOKEN_BYTES:
                return token
        token = secrets.token_urlsafe(TOKEN_BYTES)
        write_atomically(path, token + "\n")
        return token
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"cannot keep the REST token in {path}: {error}") from error


class Expiring:
    """A bounded set of secrets with an end; only their hashes are kept. The oldest give way."""

    def __init__(self, life_s: float, limit: int, monotonic_s: Callable[[], float]) -> None:
        self._life_s = life_s
        self._limit = limit
        self._now_s = monotonic_s
        self._ends: dict[bytes, float] = {}

    def issue(self) -> str:
        """Answer a fresh secret."""
        while len(self._ends) >= self._limit:
            del self._ends[next(iter(self._ends))]
        secret = secrets.token_urlsafe(TOKEN_BYTES)
        self._ends[_digest(secret)] = self._now_s() + self._life_s
        return secret

    def holds(self, secret: str) -> bool:
        """Answer whether the secret was issued and has not ended."""
        return self._ends.get(_digest(secret), 0.0) > self._now_s()

    def forget(self, secret: str) -> None:
        """End it now."""
        self._ends.pop(_digest(secret), None)

    def take(self, secret: str) -> bool:
        """Answer like `holds`, and forget it: it works once."""
        return self._ends.pop(_digest(secret), 0.0) > self._now_s()


class Guard:
    """Checks every request before anything else sees it; each check raises Refused."""

    def __init__(
        self, *, token: str, host: str, port: int, monotonic_s: Callable[[], float]
    ) -> None:
        self._token = token
        self.port = port
        self._hosts = _allowed_hosts(host, port)
        self._origins = frozenset(f"http://{name}" for name in self._hosts)
        self.links = Expiring(LINK_LIFE_S, LINKS_MAX, monotonic_s)
        self._sessions = Expiring(SESSION_LIFE_S, SESSIONS_MAX, monotonic_s)
        self._key_secret = secrets.token_bytes(TOKEN_BYTES)

    @property
    def cookie(self) -> str:
        """Answer the name of the session cookie."""
        return f"paceline_{self.port}"

    def check_place(self, request: HTTPConnection) -> None:
        """Refuse a foreign Host (421) or Origin (403)."""
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            raise Refused(421, "Misdirected", "this node answers to loopback names only")
        origin = request.headers.get("origin")
        if origin is not None and origin.lower() not in self._origins:
            raise Refused(403, "Forbidden", "requests from other web origins are refused")

    def check_caller(self, request: Request, *, bearer_only: bool = False) -> None:
        """Refuse whoever has neither the bearer token nor a session that opens this (401).

        A session by itself opens reading. To change something, a page must also send its action key
        (403), from our own origin, which browsers name with every such request.
        """
        if self._has_bearer(request):
            return
        if not bearer_only and self.has_session(request):
            if request.method not in _SAFE_METHODS:
                self._check_action(request)
            return
        raise _unauthorized()

    def check_bearer(self, connection: HTTPConnection) -> None:
        """Refuse whoever has not the bearer token (401)."""
        if not self._has_bearer(connection):
            raise _unauthorized()

    def _has_bearer(self, connection: HTTPConnection) -> bool:
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and _same(given.strip(), self._token)

    def has_session(self, request: Request) -> bool:
        """Answer whether the browser was let in by a one-time link."""
        return self._sessions.holds(request.cookies.get(self.cookie, ""))

    def log_in(self, link_secret: str) -> tuple[str, str]:
        """Answer a session and its action key for a one-time secret.

        Raise Refused (403) if the secret was used or is too old.
        """
        if not self.links.take(link_secret):
            raise Refused(
                403, "Forbidden", "this link was used or is too old; `paceline web` makes another"
            )
        session = self._sessions.issue()
        return session, self._action_key(session)

    def log_out(self, request: Request) -> None:
        """End the request's session."""
        self._sessions.forget(request.cookies.get(self.cookie, ""))

    def _action_key(self, session: str) -> str:
        """Answer the key that goes with a session; the session itself does not tell it."""
        return hmac.new(self._key_secret, session.encode("utf-8", "replace"), "sha256").hexdigest()

    def _check_action(self, request: Request) -> None:
        """Refuse a change (403) that does not come from our own page with its key."""
        key = self._action_key(request.cookies.get(self.cookie, ""))
        own = f"http://{request.headers['host'].lower()}"
        if request.headers.get("origin", "").lower() != own:
            raise Refused(403, "Forbidden", "only this node's own page may change something")
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise Refused(403, "Forbidden", "only this node's own page may change something")
        if not _same(request.headers.get(ACTION_HEADER, ""), key):
            raise Refused(
                403,
                "Forbidden",
                "this page may only read; `paceline web` makes a link with which it may act",
            )


def _unauthorized() -> Refused:
    return Refused(
        401,
        "Unauthorized",
        "send `Authorization: Bearer` with the content of api.token in the data directory",
        {"WWW-Authenticate": 'Bearer realm="paceline"'},
    )


def _allowed_hosts(host: str, port: int) -> frozenset[str]:
    names = {"localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host.lower()}
    allowed = {f"{name}:{port}" for name in names}
    # Browsers leave the port of http out where it is 80.
    return frozenset(allowed | names if port == 80 else allowed)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _same(given: str, expected: str) -> bool:
    """Compare in a time that tells nothing, not even the length."""
    return hmac.compare_digest(_digest(given), _digest(expected))
