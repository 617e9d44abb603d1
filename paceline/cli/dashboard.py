"""The cluster at a glance: what `status` prints once, and `top` again and again."""

from collections.abc import Iterable
from datetime import UTC, datetime

import click

from paceline.cli.columns import terminal_width
from paceline.cli.format import (
    amount,
    clock,
    duration,
    facts,
    names,
    node,
    node_names,
    printable,
    table,
)
from paceline.cli.format import status as coloured
from paceline.client import Document
from paceline.ids import short

HOT_PERCENT = 90.0
FULL_WIDTH = 110
"""Narrower terminals are not told addresses and tools, which `nodes` tells."""


def summary(document: Document) -> str:
    """Answer who leads, whether the cluster can act, and what there is to do."""
    known = node_names(document["members"])
    me, leader = document["node_id"], document.get("leader_id")
    pairs = [
        ("node", f"{node(me, known)} ({me}), {coloured(document['role'])}"),
        ("leader", f"{node(leader, known)} ({leader})" if leader else "none known"),
        ("cluster", printable(document["cluster_id"])),
        ("quorum", _quorum(document)),
        ("log", _log(document)),
        ("slots", _slots(document["members"])),
        ("tasks", _counts(document["tasks"])),
    ]
    if waiting := document["tasks"].get("checkpoint"):
        words = f"{waiting} task{'s' * (waiting != 1)} for your decision: `paceline review`"
        pairs.append(("waits", click.style(words, fg="yellow", bold=True)))
    return facts(pairs)


def members(found: list[Document], *, brief: bool = False) -> str:
    """Answer the members as a table; a brief one leaves out where they are and what they have."""
    heads = ("NAME", "ID", "STATUS", "ROLE", "TRUSTED", "RUNNING", "CPU", "MEMORY", "DISK")
    rows = [
        (
            m["name"],
            m["node_id"],
            _state(m),
            coloured(m["role"]),
            "yes" if m.get("trusted") else "",
            f"{amount(m['running'])}/{m['slots']}",
            *(_percent(m.get("resources") or {}, each) for each in ("cpu", "memory", "disk")),
        )
        for m in found
    ]
    if brief:
        return table(heads, rows)
    more = ((m["address"], names(m["tools"])) for m in found)
    return table(
        (*heads, "ADDRESS", "TOOLS"), ((*row, *each) for row, each in zip(rows, more, strict=True))
    )


def is_narrow() -> bool:
    """Answer whether a full table of members would not fit."""
    columns = terminal_width()
    return columns is not None and columns < FULL_WIDTH


def warnings(document: Document) -> Iterable[str]:
    """Answer each warning as a line."""
    return (
        click.style(f"warning: {printable(each)}", fg="yellow") for each in document["warnings"]
    )


def running(found: list[Document], known: dict[str, str]) -> str:
    """Answer what runs now, on all nodes."""
    now = datetime.now(UTC).isoformat()
    rows = (
        (
            short(printable(each["task_id"])),
            each["name"],
            node(each["node_id"], known),
            each["tool"],
            coloured(each["status"]),
            duration(each["started_at"] or each["allocated_at"], now),
            each["task"].partition("\n")[0],
        )
        for each in found
    )
    return table(("TASK", "SUBTASK", "NODE", "TOOL", "STATUS", "FOR", "DESCRIPTION"), rows)


def _log(document: Document) -> str:
    term, commit, applied = (document[key] for key in ("term", "commit_index", "applied_index"))
    return f"term {term}, commit index {commit}, applied {applied}"


def _quorum(document: Document) -> str:
    voters, spare = amount(document["voters"]), document["failures_tolerated"]
    if not document["quorum"]:
        return click.style("none", fg="red")
    return f"{voters} voter{'s' * (voters != 1)}, survives {spare} failure{'s' * (spare != 1)}"


def _slots(found: list[Document]) -> str:
    there = [each for each in found if each["status"] != "offline"]
    busy = sum(amount(each["running"]) for each in there)
    return f"{busy} of {sum(each['slots'] for each in there)} busy"


def _counts(counts: dict[str, int]) -> str:
    said = [f"{number} {coloured(name)}" for name, number in counts.items() if number]
    return ", ".join(said) or "none"


def _percent(resources: Document, what: str) -> str:
    value = resources.get(f"{what}_percent")
    if value is None:
        return ""
    text = f"{value:.0f} %"
    return click.style(text, fg="red") if value >= HOT_PERCENT else text


def _state(member: Document) -> str:
    since = member.get("missing_since")
    return coloured(member["status"]) + (f" since {clock(since)}" if since else "")
