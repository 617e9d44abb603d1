"""What a node's owner says about judging changes on this machine: `quality.toml`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Assessing:
    """What this node's owner says about judging."""

    enabled: bool = True
    run_tests: bool = False
    """Whether the repository's own tests and linters may be run here."""
