r"""What the stand-in's model does. A scenario is chosen by the address: `http://HOST/s/NAME`.

`[[file:NAME]]` and `[[text:...]]` in the prompt say what `write` writes (`\n` is a new line).
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.rigs.standin.talk import Call, Conversation, Json, Offer, Turn

DEFAULT_FILE = "hello.py"
DEFAULT_TEXT = 'print("hello from the stand-in")\n'
SLEEP = "import time; time.sleep(4242)"
SECRET = "sk-" + "ant-api03-" + "A" * 40

_DIRECTORY = tuple(
    re.compile(pattern)
    for pattern in (
        r"<cwd>([^<\n]+)</cwd>",
        r"[Pp]rimary working directory: *`?([^\n`]+)",
        r"[Ww]orking directory: *`?([^\n`]+)",
        r"currently working in the directory: *`?([^\n`]+)",
        r"[Ww]orkspace [Dd]irector(?:y|ies):?\**\s*-? *`?(/[^\n`]+)",
        r"current working directory(?: is)?:? *`?(/[^\n`]+)",
    )
)
_WRITERS = ("Write", "write_file", "write", "create", "create_file", "apply_patch")
_SHELLS = (
    *("Bash", "bash", "run_shell_command", "shell_command", "exec_command", "shell"),
    *("container.exec", "execute_command", "terminal", "run_command"),
)
_PATHS = ("file_path", "filePath", "path", "absolute_path", "filename")
_TEXTS = ("content", "contents", "file_text", "text")
_COMMANDS = ("command", "cmd", "script")
_SAMPLES: Mapping[str, Any] = {
    "string": "stand-in",
    "boolean": False,
    "array": [],
    "object": {},
    "number": 0,
    "integer": 0,
}


def write(conversation: Conversation) -> Turn:
    """Write a file with whatever tool there is for it, then be done."""
    if conversation.wanted_json is not None:
        return Turn(json.dumps(_sample(conversation.wanted_json)))
    name, text = _wanted(conversation.text)
    if not conversation.offers and "file listing" in conversation.text:
        return Turn(f"{name}\n```\n{text}```\n")  # for clients that read files out of the words
    call = _write_call(conversation, name, text) if not conversation.results else None
    if call:
        return Turn(f"I will write {name}.", (call,))
    return Turn(f"Done: {name} is written.")


def sleep(conversation: Conversation) -> Turn:
    """Run a long command: what is left of it when the client is stopped?"""
    # Not plain `sleep`: some clients refuse that.
    call = _shell_call(conversation, f"python3 -c '{SLEEP}'") if not conversation.results else None
    if call:
        return Turn("Running a long command.", (call,))
    return Turn("The long command ended.")


def loop(conversation: Conversation) -> Turn:
    """Use a tool again and again, and never be done."""
    call = _shell_call(conversation, f"echo turn {conversation.results}")
    return Turn("Once more.", (call,) if call else ())


def _says(text: str, **more: Any) -> Callable[[Conversation], Turn]:
    return lambda conversation: Turn(
        text if conversation.wanted_json is None else json.dumps(_sample(conversation.wanted_json)),
        **more,
    )


def _refuses(status: int, error: str) -> Callable[[Conversation], Turn]:
    return lambda conversation: Turn(status=status, error=error)


SCENARIOS: Mapping[str, Callable[[Conversation], Turn]] = {
    "write": write,
    "sleep": sleep,
    "loop": loop,
    "text": _says("Stand-in answer, no tool used."),
    "stolen": _says("I am at an address that nobody should have been told."),
    "secret": _says(f"The key is {SECRET} and ghp_{'b' * 36}."),
    "slow": _says(" ".join(f"word{number}" for number in range(60)), pause_s=0.05),
    "hang": _says("I begin and then say nothing more", hang=True),
    "auth": _refuses(401, "invalid x-api-key"),
    "forbidden": _refuses(403, "permission denied"),
    "nomodel": _refuses(404, "model not found"),
    "quota": _refuses(429, "rate limit exceeded: quota used up"),
    "error500": _refuses(500, "internal error"),
    "overload": _refuses(529, "overloaded"),
}


def _wanted(said: str) -> tuple[str, str]:
    """The file that the prompt asks for, and what is to be in it."""
    names = re.findall(r"\[\[file:([^\]]+)\]\]", said)
    texts = re.findall(r"\[\[text:(.*?)\]\]", said, re.S)
    text = texts[-1].replace("\\n", "\n") if texts else DEFAULT_TEXT
    return (names[-1] if names else DEFAULT_FILE), text if text.endswith("\n") else text + "\n"


def _directory(said: str) -> str:
    for pattern in _DIRECTORY:
        if found := pattern.search(said):
            return found[1].strip().rstrip(".").rstrip("/")
    return ""


def _write_call(conversation: Conversation, name: str, text: str) -> Call | None:
    offers = {offer.name: offer for offer in conversation.offers}
    for writer in _WRITERS:
        if offer := offers.get(writer):
            if offer.free or writer == "apply_patch":
                return _patch_call(offer, name, text)
            directory = _directory(conversation.text)
            given = {
                _key(offer, _PATHS): f"{directory}/{name}" if directory else name,
                _key(offer, _TEXTS): text,
            }
            return Call(writer, _completed(offer, given))
    return _shell_call(conversation, f"cat > {name} <<'STANDIN'\n{text}STANDIN")


def _patch_call(offer: Offer, name: str, text: str) -> Call:
    added = "".join(f"+{line}\n" for line in text.splitlines())
    patch = f"*** Begin Patch\n*** Add File: {name}\n{added}*** End Patch\n"
    if offer.free:
        return Call(offer.name, free_text=patch)
    return Call(offer.name, _completed(offer, {next(iter(offer.properties), "input"): patch}))


def _shell_call(conversation: Conversation, line: str) -> Call | None:
    offers = {offer.name: offer for offer in conversation.offers}
    for shell in _SHELLS:
        if offer := offers.get(shell):
            key = _key(offer, _COMMANDS)
            listed = (offer.properties.get(key) or {}).get("type") == "array"
            given: Json = {key: ["bash", "-lc", line] if listed else line}
            return Call(shell, _completed(offer, given))
    return None


def _key(offer: Offer, names: tuple[str, ...]) -> str:
    return next((name for name in names if name in offer.properties), names[0])


def _completed(offer: Offer, given: Json) -> Json:
    """The arguments, with something for whatever else the tool insists on."""
    for key in offer.schema.get("required", []):
        given.setdefault(key, _sample(offer.properties.get(key) or {"type": "string"}))
    return given


def _sample(schema: Mapping[str, Any]) -> Any:
    """A small value of a JSON schema, preferring words that end a conversation."""
    if "enum" in schema:
        good = [word for word in ("user", "flash", "simple") if word in schema["enum"]]
        return (good or schema["enum"])[0]
    kind = schema.get("type", "object")
    kind = str(kind[0] if isinstance(kind, list) else kind).lower()
    if kind == "object":
        return {key: _sample(each) for key, each in schema.get("properties", {}).items()}
    return _SAMPLES.get(kind)
