"""A Paceline that knows only format level 1: stands in front of a node's command.

    python older_program.py python -P -m paceline node start ...

It is the current program with the newer level taken out, except that it joins as today's nodes do;
what release 0.1 itself reads and writes is compared byte by byte in `tests/golden`.
"""

import dataclasses
import importlib
import sys

from paceline.tasks import commands

OWN_COMMAND = 4
"""`python -P -m paceline`."""


def forget_newer_levels() -> None:
    """Must come before anything else imports the level."""
    commands.NEWEST_LEVEL = 1
    levels = importlib.import_module("paceline.tasks.levels")
    joins = (commands.FoundCluster, commands.AdmitMember, commands.RemoveMember)
    known = levels._LEVELS[1]
    fields = known.fields | {kind: len(dataclasses.fields(kind)) for kind in joins}
    last = max(commands.COMMANDS.tag_of(kind) for kind in joins)
    levels._LEVELS[1] = dataclasses.replace(known, last_tag=last, fields=fields)


if __name__ == "__main__":
    forget_newer_levels()
    sys.argv = ["paceline", *sys.argv[OWN_COMMAND + 1 :]]
    importlib.import_module("paceline.cli.main").main()
