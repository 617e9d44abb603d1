"""What the outside may ask of this node: the `NodeService` behind REST, page and command line.

Reads are answered from this node's own state, with or without a quorum. Changes go through
`Proposals`. What may be long (pages of tasks, events) is read through `StateReader`, so that the
loop never waits for it.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from paceline import __version__
from paceline.errors import InputError
from paceline.ids import new_id
from paceline.node.access import Access
from paceline.node.backup import Backups
from paceline.node.cluster_status import ClusterStatus
from paceline.node.deciding import Deciding
from paceline.node.explaining import Explaining
from paceline.node.exposition import Exposition
from paceline.node.guests import Guests
from paceline.node.inspection import Inspection
from paceline.node.log_feed import LogFeed
from paceline.node.previewing import preview
from paceline.node.progress import AppliedProgress
from paceline.node.proposals import Proposals
from paceline.node.results import Results
from paceline.node.sourcing import Sources
from paceline.node.state_reader import StateReader
from paceline.node.stewardship import Stewardship
from paceline.node.template_files import TemplateFiles
from paceline.node.toolbox import Toolbox
from paceline.node.web.ports import (
    Document,
    EventQuery,
    Health,
    LogQuery,
    TaskChange,
    TaskQuery,
    TaskRequest,
)
from paceline.tasks import plan, queries
from paceline.tasks.commands import (
    CancelSubtask,
    CancelTask,
    ChangeTask,
    RetryTask,
    SubmitTask,
)
from paceline.tasks.draft import SHIPPED_TOOLS, RepositoryDraft, TaskDraft
from paceline.tasks.model import CheckpointFrequency, Privacy
from paceline.tasks.plan import PlanOptions
from paceline.tasks.plan_fields import moment_ms

EVENTS_PAGE = 500
PROPOSE_TIMEOUT_S = 10.0


class Service:
    """One node, as its own user sees it."""

    def __init__(
        self,
        *,
        node_id: str,
        connection: sqlite3.Connection,
        reader: StateReader,
        proposals: Proposals,
        sources: Sources,
        progress: AppliedProgress[Any],
        status: ClusterStatus,
        log_feed: LogFeed,
        access: Access,
        inspection: Inspection,
        toolbox: Toolbox,
        steward: Stewardship,
        deciding: Deciding,
        explaining: Explaining,
        backups: Backups,
        results: Results,
        templates: Path,
        guests: Guests,
        exposition: Exposition,
        settings: Callable[[], Document],
        on_stop: Callable[[], None],
    ) -> None:
        """Wire it: `reader` reads the same state as `connection`, off the loop."""
        self._node_id = node_id
        self._connection = connection
        self._reader = reader
        self._proposals = proposals
        self._sources = sources
        self._progress = progress
        self._status = status
        self._log_feed = log_feed
        self.access = access
        self.inspection = inspection
        self.toolbox = toolbox
        self.steward = steward
        self.deciding = deciding
        self._explaining = explaining
        self._backups = backups
        self.results = results
        self._templates = TemplateFiles(templates, self._known_tools)
        self.guests = guests
        self._exposition = exposition
        self._settings = settings
        self._on_stop = on_stop

    # --- this node and its cluster ----------------------------------------------------------------

    def health(self) -> Health:
        """Answer at once, from memory."""
        return self.inspection.judged(self._status.health())

    async def status(self) -> Document:
        """Answer the document of `status --json`."""
        document = self._status.document() | {"version": __version__}
        document["warnings"] += await self.access.warnings()
        document["warnings"] += self.inspection.warnings()
        return document

    async def nodes(self) -> list[Document]:
        """Answer the members."""
        return self._status.members()

    async def workers(self) -> list[Document]:
        """Answer the registered workers."""
        return await self._reader.read(queries.workers)

    async def templates(self, repository: str = "") -> list[Document]:
        """Answer the templates, a repository's own among them."""
        draft = RepositoryDraft(repository) if repository else None
        return await asyncio.to_thread(self._templates.listing, draft)

    async def backup(self, path: str) -> Document:
        """Write a copy of everything to a file; answer what is in it."""
        return {"path": path} | asdict(await self._backups.write(Path(path)))

    async def metrics(self) -> bytes:
        """Answer the metrics of this node."""
        return await self._exposition.text()

    async def stop(self) -> None:
        """Begin to hand over and end."""
        self._on_stop()

    async def running(self) -> list[Document]:
        """Answer what runs now, on all nodes."""
        return await self._reader.read(queries.running)

    async def settings(self) -> Document:
        """Answer how this node is set up."""
        return self._settings()

    # --- tasks ------------------------------------------------------------------------------------

    async def check(self, request: TaskRequest) -> Document:
        """Answer what a submission would become."""
        return preview(self._draft(request))

    async def submit(self, request: TaskRequest) -> Document:
        """Answer once a quorum has the task on disk."""
        draft = self._draft(request)
        repository, notes = None, tuple[str, ...]()
        if draft.repository:
            repository, notes = await self._sources.pin(
                draft.repository, directory=request.directory, dirty=request.dirty
            )
        task_id = new_id()
        spec = plan.to_spec(
            draft,
            task_id=task_id,
            new_subtask_id=new_id,
            repository=repository,
            now_ms=self._explaining.now_ms,
        )
        command = SubmitTask(spec, request.idempotency_key or task_id, submitted_by=self._node_id)
        accepted = await self._proposals.propose(command, timeout_s=PROPOSE_TIMEOUT_S)
        brief = self._brief(str(accepted))
        return brief | {"created": accepted == task_id, "notes": list(notes)}

    async def dry_run(self, request: TaskRequest) -> Document:
        """Answer what would be submitted, and where each subtask would go now."""
        return self._explaining.dry_run(self._draft(request))

    def _draft(self, request: TaskRequest) -> TaskDraft:
        known = self._known_tools()
        options = PlanOptions(
            repository=(
                RepositoryDraft(**asdict(request.repository)) if request.repository else None
            ),
            privacy=_choice(Privacy, request.privacy, "privacy"),
            checkpoint_frequency=_choice(
                CheckpointFrequency, request.checkpoint_frequency, "checkpoint_frequency"
            ),
            tool_preferences=request.tool_preferences,
            priority=request.priority,
            metadata=dict(request.metadata) or None,
            budget_usd=request.budget_usd,
            deadline=request.deadline,
            limits=request.limits,
            own_template=lambda name, named: self._templates.find(
                name, _placed(named, request.directory)
            ),
            terms=request.terms,
        )
        if request.plan:
            return plan.parse(
                request.plan, request.format or "yaml", known_tools=known, options=options
            )
        return plan.from_description(
            request.description, request.type, known_tools=known, options=options
        )

    def _known_tools(self) -> frozenset[str]:
        offered = (
            tool["name"] for worker in queries.workers(self._connection) for tool in worker["tools"]
        )
        return frozenset((*SHIPPED_TOOLS, *offered))

    async def tasks(self, query: TaskQuery) -> Document:
        """Answer a page of tasks, newest first."""
        since_ms = moment_ms(query.since) if query.since else 0
        return await self._reader.read(
            lambda connection: queries.tasks(
                connection,
                status=query.status,
                type=query.type,
                search=query.search,
                limit=query.limit,
                cursor=query.cursor,
                ids=query.ids,
                since_ms=since_ms,
            )
        )

    async def task(self, task_id: str) -> Document:
        """Answer the document of `show --json`."""
        return queries.task(self._connection, task_id)

    async def subtasks(self, task_id: str) -> list[Document]:
        """Answer a task's subtasks."""
        found = queries.resolve_task_id(self._connection, task_id)
        return queries.subtasks(self._connection, found)

    async def explain(self, task_id: str) -> Document:
        """Answer what each subtask waits for."""
        return self._explaining.explain(task_id)

    async def cancel(self, task_id: str, reason: str, subtask_id: str = "") -> Document:
        """Ask for the end of a task or subtask; running work ends when its worker stopped it."""
        found = queries.resolve_task_id(self._connection, task_id)
        if subtask_id:
            subtask = queries.resolve_subtask_id(self._connection, found, subtask_id)
            command = CancelSubtask(found, subtask, reason)
            status = await self._proposals.propose(command, timeout_s=PROPOSE_TIMEOUT_S)
            return self._brief(found) | {"subtask_id": subtask, "subtask_status": str(status)}
        await self._proposals.propose(CancelTask(found, reason), timeout_s=PROPOSE_TIMEOUT_S)
        return self._brief(found)

    async def change(self, task_id: str, change: TaskChange) -> Document:
        """Pause, resume, hurry or end a task."""
        found = queries.resolve_task_id(self._connection, task_id)
        changed = []
        if (change.paused, change.priority, change.deadline) != (None, None, None):
            command = ChangeTask(
                found,
                change.paused,
                change.priority,
                self._explaining.deadline_ms(change.deadline),
                by=self._node_id,
            )
            changed += await self._proposals.propose(command, timeout_s=PROPOSE_TIMEOUT_S)
        if change.cancel:
            await self._proposals.propose(CancelTask(found, ""), timeout_s=PROPOSE_TIMEOUT_S)
            changed.append("status")
        document = queries.task(self._connection, found)
        told = ("status", "paused", "priority", "deadline")
        return {"task_id": found, **{key: document[key] for key in told}, "changed": changed}

    async def retry(self, task_id: str, subtask_id: str) -> Document:
        """Try failed or cancelled subtasks again."""
        found = queries.resolve_task_id(self._connection, task_id)
        subtask = (
            queries.resolve_subtask_id(self._connection, found, subtask_id) if subtask_id else ""
        )
        await self._proposals.propose(RetryTask(found, subtask), timeout_s=PROPOSE_TIMEOUT_S)
        return self._brief(found)

    def _brief(self, task_id: str) -> Document:
        document = queries.task(self._connection, task_id)
        return {"task_id": task_id, "status": document["status"]}

    # --- streams ----------------------------------------------------------------------------------

    async def logs(self, query: LogQuery) -> AsyncIterator[Document]:
        """Answer the lines of a task's logs."""
        return await self._log_feed.stream(query)

    async def events(self, query: EventQuery) -> AsyncIterator[Document]:
        """Answer the activity log from a place on."""
        task_id = queries.resolve_task_id(self._connection, query.task_id) if query.task_id else ""
        after = query.after
        if query.newest:
            newest = await self._reader.read(
                lambda connection: queries.newest_activity(
                    connection, query.newest, task_id=task_id
                )
            )
            after = max(after, newest)
        return self._events(query, after, task_id)

    async def _events(self, query: EventQuery, after: int, task_id: str) -> AsyncIterator[Document]:
        moved = asyncio.Event()
        stop = self._progress.listen(lambda changes: moved.set())
        try:
            while True:
                moved.clear()
                page = await self._event_page(after, task_id)
                for event in page:
                    after = event["log_id"]
                    if query.wants(event):
                        yield event
                if not page:
                    if not query.follow:
                        return
                    await moved.wait()
        finally:
            stop()

    async def _event_page(self, after: int, task_id: str) -> list[Document]:
        return await self._reader.read(
            lambda connection: queries.activity(
                connection, after=after, task_id=task_id, limit=EVENTS_PAGE
            )
        )


def _placed(draft: RepositoryDraft | None, directory: str) -> RepositoryDraft | None:
    """Answer the repository with its path made absolute, as far as that can be done."""
    if draft is None or "://" in draft.path:
        return None
    place = Path(directory) / Path(draft.path).expanduser()
    return replace(draft, path=str(place))


def _choice(kind: Any, word: str | None, name: str) -> Any:
    if word is None:
        return None
    try:
        return kind(word)
    except ValueError:
        allowed = ", ".join(each.value for each in kind)
        raise InputError(f"{name} must be one of {allowed}, not {word!r}") from None
