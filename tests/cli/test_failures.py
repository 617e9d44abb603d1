"""The report of a defect: a file with everything but secrets."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from paceline.cli import failures
from paceline.cli.main import cli
from paceline.errors import InvalidSettings, TimedOut


def test_a_report_has_the_traceback_and_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    error = RuntimeError("broken")

    said = failures.report(error, ["node", "start", "--token", "s3cret", "--token=s3cret", "x"])
    (path,) = tmp_path.iterdir()
    text = path.read_text()

    assert str(path) in said
    assert "RuntimeError: broken" in text
    assert "s3cret" not in text
    assert "'--token', '***', '--token=***', 'x'" in text
    assert path.stat().st_mode & 0o077 == 0


def test_a_group_of_foreseen_errors_is_foreseen() -> None:
    refused, late = InvalidSettings("a port"), TimedOut("late")
    nested = ExceptionGroup("", [ExceptionGroup("", [refused]), late])

    assert failures.foreseen(nested) is refused
    assert failures.foreseen(ExceptionGroup("", [refused, RuntimeError()])) is None


def test_a_defect_in_a_command_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def broken(*arguments: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("paceline.cli.cluster.Client.get", broken)
    result = CliRunner().invoke(cli, ["status"])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "paceline-report-" in result.stderr


def test_every_command_has_help_and_a_place() -> None:
    listing = CliRunner().invoke(cli, ["--help"]).stdout

    for name in cli.list_commands(None):  # type: ignore[arg-type]
        assert name in listing
        assert CliRunner().invoke(cli, [name, "--help"]).exit_code == 0
