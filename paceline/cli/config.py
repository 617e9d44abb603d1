"""The configuration file: written, shown, checked."""

import os
from pathlib import Path
from typing import Any

import click

from paceline import config as files
from paceline.cli import options
from paceline.cli.format import print_json, printable, table
from paceline.errors import Conflict
from paceline.settings import load

file_option = click.option(
    "--file",
    metavar="FILE",
    help="Another file than this user's own (PACELINE_CONFIG names one, too).",
)


@click.command()
@file_option
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(file: str | None, force: bool) -> None:
    """Write a configuration file with every setting explained, and none changed."""
    path = _path(file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(files.template())
    except FileExistsError:
        raise Conflict(f"{path} is there already; --force replaces it") from None
    except OSError as error:
        raise Conflict(f"cannot write {path}: {error.strerror}") from error
    click.echo(path)


@click.command()
@file_option
def check(file: str | None) -> None:
    """Look for mistakes in the configuration file; name their line."""
    path = _path(file)
    if not path.exists():
        return click.echo(f"there is no {path}; the defaults hold")
    said = files.read(path)
    return click.echo(f"{path}: {len(said)} settings, no mistake")


@click.command()
@file_option
@options.as_json
def show(file: str | None, as_json: bool) -> None:
    """Show what holds for the node of this machine, and who said so."""
    path = _path(file)
    rows = _settings(path)
    if as_json:
        return print_json({"file": str(path), "exists": path.exists(), "settings": rows})
    click.echo(f"{path}{'' if path.exists() else ' (there is none)'}")
    return click.echo(
        table(
            ("SETTING", "VALUE", "FROM"), ((r["name"], _text(r["value"]), r["from"]) for r in rows)
        )
    )


def _path(file: str | None) -> Path:
    return Path(file).expanduser().absolute() if file else files.default_path(os.environ)


def _settings(path: Path) -> list[dict[str, Any]]:
    """Answer each setting as `node start` would take it now without options."""
    from paceline.cli.node import start  # noqa: PLC0415 - the other commands here do not need it

    said = files.read(path)
    context = start.make_context("start", [])
    given = {key: value for key, value in context.params.items() if key != "detach"}
    environment = {key for key in given if _from_environment(context, key)}
    given = {key: value if key in environment else None for key, value in given.items()}
    loaded = load(files.under(given, said, os.environ), os.environ)
    rows = []
    for key in files.setting_names():
        source = "environment" if key in environment else "file" if key in said else "default"
        value = said.get(key) if key == "token_file" else getattr(loaded, key)
        rows.append({"name": key, "value": _plain(value), "from": source})
    return rows


def _from_environment(context: click.Context, key: str) -> bool:
    return context.get_parameter_source(key) is click.core.ParameterSource.ENVIRONMENT


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, str | int | float | bool | None) else dict(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return printable(", ".join(value))
    if isinstance(value, dict):
        return printable(", ".join(f"{key}={each}" for key, each in value.items()))
    return printable(value)
