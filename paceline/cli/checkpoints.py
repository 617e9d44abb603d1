"""Where people decide: the checkpoints that wait, and accept, correct, reject."""

import re
from pathlib import Path
from typing import Any

import click

from paceline.cli import options
from paceline.cli.format import clock, facts, heading, print_json, printable, table
from paceline.cli.format import status as coloured
from paceline.client import Client, Document, segment
from paceline.errors import InputError
from paceline.ids import short

FEEDBACK_LIMIT_BYTES = 16 * 1024
FINDINGS_SHOWN = 20
LINES_SHOWN = 60

_COMMENT = re.compile(r"(?P<file>[^:]+):(?P<line>\d+):(?P<text>.+)", re.S)


@click.command()
@click.argument(
    "wanted",
    metavar="[CHECKPOINT]",
    default="",
    shell_complete=options.offers("checkpoints"),
)
@options.data_dir
@options.as_json
@click.option("--all", "all_", is_flag=True, help="Also those that have been decided.")
@click.option("--task", default="", metavar="TASK", help="Only of this task.")
def checkpoints(wanted: str, data_dir: Path, as_json: bool, all_: bool, task: str) -> None:
    """List the checkpoints that wait for a decision, or show one CHECKPOINT.

    It is named by its id or the beginning of one, or by its task where only one waits there.
    """
    client = Client(data_dir)
    if wanted:
        document = client.get(f"checkpoints/{segment(wanted)}")
        return print_json(document) if as_json else click.echo(describe(document))
    document = client.get("checkpoints", status=None if all_ else "pending", task=task)
    if as_json:
        return print_json(document)
    return click.echo(_listed(document["checkpoints"]))


@click.command()
@click.argument("task", shell_complete=options.offers("tasks"))
@options.data_dir
@options.as_json
@click.option("--subtask", default="", metavar="NAME", help="Only this one, which waits still.")
@click.option("--reason", default="", metavar="TEXT", help="Shown to whoever decides.")
def checkpoint(task: str, data_dir: Path, as_json: bool, subtask: str, reason: str) -> None:
    """Have a TASK wait for a decision: what runs goes on, nothing new of it begins."""
    body = {"subtask": subtask, "reason": reason}
    _say(Client(data_dir).post(f"tasks/{segment(task)}/checkpoint", body), as_json)


def _decision(function: Any) -> Any:
    """Add what names a checkpoint, and the options with which a person says what is to change."""
    for option in (
        click.option("--comment", "comments", multiple=True, metavar="FILE:LINE:TEXT"),
        click.option("--editor", is_flag=True, help="Write the feedback in $EDITOR."),
        click.option(
            "--file",
            "file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Read the feedback from a file.",
        ),
        click.option("--feedback", default="", metavar="TEXT", help="What is to be different."),
        options.as_json,
        options.data_dir,
        click.argument(
            "wanted", metavar="CHECKPOINT", shell_complete=options.offers("checkpoints")
        ),
    ):
        function = option(function)
    return function


@click.command()
@_decision
def accept(wanted: str, data_dir: Path, as_json: bool, **words: Any) -> None:
    """Let the work at a CHECKPOINT count as it is; what depends on it goes on."""
    _resolve("accept", wanted, data_dir, as_json, words)


@click.command()
@_decision
def correct(wanted: str, data_dir: Path, as_json: bool, **words: Any) -> None:
    """Have the work at a CHECKPOINT corrected: the agent goes on from it with your feedback."""
    _resolve("correct", wanted, data_dir, as_json, words)


@click.command()
@_decision
def reject(wanted: str, data_dir: Path, as_json: bool, **words: Any) -> None:
    """Have the work at a CHECKPOINT done anew, with another tool where there is one."""
    _resolve("reject", wanted, data_dir, as_json, words)


def describe(checkpoint: Document) -> str:
    """Answer a checkpoint as text: why, the scores, the findings, the reviews, the change."""
    score = checkpoint.get("score")
    parts = [
        facts(
            (
                ("checkpoint", printable(checkpoint["checkpoint_id"])),
                ("task", printable(checkpoint["task_id"])),
                ("subtask", printable(checkpoint.get("subtask_name") or "(the whole task)")),
                ("type", printable(checkpoint["type"])),
                ("status", _state(checkpoint)),
                ("why", printable(checkpoint["reason"])),
                ("score", "-" if score is None else f"{score:g} of 10"),
                ("cost so far", _cost(checkpoint.get("cost_usd"))),
            )
        )
    ]
    parts += [_review(each) for each in checkpoint.get("reviews") or ()]
    parts += _evaluation(checkpoint.get("evaluation") or {})
    attempt = checkpoint.get("attempt") or {}
    if attempt.get("text"):
        parts.append(f"{heading('the author')}\n{_indented(attempt['text'])}")
    return "\n\n".join(parts)


