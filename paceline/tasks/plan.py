"""Plan files and descriptions, decomposed into tasks that can be submitted.

`parse` reads a plan file, `from_description` takes a template for a few words of a person; both
answer a checked `TaskDraft`. `to_spec` gives it the ids chosen by the caller. All of it is pure.
The format is described for its users in docs/plans.md. Source: the seed's "Task Decomposer".

Which tools a subtask may use, in order of preference:

* a subtask of a plan that names its `tool` has those and no others;
* one that names none has the task's `tool_preferences`;
* a template's subtasks have the template's list, or the task's `tool_preferences` in its place: a
  person who asks for one tool does not want to pay for another.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from paceline.errors import InvalidPlan
from paceline.tasks import agent_terms, graph, plan_fields, plan_gates, templates
from paceline.tasks.draft import (
    COMMAND,
    DESCRIPTION_LIMIT,
    SHIPPED_TOOLS,
    Deadline,
    RepositoryDraft,
    SubtaskDraft,
    TaskDraft,
    quoted,
)
from paceline.tasks.model import CheckpointFrequency, Privacy, Repository, SubtaskSpec, TaskSpec
from paceline.tasks.plan_fields import Fields, Findings, Word, kind
from paceline.tasks.plan_source import Located, Map, read
from paceline.tasks.plan_subtasks import (
    LIMITS,
    check_tools,
    limits_of,
    own_subtasks,
    read_tools,
)

PLAN = "plan"
"""The type of a task whose subtasks are a person's own."""

WORDS_LIMIT = 2 * 1024 * 1024
"""Characters of all subtasks together, after templates and defaults have been filled in."""


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What was said beside a plan (options of a command, fields of a request). None = nothing.

    It goes before what the plan says, except that it cannot make a `sensitive` task `normal`.
    """

    repository: RepositoryDraft | None = None
    privacy: Privacy | None = None
    checkpoint_frequency: CheckpointFrequency | None = None
    tool_preferences: tuple[str, ...] = ()
    priority: int | None = None
    metadata: dict[str, Any] | None = None
    budget_usd: float | None = None
    deadline: str | float | None = None
    """Seconds from now, or an ISO 8601 moment."""
    limits: Mapping[str, float | None] = field(default_factory=dict)
    """For all subtasks that do not say themselves: `timeout_s`, `start_timeout_s`."""
    own_template: templates.Finder = lambda name, repository: None
    terms: Mapping[str, Any] = field(default_factory=dict)
    """For all subtasks that do not say themselves: see `agent_terms.DEFAULTS`."""


NO_OPTIONS = PlanOptions()

_TASK_FIELDS: dict[str, plan_fields.Reader] = {
    "description": plan_fields.text(DESCRIPTION_LIMIT),
    "type": plan_fields.text(plan_fields.WORD_LIMIT),
    "repository": plan_fields.repository,
    "privacy": plan_fields.choice(Privacy),
    "checkpoint_frequency": plan_fields.choice(CheckpointFrequency),
    "priority": plan_fields.priority,
    "tool_preferences": plan_fields.words,
    "metadata": plan_fields.plain_map,
    "budget_usd": agent_terms.budget,
    "deadline": plan_fields.deadline,
    "deadline_s": plan_fields.deadline,
    **LIMITS,
    **agent_terms.DEFAULTS,
    **plan_gates.FIELDS,
    "subtasks": lambda node: node,
}

_COPIED = ("repository", "checkpoint_frequency", "priority", "metadata", "budget_usd")
"""Fields that a draft takes as they were read, its own defaults standing in for absent ones."""


def parse(
    text: str | bytes,
    format: str = "yaml",  # noqa: A002 - the word of the contract
    *,
    known_tools: Collection[str] = SHIPPED_TOOLS,
    options: PlanOptions = NO_OPTIONS,
) -> TaskDraft:
    """Answer the task that a plan file in `yaml` or `toml` asks for.

    At most 1 MiB, 2,000 subtasks and 10,000 dependencies. Raise InvalidPlan with the line of the
    first mistake; its words tell of up to ten.
    """
    root = read(text, format)
    if not isinstance(root.value, Map):
        raise InvalidPlan(f"a plan must be a map of fields, not {kind(root)}", root.line)
    found = Findings()
    top = found.fields(root, _TASK_FIELDS, "a plan")
    named = read_tools(top, "tool_preferences", known_tools, found)
    _check_options(options, known_tools, found)
    preferences = options.tool_preferences or named
    privacy = _stricter(top.get("privacy"), options.privacy)
    terms = {**top.values, **_said(options.terms), **_said(options.limits)}
    subtasks: tuple[SubtaskDraft, ...] = ()
    if top.get("type", PLAN) != PLAN:
        subtasks = _template_subtasks(top, preferences, terms, found, options)
    elif not top.refused("type"):
        subtasks = own_subtasks(top, preferences, known_tools, privacy, terms=terms, found=found)
    _check_size(subtasks, found)
    found.settle()
    drafted = TaskDraft(
        description=top.get("description") or _told_by_names(subtasks),
        type=top.get("type", PLAN),
        subtasks=subtasks,
        privacy=privacy,
        tool_preferences=preferences,
        deadline=top.get("deadline") or top.get("deadline_s"),
        **{name: top.values[name] for name in _COPIED if name in top.values},
    )
    return _with_options(drafted, options)


def from_description(
    description: str,
    type: str,  # noqa: A002 - the word of the contract
    *,
    known_tools: Collection[str] = SHIPPED_TOOLS,
    options: PlanOptions = NO_OPTIONS,
) -> TaskDraft:
    """Answer a task of a template's type. Raise InvalidPlan for an unknown type or a bad option."""
    found = Findings()
    values = {"description": description, "type": type}
    for name, value in values.items():
        try:
            _TASK_FIELDS[name](Located(value, None))
        except InvalidPlan as error:
            found.add(f"{name}: {error.reason}", None)
    found.settle()
    top = Fields(values, dict.fromkeys(values), None)
    _check_options(options, known_tools, found)
    subtasks = _template_subtasks(
        top, options.tool_preferences, {**options.terms, **_said(options.limits)}, found, options
    )
    _check_size(subtasks, found)
    found.settle()
    return _with_options(TaskDraft(description.strip(), type, subtasks), options)


