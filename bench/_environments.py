"""Peers from PyPI, each in an environment of its own in the temporary directory."""

import subprocess
import sys
import venv
from pathlib import Path

from bench._process import CACHE, Missing


def interpreter_with(package: str, version: str, module: str) -> Path:
    """Answer a Python that can import the module, installed on first use. Raise Missing."""
    home = CACHE / f"{package}-{version}-{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = home / "bin" / "python"
    if _has_it(interpreter, module):
        return interpreter
    venv.create(home, with_pip=True, clear=True)
    command = [str(interpreter), "-m", "pip", "install", "--quiet", f"{package}=={version}"]
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    if installed.returncode != 0 or not _has_it(interpreter, module):
        raise Missing(f"{package} {version} cannot be installed into {home}:\n{installed.stderr}")
    return interpreter


def _has_it(interpreter: Path, module: str) -> bool:
    if not interpreter.exists():
        return False
    command = [str(interpreter), "-c", f"import {module}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
