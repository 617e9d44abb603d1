"""How what an agent starts is kept apart from the machine: the best that the machine can do.

    bubblewrap     processes, files and devices of its own: it sees the attempt's directories, the
                   system and its own program read-only, and nothing of its owner's; when its first
                   process ends, or the node dies, the kernel ends all the others
    pid namespace  likewise for processes, but not for files
    marks          neither: who carries the run's mark is found and ended (see `marks`)

The network stays as it is: agents speak to their services. `confined` only puts words before a
command line, so that whoever starts it need know nothing of all this. Nothing goes through a shell.
"""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from paceline.errors import InvalidSettings

PROBE_TIMEOUT_S: Final = 10.0

SANDBOXES: Final = ("auto", "require", "off")

SYSTEM: Final = tuple(
    map(
        Path,
        (
            *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt"),
            *("/sys", "/nix/store", "/run/current-system", "/run/systemd/resolve", "/snap"),
        ),
    )
)
"""What every program may read; those that are not there are left out."""

MASKED: Final = ("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-")
"""Of the system, what is nobody's business, should the node run as root."""

MASKED_DIRECTORIES: Final = ("/etc/ssl/private", "/etc/NetworkManager/system-connections")

DIRECTORIES: Final = ("workspace", "home", "tmp")
OWN: Final = frozenset({*DIRECTORIES, "output"})
"""Of an attempt's directory, what it may change besides making new files."""


class Kind(StrEnum):
    """How far; the best first."""

    BUBBLEWRAP = "bubblewrap"
    NAMESPACE = "pid namespace"
    MARKS = "marks"


@dataclass(frozen=True, slots=True)
class Isolation:
    """What works on this machine, found out by `probe`. `reason`: why it is not the best."""

    kind: Kind = Kind.MARKS
    program: str = ""
    reason: str = ""

    @property
    def is_sandbox(self) -> bool:
        """Answer whether files are kept apart as well."""
        return self.kind is Kind.BUBBLEWRAP


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """One run's walls. `place` is the attempt's own directory, the rest absolute paths."""

    isolation: Isolation
    place: Path
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    """Single files or directories outside of `place`."""
    read_only: tuple[Path, ...] = ()
    """Of `place`, what may be seen and not changed, besides what is there already."""
    hidden: tuple[Path, ...] = ()
    """Homes and data that no program's installation may bring into view."""

    def running(self, program: str) -> "Confinement":
        """Answer the same with what that program needs to start."""
        return self.seeing(program_files(program, hidden=self.hidden))

    def seeing(self, readable: Iterable[Path] = (), writable: Iterable[Path] = ()) -> "Confinement":
        """Answer the same with more in view."""
        return replace(
            self,
            readable=(*self.readable, *readable),
            writable=(*self.writable, *writable),
        )


def confined(
    argv: Sequence[str], confinement: Confinement, *, directory: Path, added: dict[str, str]
) -> list[str]:
    """Answer the command line that runs `argv` behind these walls, in that directory.

    `added` are variables that only what is inside is to have. Looks at the file system.
    """
    isolation = confinement.isolation
    match isolation.kind:
        case Kind.BUBBLEWRAP:
            return [*_bubblewrap(confinement, directory, added), "--", *argv]
        case Kind.NAMESPACE:
            variables = [f"{name}={value}" for name, value in added.items()]
            return [*_unshare(isolation.program), "--", *_env(), *variables, *argv]
    return [*_env(), *(f"{name}={value}" for name, value in added.items()), *argv]


def _env() -> tuple[str, ...]:
    return (shutil.which("env") or "/usr/bin/env",)


