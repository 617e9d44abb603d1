"""Handing work to the network."""

import sys
import uuid
from pathlib import Path
from typing import Any

import click

from paceline.cli import options
from paceline.cli.control import seconds_or_time
from paceline.cli.dry_run import show_dry_run
from paceline.cli.failures import task_status
from paceline.cli.format import print_json, printable
from paceline.client import Client, Document
from paceline.errors import InputError, InvalidPlan, NodeUnreachable, Unavailable
from paceline.tasks.model import CheckpointFrequency, PermissionLevel, Privacy

PLAN_LIMIT = 1024 * 1024
SUBMIT_TIMEOUT_S = 900.0
"""A large repository is bundled first, and one behind a URL is fetched."""

_FORMATS = {".yaml": "yaml", ".yml": "yaml", ".toml": "toml"}


@click.command()
@click.argument("work", required=False, metavar="[DESCRIPTION | PLAN_FILE]")
@click.option(
    "--type",
    "type_",
    metavar="TEMPLATE",
    shell_complete=options.offers("templates"),
    help="See `paceline templates`.",
)
@click.option("--plan", metavar="FILE", help="A plan file (.yaml, .yml, .toml); - = stdin.")
@click.option(
    "--format", "format_", type=click.Choice(["yaml", "toml"]), help="Where the name does not say."
)
@click.option("--repo", metavar="PATH|URL", help="The git repository to work on.")
@click.option("--ref", default="HEAD", show_default=True, help="What to start from in it.")
@click.option("--folder", default="", metavar="PATH", help="Work in this folder of it.")
@click.option("--include-dirty", is_flag=True, help="Take what is not committed, as a commit.")
@click.option("--leave-dirty", is_flag=True, help="Leave what is not committed behind.")
@click.option("--idempotency-key", metavar="KEY", help="The same key is accepted only once.")
@click.option("--privacy", type=click.Choice([p.value for p in Privacy]))
@click.option("--checkpoints", type=click.Choice([c.value for c in CheckpointFrequency]))
@click.option(
    "--tool",
    "tools",
    multiple=True,
    metavar="TOOL",
    shell_complete=options.offers("tools"),
    help="Preferred; repeatable.",
)
@click.option("--priority", type=click.IntRange(0, 100), help="Higher goes first (default 50).")
@click.option(
    "--permission",
    type=click.Choice([p.value for p in PermissionLevel]),
    help="What agents may do; run includes edit, edit includes read.",
)
@click.option("--model", metavar="MODEL", help="For agents; as its maker calls it.")
@click.option("--max-turns", type=click.IntRange(min=1), help="Of an agent in one attempt.")
@click.option(
    "--idle-timeout",
    "idle_timeout_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long an agent may say nothing; 0 = for ever.",
)
@click.option(
    "--budget", "budget_usd", type=float, metavar="USD", help="What the whole task may cost."
)
@click.option(
    "--deadline",
    metavar="SECONDS|TIME",
    help="When the task fails if it has not ended: seconds from now, or ISO 8601.",
)
@click.option(
    "--start-timeout",
    "start_timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long a subtask may wait for a node before it fails.",
)
@click.option(
    "--attempt-timeout",
    "attempt_timeout_s",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="How long one attempt may take (default 3600).",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done, and where.")
@click.option("--wait", "wait_", is_flag=True, help="Wait for the end; status 1 if it fails.")
@click.option("--watch", "watch_", is_flag=True, help="Like --wait, and show how it goes.")
@options.timeout
@options.data_dir
@options.as_json
@click.pass_context
def submit(
    ctx: click.Context,
    *,
    work: str | None,
    type_: str | None,
    plan: str | None,
    format_: str | None,
    repo: str | None,
    ref: str,
    folder: str,
    include_dirty: bool,
    leave_dirty: bool,
    idempotency_key: str | None,
    privacy: str | None,
    checkpoints: str | None,
    tools: tuple[str, ...],
    priority: int | None,
    permission: str | None,
    model: str | None,
    max_turns: int | None,
    idle_timeout_s: float | None,
    budget_usd: float | None,
    deadline: str | None,
    start_timeout_s: float | None,
    attempt_timeout_s: float | None,
    dry_run: bool,
    wait_: bool,
    watch_: bool,
    timeout_s: float | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Submit a task: words with --type, or a plan file. Prints the task's id."""
    if watch_ and as_json:
        raise click.UsageError("--watch and --json exclude each other; --wait goes with --json.")
    asked, source = _work(work, type_, plan, format_)
    body = {
        **asked,
        "repository": _repository(repo, ref, folder),
        "dirty": _dirty(include_dirty, leave_dirty),
        "idempotency_key": idempotency_key or str(uuid.uuid4()),
        "privacy": privacy,
        "checkpoint_frequency": checkpoints,
        "tool_preferences": list(tools),
        "priority": priority,
        "permission": permission,
        "model": model,
        "max_turns": max_turns,
        "idle_timeout_s": idle_timeout_s,
        "budget_usd": budget_usd,
        "deadline": None if deadline is None else seconds_or_time(deadline),
        "start_timeout_s": start_timeout_s,
        "timeout_s": attempt_timeout_s,
    }
    client = Client(data_dir, timeout_s=SUBMIT_TIMEOUT_S)
    said = {key: value for key, value in body.items() if value is not None}
    if dry_run:
        show_dry_run(_send(client, said, source, dry_run="true"), as_json=as_json)
        ctx.exit(0)
    accepted = _send(client, said, source)
    for note in accepted.get("notes") or ():
        click.echo(f"Note: {printable(note)}", err=True)
    if not as_json:
        click.echo(accepted["task_id"])
        _hint(accepted["task_id"], waiting=wait_ or watch_)
    if watch_:
        ctx.exit(_watch(client, accepted["task_id"], timeout_s))
    ended = client.wait(accepted["task_id"], timeout_s) if wait_ else None
    if as_json:
        print_json(accepted | {"status": ended["status"]} if ended else accepted)
    ctx.exit(task_status(ended) if ended else 0)


def _work(
    work: str | None, type_: str | None, plan: str | None, format_: str | None
) -> tuple[dict[str, Any], str]:
    """Answer which work is meant, and what to call it when it is refused.

    A plan file may be named by --plan or as the argument.
    """
    if plan is not None and (work is not None or type_ is not None):
        raise click.UsageError("--plan goes with neither a DESCRIPTION nor --type.")
    if plan is None and work is not None and type_ is None and _looks_like_plan(work):
        plan = work
    if plan is not None:
        return _read_plan(plan, format_), plan if plan != "-" else "standard input"
    if work is None or not work.strip():
        raise click.UsageError("Say what to do: a DESCRIPTION with --type, or a plan file.")
    if type_ is None:
        raise click.UsageError("A DESCRIPTION needs --type; see `paceline templates`.")
    if format_ is not None:
        raise click.UsageError("--format belongs to a plan.")
    return {"description": work, "type": type_}, "the task"


def _looks_like_plan(work: str) -> bool:
    return Path(work).suffix.lower() in _FORMATS and not any(map(str.isspace, work))


def _read_plan(source: str, format_: str | None) -> dict[str, str]:
    """Read a plan. Raise InputError where it is missing, too long or not text."""
    chosen = format_ or _FORMATS.get(Path(source).suffix.lower())
    if chosen is None and source != "-":
        raise click.UsageError(f"{source} ends in none of {', '.join(_FORMATS)}; say --format.")
    try:
        if source == "-":
            data = sys.stdin.buffer.read(PLAN_LIMIT + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(PLAN_LIMIT + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise InputError(f"cannot read the plan {source}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the plan {source} is not UTF-8 text") from error
    if len(data) > PLAN_LIMIT:
        raise InputError(f"the plan {source} is longer than {PLAN_LIMIT // 1024} KiB")
    if not text.strip():
        raise InputError(f"the plan {source} is empty")
    # A relative path in a plan is meant from where the plan is, and only this side knows where.
    directory = Path.cwd() if source == "-" else Path(source).resolve().parent
    return {"plan": text, "format": chosen or "yaml", "directory": str(directory)}


def _repository(repo: str | None, ref: str, folder: str) -> dict[str, str] | None:
    """Answer the repository; a path is made absolute, since the node runs elsewhere."""
    if repo is None:
        if folder:
            raise click.UsageError("--folder goes with --repo; in a plan it is repository.folder.")
        return None
    if "://" in repo or (":" in repo and not Path(repo).exists()):
        return {"path": repo, "ref": ref, "folder": folder}
    path = Path(repo).expanduser().resolve()
    if not path.is_dir():
        raise InputError(f"there is no directory {path} to take as --repo")
    return {"path": str(path), "ref": ref, "folder": folder}


def _dirty(include: bool, leave: bool) -> str | None:
    if include and leave:
        raise click.UsageError("--include-dirty and --leave-dirty exclude each other.")
    return "include" if include else "leave" if leave else None


def _send(client: Client, body: dict[str, Any], source: str, **query: str) -> Document:
    try:
        return client.post("tasks", body, **query)
    except InvalidPlan as error:
        place = f"{source}, {error}" if error.line else f"{source}: {error}"
        raise InputError(place) from error
    except NodeUnreachable:
        raise
    except Unavailable:
        key = body["idempotency_key"]
        click.echo(f"To repeat this without doing it twice, add --idempotency-key {key}", err=True)
        raise


def _watch(client: Client, task_id: str, timeout_s: float | None) -> int:
    from paceline.cli.watch import follow  # noqa: PLC0415 - only who watches pays for the display

    return task_status(follow(client, task_id, timeout_s))


def _hint(task_id: str, *, waiting: bool) -> None:
    if not waiting and sys.stderr.isatty() and sys.stdout.isatty():
        click.echo(f"Follow it with `paceline watch {task_id[:8]}`.", err=True)
