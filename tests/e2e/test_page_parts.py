"""Parts of the page by themselves, in Chromium before a served fake: what they answer is data."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.e2e.browser import browsing, looking
from tests.node.web.served import serving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PATCH = """diff --git a/old.py b/new.py
similarity index 90%
rename from old.py
rename to new.py
--- a/old.py
+++ b/new.py
@@ -1,4 +1,4 @@ def f():
 one
--- not a header: two dashes taken away
+++ not a header either
 two
\\ No newline at end of file
diff --git a/gone.txt b/gone.txt
deleted file mode 100644
--- a/gone.txt
+++ /dev/null
@@ -1 +0,0 @@
-bye
diff --git a/picture.png b/picture.png
new file mode 100644
Binary files /dev/null and b/picture.png differ
"""

LAYOUT = """async (items) => {
    const {layout} = await import('/static/layers.js');
    const began = performance.now();
    const {boxes, arrows} = layout(items, {boxWidth: 10, boxHeight: 10, gapX: 5, gapY: 5});
    return {boxes: [...boxes], arrows, ms: performance.now() - began};
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with serving(tmp_path_factory.mktemp("served")) as served, browsing() as browser:
        context = looking(browser)
        page = context.new_page()
        link = served.call("POST", "/api/v1/login-links").json["url"]
        page.goto(link)
        yield page
        context.close()


def test_a_patch_is_read_line_by_line(page: Page) -> None:
    files = page.evaluate("async (p) => (await import('/static/diff.js')).parse(p)", PATCH)

    assert [each["path"] for each in files] == ["new.py", "gone.txt", "picture.png"]
    assert [each["note"] for each in files] == ["renamed from old.py", "deleted", "binary"]
    told = [
        (line["kind"], line["text"], line.get("old"), line.get("new")) for line in files[0]["lines"]
    ]
    assert told[1:] == [
        ("same", "one", 1, 1),
        ("del", "-- not a header: two dashes taken away", 2, None),
        ("add", "++ not a header either", None, 2),
        ("same", "two", 3, 3),
        ("note", "No newline at end of file", None, None),
    ]
    assert (files[1]["added"], files[1]["removed"]) == (0, 1)


@pytest.mark.parametrize(
    ("line", "family"),
    [
        ("def f(x): return 'it''s' + \"a\\\"b\"  # if", "hash"),
        ("const a = `x${1}`; // for /* while", "slash"),
        ("'never closed", "hash"),
        ("<b>&amp;</b>", "none"),
        ("x" * 5000 + "'", "slash"),
    ],
)
def test_colours_never_change_the_text(page: Page, line: str, family: str) -> None:
    told = page.evaluate(
        "async ([l, f]) => (await import('/static/syntax.js')).tokens(l, f)", [line, family]
    )
    assert "".join(text for _, text in told) == line


def graph_of(columns: int, rows: int) -> list[dict[str, Any]]:
    """Every box needs three of the column before it."""
    return [
        {
            "name": f"{column}.{row}",
            "needs": [f"{column - 1}.{(row + at) % rows}" for at in range(3)] if column else [],
        }
        for column in range(columns)
        for row in range(rows)
    ]


@pytest.mark.parametrize("items", [graph_of(1, 1), graph_of(4, 5), graph_of(40, 50)])
def test_a_graph_runs_from_left_to_right_and_no_boxes_overlap(
    page: Page, items: list[dict[str, Any]]
) -> None:
    told = page.evaluate(LAYOUT, items)
    boxes = dict(told["boxes"])

    assert boxes.keys() == {each["name"] for each in items}
    assert len({(each["x"], each["y"]) for each in boxes.values()}) == len(items)
    for arrow in told["arrows"]:
        assert boxes[arrow["from"]]["x"] < boxes[arrow["to"]]["x"]
    assert len(told["arrows"]) == sum(len(each["needs"]) for each in items)


def test_even_a_cycle_is_drawn(page: Page) -> None:
    items = [{"name": "a", "needs": ["b"]}, {"name": "b", "needs": ["a"]}]
    assert len(page.evaluate(LAYOUT, items)["boxes"]) == 2


def test_what_somebody_wrote_stays_text(page: Page) -> None:
    name = "<img src=x onerror=alert(1)>"
    found = page.evaluate(
        """async (name) => {
            const {h, render} = await import('/static/dom.js');
            const place = document.createElement('div');
            render(place, h('p', {title: name}, name), h('a', {href: '#' + name}, name));
            return [place.querySelectorAll('img').length, place.textContent];
        }""",
        name,
    )
    assert found == [0, name * 2]


def test_focus_and_what_is_typed_survive_an_update(page: Page) -> None:
    found = page.evaluate(
        """async () => {
            const {h, render} = await import('/static/dom.js');
            const place = document.body.appendChild(document.createElement('div'));
            const draw = (names) => render(place, names.map((n) => h('input', {key: n, id: n})));
            draw(['a', 'b', 'c']);
            const b = document.getElementById('b');
            b.focus();
            b.value = 'typed';
            draw(['b', 'c', 'd']);
            draw(['x', 'b', 'd']);
            const same = document.getElementById('b') === b && document.activeElement === b;
            const order = [...place.children].map((each) => each.id);
            place.remove();
            return [same, b.value, order];
        }"""
    )
    assert found == [True, "typed", ["x", "b", "d"]]
