"""Starting and stopping the node of this machine."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from paceline import config
from paceline.cli import options
from paceline.cli.failures import UNAVAILABLE
from paceline.client import Client
from paceline.errors import PacelineError
from paceline.settings import DEFAULT_PORT, DEFAULT_WEB_PORT, NodeSettings, load

F = TypeVar("F", bound=Callable[..., Any])

STOP_S = 30.0


def setting(*names: str, **attributes: Any) -> Callable[[F], F]:
    """Add an option that the environment may give too, as PACELINE_ and its name."""
    name = next(n for n in names if n.startswith("--")).split("/")[0].removeprefix("--")
    variable = attributes.pop("envvar", "PACELINE_" + name.upper().replace("-", "_"))
    return click.option(*names, envvar=variable, show_envvar=True, **attributes)


@click.command()
@options.data_dir
@setting("--name", help="What to call this machine (default: its host name).")
@setting("--bind", metavar="IP", help="Where peers connect to (default: all addresses).")
@setting("--port", type=int, help=f"For peers; 0 = any free one (default {DEFAULT_PORT}).")
@setting(
    "--web-port", type=int, help=f"For this command and the page (default {DEFAULT_WEB_PORT})."
)
@click.option(
    "--token",
    help="The cluster's secret; - reads it from stdin. Other users see argv: better "
    "--token-file or PACELINE_TOKEN.",
)
@click.option("--token-file", metavar="FILE", help="A file with the token; - = stdin.")
@setting("--join", multiple=True, metavar="HOST:PORT", help="A node to ask; repeatable.")
@setting("--mdns/--no-mdns", default=None, help="Find nodes by multicast, or only by --join.")
@setting("--slots", type=int, help="Attempts at once here; 0 = none, only vote and keep.")
@setting("--label", "labels", multiple=True, metavar="K=V", help="Plans may ask for it.")
@setting("--max-voters", type=int, help="Voters of the cluster at most (default 5).")
@setting(
    "--replace-after",
    "replace_after_s",
    type=int,
    metavar="SECONDS",
    help="When a silent voter is replaced by a learner (default 300).",
)
@setting("--profile", type=click.Choice(["wifi", "wired"]), help="How patient elections are.")
@setting(
    "--approve",
    is_flag=True,
    default=None,
    help="When founding: a person confirms each newcomer (`paceline approve`).",
)
@setting("--lease-ms", type=int, help="How long a silent worker keeps its work (10000).")
@setting("--grace-ms", type=int, help="What is waited beyond the lease (2000).")
@setting(
    "--daily-budget",
    "daily_budget_usd",
    type=float,
    metavar="USD",
    help="What attempts here may cost in a day (default: no bound).",
)
@setting(
    "--sandbox",
    type=click.Choice(["auto", "require", "off"]),
    help="How agents are kept apart from this machine (default auto).",
)
@setting("--log-level", type=click.Choice(["debug", "info", "warning", "error"]))
@setting("--log-format", type=click.Choice(["console", "json"]))
@click.option(
    "--anew", is_flag=True, default=None, help="Move what is in the data directory aside first."
)
@click.option("--detach", is_flag=True, help="Start it in the background and wait until ready.")
def start(detach: bool, **given: Any) -> None:
    """Start a node; found a cluster, or join one with --token or --join.

    Prints a line `ready` with the node's id and the address of its page.
    """
    said = config.read(config.default_path(os.environ))
    settings = load(config.under(given, said, os.environ), os.environ, sys.stdin)
    if detach:
        return _detach(settings)
    from paceline.node.app import run  # noqa: PLC0415 - only a node pays for all of a node

    return run(settings)


def _detach(settings: NodeSettings) -> None:
    """Start the node in the background, and leave it there only if it became ready."""
    from paceline.cli import launch  # noqa: PLC0415 - psutil is not for every command

    process = launch.spawn(settings, os.environ)
    try:
        document = launch.wait_ready(process, settings)
    except BaseException:
        process.terminate()
        raise
    # The node is to outlive this process, which therefore never asks how it ended.
    process.returncode = 0
    click.echo(launch.ready_line(document))
    how = f"paceline node start --join {document['address']}"
    click.echo(f"add a machine: {how}  (with the token of `paceline token show`)", err=True)
    if sys.stderr.isatty():
        click.echo(f"It writes to {settings.log_file}; end it with `paceline node stop`.", err=True)


@click.command()
@options.data_dir
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), default=STOP_S, show_default=True
)
@click.pass_context
def stop(ctx: click.Context, data_dir: Path, timeout_s: float) -> None:
    """Stop the node of this machine: it hands over, ends its attempts and goes."""
    from paceline.cli import launch  # noqa: PLC0415 - psutil is not for every command

    process = launch.node_process(data_dir)
    try:
        Client(data_dir, timeout_s=min(timeout_s, 10.0) or 1.0).post("node/stop")
    except PacelineError:
        # It does not answer, or not to us; the process is known to be ours, so ask it directly.
        process.send_signal(signal.SIGTERM)
    if launch.wait_gone(process, timeout_s):
        return
    click.echo(
        f"Error: the node (process {process.pid}) has not ended after {timeout_s:g} s; "
        "`paceline node stop` may be repeated.",
        err=True,
    )
    ctx.exit(UNAVAILABLE)
