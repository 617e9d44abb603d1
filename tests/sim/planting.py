"""Plants a bug: replaces a piece of a module's source while it is imported.

A mutant is a list of edits (module, old text, new text). The old text must stand in the source
exactly once; where it does not, the program was changed and the mutant must be looked at again, so
that is an error and never a silent miss. Planting works only before the module is imported, so each
mutant has a process of its own.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType


class TextNotFound(LookupError):
    """The old text of an edit does not stand in the module exactly once."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace `old` by `new` in the source of `module`."""

    module: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A planted bug. `bug` is what it amounts to, in the words of those who had it."""

    name: str
    bug: str
    edits: tuple[Edit, ...]


def source_of(module: str) -> str:
    """Answer the source of a module without importing it."""
    path = Path(__file__).parents[2].joinpath(*module.split(".")).with_suffix(".py")
    return path.read_text(encoding="utf-8")


def edited(module: str, edits: Sequence[Edit]) -> str:
    """Answer the module's source with the edits made. Raise TextNotFound where one does not fit."""
    source = source_of(module)
    for edit in edits:
        if edit.module != module:
            continue
        if source.count(edit.old) != 1:
            times = source.count(edit.old)
            raise TextNotFound(f"{module} has this {times} times, not once:\n{edit.old}")
        source = source.replace(edit.old, edit.new)
    return source


def plant(mutant: Mutant) -> None:
    """Let the mutant's modules be imported with its edits. Raise TextNotFound, or RuntimeError if
    one is imported already."""
    for module in {edit.module: None for edit in mutant.edits}:
        if module in sys.modules:
            raise RuntimeError(f"{module} is imported already")
        edited(module, mutant.edits)
    sys.meta_path.insert(0, _Finder(mutant.edits))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the edited modules before anybody else does."""

    def __init__(self, edits: Sequence[Edit]) -> None:
        self._edits = edits

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer how to load an edited module; None for all others."""
        if all(edit.module != name for edit in self._edits):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(name, spec.origin, self._edits)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles the edited source; knows no cache."""

    def __init__(self, name: str, path: str, edits: Sequence[Edit]) -> None:
        super().__init__(name, path)
        self._edits = edits

    def get_code(self, fullname: str) -> CodeType:
        """Answer the code of the edited source."""
        return compile(edited(fullname, self._edits), self.path, "exec")
