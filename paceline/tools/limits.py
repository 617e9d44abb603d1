"""Providers' rate and usage limits: recognised in what a tool says, with the time of their reset.

An HTTP API says it in a header (RFC 9110, section 10.2.3: seconds or a date). Command-line tools
only say it in words, each in its own: a Unix time behind a bar, a duration ("in 6m0s"), a time of
day with or without a zone ("resets 3:45pm (Europe/Berlin)"), a date. All are read here, and only
out of what a failed run gave as its error: an agent that writes about rate limits hits none.

Pure: the present is an argument, with a time zone, which is the one that words without a zone mean.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from paceline.tools.events import Limit, LimitKind

LONGEST = timedelta(days=35)
"""Plans renew monthly at the latest. A reset further away is a misreading."""

WORDS_LIMIT = 16 * 1024
"""Characters that are looked at, from the end: tools say last why they gave up."""

OVERLOADED = frozenset({502, 503, 504, 529})

_CREDIT = re.compile(
    r"insufficient[_ ]quota|credit balance|out of credits?|billing|payment required", re.I
)
_USAGE = re.compile(
    r"usage limit|(?:session|weekly|daily|monthly|plan|hour) limit|limit reached"
    r"|quota|RESOURCE_EXHAUSTED|premium requests?",
    re.I,
)
_RATE = re.compile(
    r"rate[ _-]?limit|too many requests|\bHTTP 429\b|\bstatus(?: code)?:? 429\b", re.I
)
_OVERLOAD = re.compile(
    r"overloaded|over capacity|service unavailable|at capacity|high demand", re.I
)


def recognise(
    words: str, *, now: datetime, http: int | None = None, retry_after: str = ""
) -> Limit | None:
    """Answer which limit a failure speaks of, or None if it speaks of none.

    `http` is the status that the API gave, `retry_after` its header of that name.
    """
    words = words[-WORDS_LIMIT:]
    reset_ms = _header_ms(retry_after, now)
    if reset_ms is None:
        reset_ms = reset_after_ms(words, now)
    kind = _kind(words, http, known=reset_ms is not None)
    return Limit(kind, reset_ms) if kind else None


def _kind(words: str, http: int | None, *, known: bool) -> LimitKind | None:
    if http in OVERLOADED:
        return LimitKind.OVERLOAD
    limited = http in (402, 429)
    if http is not None and not limited and http < 500:
        limited = bool(re.search(r"usage limit|credit balance", words, re.I))
        if not limited:
            return None
    if _CREDIT.search(words) and not known:
        return LimitKind.CREDIT
    if _RATE.search(words):
        return LimitKind.RATE
    if _USAGE.search(words):
        return LimitKind.USAGE
    if limited:
        return LimitKind.CREDIT if http == 402 else LimitKind.RATE
    return LimitKind.OVERLOAD if _OVERLOAD.search(words) else None


def _header_ms(value: str, now: datetime) -> int | None:
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) < 8:
        return _bounded(timedelta(seconds=int(value)))
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, IndexError, TypeError):
        return None
    return _until(when if when.tzinfo else when.replace(tzinfo=UTC), now)


def reset_after_ms(words: str, now: datetime) -> int | None:
    """Answer how long until the limit is lifted, as far as the words say it."""
    for read in (_unix, _iso, _duration, _dated, _weekday, _time_of_day):
        if (found := read(words, now)) is not None:
            return found
    return None


def _bounded(wait: timedelta) -> int | None:
    if timedelta(0) <= wait <= LONGEST:
        return round(wait.total_seconds() * 1000)
    return None


def _until(when: datetime, now: datetime) -> int | None:
    """Answer the time from now; a reset that has just passed is one that has happened."""
    wait = when - now
    if -timedelta(hours=1) <= wait < timedelta(0):
        return 0
    return _bounded(wait)


# --- the ways to say it ---

_UNIX = re.compile(r"limit[^|\n]{0,60}\|\s*(\d{10})(\d{3})?\b", re.I)
_ABOUT = r"(?:try again|retry|retrying|resets?|wait|available|renews?|retry_?delay)"
_ISO = re.compile(
    _ABOUT + r"[^\n]{0,40}?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)",
    re.I,
)
_UNIT = r"(?:days?|d|hours?|hrs?|h|minutes?|mins?|ms|milliseconds?|m|seconds?|secs?|s)"
_PIECE = rf"\d{{1,7}}(?:\.\d{{1,6}})?\s*{_UNIT}(?![a-z])"
_SPAN = re.compile(_ABOUT + r"[^\n\d]{0,40}?((?:" + _PIECE + r"(?:,?\s*(?:and\s+)?)?){1,4})", re.I)
_PIECES = re.compile(rf"(\d{{1,7}}(?:\.\d{{1,6}})?)\s*({_UNIT})", re.I)
_CLOCK = r"(\d{1,2})(?::(\d\d))?(?::\d\d)?\s*(am|pm)?"
_ZONE = r"(?:\s*\(?((?:[A-Z][A-Za-z_]+/[A-Za-z_/+-]+|UTC|GMT))\)?)?"
_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DATED = re.compile(
    _ABOUT + rf"[^\n]{{0,30}}?\b{_MONTH}\s+(\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s*(\d{{4}}))?"
    rf"(?:,?\s*(?:at\s+)?{_CLOCK}{_ZONE})?",
    re.I,
)
_WEEKDAY = re.compile(
    _ABOUT + rf"[^\n]{{0,20}}?\b(mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\s*(?:at\s+)?{_CLOCK}{_ZONE}",
    re.I,
)
_TIME = re.compile(_ABOUT + rf"\s*(?:at|:)?\s*{_CLOCK}(?![\d:]|\.\d){_ZONE}", re.I)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _unix(words: str, now: datetime) -> int | None:
    found = _UNIX.search(words)
    return _until(datetime.fromtimestamp(int(found[1]), UTC), now) if found else None


def _iso(words: str, now: datetime) -> int | None:
    if not (found := _ISO.search(words)):
        return None
    try:
        when = datetime.fromisoformat(found[1])
    except ValueError:
        return None
    return _until(when if when.tzinfo else when.replace(tzinfo=now.tzinfo), now)


def _duration(words: str, now: datetime) -> int | None:
    if not (found := _SPAN.search(words)):
        return None
    total = timedelta(0)
    for amount, unit in _PIECES.findall(found[1]):
        total += _seconds(unit.lower()) * float(amount)
    return _bounded(total)


def _seconds(unit: str) -> timedelta:
    if unit.startswith(("ms", "milli")):
        return timedelta(milliseconds=1)
    return {
        "d": timedelta(days=1),
        "h": timedelta(hours=1),
        "m": timedelta(minutes=1),
        "s": timedelta(seconds=1),
    }[unit[0]]


def _dated(words: str, now: datetime) -> int | None:
    if not (found := _DATED.search(words)):
        return None
    month, day, year, hour, minute, half, zone = found.groups()
    local = now.astimezone(_zone(zone, now))
    clock = _clock(hour or "0", minute, half)

    def at() -> datetime:
        return local.replace(
            year=int(year or local.year), month=_MONTHS.index(month.lower()) + 1, day=int(day)
        )

    return _next(at, clock, now, step=timedelta(0 if year else 365))


def _weekday(words: str, now: datetime) -> int | None:
    if not (found := _WEEKDAY.search(words)):
        return None
    day, hour, minute, half, zone = found.groups()
    local = now.astimezone(_zone(zone, now))
    ahead = (_DAYS.index(day.lower()) - local.weekday()) % 7
    return _next(
        lambda: local + timedelta(days=ahead),
        _clock(hour, minute, half),
        now,
        step=timedelta(days=7),
    )


def _time_of_day(words: str, now: datetime) -> int | None:
    if not (found := _TIME.search(words)):
        return None
    hour, minute, half, zone = found.groups()
    if minute is None and half is None:
        return None  # "retry 3" is a count, not a time
    local = now.astimezone(_zone(zone, now))
    return _next(lambda: local, _clock(hour, minute, half), now, step=timedelta(days=1))


def _next(
    day: Callable[[], datetime], clock: tuple[int, int] | None, now: datetime, *, step: timedelta
) -> int | None:
    """Answer the time until that hour of that day, or until it comes again."""
    if clock is None:
        return None
    try:
        when = day().replace(hour=clock[0], minute=clock[1], second=0, microsecond=0)
    except ValueError:  # the 31st of February
        return None
    if when < now - timedelta(minutes=1):
        when += step
    return _until(when, now)


def _clock(hour: str, minute: str | None, half: str | None) -> tuple[int, int] | None:
    """Answer hour and minute of the day, or None if they are no time."""
    at = int(hour)
    if half:
        if not 1 <= at <= 12:
            return None
        at = at % 12 + (12 if half.lower() == "pm" else 0)
    minutes = int(minute or 0)
    return (at, minutes) if at < 24 and minutes < 60 else None


def _zone(name: str | None, now: datetime) -> tzinfo | None:
    try:
        return ZoneInfo(name) if name else now.tzinfo
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return now.tzinfo
