from pathlib import Path

import pytest

from paceline.errors import InvalidSettings
from paceline.tools.environment import build_environment

NODE = {
    "PATH": "/opt/venv/bin:/usr/bin",
    "LANG": "C.UTF-8",
    "HOME": "/home/person",
    "TMPDIR": "/var/tmp",
    "CUDA_VISIBLE_DEVICES": "0",
    "ANTHROPIC_API_KEY": "s",
    "GH_TOKEN": "s",
    "AWS_SECRET_ACCESS_KEY": "s",
    "SSH_AUTH_SOCK": "s",
    "GIT_DIR": "s",
    "PYTHONPATH": "s",
    "LD_PRELOAD": "s",
    "PACELINE_TOKEN": "s",
    "DATABASE_URL": "s",
}


def test_it_is_built_from_nothing() -> None:
    assert build_environment(NODE, home=Path("/h"), temporary=Path("/t")) == {
        "PATH": "/opt/venv/bin:/usr/bin",
        "LANG": "C.UTF-8",
        "HOME": "/h",
        "TMPDIR": "/t",
    }


def test_what_is_named_passes() -> None:
    built = build_environment(
        NODE,
        home=Path("/h"),
        temporary=Path("/t"),
        passed=["CUDA_VISIBLE_DEVICES", "NOT_THERE"],
        added={"OWN": "1"},
    )
    assert built["CUDA_VISIBLE_DEVICES"] == "0"
    assert built["OWN"] == "1"
    assert "NOT_THERE" not in built


@pytest.mark.parametrize(
    "name",
    [
        *("ANTHROPIC_API_KEY", "GH_TOKEN", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "GIT_DIR"),
        *("PYTHONPATH", "LD_PRELOAD", "PACELINE_TOKEN", "npm_config_token"),
    ],
)
def test_secrets_never_pass(name: str) -> None:
    with pytest.raises(InvalidSettings, match=name):
        build_environment(NODE, home=Path("/h"), temporary=Path("/t"), passed=[name])
