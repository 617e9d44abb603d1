"""Work done by a model behind a plain chat API: the loop that `ollama` and `openai` share.

The model is given the prompt and, where there are files to work on, the tools of `workbench`. It
answers with words, or with calls; calls are done and their results handed back, until it answers
with words alone. These are the output. Turns, bytes and time have limits; a stream that breaks off
has failed, whatever was said before. Closing the connection makes a server stop generating.
"""

import asyncio
import json
from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

import httpx

from paceline.errors import InputError
from paceline.tasks.model import PermissionLevel, ResultStatus
from paceline.tools.contract import BaseTool, Job
from paceline.tools.cost import cost
from paceline.tools.events import (
    DENIALS_LIMIT,
    CallResult,
    CostBasis,
    Event,
    Final,
    Log,
    Permission,
    ToolCall,
    ToolResult,
    Usage,
)
from paceline.tools.prompt import compose
from paceline.tools.wishes import Wishes, wishes
from paceline.tools.workbench import Workbench, workspace_is_repository
from paceline.tools.worktree import watched

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5.0
ERROR_LIMIT_BYTES = 64 * 1024
TALK_LIMIT_BYTES = 8 * 1024 * 1024
"""Of a whole conversation, as it is sent."""

CALLS_LIMIT = 32
"""Of one answer; more are not done."""

SHOWN_LIMIT = 2000
"""Characters of a result that an event shows."""

ANSWER_ONLY = (
    "You do one part of a larger piece of work. Answer with the result itself, complete and "
    "without introduction: it is handed on as it is."
)
WITH_FILES = (
    "You do one part of a larger piece of work, in a work tree of files. Look at what is there and "
    "do the work with your tools. When it is done, answer with a short report of what you did."
)


@dataclass(frozen=True, slots=True)
class ModelCall:
    """The model wants something done. `arguments` is None if they were no JSON object."""

    name: str
    arguments: Mapping[str, Any] | None
    id: str = ""