def _listed(found: list[Document]) -> str:
    rows = (
        (
            short(each["checkpoint_id"]),
            short(each["task_id"]),
            each["subtask_name"] or "(task)",
            each["type"],
            each["decision"] or each["status"],
            "-" if each["score"] is None else f"{each['score']:g}",
            clock(each["created_at"]),
            each["reason"][:80],
        )
        for each in found
    )
    columns = ("CHECKPOINT", "TASK", "SUBTASK", "TYPE", "STATUS", "SCORE", "SINCE", "WHY")
    return table(columns, rows)


def _state(checkpoint: Document) -> str:
    if not checkpoint.get("decision"):
        return coloured(checkpoint["status"])
    words = f"{checkpoint['decision']} by {checkpoint.get('decided_by') or 'somebody'}"
    return printable(f"{words}: {checkpoint['feedback']}" if checkpoint["feedback"] else words)


def _cost(cost_usd: float | None) -> str:
    return "-" if cost_usd is None else f"${cost_usd:.4f}"


def _review(review: Document) -> str:
    head = f"review {review['cycle']} by {review['tool']}: {review['verdict'] or 'under way'}"
    lines = [f"{heading(printable(head))} {printable(review['summary'])}"]
    lines += [f"  {_finding(each)}" for each in review["findings"][:FINDINGS_SHOWN]]
    return "\n".join(lines)


def _evaluation(evaluation: Document) -> list[str]:
    if not evaluation:
        return []
    scores = ", ".join(f"{k} {v:g}" for k, v in evaluation["dimension_scores"].items())
    lines = [f"{heading('evaluation')} {printable(scores)}"]
    lines += [f"  {_finding(each)}" for each in evaluation["findings"][:FINDINGS_SHOWN]]
    diff = evaluation["details"].get("diff") or ""
    return ["\n".join(lines), *([_indented(diff)] if diff else [])]


def _finding(finding: Document) -> str:
    place = f"{finding['file']}:{finding['line']}" if finding["line"] else finding["file"]
    return " ".join(printable(f"{finding['severity']} {place} {finding['message']}").split())[:300]


def _indented(text: str) -> str:
    lines = text.splitlines()
    shown = [f"  {printable(line)}" for line in lines[:LINES_SHOWN]]
    if len(lines) > LINES_SHOWN:
        shown.append(f"  ... and {len(lines) - LINES_SHOWN} more lines")
    return "\n".join(shown)


# --- deciding -------------------------------------------------------------------------------------


def _resolve(
    decision: str, wanted: str, data_dir: Path, as_json: bool, words: dict[str, Any]
) -> None:
    body = {
        "decision": decision,
        "feedback": _feedback(words["feedback"], words["file"], words["editor"]),
        "comments": [_comment(each) for each in words["comments"]],
    }
    if decision == "correct" and not (body["feedback"] or body["comments"]):
        raise InputError("say what is to be different: --feedback, --file, --editor or --comment")
    _say(Client(data_dir).post(f"checkpoints/{segment(wanted)}/resolve", body), as_json)


def _feedback(text: str, file: Path | None, editor: bool) -> str:
    if sum((bool(text), file is not None, editor)) > 1:
        raise InputError("--feedback, --file and --editor exclude each other")
    if file is not None:
        with file.open("rb") as source:
            text = source.read(FEEDBACK_LIMIT_BYTES + 1).decode("utf-8", "replace")
    if editor:
        text = click.edit("") or ""
    if len(text.encode()) > FEEDBACK_LIMIT_BYTES:
        raise InputError(f"feedback has at most {FEEDBACK_LIMIT_BYTES} bytes")
    return text.strip()


def _comment(text: str) -> Document:
    found = _COMMENT.fullmatch(text)
    if found is None:
        raise InputError(f"{text!r} is no comment: write FILE:LINE:TEXT")
    return {"file": found["file"], "line": int(found["line"]), "text": found["text"].strip()}


def _say(answer: Document, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    done = answer["decision"] or answer["status"]
    what = f"checkpoint {short(answer['checkpoint_id'])} {done}"
    click.echo(f"{printable(what)}; task {short(answer['task_id'])} {answer['task_status']}")
