"""Secrets in new lines: what detect-secrets knows by their form, and names that give others away.

Its detectors of a certain provider's keys are used, not those of entropy, which fire on any long
word. Nothing is verified with a provider, and no line is excused by a comment. A finding says what
kind of secret it is and where, never the secret.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from paceline.evaluators.analysis.flaws import SECRET, Flaw
from paceline.evaluators.contract import Severity

LINE_LIMIT = 4000
"""A longer line is not written by hand; its beginning is looked at."""

_DETECTORS = (
    *(("aws", "AWSKeyDetector"), ("azure_storage_key", "AzureStorageKeyDetector")),
    *(("discord", "DiscordBotTokenDetector"), ("github_token", "GitHubTokenDetector")),
    *(("gitlab_token", "GitLabTokenDetector"), ("jwt", "JwtTokenDetector")),
    *(("mailchimp", "MailchimpDetector"), ("npm", "NpmDetector"), ("openai", "OpenAIDetector")),
    *(("private_key", "PrivateKeyDetector"), ("pypi_token", "PypiTokenDetector")),
    *(("sendgrid", "SendGridDetector"), ("slack", "SlackDetector"), ("stripe", "StripeDetector")),
    *(("square_oauth", "SquareOAuthDetector"), ("telegram_token", "TelegramBotTokenDetector")),
    *(("twilio", "TwilioKeyDetector"), ("basic_auth", "BasicAuthDetector")),
)
_MORE = (
    ("Anthropic key", re.compile(r"sk-ant-[A-Za-z0-9_-]{20,}")),
    ("Google key", re.compile(r"AIza[0-9A-Za-z_-]{35}")),
    ("GitHub token", re.compile(r"github_pat_[A-Za-z0-9_]{22,}")),
)
_VALUE = re.compile(
    r"""(?:=|:|=>)\s*[rbuf]?(?P<quote>["'`])(?P<value>[^"'`\s]{8,200})(?P=quote)""", re.I
)
_BEFORE = re.compile(r"""([\w.\-\[\]"']{1,80})\s*(?::[\w\[\] |.]{1,40})?:?$""")
_TELLING = re.compile(
    r"password|passwd|secret|api_?key|access_?key|auth_?token|api_?token|private_?key|credential",
    re.I,
)
_BEFORE_CHARACTERS = 130
_HARMLESS = re.compile(
    r"^(\$|%|<|\{|#|/|\.|https?:|process\.|os\.)|\$\{|\{\{|%\(|^[a-z]+([_.\-/ ][a-z]+)*$|^[A-Z_]+$"
    r"|example|placeholder|change.?me|your[-_]|dummy|redacted|not.?set|xxx+|\*\*\*|\.\.\.|_here$",
    re.I,
)
_NAMES_ONLY = re.compile(
    r"(_?(name|field|header|param|label|key_id|file|path|url|env|type|hint))\W*$", re.I
)
ENTROPY_MIN = 2.5
"""Bits per character: `aaaaaaaa1` is no password."""


def check(number: int, line: str, *, testing: bool = False) -> Iterator[Flaw]:
    """Answer the secrets in one line. Those that are only so by name are allowed in tests."""
    words = line[:LINE_LIMIT]
    kinds = [kind for kind, pattern in _MORE if pattern.search(words)] or _by_form(words)
    if kinds:
        message = f"a secret ({kinds[0]}) stands in the text: take it out, and replace it"
        yield Flaw(SECRET, number, number, message, Severity.HIGH if testing else None)
    elif not testing and (name := _by_name(words)):
        message = f"{name} has its value in the text: read it from the environment or a file"
        yield Flaw(SECRET, number, number, message)


def _by_form(line: str) -> list[str]:
    return [
        secret.type
        for detector in _detectors()
        for secret in detector.analyze_line("", line, 1)
        if not (secret.type == "Basic Auth Credentials" and _HARMLESS.search(_inside(line)))
    ]


def _inside(line: str) -> str:
    """Answer the password of a URL with one."""
    match = re.search(r"://[^:/\s]*:([^@\s]+)@", line)
    return match[1] if match else ""


def _by_name(line: str) -> str:
    """Answer the name of what is given a secret: found from the value on, in linear time."""
    for match in _VALUE.finditer(line):
        value = match["value"]
        before = line[max(0, match.start() - _BEFORE_CHARACTERS) : match.start()].rstrip()
        named = _BEFORE.search(before)
        name = named[1].strip("\"'[]. ") if named else ""
        if not _TELLING.search(name) or _NAMES_ONLY.search(name):
            continue
        if not _HARMLESS.search(value) and _entropy(value) >= ENTROPY_MIN:
            return name[:60]
    return ""


def _entropy(text: str) -> float:
    counts = Counter(text).values()
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts)


@lru_cache(maxsize=1)
def _detectors() -> list[Any]:
    import importlib  # noqa: PLC0415 - the detectors take a quarter of a second

    modules = ((importlib.import_module(f"detect_secrets.plugins.{m}"), c) for m, c in _DETECTORS)
    return [getattr(module, kind)() for module, kind in modules]
