"""`paceline evaluate`, as it is run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evaluators.repositories import repository, write

BASE = {"sums.py": '"""Sums."""\n', "pyproject.toml": "[project]\nname = 'sums'\nversion = '1'\n"}
GOOD = '''"""Sums."""


def add(first: int, second: int) -> int:
    """Answer the sum of two numbers."""
    return first + second
'''


def paceline(
    directory: Path, *arguments: str, given: str = ""
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "paceline", "evaluate", *arguments],
        cwd=directory,
        input=given,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    made = repository(tmp_path / "repo", BASE)
    write(made, {"sums.py": GOOD})
    return made


def test_a_good_change_as_json(repo: Path, tmp_path: Path) -> None:
    done = paceline(tmp_path, "--repo", "repo", "--json", "--requirements", "Add `add`.",
                    "--fail-under", "7")  # fmt: skip
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert document["score"] >= 9
    assert document["verdict"] == "pass"
    assert {part["name"] for part in document["evaluators"]} >= {"security", "completeness"}


def test_a_bad_one_for_people_and_for_ci(repo: Path) -> None:
    write(repo, {"sums.py": 'import os\n\n\ndef add(a):\n    os.system("rm " + a)\n'})
    done = paceline(repo, "--fail-under", "7")
    assert done.returncode == 1
    assert "command-injection" in done.stdout
    assert "retry" in done.stdout


@pytest.mark.slow
def test_tests_run_only_when_asked(repo: Path) -> None:
    command = f'{sys.executable} -c \'open("ran", "w")\'; exit 1'
    write(repo, {"Makefile": f"test:\n\t{command}\n"})
    paceline(repo, "--base", "HEAD")
    assert not (repo / "ran").exists()
    done = paceline(repo, "--test-command", command, "--json")
    assert (repo / "ran").exists()
    document = json.loads(done.stdout)
    assert document["verdict"] == "retry"
    assert document["scores"]["tests"] == 0


@pytest.mark.slow
def test_requirements_from_a_file_and_from_standard_input(repo: Path) -> None:
    write(repo.parent, {"task.md": "- add `multiply`\n"})
    for arguments, given in ((("../task.md",), ""), (("-",), "- add `multiply`\n")):
        done = paceline(repo, "--requirements", *arguments, "--json", given=given)
        assert "multiply" in done.stdout


@pytest.mark.slow
def test_configuration(repo: Path, tmp_path: Path) -> None:
    write(repo, {".paceline/evaluators.toml": "[evaluators.security]\nenabled = false\n"})
    document = json.loads(paceline(repo, "--json").stdout)
    assert "security" in document["scores"]
    assert ".paceline/evaluators.toml is part of the change" in document["notes"][0]
    given = paceline(repo, "--json", "--config", ".paceline/evaluators.toml")
    assert "security" not in json.loads(given.stdout)["scores"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--base", "nowhere"), "nowhere is no commit of"),
        (("--config", "absent.toml"), "absent.toml cannot be read"),
        (("--fail-under", "11"), "11.0 is not in the range"),
    ],
)
def test_usage(repo: Path, arguments: tuple[str, ...], said: str) -> None:
    done = paceline(repo, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.slow
def test_a_bad_configuration_of_the_base_names_its_line(tmp_path: Path) -> None:
    files = {".paceline/evaluators.toml": "[limits]\n\nspeed = 1\n"}
    done = paceline(repository(tmp_path / "r", files))
    assert done.returncode == 2
    assert ".paceline/evaluators.toml, line 3: limits.speed: there is no such key" in done.stderr


@pytest.mark.slow
def test_names_cannot_speak_to_the_terminal(repo: Path) -> None:
    write(repo, {"\x1b[31mred\x07.py": "import os\nos.system('x' + y)\n"})
    assert "\x1b" not in paceline(repo).stdout


def test_other_commands_do_not_pay_for_it() -> None:
    code = (
        "import sys, paceline.cli.main, paceline.cli.cluster\n"
        "heavy = ('tree_sitter', 'lizard', 'bandit', 'detect_secrets', 'paceline.evaluators')\n"
        "assert not [m for m in sys.modules if m.startswith(heavy)]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_framework_alone_is_light() -> None:
    code = (
        "import sys, paceline.evaluators.engine, paceline.evaluators.gather\n"
        "import paceline.evaluators.measure.running, paceline.evaluators.builtin.judge\n"
        "heavy = ('tree_sitter', 'lizard', 'bandit', 'detect_secrets', 'requests')\n"
        "assert not [m for m in sys.modules if m.startswith(heavy)]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
