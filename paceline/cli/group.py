"""Command groups that import late, suggest near names, and end every failure in one sentence."""

import difflib
import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, cast

import click

from paceline.cli import failures
from paceline.cli.spinner import Spinner
from paceline.client import Client
from paceline.errors import PacelineError

INTERRUPTED = 130
BROKEN_PIPE = 141
"""What a shell reports of a program that SIGINT or SIGPIPE ended."""


class LazyGroup(click.Group):
    """A group whose commands are named as `module:attribute` and imported when they are used."""

    def __init__(self, *args: Any, lazy: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self._lazy = dict(lazy)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Answer the names in the order of the table: what people need first stands first."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, or answer None for an unknown name."""
        place = self._lazy.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        return cast(click.Command, getattr(importlib.import_module(module), attribute))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for an unknown name raise UsageError with the nearest ones."""
        name = args[0]
        if name in self._lazy or name.startswith("-"):
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(name, self._lazy, n=3, cutoff=0.6)
        hint = f" Did you mean {' or '.join(f'`{match}`' for match in near)}?" if near else ""
        raise click.UsageError(f"No such command {name!r}.{hint}", ctx)


class Root(LazyGroup):
    """The group `paceline` itself: decides the exit status of everything below it."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run and exit; unlike click's own, it knows Paceline's errors and statuses."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        _prepare_output()
        Client.waits = Spinner
        if os.environ.get("NO_COLOR"):
            extra.setdefault("color", False)
        try:
            status = super().main(args, prog_name, complete_var, False, **extra)
            sys.stdout.flush()
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except PacelineError as error:
            _fail(failures.sentence(error), failures.exit_status(error))
        except (click.Abort, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            _forget_output()
            sys.exit(BROKEN_PIPE)
        except Exception as error:
            foreseen = failures.foreseen(error)
            if foreseen is not None:
                _fail(failures.sentence(foreseen), failures.exit_status(foreseen))
            _fail(failures.report(error, list(args or sys.argv[1:])), failures.FAILED)
        sys.exit(status if isinstance(status, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run, and keep click from turning a broken pipe into status 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _forget_output()
            ctx.exit(BROKEN_PIPE)


def _fail(sentence: str, status: int) -> NoReturn:
    click.echo(f"{click.style('Error:', fg='red')} {sentence}", err=True)
    sys.exit(status)


def _prepare_output() -> None:
    """Let what a terminal's encoding lacks be shown as `?`: an old locale is no defect."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _forget_output() -> None:
    """Point standard output at nothing, or Python complains when it flushes it at the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
