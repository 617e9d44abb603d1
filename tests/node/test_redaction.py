import pytest

from paceline.node.redaction import RedactedStream, Redactor

KEY = """-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAA
-----END OPENSSH PRIVATE KEY-----"""


@pytest.mark.parametrize(
    "secret",
    [
        "sk-ant-" + "api03-" + "a1B2" * 8,
        "sk-" + "proj-" + "a1B2c3D4" * 4,
        "ghp_" + "a1B2c3D4e5" * 4,
        "gho_" + "a1B2c3D4e5" * 4,
        "github_pat_" + "a1B2c3D4e5" * 3,
        "AIza" + "a1B2c3D" * 5,
        "AKIA" + "A1B2C3D4E5F6G7H8",
        "xox" + "b-1234567890-abcdef",
        "eyJhbGciOiJI." + "eyJzdWIiOiIx." + "c2lnbmF0dXJl",
    ],
)
def test_well_known_keys(secret: str) -> None:
    redact = Redactor().line
    assert redact(f"key={secret};") == "key=[redacted];"
    assert redact(f'{{"key": "{secret}"}}') == '{"key": "[redacted]"}'
    assert redact(f"{secret} and {secret}") == "[redacted] and [redacted]"


@pytest.mark.parametrize(
    "line",
    [
        "task-runner disk-sk-cleaner ghost xoxo",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
        "risk-assessment-of-the-new-release-candidate",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ],
)
def test_ordinary_words_stay(line: str) -> None:
    assert Redactor().line(line) == line


def test_known_values_longest_first_and_special_characters() -> None:
    redactor = Redactor(["secret.value", "short"])
    redactor.register("secret.value+more")
    assert redactor.line("a secret.value+more b secret.value c") == "a [redacted] b [redacted] c"
    assert redactor.line("secretXvalue short") == "secretXvalue short"


def test_private_keys_over_lines() -> None:
    text = Redactor().text(f"before\n{KEY}\nafter")
    assert text == "before\n[redacted]\n[redacted]\n[redacted]\nafter"


def test_a_private_key_on_one_line() -> None:
    stream = RedactedStream(Redactor())
    assert stream.line('{"key": "' + KEY.replace("\n", "\\n") + '"}') == "[redacted]"
    assert stream.line("after") == "after"


def test_a_key_that_never_ends_hides_the_rest() -> None:
    stream = RedactedStream(Redactor())
    assert {stream.line(line) for line in (*KEY.splitlines()[:2], "more")} == {"[redacted]"}
