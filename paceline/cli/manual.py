"""The manual page, made of the commands themselves, so that it cannot say anything else."""

from collections.abc import Iterator

import click

from paceline import __version__

_FILES = """\
.SH FILES
.TP
.I config.toml
Settings of the node of this machine, in $XDG_CONFIG_HOME/paceline; see
.BR "paceline config init" .
.TP
.I api.token
In the data directory: opens the node's REST interface. Readable by its owner only.
.TP
.I node.json
In the data directory: where a running node listens.
.SH ENVIRONMENT
PACELINE_DATA_DIR names the data directory, PACELINE_CONFIG the configuration file, PACELINE_TOKEN
the cluster's token. Every option of
.B paceline node start
can be given as PACELINE_ and its name. NO_COLOR switches colours off.
"""


def manual(root: click.Group) -> str:
    """Answer the page in roff."""
    context = click.Context(root, info_name="paceline")
    lines = [
        f'.TH PACELINE 1 "" "paceline {__version__}" "User Commands"',
        ".SH NAME",
        "paceline \\- a peer-to-peer network of AI coding agents",
        ".SH SYNOPSIS",
        ".B paceline",
        "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION",
        *_paragraphs(root.help or ""),
        ".SH COMMANDS",
        *_commands(root, context),
    ]
    return "\n".join(lines) + "\n" + _FILES


def _commands(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _commands(command, inner)
            continue
        usage = " ".join(command.collect_usage_pieces(inner))
        yield f".SS {_text(inner.command_path)} {_text(usage)}"
        yield from _paragraphs(command.help or "")
        for parameter in command.get_params(inner):
            record = parameter.get_help_record(inner)
            if record is not None and parameter.name != "help":
                yield from (".TP", f".B {_text(record[0])}", _text(record[1]))


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.strip().split("\n\n"):
        as_it_is = paragraph.startswith("\b")
        lines = [line.strip() for line in paragraph.strip("\b\n").splitlines()]
        yield ".PP"
        if as_it_is:
            yield from (".nf", *map(_text, lines), ".fi")
        else:
            yield _text(" ".join(lines))


def _text(text: str) -> str:
    """Answer text that roff takes for nothing but text."""
    escaped = text.replace("\\", "\\\\").replace("-", "\\-").replace("`", "\\(ga")
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped
