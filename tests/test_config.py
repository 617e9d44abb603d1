"""The configuration file: what it may say, who is stronger, and how mistakes are told."""

import dataclasses
from pathlib import Path

import pytest

from paceline import config
from paceline.errors import InvalidSettings
from paceline.settings import NodeSettings, load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_the_file_that_init_writes_says_nothing_and_names_every_setting(file: Path) -> None:
    file.write_text(config.template())

    assert config.read(file) == {}
    names = {each.name for each in dataclasses.fields(NodeSettings)} - {"token", "anew"}
    assert {f"#{name} = " for name in names} <= {
        line[: line.index("=") + 2] for line in config.template().splitlines() if " = " in line
    }


def test_every_line_of_it_may_be_switched_on(file: Path) -> None:
    lines = config.template().splitlines()
    file.write_text("\n".join(line.removeprefix("#") for line in lines if line.startswith("#l")))
    assert config.read(file)["labels"] == {"os": "linux", "gpu": "yes"}

    for line in lines:
        if line.startswith("#") and " = " in line and not line.startswith("# "):
            file.write_text(line.removeprefix("#"))
            assert len(config.read(file)) == 1


def test_no_file_says_nothing(file: Path) -> None:
    assert config.read(file) == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("\nslot = 3", "line 2: there is no setting 'slot'; did you mean slots?"),
        ("zebra = 3", "line 1: there is no setting 'zebra'; `paceline config init`"),
        ("name = 'a'\nport = 'x'", "line 2: port must be a whole number"),
        ("mdns = 1", "line 1: mdns must be true or false"),
        ("slots = true", "line 1: slots must be a whole number"),
        ("join = 'a:1'", "line 1: join must be a list of texts"),
        ("join = ['nonsense']", "line 1: 'nonsense' is not HOST:PORT"),
        ("[labels]\nos = 3", "line 1: labels must be a table of texts"),
        ("\n\nport = 99999", "line 3: --port must be between 0 and 65535"),
        ("profile = 'fast'", "line 1: --profile must be one of"),
        ("token = 'secret-secret-secret'", "line 1: the token does not belong into this file"),
        ("port = = 3", "line 1, column 8"),
        ("name = '\x00'", "line 1"),
    ],
)
def test_a_mistake_is_refused_with_its_line_and_what_to_do(
    file: Path, text: str, told: str
) -> None:
    file.write_text(text)

    with pytest.raises(InvalidSettings) as refused:
        config.read(file)
    assert told in str(refused.value)
    assert str(file) in str(refused.value)
    assert "secret-secret" not in str(refused.value)


def test_a_file_that_is_no_text_or_far_too_long_is_refused(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSettings, match="UTF-8"):
        config.read(file)
    file.write_text("#" * (config.LIMIT_BYTES + 1))
    with pytest.raises(InvalidSettings, match="longer than"):
        config.read(file)


def test_options_are_stronger_than_the_file_and_the_file_than_defaults() -> None:
    given = {"slots": 4, "port": None, "join": (), "data_dir": "/d"}
    merged = config.under(given, {"slots": 7, "port": 8, "join": ("a:1",)}, {})
    loaded = load(merged, {})

    assert (loaded.slots, loaded.port, loaded.join) == (4, 8, ("a:1",))
    assert loaded.max_voters == 5


@pytest.mark.parametrize("stronger", [{"token": "x" * 20}, {"token_file": "/other"}])
def test_a_token_of_the_command_line_is_stronger_than_a_named_file(
    stronger: dict[str, str],
) -> None:
    assert config.under(stronger, {"token_file": "/f"}, {}) == stronger


def test_a_token_of_the_environment_is_stronger_than_a_named_file() -> None:
    said = {"token_file": "/f"}
    assert config.under({}, said, {"PACELINE_TOKEN": "y" * 20}) == {}
    assert config.under({}, said, {}) == said


def test_the_data_directory_is_found_by_variable_then_file(file: Path) -> None:
    file.write_text("data_dir = '/from/file'")
    environ = {"PACELINE_CONFIG": str(file)}

    assert config.data_dir(environ) == Path("/from/file")
    assert config.data_dir({**environ, "PACELINE_DATA_DIR": "/from/env"}) == Path("/from/env")


def test_the_file_is_where_the_system_keeps_such_files(tmp_path: Path) -> None:
    assert config.default_path({"PACELINE_CONFIG": "/c.toml"}) == Path("/c.toml")
    relative = config.default_path({"XDG_CONFIG_HOME": "relative"})
    assert relative.is_absolute()
