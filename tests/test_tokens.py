"""How a join token is written: what is read as which, and what is refused as mistyped."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from paceline.errors import InvalidSettings
from paceline.tokens import TOKEN_LENGTH, crockford, format_token, new_token, parse_token

SECRETS = st.binary(min_size=32, max_size=32)


@given(SECRETS)
def test_a_token_is_read_as_it_is_written_in_either_case(secret: bytes) -> None:
    token = format_token(secret)
    assert len(token) == TOKEN_LENGTH
    assert parse_token(token) == parse_token(token.upper()) == parse_token(f" {token}\n") == token


@given(SECRETS)
def test_lookalikes_are_read_as_what_they_were_mistaken_for(secret: bytes) -> None:
    token = format_token(secret)
    head, rest = token[:4], token[4:]
    assert parse_token(head + rest.replace("0", "O").replace("1", "l")) == token
    assert parse_token(head + rest.replace("1", "I")) == token


@settings(derandomize=True)  # of 20 bits of checksum, one mistake in a million gets past
@given(SECRETS, st.data())
def test_one_wrong_character_is_told_from_a_wrong_token(secret: bytes, data: st.DataObject) -> None:
    token = format_token(secret)
    place = data.draw(st.integers(4, 55))
    other = data.draw(st.sampled_from("0123456789abcdefghjkmnpqrstvwxyz"))
    assume(token[place] != other)
    with pytest.raises(InvalidSettings, match="mistyped"):
        parse_token(token[:place] + other + token[place + 1 :])


@settings(derandomize=True)
@given(SECRETS, st.integers(0, 50))
def test_two_neighbours_that_changed_places_are_noticed(secret: bytes, at: int) -> None:
    token = format_token(secret)
    first, second = token[4 + at], token[5 + at]
    assume(first != second)
    with pytest.raises(InvalidSettings, match="mistyped"):
        parse_token(token[: 4 + at] + second + first + token[6 + at :])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("pl1-", "mistyped or cut"),
        ("pl1-short-abcd", "mistyped or cut"),
        (f"pl1-{'u' * 52}-0000", "no token has"),
        (f"pl2-{'0' * 52}-0000", "upgrade"),
        ("short", "16 to 512"),
        ("x" * 513, "16 to 512"),
        ("a phrase with spaces in it", "ASCII"),
        ("sixteen\x00characters", "ASCII"),
    ],
)
def test_what_is_refused_says_what_to_do(text: str, word: str) -> None:
    with pytest.raises(InvalidSettings, match=word):
        parse_token(text)


@pytest.mark.parametrize("preset", ["a-phrase-of-my-own", "PL-is-no-prefix-of-ours", "x" * 512])
def test_a_preset_is_taken_letter_by_letter(preset: str) -> None:
    assert parse_token(preset) == preset


@given(st.text(max_size=100))
def test_any_text_is_a_token_or_refused(text: str) -> None:
    try:
        assert parse_token(parse_token(text)) == parse_token(text)
    except InvalidSettings:
        return


def test_tokens_are_random() -> None:
    assert len({new_token() for _ in range(100)}) == 100


def test_the_alphabet_is_crockfords() -> None:
    assert (
        crockford(
            b"\x00\x44\x32\x14\xc7\x42\x54\xb6\x35\xcf\x84\x65\x3a\x56\xd7\xc6\x75\xbe\x77\xdf"
        )
        == "0123456789abcdefghjkmnpqrstvwxyz"
    )
