"""The tool `ollama`: a model that an Ollama server runs, usually on this machine.

Speaks `/api/chat` as newline-delimited JSON, which ends with a line `"done": true`; a stream that
ends without it has failed, whatever it said before. How the work is done is in `chat`.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from paceline.errors import InputError, InvalidSettings
from paceline.tasks.model import ResultStatus, ToolState
from paceline.tools.addresses import is_loopback
from paceline.tools.chat import Answer, ChatTool, ModelCall, Refused, Talk
from paceline.tools.cost import check_prices
from paceline.tools.events import ToolResult
from paceline.tools.isolation import check_walls
from paceline.tools.ollama_stream import OllamaAnswer
from paceline.tools.refusals import read_refusal
from paceline.tools.wishes import check_wishes

DEFAULT_URL = "http://127.0.0.1:11434"
DEFAULT_PORT = 11434
DETECT_TIMEOUT_S = 3.0


class Ollama(ChatTool):
    """Gives the instructions and the inputs to a model; its last words are the output.

    Configuration: `base_url` (else the environment's OLLAMA_HOST, else the local default), `model`
    (else the first that the server has), `system`, and `options` as in Ollama's API (`num_ctx`:
    Ollama silently cuts longer prompts), and what all agents have: `permission`, `max_turns`,
    `budget_usd`, `prices`. A subtask's settings `model` and `options` win.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.base_url = _base_url(config.get("base_url") or os.environ.get("OLLAMA_HOST", ""))

    @property
    def local(self) -> bool:
        """Answer whether the server is on this machine and no model of its cloud is configured."""
        return is_loopback(self.base_url) and not _is_cloud(str(self.config.get("model", "")))

    async def pick_model(self, client: httpx.AsyncClient, wanted: str) -> str:
        """Answer the wanted model, else the first that the server has. Raise Refused."""
        models = [wanted] if wanted else await _models(client)
        if not models:
            raise Refused(ToolResult(ResultStatus.ERROR, self._no_model()))
        return models[0]

    def refuse_sensitive(self, model: str) -> str:
        """Answer why sensitive work must not go there, or nothing."""
        if _is_cloud(model) or not is_loopback(self.base_url):
            return f"sensitive work does not leave this machine: {model} at {self.base_url} does"
        return ""

    def request(
        self, client: httpx.AsyncClient, talk: Talk, schemas: list[dict[str, Any]]
    ) -> httpx.Request:
        """Answer the request for the next answer."""
        options = {**self.config.get("options", {}), **talk.job.settings.get("options", {})}
        body = {"model": talk.model, "messages": talk.messages, "stream": True, "options": options}
        if schemas:
            body["tools"] = schemas
        return client.build_request("POST", "/api/chat", json=body)

    def new_answer(self) -> Answer:
        """Answer a collector for it."""
        return OllamaAnswer()

    def result_message(self, call: ModelCall, text: str) -> dict[str, Any]:
        """Answer the message that hands a result back."""
        return {"role": "tool", "tool_name": call.name, "content": text}

    def refusal(self, response: httpx.Response, body: bytes, model: str) -> ToolResult:
        """Answer what an HTTP status other than 200 means."""
        where = f"Ollama at {self.base_url}"
        missing = f"{where} has no model {model}: get it with `ollama pull {model}`"
        return read_refusal(response, body, service=where, access="", missing=missing)

    def unreachable(self, error: httpx.HTTPError) -> str:
        """Answer what to do about a broken connection."""
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
        check_prices(self.name, self.config.get("prices", {}))
        try:
            check_wishes(self.config)
            check_walls(self.name, self.config)
        except InputError as error:
            raise InvalidSettings(f"tools.{self.name}: {error}") from None
        return True

    async def detect(self) -> ToolState:
        """Ask the server for its version and its models."""
        try:
            async with asyncio.timeout(DETECT_TIMEOUT_S), self.client(DETECT_TIMEOUT_S) as client:
                answer = (await client.get("/api/version")).raise_for_status().json()
                models = await _models(client)
            version = str(answer["version"])
        except (httpx.HTTPError, TimeoutError) as error:
            broken = error if isinstance(error, httpx.HTTPError) else httpx.ConnectTimeout("")
            return ToolState(self.name, healthy=False, reason=self.unreachable(broken))
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


def _is_cloud(model: str) -> bool:
    """Answer whether Ollama would pass the words on to its maker's machines."""
    return model.endswith(("-cloud", ":cloud"))
