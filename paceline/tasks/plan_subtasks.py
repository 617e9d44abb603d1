"""The subtasks that a person wrote into a plan: read one by one, then checked as a graph."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from paceline.tasks import agent_terms, graph, plan_fields, plan_gates
from paceline.tasks.draft import (
    CHECKPOINT,
    COMMAND,
    DESCRIPTION_LIMIT,
    REVIEW,
    SubtaskDraft,
    did_you_mean,
    quoted,
)
from paceline.tasks.model import Privacy
from paceline.tasks.plan_fields import Fields, Findings, Word
from paceline.tasks.plan_source import Located, Map

RUN_LIMIT = 64 * 1024
"""Characters; Linux takes no argument of a program longer than 128 KiB."""

INSTRUCTIONS_LIMIT = 256 * 1024
TIMEOUT_LIMIT_S = 7 * 24 * 3600
START_LIMIT_S = 30 * 24 * 3600
MAX_ATTEMPTS_LIMIT = 20
TOOLS_LIMIT = 16

LIMITS: dict[str, plan_fields.Reader] = {
    "timeout_s": plan_fields.number(0.1, TIMEOUT_LIMIT_S),
    "start_timeout_s": plan_fields.number(0.001, START_LIMIT_S),
}
"""How long an attempt may take, and how long a subtask may be ready before it has one; a task may
say both for all its subtasks."""

_SUBTASK_FIELDS: dict[str, plan_fields.Reader] = {
    "name": plan_fields.name,
    "needs": plan_fields.words,
    "foreach": plan_fields.text(plan_fields.NAME_LIMIT),
    "tool": plan_fields.words,
    "run": plan_fields.text(RUN_LIMIT),
    "instructions": plan_fields.text(INSTRUCTIONS_LIMIT),
    "description": plan_fields.text(DESCRIPTION_LIMIT),
    "priority": plan_fields.priority,
    "complexity": plan_fields.integer(1, 5),
    **LIMITS,
    "max_attempts": plan_fields.integer(1, MAX_ATTEMPTS_LIMIT),
    "labels": plan_fields.labels,
    "not_labels": plan_fields.labels,
    "privacy": plan_fields.choice(Privacy),
    "review": plan_fields.flag,
    "checkpoint": plan_fields.flag,
    **agent_terms.OWN,
    **plan_gates.FIELDS,
    "settings": plan_fields.plain_map,
}

_COPIED = (
    "run",
    "description",
    "foreach",
    "priority",
    "complexity",
    "max_attempts",
    "privacy",
)
"""Fields that a draft takes as they were read, its own defaults standing in for absent ones."""


def own_subtasks(
    top: Fields,
    preferences: tuple[str, ...],
    known_tools: Collection[str],
    privacy: Privacy,
    *,
    terms: Mapping[str, Any],
    found: Findings,
) -> tuple[SubtaskDraft, ...]:
    """Answer the subtasks of a plan and note all that is wrong with them.

    `terms` are what the task says for all that do not say themselves; see `agent_terms`.
    """
    drafts, vertices = [], []
    for node in _subtask_nodes(top, found):
        fields = found.fields(node, _SUBTASK_FIELDS, "a subtask")
        tools = read_tools(fields, "tool", known_tools, found) or preferences
        who = quoted(fields.get("name")) if fields.get("name") else "a subtask"
        if isinstance(node.value, Map):
            _check_words(who, fields, privacy, found)
            # An unknown tool has been told about; what would follow from it has not to be.
            if not fields.refused("tool") and set(tools) <= set(known_tools):
                _check_run(who, fields, tools, found)
        if "foreach" in fields.values:
            _check_foreach(who, fields, found)
        own = agent_terms.own_terms(who, fields, tools, found)
        gates = plan_gates.settings(terms, fields.values)
        given = {**gates, **fields.get("settings", {})}
        settings = {**agent_terms.defaults(terms, tools), **given, **own}
        vertices.append(_vertex(fields))
        drafts.append(_draft(fields, tools, top.get("description", ""), settings, terms))
    # A name that was refused would be refused again wherever it is needed.
    if all(vertex.name for vertex in vertices):
        for problem in graph.problems(vertices):
            found.add(problem.reason, problem.line)
    _check_lists(drafts, found)
    return tuple(drafts)


def _subtask_nodes(top: Fields, found: Findings) -> tuple[Located, ...]:
    if "subtasks" not in top:
        found.add("the plan is empty: it needs subtasks, or the type of a template", top.line)
        return ()
    listed: Located = top.get("subtasks")
    line = top.line_of("subtasks")
    if not isinstance(listed.value, tuple) or isinstance(listed.value, Map):
        found.add(f"subtasks: must be a list, not {plan_fields.kind(listed)}", line)
        return ()
    nodes: tuple[Located, ...] = listed.value
    if not nodes:
        found.add("the plan is empty: it has no subtasks", line)
    if len(nodes) > graph.SUBTASK_LIMIT:
        reason = f"{len(nodes)} subtasks are over the limit of {graph.SUBTASK_LIMIT}"
        found.add(reason, nodes[graph.SUBTASK_LIMIT].line)
        return ()
    return nodes


def _check_words(who: str, fields: Fields, privacy: Privacy, found: Findings) -> None:
    if "name" not in fields:
        found.add("a subtask needs a name", fields.line)
    if privacy is Privacy.SENSITIVE and fields.get("privacy") is Privacy.NORMAL:
        reason = f"privacy: {who} cannot be normal in a sensitive task"
        found.add(reason, fields.line_of("privacy"))


def _check_foreach(who: str, fields: Fields, found: Findings) -> None:
    needed = {word.text for word in fields.get("needs", ())}
    if fields.get("foreach") not in needed:
        reason = f"foreach: {who} must also need {quoted(fields.get('foreach'))}, which lists items"
        found.add(reason, fields.line_of("foreach"))


def _check_lists(drafts: Iterable[SubtaskDraft], found: Findings) -> None:
    """Note what would go through the items of a subtask that is itself done for each of some."""
    several = {draft.name for draft in drafts if draft.foreach}
    for draft in drafts:
        if draft.foreach in several:
            reason = f"foreach: {quoted(draft.foreach)} is itself done for each item of a list"
            found.add(reason, draft.line)


def _check_run(who: str, fields: Fields, tools: tuple[str, ...], found: Findings) -> None:
    """Note a missing tool or shell line, and a shell line that no tool would run."""
    if not tools:
        if "tool" not in fields:
            hint = f"; a shell line is run by `tool: {COMMAND}`" if "run" in fields else ""
            found.add(f"{who} names no tool, nor has the plan tool_preferences{hint}", fields.line)
    elif COMMAND in tools and "run" not in fields:
        found.add(f"{who} has the tool {COMMAND}, which needs a shell line in run", fields.line)
    elif COMMAND not in tools and "run" in fields:
        reason = f"run: only the tool {COMMAND} takes a shell line, and {who} has {tools[0]}"
        found.add(reason, fields.line_of("run"))


def _vertex(fields: Fields) -> graph.Vertex:
    needs: tuple[Word, ...] = fields.get("needs", ())
    return graph.Vertex(
        name=fields.get("name", ""),
        needs=tuple(word.text for word in needs),
        line=fields.line_of("name"),
        need_lines=tuple(word.line for word in needs),
    )


def limits_of(terms: Mapping[str, Any]) -> dict[str, Any]:
    """Answer those of a task's words that say how long its subtasks may take."""
    return {name: terms[name] for name in LIMITS if terms.get(name) is not None}


