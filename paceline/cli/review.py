"""Walk through the checkpoints that wait, one by one: look, read the change, decide."""

import io
import sys
from pathlib import Path

import click

from paceline.cli import options
from paceline.cli.checkpoints import describe
from paceline.cli.format import heading, printable
from paceline.cli.keys import END, keys
from paceline.client import Client, Document, segment
from paceline.errors import Conflict, InputError, NotFound
from paceline.ids import short

_QUESTION = "[a]ccept  [c]orrect  [r]eject  [d]iff  [l]og  [s]kip  [q]uit"
_HINT = """\
# What is to be different? The agent goes on from its work with these words.
# Lines that begin with # are not sent. An empty text decides nothing.
"""


@click.command()
@click.argument(
    "wanted", metavar="[CHECKPOINT]", default="", shell_complete=options.offers("checkpoints")
)
@options.data_dir
def review(wanted: str, data_dir: Path) -> None:
    """Decide at the checkpoints that wait, one after the other, or at one CHECKPOINT.

    Each is shown with its scores, findings and reviews; d shows the change in a pager, l what the
    agent wrote. To correct, $EDITOR opens. In scripts: checkpoints, accept, correct and reject.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError("review asks questions: without a terminal, use accept, correct or reject")
    client = Client(data_dir)
    found = [wanted] if wanted else _waiting(client)
    if not found:
        return click.echo("nothing waits for a decision")
    for number, checkpoint_id in enumerate(found, start=1):
        if len(found) > 1:
            click.echo(heading(f"\n{number} of {len(found)}"))
        if not _decide(client, checkpoint_id):
            break
    return None


def _waiting(client: Client) -> list[str]:
    return [
        each["checkpoint_id"] for each in client.get("checkpoints", status="pending")["checkpoints"]
    ]


def _decide(client: Client, checkpoint_id: str) -> bool:
    """Show one and ask until it is decided or skipped; answer False to end the walk."""
    try:
        checkpoint = client.get(f"checkpoints/{segment(checkpoint_id)}")
    except NotFound:
        click.echo(f"checkpoint {short(checkpoint_id)} is gone")
        return True
    click.echo(describe(checkpoint))
    while True:
        click.echo(_QUESTION)
        with keys() as pressed:
            key = pressed().lower()
        if key in ("q", END):
            return False
        if key == "s":
            return True
        if key == "d":
            _page(_diff(client, checkpoint), "there is no change to show")
        elif key == "l":
            _page(_log(client, checkpoint), "nothing was written")
        elif key in _DECISIONS and _resolve(client, checkpoint, _DECISIONS[key]):
            return True


_DECISIONS = {"a": "accept", "c": "correct", "r": "reject"}


def _resolve(client: Client, checkpoint: Document, decision: str) -> bool:
    """Decide; answer whether it is decided now, by us or by somebody else meanwhile."""
    feedback = _feedback() if decision == "correct" else ""
    if decision == "correct" and not feedback:
        click.echo("nothing was written, so nothing is decided")
        return False
    if decision == "reject" and not click.confirm("Have it done anew?", default=False):
        return False
    path = f"checkpoints/{segment(checkpoint['checkpoint_id'])}/resolve"
    try:
        answer = client.post(path, {"decision": decision, "feedback": feedback, "comments": []})
    except Conflict as error:
        click.echo(f"not decided: {error}")
        return True
    click.echo(f"{printable(answer['decision'])}; the task is {printable(answer['task_status'])}")
    return True


def _feedback() -> str:
    text = click.edit(_HINT, extension=".md") or ""
    return "\n".join(line for line in text.splitlines() if not line.startswith("#")).strip()


def _page(text: str, nothing: str) -> None:
    if text.strip():
        click.echo_via_pager(text)
    else:
        click.echo(nothing)


def _diff(client: Client, checkpoint: Document) -> str:
    """Answer the change with its lines coloured as people know it.

    What was judged has it with it; else it is asked of the task's result.
    """
    details = (checkpoint.get("evaluation") or {}).get("details") or {}
    text = details.get("diff") or _patch(client, checkpoint)
    return "\n".join(_coloured(printable(line)) for line in text.splitlines())


def _patch(client: Client, checkpoint: Document) -> str:
    path = f"tasks/{segment(checkpoint['task_id'])}/result/patch"
    patch = io.BytesIO()
    try:
        client.download(path, patch, subtask=checkpoint.get("subtask_id"))
    except (NotFound, Conflict, InputError):
        return ""  # it has changed nothing
    return patch.getvalue().decode("utf-8", "replace")


def _coloured(line: str) -> str:
    if line.startswith(("+++", "---", "diff ")):
        return click.style(line, bold=True)
    colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
    return click.style(line, fg=colour) if colour else line


def _log(client: Client, checkpoint: Document) -> str:
    subtask = checkpoint.get("subtask_id") or ""
    return "\n".join(
        printable(line["line"]) for line in client.logs(checkpoint["task_id"], subtask)
    )
