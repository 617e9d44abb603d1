"""A backup of a running cluster, and a new cluster made from it."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from paceline.clock import SystemClock
from paceline.errors import Conflict, CorruptStorage, InputError, NotFound, StorageError
from paceline.node.restoring import restore
from tests.e2e.cluster import Cluster, Node, cluster, completed, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PLAN = """
description: kept
subtasks:
  - {name: big, tool: command, run: 'head -c 100000 /dev/zero > "$PACELINE_OUTPUT"'}
  - {name: gate, tool: command, run: 'while [ ! -e GATE ]; do sleep 0.05; done'}
  - {name: end, needs: [big, gate], tool: command, run: 'wc -c < "$PACELINE_INPUTS/big"'}
"""


@dataclass
class Kept:
    """A cluster that runs, one task in the middle of its work, and a backup of it."""

    cluster: Cluster
    file: Path
    about: dict[str, Any]
    task_id: str
    gate: Path


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    directory = tmp_path_factory.mktemp("backup")
    gate = directory / "gate"
    with cluster(directory, 1) as nodes:
        (node,) = nodes.nodes
        task_id = node.submit(PLAN.replace("GATE", str(gate)))

        def half_done() -> bool:
            statuses = [each["status"] for each in node.task(task_id)["subtasks"]]
            return statuses == ["completed", "in_progress", "pending"]

        wait_for("half of the work", half_done, 30)
        file = directory / "kept.tar"
        about = node.client.post("backup", {"path": str(file)})
        yield Kept(nodes, file, about, task_id, gate)


def test_a_new_cluster_goes_on_with_the_work(kept: Kept, tmp_path: Path) -> None:
    (old,) = kept.cluster.nodes
    assert kept.about["tasks"] == kept.about["blobs"] == 1
    about, recovered = restore(kept.file, tmp_path / "new", clock=SystemClock())
    assert about.cluster_id == old.status()["cluster_id"] != recovered.cluster_id
    new = Node("new", tmp_path / "new", ["--bind", "127.0.0.1", "--no-mdns", "--slots", "2"])
    try:
        new.start()
        status = new.status()
        assert status["cluster_id"] == recovered.cluster_id
        assert status["voters"] == [status["node_id"]] != [old.node_id]
        assert [each["node_id"] for each in status["members"]] == [status["node_id"]]
        kept.gate.touch()
        task = completed(new, kept.task_id)
        big, gate, end = task["subtasks"]
        assert len(big["attempts"]) == 1, "what had completed is not done again"
        assert end["status"] == "completed"
        assert [each["node_id"] for each in gate["attempts"]] == [old.node_id, new.node_id]
        said = new.client.stream(f"tasks/{kept.task_id}/logs", subtask="end")
        assert "100000" in [each["line"].strip() for each in said]
        token = new.client.get("token")["token"]
        assert token == recovered.token != old.client.get("token")["token"]
    finally:
        new.kill()


def test_the_archive_is_private_and_has_no_token(kept: Kept) -> None:
    assert kept.file.stat().st_mode & 0o077 == 0
    token = kept.cluster.nodes[0].client.get("token")["token"]
    assert token.encode() not in kept.file.read_bytes()
    with tarfile.open(kept.file) as archive:
        names = archive.getnames()
        state = archive.extractfile("state.db")
        assert state is not None
        assert hashlib.sha256(state.read()).hexdigest() == kept.about["state_sha256"]
    assert names[:2] == ["backup.json", "state.db"]
    assert [name.rpartition("/")[0] for name in names[2:]] == ["blobs"]


def test_a_backup_replaces_no_file(kept: Kept) -> None:
    client, before = kept.cluster.nodes[0].client, kept.file.read_bytes()
    with pytest.raises(Conflict, match="never replaces"):
        client.post("backup", {"path": str(kept.file)})
    with pytest.raises(InputError, match="directory that exists"):
        client.post("backup", {"path": "/no/such/directory/file"})
    with pytest.raises(InputError):
        client.post("backup", {"path": "relative"})
    assert kept.file.read_bytes() == before
    assert [each.name for each in kept.file.parent.glob(".kept*")] == []


def test_a_restore_replaces_no_node(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(Conflict, match="not empty"):
        restore(kept.file, tmp_path, clock=SystemClock())
    with pytest.raises(NotFound):
        restore(tmp_path / "nothing", tmp_path / "new", clock=SystemClock())


def flipped(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


Change = Callable[[str, bytes], bytes | None]

DAMAGES: dict[str, Change] = {
    "a flipped bit in the state": lambda n, d: flipped(d) if n == "state.db" else d,
    "a flipped bit in a blob": lambda n, d: flipped(d) if n.startswith("blobs/") else d,
    "no state": lambda n, d: None if n == "state.db" else d,
    "no blob": lambda n, d: None if n.startswith("blobs/") else d,
    "no description": lambda n, d: None if n == "backup.json" else d,
    "a foolish description": lambda n, d: b"[]" if n == "backup.json" else d,
    "a description without an end": lambda n, d: d[:-20] if n == "backup.json" else d,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_backup_is_refused_and_leaves_nothing(
    kept: Kept, tmp_path: Path, damage: str
) -> None:
    broken = tmp_path / "broken.tar"
    _rewrite(kept.file, broken, DAMAGES[damage])
    with pytest.raises(CorruptStorage, match="whole backup"):
        restore(broken, tmp_path / "new", clock=SystemClock())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["broken.tar"]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.4, 0.9])
def test_a_truncated_backup_is_refused(kept: Kept, tmp_path: Path, share: float) -> None:
    data = kept.file.read_bytes()
    (tmp_path / "short.tar").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CorruptStorage, match="whole backup"):
        restore(tmp_path / "short.tar", tmp_path / "new", clock=SystemClock())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["short.tar"]


def test_a_newer_format_is_refused_with_advice(kept: Kept, tmp_path: Path) -> None:
    def newer(name: str, data: bytes) -> bytes:
        known = json.loads(data) if name == "backup.json" else {}
        return json.dumps(known | {"format": 99}).encode() if known else data

    _rewrite(kept.file, tmp_path / "newer.tar", newer)
    with pytest.raises(StorageError, match="a newer one"):
        restore(tmp_path / "newer.tar", tmp_path / "new", clock=SystemClock())


def test_what_does_not_belong_into_a_backup_is_not_taken_out(kept: Kept, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile.tar"
    _rewrite(kept.file, hostile, lambda name, data: data)
    with tarfile.open(hostile, "a") as archive:
        for name in ("../outside", "/tmp/outside-of-a-restore", "node.key", "blobs/../../x"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("api.token")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    restore(hostile, tmp_path / "new", clock=SystemClock())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["hostile.tar", "new"]
    assert not Path("/tmp/outside-of-a-restore").exists()
    assert b"evil" not in (tmp_path / "new" / "node.key").read_bytes()
    assert not (tmp_path / "new" / "api.token").exists()


def _rewrite(source: Path, target: Path, change: Change) -> None:
    """Write the archive again with its members changed, or left out."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old:
            file = old.extractfile(member)
            assert file is not None
            data = change(member.name, file.read())
            if data is not None:
                member.size = len(data)
                new.addfile(member, io.BytesIO(data))
