"""The page in a real browser, before a real cluster: what people do with it, and what may go wrong.

With PACELINE_SCREENSHOTS=folder, what was seen is kept there as pictures.
"""

import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from paceline.client import Document
from tests.e2e.browser import WAIT_MS, axe, barriers, browsing, go, looking, opened
from tests.e2e.cluster import Cluster, cluster, completed, wait_for
from tests.e2e.test_quality import PLAN as QUALITY_PLAN
from tests.e2e.test_quality import git, install, waiting

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PLAN = """description: Mend the login form
subtasks:
  - name: look
    tool: command
    run: echo looking closely
  - name: mend
    tool: command
    needs: [look]
    run: echo mending; echo oops >&2
"""
LONG = """description: Something that takes its time
subtasks:
  - {name: first, tool: command, run: echo begun; sleep 300}
  - {name: second, tool: command, needs: [first], run: echo never}
"""
VIEWS = {
    "#/": ".topology",
    "#/tasks": ".task",
    "#/checkpoints": "h1",
    "#/submit": ".compose .vertex",
    "#/nodes": ".table",
    "#/usage": ".view-usage",
    "#/settings": ".facts",
}
KILOBYTE = 1000
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("nodes")
    install(directory, 3)
    with cluster(directory, 3, ("--sandbox", "off")) as nodes:  # the agent lies under /tmp
        yield nodes