def to_spec(
    draft: TaskDraft,
    *,
    task_id: str,
    new_subtask_id: Callable[[], str],
    repository: Repository | None = None,
    now_ms: int = 0,
) -> TaskSpec:
    """Answer the draft with ids, and with the repository pinned to a commit if it has one.

    What needs a sensitive subtask becomes sensitive too: it is given that one's output. `now_ms`:
    from when a deadline in seconds counts.
    """
    sensitive = _sensitive_names(draft)
    return TaskSpec(
        task_id=task_id,
        description=draft.description,
        type=draft.type,
        subtasks=tuple(
            _subtask_spec(subtask, new_subtask_id(), subtask.name in sensitive)
            for subtask in draft.subtasks
        ),
        repository=repository,
        privacy=draft.privacy,
        checkpoint_frequency=draft.checkpoint_frequency,
        tool_preferences=draft.tool_preferences,
        priority=draft.priority,
        metadata=draft.metadata,
        budget_usd=draft.budget_usd,
        deadline_ms=draft.deadline.ms(now_ms) if draft.deadline else None,
    )


def _subtask_spec(draft: SubtaskDraft, subtask_id: str, sensitive: bool) -> SubtaskSpec:
    return SubtaskSpec(
        subtask_id=subtask_id,
        name=draft.name,
        tools=draft.tools,
        needs=draft.needs,
        description=draft.description,
        instructions=draft.instructions,
        run=draft.run,
        priority=draft.priority,
        complexity=draft.complexity,
        timeout_s=draft.timeout_s,
        max_attempts=draft.max_attempts,
        labels=draft.labels,
        privacy=Privacy.SENSITIVE if sensitive else None,
        settings=draft.settings,
        start_timeout_s=draft.start_timeout_s,
        not_labels=draft.not_labels,
        foreach=draft.foreach,
    )


