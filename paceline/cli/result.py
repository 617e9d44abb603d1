"""Taking what a task came to: a summary, a branch, a patch, files, a pull request."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

import click

from paceline.cli import options
from paceline.cli.fetching import open_pull_request, take_branch
from paceline.cli.format import changed, facts, print_json, printable, table
from paceline.cli.format import status as coloured
from paceline.client import Client, Document, segment
from paceline.errors import Conflict, InputError, NotFound, Unavailable
from paceline.ids import short

FETCH_TIMEOUT_S = 900.0
"""Bundles may have to come from another machine first."""
LISTED = 30


@click.command()
@click.argument("task", shell_complete=options.offers("tasks"))
@click.argument("subtask", default="", shell_complete=options.offers("subtasks"))
@click.option("--branch", metavar="NAME", help="Fetch the commits into this local branch.")
@click.option(
    "--patch",
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
    help="Write the changes as a patch; - or no FILE = standard output.",
)
@click.option("--output", metavar="DIR", help="Write what the subtasks gave out as files.")
@click.option("--pr", is_flag=True, help="Push the branch and open a pull request with `gh`.")
@click.option("--remote", default="origin", show_default=True, help="Where --pr pushes to.")
@click.option(
    "--repo",
    metavar="PATH",
    help="The local repository (default: the one here, else the one that was submitted).",
)
@options.data_dir
@options.as_json
@click.pass_context
def result(
    ctx: click.Context,
    *,
    task: str,
    subtask: str,
    branch: str | None,
    patch: str | None,
    output: str | None,
    pr: bool,
    remote: str,
    repo: str | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Show what a TASK came to (or one SUBTASK), and take it: the checkout is never touched."""
    if as_json and patch == "-":
        raise click.UsageError("--json and --patch exclude each other on standard output.")
    client = Client(data_dir, timeout_s=FETCH_TIMEOUT_S)
    path = f"tasks/{segment(task)}/result"
    document = client.get(path, subtask=subtask)
    wanted = [branch, patch, output, pr]
    if branch or patch or pr:
        _require_result(document)
    if patch:
        _write_patch(client, path, subtask, patch)
    if branch or pr:
        name = branch or f"paceline/{short(document['task_id'])}"
        document["branch"] = take_branch(client, path, subtask, document, name=name, repo=repo)
        _say_branch(document["branch"], to_stderr=as_json or patch == "-")
    if output:
        document["written"] = _write_outputs(client, document, Path(output))
        _say(f"{len(document['written'])} files in {output}", to_stderr=as_json or patch == "-")
    if pr:
        document["pull_request"] = open_pull_request(document, remote=remote)
        _say(document["pull_request"], to_stderr=as_json or patch == "-")
    if as_json:
        print_json(document)
    elif not any(wanted):
        click.echo(_summary(document))
    ctx.exit(0)


def _require_result(document: Document) -> None:
    """Raise what keeps the changes from being taken."""
    if document["conflicts"]:
        raise Conflict(
            f"{document['problem']}; take them one by one: `paceline result "
            f"{short(document['task_id'])} SUBTASK --branch NAME`"
        )
    if document["problem"]:
        raise Unavailable(document["problem"])
    if document["repository"] is None:
        raise NotFound("this task has no repository; see --output")
    if not document["commit"]:
        raise NotFound("nothing was changed in the repository (yet)")


# --- taking it ------------------------------------------------------------------------------------


def _write_patch(client: Client, path: str, subtask: str, target: str) -> None:
    with _opened(target) as file:
        client.download(f"{path}/patch", file, subtask=subtask)


@contextlib.contextmanager
def _opened(target: str) -> Iterator[IO[bytes]]:
    if target == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with _created(Path(target)) as file:
        yield file


def _created(path: Path) -> BinaryIO:
    """Open a new file. Raise InputError where there is one, or it cannot be made."""
    try:
        return path.open("xb")
    except FileExistsError:
        raise InputError(f"{path} is there already: choose another name or move it away") from None
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def _write_outputs(client: Client, document: Document, directory: Path) -> list[str]:
    """Write one file for each subtask that gave out anything; answer their names."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the directory {directory}: {error.strerror}") from error
    written = []
    for subtask in document["subtasks"]:
        if subtask["output"]["size"]:
            file = directory / subtask["name"].replace("/", "_")
            _write_output(client, subtask, file)
            written.append(str(file))
    return written


def _write_output(client: Client, subtask: Document, target: Path) -> None:
    """Write one file, which has its name only once it is whole."""
    if os.path.lexists(target):
        raise InputError(f"{target} is there already: choose another directory")
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as file:
            client.download(f"subtasks/{segment(subtask['subtask_id'])}/output", file)
        partial.rename(target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


# --- saying it ------------------------------------------------------------------------------------


def _say(text: str, *, to_stderr: bool) -> None:
    click.echo(printable(text), err=to_stderr)


def _say_branch(branch: Document, *, to_stderr: bool) -> None:
    _say(
        f"branch {branch['name']} in {branch['repository']} is at {branch['commit'][:12]}, "
        f"{branch['commits']} commits after {branch['base'][:12]}",
        to_stderr=to_stderr,
    )


def _summary(document: Document) -> str:
    parts = [
        facts(_facts(document)),
        table(
            ("SUBTASK", "STATUS", "CHANGED", "OUTPUT"),
            (
                (
                    each["name"],
                    coloured(each["status"]),
                    changed(each["change"]),
                    f"{each['output']['size']} bytes" if each["output"]["size"] else "",
                )
                for each in document["subtasks"]
            ),
        ),
    ]
    if document["changes"]:
        parts.append("\n".join(_files(document)))
    return "\n\n".join(parts)


def _facts(document: Document) -> list[tuple[str, str]]:
    found = [
        ("task", printable(document["task_id"])),
        ("status", coloured(document["status"])),
    ]
    if document["repository"]:
        repository = document["repository"]
        began = f"{repository['source']} at {repository['commit'][:12]}"
        found += [("began", printable(began)), ("result", _in_short(document))]
    if document["problem"]:
        found.append(("problem", printable(document["problem"])))
    return found


def _in_short(document: Document) -> str:
    if not document["commit"]:
        return "no changes" if not document["problem"] else "cannot be shown"
    so_far = "" if document["complete"] else " so far"
    return f"{changed(document)}, commit {document['commit'][:12]}{so_far}"


def _files(document: Document) -> Iterator[str]:
    for each in document["changes"][:LISTED]:
        lines = "binary" if each["insertions"] is None else f"+{each['insertions']}"
        lines += "" if each["deletions"] is None else f" -{each['deletions']}"
        yield f"  {printable(each['path'])}  {lines}"
    if document["files"] > LISTED:
        yield f"  ... and {document['files'] - LISTED} more; see --json or --patch"
