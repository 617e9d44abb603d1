"""What a task may cost: set when it is submitted, and by a person later (SetBudget).

A budget holds back what has not begun; see `queries_usage.overspent`. It ends nothing.
"""

import math

from paceline.errors import Conflict, InputError, NotFound
from paceline.tasks.commands import SetBudget
from paceline.tasks.effects import Change, Effects
from paceline.tasks.model import TaskStatus


def change_budget(effects: Effects, command: SetBudget) -> bool:
    """Set, change or (None) lift a task's budget. Result: whether that changed anything."""
    if command.budget_usd is not None:
        check_budget(command.budget_usd)
    row = effects.db.execute(
        "SELECT t.status, b.budget_usd FROM tasks t"
        " LEFT JOIN task_budgets b ON b.task_id = t.task_id WHERE t.task_id = ?",
        (command.task_id,),
    ).fetchone()
    if row is None:
        raise NotFound(f"no task has the id {command.task_id}")
    status, before = row
    if status in (TaskStatus.COMPLETED, TaskStatus.CANCELLED):
        raise Conflict(f"the task is {status}: nothing of it will cost anything any more")
    if before == command.budget_usd:
        return False
    set_budget(effects, command.task_id, command.budget_usd)
    details = {"from": before, "budget_usd": command.budget_usd, "by": command.by}
    effects.log("task_budget", task_id=command.task_id, details=details)
    effects.changes.append(Change("task", status, command.task_id))
    return True


def check_budget(budget_usd: float) -> None:
    """Raise InputError for what is no amount of money."""
    if not (math.isfinite(budget_usd) and budget_usd > 0):
        raise InputError("a budget must be more than 0 dollars")


def set_budget(effects: Effects, task_id: str, budget_usd: float | None) -> None:
    """Write the row, or take it away."""
    if budget_usd is None:
        effects.db.execute("DELETE FROM task_budgets WHERE task_id = ?", (task_id,))
        return
    effects.db.execute(
        "INSERT INTO task_budgets (task_id, budget_usd) VALUES (?, ?)"
        " ON CONFLICT (task_id) DO UPDATE SET budget_usd = excluded.budget_usd",
        (task_id, budget_usd),
    )
