"""What ruff says about the Python files of a change.

The rules are ours, never the repository's: `--isolated` reads no configuration, and the files are
copies under names of our own. Rules of taste (quotes, order of imports, line length below 120) are
left to the repository's own linter. `# noqa` counts only where it names its rules: one that
silences everything silences nothing here.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paceline.errors import ToolError
from paceline.evaluators.analysis.copies import copied
from paceline.evaluators.change import FileChange, split_lines

TIMEOUT_S = 30.0
SYNTAX = "invalid-syntax"

_RULES = "E,F,W,B,A001,BLE001,PLE,PLW0127,PLW0128,PLW0602,PLW0603,PLW2901,RET503,SIM101,ASYNC"
_LEFT_OUT = "E203,E501,W191,W291,W293,W391,E1,E2,E3,B008,B904,B905,B028,PLW2901,ASYNC109"
_OPTIONS = (
    *("check", "--isolated", "--no-cache", "--exit-zero", "--ignore-noqa", "--quiet"),
    *("--output-format=json", "--target-version=py314", f"--select={_RULES}"),
    f"--ignore={_LEFT_OUT}",
)
_NOQA = re.compile(r"#\s*noqa:\s*([A-Z]+[0-9]*(?:[,\s]+[A-Z]+[0-9]*)*)", re.I)


@dataclass(frozen=True, slots=True)
class RuffFinding:
    """One finding; `rule` is SYNTAX for what is no Python."""

    file: FileChange
    line: int
    rule: str
    message: str


def check(files: Sequence[FileChange]) -> list[RuffFinding]:
    """Answer what ruff finds in the resulting files, on all their lines. Raise ToolError."""
    if not files:
        return []
    with copied(files) as copies:
        directory = next(iter(copies)).parent
        found = _run([_program(), *_OPTIONS, "."], directory)
        by_name = {copy.name: file for copy, file in copies.items()}
        return [finding for record in found for finding in _findings(record, by_name)]


def _findings(record: Mapping[str, Any], by_name: Mapping[str, FileChange]) -> list[RuffFinding]:
    file = by_name.get(Path(record["filename"]).name)
    if file is None:
        return []
    line, rule = int(record["location"]["row"]), str(record["code"] or SYNTAX)
    if _excused(file, line, rule):
        return []
    return [RuffFinding(file, line, rule, str(record["message"]))]


def _excused(file: FileChange, line: int, rule: str) -> bool:
    lines = split_lines(file.new or "")
    match = _NOQA.search(lines[line - 1]) if 0 < line <= len(lines) else None
    return match is not None and rule in re.split(r"[,\s]+", match[1].upper())


def _run(command: list[str], directory: Path) -> list[dict[str, Any]]:
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env={"PATH": "/usr/bin:/bin", "HOME": str(directory)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return list(json.loads(done.stdout))
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise ToolError(f"ruff did not answer: {error}") from error


def _program() -> str:
    """Answer where ruff is: beside this Python, else on the path; never in the repository."""
    beside = Path(sys.executable).parent / "ruff"
    found = str(beside) if beside.is_file() else shutil.which("ruff")
    if found is None:
        raise ToolError("ruff is not installed: pip install ruff")
    return found
