"""The one runner of all command-line agents: a definition, started, read, judged.

    Claude Code, Gemini CLI, Codex, OpenCode, Qwen Code, Copilot, Aider: `data/*.toml`
    an owner's own: `tools.d/*.toml`

The child gets an environment from nothing, a private home with just the files that its definition
names, its prompt from a private file, and nothing of the owner's but what the owner opted to give
(`use_login`). Turns and budget are watched here as well, for programs that know no such limits.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from paceline.errors import InputError, InvalidSettings, PacelineError, ToolError
from paceline.tasks.model import PermissionLevel, ResultStatus, ToolState
from paceline.tools.addresses import is_loopback
from paceline.tools.contract import BaseTool, Job
from paceline.tools.cost import check_prices, cost
from paceline.tools.definition import Definition
from paceline.tools.definition_file import shipped
from paceline.tools.environment import build_environment, check_passed
from paceline.tools.events import CostBasis, Event, Final, ToolResult
from paceline.tools.isolation import Confinement, check_walls
from paceline.tools.judging import judge
from paceline.tools.process import Ending, ProcessSpec, child_process
from paceline.tools.program_run import ProgramRun
from paceline.tools.prompt import compose
from paceline.tools.starting import (
    Access,
    Start,
    check_address,
    make_home,
    plan_probe,
    plan_start,
    write_private,
)
from paceline.tools.wishes import Wishes, check_wishes, wishes
from paceline.tools.worktree import watched

PROBE_TIMEOUT_S = 12.0
TOO_SLOW = f"did not answer within {PROBE_TIMEOUT_S:g} s"
"""What is said of a program that did not get to tell its version; it is asked again."""


CONFIG_KEYS = frozenset(
    {
        *("enabled", "binary", "base_url", "api_key", "use_login", "model", "permission"),
        *("max_turns", "budget_usd", "prices", "environment", "pass_environment", "nice"),
        *("idle_timeout_s", "local", "slots"),
        *("sandbox", "readable", "writable", "memory_limit_mib"),
    }
)


class Program(BaseTool):
    """A command-line agent. Everything particular about it is in its definition.

    Configuration: `binary` (a path, if it is not on the PATH), `api_key` (else the node's variable
    of the definition), `use_login` (lend the agent the owner's login), `base_url` (of any service
    that speaks the same), `model`, `permission` (the most that a subtask may have), `max_turns`,
    `budget_usd`, `prices`, `environment`, `pass_environment`, `nice`, `sandbox`, `readable`,
    `writable`, `memory_limit_mib` (see `isolation`), and `local = true` (the service at `base_url`
    is this machine's and hands nothing on).
    """

    definition_name: ClassVar[str] = ""
    """Of a definition that comes with Paceline."""

    def __init__(self, config: Mapping[str, Any], definition: Definition | None = None) -> None:
        super().__init__(config)
        self.definition = definition or shipped(self.definition_name)
        self.name = self.definition.name
        self._access = _access(self.definition, config)
        self._versions: dict[tuple[object, ...], str] = {}

    @property
    def local(self) -> bool:
        """Answer whether the owner says so; only for a service at a loopback address."""
        return bool(self.config.get("local")) and is_loopback(self._access.base_url)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Answer the key, so that it can be taken out of logs."""
        return (self._access.api_key,) if self._access.api_key else ()

    @property
    def agent_files(self) -> tuple[str, ...]:
        """Answer the files of a repository that steer this agent."""
        return self.definition.agent_files

    @property
    def resumes(self) -> bool:
        """Answer whether its definition says that its sessions go on."""
        return self.definition.session_resumes and "session" in self.definition.options

    # --- a run ---

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        """Start the agent and give what it says as events."""
        try:
            terms = wishes(job, self.config)
            binary = self._binary(job.environment)
            if refusal := self._refuse(job, binary):
                yield Final(refusal)
                return
        except InputError as error:
            yield Final(ToolResult(ResultStatus.DENIED, str(error)))
            return
        start = await self._start(job, terms, binary or "")
        run = ProgramRun(self.definition, terms, self._price(terms))
        async with watched(job.workspace, self._must_change(job, terms)) as tree:
            before = await tree.state() if tree else ""
            async with aclosing(run.events(self._spec(job, start, terms))) as events:
                async for event in events:
                    yield event
            changed = await tree.state() != before if tree else None
        yield Final(await asyncio.to_thread(self._result, job, terms, run, changed))

    def _must_change(self, job: Job, terms: Wishes) -> bool:
        wanted = job.must_change or self.definition.judged_by_changes
        return wanted and terms.permission is not PermissionLevel.READ

    def _refuse(self, job: Job, binary: str | None) -> ToolResult | None:
        if job.sensitive and not self.local:
            reason = f"sensitive work does not leave this machine: {self.definition.title} does"
            return ToolResult(ResultStatus.DENIED, reason)
        if binary is None:
            return ToolResult(ResultStatus.ERROR, self._not_installed())
        if missing := self._no_access():
            return ToolResult(ResultStatus.AUTH, missing)
        return None

    async def _start(self, job: Job, terms: Wishes, binary: str) -> Start:
        prompt = await asyncio.to_thread(compose, job)
        home = Path(job.environment["HOME"])
        prompt_file = job.output.with_name(f"{job.output.name}.prompt")
        start = plan_start(
            self.definition,
            binary=binary,
            access=self._access,
            wishes=terms,
            places={"workspace": job.workspace, "home": home, "output": job.output},
            prompt=prompt,
            prompt_file=prompt_file,
            walled=job.confinement is not None and job.confinement.isolation.is_sandbox,
        )
        await asyncio.to_thread(write_private, prompt_file, prompt)
        await asyncio.to_thread(self._make_home, start, home)
        return start

    def _make_home(self, start: Start, home: Path) -> None:
        files = self.definition.login.files if self.definition.login else ()
        make_home(start, home, linked=files, owner=self._access.login_home)

    def _spec(self, job: Job, start: Start, terms: Wishes) -> ProcessSpec:
        own = self.config.get("environment", {})
        return ProcessSpec(
            argv=start.argv,
            directory=job.workspace,
            environment={**job.environment, **own, **start.environment, **job.variables()},
            mark_file=job.mark_file or job.output.with_name(f"{job.output.name}.mark"),
            stdin=start.stdin,
            timeout_s=job.timeout_s,
            idle_timeout_s=job.idle_timeout_s,
            nice=int(self.config.get("nice", 10)),
            memory_limit_bytes=job.memory_limit_bytes,
            confinement=self._walls(job, start.argv[0], terms),
        )

    def _walls(self, job: Job, binary: str, terms: Wishes) -> Confinement | None:
        """Answer the job's walls, with the program itself in view and the login that it is lent."""
        if job.confinement is None:
            return None
        lent = self.definition.login.files if self.definition.login else ()
        owner = self._access.login_home
        files = [(owner / name).resolve() for name in lent] if owner else []
        walls = job.confinement.running(binary).seeing(writable=files)
        reads = terms.permission is PermissionLevel.READ and bool(self.definition.walled)
        return replace(walls, read_only=(walls.place / "workspace",)) if reads else walls

    def _result(
        self, job: Job, terms: Wishes, run: "ProgramRun", changed: bool | None
    ) -> ToolResult:
        """Judge the run, and hand on the agent's words if it wrote no output of its own."""
        findings = run.reader.findings
        judgement = judge(self.definition, run.ended(changed), datetime.now().astimezone())
        usage = _since(findings.usage, job, self.definition)
        usd, basis = self._cost(usage, terms, findings.reported_usd)
        good = judgement.status is ResultStatus.OK
        if good and not os.path.lexists(job.output):
            job.output.write_text(findings.text, encoding="utf-8", errors="replace")
        return ToolResult(
            judgement.status,
            findings.text if good else judgement.reason,
            exit_code=run.exit_code,
            usage=usage,
            cost_usd=usd,
            session=findings.session,
            retryable_after_ms=judgement.limit.reset_after_ms if judgement.limit else None,
            cost_basis=basis,
            denials=tuple(findings.denials),
            limit=judgement.limit,
        )

    # --- money ---

    def _price(self, terms: Wishes) -> Mapping[str, Mapping[str, float]]:
        prices = self.config.get("prices", {})
        model = terms.model or self.definition.model
        found = prices.get(model) or prices.get("*")
        return {model: found} if found else {}

    def _cost(
        self, usage: dict[str, int], terms: Wishes, reported_usd: float | None
    ) -> tuple[float | None, CostBasis]:
        key = self.definition.key
        makers = self._access.login_home is not None or (
            key is not None and self._access.base_url == key.base_url
        )
        return cost(
            usage,
            model=terms.model or self.definition.model,
            prices=self._price(terms),
            reported_usd=reported_usd,
            believed=makers,
        )

    # --- what is here ---

    def _binary(self, environment: Mapping[str, str]) -> str | None:
        wanted = os.path.expanduser(str(self.config.get("binary") or self.definition.binary))
        return shutil.which(wanted, path=environment.get("PATH", ""))

    def _not_installed(self) -> str:
        binary = self.config.get("binary") or self.definition.binary
        how = f": {self.definition.install}" if self.definition.install else ""
        return f"{self.definition.title} is not installed: no {binary} on the PATH{how}"

    def _no_access(self) -> str:
        """Answer what is missing to reach the service, or nothing."""
        key, login, access = self.definition.key, self.definition.login, self._access
        if access.login_home is not None and login is not None:
            if any((access.login_home / name).is_file() for name in login.files):
                return ""
            return f"nobody is logged in: run `{self.definition.binary}` once and log in"
        if access.api_key or key is None or not key.required:
            return ""
        ways = [f"set tools.{self.name}.api_key or the node's variable {key.variable}"]
        if login:
            ways.append(f"log in with `{self.definition.binary}` and set use_login = true")
        return f"there is no key: {', or '.join(ways)}"

    async def validate_config(self) -> bool:
        """Check every key of the configuration."""
        where = f"tools.{self.name}"
        if unknown := sorted(set(self.config) - CONFIG_KEYS):
            known = ", ".join(sorted(CONFIG_KEYS))
            raise InvalidSettings(f"{where}.{unknown[0]}: no such setting; there are {known}")
        if self._access.base_url:
            check_address(self.name, self._access.base_url)
        check_passed(self.passed_environment)
        check_walls(self.name, self.config)
        check_prices(self.name, self.config.get("prices", {}))
        try:
            check_wishes(self.config)
        except InputError as error:
            raise InvalidSettings(f"{where}: {error}") from None
        if self.config.get("local") and not is_loopback(self._access.base_url):
            raise InvalidSettings(f"{where}.local: only with a base_url on this machine")
        if self.config.get("use_login") and self.definition.login is None:
            raise InvalidSettings(f"{where}.use_login: {self.definition.title} has no login")
        if self.config.get("nice", 10) not in range(20):
            raise InvalidSettings(f"{where}.nice must be a number from 0 to 19")
        return True

    async def detect(self) -> ToolState:
        """Answer whether it is installed and can be used; asks the program itself, no service.

        A version is asked for once per installed file, not each time.
        """
        slots = int(self.config.get("slots", 0))
        environment = build_environment(
            os.environ, home=Path("/nonexistent"), temporary=Path("/nonexistent")
        )
        binary = self._binary(environment)
        if binary is None:
            return ToolState(self.name, healthy=False, reason=self._not_installed())
        try:
            version = await self._version(binary)
            reason = self._no_access() or await self._logged_out(binary)
        except PacelineError as error:
            return ToolState(self.name, healthy=False, reason=str(error))
        return ToolState(self.name, healthy=not reason, version=version, reason=reason, slots=slots)

    async def _version(self, binary: str) -> str:
        status = await asyncio.to_thread(lambda: Path(binary).resolve().stat())
        known = (binary, status.st_ino, status.st_mtime_ns, status.st_size)
        if known not in self._versions:
            code, said = await self._ask(binary, self.definition.health.version)
            if code != 0:
                raise ToolError(f"{self.definition.title} does not start: {said[-500:]}")
            self._versions = {known: _version_in(said)}
        return self._versions[known]

    async def _logged_out(self, binary: str) -> str:
        """Answer why the owner's login cannot be used, or nothing; only where it is to be."""
        if self._access.login_home is None or not self.definition.health.login:
            return ""
        code, said = await self._ask(binary, self.definition.health.login)
        return "" if code == 0 else f"{self.definition.title} is not logged in: {said[-500:]}"

    async def _ask(self, binary: str, arguments: tuple[str, ...]) -> tuple[int | None, str]:
        """Run the program with these arguments in a home of its own; answer status and words."""
        with tempfile.TemporaryDirectory(prefix="paceline-probe-") as name:
            place = Path(name)
            (place / "home").mkdir()
            start = plan_probe(self.definition, arguments, binary=binary, access=self._access)
            await asyncio.to_thread(self._make_home, start, place / "home")
            environment = build_environment(
                os.environ,
                home=place / "home",
                temporary=place,
                added={**self.config.get("environment", {}), **start.environment},
            )
            spec = ProcessSpec(
                argv=start.argv,
                directory=place,
                environment=environment,
                mark_file=place / "run.mark",
                timeout_s=PROBE_TIMEOUT_S,
                output_limit_bytes=64 * 1024,
            )
            async with child_process(spec) as child:
                lines = [line.text async for line in child]
        if child.ending is not Ending.EXITED:
            raise ToolError(f"{self.definition.title} {TOO_SLOW}")
        return child.exit_code, "\n".join(lines).strip()


def _access(definition: Definition, config: Mapping[str, Any]) -> Access:
    """Answer how the service is reached; by login only if the owner says so."""
    key = definition.key
    base_url = str(config.get("base_url") or (key.base_url if key else "")).rstrip("/")
    if config.get("use_login") and definition.login:
        return Access(base_url, login_home=Path.home())
    variable = os.environ.get(key.variable, "") if key and key.variable else ""
    return Access(base_url, api_key=str(config.get("api_key") or variable))


def _since(used: dict[str, int], job: Job, definition: Definition) -> dict[str, int]:
    """Answer what this run used, where the program counts from its session's beginning."""
    if not (definition.session_usage_counts and job.session):
        return used
    return {kind: max(0, count - job.session_usage.get(kind, 0)) for kind, count in used.items()}


def _version_in(said: str) -> str:
    """Answer the first word that looks like a version, else the first line."""
    for word in said.split():
        bare = word.strip("v(),").rstrip(".")
        if bare[:1].isdigit() and "." in bare:
            return bare[:40]
    return said.partition("\n")[0][:40]
