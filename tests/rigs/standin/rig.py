"""Real command-line tools in a network namespace that has only loopback. Needs Linux and root.

    drive("claude_code", scenario="quota")["result"]["status"]

The tools are installed by `install.sh`, pinned, outside of this repository.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from paceline.tools.definition_file import shipped

ROOT = Path(__file__).parents[3]
DRIVE_LIMIT_S = 500


def tools_directory() -> Path:
    """Where `install.sh` puts the tools."""
    default = Path.home() / ".cache" / "paceline-test-tools"
    return Path(os.environ.get("PACELINE_TEST_TOOLS") or default)


def search_path() -> str:
    return f"{tools_directory() / 'node_modules' / '.bin'}{os.pathsep}{os.environ['PATH']}"


def unavailable(tool: str) -> str | None:
    """Answer why this tool cannot be driven here, or None if it can."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        return "needs Linux, root and iproute2 for a network namespace"
    binary = tool if tool in ("openai", "ollama") else shipped(tool).binary
    if tool not in ("openai", "ollama") and shutil.which(binary, path=search_path()) is None:
        return f"{binary} is not installed: run `make tools`"
    return None


def drive(tool: str, **order: Any) -> dict[str, Any]:
    """Run a tool once and answer what happened, as `drive` says it."""
    script = 'ip link set lo up && exec "$0" -m tests.rigs.standin.drive'
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script, sys.executable],
        input=json.dumps({"tool": tool, **order}),
        cwd=ROOT,
        env={"PATH": search_path(), "HOME": "/nonexistent", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=DRIVE_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
