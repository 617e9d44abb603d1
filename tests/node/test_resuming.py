"""Sessions that go on: after a cut, for a correction, not for others; and what is left of homes."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from paceline.node.attempt import clear_attempts, remove_attempt
from paceline.node.desk import Desk, Work
from paceline.node.resuming import AGAIN
from paceline.node.sessions import Session, Sessions, note
from paceline.tasks.model import BlobRef, Outcome, RepositoryChange, ResultStatus
from paceline.tasks.queries_quality import Briefing
from paceline.tools.contract import Job
from paceline.tools.events import Event, Final, SessionStarted, ToolResult
from tests.node.desks import Played, attempt, make_desk, make_work
from tests.tools.children import run

CHANGE = RepositoryChange("0" * 40, "0" * 40, "1" * 40, BlobRef("2" * 64, 1))


class Agent(Played):
    """An agent whose sessions go on; it remembers the jobs that it was given."""

    def __init__(self, status: ResultStatus = ResultStatus.TIMEOUT) -> None:
        super().__init__(self._work)
        self.status = status
        self.jobs: list[Job] = []
        self.found: list[list[str]] = []

    @property
    def resumes(self) -> bool:
        return True

    async def _work(self, job: Job) -> AsyncGenerator[Event, None]:
        home = Path(job.environment["HOME"])
        self.jobs.append(job)
        self.found.append(sorted(os.listdir(home)))
        (home / f"memory-{job.attempt}").write_text("what was said")
        (home / "way-out").symlink_to("/etc")
        yield SessionStarted("s-1")
        yield Final(ToolResult(self.status, session="s-1", usage={"tokens_in": 5}))


class Life:
    """One subtask's attempts on one node."""

    def __init__(self, directory: Path, agent: Agent) -> None:
        self.agent = agent
        self.sessions = Sessions(directory / "sessions")
        self.desk: Desk = replace(make_desk(directory, agent=agent), sessions=self.sessions)
        self.number = 0

    def go(self, **fields: object) -> Outcome:
        return run(self._go(**fields))

    async def _go(self, **fields: object) -> Outcome:
        self.number += 1
        work = self.work(self.number, **fields)
        try:
            return await attempt(work, self.desk)
        finally:
            await remove_attempt(work, self.desk)

    def work(self, number: int, **fields: object) -> Work:
        work = make_work(tool="agent", attempt=number, instructions="Do it.")
        return replace(work, **{"resumes": True, **fields})  # type: ignore[arg-type]

    def kept(self) -> Session | None:
        return run(self.sessions.find("subtask-1", "agent"))


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Life]:
    (tmp_path / "sessions").mkdir()

    def made(status: ResultStatus = ResultStatus.TIMEOUT) -> Life:
        return Life(tmp_path, Agent(status))

    return made


def test_an_attempt_after_a_cut_goes_on_at_the_same_place(make: Callable[..., Life]) -> None:
    life = make()
    life.go()
    life.go()
    first, second = life.agent.jobs
    assert (first.session, second.session) == ("", "s-1")
    assert second.session_usage == {"tokens_in": 5}
    assert second.workspace == first.workspace
    assert second.environment["HOME"] == first.environment["HOME"]
    assert life.agent.found == [[], ["memory-1"]], "and no link that leads anywhere"
    assert second.instructions == f"{AGAIN}\n\nDo it."
    kept = life.kept()
    assert kept is not None
    assert kept.usage == {"tokens_in": 10}, "all that the session has used"


def test_a_correction_goes_on_with_the_authors_session_only(make: Callable[..., Life]) -> None:
    life = make(ResultStatus.OK)
    life.go()
    life.go(briefing=Briefing(feedback="Mend it.", change=CHANGE, session="s-1", tool="agent"))
    life.go(briefing=Briefing(feedback="Mend it.", change=CHANGE, session="s-9", tool="agent"))
    assert [job.session for job in life.agent.jobs] == ["", "s-1", ""]
    assert AGAIN not in life.agent.jobs[1].instructions, "its earlier work is there"


def test_what_was_rejected_begins_afresh(make: Callable[..., Life]) -> None:
    life = make()
    life.go()
    life.go(briefing=Briefing(feedback="Another way."))
    assert [job.session for job in life.agent.jobs] == ["", ""]


def test_a_review_neither_sees_nor_replaces_the_session(make: Callable[..., Life]) -> None:
    life = make()
    life.go()
    life.go(briefing=Briefing(review=True), resumes=False)
    assert life.agent.jobs[1].session == ""
    assert life.agent.jobs[1].workspace != life.agent.jobs[0].workspace
    assert life.kept() is not None


def test_one_that_failed_in_its_old_session_gets_a_new_one(make: Callable[..., Life]) -> None:
    life = make()
    life.go()
    life.agent.status = ResultStatus.FAILED
    life.go()
    assert life.kept() is None
    life.go()
    assert [job.session for job in life.agent.jobs] == ["", "s-1", ""]


def test_a_crash_of_the_node_leaves_the_session(make: Callable[..., Life]) -> None:
    life = make()
    place = life.desk.place_of(life.work(1))
    (place / "home").mkdir(parents=True)
    (place / "home" / "memory-1").write_text("what was said")
    note(place, Session("s-1", "agent"))
    assert run(life.sessions.salvage(life.desk.directory)) == 1
    run(clear_attempts(life.desk.directory))
    life.go()
    assert (life.agent.jobs[0].session, life.agent.found) == ("s-1", [["memory-1"]])


def test_what_another_attempt_works_in_is_not_taken_away(
    make: Callable[..., Life], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paceline.node.resuming.WAIT_S", 0.2)
    life = make()
    place = life.desk.place_of(life.work(1))
    place.mkdir(parents=True)
    (place / "attempt").write_text("7-47")
    outcome = life.go()
    assert (outcome.status, "still being ended" in outcome.text) == (ResultStatus.ERROR, True)
    assert (place / "attempt").read_text() == "7-47"


def test_homes_go_when_their_subtask_has_ended_or_there_are_too_many(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "sessions", limit=2)
    (tmp_path / "sessions").mkdir()

    async def keep(name: str) -> None:
        place = tmp_path / "attempt"
        (place / "home").mkdir(parents=True)
        await asyncio.to_thread(note, place, Session("s", "agent"))
        assert await sessions.keep(name, place)

    async def test() -> None:
        for name in ("a", "b", "c"):
            await keep(name)
        assert await sessions.subtasks() == {"b", "c"}
        assert await sessions.collect({"c"}) == 1
        assert await sessions.subtasks() == {"c"}

    run(test())


def test_a_home_that_has_become_a_link_is_not_kept(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "sessions")
    place = tmp_path / "attempt"
    place.mkdir()
    (place / "home").symlink_to(tmp_path)
    note(place, Session("s", "agent"))
    assert run(sessions.keep("a", place)) is False
