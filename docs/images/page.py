"""Makes the pictures of the page for the README, from the real program in a real browser.

python docs/images/page.py            writes docs/images/*.png (needs Chromium and playwright)

Five nodes, some work that a script does in the place of agents, one node killed, one decision that
waits. Nothing is drawn by hand, and nothing of this machine shows.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.e2e.browser import browsing, go, looking, opened  # noqa: E402
from tests.e2e.cluster import Cluster, completed, wait_for  # noqa: E402
from tests.e2e.test_quality import DEFINITION  # noqa: E402

AGENT = '''#!{python}
import pathlib, sys, time

if sys.argv[1:] == ["--version"]:
    sys.exit(print("1.0"))
said = sys.stdin.read()
if "retry" in said:
    file = pathlib.Path("upload.py")
    old = file.read_text()
    new = old.replace(
        "    send(path)\\n",
        "    for attempt in range(3):\\n        try:\\n            return send(path)\\n"
        "        except OSError:\\n            time.sleep(2**attempt)\\n"
        '    raise UploadFailed(f"{{path}} could not be sent in 3 attempts")\\n',
    ).replace('"""Uploads."""\\n', '"""Uploads."""\\n\\nimport time\\n')
    file.write_text(new)
    sys.exit(print("Uploads are tried three times now, with longer and longer pauses."))
for line in ("reading the code", "running the tests", "writing") * 100:
    print(line, flush=True)
    time.sleep(1)
'''

UPLOAD = '''"""Uploads."""


class UploadFailed(Exception):
    """The file did not arrive."""


def upload(path: str) -> None:
    """Send a file; raise UploadFailed."""
    send(path)


def send(path: str) -> None:
    """Send it once."""
'''

CURVES_MS = 25_000
"""Curves need a while to be curves."""

NAMES = ("basil", "fennel", "juniper", "sorrel", "thyme")

DONE = (
    "Rename the settings module",
    "Check the licences of all dependencies",
    "Speed up the search index",
    "Write the guide for newcomers",
)

FEATURE = """
description: Let people export their data
subtasks:
  - {name: design, tool: command, run: 'sleep 1'}
  - {name: api, needs: [design], tool: coder, instructions: build}
  - {name: export job, needs: [design], tool: coder, instructions: build}
  - {name: settings page, needs: [design], tool: command, run: 'sleep 1'}
  - {name: unit tests, needs: [api, export job], tool: coder, instructions: test}
  - {name: documentation, needs: [api, settings page], tool: coder, instructions: write}
  - {name: review, needs: [unit tests, documentation], tool: coder, instructions: review}
"""

RETRY = """
description: Try uploads again when the network fails
repository: {{path: {source}}}
subtasks:
  - {{name: add retries, tool: coder, checkpoint: true, instructions: 'Add a retry to uploads.'}}
  - {{name: test, needs: [add retries], tool: command, run: 'true'}}
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as place, browsing() as browser:
        directory = Path(place)
        cluster = Cluster(directory, len(NAMES), ("--slots", "3", "--sandbox", "off"))
        for node, name in zip(cluster.nodes, NAMES, strict=True):
            node.name = name
            give_agent(node.directory)
        try:
            cluster.start()
            prepare(cluster, directory)
            node = next(n for n in cluster.followers() if n.name != "thyme")
            size = {"width": 1200, "height": 780}
            light = opened(looking(browser, viewport=size, color_scheme="light"), node)
            light.wait_for_timeout(CURVES_MS)
            light.screenshot(path=HERE / "page.png")
            dark = opened(looking(browser, viewport=size, color_scheme="dark"), node)
            go(dark, f"#/checkpoint/{pending(cluster)}", "tr.add")
            dark.screenshot(path=HERE / "page-decision.png")
        finally:
            cluster.close()


def give_agent(directory: Path) -> None:
    tools = directory / "tools.d"
    tools.mkdir(parents=True)
    program = directory.parent / "agent"
    program.write_text(AGENT.format(python=sys.executable))
    program.chmod(0o755)
    definition = DEFINITION.format(binary=program)
    (tools / "coder.toml").write_text(definition)


def prepare(cluster: Cluster, directory: Path) -> None:
    source = directory / "uploader"
    source.mkdir()
    (source / "upload.py").write_text(UPLOAD)
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *command]
        subprocess.run(git, cwd=source, check=True)
    leader = cluster.leader()
    for words in DONE:
        plan = f"description: {words}\nsubtasks:\n  - {{name: do, tool: command, run: 'true'}}\n"
        completed(leader, leader.submit(plan))
    leader.submit(RETRY.format(source=source))
    leader.submit(FEATURE)
    wait_for("the decision", lambda: pending(cluster), 60)
    next(n for n in cluster.nodes if n.name == "thyme").kill()
    wait_for("two to run", lambda: len(cluster.leader().client.get("running")["running"]) >= 2, 60)


def pending(cluster: Cluster) -> str:
    found = cluster.leader().client.get("checkpoints", status="pending")["checkpoints"]
    return found[0]["checkpoint_id"] if found else ""


if __name__ == "__main__":
    main()