def _draft(
    fields: Fields,
    tools: tuple[str, ...],
    task_description: str,
    settings: dict[str, Any],
    terms: Mapping[str, Any],
) -> SubtaskDraft:
    """Answer the subtask. An agent without instructions is told what the task is for."""
    words = fields.get("instructions") or fields.get("description") or task_description
    marks = {mark: True for mark in (REVIEW, CHECKPOINT) if fields.get(mark)}
    return SubtaskDraft(
        name=fields.get("name", ""),
        tools=tools,
        needs=tuple(word.text for word in fields.get("needs", ())),
        instructions="" if tools == (COMMAND,) and "instructions" not in fields else words,
        settings={**settings, **marks},
        line=fields.line,
        **limits_of({**terms, **fields.values}),
        **_all_labels(fields),
        **{name: fields.values[name] for name in _COPIED if name in fields.values},
    )


def _all_labels(fields: Fields) -> dict[str, Any]:
    """Answer the labels that a node must have and must not have; `key: "!value"` means not."""
    said: dict[str, str] = fields.get("labels", {})
    refused = {key: value[1:] for key, value in said.items() if value.startswith("!")}
    return {
        "labels": {key: value for key, value in said.items() if key not in refused},
        "not_labels": {**refused, **fields.get("not_labels", {})},
    }


# --- tools ----------------------------------------------------------------------------------------


def read_tools(
    fields: Fields, name: str, known_tools: Collection[str], found: Findings
) -> tuple[str, ...]:
    """Answer the tools in a field, in order; those that are unknown are noted and answered too."""
    chosen: tuple[Word, ...] = fields.get(name, ())
    if name in fields.values and not chosen:
        found.add(f"{name}: the list is empty", fields.line_of(name))
    if len(chosen) > TOOLS_LIMIT:
        found.add(f"{name}: more than {TOOLS_LIMIT} tools", fields.line_of(name))
        return ()
    check_tools(name, chosen, known_tools, found)
    return tuple(word.text for word in chosen)


def check_tools(
    name: str, chosen: Iterable[Word], known_tools: Collection[str], found: Findings
) -> None:
    """Note every tool that is not known or stands twice."""
    seen: set[str] = set()
    for tool, line in chosen:
        if tool not in known_tools:
            hint = did_you_mean(tool, known_tools) or f"; there are {', '.join(known_tools)}"
            found.add(f"{name}: no tool is named {quoted(tool)}{hint}", line)
        elif tool in seen:
            found.add(f"{name}: {quoted(tool)} stands twice", line)
        seen.add(tool)
