"""Which tools there are: entry points of the group `paceline.tools`, ours and others' alike.

    [project.entry-points."paceline.tools"]
    shout = "my_package.shout:Shout"

So are the owner's definitions of command-line agents, `tools.d/NAME.toml` (`definition_file`). Of
one name the owner's definition wins, then ours, then the first that is installed.

Nothing is imported before it is asked for. A tool that cannot be loaded is reported as an unhealthy
one with the reason; the others work. Code is never loaded from the current directory, which may be
somebody's work tree: neither a distribution's metadata nor a module that shadows an installed one.
"""

import asyncio
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any

from paceline.errors import InvalidSettings, NotFound, PacelineError, ToolError
from paceline.tasks.model import ToolState
from paceline.tools.contract import API_VERSION, BaseTool
from paceline.tools.definition_file import owned
from paceline.tools.program import Program

GROUP = "paceline.tools"
OWN_DISTRIBUTION = "paceline"
DETECT_TIMEOUT_S = 15.0

Config = Mapping[str, Mapping[str, Any]]
"""Tool name -> that tool's configuration (`enabled = false` leaves it out)."""


class Registry:
    """The tools of one node.

    `definitions` is the owner's directory of definitions (`tools.d`); it need not exist. `path` is
    where distributions are looked for (default: `sys.path`).
    """

    def __init__(
        self, config: Config, *, definitions: Path | None = None, path: Sequence[str] | None = None
    ) -> None:
        self._config = config
        self._definitions = owned(definitions) if definitions else {}
        self._path = [part for part in (sys.path if path is None else path) if not _is_here(part)]
        self._entry_points = self._discover()
        self._tools: dict[str, BaseTool] = {}
        self._broken: dict[str, str] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Answer the names of all tools that are declared and not switched off, sorted."""
        defined = (name for name in self._definitions if self._enabled(name))
        return tuple(sorted({*self._entry_points, *defined}))

    def tool(self, name: str) -> BaseTool:
        """Answer the tool of that name, loaded once, or refused once. Raise NotFound, ToolError."""
        if tool := self._tools.get(name):
            return tool
        if name in self._broken:
            raise ToolError(self._broken[name])
        if name not in self.names:
            known = ", ".join(self.names)
            raise NotFound(f"this node has no tool {name}; it has {known or 'none'}")
        try:
            tool = self._tools[name] = self._make(name)
        except ToolError as error:
            self._broken[name] = str(error)
            raise
        return tool

    async def detect_all(self) -> tuple[ToolState, ...]:
        """Answer the state of every tool, broken ones included; they are asked at once."""
        return tuple(await asyncio.gather(*(self._detect(name) for name in self.names)))

    def _discover(self) -> dict[str, EntryPoint]:
        """Answer the entry points by name. Of one name, ours wins, else the first on the path."""
        found: dict[str, EntryPoint] = {}
        for distribution in sorted(distributions(path=self._path), key=_is_foreign):
            for entry_point in distribution.entry_points:
                if entry_point.group == GROUP and self._enabled(entry_point.name):
                    found.setdefault(entry_point.name, entry_point)
        return found

    def _enabled(self, name: str) -> bool:
        return bool(self._config.get(name, {}).get("enabled", True))

    def _make(self, name: str) -> BaseTool:
        definition = self._definitions.get(name)
        if definition is None:
            return self._load(name, self._entry_points[name])
        if isinstance(definition, InvalidSettings):
            raise ToolError(str(definition))
        return Program(self._config.get(name, {}), definition)

    def _load(self, name: str, entry_point: EntryPoint) -> BaseTool:
        try:
            _refuse_work_tree(entry_point.module)
            kind = entry_point.load()
        except ToolError:
            raise
        except Exception as error:  # a plugin may fail in any way while it is imported
            raise ToolError(f"{entry_point.value} cannot be loaded: {_words(error)}") from error
        if not isinstance(kind, type) or not issubclass(kind, BaseTool):
            raise ToolError(f"{entry_point.value} is not a tool (a subclass of BaseTool)")
        if kind.api_version != API_VERSION:
            raise ToolError(
                f"{entry_point.value} is for version {kind.api_version} of the contract"
            )
        try:
            tool = kind(self._config.get(name, {}))
        except Exception as error:
            raise ToolError(f"{entry_point.value} cannot be made: {_words(error)}") from error
        tool.name = name
        return tool

    async def _detect(self, name: str) -> ToolState:
        try:
            tool = self.tool(name)
            async with asyncio.timeout(DETECT_TIMEOUT_S):
                if not await tool.validate_config():
                    raise InvalidSettings(f"the configuration of {name} is refused")
                return await tool.detect()
        except TimeoutError:
            reason = f"it did not say how it is within {DETECT_TIMEOUT_S:g} s"
        except PacelineError as error:
            reason = str(error)
        except Exception as error:  # a plugin's fault must not take the node down
            reason = _words(error)
        return ToolState(name, healthy=False, reason=reason)


async def detect_all(config: Config) -> tuple[ToolState, ...]:
    """Answer the state of every tool that is installed here."""
    return await Registry(config).detect_all()


def _is_here(part: str) -> bool:
    """Answer whether an entry of the path is the current directory, under whatever name."""
    return Path(part or ".").resolve() == Path.cwd()


def _is_foreign(distribution: Distribution) -> bool:
    return distribution.metadata["Name"] != OWN_DISTRIBUTION


def _refuse_work_tree(module: str) -> None:
    """Raise ToolError if importing `module` would take it from the current directory."""
    package = module.partition(".")[0]
    if package in sys.modules:
        return
    spec = importlib.util.find_spec(package)
    origins = (
        [Path(place).parent for place in spec.submodule_search_locations or ()] if spec else []
    )
    if spec and spec.origin and not origins:
        origins = [Path(spec.origin).parent]
    if any(_is_here(str(origin)) for origin in origins):
        raise ToolError(f"{module} lies in the current directory: plugins must be installed")


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
