"""The files that a model may work on by itself: list, read, search, write, edit, run a command.

For models behind a plain HTTP API, which have no program of their own to do such things. The model
is not trusted, and neither is the work tree:

- a path is walked part by part, each opened relative to the one before, and links are never
  followed: not one that is there, nor one that a command puts there in the same moment;
- `.git` and whatever steers agents is not there, neither to read nor to write;
- only plain files are opened (a pipe would block for ever);
- everything is bounded: sizes, counts, what an answer to the model may hold. Text is searched as it
  is, not as a pattern: a pattern may take for ever.

Every mistake is an answer to the model, which may then do better.
"""

import asyncio
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paceline.errors import InputError, ToolError
from paceline.tasks.model import PermissionLevel
from paceline.tools.contract import Job
from paceline.tools.hygiene import is_agent_file, is_git_name
from paceline.tools.process import Ending, ProcessSpec, child_process

ANSWER_LIMIT = 48 * 1024
"""Characters of one answer to the model."""

ENTRIES_LIMIT = 500
MATCHES_LIMIT = 100
SEARCHED_FILES_LIMIT = 20_000
SEARCHED_FILE_BYTES = 2 * 1024 * 1024
READ_LIMIT_BYTES = 4 * 1024 * 1024
WRITE_LIMIT_BYTES = 1024 * 1024
WRITES_LIMIT_BYTES = 32 * 1024 * 1024
"""Written in one run, all together."""

COMMAND_LIMIT_S = 600.0
COMMAND_LINES = 400
"""Of a command's output the last lines are kept."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing that the model may ask for. `parameters` are names with what they mean."""

    name: str
    description: str
    parameters: Mapping[str, str]
    required: tuple[str, ...]
    level: PermissionLevel

    def schema(self) -> dict[str, Any]:
        """Answer it as the JSON that chat APIs take."""
        properties = {
            name: {"type": "integer" if name in _NUMBERS else "string", "description": words}
            for name, words in self.parameters.items()
        }
        parameters = {
            "type": "object",
            "properties": properties,
            "required": list(self.required),
        }
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": parameters,
        }
        return {"type": "function", "function": function}


_NUMBERS = frozenset({"first_line", "lines"})
_PATH = "relative to the root of the work tree"

