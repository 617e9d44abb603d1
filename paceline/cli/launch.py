"""Nodes as processes of their own: started and ended for `--detach`, `stop` and the demo."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

import psutil

from paceline.client import Document, read_node_file
from paceline.config import templates_directory
from paceline.errors import NodeUnreachable, PacelineError, TimedOut
from paceline.settings import NodeSettings

READY_S = 30.0
PAUSE_S = 0.02
LOG_TAIL_LINES = 15
LOG_TAIL_BYTES = 16 * 1024
CLOCK_SLACK_S = 2.0

_VARIABLES = frozenset(
    f"PACELINE_{name.upper()}"
    for name in (
        *(field.name for field in fields(NodeSettings)),
        "label",
        "token_file",
        "replace_after",
        "daily_budget",
    )
)


def arguments(settings: NodeSettings) -> list[str]:
    """Answer the command that starts such a node; the token is not among it, argv is public.

    `-P` keeps the current directory off the import path: nodes start inside people's repositories,
    which may have a `click.py` of their own.
    """
    said = [sys.executable, "-P", "-m", "paceline", "node", "start"]
    for name in ("data_dir", "name", "bind", "port", "web_port", "slots", "max_voters", "profile"):
        said += [_option(name), str(getattr(settings, name))]
    for name in ("lease_ms", "grace_ms", "log_level", "log_format"):
        said += [_option(name), str(getattr(settings, name))]
    said += ["--replace-after", str(settings.replace_after_s)]
    said += ["--daily-budget", str(settings.daily_budget_usd), "--sandbox", settings.sandbox]
    for address in settings.join:
        said += ["--join", address]
    for key, value in settings.labels.items():
        said += ["--label", f"{key}={value}"]
    said += [] if settings.mdns else ["--no-mdns"]
    said += ["--anew"] if settings.anew else []
    return [*said, "--approve"] if settings.approve else said


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def spawn(settings: NodeSettings, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a node in a session of its own, its output appended to its log file."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    inherited = {key: value for key, value in environ.items() if not _is_setting(key)}
    secret = {"PACELINE_TOKEN": settings.token} if settings.token else {}
    # What the file says has been heard, too; `settings` is all that counts.
    inherited["PACELINE_TEMPLATES"] = str(templates_directory(environ))
    inherited["PACELINE_CONFIG"] = os.devnull
    descriptor = os.open(settings.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as log:
        return subprocess.Popen(
            arguments(settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=settings.data_dir,
            env={**inherited, **secret},
            start_new_session=True,
        )


def _is_setting(name: str) -> bool:
    """Answer whether a variable is an option; those were heard already and must not add to it."""
    return name in _VARIABLES


def wait_ready(
    process: subprocess.Popen[bytes],
    settings: NodeSettings,
    *,
    timeout_s: float = READY_S,
    pause: Callable[[float], object] = time.sleep,
) -> Document:
    """Answer the node's `node.json` once this very process has written it.

    Raise PacelineError with the end of its log if it ends first, TimedOut if it takes too long.
    `pause` may raise, to give up early.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        status = process.poll()
        if status is not None:
            raise PacelineError(f"the node did not start.\n{_why(settings, status)}")
        try:
            document = read_node_file(settings.data_dir)
        except NodeUnreachable:
            document = {}
        if document.get("pid") == process.pid:
            return document
        if time.monotonic() > deadline:
            raise TimedOut(
                f"the node was not ready after {timeout_s:g} s.\n{log_tail(settings.log_file)}"
            )
        pause(PAUSE_S)


def _why(settings: NodeSettings, status: int) -> str:
    ended = f"signal {-status}" if status < 0 else f"exit status {status}"
    return f"It ended with {ended}; its log ({settings.log_file}) ends:\n" + log_tail(
        settings.log_file
    )


def log_tail(path: Path) -> str:
    """Answer the last lines of a log, indented; a word about it where there are none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError as error:
        return f"  (its log cannot be read: {error.strerror})"
    return "\n".join(f"  {line}" for line in lines[-LOG_TAIL_LINES:]) or "  (its log is empty)"


def node_process(data_dir: Path) -> psutil.Process:
    """Answer the process of the node that `node.json` speaks of. Raise NodeUnreachable.

    A node that was killed leaves its file behind, and its process id may be another program's by
    now: one that started after the file was written, or another user's, is not the node.
    """
    document = read_node_file(data_dir)
    try:
        written_s = (data_dir / "node.json").stat().st_mtime
        process = psutil.Process(int(document["pid"]))
        ours = (
            process.create_time() <= written_s + CLOCK_SLACK_S
            and process.uids().real == os.getuid()
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except (psutil.Error, OSError, KeyError, ValueError):
        ours = False
    if not ours:
        raise NodeUnreachable(f"no node is running with data directory {data_dir}")
    return process


def wait_gone(process: psutil.Process, timeout_s: float) -> bool:
    """Answer whether the process ended in time; a zombie has ended, whoever must bury it."""
    deadline = time.monotonic() + timeout_s
    while process.is_running():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE_S)
    return True


def ready_line(document: Document) -> str:
    """Answer the line that says that a node is ready."""
    return f"ready {document['node_id']} {document['page_url']}"
