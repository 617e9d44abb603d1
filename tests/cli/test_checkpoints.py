"""Where people decide, on the command line."""

from pathlib import Path

from paceline.node.web.ports import CheckpointDecision
from tests.cli.command import Node
from tests.node.web.fake_service import CHECKPOINT_ID, a_task


def test_what_waits_is_listed_and_shown(node: Node) -> None:
    listed = node.run("checkpoints")
    assert CHECKPOINT_ID[:8] in listed.out
    assert node.service.deciding.asked == [("checkpoints", "pending", "")]
    shown = node.run("checkpoints", "cccc").out
    for words in ("the score 6 is below 7", "6 of 10", "$0.2500", "review 1 by ollama: revise"):
        assert words in shown
    assert "high a.py:3 wrong" in shown
    assert "+new" in shown
    assert "\x1b[31m" not in shown, "what others wrote is not obeyed by the terminal"
    assert node.run("checkpoints", "cccc", "--json").json["checkpoint_id"] == CHECKPOINT_ID


def test_a_correction_carries_words_and_comments(node: Node, tmp_path: Path) -> None:
    (tmp_path / "words").write_text("Make it shorter.\n")
    options = ("--file", str(tmp_path / "words"), "--comment", "a.py:3:why: this?")
    ended = node.run("correct", "cccc", *options)
    assert (ended.status, ended.out) == (
        0,
        "checkpoint cccc1111 correct; task 11112222 in_progress\n",
    )
    assert node.service.deciding.decided == CheckpointDecision(
        "correct", "Make it shorter.", (("a.py", 3, "why: this?"),)
    )
    late = node.run("accept", "cccc")
    assert late.status == 1
    assert "n1 has decided correct" in late.err


def test_a_correction_without_words_is_none(node: Node) -> None:
    for options in ((), ("--comment", "no place"), ("--feedback", "a", "--editor")):
        assert node.run("correct", "cccc", *options).status != 0
    assert node.service.deciding.decided is None


def test_a_person_has_a_task_wait(node: Node) -> None:
    assert node.run("checkpoint", "1111", "--reason", "look").status == 0
    assert node.service.deciding.asked == [("open", "1111", "", "look")]


def test_a_task_shows_how_its_work_was_judged_and_what_is_asked(node: Node) -> None:
    checkpoint = node.service.deciding.document()
    task = a_task("11112222-0000-4000-8000-000000000000", checkpoints=[checkpoint])
    subtask = task["subtasks"][0]
    subtask["evaluation"] = {"score": 6.0}
    review = {"cycle": 1, "verdict": "revise", "summary": "", "findings": []}
    subtask["attempts"].append({**subtask["attempts"][0], "kind": "review", "review": review})
    node.service.documents[task["task_id"]] = task
    shown = node.run("show", "1111").out
    assert "build  (score 6, review 1: revise)" in shown
    assert "evaluation, build: the score 6 is below 7; see `paceline checkpoints cccc1111`" in shown
    watched = node.run("watch", "1111").out
    assert "waits for your decision: the score 6 is below 7" in watched


def test_what_is_not_there(node: Node) -> None:
    assert node.run("reject", "dddd", "--feedback", "no").status == 5