OFFERS = (
    Offer(
        "list_files",
        "List what is in a directory; directories end with a slash.",
        {"path": f"the directory, {_PATH}; empty for the root"},
        (),
        PermissionLevel.READ,
    ),
    Offer(
        "read_file",
        "Read a text file, or some lines of it.",
        {"path": f"the file, {_PATH}", "first_line": "counted from 1", "lines": "how many"},
        ("path",),
        PermissionLevel.READ,
    ),
    Offer(
        "search",
        "Find a text in all files, in small and capital letters alike. It is not a pattern.",
        {"text": "what to find", "path": "only below this directory"},
        ("text",),
        PermissionLevel.READ,
    ),
    Offer(
        "write_file",
        "Write a whole file; directories are made as needed.",
        {"path": f"the file, {_PATH}", "content": "all that is to be in it"},
        ("path", "content"),
        PermissionLevel.EDIT,
    ),
    Offer(
        "edit_file",
        "Replace a piece of a file. The old text must be in it exactly once.",
        {"path": f"the file, {_PATH}", "old": "the text to replace", "new": "what replaces it"},
        ("path", "old", "new"),
        PermissionLevel.EDIT,
    ),
    Offer(
        "run_command",
        "Run a shell command in the root of the work tree, and see its output.",
        {"command": "the shell line"},
        ("command",),
        PermissionLevel.RUN,
    ),
)


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a call. `denied`: the permission level does not allow it."""

    text: str
    ok: bool = True
    denied: bool = False


class Workbench:
    """The files of one job, at one permission level."""

    def __init__(self, job: Job, level: PermissionLevel) -> None:
        self._job = job
        self._root = job.workspace
        levels = list(PermissionLevel)
        self._levels = frozenset(levels[: levels.index(level) + 1])
        self._written = 0

    def schemas(self) -> list[dict[str, Any]]:
        """Answer what the model may ask for at this level."""
        return [offer.schema() for offer in OFFERS if offer.level in self._levels]

    async def do(self, name: str, arguments: Mapping[str, Any] | None) -> Done:
        """Do what the model asks for. Nothing that it asks for raises."""
        offer = next((offer for offer in OFFERS if offer.name == name), None)
        if offer is None:
            known = ", ".join(offer.name for offer in OFFERS if offer.level in self._levels)
            return Done(f"there is no tool {name[:100]}; there are {known}", ok=False)
        if offer.level not in self._levels:
            return Done(f"{name} is not permitted here", ok=False, denied=True)
        try:
            given = _arguments(offer, arguments)
            if name == "run_command":
                return await self._run(given["command"])
            text = await asyncio.to_thread(self._file_tool(name), given)
        except InputError as error:
            return Done(str(error), ok=False)
        except OSError as error:
            return Done(f"it cannot be done: {error.strerror}", ok=False)
        return Done(text[:ANSWER_LIMIT])

    def _file_tool(self, name: str) -> Callable[[Mapping[str, Any]], str]:
        return {
            "list_files": self._list,
            "read_file": self._read,
            "search": self._search,
            "write_file": self._write,
            "edit_file": self._edit,
        }[name]

    # --- looking ---

    def _list(self, given: Mapping[str, Any]) -> str:
        parts = _parts(given.get("path", ""), may_be_root=True)
        descriptor = self._directory(parts)
        try:
            with os.scandir(descriptor) as entries:
                names = [
                    f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
                    for entry in entries
                    if not _is_hidden((*parts, entry.name))
                ]
        finally:
            os.close(descriptor)
        shown = sorted(names)[:ENTRIES_LIMIT]
        more = len(names) - len(shown)
        return "\n".join([*shown, *([f"[{more} more]"] if more else [])]) or "[empty]"

    def _read(self, given: Mapping[str, Any]) -> str:
        text = self._text(_parts(given["path"]))
        lines = text.splitlines(keepends=True)
        first = max(1, given.get("first_line", 1))
        chosen = lines[first - 1 :][: max(1, given.get("lines", len(lines)))]
        shown = "".join(chosen)
        if len(shown) > ANSWER_LIMIT - 200:
            cut = shown[: ANSWER_LIMIT - 200]
            last = first + cut.count("\n")
            return f"{cut}\n[cut in line {last} of {len(lines)}: read on with first_line]"
        return shown or "[empty]"

    def _search(self, given: Mapping[str, Any]) -> str:
        wanted = given["text"].lower()
        if not wanted:
            raise InputError("say which text to find")
        found: list[str] = []
        for path, text in self._texts(_parts(given.get("path", ""), may_be_root=True)):
            for number, line in enumerate(text.splitlines(), start=1):
                if wanted in line.lower():
                    found.append(f"{path}:{number}: {line.strip()[:200]}")
                    if len(found) == MATCHES_LIMIT:
                        return "\n".join([*found, "[there may be more]"])
        return "\n".join(found) or "[nothing found]"

    def _texts(self, parts: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        """Give the text files below a directory, with their paths."""
        descriptor = self._directory(parts)
        seen = 0
        try:
            for top, directories, files, at in os.fwalk(".", dir_fd=descriptor):
                here = (*parts, *(part for part in top.split("/") if part != "."))
                directories[:] = sorted(
                    name for name in directories if not _is_hidden((*here, name))
                )
                for name in sorted(files):
                    seen += 1
                    if seen > SEARCHED_FILES_LIMIT:
                        return
                    if not _is_hidden((*here, name)):
                        text = _small_text(name, at)
                        if text is not None:
                            yield "/".join((*here, name)), text
        finally:
            os.close(descriptor)

    # --- changing ---

    def _write(self, given: Mapping[str, Any]) -> str:
        parts = _parts(given["path"])
        data = given["content"].encode("utf-8", "replace")
        self._put(parts, data)
        return f"written: {'/'.join(parts)}, {len(data)} bytes"

    def _edit(self, given: Mapping[str, Any]) -> str:
        parts = _parts(given["path"])
        text = self._text(parts)
        count = text.count(given["old"]) if given["old"] else 0
        if count != 1:
            raise InputError(f"the old text is in the file {count} times; it must be there once")
        self._put(parts, text.replace(given["old"], given["new"]).encode("utf-8", "replace"))
        return f"edited: {'/'.join(parts)}"

    def _put(self, parts: tuple[str, ...], data: bytes) -> None:
        if len(data) > WRITE_LIMIT_BYTES:
            raise InputError(f"a file may have at most {WRITE_LIMIT_BYTES} bytes")
        self._written += len(data)
        if self._written > WRITES_LIMIT_BYTES:
            raise InputError(f"no more than {WRITES_LIMIT_BYTES} bytes may be written in one run")
        directory = self._directory(parts[:-1], make=True)
        try:
            flags = os.O_WRONLY | os.O_CREAT | _FILE
            descriptor = os.open(parts[-1], flags, 0o666, dir_fd=directory)
        finally:
            os.close(directory)
        with os.fdopen(descriptor, "wb") as file:
            _check_plain(descriptor)
            file.truncate(0)
            file.write(data)

    # --- opening ---

    def _directory(self, parts: tuple[str, ...], *, make: bool = False) -> int:
        """Answer a descriptor of a directory, walked to without following a link."""
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts:
            before = descriptor
            try:
                if make:
                    _make_directory(part, before)
                descriptor = os.open(part, _DIRECTORY, dir_fd=before)
            finally:
                os.close(before)
        return descriptor

    def _text(self, parts: tuple[str, ...]) -> str:
        directory = self._directory(parts[:-1])
        try:
            descriptor = os.open(parts[-1], os.O_RDONLY | _FILE, dir_fd=directory)
        finally:
            os.close(directory)
        with os.fdopen(descriptor, "rb") as file:
            _check_plain(descriptor)
            data = file.read(READ_LIMIT_BYTES + 1)
        if len(data) > READ_LIMIT_BYTES:
            raise InputError(f"the file has more than {READ_LIMIT_BYTES} bytes")
        if b"\0" in data:
            raise InputError("the file is not text")
        return data.decode("utf-8", "replace")

    # --- running ---

    async def _run(self, line: str) -> Done:
        job = self._job
        last: deque[str] = deque(maxlen=COMMAND_LINES)
        spec = ProcessSpec(
            argv=("/bin/sh", "-c", line),
            directory=job.workspace,
            environment={**job.environment, **job.variables()},
            mark_file=job.mark_file or job.output.with_name(f"{job.output.name}.mark"),
            timeout_s=min(COMMAND_LIMIT_S, job.timeout_s or COMMAND_LIMIT_S),
            line_limit_bytes=4096,
            output_limit_bytes=8 * 1024 * 1024,
            memory_limit_bytes=job.memory_limit_bytes,
            confinement=job.confinement,
        )
        try:
            async with child_process(spec) as child:
                async for each in child:
                    last.append(each.text)
        except ToolError as error:
            return Done(str(error), ok=False)
        if child.ending is Ending.MEMORY:
            last.append("[stopped: it had too much memory]")
        elif child.ending is not Ending.EXITED:
            last.append(f"[stopped after {spec.timeout_s:g} s]")
        last.append(f"[exit status {child.exit_code}]")
        return Done("\n".join(last)[-ANSWER_LIMIT:], ok=child.exit_code == 0)


def _arguments(offer: Offer, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Answer the checked arguments. Raise InputError."""
    if given is None:
        raise InputError("the arguments are no JSON object")
    for name in offer.required:
        if name not in given:
            raise InputError(f"{offer.name} needs {name}")
    checked = {name: value for name, value in given.items() if name in offer.parameters}
    for name, value in checked.items():
        wanted = int if name in _NUMBERS else str
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise InputError(f"{name} must be {'a number' if wanted is int else 'text'}")
    return checked


