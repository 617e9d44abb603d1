"""The options of a node: checked in one place, read from the outside only when `load` is called.

Precedence: what the command line says, then the environment (PACELINE_...), then the defaults here.
Relations between the fields: a lease must outlast several heartbeats (100 ms), since a worker whose
lease cannot be renewed stops its agents; `grace_ms` is what the leader waits beyond a lease before
it gives the work to another node, so lease + grace bounds how long a dead worker holds up a task.
"""

import ipaddress
import os
import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TextIO, cast

from paceline.errors import InvalidSettings
from paceline.tokens import PRESET_MAX, parse_token

DEFAULT_PORT = 7433
DEFAULT_WEB_PORT = 7430
TOKEN_LENGTH_MAX = PRESET_MAX
JOIN_MAX = 64
LABELS_MAX = 64
DAILY_BUDGET_LIMIT_USD = 1_000_000.0

Sandbox = Literal["auto", "require", "off"]
Profile = Literal["wifi", "wired"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
_RANGES = {
    "port": (0, 65535),
    "web_port": (0, 65535),
    "slots": (0, 256),
    "max_voters": (1, 9),
    "replace_after_s": (1, 7 * 24 * 3600),
    "lease_ms": (500, 600_000),
    "grace_ms": (0, 600_000),
}
_CHOICES = {
    "profile": ("wifi", "wired"),
    "sandbox": ("auto", "require", "off"),
    "log_level": ("debug", "info", "warning", "error"),
    "log_format": ("console", "json"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """How one node runs. Constructing one checks it: raises InvalidSettings with what to do."""

    data_dir: Path
    name: str
    """What people call this machine; need not be unique."""
    bind: str = "::"
    """The address that peers connect to; `::` and `0.0.0.0` are all of this machine. Whoever has
    not proven to know the token learns nothing there but where the node is."""
    port: int = DEFAULT_PORT
    """For peers; 0 = any free one."""
    web_port: int = DEFAULT_WEB_PORT
    """For the command line and the status page, on loopback always; 0 = any free one."""
    token: str | None = field(default=None, repr=False)
    """The cluster's secret; None founds a cluster or goes on with the one in `data_dir`."""
    join: tuple[str, ...] = ()
    """Addresses HOST:PORT of nodes to ask; mDNS finds others where multicast works."""
    mdns: bool = True
    slots: int = 2
    """How many attempts run at once here; 0 = this node only votes and keeps."""
    labels: Mapping[str, str] = field(default_factory=dict)
    max_voters: int = 5
    replace_after_s: int = 300
    """A voter that is silent for longer is replaced by a learner, if there is one."""
    profile: Profile = "wifi"
    """`wired` has shorter election timeouts, for networks that do not stall."""
    approve: bool = False
    """Of a founder: a person confirms each newcomer of the cluster."""
    anew: bool = False
    """Move what is in `data_dir` aside first and begin as a new node."""
    lease_ms: int = 10_000
    grace_ms: int = 2_000
    daily_budget_usd: float = 0.0
    """What attempts here may cost in a day (UTC) before no more begin that cost; 0 = no bound."""
    sandbox: Sandbox = "auto"
    """How agents are kept apart from this machine: `auto` = as well as the machine can, `require` =
    in a sandbox or not at all, `off` = only by what they are told and given."""
    log_level: str = "info"
    log_format: str = "console"

    def __post_init__(self) -> None:
        """Check every field; see `_check`."""
        _check(self)

    @property
    def node_file(self) -> Path:
        """Answer where a running node says who and where it is (JSON, no secret)."""
        return self.data_dir / "node.json"

    @property
    def api_token_file(self) -> Path:
        """Answer where the bearer token of the REST interface is (0600)."""
        return self.data_dir / "api.token"

    @property
    def log_file(self) -> Path:
        """Answer where a node in the background writes what it would have printed."""
        return self.data_dir / "node.log"


def load(
    given: Mapping[str, Any], environ: Mapping[str, str], stdin: TextIO | None = None
) -> NodeSettings:
    """Answer the settings of which the caller said `given`; None = not said.

    Beside the fields of NodeSettings, `given` may name `token_file`. The token comes from `token`
    (`-` = a line of `stdin`), else `token_file` (likewise), else PACELINE_TOKEN_FILE, else
    PACELINE_TOKEN. `labels` may be a mapping or `K=V` texts. Raise InvalidSettings.
    """
    said = {key: value for key, value in given.items() if value is not None}
    unknown = said.keys() - {item.name for item in fields(NodeSettings)} - {"token_file"}
    if unknown:
        raise InvalidSettings(f"there is no setting {', '.join(sorted(unknown))}")
    token_file = said.pop("token_file", None)
    token = _token(said.get("token"), token_file, environ, stdin)
    said["token"] = parse_token(token) if token is not None else None
    said["data_dir"] = _absolute(said.get("data_dir") or default_data_dir(environ))
    said.setdefault("name", default_name())
    said.setdefault("slots", default_slots())
    said["join"] = tuple(said.get("join", ()))
    said["labels"] = _labels(said.get("labels", {}))
    return NodeSettings(**said)


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Answer where a node of this user keeps its data when nobody says otherwise."""
    if said := environ.get("PACELINE_DATA_DIR"):
        return _absolute(said)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "paceline"
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "paceline"
    base = environ.get("XDG_DATA_HOME", "")
    # The XDG specification says that a relative path there is invalid and to be ignored.
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "share") / "paceline"


def default_name() -> str:
    """Answer this machine's host name, cut to what a node's name may be."""
    host = socket.gethostname().split(".")[0]
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", host).strip("-._")[:63]
    return cleaned or "node"


def default_slots() -> int:
    """Answer one slot per two processors: an agent and what it starts keep more than one busy."""
    return max(1, (os.cpu_count() or 1) // 2)


def parse_address(text: str) -> tuple[str, int]:
    """Answer host and port of `HOST:PORT` or `[IPV6]:PORT`. Raise InvalidSettings."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed) or not port.isascii():
        raise InvalidSettings(f"{text!r} is not HOST:PORT; an IPv6 address needs [brackets]")
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise InvalidSettings(f"{text!r} has no port between 1 and 65535")
    return (host[1:-1] if bracketed else host), int(port)


def _check(settings: NodeSettings) -> None:
    for name, (low, high) in _RANGES.items():
        value = getattr(settings, name)
        if not isinstance(value, int) or not low <= value <= high:
            raise InvalidSettings(f"{_option(name)} must be between {low} and {high}, not {value}")
    for name, choices in _CHOICES.items():
        if getattr(settings, name) not in choices:
            raise InvalidSettings(f"{_option(name)} must be one of {', '.join(choices)}")
    if not 0 <= settings.daily_budget_usd <= DAILY_BUDGET_LIMIT_USD:
        raise InvalidSettings(
            f"--daily-budget must be 0 (no bound) to {DAILY_BUDGET_LIMIT_USD:g} US dollars"
        )
    if not _NAME.fullmatch(settings.name):
        raise InvalidSettings(
            f"--name {settings.name!r} will not do: letters, digits, '.', '_' and '-', at most 63"
        )
    if settings.port and settings.port == settings.web_port:
        raise InvalidSettings("--port and --web-port must differ")
    _check_bind(settings)
    _check_token(settings.token)
    _check_lists(settings)


def _option(name: str) -> str:
    return "--" + name.removesuffix("_s").replace("_", "-")


def _check_bind(settings: NodeSettings) -> None:
    try:
        ipaddress.ip_address(settings.bind)
    except ValueError:
        raise InvalidSettings(
            f"--bind {settings.bind!r} is not an IP address; name the one that peers reach"
        ) from None


def _check_token(token: str | None) -> None:
    """Tell a mistyped token; a wrong one only the cluster can tell."""
    if token is not None and parse_token(token) != token:
        raise InvalidSettings("the token is not in its one spelling; `tokens.parse_token` gives it")


def _check_lists(settings: NodeSettings) -> None:
    if len(settings.join) > JOIN_MAX:
        raise InvalidSettings(f"--join may be given at most {JOIN_MAX} times; a few will do")
    for address in settings.join:
        parse_address(address)
    if len(settings.labels) > LABELS_MAX:
        raise InvalidSettings(f"--label may be given at most {LABELS_MAX} times")
    for key, value in settings.labels.items():
        if not _LABEL.fullmatch(key) or (value and not _LABEL.fullmatch(value)):
            raise InvalidSettings(
                f"--label {key}={value} will not do: letters, digits, '.', '_', '/' and '-', "
                "at most 63 on either side"
            )


def _labels(given: Mapping[str, str] | list[str] | tuple[str, ...]) -> dict[str, str]:
    if isinstance(given, Mapping):
        return dict(given)
    labels: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise InvalidSettings(f"--label {text!r} is not KEY=VALUE")
        labels[key] = value
    return labels


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(Path(path).expanduser()))


def _token(
    token: str | None, path: str | Path | None, environ: Mapping[str, str], stdin: TextIO | None
) -> str | None:
    """Answer the token from the most explicit source that has one.

    Only the explicit ones exclude each other: argv is visible to every user of the machine, so
    a wrapper may well keep PACELINE_TOKEN set and still be overruled by a file.
    """
    if token and path:
        raise InvalidSettings("--token and --token-file exclude each other")
    if token:
        return _token_line(stdin, "-") if token == "-" else token
    source = path or environ.get("PACELINE_TOKEN_FILE")
    if source:
        return _token_line(stdin, str(source))
    return environ.get("PACELINE_TOKEN") or None


def _token_line(stdin: TextIO | None, source: str) -> str:
    try:
        if source != "-":
            with Path(source).expanduser().open(encoding="utf-8") as file:
                text = file.read(TOKEN_LENGTH_MAX + 2)
        else:
            text = cast(TextIO, stdin or sys.stdin).readline(TOKEN_LENGTH_MAX + 2)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InvalidSettings(f"cannot read the token from {source}: {reason}") from error
    if not text.strip():
        where = "standard input" if source == "-" else source
        raise InvalidSettings(f"there is no token in {where}")
    return text.strip()
