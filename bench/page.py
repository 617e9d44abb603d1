"""How quick the page is, in Chromium before a real node: python -m bench.page [--tasks 5000]

* paint: from asking for the page to something on the screen, and what was sent for it, in bytes;
* update: from the moment that the leader gave a submission its time (before it was committed) to
  its row being in the document of a page that only looks on;
* scroll: frames while a list of that many tasks is scrolled through, and how many rows exist;
* nodes: drawing the overview again for a cluster of fifty (its status is made up for that).
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Request

from tests.e2e.browser import browsing, go, looking, opened
from tests.e2e.cluster import Cluster, Node, cluster

WAITING = "description: {words}\nsubtasks: [{{name: a, tool: claude_code, instructions: wait}}]\n"
UPDATES = 30
NODES = 50

SCROLL = """async () => {
    const list = document.querySelector('.vlist');
    const frames = [];
    let rows = 0;
    let last = performance.now();
    while (list.scrollTop + list.clientHeight < list.scrollHeight - 5 && frames.length < 1500) {
        list.scrollTop += 400;
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        frames.push(now - last);
        last = now;
        rows = Math.max(rows, document.querySelectorAll('.vlist .row').length);
    }
    return {frames, rows, height: list.scrollHeight};
}"""

CREATED = """async (id) => {
    const answer = await fetch(`/api/v1/tasks/${id}`);
    return Date.parse((await answer.json()).created_at);
}"""

WATCH = """() => {
    window.seen = {};
    new MutationObserver(() => {
        for (const link of document.querySelectorAll('.task')) {
            window.seen[link.hash.split('/')[2]] ??= Date.now();
        }
    }).observe(document.getElementById('view'), {childList: true, subtree: true});
}"""

FIFTY = """async (count) => {
    const {state, takeCluster} = await import('/static/store.js');
    const {overview} = await import('/static/view_overview.js');
    const {render} = await import('/static/dom.js');
    const one = state.cluster.members[0];
    const place = document.querySelector('.view');
    const times = [];
    for (let turn = 0; turn < 30; turn += 1) {
        const members = Array.from({length: count}, (_, at) => ({
            ...one, node_id: `n${at}`, name: `node-${at}`, role: at ? 'learner' : 'leader',
            resources: {...one.resources, cpu_percent: (at * 7 + turn * 3) % 100},
        }));
        takeCluster({...state.cluster, node_id: 'n1', leader_id: 'n0', members});
        const began = performance.now();
        render(place, overview.draw());
        place.getBoundingClientRect();
        times.push(performance.now() - began);
        await new Promise(requestAnimationFrame);
    }
    return times;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=5000)
    count = parser.parse_args().tasks
    with (
        tempfile.TemporaryDirectory() as place,
        cluster(Path(place), 3) as nodes,
        browsing() as browser,
    ):
        node = nodes.followers()[0]
        began = time.monotonic()
        for number in range(count):
            node.submit(WAITING.format(words=f"Task number {number} of many"))
        told: dict[str, Any] = {"tasks": count, "submitted_s": round(time.monotonic() - began, 1)}
        told["paint"] = paint(browser, node)
        page = opened(looking(browser), node)
        told["update_ms"] = updates(page, nodes)
        told["scroll"] = scroll(page, count)
        go(page, "#/", ".topology")
        told[f"draw_{NODES}_nodes_ms"] = summary(page.evaluate(FIFTY, NODES))
        print(json.dumps(told, indent=2))


def paint(browser: Browser, node: Node) -> dict[str, Any]:
    found, size = [], 0
    for _ in range(5):
        context = looking(browser)
        sizes: list[int] = []
        context.on("requestfinished", partial(_note_size, sizes))
        page = opened(context, node)
        found.append(page.evaluate("performance.getEntriesByType('paint').at(-1).startTime"))
        size = sum(sizes)
        context.close()
    return {"first_contentful_ms": summary(found), "bytes": size}


def _note_size(sizes: list[int], request: Request) -> None:
    sizes.append(request.sizes()["responseBodySize"])


def updates(page: Page, nodes: Cluster) -> dict[str, float]:
    go(page, "#/tasks", ".task")
    page.evaluate(WATCH)
    leader, found = nodes.leader(), []
    for number in range(UPDATES):
        task_id = leader.submit(WAITING.format(words=f"News {number}"))
        page.wait_for_function("id => window.seen[id]", arg=task_id)
        created = page.evaluate(CREATED, task_id)
        found.append(page.evaluate("id => window.seen[id]", task_id) - created)
    return summary(found)


def scroll(page: Page, count: int) -> dict[str, Any]:
    told = page.evaluate(SCROLL)
    return {
        "frame_ms": summary(told["frames"]),
        "rows_in_document": told["rows"],
        "rows_reached": told["height"] // 56,
    }


def summary(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 1),
        "p95": round(ordered[int(len(ordered) * 0.95) - 1], 1),
        "max": round(ordered[-1], 1),
    }


if __name__ == "__main__":
    main()
