"""Changes of a repository travel: to what depends on them, and to people."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, cluster, completed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("nodes")
    with cluster(directory, 3, ["--slots", "1"]) as nodes:
        yield nodes


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    (place / "a.txt").write_text("one\ntwo\nthree\n")
    git(place, "add", ".")
    git(place, "commit", "-qm", "first")
    return place


def git(directory: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    done = subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout.strip()


PLAN = """
description: Change it together
repository: {{path: {source}}}
subtasks:
  - {{name: top, tool: command, run: 'sleep 1; sed -i s/one/ONE/ a.txt'}}
  - {{name: bottom, tool: command, run: 'sleep 1; sed -i s/three/THREE/ a.txt; echo b > b.txt'}}
  - {{name: look, needs: [bottom], tool: command, run: 'cat b.txt > "$PACELINE_OUTPUT"'}}
  - name: both
    needs: [top, look]
    tool: command
    run: 'cat a.txt b.txt > "$PACELINE_OUTPUT"; echo c > c.txt'
"""


def test_dependents_begin_with_what_others_changed_elsewhere(three: Cluster, source: Path) -> None:
    node = three.nodes[0]
    task = completed(node, node.submit(PLAN.format(source=source)))
    top, bottom, look, both = task["subtasks"]
    assert top["node_id"] != bottom["node_id"], "at the same time, one slot each"
    assert both["result"]["output"]["text"] == "ONE\ntwo\nTHREE\nb\n"
    assert look["result"]["change"] is None
    assert (both["result"]["change"]["files"], both["result"]["change"]["insertions"]) == (1, 1)
    for each in (top, bottom, both):
        assert len(each["result"]["change"]["bundle"]["holders"]) == 2
