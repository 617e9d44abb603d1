"""What a submission would become, and how a node is set up: documents for people to look at."""

from paceline.node.web.ports import Document
from paceline.settings import NodeSettings
from paceline.tasks import allocate, graph
from paceline.tasks.draft import CHECKPOINT, REVIEW, SubtaskDraft, TaskDraft

WORDS_SHOWN = 500
"""Characters of a subtask's instructions in a preview."""


def preview(draft: TaskDraft) -> Document:
    """Answer a checked task before it exists: its fields, its subtasks, and the waves they form."""
    needs = {subtask.name: subtask.needs for subtask in draft.subtasks}
    repository = draft.repository
    return {
        "type": draft.type,
        "description": draft.description,
        "privacy": draft.privacy.value,
        "checkpoint_frequency": draft.checkpoint_frequency.value,
        "priority": draft.priority,
        "tool_preferences": list(draft.tool_preferences),
        "repository": {"path": repository.path, "ref": repository.ref} if repository else None,
        "subtasks": [_subtask(subtask) for subtask in draft.subtasks],
        "layers": [list(layer) for layer in graph.layers(needs)],
    }


def _subtask(subtask: SubtaskDraft) -> Document:
    words = subtask.run or subtask.instructions or subtask.description
    return {
        "name": subtask.name,
        "dependencies": list(subtask.needs),
        "tools": list(subtask.tools),
        "tool": subtask.tools[0] if subtask.tools else "",
        "priority": subtask.priority,
        "complexity": subtask.complexity,
        "timeout_s": subtask.timeout_s,
        "max_attempts": subtask.max_attempts,
        "labels": dict(subtask.labels),
        "privacy": subtask.privacy.value if subtask.privacy else None,
        "review": bool(subtask.settings.get(REVIEW)),
        "checkpoint": bool(subtask.settings.get(CHECKPOINT)),
        "words": words[:WORDS_SHOWN],
        "line": subtask.line,
    }


def settings_document(settings: NodeSettings) -> Document:
    """Answer how a node is set up, in groups for people. Tokens are never in it."""
    return {
        "groups": [
            _group(
                "Node",
                ("Name", settings.name, "--name"),
                ("Data directory", str(settings.data_dir), "--data-dir"),
                ("Slots", settings.slots, "--slots"),
                ("Labels", _labels(settings), "--label"),
            ),
            _group(
                "Network",
                ("Bound to", settings.bind, "--bind"),
                ("Port for peers", settings.port or "any free one", "--port"),
                ("Port of this page", settings.web_port or "any free one", "--web-port"),
                ("Multicast (mDNS)", "on" if settings.mdns else "off", "--no-mdns"),
                ("Profile", settings.profile, "--profile"),
            ),
            _group(
                "Cluster",
                ("Voters at most", settings.max_voters, "--max-voters"),
                ("A silent voter is replaced after (s)", settings.replace_after_s, ""),
                ("Lease of running work (ms)", settings.lease_ms, ""),
                ("Grace after a lease (ms)", settings.grace_ms, ""),
            ),
            _group(
                "Choice of a node: weights of its score",
                ("Tool", allocate.TOOL_WEIGHT, ""),
                ("Resources", allocate.RESOURCE_WEIGHT, ""),
                ("Privacy", allocate.PRIVACY_WEIGHT, ""),
            ),
        ]
    }


def _group(title: str, *rows: tuple[str, object, str]) -> Document:
    fields = ({"label": label, "value": value, "option": option} for label, value, option in rows)
    return {"title": title, "rows": list(fields)}


def _labels(settings: NodeSettings) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(settings.labels.items())) or "none"
