"""The configuration file: settings of a node that outlast a command line.

    paceline config init        writes one, with every setting explained and commented out

TOML, one key per field of `NodeSettings`, `token_file` besides. Precedence: what the command line
says, then the environment, then this file, then the defaults. A key that is not known, a value of
the wrong kind or out of bounds is refused with its line. The token itself is refused: this file is
for people to show around; name a file that has it.
"""

import difflib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from paceline import settings
from paceline.errors import InvalidSettings
from paceline.settings import NodeSettings

LIMIT_BYTES = 256 * 1024

_HEAD = """\
# The node of this machine. Remove the # before a line to change what it says.
# Stronger than this file: options of `paceline node start`, then variables PACELINE_...
# `paceline config check` looks for mistakes, `paceline config show` says what holds and why.
"""
_ABOUT: Mapping[str, str] = {
    "data_dir": "Where the node keeps what it knows. An absolute path.",
    "name": "What people call this machine.",
    "bind": "The address that other nodes connect to; :: is all of this machine.",
    "port": "For other nodes; the two ports after it are used, too. 0 = any free ones.",
    "web_port": "For the command line and the page, on this machine only. 0 = any free one.",
    "token_file": "A file with the cluster's token, readable by you alone.",
    "join": "Nodes to ask, where multicast does not find them.",
    "mdns": "Find other nodes by multicast.",
    "slots": "How many attempts run here at once; 0 = none, this node only votes and keeps.",
    "labels": "What plans may ask for.",
    "max_voters": "How many nodes vote at most, 1-9; an odd number.",
    "replace_after_s": "After so many seconds a silent voter is replaced by a spare.",
    "profile": "How patient elections are: wifi, or wired.",
    "approve": "When this node founds the cluster: a person confirms each newcomer.",
    "lease_ms": "How long a silent worker keeps its work.",
    "grace_ms": "What is waited beyond the lease before its work goes elsewhere.",
    "daily_budget_usd": "What attempts here may cost in a day, in dollars; 0 = no bound.",
    "sandbox": "How agents are kept apart from this machine: auto, require or off.",
    "log_level": "debug, info, warning or error.",
    "log_format": "console, for people, or json, for programs.",
}
_EXAMPLES: Mapping[str, str] = {
    "data_dir": '"~/.local/share/paceline"',
    "name": '"workshop"',
    "token_file": '"~/.config/paceline/token"',
    "join": '["192.168.1.20:7433"]',
    "labels": '{os = "linux", gpu = "yes"}',
    "slots": "2",
}
_NOT_HERE = frozenset({"token", "anew"})
_KINDS: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
    tuple: "a list of texts, [...]",
    dict: "a table of texts, {...}",
}


