"""What may stand in an external worker's requests. The seed leaves much open, and so do these."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints

from paceline.node.web.ports import ExternalBeat, ExternalLine, ExternalResult, Registration

SYSTEM_INFO_LIMIT = 64
LINE_LIMIT = 64 * 1024

Short = Annotated[str, StringConstraints(max_length=200)]
ToolName = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[\w.-]+$")]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False, strict=False)]


class Open(BaseModel):
    """The common ground: what is not known is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class RegisterBody(Open):
    """Who the worker is and what it can do. `machine_id` stays the same for ever."""

    machine_id: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    machine_name: Annotated[str, StringConstraints(max_length=100)] = ""
    system_info: Annotated[dict[Short, Any], Field(max_length=SYSTEM_INFO_LIMIT)] = {}
    available_tools: Annotated[list[ToolName], Field(max_length=32)] = Field(
        default=[], validation_alias=AliasChoices("available_tools", "tools")
    )
    slots: Annotated[int, Field(ge=1, le=32)] = 1
    version: Short = ""
    running: Annotated[list[Short], Field(max_length=64)] | None = None
    """The subtasks that it has in hand, where it says so."""

    def to_registration(self) -> Registration:
        """Answer it as the node knows it."""
        return Registration(
            machine_id=self.machine_id,
            machine_name=self.machine_name,
            tools=tuple(self.available_tools),
            system_info={key: _brief(value) for key, value in self.system_info.items()},
            slots=self.slots,
            version=self.version,
            running=None if self.running is None else tuple(self.running),
        )


class ResourcesBody(Open):
    """How much of the machine is used, in percent."""

    cpu_percent: Percent = Field(
        default=0.0, validation_alias=AliasChoices("cpu_percent", "cpu", "cpu_usage")
    )
    memory_percent: Percent = Field(
        default=0.0, validation_alias=AliasChoices("memory_percent", "memory", "memory_usage")
    )
    disk_percent: Percent = Field(
        default=0.0, validation_alias=AliasChoices("disk_percent", "disk", "disk_usage")
    )


class BeatBody(Open):
    """What the worker is doing, and how its machine is."""

    status: Literal["", "online", "busy", "offline", "error"] = ""
    resources: ResourcesBody = ResourcesBody()
    current_task: Short | None = None

    def to_beat(self) -> ExternalBeat:
        """Answer it as the node knows it."""
        return ExternalBeat(
            status=self.status,
            current_task=self.current_task or "",
            cpu_percent=self.resources.cpu_percent,
            memory_percent=self.resources.memory_percent,
            disk_percent=self.resources.disk_percent,
        )


class LogBody(Open):
    """One line, in the form of the seed's "Log Streaming"."""

    log_line: Annotated[str, StringConstraints(max_length=LINE_LIMIT)]
    log_level: Annotated[str, StringConstraints(max_length=20)] = "info"
    timestamp: Annotated[datetime, Field(strict=False)] | None = None
    """The worker's own; the log goes by the clock of the node."""

    def to_line(self) -> ExternalLine:
        """Answer it as the node knows it."""
        return ExternalLine(self.log_line, self.log_level)


class ResultBody(Open):
    """What the work came to. `output`, or else `result`, is what dependents get.

    It failed where `success` is false, `status` is `failed` or `error`, or `error` says why, here
    or within `result`; else it is done.
    """

    worker_id: Short = ""
    status: Short = ""
    success: bool | None = None
    result: Any = None
    output: Any = None
    error: Annotated[str, StringConstraints(max_length=LINE_LIMIT)] | None = None
    usage: Annotated[dict[Short, Annotated[int, Field(ge=0, lt=2**53)]], Field(max_length=32)] = {}
    cost_usd: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None = None

    def to_result(self) -> ExternalResult:
        """Answer it as the node knows it."""
        return ExternalResult(
            worker_id=self.worker_id,
            status=self.status,
            success=self.success,
            result=self.result,
            output=self.output,
            error=self.error or "",
            usage=dict(self.usage),
            cost_usd=self.cost_usd,
        )


def _brief(value: Any) -> str:
    """Answer a value of the system's description as words, not too many."""
    text = json.dumps(value) if isinstance(value, Mapping | list) else str(value)
    return text[:200]
