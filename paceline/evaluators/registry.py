"""Which evaluators there are: entry points of the group `paceline.evaluators`, ours and others'.

    [project.entry-points."paceline.evaluators"]
    licences = "my_package.licences:Licences"

Nothing is imported before it is asked for, and then only in the evaluator's own process. Code is
never loaded from the current directory or from the repository that is judged. Of two of one name
ours wins, else the first on the path.
"""

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any

from paceline.errors import NotFound, ToolError
from paceline.evaluators.contract import API_VERSION, BaseEvaluator

GROUP = "paceline.evaluators"
OWN_DISTRIBUTION = "paceline"


class Registry:
    """The evaluators that are installed. `path` is where to look (default: `sys.path`)."""

    def __init__(self, path: Sequence[str] | None = None) -> None:
        searched = sys.path if path is None else path
        self._found = _discover([part for part in searched if not _is_here(part)])

    @property
    def names(self) -> tuple[str, ...]:
        """Answer the names of all evaluators, sorted."""
        return tuple(sorted(self._found))

    def origin(self, name: str) -> str:
        """Answer where the code of an evaluator is, as `module:class`. Raise NotFound."""
        return self._entry_point(name).value

    def load(self, name: str) -> type[BaseEvaluator]:
        """Import the evaluator's class. Raise NotFound; ToolError with the reason."""
        entry_point = self._entry_point(name)
        try:
            _refuse_here(entry_point.module)
            kind = entry_point.load()
        except ToolError:
            raise
        except Exception as error:  # a plugin may fail in any way while it is imported
            words = f"{type(error).__name__}: {error}"
            raise ToolError(f"{entry_point.value} cannot be loaded: {words}") from error
        if not isinstance(kind, type) or not issubclass(kind, BaseEvaluator):
            raise ToolError(f"{entry_point.value} is no subclass of BaseEvaluator")
        if kind.api_version != API_VERSION:
            raise ToolError(
                f"{entry_point.value} is for version {kind.api_version} of the contract,"
                f" this is {API_VERSION}"
            )
        return kind

    def make(self, name: str, options: Mapping[str, Any]) -> BaseEvaluator:
        """Make the evaluator. Raise NotFound, ToolError, and InvalidSettings for its options."""
        evaluator = self.load(name)(options)
        evaluator.name = name
        return evaluator

    def _entry_point(self, name: str) -> EntryPoint:
        if name not in self._found:
            raise NotFound(f"there is no evaluator {name}; there are {', '.join(self.names)}")
        return self._found[name]


def _discover(path: list[str]) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for distribution in sorted(distributions(path=path), key=_is_foreign):
        for entry_point in distribution.entry_points:
            if entry_point.group == GROUP:
                found.setdefault(entry_point.name, entry_point)
    return found


def _is_foreign(distribution: Distribution) -> bool:
    return distribution.metadata["Name"] != OWN_DISTRIBUTION


def _is_here(part: str) -> bool:
    return Path(part or ".").resolve() == Path.cwd()


def _refuse_here(module: str) -> None:
    """Raise ToolError if importing `module` would take it from the current directory."""
    package = module.partition(".")[0]
    if package in sys.modules:
        return
    spec = importlib.util.find_spec(package)
    if spec is None:
        return
    places = list(spec.submodule_search_locations or ()) or [spec.origin or ""]
    if any(_is_here(str(Path(place).parent)) for place in places):
        raise ToolError(f"{module} lies in the current directory: evaluators must be installed")
