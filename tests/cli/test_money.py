"""Commands about tools and money, against a small node."""

from paceline.node.web.ports import UsageQuery
from tests.cli.command import Node
from tests.node.web.fake_service import a_task

TASK = "11112222-0000-4000-8000-000000000000"


def test_tools_show_where_they_rest_and_how_they_are_kept_apart(node: Node) -> None:
    shown = node.run("tools").out.splitlines()
    assert shown[0].split() == ["TOOL", "NODE", "STATE", "VERSION", "RUNNING", "ISOLATION", "USD"]
    assert shown[1].split() == ["command", "alpha", "ready", "1", "1/2", "bubblewrap", "0.25"]
    assert "throttled until 2023-11-1" in shown[2]


def test_check_looks_anew_and_names_who_did_not(node: Node) -> None:
    ended = node.run("tools", "--check")
    assert ended.status == 0
    assert "did not look: not connected" in ended.err
    assert node.service.toolbox.asked == ["check"]


def test_usage_is_summed_as_asked(node: Node) -> None:
    shown = node.run("usage", "--by", "tool", "--since", "2023-11-14").out.splitlines()
    assert shown[1].split(maxsplit=6) == [
        *("codex", "2", "1200", "100", "34", "0.2500"),
        "reported, 1 without a price",
    ]
    assert shown[-1].startswith("all ")
    assert node.service.toolbox.asked == [UsageQuery("tool", 1_699_920_000_000)]


def test_a_budget_is_set_and_lifted(node: Node) -> None:
    assert node.run("budget", TASK, "2.5").out == "11112222: 2.5 USD\n"
    assert node.run("budget", TASK, "none").out == "11112222: no bound\n"
    assert node.service.toolbox.asked == [(TASK, 2.5), (TASK, None)]
    assert node.run("budget", TASK, "much").status == 2


def test_show_tells_the_cost(node: Node) -> None:
    usage = {
        "attempts": 1,
        "tokens_in": 5,
        "tokens_out": 6,
        "cached": 0,
        "cost_usd": 0.125,
        "reported_usd": 0.0,
        "computed_usd": 0.125,
        "unpriced": 0,
    }
    node.service.documents[TASK] = a_task(TASK, usage=usage, budget_usd=2.0)
    assert "0.1250 of 2 USD (computed); 5 tokens in, 6 out" in node.run("show", TASK).out


def test_submit_hands_on_what_agents_may_do(node: Node) -> None:
    options = ("--permission", "edit", "--model", "m", "--max-turns", "4", "--budget", "2")
    ended = node.run("submit", "mend", "--type", "bug_fix", *options, "--idle-timeout", "9")
    assert ended.status == 0, ended.err
    request = node.service.requests[-1]
    assert request.budget_usd == 2.0
    terms = {"permission": "edit", "model": "m", "max_turns": 4, "idle_timeout_s": 9.0}
    assert request.terms == terms
