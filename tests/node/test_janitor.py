"""Cleaning up: what a task refers to stays, what nobody refers to goes."""

import asyncio
import os
import time
from pathlib import Path

from paceline.clock import SystemClock
from paceline.consensus.messages import Entry, EntryKind
from paceline.node.blobs import BlobStore
from paceline.node.janitor import Janitor
from paceline.node.logs import LogStore
from paceline.node.redaction import Redactor
from paceline.node.remotes import Remotes
from paceline.node.repository import Repositories
from paceline.node.sessions import Sessions
from paceline.node.state_reader import StateReader
from paceline.tasks.commands import Envelope, SubmitTask, encode_envelope
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import BlobRef, Repository, SubtaskSpec, TaskSpec


def state_with(directory: Path, bundle: BlobRef) -> None:
    """Make a state in which one task needs that bundle."""
    machine = TaskMachine(directory / "state.db")
    spec = TaskSpec(
        task_id="t",
        description="d",
        type="plan",
        subtasks=(SubtaskSpec("s", "s", ("command",), run="true"),),
        repository=Repository("/r", "HEAD", "0" * 40, bundle),
    )
    envelope = Envelope(b"x" * 16, 0, 1, "n", SubmitTask(spec, "k"))
    (result,) = machine.apply([Entry(1, 1, EntryKind.COMMAND, encode_envelope(envelope))])
    assert result == "t"
    machine.close()


async def clean(directory: Path) -> tuple[BlobStore, BlobRef, BlobRef, BlobRef]:
    blobs = BlobStore(directory=directory / "blobs", node_id="n", budget_bytes=1 << 30)
    wanted, unwanted = await blobs.put(b"wanted"), await blobs.put(b"unwanted")
    hour_ago = time.time() - 2 * 3600
    for ref in (wanted, unwanted):
        os.utime(blobs.path(ref.sha256), (hour_ago, hour_ago))
    young = await blobs.put(b"young")
    state_with(directory, wanted)
    reader = await StateReader.open(directory / "state.db")
    janitor = Janitor(
        reader=reader,
        blobs=blobs,
        repositories=Repositories(directory=directory / "cache", blobs=blobs),
        remotes=Remotes(directory / "remotes"),
        logs=LogStore(directory=directory / "logs", clock=SystemClock(), redactor=Redactor()),
        sessions=Sessions(directory / "sessions"),
    )
    assert await janitor.clean() == len(b"unwanted")
    assert await janitor.clean() == 0
    await reader.close()
    return blobs, wanted, unwanted, young


def test_only_what_nobody_refers_to_and_is_old_goes(tmp_path: Path) -> None:
    blobs, wanted, unwanted, young = asyncio.run(clean(tmp_path))
    assert blobs.has(wanted.sha256)
    assert blobs.has(young.sha256)
    assert not blobs.has(unwanted.sha256)
