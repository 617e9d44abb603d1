"""What the demo shows: a live table on a terminal, plain lines in a pipe, nothing with `--json`."""

from typing import Protocol, Self

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from paceline.cli.demo_report import Report
from paceline.cli.format import duration, heading, node, printable, status, table
from paceline.cli.live import task_table
from paceline.client import Document


class View(Protocol):
    """Hears what happens. A context manager, so that a terminal is left as it was."""

    names: dict[str, str]

    def say(self, text: str) -> None:
        """Tell one event."""
        ...

    def show(self, task: Document) -> None:
        """Show how far the task is."""
        ...

    def report(self, report: Report) -> None:
        """Show what came of it."""
        ...

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(self, *failure: object) -> None:
        """Leave the terminal as it was."""
        ...


class SilentView:
    """For `--json`: standard output belongs to the document."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def say(self, text: str) -> None:
        """Say nothing."""

    def show(self, task: Document) -> None:
        """Show nothing."""

    def report(self, report: Report) -> None:
        """Report nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        pass


class PlainView(SilentView):
    """One line per event, for pipes and logs."""

    def __init__(self) -> None:
        super().__init__()
        self._completed: set[str] = set()

    def say(self, text: str) -> None:
        """Print it."""
        click.echo(text)

    def show(self, task: Document) -> None:
        """Print which subtasks have completed since the last time."""
        for subtask in task["subtasks"]:
            if subtask["status"] == "completed" and subtask["name"] not in self._completed:
                self._completed.add(subtask["name"])
                click.echo(f"  {subtask['name']} done on {node(subtask['node_id'], self.names)}")

    def report(self, report: Report) -> None:
        """Print the tables of the end."""
        click.echo(summary(report))


class LiveView(PlainView):
    """The events so far, and below them the task's table, redrawn in place."""

    def __init__(self) -> None:
        super().__init__()
        self._live = Live(console=Console(), refresh_per_second=12, transient=True)

    def say(self, text: str) -> None:
        """Print it above the table."""
        self._live.console.print(Text(text))

    def show(self, task: Document) -> None:
        """Redraw the table."""
        self._live.update(Group(Text(), task_table(task, self.names)))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._live.stop()


def summary(report: Report) -> str:
    """Answer what ran where, and what the failover cost."""
    heads = ("SUBTASK", "STATUS", "RAN ON", "TRIES", "TOOK")
    rows = [_row(subtask, report.nodes) for subtask in report.task["subtasks"]]
    return f"\n{table(heads, rows)}\n\n{_costs(report)}"


def _row(subtask: Document, names: dict[str, str]) -> tuple[str, ...]:
    attempts = subtask["attempts"]
    last = attempts[-1] if attempts else {}
    where = " → ".join(node(attempt["node_id"], names) for attempt in attempts)
    took = duration(last.get("started_at"), last.get("finished_at"))
    return subtask["name"], status(subtask["status"]), where, str(len(attempts)), took


def _costs(report: Report) -> str:
    before, after = (node(i, report.nodes) for i in (report.leader_before, report.leader_after))
    restarts = [f"{r['name']} ({'; '.join(r['reasons'])})" for r in report.restarts]
    return "\n".join(
        (
            f"{heading('leader   ')} {before}, killed with -9; then {after}",
            f"{heading('failover ')} {report.failover_ms} ms from the kill to the next commit",
            f"{heading('restarted')} {printable(', '.join(restarts)) or 'nothing'}",
            f"{heading('results  ')} {report.lost_results} lost, "
            f"{report.duplicated_results} doubled",
            f"{heading('task     ')} {status(report.task['status'])}; the demo took "
            f"{report.duration_ms / 1000:.1f} s",
        )
    )
