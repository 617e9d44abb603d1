"""`paceline doctor`: what is wrong here and between the nodes, and what to do about it."""

from pathlib import Path

import click

from paceline.cli import options
from paceline.cli.format import heading, print_json, printable
from paceline.client import Client, Document
from paceline.errors import NodeUnreachable, PacelineError

NODE_TIMEOUT_S = 60.0
COMPARE_TIMEOUT_S = 180.0
_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}
_MARKS = {"ok": "ok", "warning": "warn", "problem": "PROBLEM"}


@click.command()
@options.data_dir
@options.as_json
@click.option("--compare", is_flag=True, help="Also compare the state of all nodes, row by row.")
@click.option("--no-mdns", is_flag=True, help="Send nothing by multicast.")
@click.pass_context
def doctor(ctx: click.Context, data_dir: Path, as_json: bool, compare: bool, no_mdns: bool) -> None:
    """Examine this machine, its data and, if a node runs here, the whole cluster.

    Exit status 1 if there is a problem; warnings alone leave it at 0.
    """
    findings = [*_here(data_dir, mdns=not no_mdns), *_of_cluster(data_dir)]
    if compare:
        findings += _compared(data_dir)
    counts = {level: sum(each["level"] == level for each in findings) for level in _MARKS}
    if as_json:
        print_json({"findings": findings, "counts": counts})
    else:
        click.echo(_shown(findings))
        click.echo(_summary(counts))
    ctx.exit(1 if counts["problem"] else 0)


def _here(data_dir: Path, *, mdns: bool) -> list[Document]:
    from dataclasses import asdict  # noqa: PLC0415 - a node's modules take time to import

    from paceline.node.doctor import local  # noqa: PLC0415

    return [asdict(each) for each in local.examine(data_dir, mdns=mdns)]


def _of_cluster(data_dir: Path) -> list[Document]:
    """Answer what the running node finds; without one there is nothing to ask."""
    try:
        found: list[Document] = Client(data_dir, NODE_TIMEOUT_S).get("doctor")["findings"]
    except NodeUnreachable:
        advice = "start it with `paceline node start` to have the other nodes examined, too"
        return [_finding("warning", "nodes", "no node is running here", advice)]
    except PacelineError as error:
        advice = "see the log of the node"
        return [_finding("problem", "nodes", f"the node does not answer: {error}", advice)]
    return found


def _compared(data_dir: Path) -> list[Document]:
    try:
        said = Client(data_dir, COMPARE_TIMEOUT_S).post("checksum")
    except PacelineError as error:
        advice = "it needs a running node and a majority"
        return [_finding("problem", "state", f"the states were not compared: {error}", advice)]
    names = said["names"]
    found = [
        _finding("warning", "state", f"not compared: {why}", "run it again", names.get(node, node))
        for node, why in said["missing"].items()
    ]
    if said["equal"]:
        count = len(said["compared"])
        text = f"{count} node{'s' * (count != 1)} hold the same state at index {said['index']}"
        return [*found, _finding("ok", "state", text, "")]
    return [*found, *(_difference(text) for text in said["warnings"])]


def _difference(text: str) -> Document:
    what, _, advice = text.partition(": ")
    return _finding("problem", "state", what, advice)


def _finding(level: str, area: str, text: str, advice: str, subject: str = "") -> Document:
    return {"level": level, "area": area, "text": text, "advice": advice, "subject": subject}


def _shown(findings: list[Document]) -> str:
    """Answer the findings by area, each with its advice below it."""
    lines: list[str] = []
    for area in dict.fromkeys(each["area"] for each in findings):
        lines.append(heading(printable(area)))
        lines += [_line(each) for each in findings if each["area"] == area]
    return "\n".join(lines)


def _line(finding: Document) -> str:
    level = finding["level"]
    mark = click.style(_MARKS[level].ljust(7), fg=_COLOURS[level])
    subject = f"{printable(finding['subject'])}: " if finding["subject"] else ""
    text = f"  {mark}  {subject}{printable(finding['text'])}"
    advice = printable(finding["advice"])
    return f"{text}\n           -> {advice}" if advice else text


def _summary(counts: dict[str, int]) -> str:
    if not counts["warning"] and not counts["problem"]:
        return click.style("nothing is wrong", fg="green")
    said = (("problem", counts["problem"]), ("warning", counts["warning"]))
    return ", ".join(f"{number} {word}{'s' * (number != 1)}" for word, number in said if number)