@pytest.fixture(scope="module")
def asked(three: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Document:
    """A checkpoint that waits for a person: an agent wrote what scores low."""
    source = tmp_path_factory.mktemp("source")
    git(source, "init", "-q", "-b", "main")
    git(source, "commit", "-q", "--allow-empty", "-m", "first")
    plan = QUALITY_PLAN.format(source=source, words="NEEDS=1 RISKY")
    plan = plan.replace("review: true", "settings: {gates: {retry: 0}}")
    node = three.leader()
    return waiting(node, node.submit(plan))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as running:
        yield running


@pytest.fixture
def page(browser: Browser, three: Cluster, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page of a follower; whatever a script on it complains of fails the test."""
    context = looking(browser, reduced_motion="reduce")
    complaints: list[str] = []
    page = opened(context, three.followers()[0])
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    if folder := os.environ.get("PACELINE_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{request.node.name}.png")
    context.close()
    assert complaints == []


def views_of(page: Page, task_id: str, asked: Document) -> dict[str, str]:
    """Answer every view's address and something that it has; a task's views included."""
    task = f"#/task/{task_id}"
    node = page.get_attribute(".topology a", "href") or ""
    return VIEWS | {
        f"{task}?subtask=look": ".attempts li",
        f"{task}?tab=timeline": ".bar",
        f"{task}?tab=log": ".entry",
        f"#/task/{asked['task_id']}?tab=changes": ".diff",
        f"#/checkpoint/{asked['checkpoint_id']}": ".diff",
        node: ".toollist",
    }


def test_a_link_opens_the_page_once_and_leaves_no_key_in_the_address(
    browser: Browser, three: Cluster
) -> None:
    node = three.followers()[0]
    context = looking(browser)
    page = context.new_page()
    sizes: list[int] = []
    page.on("requestfinished", lambda request: sizes.append(request.sizes()["responseBodySize"]))
    url = node.client.post("login-links")["url"]

    page.goto(url.partition("/login")[0])
    expect(page.get_by_role("heading")).to_have_text("This page needs a key")
    sizes.clear()
    page.goto(url)
    page.wait_for_selector(".topology")
    assert "key" not in page.url
    assert sum(sizes) < 150 * KILOBYTE
    expect(page.locator("#state")).to_contain_text("live")
    leader = three.leader().name
    expect(page.locator(".headline strong")).to_have_text(leader)
    expect(page.locator(".peer.leader .name")).to_have_text(leader)
    expect(page.locator(".card")).to_have_count(3)
    paint_ms = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert paint_ms < 3000
    again = context.new_page()
    again.goto(url)
    assert "used or is too old" in again.inner_text("body")
    context.close()


def test_submit_a_plan_see_it_run_and_read_its_log(page: Page, three: Cluster) -> None:
    go(page, "#/submit", ".templates label")
    page.get_by_role("button", name="A plan of my own").click()
    plan = page.get_by_label("Plan (YAML or TOML)")
    plan.fill(PLAN.replace("[look]", "[lock]"))
    expect(page.locator("#wrong")).to_contain_text('did you mean "look"')
    expect(page.locator(".gutter .bad")).to_have_count(1)
    expect(page.get_by_role("button", name="Submit", exact=True)).to_be_disabled()
    plan.fill(PLAN)
    expect(page.locator(".compose .vertex")).to_have_count(2)
    expect(page.locator(".steps li").first).to_contain_text("with command")
    page.get_by_role("button", name="Submit", exact=True).click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Mend the login form")
    expect(page.locator(".vertex.s-completed")).to_have_count(2)
    expect(page.locator(".taskhead .badge")).to_have_text("completed")
    page.get_by_role("button", name=re.compile("^mend")).click()
    expect(page.locator(".detail .attempts li")).to_have_count(1)
    page.get_by_role("button", name="Its log").click()
    expect(page.locator(".entry.stderr")).to_contain_text("oops")
    expect(page.locator(".entry", has_text="looking closely")).to_have_count(0)
    page.get_by_label("Subtask").select_option("")
    page.get_by_label("Search in the log").fill("closely")
    expect(page.locator(".entry mark")).to_have_text("closely")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download").click()
    assert "looking closely" in Path(saved.value.path()).read_text()


def test_what_others_do_shows_by_itself(page: Page, three: Cluster) -> None:
    """Another node takes the work in, a third one runs it, and this page was only looked at."""
    go(page, "#/tasks", ".filters")
    task_id = three.leader().submit(LONG)
    row = page.locator(f'a[href="#/task/{task_id}"]')
    expect(row).to_contain_text("under way")
    row.click()
    expect(page.locator(".vertex.s-in_progress")).to_have_count(1)
    page.get_by_role("button", name=re.compile("^second")).click()
    expect(page.locator(".why")).to_contain_text("it needs first")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".taskhead .badge")).to_have_text("paused")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".taskhead .badge")).to_have_text("under way")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("textbox").fill("seen enough")
    page.get_by_role("dialog").get_by_role("button", name="Cancel the task").click()
    expect(page.locator(".taskhead .badge")).to_have_text("cancelled")
    expect(page.locator(".taskhead .reason")).to_contain_text("seen enough")


def test_everything_by_keyboard(page: Page, three: Cluster) -> None:
    task_id = three.leader().submit(PLAN.replace("Mend", "Find"))
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("g")
    page.keyboard.press("t")
    expect(page.get_by_role("heading", level=1)).to_have_text("Tasks")
    page.keyboard.press("/")
    expect(page.get_by_label("Search tasks")).to_be_focused()
    page.keyboard.type("find the login")
    row = page.locator(f'a[href="#/task/{task_id}"]')
    expect(page.locator(".task")).to_have_count(1)
    page.get_by_label("Search tasks").blur()
    page.keyboard.press("j")
    expect(row).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".vertex")).to_have_count(2)
    page.keyboard.press("j")
    expect(page.locator(".detail h2")).to_have_text("look")
    for key, found in (("2", ".timeline"), ("3", ".log"), ("1", ".graph")):
        page.keyboard.press(key)
        expect(page.locator(found)).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("search tasks")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_no_view_is_wider_than_a_phone(browser: Browser, three: Cluster, asked: Document) -> None:
    task_id = three.leader().submit(PLAN)
    completed(three.leader(), task_id)
    context = looking(browser, viewport={"width": 360, "height": 740}, has_touch=True)
    page = opened(context, three.followers()[0])
    for address, wanted in views_of(page, task_id, asked).items():
        go(page, address, wanted)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, address
    small = page.evaluate(
        """[...document.querySelectorAll('a, button')].filter(e => e.offsetParent)
           .map(e => [e.outerHTML.slice(0, 90), e.getBoundingClientRect()])
           .filter(([, r]) => r.height > 0 && r.height < 24).map(([name]) => name)"""
    )
    assert small == [], "targets of at least 24 pixels (WCAG 2.5.8)"
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_barrier_in_any_view(
    browser: Browser, three: Cluster, asked: Document, scheme: str
) -> None:
    script = axe()
    if script is None:
        if os.environ.get("PACELINE_TOOLS_REQUIRED"):
            pytest.fail("axe-core is not installed: tests/rigs/browser/install.sh")
        pytest.skip("axe-core is not installed: tests/rigs/browser/install.sh")
    task_id = three.leader().submit(PLAN)
    completed(three.leader(), task_id)
    # Axe itself needs what our policy forbids; the policy is tested elsewhere.
    context = looking(browser, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce")
    page = opened(context, three.followers()[0])
    found = {}
    for address, wanted in views_of(page, task_id, asked).items():
        go(page, address, wanted)
        found[address] = barriers(page, script)
    context.close()
    assert {address: each for address, each in found.items() if each} == {}


def test_another_servers_page_on_this_machine_can_change_nothing(
    browser: Browser, three: Cluster
) -> None:
    """Cookies are sent to every port of a host: this is the attacker that they let in."""
    node = three.followers()[0]
    task_id = node.submit(LONG)
    context = looking(browser)
    page = opened(context, node)
    origin = page.evaluate("location.origin")
    cancel = f"{origin}/api/v1/tasks/{task_id}/cancel"
    with evil_server() as (address, cookies):
        other = context.new_page()
        other.goto(address)
        answers = other.evaluate(
            """async ([cancel, status]) => {
                const told = [];
                for (const [url, options] of [
                    [cancel, {method: 'POST', mode: 'no-cors', body: '{}'}],
                    [cancel, {method: 'POST', headers: {'Content-Type': 'application/json'}}],
                    [cancel, {method: 'POST', headers: {'X-Paceline-Key': 'x'}}],
                    [status, {}],
                ]) {
                    const answer = await fetch(url, {credentials: 'include', ...options})
                        .then((response) => response.type, () => 'refused');
                    told.push(answer);
                }
                return told;
            }""",
            [cancel, f"{origin}/api/v1/status"],
        )
    assert answers == ["refused"] * 4, "and it may read none of it"
    assert any("paceline_" in each for each in cookies), "the browser did send it our cookie"
    assert node.task(task_id)["status"] == "in_progress"
    # And our own page, with its key, can.
    go(page, f"#/task/{task_id}", ".vertex")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the task").click()
    expect(page.locator(".taskhead .badge")).to_have_text("cancelled")
    context.close()


class _Evil(BaseHTTPRequestHandler):
    cookies: list[str]

    def do_GET(self) -> None:
        self.cookies.append(self.headers.get("Cookie", ""))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>hello</title>")

    def log_message(self, *args: object) -> None:
        pass


class evil_server:  # noqa: N801 - reads as a word at its use
    """Another program's web server on loopback; answers its address and the cookies it was sent."""

    def __enter__(self) -> tuple[str, list[str]]:
        cookies: list[str] = []
        handler = type("Evil", (_Evil,), {"cookies": cookies})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_address[1]}/", cookies

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_a_person_sends_work_back_with_a_comment_on_its_line(
    page: Page, three: Cluster, asked: Document
) -> None:
    expect(page.locator(".banner.person")).to_contain_text("1 decision for you")
    expect(page.locator("#asked")).to_have_text("1")
    page.locator(".banner.person").click()
    page.locator(".decisions a").click()
    expect(page.locator(".findings").first).to_contain_text("mean.py")
    expect(page.locator(".diff summary code")).to_have_text("mean.py")
    line = page.locator("tr.add", has_text="eval(input())")
    line.hover()
    line.get_by_role("button").click()
    correct = page.get_by_role("button", name="Ask for correction")
    expect(correct).to_be_disabled()
    page.locator("tr.comment textarea").fill("use sum()")
    correct.click()
    expect(page.locator("#says")).to_contain_text("Sent back with your words.")
    expect(page.get_by_role("heading", level=1)).to_have_text("Decisions")
    task = completed(three.leader(), asked["task_id"])
    (decided,) = task["checkpoints"]
    assert (decided["decision"], decided["status"]) == ("correct", "resolved")
    assert [each["text"] for each in decided["comments"]] == ["use sum()"]
    assert decided["comments"][0]["file"] == "mean.py"
    expect(page.locator(".brief")).to_contain_text("sent back for correction")


def test_the_leader_dies_while_one_looks_then_the_majority(page: Page, three: Cluster) -> None:
    """Last of all: it leaves the cluster with one node."""
    leader = three.leader()
    expect(page.locator(".peer.leader .name")).to_have_text(leader.name)
    leader.kill()
    expect(page.locator(".peer.leader .name")).not_to_have_text(leader.name)
    heir = page.locator(".peer.leader .name").text_content()
    assert heir in {node.name for node in three.nodes if node is not leader}
    expect(page.locator(".peer.away .name")).to_have_text(leader.name)
    expect(page.locator(".banner.warn")).to_contain_text(f"{leader.name} is missing")
    task_id = three.leader().submit(PLAN.replace("Mend", "Finish"))
    expect(page.locator(f'.brief a[href="#/task/{task_id}"] .s-completed').first).to_be_visible()

    own = page.locator("#state span").inner_text().split()[0]
    other = next(n for n in three.nodes if n.process is not None and n.name != own)
    other.kill()
    expect(page.locator("#alert")).to_contain_text("No majority.")
    expect(page.locator("#alert")).to_contain_text("2 of 3 voters are needed")
    last = next(n for n in three.nodes if n.process is not None)
    last.kill()
    expect(page.locator("#alert")).to_contain_text("This node does not answer.")
    last.start()
    wait_for("the page to be back", lambda: last.status() is not None, 60)
