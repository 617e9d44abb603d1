"""What attempts change in a repository: taken out, refused, carried on, merged, with real git."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paceline.node.blobs import BlobStore
from paceline.node.change_merge import merge
from paceline.node.desk import Desk
from paceline.node.repository import Repositories
from paceline.tasks.model import Outcome, Repository, RepositoryChange, ResultStatus
from paceline.tasks.queries_results import NamedChange
from paceline.tools.contract import Job
from paceline.tools.events import Event, Final, ToolResult
from paceline.tools.prompt import compose
from tests.node.desks import (
    MIB,
    Played,
    attempt,
    commit,
    git,
    make_desk,
    make_repository,
    make_work,
)
from tests.tools.children import run

FILES = {"a.txt": "one\ntwo\nthree\n", "b.txt": "b\n", ".gitignore": "built/\n"}


class Bench:
    """A repository, pinned, and a desk; each `do` is a subtask of its own."""

    def __init__(self, directory: Path, files: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.source = make_repository(directory / "source", FILES if files is None else files)
        self.desk = make_desk(directory, agent=Played(self._play))
        self.pinned: Repository = run(self.desk.repositories.pin(self.source))[0]
        self._numbers = itertools.count(1)
        self._line = ""

    async def _play(self, job: Job) -> AsyncGenerator[Event, None]:
        self.prompt = compose(job)
        child = await asyncio.create_subprocess_shell(
            self._line, cwd=job.workspace, env={**job.environment, **job.variables()}
        )
        await child.wait()
        yield Final(ToolResult(ResultStatus.OK))

    def do(
        self,
        line: str,
        *changes: NamedChange,
        agent: bool = False,
        words: Mapping[str, Any] | None = None,
        takes_later: bool = False,
        **fields: Any,
    ) -> Outcome:
        """Run a line as the tool `command`, or as what an agent does."""
        self._line = line
        self.work = replace(
            make_work(
                line,
                tool="agent" if agent else "command",
                repository=self.pinned,
                subtask_id=f"subtask-{next(self._numbers)}",
                **fields,
            ),
            changes=changes,
            takes_later=takes_later,
        )
        self.work = replace(self.work, spec=replace(self.work.spec, **(words or {})))
        return run(attempt(self.work, self.desk))

    def change(
        self, line: str, *changes: NamedChange, name: str = "x", **fields: Any
    ) -> NamedChange:
        outcome = self.do(line, *changes, **fields)
        assert outcome.status is ResultStatus.OK, outcome.text
        assert outcome.change is not None
        return NamedChange(name, outcome.change)

    def log(self) -> str:
        async def read() -> list[str]:
            return [
                line.line
                async for page in self.desk.logs.follow(self.work.key)
                for line in page.lines
            ]

        return "\n".join(run(read()))

    def fetched(self, change: RepositoryChange) -> Path:
        """A clone of the source with the change's bundle fetched into the branch `got`."""
        clone = self.directory / f"clone-{next(self._numbers)}"
        git(self.directory, "clone", "-q", str(self.source), str(clone))
        bundle = self.desk.blobs.path(change.bundle.sha256)
        git(clone, "fetch", "-q", str(bundle), "refs/paceline/*:refs/got/*")
        git(clone, "checkout", "-q", "-b", "got", change.commit)
        return clone


def test_what_is_left_becomes_a_commit_in_an_incremental_bundle(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {**FILES, "large": "x" * 100_000, "built/kept": "tracked"})
    found = bench.change(
        "echo four >> a.txt; rm b.txt; printf new > 'with space'; echo o > built/out",
        description="Write it",
    ).change
    assert (found.base, found.start) == (bench.pinned.commit, bench.pinned.commit)
    assert (found.files, found.insertions, found.deletions) == (3, 2, 1)
    assert found.bundle.size < 2_000, "only what is new"
    clone = bench.fetched(found)
    assert git(clone, "log", "--format=%an <%ae> %s", "main..got") == (
        "Paceline <paceline@localhost> build: Write it"
    )
    assert "Subtask: subtask-1" in git(clone, "log", "-1", "--format=%b")
    assert git(clone, "diff", "--name-status", "main", "got").split("\n") == [
        "M\ta.txt",
        "D\tb.txt",
        "A\twith space",
    ], "ignored files stay, tracked ones that are ignored are not lost"
    assert "changed 3 files, +2 -1" in bench.log()