def default_path(environ: Mapping[str, str]) -> Path:
    """Answer where the file of this user is; PACELINE_CONFIG names another."""
    if said := environ.get("PACELINE_CONFIG"):
        return Path(os.path.abspath(Path(said).expanduser()))
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "paceline" / "config.toml"
    if sys.platform == "win32":
        base = Path(environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
        return base / "paceline" / "config.toml"
    base_text = environ.get("XDG_CONFIG_HOME", "")
    base = Path(base_text) if base_text.startswith("/") else Path.home() / ".config"
    return base / "paceline" / "config.toml"


def templates_directory(environ: Mapping[str, str]) -> Path:
    """Answer where this user's own templates are; PACELINE_TEMPLATES names another place."""
    if said := environ.get("PACELINE_TEMPLATES"):
        return Path(os.path.abspath(Path(said).expanduser()))
    return default_path(environ).parent / "templates"


def setting_names() -> tuple[str, ...]:
    """Answer what the file may say, in the order in which it is explained."""
    known = [each.name for each in fields(NodeSettings) if each.name not in _NOT_HERE]
    return tuple(sorted({*known, "token_file"}, key=lambda key: (_place(key), key)))


def _place(key: str) -> int:
    order = list(_ABOUT)
    return order.index(key) if key in order else len(order)


def template() -> str:
    """Answer a file that says nothing yet: every setting with its default, commented out."""
    defaults = {each.name: each for each in fields(NodeSettings)}
    parts = [_HEAD]
    for key in setting_names():
        about = _ABOUT.get(key, "")
        value = _EXAMPLES.get(key) or _literal(defaults[key].default)
        parts.append("".join(f"# {line}\n" for line in [about] if line) + f"#{key} = {value}\n")
    return "\n".join(parts)


def _literal(value: object) -> str:
    if value is MISSING or value is None:
        return '""'
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else f'"{value}"'


def read(path: Path) -> dict[str, Any]:
    """Answer what the file says; nothing where there is none. Raise InvalidSettings."""
    import tomllib  # noqa: PLC0415 - who has no such file does not pay for reading it

    try:
        with path.open("rb") as file:
            data = file.read(LIMIT_BYTES + 1)
        text = data.decode("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidSettings(f"cannot read {path}: {reason}") from error
    if len(data) > LIMIT_BYTES:
        raise InvalidSettings(f"{path} is longer than {LIMIT_BYTES // 1024} KiB")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"{path}: {error}") from error
    return {key: _checked(path, text, key, value) for key, value in document.items()}


def _checked(path: Path, text: str, key: str, value: object) -> Any:
    """Answer one value as `settings.load` takes it. Raise InvalidSettings with its line."""
    place = f"{path}, line {_line(text, key)}"
    if key == "token":
        raise InvalidSettings(
            f"{place}: the token does not belong into this file; put it into one that only you can "
            "read (chmod 600), and name that as token_file"
        )
    if key not in setting_names():
        near = difflib.get_close_matches(key, setting_names(), n=1)
        hint = f"did you mean {near[0]}?" if near else "`paceline config init` writes all there are"
        raise InvalidSettings(f"{place}: there is no setting {key!r}; {hint}")
    found: Any = tuple(value) if isinstance(value, list) else value
    kind = _kind(key)
    texts: Iterable[object] = ()
    if isinstance(found, dict | tuple):
        texts = found.values() if isinstance(found, dict) else found
    if kind is float and type(found) is int:
        found = float(found)
    if type(found) is not kind or not all(isinstance(each, str) for each in texts):
        raise InvalidSettings(f"{place}: {key} must be {_KINDS[kind]}")
    if kind is str and key in ("data_dir", "token_file"):
        found = str(Path(str(found)).expanduser())
    if key != "token_file":
        _try(place, key, found)
    return found


def _kind(key: str) -> type:
    if key in ("data_dir", "name", "token_file"):
        return str
    if key in ("join", "labels"):
        return {"join": tuple, "labels": dict}[key]
    default = next(each.default for each in fields(NodeSettings) if each.name == key)
    return type(default) if type(default) in _KINDS else str


def _try(place: str, key: str, value: object) -> None:
    """Have the value checked alone, so that a refusal can name its line."""
    try:
        settings.load({"data_dir": "/", "port": 0, "web_port": 0, key: value}, {})
    except InvalidSettings as error:
        raise InvalidSettings(f"{place}: {error}") from error


def _line(text: str, key: str) -> int:
    pattern = re.compile(rf"\s*\[?\s*[\"']?{re.escape(key)}[\"']?\s*[\].=]")
    lines = enumerate(text.splitlines(), start=1)
    return next((number for number, line in lines if pattern.match(line)), 1)


def data_dir(environ: Mapping[str, str]) -> Path:
    """Answer the data directory where no option names one: by variable, file, or default."""
    if environ.get("PACELINE_DATA_DIR"):
        return settings.default_data_dir(environ)
    path = default_path(environ)
    said = read(path).get("data_dir") if path.exists() else None
    return Path(os.path.abspath(said)) if said else settings.default_data_dir(environ)


def under(given: Mapping[str, Any], said: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
    """Answer `given` (options and variables; None or empty = not said) with the file's values.

    A token from the command line or the environment is stronger than a token file named here.
    """
    stronger = {key for key, value in given.items() if value not in (None, (), {})}
    tokens = ("PACELINE_TOKEN", "PACELINE_TOKEN_FILE")
    if stronger & {"token", "token_file"} or any(map(environ.get, tokens)):
        stronger.add("token_file")
    return {**given, **{key: value for key, value in said.items() if key not in stronger}}
