"""The tool `ollama`: one chat with a model that an Ollama server runs, usually on this machine.

The answer's text is the output. Speaks `/api/chat` as newline-delimited JSON, which ends with a
line `"done": true`; a stream that ends without it has failed, whatever it said before. Closing the
connection makes the server stop generating.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing
from ipaddress import ip_address
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import httpx

from paceline.errors import InvalidSettings
from paceline.tasks.model import ResultStatus, ToolState
from paceline.tools.contract import BaseTool, Job
from paceline.tools.events import Event, Final, Log, ToolResult
from paceline.tools.ollama_stream import Answer, refusal
from paceline.tools.prompt import compose

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:11434"
DEFAULT_PORT = 11434
CONNECT_TIMEOUT_S = 5.0
DETECT_TIMEOUT_S = 3.0
ERROR_LIMIT_BYTES = 64 * 1024

SYSTEM = (
    "You do one part of a larger piece of work. Answer with the result itself, complete and "
    "without introduction: it is handed on as it is."
)


class Ollama(BaseTool):
    """Gives the instructions and the inputs to a model; the answer is the output.

    Configuration: `base_url` (else the environment's OLLAMA_HOST, else the local default), `model`
    (else the first that the server has), `system`, and `options` as in Ollama's API (`num_ctx`:
    Ollama silently cuts longer prompts). A subtask's settings `model` and `options` win.
    """

    idle_timeout_s: ClassVar[float] = 600.0

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.base_url = _base_url(config.get("base_url") or os.environ.get("OLLAMA_HOST", ""))

    @property
    def local(self) -> bool:
        """Answer whether the server is on this machine and no model of its cloud is configured."""
        return _is_loopback(self.base_url) and not _is_cloud(str(self.config.get("model", "")))

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        """Chat once; the answer is written to the output file when it is complete."""
        give_up = asyncio.get_running_loop().time() + job.timeout_s if job.timeout_s else None
        try:
            async with aclosing(self._chat(job, give_up)) as events:
                async for event in events:
                    yield event
        except httpx.ReadTimeout:
            reason = f"stopped: the model said nothing for {job.idle_timeout_s:g} s"
            yield Final(ToolResult(ResultStatus.TIMEOUT, reason))
        except httpx.HTTPError as error:
            yield Final(ToolResult(ResultStatus.ERROR, self._unreachable(error)))
        except TimeoutError:
            reason = f"stopped: it ran for longer than {job.timeout_s:g} s"
            yield Final(ToolResult(ResultStatus.TIMEOUT, reason))

    async def _chat(self, job: Job, give_up: float | None) -> AsyncGenerator[Event, None]:
        async with self._client(job.idle_timeout_s or None) as client:
            model = await _by(give_up, self._model(client, job.settings))
            if refused := self._refuse(job, model):
                yield Final(refused)
                return
            yield Log("tool", f"asking {model} at {self.base_url}")
            request = client.build_request("POST", "/api/chat", json=await self._body(job, model))
            response = await _by(give_up, client.send(request, stream=True))
            async with aclosing(response):
                if response.status_code != httpx.codes.OK:
                    yield Final(await _by(give_up, self._refusal(response, model)))
                    return
                answer = Answer()
                chunks = response.aiter_bytes()
                while not answer.over and (chunk := await _by(give_up, anext(chunks, None))):
                    for event in answer.feed(chunk):
                        yield event
            yield Final(await asyncio.to_thread(answer.finish, job.output))

    async def _model(self, client: httpx.AsyncClient, settings: Mapping[str, Any]) -> str:
        """Answer which model to ask; empty if the server has none."""
        if wanted := settings.get("model") or self.config.get("model"):
            return str(wanted)
        models = await _models(client)
        return models[0] if models else ""

    def _refuse(self, job: Job, model: str) -> ToolResult | None:
        if not model:
            return ToolResult(ResultStatus.ERROR, self._no_model())
        if job.sensitive and (_is_cloud(model) or not _is_loopback(self.base_url)):
            reason = f"sensitive work does not leave this machine: {model} at {self.base_url} does"
            return ToolResult(ResultStatus.DENIED, reason)
        return None

    async def _body(self, job: Job, model: str) -> dict[str, Any]:
        prompt = await asyncio.to_thread(compose, job)
        messages = [
            {"role": "system", "content": str(self.config.get("system", SYSTEM))},
            {"role": "user", "content": prompt},
        ]
        options = {**self.config.get("options", {}), **job.settings.get("options", {})}
        return {"model": model, "messages": messages, "stream": True, "options": options}

    async def _refusal(self, response: httpx.Response, model: str) -> ToolResult:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > ERROR_LIMIT_BYTES:
                break
        return refusal(response, bytes(body), model, self.base_url)

    def _client(self, read_timeout_s: float | None) -> httpx.AsyncClient:
        """Answer a client that heeds no proxy settings: the server is named by its owner."""
        timeout = httpx.Timeout(CONNECT_TIMEOUT_S, read=read_timeout_s, write=read_timeout_s)
        secure = self.base_url.startswith("https:")
        # Loading certificates takes longer than a local request: only where they are needed.
        return httpx.AsyncClient(
            base_url=self.base_url, timeout=timeout, trust_env=False, verify=secure
        )

    def _unreachable(self, error: httpx.HTTPError) -> str:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return f"Ollama is not running at {self.base_url}: start it with `ollama serve`"
        return f"the connection to Ollama at {self.base_url} broke: {error or type(error).__name__}"

    def _no_model(self) -> str:
        return f"Ollama at {self.base_url} has no model: get one with `ollama pull`"

    async def validate_config(self) -> bool:
        """Check the server's address, `model` and `options`."""
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidSettings(f"tools.ollama.base_url: {self.base_url} is no HTTP address")
        if not isinstance(self.config.get("model", ""), str):
            raise InvalidSettings("tools.ollama.model must be text")
        if not isinstance(self.config.get("options", {}), Mapping):
            raise InvalidSettings("tools.ollama.options must map names to values")
        return True

    async def detect(self) -> ToolState:
        """Ask the server for its version and its models."""
        try:
            async with asyncio.timeout(DETECT_TIMEOUT_S), self._client(DETECT_TIMEOUT_S) as client:
                answer = (await client.get("/api/version")).raise_for_status().json()
                models = await _models(client)
            version = str(answer["version"])
        except (httpx.HTTPError, TimeoutError) as error:
            broken = error if isinstance(error, httpx.HTTPError) else httpx.ConnectTimeout("")
            return ToolState(self.name, healthy=False, reason=self._unreachable(broken))
        except (ValueError, LookupError, TypeError):
            reason = f"what answers at {self.base_url} is not Ollama"
            return ToolState(self.name, healthy=False, reason=reason)
        reason = self._missing(models)
        return ToolState(self.name, healthy=not reason, version=version, reason=reason)

    def _missing(self, models: list[str]) -> str:
        """Answer what is missing among the models, or nothing."""
        wanted = str(self.config.get("model", ""))
        if not models and not _is_cloud(wanted):
            return self._no_model()
        tagged = wanted if ":" in wanted else f"{wanted}:latest"
        if wanted and tagged not in models and not _is_cloud(wanted):
            return f"Ollama has no model {wanted}: get it with `ollama pull {wanted}`"
        return ""


async def _by(give_up: float | None, work: Awaitable[T]) -> T:
    """Await `work` until `give_up` on the loop's clock. Raise TimeoutError."""
    async with asyncio.timeout_at(give_up):
        return await work


async def _models(client: httpx.AsyncClient) -> list[str]:
    answer = (await client.get("/api/tags")).raise_for_status().json()
    return [str(model["name"]) for model in answer["models"]]


def _base_url(given: str) -> str:
    """Answer the URL for what OLLAMA_HOST may hold: `host`, `:port`, `host:port` or a URL."""
    if not given:
        return DEFAULT_URL
    url = given if "://" in given else f"http://{given}"
    parts = urlsplit(url)
    host = parts.hostname or "127.0.0.1"
    if host in ("0.0.0.0", "::"):  # where a server listens, not where it is called
        host = "127.0.0.1"
    port = parts.port or (DEFAULT_PORT if "://" not in given else None)
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_cloud(model: str) -> bool:
    """Answer whether Ollama would pass the words on to its maker's machines."""
    return model.endswith(("-cloud", ":cloud"))
