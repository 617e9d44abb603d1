"""What the demo's nodes work on: a git repository and a plan, both from files beside this one."""

import os
import shlex
import shutil
import subprocess
import sys
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from paceline.errors import PacelineError

GIT_S = 20.0
_DATA = "paceline.cli"
_SUFFIX = ".txt"
"""The repository's files carry it here, so that no tool takes them for parts of Paceline."""

PROBE = """
description: The first thing that is committed after the failover
subtasks:
  - name: probe
    tool: command
    run: "true"
"""
"""A task so small that its submission measures nothing but the time to a commit."""


def plan() -> str:
    """Answer the plan's text, with the interpreter put in."""
    text = resources.files(_DATA).joinpath("data", "demo.yaml").read_text("utf-8")
    return text.replace("@PYTHON@", shlex.quote(sys.executable))


def make_repository(path: Path) -> None:
    """Make a git repository with two commits. Raise PacelineError if git cannot."""
    if shutil.which("git") is None:
        raise PacelineError("the demo works on a git repository: install git and try again")
    _copy(resources.files(_DATA).joinpath("data", "demo_repository"), path)
    _git(path, "init", "--quiet", "--initial-branch=main")
    _git(path, "add", "README.md", "check.sh")
    _git(path, "commit", "--quiet", "--message=Say what this is")
    _git(path, "add", ".")
    _git(path, "commit", "--quiet", "--message=Add ordering, timing and rotation, with tests")


def _copy(source: Traversable, target: Path) -> None:
    target.mkdir()
    for item in source.iterdir():
        if item.is_dir():
            _copy(item, target / item.name)
        elif item.name.endswith(_SUFFIX):
            (target / item.name.removesuffix(_SUFFIX)).write_bytes(item.read_bytes())


def _git(directory: Path, *arguments: str) -> None:
    """Run git as nobody in particular: no hooks, signing or templates of the person's own."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(directory),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TEMPLATE_DIR": "",
    }
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{role}_NAME": "Paceline", f"GIT_{role}_EMAIL": "demo@localhost"}
    try:
        subprocess.run(
            ["git", *arguments],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=GIT_S,
        )
    except subprocess.CalledProcessError as error:
        raise PacelineError(f"git {arguments[0]} failed: {error.stderr.strip()}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PacelineError(f"git {arguments[0]} could not be run: {error}") from error
