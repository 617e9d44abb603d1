"""The commands around the configuration file, as a person would use them."""

import json
from pathlib import Path

from tests.cli.command import paceline


def test_a_file_is_written_once_changed_shown_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "conf" / "config.toml"
    where = {"PACELINE_CONFIG": str(file)}
    assert paceline("config", "init", **where).out.strip() == str(file)
    again = paceline("config", "init", **where)
    assert (again.status, "--force" in again.err) == (1, True)
    assert "no mistake" in paceline("config", "check", **where).out

    file.write_text(f'slots = 3\nmax_voters = 7\nprofile = "wired"\ndata_dir = "{tmp_path}/d"\n')
    shown = paceline("config", "show", "--json", **where, PACELINE_MAX_VOTERS="3").json
    found = {each["name"]: (each["value"], each["from"]) for each in shown["settings"]}

    assert found["slots"] == (3, "file")
    assert found["max_voters"] == (3, "environment")
    assert found["port"] == (7433, "default")
    assert found["data_dir"] == (f"{tmp_path}/d", "file")
    assert "wired" in paceline("config", "show", **where).out


def test_a_wrong_key_is_status_2_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("\nslot = 3\n")
    for command in (["config", "check"], ["node", "start"], ["node", "service", "install"]):
        refused = paceline(
            *command, PACELINE_CONFIG=str(file), PACELINE_DATA_DIR=str(tmp_path / "d")
        )
        assert refused.status == 2, command
        assert "line 2: there is no setting 'slot'; did you mean slots?" in refused.err


def test_other_commands_find_the_node_by_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"data_dir = {json.dumps(str(tmp_path / 'there'))}\n")
    asked = paceline("status", PACELINE_CONFIG=str(file))

    assert asked.status == 3
    assert str(tmp_path / "there") in asked.err
