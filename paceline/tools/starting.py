"""From a definition, a configuration and a job to a command line: argv, environment, home files.

Nothing here goes through a shell. What is filled in was checked before: the model and the session
are names (`wishes`), the service's address is one that cannot end a quotation (`check_address`), so
they may also stand inside JSON and TOML. Secrets go into variables and private files only: an
argument list can be read by everybody on the machine.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from paceline.errors import InvalidSettings, ToolError
from paceline.tools.definition import PLACEHOLDER, Definition, Layer, PromptBy
from paceline.tools.wishes import Wishes

ARGUMENT_LIMIT_BYTES = 100 * 1024
"""Linux takes 128 KiB in one argument."""

PRIVATE_FILE = 0o600

_ADDRESS = re.compile(r"https?://[A-Za-z0-9._~:/\[\]%@!$&()*+,;=-]{1,500}")


@dataclass(frozen=True, slots=True)
class Access:
    """How the service is reached: with a key (perhaps none), or by the owner's login."""

    base_url: str = ""
    api_key: str = ""
    login_home: Path | None = None
    """Whose home the login lies in; None = not by login."""


@dataclass(frozen=True, slots=True)
class Start:
    """What to run. `home_files` are relative to the home."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    home_files: Mapping[str, str]
    stdin: Path | None = None


def check_address(tool: str, address: str) -> None:
    """Raise InvalidSettings if this is no HTTP address, or could end a quotation."""
    if not _ADDRESS.fullmatch(address):
        raise InvalidSettings(
            f"tools.{tool}.base_url: write an address like http://127.0.0.1:8080, not {address!r}"
        )


def plan_start(
    definition: Definition,
    *,
    binary: str,
    access: Access,
    wishes: Wishes,
    places: Mapping[str, Path],
    prompt: str,
    prompt_file: Path,
    walled: bool = False,
) -> Start:
    """Answer the start of one run.

    `places` are `workspace`, `home` and `output`. `walled`: it runs behind a sandbox of ours. Raise
    ToolError if the prompt is too long for a program that only takes it as an argument.
    """
    values = _values(definition, access, wishes)
    values |= {name: str(path) for name, path in places.items()}
    values |= {"prompt": prompt, "prompt_file": str(prompt_file)}
    if definition.prompt is PromptBy.ARGV and len(prompt.encode()) > ARGUMENT_LIMIT_BYTES:
        raise ToolError(
            f"{definition.title} takes a prompt of at most {ARGUMENT_LIMIT_BYTES} bytes; this one "
            f"has {len(prompt.encode())}: hand on less, or use another tool"
        )
    layers = tuple(_layers(definition, access, wishes, walled=walled))
    argv = [binary, *(part for layer in layers for part in _argv(layer.argv, values))]
    return Start(
        argv=(*argv, *_argv(definition.tail, values)),
        environment=_merged((layer.environment for layer in layers), values),
        home_files=_merged((layer.home_files for layer in layers), values),
        stdin=prompt_file if definition.prompt is PromptBy.STDIN else None,
    )


def plan_probe(
    definition: Definition, arguments: Iterable[str], *, binary: str, access: Access
) -> Start:
    """Answer the start of one question about the program's health, with the same access."""
    values = _values(definition, access, Wishes())
    layers = (definition.base, _access_layer(definition, access))
    return Start(
        argv=(binary, *arguments),
        environment=_merged((layer.environment for layer in layers), values),
        home_files=_merged((layer.home_files for layer in layers), values),
    )


def _values(definition: Definition, access: Access, wishes: Wishes) -> dict[str, str]:
    """Answer the words for the placeholders, without those that have no value."""
    values = {
        "base_url": access.base_url,
        "api_key": access.api_key,
        "model": wishes.model or definition.model,
        "max_turns": str(wishes.max_turns),
        "budget_usd": f"{wishes.budget_usd:g}" if wishes.budget_usd is not None else "",
        "session": wishes.session,
    }
    return {name: value for name, value in values.items() if value}


def _layers(
    definition: Definition, access: Access, wishes: Wishes, *, walled: bool
) -> Iterable[Layer]:
    yield definition.base
    yield _access_layer(definition, access)
    permissions = definition.walled if walled and definition.walled else definition.permissions
    yield permissions[wishes.permission]
    given = {
        "model": bool(wishes.model or definition.model),
        "max_turns": True,
        "budget_usd": wishes.budget_usd is not None,
        "session": bool(wishes.session),
    }
    for name, layer in definition.options.items():
        if given[name]:
            yield layer


def _access_layer(definition: Definition, access: Access) -> Layer:
    if access.login_home is not None and definition.login is not None:
        return definition.login.layer
    return definition.key.layer if definition.key else Layer()


def _argv(parts: tuple[str, ...], values: Mapping[str, str]) -> list[str]:
    """Answer a list of arguments, or none of them if one has no value: a flag goes with its own."""
    filled = [_fill(part, values) for part in parts]
    return [part for part in filled if part is not None] if None not in filled else []


def _merged(layers: Iterable[Mapping[str, str]], values: Mapping[str, str]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for layer in layers:
        for name, template in layer.items():
            if (filled := _fill(template, values)) is not None:
                merged[name] = filled
    return merged


def _fill(template: str, values: Mapping[str, str]) -> str | None:
    """Answer the template with its words filled in, or None if one of them has no value."""
    if any(name not in values for name in PLACEHOLDER.findall(template)):
        return None
    return PLACEHOLDER.sub(lambda found: values[found[1]], template)


def make_home(start: Start, home: Path, *, linked: Iterable[str], owner: Path | None) -> None:
    """Write the home's files and link the owner's login into it. Blocks.

    The login is linked, not copied: its program renews it in place. Raise ToolError.
    """
    try:
        for name, text in start.home_files.items():
            write_private(home / name, text)
        for name in linked if owner else ():
            source, place = owner / name, home / name  # type: ignore[operator]
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if source.is_file() and not os.path.lexists(place):
                place.symlink_to(source.resolve())
    except OSError as error:
        raise ToolError(f"the private home could not be made: {error}") from error


def write_private(file: Path, text: str) -> None:
    """Write a file that nobody else on the machine can read. Blocks."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as target:
        target.write(text)
