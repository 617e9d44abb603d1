"""What tools and APIs say when a limit is hit, in their own words."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.tools.events import Limit, LimitKind
from paceline.tools.limits import LONGEST, recognise, reset_after_ms

NOW = datetime(2026, 11, 22, 14, 30, tzinfo=UTC)  # a Sunday
SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@pytest.mark.parametrize(
    ("words", "expected_ms"),
    [
        (f"Claude AI usage limit reached|{int(NOW.timestamp()) + 3600}", HOUR),
        ("5-hour limit reached ∙ resets 3pm", 30 * MINUTE),
        ("5-hour limit reached - resets 2pm", 23 * HOUR + 30 * MINUTE),
        ("You've hit your session limit · resets 4:45pm (Europe/Berlin)", 75 * MINUTE),
        ("You've hit your weekly limit · resets Mon 12:00am", 9 * HOUR + 30 * MINUTE),
        ("You've hit your weekly limit · resets Nov 25, 2pm (UTC)", 3 * DAY - 30 * MINUTE),
        ("weekly limit reached ∙ resets Nov 25 at 5pm", 3 * DAY + 150 * MINUTE),
        ("You've hit your usage limit. Try again in 2 days 3 hours 5 minutes.",
         2 * DAY + 3 * HOUR + 5 * MINUTE),
        ("You've hit your usage limit. Try again at 3:04 PM.", 34 * MINUTE),
        ("You've hit your usage limit. Try again at Nov 26th, 2026 9:00 AM.",
         4 * DAY - 5 * HOUR - 30 * MINUTE),
        ("Rate limit reached for gpt-5. Please try again in 6m0s.", 6 * MINUTE),
        ("Rate limit reached for gpt-5. Please try again in 1.242s. Visit", 1242),
        ("Please try again in 500ms.", 500),
        ("You exceeded your current quota. Please retry in 23.5s.", 23_500),
        ("Your quota will reset after 18h20m30s.", 18 * HOUR + 20 * MINUTE + 30 * SECOND),
        ('"@type": "RetryInfo", "retryDelay": "41s"', 41 * SECOND),
        ("limit resets at 2026-11-22T15:00:00Z", 30 * MINUTE),
        ("limit resets at 2026-11-22T16:00:00+01:00", 30 * MINUTE),
        ("resets Jan 2 at 14:30", None),  # farther than any plan's period
        ("resets Feb 31 at 2pm", None),
        ("resets 13pm", None),
        ("retry 3 of 5", None),
        ("usage limit reached", None),
        ("", None),
    ],
)  # fmt: skip
def test_when_it_is_lifted(words: str, expected_ms: int | None) -> None:
    assert reset_after_ms(words, NOW) == expected_ms


def test_words_without_a_zone_mean_this_machines() -> None:
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))  # 23:30 there
    assert reset_after_ms("resets 12:30am", tokyo) == HOUR


@pytest.mark.parametrize(
    ("words", "http", "header", "expected"),
    [
        ("slow down", 429, "7", Limit(LimitKind.RATE, 7 * SECOND)),
        ("slow down", 429, "Sun, 22 Nov 2026 14:31:00 GMT", Limit(LimitKind.RATE, MINUTE)),
        ("slow down", 429, "soon", Limit(LimitKind.RATE)),
        ("slow down", 429, "99999999999999", Limit(LimitKind.RATE)),
        ("resets 3pm", 429, "7", Limit(LimitKind.RATE, 7 * SECOND)),
        ("daily limit reached; resets 3pm", 429, "", Limit(LimitKind.USAGE, 30 * MINUTE)),
        ("insufficient_quota: check plan and billing", 429, "", Limit(LimitKind.CREDIT)),
        ("check billing. Please retry in 2s: quota", 429, "", Limit(LimitKind.USAGE, 2 * SECOND)),
        ("pay", 402, "", Limit(LimitKind.CREDIT)),
        ("Your credit balance is too low", 400, "", Limit(LimitKind.CREDIT)),
        ("overloaded_error", 529, "", Limit(LimitKind.OVERLOAD)),
        ("try later", 503, "30", Limit(LimitKind.OVERLOAD, 30 * SECOND)),
        ("Claude AI usage limit reached", None, "", Limit(LimitKind.USAGE)),
        ("Overloaded", None, "", Limit(LimitKind.OVERLOAD)),
        ("a test of the rate limiter failed", 400, "", None),
        ("invalid x-api-key", 401, "", None),
        ("internal error", 500, "", None),
        ("it broke", None, "", None),
    ],
)
def test_which_limit(words: str, http: int | None, header: str, expected: Limit | None) -> None:
    assert recognise(words, now=NOW, http=http, retry_after=header) == expected


@given(st.text(max_size=300), st.text(max_size=40))
def test_whatever_is_said_is_read_within_bounds(words: str, header: str) -> None:
    for said in (words, f"try again in {words}", f"resets {words}", f"limit|{words}"):
        limit = recognise(said, now=NOW, http=429, retry_after=header)
        assert limit is not None
        assert limit.reset_after_ms is None or (
            0 <= limit.reset_after_ms <= LONGEST.total_seconds() * 1000
        )


@pytest.mark.timeout(60)
def test_hostile_words_are_read_quickly() -> None:
    for piece in ("resets ", "1d ", "try again in 1", "9" * 50, "limit|", "retry (", " jan 1 "):
        reset_after_ms((piece * 20_000)[:16_384], NOW)
