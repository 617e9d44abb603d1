"""`paceline result` against a small node: what it shows, what it writes, what it refuses."""

from pathlib import Path

import pytest

from tests.cli.command import Node
from tests.node.desks import commit, git, make_repository


def test_a_summary(node: Node) -> None:
    shown = node.run("result", "t1")
    assert shown.status == 0
    assert "1 file +2 -0, commit 111111111111" in shown.out
    assert "a.txt  +2 -0" in shown.out
    assert "5 bytes" in shown.out
    assert node.run("result", "t1", "build", "--json").json["commit"] == "1" * 40
    assert node.service.results.asked == [("document", "t1", ""), ("document", "t1", "build")]


def test_what_is_not_there_is_said(node: Node) -> None:
    results = node.service.results
    results.changes = {
        "commit": None,
        "problem": "the changes do not go together",
        "conflicts": ["a"],
    }
    assert "problem" in node.run("result", "t1").out
    ended = node.run("result", "t1", "--patch")
    assert (ended.status, ended.out) == (1, "")
    assert "one by one" in ended.err
    results.changes = {"commit": None}
    assert node.run("result", "t1", "--branch", "x").status == 5
    results.changes = {"commit": None, "repository": None}
    assert "no repository" in node.run("result", "t1", "--patch").err


def test_a_patch_to_standard_output_or_a_new_file(node: Node, tmp_path: Path) -> None:
    assert node.run("result", "t1", "--patch").out == "bytes"
    file = tmp_path / "a.patch"
    assert node.run("result", "t1", "--patch", str(file)).status == 0
    assert file.read_bytes() == b"bytes"
    again = node.run("result", "t1", "--patch", str(file))
    assert again.status == 2
    assert "is there already" in again.err
    assert node.run("result", "t1", "--patch", "--json").status == 2


def test_outputs_as_files(node: Node, tmp_path: Path) -> None:
    place = tmp_path / "new" / "out"
    assert node.run("result", "t1", "--output", str(place)).status == 0
    assert [(file.name, file.read_bytes()) for file in place.iterdir()] == [("build", b"bytes")]
    assert "is there already" in node.run("result", "t1", "--output", str(place)).err


@pytest.fixture
def source(node: Node, tmp_path: Path) -> Path:
    """A repository here, and behind the node a bundle of one commit on top of it."""
    source = make_repository(tmp_path / "source", {"a": "1"})
    base = git(source, "rev-parse", "HEAD")
    git(tmp_path, "clone", "-q", str(source), "there")
    there = tmp_path / "there"
    made = commit(there, {"a": "2"})
    git(there, "update-ref", "refs/x", made)
    git(there, "bundle", "create", "-q", str(tmp_path / "bundle"), "refs/x", f"^{base}")
    results = node.service.results
    results.data = (tmp_path / "bundle").read_bytes()
    repository = {"source": str(source), "ref": "HEAD", "commit": base}
    results.changes = {"base": base, "commit": made, "repository": repository}
    return source


def test_a_branch_is_made_and_nothing_else_is_touched(node: Node, source: Path) -> None:
    (source / "a").write_text("being edited")
    ended = node.run("result", "t1", "--branch", "got", "--json")
    made = node.service.results.changes["commit"]
    assert ended.json["branch"] == {
        "name": "got",
        "repository": str(source),
        "commit": made,
        "base": node.service.results.changes["base"],
        "commits": 1,
    }
    assert git(source, "rev-parse", "got") == made
    assert (source / "a").read_text() == "being edited"
    assert git(source, "branch", "--show-current") == "main"
    node.service.results.data = b"not asked for again"
    assert node.run("result", "t1", "--branch", "got").status == 0, "once more: the same"
    assert node.run("result", "t1", "--branch", "second").status == 0


@pytest.mark.parametrize(
    ("name", "words", "status"),
    [
        ("main", "is checked out", 1),
        ("side", "has other commits", 1),
        ("a..b", "cannot be the name", 2),
    ],
)
def test_branches_that_are_refused(
    node: Node, source: Path, name: str, words: str, status: int
) -> None:
    git(source, "checkout", "-q", "-b", "side")
    before = commit(source, {"b": "1"})
    git(source, "checkout", "-q", "main")
    ended = node.run("result", "t1", "--branch", name)
    assert (ended.status, ended.out) == (status, "")
    assert words in ended.err
    assert git(source, "rev-parse", "side") == before


def test_a_repository_that_lacks_the_beginning(node: Node, source: Path, tmp_path: Path) -> None:
    other = make_repository(tmp_path / "other", {"z": "1"}, message="another root")
    ended = node.run("result", "t1", "--branch", "got", "--repo", str(other))
    assert ended.status == 5
    assert "does not have what the result builds on" in ended.err
    assert (
        "not a git repository"
        in node.run("result", "t1", "--branch", "got", "--repo", str(tmp_path)).err
    )


def test_a_pull_request_is_opened_with_gh(node: Node, source: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "remote.git")
    git(source, "remote", "add", "origin", str(tmp_path / "remote.git"))
    tools = tmp_path / "bin"
    tools.mkdir()
    gh = tools / "gh"
    gh.write_text('#!/bin/sh\necho "$@" > "$0.asked"\necho https://example.org/pull/7\n')
    gh.chmod(0o755)
    ended = node.run("result", "t1", "--pr", PATH=f"{tools}:/usr/bin:/bin")
    assert ended.status == 0, ended.err
    assert "https://example.org/pull/7" in ended.out
    assert "pr create --head paceline/t1 --title words" in (tools / "gh.asked").read_text()
    pushed = git(tmp_path / "remote.git", "rev-parse", "paceline/t1")
    assert pushed == node.service.results.changes["commit"]
