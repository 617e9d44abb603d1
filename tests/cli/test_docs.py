"""What README and docs show is what there is: every command line that they show is one."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from paceline.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
_RUN = re.compile(r"^<!-- run -->\n```sh\n(.*?)^```", re.M | re.S)
_INDENTED = re.compile(r"(?:^    .*\n)+", re.M)
_NO_COMMANDS = {"paceline admission 1"}
"""Words of a protocol."""

_SPANS = re.compile(r"`(paceline [^`\n]+)`")


def marked(page: Path) -> list[str]:
    """Answer the blocks of a page that are to be run, in order."""
    return _RUN.findall(page.read_text("utf-8"))


def shown(page: Path) -> Iterator[str]:
    """Yield every command line that begins with `paceline`, wherever it stands."""
    text = page.read_text("utf-8")
    blocks = [body for kind, body in _FENCE.findall(text) if kind in ("sh", "")]
    rest = _FENCE.sub("", text)
    for line in "\n".join([*blocks, *_INDENTED.findall(rest)]).splitlines():
        found = re.match(r"\s*(?:\w+=\$\()?(?:.*\| )?(paceline [a-z-].*)", line)
        if found:
            yield found[1]
    yield from (span for span in _SPANS.findall(rest) if span not in _NO_COMMANDS)


def words(line: str) -> list[str]:
    """Answer the words of a command line, without what a shell takes for itself."""
    line = re.split(r"\s#|\s[|>&;]|\)$", line)[0].replace("\\|", "|")
    try:
        return shlex.split(line)[1:]
    except ValueError:
        return line.split()[1:]


def unknown(line: str) -> str:
    """Answer what of a command line is not there, or nothing."""
    command: click.Command = cli
    context = click.Context(cli)
    rest = words(line)
    while isinstance(command, click.Group) and rest and re.fullmatch(r"[a-z]+", rest[0]):
        found = command.get_command(context, rest[0])
        if found is None:
            return f"the command {rest[0]}"
        command, rest = found, rest[1:]
    known = {name for each in command.get_params(context) for name in _names(each)}
    known |= {"--help", "-h"}
    options = [word.strip("[],.").partition("=")[0] for word in rest if word.startswith("--")]
    return next((f"the option {each}" for each in options if each and each not in known), "")


def _names(parameter: click.Parameter) -> list[str]:
    return [*parameter.opts, *parameter.secondary_opts]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_shown_is_one(page: Path) -> None:
    wrong = {line: why for line in shown(page) if (why := unknown(line))}

    assert not wrong


def test_wrong_commands_would_be_found() -> None:
    assert unknown("paceline stauts") == "the command stauts"
    assert unknown("paceline status --jsn") == "the option --jsn"
    assert unknown("paceline node start --port 7 --no-mdns # words --here") == ""
    assert sum(len(list(shown(page))) for page in PAGES) > 100


def test_the_pages_for_beginners_have_blocks_to_run() -> None:
    assert len(marked(ROOT / "docs" / "first-cluster.md")) >= 5
    assert marked(ROOT / "docs" / "install.md")
