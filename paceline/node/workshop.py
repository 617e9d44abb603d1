"""Everything on this node that does the work: tools, directories, blobs, logs, outbox, worker."""

import asyncio
import contextlib
import os
import sqlite3
import tempfile
import tomllib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars

from paceline.clock import Clock
from paceline.errors import InvalidSettings, PacelineError
from paceline.ids import NodeId
from paceline.node import quality_file
from paceline.node.attempt import (
    clear_attempts,
    remove_attempt,
    run_attempt,
    sweep_attempts,
)
from paceline.node.blobs import BlobStore
from paceline.node.briefed import briefed
from paceline.node.calls import Calls
from paceline.node.consensus import Consensus
from paceline.node.data_dir import DataDir
from paceline.node.desk import Desk, Work
from paceline.node.logs import LogStore
from paceline.node.meters import OutcomeMeter, unmetered
from paceline.node.outbox import Outbox
from paceline.node.planning import DAILY_BUDGET_KEY
from paceline.node.proposals import Proposals
from paceline.node.quality_file import read_quality_file
from paceline.node.redaction import Redactor
from paceline.node.remotes import Remotes
from paceline.node.repository import Repositories
from paceline.node.sessions import Sessions
from paceline.node.sharing import Sharing
from paceline.node.sourcing import Sources
from paceline.node.transport import Transport
from paceline.node.vitals import Lease
from paceline.node.walls import ISOLATION_KEY, judged, kind_for
from paceline.node.worker import Assignment, Worker
from paceline.settings import NodeSettings
from paceline.tasks import queries, queries_usage
from paceline.tasks.model import Outcome, ToolState
from paceline.tasks.queries_quality import briefing
from paceline.tasks.queries_results import NamedChange, starting_points, takes_later_lines
from paceline.tasks.queries_work import ActiveAttempt
from paceline.tools.environment import DEFAULT_PATH
from paceline.tools.isolation import Kind, probe
from paceline.tools.registry import Registry

BLOBS_LIMIT_BYTES = 20 * 1024**3
DETECT_S = 30.0
CHANGES_LEVEL = 2
"""The format level at which changes of a repository came in."""

log = structlog.get_logger(__name__)


def read_tools_config(path: Path) -> dict[str, dict[str, Any]]:
    """Answer the owner's `tools.toml`: one table per tool. Raise InvalidSettings."""
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"{path} cannot be read: {error}") from error
    for name, table in config.items():
        if not isinstance(table, dict):
            raise InvalidSettings(f"{path}: {name} must be a table, [{name}]")
    return config


def read_work(connection: sqlite3.Connection, given: Assignment | ActiveAttempt) -> Work:
    """Read all that an attempt is to know."""
    subtask_id = given.ref.subtask_id
    task = queries.task_spec(connection, given.task_id)
    asked = queries.subtask_spec(connection, subtask_id)
    known = briefing(connection, subtask_id, given.ref.attempt)
    changes = starting_points(connection, subtask_id) if task.repository else ()
    if known.change is not None:
        changes = (NamedChange(asked.name, known.change),)
    return Work(
        task=task,
        spec=briefed(asked, task, known),
        attempt=given.ref.attempt,
        token=given.ref.token,
        tool=given.tool,
        inputs=queries.inputs_of(connection, subtask_id),
        changes=changes,
        takes_later=takes_later_lines(connection, subtask_id),
        submitted=asked,
        briefing=known,
        budget_usd=queries_usage.remaining(connection, given.task_id),
    )


