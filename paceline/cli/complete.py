"""What a shell offers when Tab is pressed: ids and names that the node knows.

A shell waits for this, so it asks with a short limit, and is silent where nothing answers.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from paceline import config
from paceline.cli.format import printable
from paceline.client import Client, Document
from paceline.errors import PacelineError
from paceline.ids import short

TIMEOUT_S = 1.0
OFFERED_MAX = 100


def offered(kind: str, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Answer what of a kind begins with what was typed: tasks, subtasks, nodes, checkpoints ..."""
    said = ctx.params.get("data_dir")
    try:
        client = Client(Path(said) if said else config.data_dir(os.environ), TIMEOUT_S)
        found = [each for each in _KINDS[kind](client, ctx) if each.value.startswith(incomplete)]
    except (PacelineError, OSError, KeyError, TypeError):
        return []
    return found[:OFFERED_MAX]


def _tasks(client: Client, ctx: click.Context) -> Iterable[CompletionItem]:
    for task in client.tasks(limit=OFFERED_MAX):
        yield _item(short(task["task_id"]), f"{task['status']}: {task['description']}")


def _subtasks(client: Client, ctx: click.Context) -> Iterable[CompletionItem]:
    for subtask in client.task(ctx.params["task"])["subtasks"]:
        yield _item(subtask["name"], subtask["status"])


def _nodes(client: Client, ctx: click.Context) -> Iterable[CompletionItem]:
    members = client.nodes()
    names = [member["name"] for member in members]
    for member in members:
        unique = member["name"] and names.count(member["name"]) == 1
        yield _item(member["name"] if unique else member["node_id"], member["status"])


def _checkpoints(client: Client, ctx: click.Context) -> Iterable[CompletionItem]:
    for each in client.get("checkpoints", status="pending")["checkpoints"]:
        yield _item(short(each["checkpoint_id"]), f"{each['subtask_name']}: {each['reason']}")


def _templates(client: Client, ctx: click.Context) -> Iterable[CompletionItem]:
    return _named(client.get("templates")["templates"], "description")


def _tools(client: Client, ctx: click.Context) -> Iterable[CompletionItem]:
    return _named(client.get("tools")["tools"], "version")


def _named(found: Iterable[Document], about: str) -> Iterable[CompletionItem]:
    return list({each["name"]: _item(each["name"], each.get(about, "")) for each in found}.values())


def _item(value: str, about: str) -> CompletionItem:
    return CompletionItem(printable(value), help=printable(about).replace("\t", " ")[:60])


_KINDS = {
    "tasks": _tasks,
    "subtasks": _subtasks,
    "nodes": _nodes,
    "checkpoints": _checkpoints,
    "templates": _templates,
    "tools": _tools,
}
