"""The pages for beginners, as a beginner follows them: all marked blocks, in one shell."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import environment
from tests.cli.test_docs import ROOT, marked

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_what_the_pages_tell_a_beginner_to_do_works(tmp_path: Path) -> None:
    pages = [ROOT / "docs" / name for name in ("install.md", "first-cluster.md")]
    script = "\n".join(["set -eu", *(block for page in pages for block in marked(page))])
    programs = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
        env=environment(
            PATH=f"{programs}:{os.environ['PATH']}",
            HOME=str(tmp_path),
            PACELINE_CONFIG=str(tmp_path / "config.toml"),
            PACELINE_DATA_DIR=str(tmp_path / "data"),
            PACELINE_BIND="127.0.0.1",
            PACELINE_PORT="0",
            PACELINE_WEB_PORT="0",
            PACELINE_MDNS="0",
        ),
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "completed" in done.stdout
    assert "TODO: say what this is" in done.stdout
    assert "nothing runs" in done.stdout
    assert not (tmp_path / "data" / "node.json").exists()
