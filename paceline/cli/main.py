"""The command `paceline`: which commands there are, and where each one lives.

A command's module is imported only when that command runs, so that `paceline status` does not pay
for the live display of `watch`.
"""

import click

from paceline import __version__
from paceline.cli.group import LazyGroup, Root

COMMANDS = {
    "node": "paceline.cli.main:node",
    "status": "paceline.cli.cluster:status",
    "top": "paceline.cli.top:top",
    "nodes": "paceline.cli.cluster:nodes",
    "submit": "paceline.cli.submit:submit",
    "tasks": "paceline.cli.show:tasks",
    "show": "paceline.cli.show:show",
    "watch": "paceline.cli.watch:watch",
    "logs": "paceline.cli.logs:logs",
    "explain": "paceline.cli.explain:explain",
    "cancel": "paceline.cli.control:cancel",
    "pause": "paceline.cli.control:pause",
    "resume": "paceline.cli.control:resume",
    "change": "paceline.cli.control:change",
    "retry": "paceline.cli.control:retry",
    "checkpoints": "paceline.cli.checkpoints:checkpoints",
    "checkpoint": "paceline.cli.checkpoints:checkpoint",
    "review": "paceline.cli.review:review",
    "accept": "paceline.cli.checkpoints:accept",
    "correct": "paceline.cli.checkpoints:correct",
    "reject": "paceline.cli.checkpoints:reject",
    "result": "paceline.cli.result:result",
    "tools": "paceline.cli.cluster:tools",
    "usage": "paceline.cli.money:usage",
    "budget": "paceline.cli.money:budget",
    "templates": "paceline.cli.cluster:templates",
    "events": "paceline.cli.logs:events",
    "web": "paceline.cli.cluster:web",
    "trust": "paceline.cli.members:trust",
    "untrust": "paceline.cli.members:untrust",
    "revoke": "paceline.cli.members:revoke",
    "backup": "paceline.cli.backup:backup",
    "restore": "paceline.cli.backup:restore",
    "recover": "paceline.cli.recover:recover",
    "token": "paceline.cli.main:token",
    "approve": "paceline.cli.token:approve",
    "config": "paceline.cli.main:config",
    "evaluate": "paceline.cli.evaluate:evaluate",
    "doctor": "paceline.cli.doctor:doctor",
    "completion": "paceline.cli.shell:completion",
    "man": "paceline.cli.shell:man",
    "demo": "paceline.cli.demo:demo",
}
TOKEN_COMMANDS = {
    "show": "paceline.cli.token:show",
    "rotate": "paceline.cli.token:rotate",
}
NODE_COMMANDS = {
    "start": "paceline.cli.node:start",
    "stop": "paceline.cli.node:stop",
    "drain": "paceline.cli.members:drain",
    "leave": "paceline.cli.members:leave",
    "service": "paceline.cli.main:service",
}
SERVICE_COMMANDS = {
    "install": "paceline.cli.service:install",
    "remove": "paceline.cli.service:remove",
    "status": "paceline.cli.service:status",
}
CONFIG_COMMANDS = {
    "init": "paceline.cli.config:init",
    "show": "paceline.cli.config:show",
    "check": "paceline.cli.config:check",
}


@click.group(cls=Root, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="paceline", message="%(prog)s %(version)s")
def cli() -> None:
    """Paceline: a peer-to-peer network of AI coding agents.

    Start a node on every machine with `paceline node start`, then submit work on any of them.

    Exit status: 0 done, 1 the operation failed, 2 usage, 3 no node reachable, 4 no quorum or
    timed out, 5 not found.
    """


@click.group(cls=LazyGroup, lazy=NODE_COMMANDS)
def node() -> None:
    """Start, stop or drain the node on this machine, or take it out of its cluster."""


@click.group(cls=LazyGroup, lazy=SERVICE_COMMANDS)
def service() -> None:
    """Have the node of this machine started by the system."""


@click.group(cls=LazyGroup, lazy=CONFIG_COMMANDS)
def config() -> None:
    """Write, show or check the configuration file of the node of this machine."""


@click.group(cls=LazyGroup, lazy=TOKEN_COMMANDS)
def token() -> None:
    """Show or change the secret with which machines join."""


def main() -> None:
    """Run the command that the process was started with, and exit."""
    cli.main(prog_name="paceline")
