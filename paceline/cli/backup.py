"""Keeping a copy of everything, and making a new cluster from it."""

from dataclasses import asdict
from pathlib import Path

import click

from paceline.cli import options
from paceline.cli.format import print_json
from paceline.client import Client

BACKUP_TIMEOUT_S = 3600.0


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@options.data_dir
@options.as_json
def backup(file: Path, data_dir: Path, as_json: bool) -> None:
    """Write all that the cluster knows to FILE, while it runs.

    Tasks, results and the files that this node holds are in it; the join token is not. Any node's
    backup will do. Keep it as private as the work itself.
    """
    client = Client(data_dir, timeout_s=BACKUP_TIMEOUT_S)
    about = client.post("backup", {"path": str(file.absolute())})
    if as_json:
        return print_json(about)
    click.echo(f"{about['path']}: {about['tasks']} tasks, {about['blobs']} files")
    if about["missing_blobs"]:
        click.echo(f"{about['missing_blobs']} files are on other nodes only", err=True)
    return None


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@options.data_dir
@options.as_json
def restore(file: Path, data_dir: Path, as_json: bool) -> None:
    """Make a new cluster of this machine from the backup FILE, in an empty data directory.

    It has the backup's tasks, and an id and a join token of its own. What was running starts again.
    """
    from paceline.clock import SystemClock  # noqa: PLC0415 - needs all of a node
    from paceline.node import restoring  # noqa: PLC0415

    about, recovered = restoring.restore(file, data_dir, clock=SystemClock())
    if as_json:
        document = asdict(about) | {"cluster_id": recovered.cluster_id, "from": about.cluster_id}
        return print_json(document | {"data_dir": str(data_dir)})
    click.echo(f"{data_dir} is the cluster {recovered.cluster_id} with {about.tasks} tasks")
    return click.echo("start it with `paceline node start`", err=True)
