"""Templates that people write: TOML files whose subtasks are read by a plan's own rules."""

from collections.abc import Collection

from paceline.tasks import plan_fields
from paceline.tasks.model import Privacy
from paceline.tasks.plan_fields import Findings
from paceline.tasks.plan_source import read
from paceline.tasks.plan_subtasks import own_subtasks, read_tools
from paceline.tasks.templates import AGENTS, Template

_FIELDS: dict[str, plan_fields.Reader] = {
    "summary": plan_fields.text(plan_fields.WORD_LIMIT),
    "tool": plan_fields.words,
    "subtasks": lambda node: node,
}


def read_template(
    text: str, name: str, *, origin: str, path: str = "", known_tools: Collection[str]
) -> Template:
    """Answer a person's own template, a TOML file: `summary`, `tool`, and subtasks as in a plan.

    Raise InvalidPlan with the line of the first mistake.
    """
    root = read(text, "toml")
    found = Findings()
    top = found.fields(root, _FIELDS, "a template")
    tools = read_tools(top, "tool", known_tools, found) or AGENTS
    if "summary" not in top:
        found.add("a template needs a summary, in a line", top.line)
    privacy = Privacy.NORMAL
    subtasks = own_subtasks(top, tools, known_tools, privacy, terms={}, found=found)
    found.settle()
    return Template(name, top.get("summary"), subtasks, origin, path)