class Workshop:
    """The worker's side of a node."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        data_dir: DataDir,
        transport: Transport,
        calls: Calls,
        clock: Clock,
        live_members: Callable[[], Collection[NodeId]],
        secrets: Iterable[str],
        settings: NodeSettings,
        level: Callable[[], int],
        meter: OutcomeMeter = unmetered,
    ) -> None:
        """Wire it: `secrets` are values that must never be in a log or an outcome.

        `level` answers the format level of the cluster; `meter` is told of every ended attempt.
        """
        self._node_id = node_id
        self._meter = meter
        self._data_dir = data_dir
        self._settings = settings
        self.redactor = Redactor(secrets)
        self.logs = LogStore(
            directory=data_dir.directory("logs"), clock=clock, redactor=self.redactor
        )
        sharing = Sharing(
            node_id=node_id, transport=transport, calls=calls, live_members=live_members
        )
        self.blobs = BlobStore(
            directory=data_dir.directory("blobs"),
            node_id=node_id,
            budget_bytes=BLOBS_LIMIT_BYTES,
            read_chunk=sharing.read_chunk,
            replicate=sharing.replicate,
            find=sharing.find,
        )
        self.sharing = sharing
        sharing.attach(self.blobs)
        self.repositories = Repositories(directory=data_dir.directory("cache"), blobs=self.blobs)
        self.remotes = Remotes(data_dir.directory("remotes"))
        self.sources = Sources(repositories=self.repositories, remotes=self.remotes)
        self.registry = Registry(
            read_tools_config(data_dir.path / "tools.toml"),
            definitions=data_dir.path / "tools.d",
        )
        self.tools: tuple[ToolState, ...] = ()
        self._on_tools: Callable[[], None] = lambda: None
        self.quality = read_quality_file(data_dir.path / quality_file.NAME)
        self.sessions = Sessions(data_dir.directory("sessions"))
        self._desk = Desk(
            assessing=self.quality.assessing,
            node_id=node_id,
            directory=data_dir.directory("attempts"),
            environment=os.environ,
            tools=self.registry,
            blobs=self.blobs,
            logs=self.logs,
            repositories=self.repositories,
            redactor=self.redactor,
            clock=clock,
            carries_changes=lambda: level() >= CHANGES_LEVEL,
            sandbox=settings.sandbox,
            hidden=(data_dir.path,),
            sessions=self.sessions,
        )

    @property
    def info(self) -> dict[str, str]:
        """Answer what others should know of the work here, for `RegisterWorker.system_info`."""
        budget_usd = self._settings.daily_budget_usd
        budget = {DAILY_BUDGET_KEY: f"{budget_usd:g}"} if budget_usd else {}
        return {**budget, **self._isolation_info()}

    @property
    def isolation(self) -> tuple[str, str]:
        """Answer how agents are kept apart here, and why not better where that is wished."""
        found, off = self._desk.isolation, self._desk.sandbox == "off"
        kind = Kind.MARKS if off else found.kind
        return kind.value, "" if off or found.is_sandbox else found.reason

    def _isolation_info(self) -> dict[str, str]:
        """Answer how agents are kept apart here, and the tools for which it is otherwise."""
        usual = Kind.MARKS if self._desk.sandbox == "off" else self._desk.isolation.kind
        info = {ISOLATION_KEY: usual.value}
        for state in self.tools:
            with contextlib.suppress(PacelineError):
                tool = self.registry.tool(state.name)
                kind = kind_for(tool, self._desk.isolation, self._desk.sandbox)
                if kind is not usual:
                    info[f"{ISOLATION_KEY}.{state.name}"] = kind.value
        return info

    async def sweep(self) -> None:
        """End what a former process of this node left running, and clear its directories."""
        if left := await sweep_attempts(self._desk.directory):
            log.warning("ended what a former process had left running", attempts=left)
        if saved := await self.sessions.salvage(self._desk.directory):
            log.info("kept the sessions of attempts that were cut off", sessions=saved)
        await clear_attempts(self._desk.directory)
        await self._find_isolation()

    async def _find_isolation(self) -> None:
        """Try how agents can be kept apart on this machine."""
        with tempfile.TemporaryDirectory(prefix="paceline-probe-") as name:
            found = await probe(os.environ.get("PATH", DEFAULT_PATH), Path(name))
        self._desk = replace(self._desk, isolation=found)
        if not found.is_sandbox and self._desk.sandbox != "off":
            log.warning("agents run without a sandbox", instead=found.kind, reason=found.reason)

    async def open_worker(
        self,
        *,
        consensus: Consensus,
        proposals: Proposals,
        lease: Lease,
        on_change: Callable[[], None],
    ) -> tuple[Worker, Outbox]:
        """Build the worker on its outbox."""
        connection = consensus.machine.connection

        def assignments() -> Sequence[Assignment]:
            return [
                Assignment(
                    given.ref,
                    given.task_id,
                    given.tool,
                    given.status,
                    given.cancel_requested,
                    given.recalled,
                )
                for given in queries.attempts_of_node(connection, self._node_id)
            ]

        async def run(given: Assignment, stop: asyncio.Event) -> Outcome:
            work = self._with_session(read_work(connection, given))
            # Every line that is logged on the way, here and in the tools, says what it is about.
            with bound_contextvars(
                task_id=given.task_id,
                subtask_id=given.ref.subtask_id,
                attempt=given.ref.attempt,
                tool=given.tool,
            ):
                try:
                    outcome = await run_attempt(work, self._desk, stop)
                    log.debug("an attempt ended", result=outcome.status, ms=outcome.duration_ms)
                finally:
                    await remove_attempt(work, self._desk)
            self._meter(given.tool, outcome)
            return outcome

        outbox = await Outbox.open(self._data_dir.path / "outbox.db")
        worker = Worker(
            node_id=self._node_id,
            assignments=assignments,
            run=run,
            proposals=proposals,
            outbox=outbox,
            lease=lease,
            on_change=on_change,
        )
        return worker, outbox

    def _with_session(self, work: Work) -> Work:
        """Answer the work, told whether its tool's session may go on; a review's does not."""
        with contextlib.suppress(PacelineError):
            if self.registry.tool(work.tool).resumes and not work.briefing.review:
                return replace(work, resumes=True)
        return work

    async def watch_tools(self, on_change: Callable[[], None]) -> None:
        """Look at the tools again and again; tell when one has come, gone or changed."""
        self._on_tools = on_change
        while True:
            await self.look()
            await asyncio.sleep(DETECT_S)

    async def look(self) -> None:
        """Look at the tools now; tell if that shows something new."""
        try:
            found = tuple(map(self._judged, await self.registry.detect_all()))
        except PacelineError as error:
            log.warning("the tools could not be looked at", reason=str(error))
            return
        if found != self.tools:
            self.tools = found
            self._on_tools()

    def _judged(self, state: ToolState) -> ToolState:
        """Answer the tool's state, unhealthy where its owner requires what is not to be had."""
        try:
            tool = self.registry.tool(state.name)
        except PacelineError:
            return state
        return judged(state, tool, self._desk.isolation, self._desk.sandbox)
