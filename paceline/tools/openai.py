"""The tool `openai`: a model of any service that speaks OpenAI's Chat Completions.

OpenAI itself, and what many others and local servers (llama.cpp, vLLM, LM Studio) offer under the
same form. How the work is done is in `chat`.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import httpx

from paceline.errors import InputError, InvalidSettings
from paceline.tasks.model import ResultStatus, ToolState
from paceline.tools.addresses import is_loopback
from paceline.tools.chat import Answer, ChatTool, ModelCall, Refused, Talk
from paceline.tools.cost import check_prices
from paceline.tools.events import ToolResult
from paceline.tools.isolation import check_walls
from paceline.tools.openai_stream import OpenAIAnswer
from paceline.tools.refusals import read_refusal
from paceline.tools.starting import check_address
from paceline.tools.wishes import check_wishes

DEFAULT_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"
DETECT_TIMEOUT_S = 8.0
DETECTED_FOR_S = 600.0
"""A service elsewhere is not asked again for so long once it was well."""

CONFIG_KEYS = frozenset(
    {
        *("enabled", "base_url", "api_key", "model", "system", "options", "local", "slots"),
        *("permission", "max_turns", "budget_usd", "prices", "idle_timeout_s"),
    }
)


class OpenAI(ChatTool):
    """Gives the instructions and the inputs to a model; its last words are the output.

    Configuration: `base_url` (of the API, with its `/v1`), `api_key` (else the node's
    OPENAI_API_KEY, for OpenAI itself only), `model` (else the only one that the service has),
    `system`, `options` (further fields of the request), `local = true` (the server at a loopback
    address hands nothing on), and what all agents have: `permission`, `max_turns`, `budget_usd`,
    `prices`.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.base_url = str(config.get("base_url") or DEFAULT_URL).rstrip("/")
        # A key of the environment is OpenAI's: no other address is told it unasked.
        variable = os.environ.get(KEY_VARIABLE, "") if self.base_url == DEFAULT_URL else ""
        self._key = str(config.get("api_key") or variable)
        self._well_until = 0.0

    @property
    def local(self) -> bool:
        """Answer whether the owner says so, for a server on this machine."""
        return bool(self.config.get("local")) and is_loopback(self.base_url)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Answer the key, so that it can be taken out of logs."""
        return (self._key,) if self._key else ()

    def headers(self) -> dict[str, str]:
        """Answer what every request carries."""
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    async def pick_model(self, client: httpx.AsyncClient, wanted: str) -> str:
        """Answer the wanted model, else the only one that the service has. Raise Refused."""
        if wanted:
            return wanted
        models = await _models(client)
        if len(models) != 1:
            raise Refused(ToolResult(ResultStatus.ERROR, _which(self.name, models)))
        return models[0]

    def refuse_sensitive(self, model: str) -> str:
        """Answer why sensitive work must not go there, or nothing."""
        if self.local:
            return ""
        return f"sensitive work does not leave this machine: {self.base_url} may hand it on"

    def request(
        self, client: httpx.AsyncClient, talk: Talk, schemas: list[dict[str, Any]]
    ) -> httpx.Request:
        """Answer the request for the next answer."""
        body = {
            **self.config.get("options", {}),
            **talk.job.settings.get("options", {}),
            "model": talk.model,
            "messages": talk.messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if schemas:
            body["tools"] = schemas
        return client.build_request("POST", f"{self.base_url}/chat/completions", json=body)

    def new_answer(self) -> Answer:
        """Answer a collector for it."""
        return OpenAIAnswer()

    def result_message(self, call: ModelCall, text: str) -> dict[str, Any]:
        """Answer the message that hands a result back."""
        return {"role": "tool", "tool_call_id": call.id, "content": text}

    def refusal(self, response: httpx.Response, body: bytes, model: str) -> ToolResult:
        """Answer what an HTTP status other than 200 means."""
        return read_refusal(
            response,
            body,
            service=self.base_url,
            access=f"Check tools.{self.name}.api_key.",
            missing=f"{self.base_url} has no model {model}, or nothing at that address",
        )

    def unreachable(self, error: httpx.HTTPError) -> str:
        """Answer what to do about a broken connection."""
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return f"nothing answers at {self.base_url}: start the server, or correct base_url"
        return f"the connection to {self.base_url} broke: {error or type(error).__name__}"

    async def validate_config(self) -> bool:
        """Check every key of the configuration."""
        where = f"tools.{self.name}"
        if unknown := sorted(set(self.config) - CONFIG_KEYS):
            known = ", ".join(sorted(CONFIG_KEYS))
            raise InvalidSettings(f"{where}.{unknown[0]}: no such setting; there are {known}")
        check_address(self.name, self.base_url)
        check_prices(self.name, self.config.get("prices", {}))
        if not isinstance(self.config.get("options", {}), Mapping):
            raise InvalidSettings(f"{where}.options must map names to values")
        if self.config.get("local") and not is_loopback(self.base_url):
            raise InvalidSettings(f"{where}.local: only with a base_url on this machine")
        try:
            check_wishes(self.config)
            check_walls(self.name, self.config)
        except InputError as error:
            raise InvalidSettings(f"{where}: {error}") from None
        return True

    async def detect(self) -> ToolState:
        """Ask the service which models it has; that spends no tokens."""
        now = asyncio.get_running_loop().time()
        reason = ""
        if now >= self._well_until:
            reason = await self._trouble()
            if not reason and not is_loopback(self.base_url):
                self._well_until = now + DETECTED_FOR_S
        slots = int(self.config.get("slots", 0))
        return ToolState(self.name, healthy=not reason, reason=reason, slots=slots)

    async def _trouble(self) -> str:
        """Answer why it cannot be used, or nothing."""
        if not self._key and self.base_url == DEFAULT_URL:
            variable = f"the node's variable {KEY_VARIABLE}"
            return f"there is no key: set tools.{self.name}.api_key or {variable}"
        try:
            async with asyncio.timeout(DETECT_TIMEOUT_S), self.client(DETECT_TIMEOUT_S) as client:
                models = await _models(client)
        except httpx.HTTPStatusError as error:
            return self.refusal(error.response, error.response.content, "").text
        except (httpx.HTTPError, TimeoutError) as error:
            broken = error if isinstance(error, httpx.HTTPError) else httpx.ConnectTimeout("")
            return self.unreachable(broken)
        except (ValueError, LookupError, TypeError):
            return f"what answers at {self.base_url} is no such service (is `/v1` missing?)"
        wanted = self.config.get("model")
        return "" if wanted or len(models) == 1 else _which(self.name, models)


async def _models(client: httpx.AsyncClient) -> list[str]:
    answer = (await client.get("models")).raise_for_status().json()
    return [str(model["id"]) for model in answer["data"]]


def _which(tool: str, models: list[str]) -> str:
    shown = ", ".join(models[:10]) + (" ..." if len(models) > 10 else "")
    return (
        f"say which model: set tools.{tool}.model to one of {shown}"
        if models
        else ("the service has no model")
    )
