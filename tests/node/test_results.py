"""What a task came to, from a real state, real blobs and real git."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from paceline.errors import Conflict, InputError, NotFound
from paceline.node.results import Results
from paceline.node.web.ports import Download
from paceline.tasks.commands import SubmitTask
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import Outcome, Output, ResultStatus, TaskSpec
from tests.node.desks import MIB, git
from tests.node.test_changes import FILES, Bench
from tests.tasks.entries import Driver, subtask
from tests.tools.children import run


class Told(Bench):
    """A bench whose outcomes are told to a state, and what that state says of them."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, FILES)
        self.machine = TaskMachine(directory / "state.db")
        self.drive = Driver(self.machine)
        self.drive.register("n1")
        subtasks = (subtask("one"), subtask("two"), subtask("last", "one", "two"))
        spec = TaskSpec("task", "Do it", "plan", subtasks, repository=self.pinned)
        self.drive(SubmitTask(spec, "key"))
        (directory / "results" / "left").mkdir(parents=True)
        self.results = Results(
            directory=directory / "results",
            connection=self.machine.connection,
            repositories=self.desk.repositories,
            blobs=self.desk.blobs,
        )

    def tell(self, name: str, line: str) -> None:
        self.drive.run(name, self.do(line))


def read(found: Download) -> bytes:
    with found.file as file:
        return file.read()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    found = Told(tmp_path)
    yield found
    found.machine.close()


def test_a_result_grows_with_the_task(told: Told, tmp_path: Path) -> None:
    before = run(told.results.document("task", ""))
    assert (before["commit"], before["files"], before["complete"]) == (None, 0, False)
    with pytest.raises(NotFound, match="nothing was changed"):
        run(told.results.patch("task", ""))
    told.tell("one", "sed -i s/one/ONE/ a.txt")
    told.tell("two", "sed -i s/three/THREE/ a.txt; printf 'x\\0y' > binary")
    document = run(told.results.document("ta", ""))
    assert (document["files"], document["insertions"], document["deletions"]) == (2, 2, 2)
    assert document["changes"] == [
        {"path": "a.txt", "insertions": 2, "deletions": 2},
        {"path": "binary", "insertions": None, "deletions": None},
    ]
    assert [each["name"] for each in document["merged_from"]] == ["one", "two"]
    assert [each["change"] is not None for each in document["subtasks"]] == [True, True, False]
    only = run(told.results.document("task", "one"))
    assert (only["files"], [each["name"] for each in only["subtasks"]]) == (1, ["one"])
    assert list((tmp_path / "results").iterdir()) == [], "nothing is left behind"


def test_patch_and_bundle_are_what_git_takes(told: Told, tmp_path: Path) -> None:
    told.tell("one", "sed -i s/one/ONE/ a.txt; printf 'x\\0y' > binary")
    told.tell("two", "rm b.txt")
    found = run(told.results.patch("task", ""))
    (tmp_path / "patch").write_bytes(read(found))
    git(told.source, "apply", "--index", str(tmp_path / "patch"))
    tree = git(told.source, "write-tree")
    assert git(told.source, "status", "--short").split("\n") == [
        "M  a.txt",
        "D  b.txt",
        "A  binary",
    ]
    found = run(told.results.bundle("task", "", told.pinned.commit))
    (tmp_path / "b").write_bytes(read(found))
    assert (tmp_path / "b").stat().st_size == found.size
    git(told.source, "fetch", "-q", str(tmp_path / "b"), f"{found.ref}:refs/heads/got")
    assert git(told.source, "rev-parse", "got") == found.commit
    assert git(told.source, "rev-parse", "got^{tree}") == tree
    whole = run(told.results.bundle("task", "", ""))
    (tmp_path / "whole").write_bytes(read(whole))
    git(tmp_path, "init", "-q", "empty")
    git(tmp_path / "empty", "fetch", "-q", str(tmp_path / "whole"), f"{whole.ref}:refs/heads/got")
    for since in ("0" * 40, "HEAD", "--all"):
        with pytest.raises(InputError):
            run(told.results.bundle("task", "", since))


def test_changes_that_do_not_go_together(told: Told) -> None:
    told.tell("one", "sed -i s/two/2/ a.txt")
    told.tell("two", "sed -i s/two/zwei/ a.txt")
    document = run(told.results.document("task", ""))
    assert document["conflicts"] == ["a.txt"]
    assert 'the changes of "one" and "two" do not go together' in document["problem"]
    with pytest.raises(Conflict, match=r"a\.txt"):
        run(told.results.patch("task", ""))
    assert run(told.results.document("task", "two"))["files"] == 1


def test_a_bundle_that_nobody_gives_is_a_problem_and_no_failure(told: Told) -> None:
    outcome = told.do("echo x > x")
    assert outcome.change is not None
    gone = replace(outcome.change.bundle, sha256="ab" * 32, holders=())
    told.drive.run(
        "one", replace(outcome, change=replace(outcome.change, commit="c" * 40, bundle=gone))
    )
    document = run(told.results.document("task", ""))
    assert "cannot be fetched" in document["problem"]
    assert document["subtasks"][0]["change"]["commit"] == "c" * 40


def test_outputs_of_any_size(told: Told) -> None:
    data = bytes(range(256)) * (MIB // 128)
    blob = run(told.desk.blobs.put(data))
    told.drive.run("one", Outcome(ResultStatus.OK, output=Output(b"small\0")))
    told.drive.run("two", Outcome(ResultStatus.OK, output=Output(blob=blob)))
    for name, expected in (("one", b"small\0"), ("two", data)):
        found = run(told.results.output(name))
        assert (found.name, found.size, read(found)) == (name, len(expected), expected)
    with pytest.raises(NotFound, match="not completed"):
        run(told.results.output("last"))
    with pytest.raises(NotFound):
        run(told.results.output("none"))
