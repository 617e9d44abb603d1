"""What a finding of any checker is called here, and how bad it is.

Checkers name one thing in many ways (B602, B605 and our own rules all mean a shell that is given
somebody's words), so findings have the names of this table. Its severities are ours where a checker
rates a kind of flaw without knowing the place: bandit calls MD5 as bad as a shell injection.
"""

from dataclasses import dataclass

from paceline.evaluators.contract import Severity

CRITICAL, HIGH, MEDIUM = Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM

SECRET = "secret"
COMMAND = "command-injection"
SQL = "sql-injection"
CODE = "code-execution"
DESERIALIZATION = "unsafe-deserialization"
TLS = "tls-unchecked"
WEAK_HASH = "weak-hash"
WEAK_RANDOM = "weak-random"
XSS = "cross-site-scripting"
PATH = "path-traversal"
TEMPORARY = "insecure-temporary-file"
EXPOSED = "exposed-service"
ARCHIVE = "unsafe-archive"
NO_TIMEOUT = "no-timeout"

SEVERITY = {
    SECRET: CRITICAL,
    COMMAND: CRITICAL,
    SQL: HIGH,
    CODE: HIGH,
    DESERIALIZATION: HIGH,
    TLS: HIGH,
    WEAK_HASH: MEDIUM,
    WEAK_RANDOM: MEDIUM,
    XSS: HIGH,
    PATH: HIGH,
    TEMPORARY: MEDIUM,
    EXPOSED: MEDIUM,
    ARCHIVE: HIGH,
    NO_TIMEOUT: Severity.LOW,
}

BANDIT = {
    **dict.fromkeys(("B602", "B604", "B605", "B609"), COMMAND),
    **dict.fromkeys(("B608", "B610", "B611"), SQL),
    **dict.fromkeys(("B102", "B307"), CODE),
    **dict.fromkeys(("B301", "B302", "B506", "B614", "B615"), DESERIALIZATION),
    **dict.fromkeys(("B323", "B501", "B502", "B503", "B504", "B507"), TLS),
    **dict.fromkeys(("B303", "B304", "B305", "B324", "B505"), WEAK_HASH),
    **dict.fromkeys(("B306", "B108"), TEMPORARY),
    **dict.fromkeys(("B104", "B201"), EXPOSED),
    **dict.fromkeys(("B308", "B701", "B702", "B703", "B704"), XSS),
    "B202": ARCHIVE,
    "B113": NO_TIMEOUT,
}
"""Rules of bandit that are the same flaw as one of ours."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """One finding on 1-based lines, both included. `severity` None = that of the table."""

    rule: str
    line: int
    last: int
    message: str
    severity: Severity | None = None

    @property
    def rated(self) -> Severity:
        """Answer how bad it is."""
        return self.severity or SEVERITY.get(self.rule, MEDIUM)