@pytest.mark.parametrize(
    "line", ["true", "touch a.txt", "echo x > built; git commit -q --allow-empty -m x"]
)
def test_nothing_changed_is_no_change(tmp_path: Path, line: str) -> None:
    bench = Bench(tmp_path, {"a.txt": "1", ".gitignore": "built\n"})
    outcome = bench.do(line)
    assert (outcome.status, outcome.change) == (ResultStatus.OK, None)


def test_what_running_a_project_leaves_behind_is_no_change(tmp_path: Path) -> None:
    bench = Bench(tmp_path, FILES | {"node_modules/kept.js": "1\n"})
    outcome = bench.do(
        "mkdir __pycache__ .pytest_cache && echo x > __pycache__/a.cpython-311.pyc"
        " && echo x > .pytest_cache/x && echo y > node_modules/other.js"
    )
    assert outcome.status is ResultStatus.OK
    assert outcome.change is None
    tracked = bench.do("echo 2 > node_modules/kept.js")
    assert tracked.change is not None
    assert tracked.change.files == 1


def test_work_that_must_change_something(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    outcome = bench.do("true", settings={"must_change": True})
    assert outcome.status is ResultStatus.FAILED
    assert "none was changed" in outcome.text


@pytest.mark.parametrize("settings", [{"keep_changes": False}, {"permission": "read"}])
def test_changes_that_nobody_wants_stay_behind(tmp_path: Path, settings: dict[str, object]) -> None:
    assert Bench(tmp_path).do("echo x > a.txt", settings=settings).change is None


def test_a_cluster_of_0_1_gets_no_changes(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.desk = replace(bench.desk, carries_changes=lambda: False)
    outcome = bench.do("echo x > a.txt")
    assert (outcome.status, outcome.change) == (ResultStatus.OK, None)
    assert "until all machines" in bench.log()


def test_the_agents_own_commits_are_kept(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    line = "git checkout -q -b mine; echo x > c; git add c; git commit -qm 'By myself'; echo y > d"
    clone = bench.fetched(bench.change(line, agent=True).change)
    assert git(clone, "log", "--format=%s", "main..got") == "build: Do it.\nBy myself"
    clone = bench.fetched(bench.change(line.replace("; echo y > d", ""), agent=True).change)
    assert git(clone, "log", "--format=%s", "main..got") == "By myself"


@pytest.mark.parametrize(
    "line",
    [
        "git checkout -q --orphan new; echo x > c; git add c; git commit -qm 'New history'",
        "mkdir .claude; echo x > .claude/s; echo x > c; git add .; git commit -qm hidden;"
        " git rm -qr .claude; git commit -qm gone",
        "ln -s /etc/passwd l; echo x > c; git add .; git commit -qm link; git rm -q l;"
        " git commit -qm gone",
        "echo x > c; rm -rf .git; mkdir .git",
        "echo x > c; git add c; git commit -qm x; mv .git/objects ../o; ln -s ../../o .git/objects",
    ],
)
def test_commits_that_cannot_be_kept_become_one(tmp_path: Path, line: str) -> None:
    bench = Bench(tmp_path)
    found = bench.change(line, agent=True).change
    clone = bench.fetched(found)
    assert git(clone, "log", "--format=%s", "main..got") == "build: Do it."
    assert git(clone, "show", "got:c") == "x"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mkdir -p .claude; echo x > .claude/settings.json", "steers agents"),
        ("ln -s /etc/passwd link", "a link out of the repository"),
        ("git init -q sub", "a repository within"),
        (
            "git init -q sub; cd sub; "
            "git -c user.name=x -c user.email=x@y commit -q --allow-empty -m x",
            "a repository within",
        ),
        ("truncate -s 60M big", "bytes, more than"),
        (
            "head -c 1048570 /dev/zero > key; printf %s the-secret- value >> key",
            "a secret of this node",
        ),
        ("printf x > \"$(printf 'a\\377b')\"", "a name that cannot be read"),
        ("cd ..; rm -rf workspace; ln -s /tmp workspace", "not there any more"),
    ],
)
@pytest.mark.parametrize("agent", [False, True])
def test_what_may_not_come_back_is_refused(
    tmp_path: Path, line: str, words: str, agent: bool
) -> None:
    outcome = Bench(tmp_path).do(line, agent=agent)
    assert outcome.status is ResultStatus.DENIED
    assert words in outcome.text
    assert outcome.change is None


def test_what_was_taken_out_comes_back_unchanged(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {**FILES, ".env": "A=1", ".claude/settings.json": "{}"})
    line = "test ! -e .env; mkdir .claude; echo evil > .claude/settings.json; echo x > c"
    clone = bench.fetched(bench.change(line, agent=True).change)
    assert git(clone, "diff", "--name-only", "main", "got") == "c"
    assert "the repository's own is back: .claude" in bench.log()


def test_nothing_that_an_agent_configured_runs(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    evil = tmp_path / "evil"
    line = f"""
        git config core.fsmonitor 'touch {evil}-monitor; false'
        git config core.hooksPath {tmp_path}/hooks
        git config filter.x.clean 'touch {evil}-filter; cat'
        echo '* filter=x diff=x' > .gitattributes
        printf changed > a.txt
    """
    found = bench.change(line, agent=True).change
    assert found.files == 2
    assert not list(tmp_path.glob("evil*"))


def test_line_ends_are_as_they_were(tmp_path: Path) -> None:
    """An attribute that converts on checkout must not make a change of every file."""
    bench = Bench(
        tmp_path, {".gitattributes": "*.txt text eol=crlf\n", "a.txt": "1\n", "b.txt": "2\n"}
    )
    assert bench.change("printf '3\\n' >> b.txt").change.files == 1


# --- what depends on it ---


def test_a_dependent_begins_with_the_merge_on_another_node(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    first = bench.change("sed -i s/one/ONE/ a.txt", name="first")
    second = bench.change("sed -i s/three/THREE/ a.txt; echo c > c.txt", name="second")
    third = bench.change("echo d > d.txt", second, name="third")
    other = other_node(bench)
    work = replace(
        make_work(
            "cat a.txt c.txt d.txt > $PACELINE_OUTPUT; echo e > e.txt",
            repository=bench.pinned,
            subtask_id="last",
        ),
        changes=(first, second, third),
    )
    outcome = run(attempt(work, other))
    assert outcome.output.inline == b"ONE\ntwo\nTHREE\nc\nd\n"
    assert outcome.change is not None
    assert outcome.change.files == 1, "what the others changed is not counted again"
    bench.desk = other
    clone = bench.fetched(outcome.change)
    assert git(clone, "log", "--topo-order", "--format=%s", "--merges", "main..got") == (
        'Merge third with "first"'
    ), "the second is part of the third"
    assert git(clone, "show", "got:a.txt") == "ONE\ntwo\nTHREE"


def other_node(bench: Bench) -> Desk:
    """A desk in another directory, which gets blobs from the first one."""
    there = bench.directory / "other"
    blobs = BlobStore(
        directory=there / "blobs",
        node_id="other",
        budget_bytes=100 * MIB,
        read_chunk=lambda node_id, sha, offset, limit: bench.desk.blobs.read(sha, offset, limit),
    )
    repositories = Repositories(directory=there / "cache", blobs=blobs)
    return replace(make_desk(there), blobs=blobs, repositories=repositories, node_id="other")


def test_every_node_makes_the_same_merge(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    changes = [bench.change(f"echo {n} > {n}.txt", name=f"n{n}") for n in range(3)]
    made = set()
    for number in range(2):
        desk = bench.desk if number else other_node(bench)
        cache = run(desk.repositories.ensure(bench.pinned))
        for each in changes:
            run(desk.repositories.bring(cache, each.change))
        merged = run(merge(cache, bench.pinned.commit, changes))
        made.add(merged.commit)
    assert len(made) == 1
    assert run(merge(cache, bench.pinned.commit, [])).commit == bench.pinned.commit
    assert run(merge(cache, bench.pinned.commit, changes[:1])).commit == changes[0].change.commit


@pytest.fixture
def conflict(tmp_path: Path) -> tuple[Bench, NamedChange, NamedChange]:
    bench = Bench(tmp_path)
    one = bench.change("sed -i s/two/2/ a.txt", name="one")
    other = bench.change("sed -i s/two/zwei/ a.txt; echo o > o.txt", name="other")
    return bench, one, other


def test_a_conflict_without_an_agent_is_for_a_person(
    conflict: tuple[Bench, NamedChange, NamedChange],
) -> None:
    bench, *changes = conflict
    for agent, settings in ((False, {}), (True, {"permission": "read"})):
        outcome = bench.do("touch ran", *changes, agent=agent, settings=settings)
        assert outcome.status is ResultStatus.CONFLICT
        assert 'the changes of "one" and "other" do not go together in a.txt' in outcome.text
        assert outcome.details["conflict"] == {"files": ["a.txt"], "subtasks": ["one", "other"]}


def test_an_agent_resolves_it(conflict: tuple[Bench, NamedChange, NamedChange]) -> None:
    bench, *changes = conflict
    found = bench.change("grep -q '<<<<<<<' a.txt; echo both > a.txt", *changes, agent=True).change
    clone = bench.fetched(found)
    assert git(clone, "log", "-1", "--format=%p", "got").count(" ") == 1, "it is the merge itself"
    assert git(clone, "show", "got:a.txt") == "both"
    assert git(clone, "show", "got:o.txt") == "o"
    assert "to be resolved: a.txt" in bench.log()
    assert "leave no mark.\n- a.txt\n" in bench.prompt


def test_a_person_has_the_later_lines_taken(
    conflict: tuple[Bench, NamedChange, NamedChange],
) -> None:
    bench, *changes = conflict
    line = 'cat a.txt o.txt > "$PACELINE_OUTPUT"; git status --short'
    outcome = bench.do(line, *changes, takes_later=True)
    assert outcome.status is ResultStatus.OK, outcome.text
    assert outcome.output.inline == b"one\nzwei\nthree\no\n"
    assert outcome.change is not None, "what builds on it must not ask again"
    assert outcome.change.files == 0
    assert outcome.change.commit == outcome.change.start
    found = bench.change("echo y > y", *changes, takes_later=True).change
    clone = bench.fetched(found)
    assert git(clone, "show", "got:a.txt") == "one\nzwei\nthree"
    assert git(clone, "log", "-1", "--format=%p", "got^").count(" ") == 1


@pytest.mark.parametrize("line", ["echo x > c", "echo x >> a.txt"])
def test_marks_that_are_left_are_a_failure(
    conflict: tuple[Bench, NamedChange, NamedChange], line: str
) -> None:
    bench, *changes = conflict
    outcome = bench.do(line, *changes, agent=True)
    assert outcome.status is ResultStatus.FAILED
    assert "marks are left in a.txt" in outcome.text


def test_a_bundle_of_another_repository_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "one")
    commit(bench.source, {"n": "1"})
    other = Bench(tmp_path / "two", {"z": "1"})
    foreign = other.change("echo x > z")
    bundle = run(bench.desk.blobs.put_file(other.desk.blobs.path(foreign.change.bundle.sha256)))
    wrong = NamedChange("wrong", replace(foreign.change, bundle=bundle))
    outcome = bench.do("true", wrong)
    assert outcome.status is ResultStatus.ERROR
    assert "of another repository" in outcome.text


# --- what an agent is told ---


def test_an_agent_is_told_where_its_work_stands(tmp_path: Path) -> None:
    files = {**FILES, "AGENTS.md": "Use tabs.\n" + "x" * 20_000, "CONTRIBUTING.md": "Sign it.\n"}
    bench = Bench(tmp_path, files)
    first = bench.change("echo new > 'with space'; echo x >> a.txt", name="first")
    line = 'cp "$PACELINE_CHANGES"/first.diff copied'
    words = {"instructions": "Write the second half.", "name": "second"}
    found = bench.change(line, first, agent=True, words=words)
    prompt = bench.prompt
    order = [
        "Write the second half.",
        "<task>\nDo it.\n</task>",
        "its file AGENTS.md.",
        "Use tabs.",
        "[cut here]",
        "its file CONTRIBUTING.md.",
        'What "first" changed is in the files already.',
        "2 files changed, 2 insertions(+)",
    ]
    places = [prompt.index(each) for each in order]
    assert places == sorted(places)
    assert len(prompt) < 20_000
    clone = bench.fetched(found.change)
    assert "+++ b/with space" in git(clone, "show", "got:copied")


def test_a_convention_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("do not tell")
    bench = Bench(tmp_path, FILES)
    (bench.source / "real.md").write_text("x")
    (bench.source / "AGENTS.md").symlink_to("real.md")
    (bench.source / "CLAUDE.md").symlink_to(secret)
    commit(bench.source, {})
    bench.pinned = run(bench.desk.repositories.pin(bench.source))[0]
    bench.do("true", agent=True)
    assert "conventions" not in bench.prompt
    assert bench.prompt == "Do it."


def test_work_in_a_folder(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": "1", "sub/deep/b": "1"})
    bench.pinned = run(bench.desk.repositories.pin(bench.source, folder="sub/deep"))[0]
    for agent in (False, True):
        found = bench.change("echo 2 > b; echo 3 > ../c", agent=agent)
        changed = git(bench.fetched(found.change), "diff", "--name-only", "main", "got")
        assert changed.split("\n") == ["sub/c", "sub/deep/b"]
    gone = bench.change("cd ..; rm -r deep; echo > deep")
    outcome = bench.do("true", gone)
    assert outcome.status is ResultStatus.ERROR
    assert "the folder sub/deep is not in the repository" in outcome.text


# --- what a repository wants done first ---

SETUP = {
    ".paceline/workspace.toml": 'setup = "echo made > made; echo more >> a.txt; rm b.txt"\n'
    '[copy]\n"deep/example" = "new/place/local"\n',
    "deep/example": "x\n",
    **FILES,
}


@pytest.mark.parametrize("agent", [False, True])
def test_what_the_setup_leaves_is_no_change(tmp_path: Path, agent: bool) -> None:
    bench = Bench(tmp_path, SETUP)
    ready = "test -e made && test -e new/place/local && grep -q more a.txt && ! test -e b.txt"
    assert bench.do(ready, agent=agent, settings={"must_change": True}).status is (
        ResultStatus.FAILED
    ), "the setup is no work of its own"
    assert "setting up: echo made" in bench.log()
    found = bench.change(f"{ready} && echo own > made; echo y > c", agent=agent).change
    clone = bench.fetched(found)
    assert git(clone, "diff", "--name-status", "main", "got") == "A\tc\nA\tmade"
    assert git(clone, "show", "got:made") == "own"


def test_a_setup_counts_as_it_was_in_the_tasks_commit(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    line = f"mkdir .paceline; echo 'setup = \"touch {tmp_path}/evil\"' > .paceline/workspace.toml"
    changed = bench.change(line, agent=True)
    assert bench.do("true", changed).status is ResultStatus.OK
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('setup = "echo why >&2; exit 3"', "setup failed: exit status 3\nwhy"),
        ("setup = 3", "setup must be a shell line"),
        ("nothing", "cannot be read"),
        ("install = 1", "there is no install"),
        ("timeout_s = 1e9", "timeout_s must be"),
        ('[copy]\n"a.txt" = "../x"', "within the repository"),
        ('[copy]\n"none" = "x"', "no plain file"),
        ('[copy]\n"a.txt" = ".git/hooks/x"', "within the repository"),
    ],
)
def test_a_setup_that_fails_or_makes_no_sense(tmp_path: Path, text: str, words: str) -> None:
    bench = Bench(tmp_path, {**FILES, ".paceline/workspace.toml": text})
    outcome = bench.do("touch ran")
    assert outcome.status in (ResultStatus.FAILED, ResultStatus.ERROR)
    assert words in outcome.text
    assert not list(tmp_path.rglob("ran"))
