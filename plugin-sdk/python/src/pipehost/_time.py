"""Timestamps as text: RFC 3339."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_EPOCH = date(1970, 1, 1).toordinal()
_LEAST = -(2**63) + 1
_MOST = 2**63 - 1


def parse_rfc3339(text: str) -> int:
    """Nanoseconds since the Unix epoch of an RFC 3339 time: ``2024-02-29T23:59:59.5+02:00``.

    Between date and time stands ``T`` or a space, and the offset is ``Z`` or ``+hh:mm``; letters may
    be lower case. A fraction is truncated after nine digits. A second 60 counts as the last
    nanosecond of the second before it, and is valid only at the end of a month in UTC.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("not an RFC 3339 time")
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = match.groups()
    if hour > "23" or minute > "59" or second > "60" or (sign and (hours > "23" or minutes > "59")):
        raise ValueError("not an RFC 3339 time")
    try:
        # The year 0 is one of the calendar, but not of Python's.
        days = date(int(year) or 400, int(month), int(day)).toordinal()
    except ValueError:
        raise ValueError("not an RFC 3339 time") from None
    if year == "0000":
        days -= 146_097
    seconds = (days - _EPOCH) * 86_400 + int(hour) * 3600 + int(minute) * 60 + min(int(second), 59)
    if sign:
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds += offset if sign == "-" else -offset
    nanoseconds = int(fraction[:9].ljust(9, "0")) if fraction else 0
    if second == "60":
        next_second = datetime(1970, 1, 1) + timedelta(seconds=seconds + 1)
        if (next_second.day, next_second.hour, next_second.minute, next_second.second) != (1, 0, 0, 0):
            raise ValueError("not an RFC 3339 time")
        nanoseconds = 999_999_999
    time = seconds * 1_000_000_000 + nanoseconds
    if not _LEAST <= time <= _MOST:
        raise ValueError("not between the years 1677 and 2262")
    return time


def rfc3339(nanoseconds: int) -> str:
    """Nanoseconds since the Unix epoch as RFC 3339, in UTC."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    text = time.strftime("%Y-%m-%dT%H:%M:%S")
    if fraction:
        text += f".{fraction:09}".rstrip("0")
    return text + "Z"
