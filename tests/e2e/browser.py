"""A real browser (Debian's Chromium) in front of a real node's page."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.e2e.cluster import Node

WAIT_MS = 20_000
"""Ten times what anything here takes on a busy machine."""

SERIOUS = ("serious", "critical")


def chromium() -> str:
    """Answer where the browser is; skip, or fail where CI says that it must be there."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        reason = "Chromium is not installed (apt-get install chromium)"
        pytest.fail(reason) if os.environ.get("PACELINE_TOOLS_REQUIRED") else pytest.skip(reason)
    return str(found)


@contextmanager
def browsing() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(),
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        try:
            yield browser
        finally:
            browser.close()


def looking(browser: Browser, **options: Any) -> BrowserContext:
    """Answer a fresh profile of a person's browser."""
    options.setdefault("viewport", {"width": 1360, "height": 880})
    context = browser.new_context(**options)
    context.set_default_timeout(WAIT_MS)
    return context


def opened(context: BrowserContext, node: Node) -> Page:
    """Log in with a one-time link, as `paceline web` does, and wait for the picture."""
    page = context.new_page()
    page.goto(node.client.post("login-links")["url"])
    page.wait_for_selector(".topology")
    return page


def go(page: Page, address: str, wanted: str) -> None:
    """Go to a view by its address, and wait for something in it."""
    page.evaluate("address => { location.hash = address }", address)
    page.wait_for_selector(wanted)


def axe() -> Path | None:
    """Answer where axe-core is, if it was installed (tests/rigs/browser/install.sh)."""
    tools = os.environ.get("PACELINE_TEST_TOOLS") or Path.home() / ".cache/paceline-test-tools"
    script = Path(tools) / "browser/node_modules/axe-core/axe.min.js"
    return script if script.is_file() else None


def barriers(page: Page, script: Path) -> list[str]:
    """Answer what axe-core finds serious on the page as it is now."""
    page.evaluate(script.read_text("utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{each['id']}: {node['html'][:160]} ({node['failureSummary'][:300]})"
        for each in found
        if each["impact"] in SERIOUS
        for node in each["nodes"][:3]
    ]
