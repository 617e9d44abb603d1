"""`paceline demo`: three nodes, real work, and the leader killed with -9 in the middle of it.

Everything is real and nothing stays: three processes of the same program on loopback, a git
repository, a plan of fifteen steps, a SIGKILL. The demo itself only starts, watches, kills and
counts, over the same REST interface that every command uses.
"""

import sys
from pathlib import Path

import click

from paceline.cli import options
from paceline.errors import InputError


@click.command()
@click.option("--repo", metavar="PATH", help="Examine this git repository, not one made for it.")
@options.as_json
@click.pass_context
def demo(ctx: click.Context, *, repo: str | None, as_json: bool) -> None:
    """Show a failover: three nodes on this machine, the leader killed in the middle of a task.

    Needs git, but no AI tool, no network and no root; takes some 15 seconds and leaves nothing
    behind. Exit status 0 only if the task completed with no result lost or doubled.
    """
    # Only the demo pays for psutil and rich.
    from paceline.cli.demo_run import run  # noqa: PLC0415
    from paceline.cli.demo_view import LiveView, PlainView, SilentView  # noqa: PLC0415

    path = Path(repo).expanduser().resolve() if repo is not None else None
    if path is not None and not path.is_dir():
        raise InputError(f"there is no directory {path} to take as --repo")
    view = SilentView() if as_json else LiveView() if sys.stdout.isatty() else PlainView()
    ctx.exit(run(path, view, as_json=as_json))
