"""`paceline evaluate`: score a change in a local repository, without a node."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from paceline.cli import options
from paceline.cli.format import heading, print_json, printable, table
from paceline.errors import InputError

if TYPE_CHECKING:
    from paceline.evaluators.aggregate import Evaluation
    from paceline.evaluators.config import Config
    from paceline.evaluators.gather import Gathered

BELOW = 1
ISSUES_SHOWN = 30
REQUIREMENTS_LIMIT_BYTES = 1024 * 1024

_COLOURS = {"critical": "red", "high": "red", "medium": "yellow", "low": "cyan"}
_VERDICTS = {"pass": "green", "checkpoint": "yellow", "retry": "red"}


@click.command()
@click.option("--repo", default=".", metavar="PATH", help="The repository (default: here).")
@click.option("--base", default="HEAD", metavar="REF", show_default=True, help="Compare with this.")
@click.option(
    "--requirements",
    metavar="FILE|TEXT",
    help="What was asked for: a file, `-` for standard input, or the words themselves.",
)
@click.option(
    "--run-tests",
    is_flag=True,
    help="Run the repository's own tests and linters. This executes what the repository says.",
)
@click.option(
    "--test-command",
    "test_commands",
    multiple=True,
    metavar="COMMAND",
    help="Run this instead of the tests that were found (repeatable; implies --run-tests).",
)
@click.option("--config", metavar="FILE", help="Instead of the base's .paceline/evaluators.toml.")
@click.option(
    "--fail-under",
    type=click.FloatRange(0, 10),
    metavar="N",
    help="Exit with status 1 if the score is below this, or nothing could be judged.",
)
@options.as_json
@click.pass_context
def evaluate(
    ctx: click.Context,
    *,
    repo: str,
    base: str,
    requirements: str | None,
    run_tests: bool,
    test_commands: tuple[str, ...],
    config: str | None,
    fail_under: float | None,
    as_json: bool,
) -> None:
    """Score the change between a commit and the work tree, from 0 to 10.

    The change is what differs from --base, untracked files included. Nothing of the repository is
    executed unless --run-tests says so.
    """
    evaluation = asyncio.run(
        _evaluate(
            Path(repo).expanduser().absolute(),
            base,
            _requirements(requirements),
            config,
            test_commands,
            permitted=run_tests or bool(test_commands),
        )
    )
    if as_json:
        print_json(evaluation.document())
    else:
        _show(evaluation)
    if fail_under is not None and (evaluation.score is None or evaluation.score < fail_under):
        ctx.exit(BELOW)


async def _evaluate(
    repo: Path,
    base: str,
    requirements: str,
    config_file: str | None,
    test_commands: tuple[str, ...],
    *,
    permitted: bool,
) -> "Evaluation":
    from paceline.evaluators import engine  # noqa: PLC0415 - only this command pays for them
    from paceline.evaluators.context import Context  # noqa: PLC0415
    from paceline.evaluators.gather import gather  # noqa: PLC0415

    gathered = await gather(repo, base)
    config = _config(gathered, config_file)
    context = Context(requirements=requirements, repository=gathered.repository)
    if permitted:
        context = await _measured(context, gathered, config, test_commands)
    notes = _notes(gathered, config_file)
    return await engine.evaluate(gathered.change, context, config=config, notes=notes)


async def _measured(context: Any, gathered: "Gathered", config: "Config", given: Any) -> Any:
    from paceline.evaluators.measure.commands import commands_for  # noqa: PLC0415
    from paceline.evaluators.measure.running import measure  # noqa: PLC0415

    top = gathered.repository
    commands = commands_for(
        config.commands, gathered.manifests, has=lambda path: (top / path).exists(), given=given
    )
    return await measure(
        context,
        gathered.change,
        commands,
        gathered.manifests,
        time_s=config.commands.time_s,
        memory_mib=config.commands.memory_mib,
    )


def _config(gathered: "Gathered", file: str | None) -> "Config":
    from paceline.evaluators.config import SIZE_LIMIT, Config, parse  # noqa: PLC0415

    if file is not None:
        return parse(_read(Path(file), SIZE_LIMIT), file)
    return parse(gathered.config) if gathered.config else Config()


def _notes(gathered: "Gathered", config_file: str | None) -> list[str]:
    from paceline.evaluators.gather import CONFIG_PATH  # noqa: PLC0415

    if config_file is None and CONFIG_PATH in gathered.change.by_path:
        return [f"{CONFIG_PATH} is part of the change and counts once it is merged (or --config)"]
    return []


def _requirements(given: str | None) -> str:
    """Answer the words themselves: those of a file where there is one of that name."""
    if given is None:
        return ""
    if given == "-":
        return sys.stdin.read(REQUIREMENTS_LIMIT_BYTES)
    path = Path(given)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # too long for a name, or with a NUL in it
        is_file = False
    return _read(path, REQUIREMENTS_LIMIT_BYTES) if is_file else given


def _read(path: Path, limit_bytes: int) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > limit_bytes:
        raise InputError(f"{path} is larger than {limit_bytes} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8") from None


# --- for people -----------------------------------------------------------------------------------


def _show(evaluation: "Evaluation") -> None:
    score = "-" if evaluation.score is None else f"{evaluation.score:g}"
    verdict = evaluation.verdict.value
    click.echo(
        f"{heading('score')} {score} of 10   {click.style(verdict, fg=_VERDICTS[verdict])}\n"
    )
    rows = [
        (
            part.name,
            "-" if part.score is None else f"{part.score:g}",
            f"{part.weight:g}",
            printable(part.failure or _reason(part.result)),
        )
        for part in evaluation.parts
    ]
    click.echo(table(("evaluator", "score", "weight", ""), rows))
    _show_issues(evaluation)
    for reason in (*evaluation.reasons, *evaluation.notes):
        click.echo(f"- {printable(reason)}")


def _reason(result: Any) -> str:
    return str(result.details.get("reason", "")) if result else ""


def _show_issues(evaluation: "Evaluation") -> None:
    found = evaluation.issues
    click.echo("")
    for name, issue in found[:ISSUES_SHOWN]:
        place = f"{issue.file}:{issue.line}" if issue.line else issue.file or "-"
        severity = click.style(issue.severity.value, fg=_COLOURS[issue.severity.value])
        words = " ".join(printable(issue.message).split())[:300]
        click.echo(f"{severity} {printable(place)} {printable(issue.rule)} ({name}): {words}")
    if len(found) > ISSUES_SHOWN:
        click.echo(f"... and {len(found) - ISSUES_SHOWN} more: --json has all of them")
    if found:
        click.echo("")
