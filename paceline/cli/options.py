"""The options that many commands share, each spelt once."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from paceline import config

F = TypeVar("F", bound=Callable[..., Any])


def _data_dir(ctx: click.Context, param: click.Parameter, value: str | None) -> Path:
    return Path(value).expanduser().absolute() if value else config.data_dir(os.environ)


def data_dir(function: F) -> F:
    """Add `--data-dir`: which node is meant, by where it keeps its data."""
    return click.option(
        "--data-dir",
        metavar="DIR",
        envvar="PACELINE_DATA_DIR",
        callback=_data_dir,
        help="Where the node keeps its data (default: PACELINE_DATA_DIR, else this user's own).",
    )(function)


def offers(kind: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """Answer what completes an argument with what the node knows of a kind; see `complete`."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from paceline.cli.complete import offered  # noqa: PLC0415 - only a shell asks

        return offered(kind, ctx, incomplete)

    return complete


def as_json(function: F) -> F:
    """Add `--json`: one document on standard output and nothing else."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
    )(function)


def timeout(function: F) -> F:
    """Add `--timeout`: how long to wait for an end."""
    return click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Give up waiting after this long (exit status 4); the task goes on.",
    )(function)
