"""The options of a node: what is refused and why, and which source wins."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import InvalidSettings
from paceline.settings import (
    NodeSettings,
    default_data_dir,
    default_name,
    default_slots,
    load,
    parse_address,
)
from paceline.tokens import new_token

TOKEN = "0123456789abcdef" * 4


def a_node(**changes: Any) -> NodeSettings:
    return NodeSettings(data_dir=Path("/d"), name="n", **changes)


def test_the_defaults_are_private_and_complete() -> None:
    settings = load({"data_dir": "/d"}, {})

    assert settings.bind == "::"
    assert not settings.approve
    assert settings.token is None
    assert (settings.lease_ms, settings.grace_ms, settings.max_voters) == (10_000, 2_000, 5)
    assert settings.name == default_name()
    assert settings.slots == default_slots() >= 1
    assert settings.node_file == Path("/d/node.json")
    assert settings.api_token_file == Path("/d/api.token")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"port": 65536}, "--port"),
        ({"port": -1}, "--port"),
        ({"web_port": 65536}, "--web-port"),
        ({"port": 5, "web_port": 5}, "differ"),
        ({"slots": 257}, "--slots"),
        ({"max_voters": 0}, "--max-voters"),
        ({"lease_ms": 499}, "--lease-ms"),
        ({"grace_ms": -1}, "--grace-ms"),
        ({"profile": "fast"}, "wired"),
        ({"log_level": "loud"}, "--log-level"),
        ({"log_format": "xml"}, "--log-format"),
        ({"bind": "localhost"}, "IP address"),
        ({"token": "short"}, "openssl"),
        ({"token": "x" * 513}, "512"),
        ({"token": "pl1-mistyped-but-long-enough"}, "mistyped"),
        ({"token": "with space in the middle"}, "ASCII"),
        ({"token": "ümlaut-ümlaut-ümlaut"}, "ASCII"),
        ({"join": ("host",)}, "HOST:PORT"),
        ({"join": ("h:1",) * 65}, "64"),
        ({"labels": {"a b": "c"}}, "--label"),
        ({"labels": {"a": "\n"}}, "--label"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidSettings, match=word):
        a_node(**changes)


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "x" * 64, "ü"])
def test_a_name_must_be_sayable_everywhere(name: str) -> None:
    with pytest.raises(InvalidSettings, match="--name"):
        NodeSettings(data_dir=Path("/d"), name=name)


@pytest.mark.parametrize("bind", ["127.0.0.1", "::1", "0.0.0.0", "::", "192.168.1.5"])
def test_any_address_of_the_machine_may_be_listened_at(bind: str) -> None:
    assert a_node(bind=bind).bind == bind


def test_a_token_is_taken_in_its_one_spelling() -> None:
    token = new_token()
    assert load({"token": f" {token.upper()} "}, {}).token == token
    with pytest.raises(InvalidSettings, match="spelling"):
        a_node(token=token.upper())


def test_the_token_is_not_shown() -> None:
    assert TOKEN not in repr(a_node(token=TOKEN))


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        a_node().port = 1  # type: ignore[misc]


def test_the_most_explicit_token_wins(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f" {TOKEN[::-1]}\n")
    environ = {"PACELINE_TOKEN": "e" * 32}

    assert load({}, environ).token == "e" * 32
    assert load({}, environ | {"PACELINE_TOKEN_FILE": str(file)}).token == TOKEN[::-1]
    assert load({"token_file": str(file)}, environ).token == TOKEN[::-1]
    assert load({"token": TOKEN}, environ).token == TOKEN
    assert load({"token": "-"}, environ, io.StringIO(TOKEN + "\nmore")).token == TOKEN
    assert load({"token_file": "-"}, environ, io.StringIO(TOKEN)).token == TOKEN
    assert load({}, {"PACELINE_TOKEN": ""}).token is None


def test_a_token_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="No such file"):
        load({"token_file": str(tmp_path / "none")}, {})
    with pytest.raises(InvalidSettings, match="standard input"):
        load({"token": "-"}, {}, io.StringIO("\n"))
    with pytest.raises(InvalidSettings, match="exclude"):
        load({"token": TOKEN, "token_file": "x"}, {})
    (tmp_path / "bytes").write_bytes(b"\xff" * 40)
    with pytest.raises(InvalidSettings, match="not text"):
        load({"token_file": str(tmp_path / "bytes")}, {})


def test_labels_may_be_given_as_text() -> None:
    labels = load({"labels": ("gpu=rtx", "zone=a/b", "quiet=")}, {}).labels

    assert labels == {"gpu": "rtx", "zone": "a/b", "quiet": ""}


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="colour"):
        load({"colour": "red"}, {})


def test_none_means_not_said() -> None:
    assert load({"port": None, "join": None}, {}) == load({}, {})


def test_the_data_directory_is_absolute_and_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.platform", "linux")

    assert default_data_dir({"PACELINE_DATA_DIR": "here"}) == tmp_path / "here"
    assert default_data_dir({"XDG_DATA_HOME": "/x"}) == Path("/x/paceline")
    fallback = Path.home() / ".local" / "share" / "paceline"
    assert default_data_dir({}) == fallback
    assert default_data_dir({"XDG_DATA_HOME": "relative"}) == fallback
    assert load({"data_dir": "~/d"}, {}).data_dir == Path.home() / "d"


def test_addresses_are_read() -> None:
    assert parse_address("host.local:7433") == ("host.local", 7433)
    assert parse_address("[fe80::1%eth0]:7433") == ("fe80::1%eth0", 7433)


@pytest.mark.parametrize("text", ["", "h", ":1", "h:", "h:0", "h:65536", "h:x", "::1:5", "h:²"])
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(InvalidSettings):
        parse_address(text)


@given(st.text(max_size=40))
def test_no_text_is_an_address_by_accident(text: str) -> None:
    try:
        host, port = parse_address(text)
    except InvalidSettings:
        return
    assert host
    assert 1 <= port <= 65535
