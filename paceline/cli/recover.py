"""Going on alone when the other machines are lost for good; offline, and never by itself."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from paceline.cli import options
from paceline.cli.format import print_json, printable

if TYPE_CHECKING:
    from paceline.node.recovery import Outlook

WORD = "recover"

RISK = """\
This node will go on alone, as a new cluster with the work that is on its disk.

Do this only when the other machines are lost for good, and on one machine only.
- What they had acknowledged and this node has not received is gone.
- If they are not lost after all, both clusters do the work that is open. They do not mix: this one
  gets another identity and another join token.
- Where any other machine may have more of the log, recover that one: compare `last entry`.
A single machine that is only switched off is better waited for: with it the quorum is back.
"""


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask; the risk is understood.")
@options.data_dir
@options.as_json
def recover(yes: bool, data_dir: Path, as_json: bool) -> None:
    """Make the node of this machine a cluster of its own, after a lost quorum.

    The node must be stopped. Its tasks stay; all other members are forgotten, and may join again as
    new nodes, with the new token.
    """
    from paceline.clock import SystemClock  # noqa: PLC0415 - needs all of a node
    from paceline.node.recovery import Recovery  # noqa: PLC0415

    recovery = Recovery(data_dir, clock=SystemClock())
    try:
        if not yes:
            _explain(recovery.outlook)
            _ask()
        recovered = recovery.carry_out()
    finally:
        recovery.close()
    if as_json:
        return print_json({"cluster_id": recovered.cluster_id, "term": recovered.term})
    click.echo(f"this node is the cluster {recovered.cluster_id} now")
    return click.echo(
        "start it with `paceline node start`; `paceline token show` prints the new token", err=True
    )


def _explain(outlook: "Outlook") -> None:
    click.echo(RISK, err=True)
    lost = ", ".join(map(printable, outlook.others)) or "none"
    for name, value in (
        ("node", outlook.node_id),
        ("cluster", outlook.cluster_id or "unknown"),
        ("given up", lost),
        ("tasks here", outlook.tasks),
        ("last entry", f"{outlook.last_index} (committed as far as it knows: {outlook.commit})"),
    ):
        click.echo(f"{name:<12}{value}", err=True)


def _ask() -> None:
    if click.prompt(f"\nType {WORD!r} to go on", err=True) != WORD:
        raise click.Abort