def _unshare(program: str) -> list[str]:
    own = [] if os.geteuid() == 0 else ["--user", "--map-current-user"]
    return [program, *own, "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]


def _bubblewrap(confinement: Confinement, directory: Path, added: dict[str, str]) -> list[str]:
    place = confinement.place
    words = [confinement.isolation.program, "--die-with-parent"]
    words += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--cap-drop", "ALL"]
    words += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/run", "--tmpfs", "/var"]
    for path in SYSTEM:
        words += _system(path)
    words += _masks()
    words += _bind("--bind", place / "tmp", Path("/tmp"))
    words += _bind("--bind", place / "tmp", Path("/var/tmp"))
    for path in _outermost(confinement.readable):
        words += _bind("--ro-bind", path, path)
    words += _bind("--bind", place, place)
    for path in (*_kept(place), *confinement.read_only):
        words += _bind("--ro-bind", path, path)
    for path in confinement.writable:
        words += _bind("--bind-try", path, path)
    for name, value in added.items():
        words += ["--setenv", name, value]
    return [*words, "--chdir", str(directory)]


def _bind(option: str, source: Path, target: Path) -> list[str]:
    return [option, str(source), str(target)]


def _system(path: Path) -> list[str]:
    """Answer how a directory of the system gets in: as the link that it is on many, or bound."""
    if path.is_symlink():
        return ["--symlink", os.readlink(path), str(path)]
    return _bind("--ro-bind", path, path) if path.is_dir() else []


def _masks() -> list[str]:
    words = []
    for name in MASKED:
        if os.path.exists(name):
            words += ["--ro-bind", os.devnull, name]
    for name in MASKED_DIRECTORIES:
        if os.path.isdir(name):
            words += ["--tmpfs", name]
    return words


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Answer those that are there and not within another or the system, sorted."""
    found: list[Path] = []
    for path in sorted({path for path in paths if path.exists()}):
        within = (*SYSTEM, *found)
        if not any(path.is_relative_to(each) for each in within):
            found.append(path)
    return found


def _kept(place: Path) -> list[Path]:
    """Answer what of the attempt's directory is there already and not the agent's to change."""
    return [place / name for name in sorted(os.listdir(place)) if name not in OWN]


# --- settings -------------------------------------------------------------------------------------


def check_walls(tool: str, config: Mapping[str, Any]) -> None:
    """Raise InvalidSettings if what a tool's configuration says of its walls is not possible."""
    where = f"tools.{tool}"
    if config.get("sandbox", "auto") not in SANDBOXES:
        raise InvalidSettings(f"{where}.sandbox must be one of {', '.join(SANDBOXES)}")
    for name in ("readable", "writable"):
        paths = config.get(name, [])
        if not isinstance(paths, list) or not all(_is_path(path) for path in paths):
            raise InvalidSettings(f'{where}.{name} must be a list of absolute paths, ["/data"]')
    limit = config.get("memory_limit_mib", 0)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        raise InvalidSettings(f"{where}.memory_limit_mib must be a whole number; 0 = no limit")


def _is_path(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("/", "~/")) and "\0" not in value


# --- what programs need ---------------------------------------------------------------------------


def path_directories(search_path: str, *, hidden: Sequence[Path]) -> tuple[Path, ...]:
    """Answer what must be readable for the programs of a PATH to start: see `program_files`."""
    found: list[Path] = []
    for part in search_path.split(os.pathsep):
        if part.startswith("/") and os.path.isdir(part):
            found += _installation(Path(part))
    return _allowed(found, hidden)


def program_files(program: str, *, hidden: Sequence[Path]) -> tuple[Path, ...]:
    """Answer what must be readable for a program outside of the system to start.

    That is the directory that it lies in, and likewise of what it is a link to; of an installation
    with `bin`, its libraries too; of a node module, all modules beside it. Nothing that `hidden`
    (homes, a node's data) lies in is answered: then there is just the program's own directory.
    """
    found: list[Path] = []
    path = Path(program)
    for _ in range(16):
        found += _installation(path.parent)
        if not path.is_symlink():
            break
        path = Path(os.path.normpath(path.parent / os.readlink(path)))
    return _allowed(found, hidden)


def _installation(directory: Path) -> Iterator[Path]:
    parts = directory.parts
    if "node_modules" in parts:
        yield Path(*parts[: parts.index("node_modules") + 1])
        return
    yield directory
    if directory.name != "bin":
        return
    base = directory.parent
    for name in ("lib", "lib64", "libexec", "include", "pyvenv.cfg"):
        yield base / name
    with contextlib.suppress(OSError):
        for line in (base / "pyvenv.cfg").read_text(errors="replace").splitlines():
            key, _, value = line.partition("=")
            if key.strip() == "home" and value.strip().startswith("/"):
                yield from _installation(Path(value.strip()))


def _allowed(paths: Iterable[Path], hidden: Sequence[Path]) -> tuple[Path, ...]:
    return tuple(
        path
        for path in dict.fromkeys(paths)
        if path.exists() and not any(each.is_relative_to(path) for each in (*hidden, Path("/")))
    )


# --- what works here ------------------------------------------------------------------------------


async def probe(search_path: str, directory: Path) -> Isolation:
    """Answer what works on this machine, by trying it in an empty directory. Spends some ms."""
    if sys.platform != "linux":
        return Isolation(reason=f"there is no such sandbox for {sys.platform}")
    reasons = []
    for kind, name in ((Kind.BUBBLEWRAP, "bwrap"), (Kind.NAMESPACE, "unshare")):
        program = shutil.which(name, path=search_path)
        if program is None:
            reasons.append(f"{name} is not installed")
            continue
        isolation = Isolation(kind, program, "; ".join(reasons))
        if (trouble := await _try(isolation, directory)) is None:
            return isolation
        reasons.append(f"{name} does not work here: {trouble}")
    return Isolation(reason="; ".join(reasons))


async def _try(isolation: Isolation, directory: Path) -> str | None:
    """Answer why a process cannot be kept apart so, or None if it can."""
    for name in DIRECTORIES:
        (directory / name).mkdir(exist_ok=True)
    walls = Confinement(isolation=isolation, place=directory)
    # Within a namespace of its own, the first processes have small numbers.
    line = 'test $$ -lt 100 && test "$PROBE" = inside'
    argv = confined(("/bin/sh", "-c", line), walls, directory=directory, added={"PROBE": "inside"})
    process = None
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=directory,
                env={"PATH": "/usr/bin:/bin"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            _, said = await process.communicate()
    except TimeoutError:
        return f"no answer within {PROBE_TIMEOUT_S:g} s"
    except OSError as error:
        return str(error)
    finally:
        if process is not None and process.returncode is None:
            process.kill()
    if process.returncode == 0:
        return None
    words = said.decode("utf-8", "replace").strip().splitlines()
    return words[-1][:200] if words else f"exit status {process.returncode}"
