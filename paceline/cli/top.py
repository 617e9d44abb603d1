"""The whole network, live: nodes, what runs, and what happened last. q ends it."""

import sys
from pathlib import Path

import click

from paceline.cli import options
from paceline.cli.columns import cut, terminal_width
from paceline.cli.dashboard import members, running, summary, warnings
from paceline.cli.format import clock, heading, node, node_names, print_json, printable
from paceline.cli.keys import END, keys
from paceline.client import Client, Document
from paceline.errors import Unavailable
from paceline.ids import short

REFRESH_S = 1.0
EVENTS_SHOWN = 8


@click.command()
@options.data_dir
@options.as_json
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(0.2, 60),
    default=REFRESH_S,
    show_default=True,
    help="Seconds between two looks.",
)
def top(data_dir: Path, as_json: bool, interval_s: float) -> None:
    """Show the whole network, live; q ends it. Where output is piped: once."""
    client = Client(data_dir)
    if as_json:
        return print_json(_seen(client))
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        return click.echo(frame(_seen(client)))
    return _live(client, interval_s)


def _seen(client: Client) -> Document:
    """Answer all that a frame shows, as one document."""
    return {
        "status": client.status(),
        "running": client.get("running")["running"],
        "events": list(client.stream("events", newest=EVENTS_SHOWN)),
    }


def frame(seen: Document) -> str:
    """Answer one picture of the network."""
    status = seen["status"]
    known = node_names(status["members"])
    parts = [
        "\n".join([summary(status), *warnings(status)]),
        members(status["members"], brief=True),
        f"{heading('running')}\n{running(seen['running'], known)}"
        if seen["running"]
        else heading("nothing runs"),
        "\n".join([heading("last events"), *(_event(each, known) for each in seen["events"])]),
    ]
    return "\n\n".join(parts)


def _event(event: Document, known: dict[str, str]) -> str:
    about = [short(printable(event["task_id"])) if event["task_id"] else "", event.get("name")]
    words = " ".join(printable(each) for each in about if each)
    where = node(event["worker_id"], known) if event["worker_id"] else ""
    line = f"{clock(event['timestamp'])[11:]}  {printable(event['action'])}  {words}  {where}"
    width = terminal_width()
    return line.rstrip() if width is None else cut(line.rstrip(), width)


def _live(client: Client, interval_s: float) -> None:
    from rich.console import Console  # noqa: PLC0415 - rich takes 60 ms to import
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console, last = Console(), ""
    with keys() as key, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                last = frame(_seen(client))
                foot = "q ends this"
            except Unavailable as error:
                # The node is being restarted, perhaps: what was seen last stays, and it says so.
                foot = click.style(f"{error}; trying again  (q ends this)", fg="red")
            shown = [*last.splitlines()[: max(0, console.height - 2)], "", foot]
            live.update(Text.from_ansi("\n".join(shown), no_wrap=True), refresh=True)
            if key(interval_s) in ("q", "Q", END):
                return