def _parts(path: str, *, may_be_root: bool = False) -> tuple[str, ...]:
    """Answer the parts of a path within the work tree. Raise InputError."""
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if path.startswith("/") or ".." in parts or "\0" in path:
        raise InputError("paths are relative to the root of the work tree, and stay in it")
    if not parts and not may_be_root:
        raise InputError("say which file")
    if _is_hidden(parts):
        raise InputError(f"{'/'.join(parts)} is not for agents")
    return parts


def _is_hidden(parts: tuple[str, ...]) -> bool:
    return any(is_git_name(part) for part in parts) or is_agent_file("/".join(parts))


def _make_directory(name: str, parent: int) -> None:
    try:
        os.mkdir(name, dir_fd=parent)
    except FileExistsError:
        return


def _check_plain(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise InputError("this is not a plain file")


def _small_text(name: str, directory: int) -> str | None:
    """Answer a file's text, or None if it is large, no text, or no plain file."""
    try:
        descriptor = os.open(name, os.O_RDONLY | _FILE, dir_fd=directory)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > SEARCHED_FILE_BYTES:
            return None
        data = file.read(SEARCHED_FILE_BYTES)
    return None if b"\0" in data else data.decode("utf-8", "replace")


def workspace_is_repository(workspace: Path) -> bool:
    """Answer whether there are files of somebody's to work on."""
    return (workspace / ".git").exists()
