"""Find and kill every process of one run, however it detached itself.

A process inherits its environment. So each run has a random mark in it, and whoever still carries
the mark belongs to the run: children in sessions of their own, daemons that lost their parents,
and what a node that crashed has left behind (the mark is kept in a file while the run lasts).
"""

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK_VARIABLE = "PACELINE_RUN_MARK"

KILL_LIMIT_S = 5.0
"""A process that cannot be killed for so long (it hangs in the kernel) is left alone."""

_PROC = Path("/proc")
_HAS_PROC = (_PROC / "self" / "environ").exists()
_KERNEL_THREAD = 0x00200000
"""PF_KTHREAD of Linux's include/linux/sched.h."""

_HAS_PIDFD = hasattr(os, "pidfd_open")


@dataclass(frozen=True, slots=True)
class Mark:
    """One run's mark, and the file that keeps it until nobody carries it any more."""

    value: str
    file: Path

    @classmethod
    def create(cls, file: Path) -> "Mark":
        """Make a new mark and write its file, before anything can carry it."""
        mark = cls(secrets.token_hex(16), file)
        file.write_text(mark.value, encoding="ascii")
        return mark

    async def alive(self, session: int | None = None) -> list[int]:
        """Answer who carries it, or is in that session. Zombies are not alive."""
        return await asyncio.to_thread(_find, (self.value,), session)

    async def memory_bytes(self, session: int | None = None) -> int:
        """Answer the resident memory of all of them; shared pages count for each."""
        return await asyncio.to_thread(_memory, (self.value,), session)

    async def terminate(self, session: int | None = None) -> None:
        """Ask all of them, once, to end."""
        await asyncio.to_thread(_signal_all, (self.value,), session, signal.SIGTERM)

    async def kill(self, session: int | None = None) -> bool:
        """Kill all of them. Answer whether nobody is left."""
        return await asyncio.to_thread(_kill_all, (self.value,), session)

    def forget(self) -> None:
        """Nobody carries it: take the file away."""
        self.file.unlink(missing_ok=True)


def _memory(values: Collection[str], session: int | None) -> int:
    total = 0
    for pid in _find(values, session):
        with contextlib.suppress(psutil.Error):
            total += psutil.Process(pid).memory_info().rss
    return total


async def sweep(files: Iterable[Path]) -> int:
    """Kill what carries any of the marks in these files, and take the files away.

    Asked at the start of a node, before it runs anything. Answer how many marks there were. A file
    stays if somebody could not be killed.
    """
    return await asyncio.to_thread(_sweep, list(files))


def _sweep(files: Collection[Path]) -> int:
    values = {file: file.read_text(encoding="ascii", errors="replace") for file in files}
    known = [value for value in values.values() if len(value) >= 32]
    if not known or _kill_all(known, None):
        for file in values:
            file.unlink(missing_ok=True)
    return len(values)


def _kill_all(values: Collection[str], session: int | None) -> bool:
    """Look and kill until nobody is found: whoever was just being forked is met next time."""
    give_up = time.monotonic() + KILL_LIMIT_S
    pause_s = 0.001
    while True:
        pids, unsure = _look(values, session)
        if not pids and not unsure:
            return True
        if time.monotonic() > give_up:
            return False
        _signal_each(pids, values, session, signal.SIGKILL)
        time.sleep(pause_s)
        pause_s = min(0.05, pause_s * 2)


def _signal_all(values: Collection[str], session: int | None, number: signal.Signals) -> None:
    _signal_each(_find(values, session), values, session, number)


def _signal_each(
    pids: Iterable[int], values: Collection[str], session: int | None, number: signal.Signals
) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            _signal(pid, values, session, number)


def _signal(pid: int, values: Collection[str], session: int | None, number: signal.Signals) -> None:
    """Signal `pid` if it is still the process that was found: numbers are used again."""
    if not _HAS_PIDFD:
        os.kill(pid, number)
        return
    handle = os.pidfd_open(pid)
    try:
        if _belongs(pid, _needles(values), session):
            signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def _find(values: Collection[str], session: int | None) -> list[int]:
    return _look(values, session)[0]


def _look(values: Collection[str], session: int | None) -> tuple[list[int], bool]:
    """Answer who belongs to the run, and whether somebody cannot be told yet."""
    if not _HAS_PROC:
        return list(_find_portably(values, session)), False
    needles = _needles(values)
    found, unsure = [], False
    for pid in (int(name) for name in os.listdir(_PROC) if name.isdigit()):
        if pid == os.getpid():
            continue
        belongs = _belongs(pid, needles, session)
        if belongs:
            found.append(pid)
        unsure = unsure or belongs is None
    return found, unsure


def _needles(values: Collection[str]) -> list[bytes]:
    return [f"{MARK_VARIABLE}={value}".encode() for value in values]


def _belongs(pid: int, needles: Collection[bytes], session: int | None) -> bool | None:
    """Answer whether a process belongs to the run; None if it cannot be told yet.

    In the middle of exec, between its old program and the new one, a process has no environment
    for a moment. So an empty one counts only if the same program ran before and after the look.
    """
    found = _session_of(pid)
    if found is None or (found == 0 and _is_the_kernels(pid)):
        return False
    if found == session and _is_alive(pid):
        return True
    before = None
    if not (environment := _read(pid, "environ")):
        before = _program(pid)
        environment = _read(pid, "environ")
    if environment:
        return any(needle in environment for needle in needles)
    if not _is_alive(pid) or (before is not None and before == _program(pid)):
        return False
    return None


def _session_of(pid: int) -> int | None:
    """Answer a process's session; None if it is over.

    It is 0 for the kernel's own, and where a namespace of processes was entered without beginning
    a session in it: then the session's leader is outside.
    """
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _is_the_kernels(pid: int) -> bool:
    """Answer whether it is a thread of the kernel, by field 9 of proc(5)'s stat."""
    fields = _stat(pid)
    return len(fields) > 6 and bool(int(fields[6]) & _KERNEL_THREAD)


def _is_alive(pid: int) -> bool:
    """Answer whether it runs: a zombie does not, and cannot be killed."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in (b"Z", b"X")


def _program(pid: int) -> list[bytes] | None:
    """Answer what tells the program a process runs from its next; None in the middle of exec.

    These are fields 26, 28, 50 and 51 of proc(5)'s stat: where the code, the stack and the
    environment lie. The kernel puts them elsewhere for each program, the code's place last of all.
    """
    fields = _stat(pid)
    if len(fields) < 49 or fields[23] == b"0":
        return None
    return [fields[23], fields[25], *fields[47:49]]


def _stat(pid: int) -> list[bytes]:
    """Answer the fields of proc(5)'s stat from the third on: what comes after the name."""
    return _read(pid, "stat").rpartition(b")")[2].split()


def _read(pid: int, name: str) -> bytes:
    """Answer a file of a process; nothing if it is over, or somebody else's."""
    try:
        with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
            return file.readall() or b""
    except OSError:
        return b""


def _find_portably(values: Collection[str], session: int | None) -> Iterator[int]:
    """Do the same without /proc: slower, and only where the environment may be read."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            marked = process.environ().get(MARK_VARIABLE) in values
            if marked or (session is not None and os.getsid(process.pid) == session):
                yield process.pid
