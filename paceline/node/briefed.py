"""What an attempt is told besides its subtask's own words: to review, or to correct, and why."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from paceline.errors import InputError
from paceline.node.disk import out_of_space
from paceline.node.git import BULK_TIMEOUT_S, git
from paceline.tasks import peer_review
from paceline.tasks.model import Outcome, PermissionLevel, ResultStatus, SubtaskSpec, TaskSpec
from paceline.tasks.queries_quality import Briefing

DIFF_LIMIT_BYTES = 512 * 1024
"""Of a change as text; what is beyond that is only in the work tree."""

_DIFF = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--find-renames")


def briefed(spec: SubtaskSpec, task: TaskSpec, briefing: Briefing) -> SubtaskSpec:
    """Answer the subtask as this attempt is to do it."""
    asked = spec.instructions or spec.description or spec.run or task.description
    if briefing.review:
        return replace(
            spec,
            instructions=peer_review.instructions(
                asked, cycle=briefing.cycle, earlier=briefing.feedback
            ),
            run=peer_review.review_line(spec),
            settings=_reading(spec.settings),
        )
    if not briefing.feedback:
        return spec
    place = "Your earlier work is in the repository already." if briefing.change else ""
    words = f"{asked}\n\n{place}\n{briefing.feedback}"
    return replace(spec, instructions=words)


def _reading(settings: dict[str, Any]) -> dict[str, Any]:
    """Answer the settings of one that only looks."""
    kept = {key: value for key, value in settings.items() if key not in ("must_change", "gates")}
    return {**kept, "permission": PermissionLevel.READ.value, "keep_changes": False}


async def write_change(workspace: Path, start: str, commit: str, file: Path) -> None:
    """Write the change from `start` to `commit` as text into a file. Raise GitFailed, TimedOut."""
    text = await diff(workspace, start, commit, DIFF_LIMIT_BYTES)
    await asyncio.to_thread(_write, file, text)


async def diff(repository: Path, start: str, commit: str, limit_bytes: int) -> str:
    """Answer the beginning of a change as text, with a note where it was cut."""
    lines = await git(*_DIFF, start, commit, directory=repository, timeout_s=BULK_TIMEOUT_S)
    data = "\n".join([*lines, ""]).encode("utf-8", "replace")
    if len(data) <= limit_bytes:
        return data.decode()
    shown = data[:limit_bytes].decode("utf-8", "ignore")
    return f"{shown}\n[cut here: {limit_bytes} of {len(data)} bytes]\n"


def as_review(outcome: Outcome) -> Outcome:
    """Answer a reviewer's outcome with what it said read; failed where that cannot be read.

    It is read from what the tool left as its output, else from its words.
    """
    said = outcome.output.inline.decode("utf-8", "replace").strip() or outcome.text
    try:
        review = peer_review.read_answer(said)
    except InputError as error:
        words = f"the review cannot be read: {error}"
        return replace(outcome, status=ResultStatus.FAILED, text=words)
    return replace(outcome, review=review)


def _write(file: Path, text: str) -> None:
    with out_of_space():
        file.write_text(text, encoding="utf-8")
