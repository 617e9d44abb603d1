"""A node as a service of this user: systemd on Linux, launchd on macOS.

The unit says no more than which program and which data directory. Everything else is for the
configuration file, so that a changed setting needs no new unit, and no secret is in it.
"""

import os
import plistlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from paceline import config
from paceline.cli import options
from paceline.cli.format import facts, print_json
from paceline.errors import NotFound, PacelineError

UNIT = "paceline.service"
LABEL = "org.paceline.node"
COMMAND_S = 60


@dataclass(frozen=True, slots=True)
class Manager:
    """What starts services here, where it reads what they are, and what it is told."""

    program: str
    file: Path
    starts: tuple[tuple[str, ...], ...]
    ends: tuple[tuple[str, ...], ...]
    asks: tuple[str, ...]


@click.command()
@options.data_dir
@click.option("--print", "only_print", is_flag=True, help="Print the unit; change nothing.")
@click.option("--no-start", is_flag=True, help="Write it; start nothing now.")
def install(data_dir: Path, only_print: bool, no_start: bool) -> None:
    """Have the node of this machine started with it, and again when it fails.

    Its settings are those of the configuration file: `paceline config init`.
    """
    config.read(config.default_path(os.environ))  # refused here, not later where nobody looks
    manager = _manager()
    text = unit(data_dir, os.environ, sys.platform)
    if only_print:
        return click.echo(text, nl=False)
    manager.file.parent.mkdir(parents=True, exist_ok=True)
    manager.file.write_text(text, encoding="utf-8")
    click.echo(f"wrote {manager.file}")
    if no_start:
        return None
    for arguments in manager.starts:
        _tell(manager, arguments)
    click.echo("the node is started, now and with every login")
    if manager.program == "systemctl":
        click.echo("to have it run while nobody is logged in: loginctl enable-linger", err=True)
    return None


@click.command()
def remove() -> None:
    """Stop the service and forget it; the node's data stays."""
    manager = _manager()
    if not manager.file.exists():
        raise NotFound(f"there is no service: {manager.file} does not exist")
    for arguments in manager.ends:
        _run(manager, arguments)
    manager.file.unlink()
    if manager.program == "systemctl":
        _run(manager, ("--user", "daemon-reload"))
    click.echo(f"removed {manager.file}; the data stays where it is")


@click.command()
@options.as_json
def status(as_json: bool) -> None:
    """Say whether there is a service, and whether it runs."""
    manager = _manager()
    installed = manager.file.exists()
    asked = _run(manager, manager.asks) if installed else None
    runs = asked is not None and asked.returncode == 0
    if as_json:
        return print_json({"installed": installed, "file": str(manager.file), "running": runs})
    return click.echo(
        facts(
            (
                ("service", str(manager.file) if installed else "none"),
                ("runs", "yes" if runs else "no"),
            )
        )
    )


def unit(data_dir: Path, environ: dict[str, str] | os._Environ[str], platform: str) -> str:
    """Answer the unit (systemd) or property list (launchd) of a node."""
    # `-P` keeps the current directory off the import path, as everywhere where nodes are started.
    command = [sys.executable, "-P", "-m", "paceline", "node", "start"]
    command += ["--data-dir", str(data_dir)]
    variables = {"PATH": environ.get("PATH", os.defpath)}
    if said := environ.get("PACELINE_CONFIG"):
        variables["PACELINE_CONFIG"] = os.path.abspath(said)
    if platform == "darwin":
        return _property_list(command, variables, data_dir)
    lines = [f"Environment={_quoted(f'{name}={value}')}" for name, value in variables.items()]
    return f"""\
[Unit]
Description=Paceline node
Documentation=man:paceline(1)
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=exec
ExecStart={" ".join(_quoted(word).replace("$", "$$") for word in command)}
{chr(10).join(lines)}
Restart=on-failure
RestartSec=5
KillMode=mixed
TimeoutStopSec=45
LimitNOFILE=16384

[Install]
WantedBy=default.target
"""


def _quoted(text: str) -> str:
    """Answer a word as systemd reads it: quoted, and its % without a meaning."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _property_list(command: list[str], variables: dict[str, str], data_dir: Path) -> str:
    log = str(data_dir / "node.log")
    document = {
        "Label": LABEL,
        "ProgramArguments": command,
        "EnvironmentVariables": variables,
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": 45,
        "StandardOutPath": log,
        "StandardErrorPath": log,
        "Umask": 0o077,
    }
    return plistlib.dumps(document).decode()


def _manager() -> Manager:
    if sys.platform == "darwin":
        file = Path.home() / "Library" / "LaunchAgents" / f"{LABEL}.plist"
        domain = f"gui/{os.getuid()}"
        return Manager(
            "launchctl",
            file,
            starts=(("bootstrap", domain, str(file)),),
            ends=(("bootout", f"{domain}/{LABEL}"),),
            asks=("print", f"{domain}/{LABEL}"),
        )
    if sys.platform != "linux":
        raise PacelineError("services are for systemd and launchd; see docs/operations.md")
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Manager(
        "systemctl",
        Path(base) / "systemd" / "user" / UNIT,
        starts=(("--user", "daemon-reload"), ("--user", "enable", "--now", UNIT)),
        ends=(("--user", "disable", "--now", UNIT),),
        asks=("--user", "is-active", "--quiet", UNIT),
    )


def _tell(manager: Manager, arguments: tuple[str, ...]) -> None:
    done = _run(manager, arguments)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().partition("\n")[0] or f"{done.returncode}"
        raise PacelineError(
            f"`{manager.program} {' '.join(arguments)}` failed ({said}); the unit is written, "
            "start it by hand, or try again in a session of this user"
        )


def _run(manager: Manager, arguments: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    program = shutil.which(manager.program)
    if program is None:
        raise PacelineError(
            f"there is no {manager.program} on this machine; `paceline node service install "
            "--print` prints the unit, for whatever starts services here"
        )
    try:
        return subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PacelineError(f"{manager.program} did not answer within {COMMAND_S} s") from error
