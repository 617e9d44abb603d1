"""Run one real tool against the stand-in, and say what happened as JSON. Meant for a namespace.

    unshare --net sh -c 'ip link set lo up; exec python -m tests.rigs.standin.drive' < order.json

In such a namespace no client can reach anything but the stand-in. See `tests.rigs.standin.rig`.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from paceline.tasks.model import ResultStatus, ToolState
from paceline.tools import hygiene
from paceline.tools.contract import BaseTool, Job
from paceline.tools.environment import build_environment
from paceline.tools.events import Event, Final, ToolResult
from paceline.tools.isolation import Confinement, path_directories, probe
from paceline.tools.program import TOO_SLOW
from paceline.tools.registry import Registry
from tests.rigs.standin.hostile import hostile_files
from tests.rigs.standin.scenarios import SLEEP
from tests.rigs.standin.server import Server, standin

KEY = "sk-dummy-key-of-the-rig"
PROMPT = "Create hello.py, a script that says hello. [[file:hello.py]]"
COMMAND_LIMIT_S = 120.0
DETECT_TRIES = 6
OPENAI_STYLE = ("codex", "opencode", "qwen", "copilot", "aider", "openai")
MODELS = {"claude_code": "claude-sonnet-4-5", "gemini_cli": "gemini-2.5-flash"}


def main() -> None:
    order = json.loads(sys.stdin.read())
    with tempfile.TemporaryDirectory(prefix="paceline-rig-") as name, standin() as server:
        answer = asyncio.run(_drive(order, Path(name), server))
    print(json.dumps(answer))


async def _drive(order: Mapping[str, Any], place: Path, server: Server) -> dict[str, Any]:
    job = _job(order, place)
    stolen = f"{server.url}/s/stolen"
    (place / "mark").mkdir()
    if order.get("hostile"):
        _write(job.workspace, hostile_files(place / "mark", stolen))
        if order.get("strip", True):
            hygiene.strip(job.workspace, place / "kept")
    if order.get("walls"):
        job = replace(job, confinement=await _walls(job, place))
    tool = _tool(order, server)
    state = await _detected(tool)
    server.requests.clear()
    stop = bool(order.get("stop"))
    result, kinds = await _run(tool, job, stop=stop)
    if again := order.get("again"):
        job = replace(job, instructions=again, session=result.session, session_usage=result.usage)
        result, kinds = await _run(tool, job, stop=stop)
    return {
        "healthy": state.healthy,
        "version": state.version,
        "reason": state.reason,
        "result": asdict(result),
        "events": kinds,
        "files": {
            str(file.relative_to(job.workspace)): file.read_text(errors="replace")
            for file in sorted(job.workspace.rglob("*"))
            if file.is_file() and ".git" not in file.parts
        },
        "output": job.output.read_text() if job.output.is_file() else None,
        "requests": [[each.scenario, each.path] for each in server.requests],
        "said": [json.dumps(each.body) for each in server.requests],
        "ran": sorted(file.name for file in (place / "mark").iterdir()),
        "left": _left_behind(),
    }


async def _walls(job: Job, place: Path) -> Confinement:
    path = job.environment["PATH"]
    with tempfile.TemporaryDirectory(prefix="paceline-probe-") as name:
        isolation = await probe(path, Path(name))
    assert isolation.is_sandbox, isolation.reason
    return Confinement(
        isolation=isolation, place=place, readable=path_directories(path, hidden=(place,))
    )


async def _detected(tool: BaseTool) -> ToolState:
    """Ask again, as a node does, a program that is too slow on a busy machine to say what it is."""
    for _ in range(DETECT_TRIES):
        state = await tool.detect()
        if TOO_SLOW not in state.reason:
            break
    return state


def _tool(order: Mapping[str, Any], server: Server) -> BaseTool:
    name = order["tool"]
    address = f"{server.url}/s/{order.get('scenario', 'write')}"
    config = {
        "base_url": address + ("/v1" if name in OPENAI_STYLE else ""),
        "model": MODELS.get(name, "standin"),
        **({} if name == "ollama" else {"api_key": KEY}),
        **order.get("config", {}),
    }
    return Registry({name: config}).tool(name)


def _job(order: Mapping[str, Any], place: Path) -> Job:
    for part in ("workspace", "inputs", "home", "tmp"):
        (place / part).mkdir()
    environment = build_environment(os.environ, home=place / "home", temporary=place / "tmp")
    identity = ("-c", "user.name=rig", "-c", "user.email=rig@localhost")
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "base"]):
        git = ["git", *identity, *command]
        subprocess.run(git, cwd=place / "workspace", env=environment, check=True)
    fields = {
        "instructions": PROMPT,
        "idle_timeout_s": 120.0,
        "timeout_s": 300.0,
        **order.get("job", {}),
    }
    return Job(
        task_id="task-1",
        subtask_id="subtask-1",
        workspace=place / "workspace",
        inputs=place / "inputs",
        output=place / "output",
        mark_file=place / "run.mark",
        environment=environment,
        **fields,
    )


async def _run(tool: BaseTool, job: Job, *, stop: bool) -> tuple[ToolResult, list[str]]:
    """Answer the result and all kinds of events. With `stop`, cancel it once its command runs."""
    seen: list[Event] = []

    async def consume() -> None:
        async with aclosing(tool.run(job)) as events:
            async for event in events:
                seen.append(event)
                if os.environ.get("PACELINE_RIG_SHOW"):
                    print(event, file=sys.stderr)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(consume())
        if stop:
            await _until_the_command_runs()
            task.cancel()
    kinds = [type(event).__name__ for event in seen]
    last = seen[-1]
    return last.result if isinstance(last, Final) else ToolResult(ResultStatus.CANCELLED), kinds


async def _until_the_command_runs() -> None:
    async with asyncio.timeout(COMMAND_LIMIT_S):
        while not any(SLEEP.encode() in line for line in _command_lines()):
            await asyncio.sleep(0.05)


def _command_lines() -> Iterator[bytes]:
    """The processes of our network, by what they were started with."""
    own = os.readlink("/proc/self/ns/net")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if os.readlink(entry / "ns" / "net") == own:
                    yield (entry / "cmdline").read_bytes()


def _write(root: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def _left_behind() -> list[str]:
    """What still runs in our network besides us: an ended run leaves nothing."""
    return [
        line.replace(b"\0", b" ").decode("utf-8", "replace") for line in _command_lines() if line
    ]


if __name__ == "__main__":
    main()
