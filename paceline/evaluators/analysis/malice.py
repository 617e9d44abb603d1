"""What no honest change contains: marks of an attack, in text of any language.

Agents read issues, pages and files that others wrote, and may carry out what stands in there. So a
change is searched for what such words ask for: secrets that leave, programs that come from the
network, text that people cannot see, code that runs where nobody looks. Two harmless things that
are an attack together must be new within WINDOW lines of each other.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from paceline.evaluators.analysis.flaws import Flaw
from paceline.evaluators.analysis.languages import is_code, is_prose
from paceline.evaluators.change import Change, FileChange, Kind, Status, split_lines
from paceline.evaluators.contract import Severity

CRITICAL, HIGH, MEDIUM = Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM

HIDDEN = "hidden-text"
DOWNLOAD = "remote-code"
OBFUSCATED = "obfuscated-execution"
EXFILTRATION = "exfiltration"
BACKDOOR = "backdoor"
REVERSE_SHELL = "reverse-shell"
INSTALL = "install-hook"
DESTRUCTIVE = "destructive"
PIPELINE = "pipeline-change"
INSTRUCTIONS = "agent-instructions"
LINK = "escaping-link"
OPAQUE = "opaque-file"
CHECK_REMOVED = "check-removed"

WINDOW = 15
LINE_LIMIT = 4000

_INVISIBLE = re.compile("[\u202a-\u202e\u2066-\u2069\u200b\u2060\u00ad\U000e0000-\U000e007f]")
_COMMENT = re.compile(r"^\s*(#(?!!)|//|\*|/\*|--\s|<!--)")

_LINES: tuple[tuple[str, Severity, str, "re.Pattern[str]"], ...] = (
    (
        DOWNLOAD,
        CRITICAL,
        "what the network answers is run as a program",
        re.compile(
            r"\b(curl|wget)\b[^|;&\n]*\|\s*(sudo\s+)?(ba|z|k|da)?sh\b"
            r"|\b(ba|z)?sh\s+(-c\s+)?[\"']?[<$]\(\s*(curl|wget)"
            r"|\b(iex|Invoke-Expression)\b.*(DownloadString|Invoke-WebRequest|\biwr\b)"
            r"|\b(exec|eval)\s*\(\s*(await\s+)?\(?(requests\.get|urllib\.request\.urlopen|urlopen"
            r"|fetch|axios)\b"
        ),
    ),
    (
        OBFUSCATED,
        CRITICAL,
        "text that nobody can read is unpacked and run",
        re.compile(
            r"\b(exec|eval|Function|compile|execSync|os\.system|runInThisContext)\s*\(.*"
            r"(b64decode|atob\s*\(|fromCharCode|['\"](base64|hex)['\"]|fromhex|marshal\.loads"
            r"|zlib\.decompress|codecs\.decode|\[::-1\])"
            r"|base64\s+(-d|--decode|-D)\b[^|\n]*\|\s*(ba|z)?sh\b"
        ),
    ),
    (
        REVERSE_SHELL,
        CRITICAL,
        "a shell is handed to somebody on the network",
        re.compile(r"/dev/tcp/\S+|\bnc(at)?\s+(-\w+\s+)*-e\b|pty\.spawn\(|\bsocat\b.*EXEC:"),
    ),
    (
        DESTRUCTIVE,
        CRITICAL,
        "this deletes what does not belong to the project",
        re.compile(
            r"\brm\s+-(rf|fr|r\s+-f)\w*\s+(--no-preserve-root\s+)?[\"']?(/|~|\$HOME)(\s|[\"'/*]|$)"
            r"|rmtree\(\s*(Path\.home\(\)|[\"'](/|~)[\"']|os\.path\.expanduser\([\"']~)"
            r"|\b(rmSync|RemoveAll|rm)\(\s*(os\.homedir\(\)|homedir\(\)|[\"']/[\"'])"
            r"|\bmkfs\.|:\(\)\s*\{\s*:\|:&\s*\};:|stratum\+tcp://|\bxmrig\b"
        ),
    ),
    (
        BACKDOOR,
        CRITICAL,
        "a fixed word opens what should be checked",
        re.compile(
            r"\b[\w.]{0,40}(password|passwd|pass|token|api_?key|secret|pin|otp|signature)\b\s*(==|===)\s*"
            r"[\"'`][^\"'`]{4,}[\"'`]"
            r"|[\"'`][^\"'`\s]{4,}[\"'`]\s*(==|===)\s*[\w.]{0,40}(password|passwd|token|api_?key|secret)\b",
            re.I,
        ),
    ),
)

_SECRETS = re.compile(
    r"os\.environ(\b(?!\s*(\.get|\[))|\.items\(|\.copy\()|dict\(os\.environ|\bos\.Environ\(\)"
    r"|(stringify|entries|assign|\.\.\.)\(?\s*(\{\}\s*,\s*)?process\.env\b(?!\.)"
    r"|\.ssh/|id_(rsa|ed25519)|\.aws/credentials|\.netrc|\.npmrc|\.pypirc|\.docker/config\.json"
    r"|/etc/(passwd|shadow)|\.git-credentials|\.config/gcloud|\bLogin Data\b|wallet\.dat"
    r"|\.(claude|gemini|codex)/|[\"'/]\.env[\"']"
)
_SENDS = re.compile(
    r"requests\.(post|put|get)\(|httpx\.(post|put|get)\(|urlopen\(|http\.client|aiohttp"
    r"|\bfetch\(|axios(\.\w+)?\(|https?\.(request|get)\(|XMLHttpRequest|navigator\.sendBeacon"
    r"|http\.(Post|PostForm|Get|NewRequest)\w*\(|net\.Dial|socket\.(socket|create_connection)"
    r"|\bcurl\b|\bwget\b|getaddrinfo|dns\.(lookup|resolve)|smtplib"
)
_SHELL_OUT = re.compile(r"os\.dup2\(|subprocess\.\w+\(\[?[\"'](/bin/)?(ba|z)?sh\b")
_UNPACKS = re.compile(
    r"b64decode\(|atob\(|fromCharCode|Buffer\.from\([^)]*['\"](base64|hex)['\"]"
    r"|base64\.StdEncoding\.DecodeString|bytes\.fromhex|zlib\.decompress\("
)
_RUNS = re.compile(
    r"(?<![\w.])(exec|eval)\s*\(|new Function\(|os\.system\(|subprocess\.|child_process|vm\.run"
    r"|exec\.Command\(|\(0,\s*eval\)"
)
_EXECUTABLE = re.compile(r"\b0o?7[0-7]{2}\b|\bchmod\b.*\+x|S_IEXEC|S_IXUSR")
_PAIRS = (
    (DOWNLOAD, "what comes from the network is made a program", _EXECUTABLE, _SENDS),
    (INSTALL, "what is installed comes from the network", re.compile(r"\bcmdclass\s*="), _SENDS),
    (EXFILTRATION, "secrets of the machine are read, and something is sent away", _SECRETS, _SENDS),
    (REVERSE_SHELL, "a shell is handed to somebody on the network", _SHELL_OUT, _SENDS),
    (OBFUSCATED, "text that nobody can read is unpacked and run", _UNPACKS, _RUNS),
)

_INSTALL_SCRIPT = re.compile(r"[\"'](pre|post)?install[\"']\s*:|[\"']prepare[\"']\s*:")
_SETUP_RUNS = re.compile(r"cmdclass\s*=|\bos\.system\(|subprocess\.|urlopen\(|(?<!\w)exec\(")
_MANIFESTS = {"package.json": _INSTALL_SCRIPT, "setup.py": _SETUP_RUNS}
_CHECKS = re.compile(
    r"@?\b(login_required|permission_required|require_?[Aa]uth\w*|csrf_protect|verify_signature"
    r"|verifySignature|check_?[Pp]ermissions?|is_authenticated|ensureAuthenticated"
    r"|compare_digest|timingSafeEqual|ConstantTimeCompare|requireAdmin|require_admin)\b"
)
_PIPELINES = (".github/workflows/", ".github/actions/", ".gitlab-ci", ".circleci/", "Jenkinsfile")
_HOOKS = (".husky/", ".githooks/", ".gitmodules", ".envrc", ".vscode/tasks.json",
          ".pre-commit-config.yaml", ".devcontainer/")  # fmt: skip
_AGENT_FILES = re.compile(
    r"(^|/)(CLAUDE\.md|AGENTS\.md|GEMINI\.md|\.cursorrules|\.mcp\.json|copilot-instructions\.md)$"
    r"|(^|/)\.(claude|cursor|gemini|codex|opencode|aider[^/]*)(/|$)"
)
_PROGRAMS = frozenset(
    {".so", ".dll", ".dylib", ".exe", ".pyc", ".pyd", ".node", ".jar", ".whl", ".bin", ".o", ".a"}
)


def check(change: Change) -> Iterator[tuple[FileChange, Flaw]]:
    """Answer the marks of an attack in a change."""
    for file in change.files:
        for flaw in (*_by_place(file), *_by_kind(file)):
            yield file, flaw
        if file.is_text:
            lines = [(n, text[:LINE_LIMIT]) for n, text in file.added_lines()]
            for flaw in (*_hidden(lines), *_in_lines(file, lines), *_in_manifest(file, lines)):
                yield file, flaw
            for flaw in _removed_checks(file):
                yield file, flaw


def _by_kind(file: FileChange) -> Iterator[Flaw]:
    if file.status is Status.DELETED:
        return
    if file.kind is Kind.SYMLINK and _leaves(file.path, file.new or ""):
        message = "a link that points out of the repository, or into .git"
        yield Flaw(LINK, 0, 0, message, CRITICAL)
    elif file.kind is Kind.SUBMODULE:
        message = "a submodule: its contents are not part of this change, and were not judged"
        yield Flaw(OPAQUE, 0, 0, message, MEDIUM)
    elif file.kind is not Kind.TEXT and _is_program(file):
        message = "a program that nobody can read: build it from its source instead"
        yield Flaw(OPAQUE, 0, 0, message, HIGH)


def _is_program(file: FileChange) -> bool:
    return file.suffix in _PROGRAMS or file.executable or is_code(file.path)


def _leaves(path: str, target: str) -> bool:
    """Answer whether a link at `path` leads out of the tree, or into `.git`."""
    if target.startswith("/") or ".git" in target.split("/"):
        return True
    depth = len(PurePosixPath(path).parts) - 1
    for part in target.split("/"):
        depth += {"..": -1, "": 0, ".": 0}.get(part, 1)
        if depth < 0:
            return True
    return False


def _by_place(file: FileChange) -> Iterator[Flaw]:
    if file.path.startswith(_PIPELINES):
        yield Flaw(PIPELINE, 0, 0, "this runs with the rights of the build server", MEDIUM)
    elif file.path.startswith(_HOOKS):
        yield Flaw(INSTALL, 0, 0, "this runs on the machine of everybody who works here", MEDIUM)
    elif _AGENT_FILES.search(file.path):
        yield Flaw(INSTRUCTIONS, 0, 0, "this tells every agent that works here what to do", MEDIUM)
    elif file.suffix == ".pth" or file.path.endswith(("sitecustomize.py", "usercustomize.py")):
        yield Flaw(INSTALL, 0, 0, "Python runs this at every start, unasked", HIGH)


def _hidden(lines: Sequence[tuple[int, str]]) -> Iterator[Flaw]:
    for number, line in lines:
        if _INVISIBLE.search(line):
            message = "characters that cannot be seen, or turn the order of the others around"
            yield Flaw(HIDDEN, number, number, message, CRITICAL)


def _in_lines(file: FileChange, lines: Sequence[tuple[int, str]]) -> Iterator[Flaw]:
    """Search what is run: text for people may tell of an attack."""
    if is_prose(file.path) and not file.executable and not (file.new or "").startswith("#!"):
        return
    effective = [(n, line) for n, line in lines if not _COMMENT.match(line)]
    for number, line in effective:
        for rule, severity, message, pattern in _LINES:
            if pattern.search(line):
                yield Flaw(rule, number, number, message, severity)
                break
    if is_code(file.path) or file.suffix in (".yml", ".yaml", ".json", ".toml", ".mk", ""):
        yield from _in_pairs(effective)


def _in_pairs(lines: Sequence[tuple[int, str]]) -> Iterator[Flaw]:
    for rule, message, first, second in _PAIRS:
        firsts = [number for number, line in lines if first.search(line)]
        seconds = {number for number, line in lines if second.search(line)}
        near = next((n for n in firsts if seconds.intersection(_around(n))), None)
        if near is not None:
            yield Flaw(rule, near, near, message, CRITICAL)


def _around(line: int) -> range:
    return range(line - WINDOW, line + WINDOW + 1)


def _in_manifest(file: FileChange, lines: Sequence[tuple[int, str]]) -> Iterator[Flaw]:
    pattern = _MANIFESTS.get(PurePosixPath(file.path).name)
    for number, line in lines if pattern else ():
        if pattern and pattern.search(line):
            message = "this runs on every machine that installs the package"
            severity = CRITICAL if _SENDS.search(line) else HIGH
            yield Flaw(INSTALL, number, number, message, severity)


def _removed_checks(file: FileChange) -> Iterator[Flaw]:
    """Find checks of who may do what that are fewer than before, where the file stays."""
    if file.old is None or not is_code(file.path):
        return
    before, after = (_checks(text) for text in (file.old, file.new or ""))
    gone = sorted(name for name in set(before) if before.count(name) > after.count(name))
    if gone:
        message = f"`{gone[0]}` was taken out: who may do this is no longer asked"
        yield Flaw(CHECK_REMOVED, 0, 0, message, HIGH)


def _checks(text: str) -> list[str]:
    return [m[1] for line in split_lines(text) for m in _CHECKS.finditer(line[:LINE_LIMIT])]
