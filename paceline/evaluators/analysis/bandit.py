"""What bandit says about the Python files of a change.

`# nosec` is not obeyed: who writes the code must not be able to silence its judge. What bandit
rates LOW (assert, importing subprocess, ...) is left out.
"""

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from paceline.evaluators.analysis.copies import copied
from paceline.evaluators.analysis.flaws import BANDIT, SEVERITY, SQL, Flaw
from paceline.evaluators.change import FileChange, split_lines
from paceline.evaluators.contract import Severity

_INTERPOLATED = re.compile(r"\{([^{}]*)\}")
_CONSTANT = re.compile(r"\s*_*[A-Z][A-Z0-9_]*\s*")

_RATED = {
    ("HIGH", "HIGH"): Severity.CRITICAL,
    ("HIGH", "MEDIUM"): Severity.HIGH,
    ("HIGH", "LOW"): Severity.HIGH,
    ("MEDIUM", "HIGH"): Severity.HIGH,
}
"""Severity and confidence of bandit; what is not here is MEDIUM."""


def check(files: Sequence[FileChange]) -> list[tuple[FileChange, Flaw]]:
    """Answer what bandit finds in the resulting files, on all their lines."""
    if not files:
        return []
    with copied(files) as copies:
        manager = _manager()
        manager.discover_files([str(copy) for copy in copies])
        manager.run_tests()
        found = manager.get_issue_list()
        by_name = {str(copy): file for copy, file in copies.items()}
        return [
            (by_name[issue.fname], flaw)
            for issue in found
            for flaw in _flaw(issue, by_name[issue.fname])
        ]


def _joins_constants(file: FileChange, issue: Any) -> bool:
    """Answer whether an f-string is put together from constants alone, by the custom of capitals.

    What was formatted with `%`, `+` or `.format` is not looked into.
    """
    lines = split_lines(file.new or "")
    text = "\n".join(lines[n - 1] for n in issue.linerange if 0 < n <= len(lines))
    values = _INTERPOLATED.findall(text)
    return bool(values) and all(_CONSTANT.fullmatch(value) for value in values)


def _manager() -> Any:
    logging.getLogger("bandit").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own plugins' loader
        from bandit.core import config, manager  # noqa: PLC0415 - a quarter of a second

        return manager.BanditManager(config.BanditConfig(), "file", quiet=True, ignore_nosec=True)


def _flaw(issue: Any, file: FileChange) -> Iterator[Flaw]:
    severity, confidence = str(issue.severity), str(issue.confidence)
    if severity not in ("MEDIUM", "HIGH"):
        return
    rule = BANDIT.get(issue.test_id, issue.test_id)
    rated = SEVERITY.get(rule) or _RATED.get((severity, confidence), Severity.MEDIUM)
    unsure = rule != SQL or ".execute" not in (file.new or "")
    if unsure and rule != issue.test_id and confidence == "LOW" and severity != "HIGH":
        rated = Severity.MEDIUM if rated.rank < Severity.MEDIUM.rank else rated
    if rule == SQL and _joins_constants(file, issue):
        rated = Severity.LOW
    lines = [line for line in issue.linerange if line > 0] or [issue.lineno]
    yield Flaw(rule, issue.lineno, max(lines), f"{issue.text} (bandit {issue.test_id})", rated)