def _sensitive_names(draft: TaskDraft) -> set[str]:
    """Answer the subtasks that are sensitive though their task is not."""
    if draft.privacy is Privacy.SENSITIVE:
        return set()
    marked = {subtask.name for subtask in draft.subtasks if subtask.privacy is Privacy.SENSITIVE}
    if not marked:
        return marked
    needs = {subtask.name: subtask.needs for subtask in draft.subtasks}
    for layer in graph.layers(needs):
        marked.update(name for name in layer if not marked.isdisjoint(needs[name]))
    return marked


# --- subtasks -------------------------------------------------------------------------------------


def _template_subtasks(
    top: Fields,
    preferences: tuple[str, ...],
    terms: Mapping[str, Any],
    found: Findings,
    options: PlanOptions,
) -> tuple[SubtaskDraft, ...]:
    if "subtasks" in top:
        found.add("a plan has either a type or subtasks, not both", top.line_of("subtasks"))
    if "description" not in top:
        found.add(f"a task of type {quoted(top.get('type'))} needs a description", top.line)
    if COMMAND in preferences:
        reason = f"tool_preferences: {COMMAND} runs a shell line, and a template has none"
        found.add(reason, top.line_of("tool_preferences"))
    try:
        expanded = templates.expand(
            top.get("type"),
            top.get("description", ""),
            tool_preferences=preferences,
            settings={
                **agent_terms.defaults(terms, preferences),
                **plan_gates.settings(terms),
            },
            own=options.own_template(top.get("type"), options.repository or top.get("repository")),
        )
        return tuple(replace(subtask, **limits_of(terms)) for subtask in expanded)
    except InvalidPlan as error:
        found.add(f"type: {error.reason}", top.line_of("type"))
        return ()


# --- options --------------------------------------------------------------------------------------


def _check_options(options: PlanOptions, known_tools: Collection[str], found: Findings) -> None:
    preferred = [Word(tool, None) for tool in options.tool_preferences]
    check_tools("tool_preferences", preferred, known_tools, found)
    given = {"priority": options.priority, "deadline": options.deadline, **options.limits}
    for name, value in _said(given).items():
        try:
            _TASK_FIELDS[name](Located(value, None))
        except InvalidPlan as error:
            found.add(f"{name}: {error.reason}", None)
    agent_terms.check({**options.terms, "budget_usd": options.budget_usd}, found)


def _deadline(options: PlanOptions) -> Deadline | None:
    given = options.deadline
    return None if given is None else plan_fields.deadline(Located(given, None))


def _said(terms: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in terms.items() if value is not None}


def _with_options(draft: TaskDraft, options: PlanOptions) -> TaskDraft:
    chosen = {
        "repository": options.repository,
        "checkpoint_frequency": options.checkpoint_frequency,
        "tool_preferences": options.tool_preferences or None,
        "priority": options.priority,
        "metadata": options.metadata,
        "budget_usd": options.budget_usd,
        "deadline": _deadline(options),
    }
    said: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    return replace(draft, privacy=_stricter(draft.privacy, options.privacy), **said)


def _stricter(*levels: Privacy | None) -> Privacy:
    return Privacy.SENSITIVE if Privacy.SENSITIVE in levels else Privacy.NORMAL


def _check_size(subtasks: Iterable[SubtaskDraft], found: Findings) -> None:
    """Bound what goes into one log entry: a description may stand in for many instructions."""
    size = sum(len(s.instructions) + len(s.description) + len(s.run) for s in subtasks)
    if size > WORDS_LIMIT:
        found.add(f"the subtasks' words come to {size} characters, over {WORDS_LIMIT}", None)


def _told_by_names(subtasks: Iterable[SubtaskDraft]) -> str:
    return ", ".join(subtask.name for subtask in subtasks)[:200]