class Answer(Protocol):
    """Collects one streamed answer: the wire side of one API."""

    usage: dict[str, int]

    @property
    def calls(self) -> list[ModelCall]:
        """Answer what the model wants done."""

    @property
    def over(self) -> bool:
        """Answer whether nothing that may still come matters."""

    @property
    def text(self) -> str:
        """Answer what the model has said."""

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take what the connection gave; give what it means (no usage)."""

    def judge(self) -> tuple[ResultStatus, str]:
        """Answer whether it is a whole answer, and if not, why."""

    def message(self) -> dict[str, Any]:
        """Answer it as a message of the conversation."""


class Refused(Exception):
    """The service did not answer; this is what it comes to."""

    def __init__(self, result: ToolResult) -> None:
        super().__init__(result.text)
        self.result = result


@dataclass(slots=True)
class Talk:
    """One run: the conversation so far, and what it has used."""

    job: Job
    terms: Wishes
    model: str
    give_up: float | None
    bench: Workbench | None
    messages: list[dict[str, Any]]
    usage: dict[str, int] = field(default_factory=dict)
    denials: list[str] = field(default_factory=list)

    def add(self, used: Mapping[str, int]) -> Usage:
        """Count what one answer used; answer what all have."""
        for kind, tokens in used.items():
            self.usage[kind] = self.usage.get(kind, 0) + tokens
        return Usage(dict(self.usage))


class ChatTool(BaseTool):
    """A tool that talks with a model over HTTP. Subclasses know one API."""

    idle_timeout_s: ClassVar[float] = 600.0
    base_url: str = ""

    # --- what an API does in its own way ---

    @abstractmethod
    async def pick_model(self, client: httpx.AsyncClient, wanted: str) -> str:
        """Answer which model to ask; raise Refused if there is none."""

    @abstractmethod
    def request(
        self, client: httpx.AsyncClient, talk: Talk, schemas: list[dict[str, Any]]
    ) -> httpx.Request:
        """Answer the request for the next answer."""

    @abstractmethod
    def new_answer(self) -> Answer:
        """Answer a collector for it."""

    @abstractmethod
    def refusal(self, response: httpx.Response, body: bytes, model: str) -> ToolResult:
        """Answer what an HTTP status other than 200 means."""

    @abstractmethod
    def result_message(self, call: ModelCall, text: str) -> dict[str, Any]:
        """Answer the message that hands a result back."""

    @abstractmethod
    def refuse_sensitive(self, model: str) -> str:
        """Answer why sensitive work must not go there, or nothing."""

    @abstractmethod
    def unreachable(self, error: httpx.HTTPError) -> str:
        """Answer what to do about a broken connection."""

    def headers(self) -> dict[str, str]:
        """Answer what every request carries."""
        return {}

    # --- the run ---

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        """Talk until the work is done."""
        give_up = asyncio.get_running_loop().time() + job.timeout_s if job.timeout_s else None
        try:
            terms = wishes(job, self.config)
            async with aclosing(self._run(job, terms, give_up)) as events:
                async for event in events:
                    yield event
        except InputError as error:
            yield Final(ToolResult(ResultStatus.DENIED, str(error)))
        except Refused as refused:
            yield Final(refused.result)
        except httpx.ReadTimeout:
            reason = f"stopped: the model said nothing for {job.idle_timeout_s:g} s"
            yield Final(ToolResult(ResultStatus.TIMEOUT, reason))
        except httpx.HTTPError as error:
            yield Final(ToolResult(ResultStatus.ERROR, self.unreachable(error)))
        except TimeoutError:
            reason = f"stopped: it ran for longer than {job.timeout_s:g} s"
            yield Final(ToolResult(ResultStatus.TIMEOUT, reason))

    async def _run(
        self, job: Job, terms: Wishes, give_up: float | None
    ) -> AsyncGenerator[Event, None]:
        must = job.must_change and terms.permission is not PermissionLevel.READ
        async with (
            self.client(job.idle_timeout_s or None) as client,
            watched(job.workspace, must) as tree,
        ):
            before = await tree.state() if tree else ""
            talk = await self._begin(client, job, terms, give_up)
            yield Log("tool", f"asking {talk.model} at {self.base_url}")
            result = ToolResult(ResultStatus.ERROR, "the talk ended without a result")
            async with aclosing(self._talk(client, talk)) as events:
                async for event in events:
                    if isinstance(event, Final):
                        result = event.result
                    else:
                        yield event
            if result.status is ResultStatus.OK and tree and await tree.state() == before:
                reason = f"{talk.model} changed no file. It said: {result.text[:2000]}"
                result = self._result(talk, ResultStatus.FAILED, reason)
            elif result.status is ResultStatus.OK:
                await asyncio.to_thread(_write_output, job, result.text)
            yield Final(result)

    async def _begin(
        self, client: httpx.AsyncClient, job: Job, terms: Wishes, give_up: float | None
    ) -> Talk:
        model = await by(give_up, self.pick_model(client, terms.model))
        if job.sensitive and (reason := self.refuse_sensitive(model)):
            raise Refused(ToolResult(ResultStatus.DENIED, reason))
        bench = self._bench(job, terms)
        system = str(self.config.get("system", WITH_FILES if bench else ANSWER_ONLY))
        prompt = await asyncio.to_thread(compose, job)
        messages = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
        return Talk(job, terms, model, give_up, bench, messages)

    def _bench(self, job: Job, terms: Wishes) -> Workbench | None:
        """Answer the files, if there are any to work on or somebody asked for it."""
        asked = "permission" in job.settings or "permission" in self.config
        if asked or job.must_change or job.changes or workspace_is_repository(job.workspace):
            return Workbench(job, terms.permission)
        return None

    async def _talk(self, client: httpx.AsyncClient, talk: Talk) -> AsyncGenerator[Event, None]:
        for _ in range(talk.terms.max_turns):
            answer = self.new_answer()
            async with aclosing(self._ask(client, talk, answer)) as events:
                async for event in events:
                    yield event
            status, reason = answer.judge()
            if status is not ResultStatus.OK or not answer.calls:
                yield Final(self._end(talk, answer, status, reason))
                return
            talk.messages.append(answer.message())
            async with aclosing(self._do(talk, answer.calls)) as done:
                async for event in done:
                    yield event
            if reason := self._over(talk):
                yield Final(self._result(talk, ResultStatus.TURN_LIMIT, reason))
                return
        reason = f"stopped: it had its {talk.terms.max_turns} turns (max_turns)"
        yield Final(self._result(talk, ResultStatus.TURN_LIMIT, reason))

    async def _ask(
        self, client: httpx.AsyncClient, talk: Talk, answer: Answer
    ) -> AsyncGenerator[Event, None]:
        response = await by(talk.give_up, self._send(client, talk))
        async with aclosing(response):
            chunks = response.aiter_bytes()
            while not answer.over and (chunk := await by(talk.give_up, anext(chunks, None))):
                for event in answer.feed(chunk):
                    yield event
        if answer.usage:
            yield talk.add(answer.usage)

    async def _send(self, client: httpx.AsyncClient, talk: Talk) -> httpx.Response:
        """Answer the response once it streams. Raise Refused."""
        schemas = talk.bench.schemas() if talk.bench else []
        response = await client.send(self.request(client, talk, schemas), stream=True)
        if response.status_code == httpx.codes.OK:
            return response
        async with aclosing(response):
            body = await _beginning(response)
        if schemas and response.status_code == httpx.codes.BAD_REQUEST and _no_tools(body):
            reason = f"the model {talk.model} cannot use tools, so it cannot work on files"
            raise Refused(self._result(talk, ResultStatus.ERROR, f"{reason}: choose another model"))
        refused = self.refusal(response, body, talk.model)
        raise Refused(
            ToolResult(
                refused.status,
                refused.text,
                usage=dict(talk.usage),
                retryable_after_ms=refused.retryable_after_ms,
                limit=refused.limit,
            )
        )

    async def _do(self, talk: Talk, calls: list[ModelCall]) -> AsyncGenerator[Event, None]:
        """Do what the model asks for, and hand the results back."""
        for number, call in enumerate(calls):
            yield ToolCall(call.name, dict(call.arguments or {}))
            if talk.bench is None or number >= CALLS_LIMIT:
                text, ok, denied = "this is not done here", False, False
            else:
                done = await by(talk.give_up, talk.bench.do(call.name, call.arguments))
                text, ok, denied = done.text, done.ok, done.denied
            if denied and len(talk.denials) < DENIALS_LIMIT:
                talk.denials.append(call.name)
                yield Permission(call.name, False, text)
            yield CallResult(call.name, ok, text[:SHOWN_LIMIT])
            talk.messages.append(self.result_message(call, text))

    # --- how it ends ---

    def _over(self, talk: Talk) -> str:
        """Answer why the talk must end here, or nothing."""
        size = len(json.dumps(talk.messages))
        if size > TALK_LIMIT_BYTES:
            return f"stopped: the conversation has {size} bytes, more than {TALK_LIMIT_BYTES}"
        usd, budget = self._cost(talk), talk.terms.budget_usd
        if usd is not None and budget is not None and usd > budget:
            return f"stopped: it cost {usd:.4f} USD, more than its budget of {budget:g} USD"
        return ""

    def _end(self, talk: Talk, answer: Answer, status: ResultStatus, reason: str) -> ToolResult:
        if (
            status is ResultStatus.OK
            and talk.denials
            and (talk.terms.permission is not PermissionLevel.READ)
        ):
            names = ", ".join(dict.fromkeys(talk.denials))
            status = ResultStatus.DENIED
            reason = f"the model wanted what `{talk.terms.permission}` does not allow: {names}"
        return self._result(talk, status, answer.text if status is ResultStatus.OK else reason)

    def _cost(self, talk: Talk) -> float | None:
        return self._priced(talk)[0]

    def _priced(self, talk: Talk) -> tuple[float | None, CostBasis]:
        return cost(
            talk.usage,
            model=talk.model,
            prices=self.config.get("prices", {}),
            reported_usd=None,
            believed=False,
        )

    def _result(self, talk: Talk, status: ResultStatus, text: str) -> ToolResult:
        usd, basis = self._priced(talk)
        return ToolResult(
            status,
            text,
            usage=dict(talk.usage),
            cost_usd=usd,
            cost_basis=basis,
            denials=tuple(talk.denials),
        )

    # --- HTTP ---

    def client(self, read_timeout_s: float | None) -> httpx.AsyncClient:
        """Answer a client that heeds no proxy settings: the server is named by its owner."""
        timeout = httpx.Timeout(CONNECT_TIMEOUT_S, read=read_timeout_s, write=read_timeout_s)
        secure = self.base_url.startswith("https:")
        # Loading certificates takes longer than a local request: only where they are needed.
        return httpx.AsyncClient(
            base_url=self.base_url,
            timeout=timeout,
            trust_env=False,
            verify=secure,
            headers=self.headers(),
        )


async def by(give_up: float | None, work: Awaitable[T]) -> T:
    """Await `work` until `give_up` on the loop's clock. Raise TimeoutError."""
    async with asyncio.timeout_at(give_up):
        return await work


async def _beginning(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > ERROR_LIMIT_BYTES:
            break
    return bytes(body)


def _no_tools(body: bytes) -> bool:
    words = body.lower()
    return b"tool" in words and b"support" in words


def _write_output(job: Job, text: str) -> None:
    job.output.write_bytes(text.encode("utf-8", "replace"))
