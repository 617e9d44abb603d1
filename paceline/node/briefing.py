"""Gathering what an attempt is told of its surroundings, before its tool starts.

Read from a work tree that nobody has touched yet: its `.git` is still our own.
"""

import asyncio
import os
import stat
from pathlib import Path

from paceline.node.desk import Work
from paceline.node.git import BULK_TIMEOUT_S, git
from paceline.tasks.queries_results import NamedChange
from paceline.tools.brief import Brief, Upstream

CONVENTIONS = ("AGENTS.md", "CLAUDE.md", "CONTRIBUTING.md")
CONVENTION_LIMIT_BYTES = 16 * 1024
"""Of one such file; the beginning is kept, with a note."""

TASK_LIMIT = 16 * 1024
"""Characters of the task's own words."""

UPSTREAM_LIMIT = 20
"""So many earlier changes are told of; the others are in the files all the same."""
SUMMARY_LINES = 60
DIFF_LIMIT_BYTES = 8 * 1024 * 1024


async def write_changes(work: Work, workspace: Path, changes: Path) -> tuple[Upstream, ...]:
    """Write each change that the work begins with to `changes/NAME.diff`; answer what they are."""
    await asyncio.to_thread(changes.mkdir, mode=0o700)
    told = work.changes[:UPSTREAM_LIMIT]
    return tuple([await _upstream(each, workspace, changes) for each in told])


async def briefing(
    work: Work, workspace: Path, upstream: tuple[Upstream, ...], conflicts: tuple[str, ...]
) -> Brief:
    """Answer the surroundings of an agent's work in a repository."""
    return Brief(
        task=task_words(work),
        conventions=await asyncio.to_thread(_conventions, workspace),
        upstream=upstream,
        conflicts=conflicts,
    )


def task_words(work: Work) -> str:
    """Answer the task's own words, unless the subtask's instructions hold them already."""
    words = work.task.description.strip()
    said = work.spec.instructions or work.spec.description or words
    return "" if words in said else words[:TASK_LIMIT]


async def _upstream(each: NamedChange, workspace: Path, changes: Path) -> Upstream:
    span = (each.change.start, each.change.commit)
    plain = ("--no-ext-diff", "--no-textconv", "--no-color")
    summary = await git("diff", "--stat=100", *plain, *span, directory=workspace)
    if len(summary) > SUMMARY_LINES:
        summary = [*summary[:SUMMARY_LINES], "...", summary[-1]]
    file = changes / f"{each.name}.diff"
    write = ("diff", *plain, f"--output={file}", *span)
    await git(*write, directory=workspace, timeout_s=BULK_TIMEOUT_S)
    await asyncio.to_thread(_shorten, file)
    return Upstream(each.name, "\n".join(summary), file)


def _shorten(file: Path) -> None:
    if file.stat().st_size > DIFF_LIMIT_BYTES:
        os.truncate(file, DIFF_LIMIT_BYTES)


def _conventions(workspace: Path) -> tuple[tuple[str, str], ...]:
    found = ((name, _read(workspace / name)) for name in CONVENTIONS)
    return tuple((name, text) for name, text in found if text)


def _read(file: Path) -> str:
    """Answer the beginning of a plain text file, or nothing; no link is followed."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as source:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        data = source.read(CONVENTION_LIMIT_BYTES + 1)
    text = data[:CONVENTION_LIMIT_BYTES].decode("utf-8", "replace").strip()
    return text + ("\n[cut here]" if len(data) > CONVENTION_LIMIT_BYTES else "")
