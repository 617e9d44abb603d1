"""A node as a service: the unit is one that systemd takes, and systemd is told what it must be."""

import os
import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from paceline.cli.service import unit
from tests.cli.command import paceline

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd")

SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$CALLS"
exit ${STATUS:-0}
"""


@pytest.fixture
def where(tmp_path: Path) -> dict[str, str]:
    """A user of a machine with a systemctl that writes down what it is told."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "systemctl").write_text(SYSTEMCTL)
    (programs / "systemctl").chmod(0o755)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PACELINE_DATA_DIR": str(tmp_path / "my data %h $x"),
    }


def calls(where: dict[str, str]) -> list[str]:
    return Path(where["CALLS"]).read_text().splitlines()


def test_a_service_is_installed_asked_for_and_removed(where: dict[str, str]) -> None:
    file = Path(where["XDG_CONFIG_HOME"]) / "systemd" / "user" / "paceline.service"
    assert paceline("node", "service", "status", "--json", **where).json["installed"] is False

    installed = paceline("node", "service", "install", **where)
    assert installed.status == 0, installed.err
    assert calls(where) == ["--user daemon-reload", "--user enable --now paceline.service"]
    assert file.exists()
    asked = paceline("node", "service", "status", "--json", **where).json
    assert asked == {"installed": True, "file": str(file), "running": True}
    assert not paceline("node", "service", "status", "--json", **where, STATUS="3").json["running"]

    assert paceline("node", "service", "remove", **where).status == 0
    assert not file.exists()
    assert "--user disable --now paceline.service" in calls(where)
    assert paceline("node", "service", "remove", **where).status == 5


def test_a_system_that_refuses_is_told(where: dict[str, str]) -> None:
    refused = paceline("node", "service", "install", **where, STATUS="1")

    assert refused.status == 1
    assert "systemctl --user daemon-reload` failed" in refused.err


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_itself_takes_the_unit(where: dict[str, str], tmp_path: Path) -> None:
    written = tmp_path / "paceline.service"
    written.write_text(paceline("node", "service", "install", "--print", **where).out)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(written)],
        capture_output=True,
        text=True,
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert str(written) not in done.stderr


def test_what_means_something_to_systemd_stands_for_itself() -> None:
    text = unit(Path("/my data %h $x"), {"PATH": "/a$b:/c%d", "PACELINE_TOKEN": "secret"}, "linux")

    assert '"/my data %%h $$x"' in text
    assert 'Environment="PATH=/a$b:/c%%d"' in text
    assert "secret" not in text


def test_launchd_gets_a_property_list() -> None:
    document = plistlib.loads(unit(Path("/my data"), {"PATH": "/bin"}, "darwin").encode())

    assert document["ProgramArguments"][1:] == [
        *("-P", "-m", "paceline", "node", "start", "--data-dir", "/my data")
    ]
    assert document["StandardErrorPath"] == "/my data/node.log"
    assert document["KeepAlive"] == {"SuccessfulExit": False}
