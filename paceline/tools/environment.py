"""What a child process may see of the node's environment: next to nothing.

Built from nothing, by an allow-list: a variable that nobody thought of stays out. Keys, tokens,
agent sockets, and whatever changes how programs load code (LD_*, PYTHON*, GIT_*) never pass.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from paceline.errors import InvalidSettings

PASSED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TERM", "TZ")

WITHHELD = (
    *("*_KEY", "*_KEYS", "*_TOKEN", "*_SECRET", "*_PASSWORD", "*_CREDENTIALS", "*_AUTH"),
    *("AWS_*", "AZURE_*", "GOOGLE_*", "GH_*", "GITHUB_*", "SSH_*", "GPG_*", "GIT_*"),
    *("PYTHON*", "LD_*", "DYLD_*", "NODE_OPTIONS", "BASH_ENV", "ENV", "PACELINE_*"),
)
"""Names that are refused even when the configuration asks to pass them on."""

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


def build_environment(
    node: Mapping[str, str],
    *,
    home: Path,
    temporary: Path,
    passed: Iterable[str] = (),
    added: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Answer a complete environment with a private HOME and TMPDIR.

    `node` is the node's own environment; `passed` names what else of it may be seen, `added` gives
    variables with their values. Raise InvalidSettings for a withheld name in `passed`.
    """
    check_passed(passed)
    wanted = (*PASSED, *passed)
    environment = {name: node[name] for name in wanted if name in node}
    environment.setdefault("PATH", DEFAULT_PATH)
    environment |= {"HOME": str(home), "TMPDIR": str(temporary)}
    return environment | dict(added or {})


def check_passed(names: Iterable[str]) -> None:
    """Raise InvalidSettings if one of the names is never passed on."""
    for name in names:
        if any(fnmatchcase(name.upper(), pattern) for pattern in WITHHELD):
            raise InvalidSettings(
                f"{name} is never passed on to tools; give it as `environment` if it must be"
            )
