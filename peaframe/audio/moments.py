"""What one source says about when a recording began, and the words it may say it in."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Moment", "fixed_zone", "iso_moment"]

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?\s*(?:(Z|UTC)|([+-]\d{1,2})(?::?(\d\d))?)?",
    re.ASCII,
)


@dataclass(frozen=True)
class Moment:
    """What one source says.

    Attributes:
        when: When the recording began; without a zone where the source names none.
        source: Which one: `guano`, `comment`, `wamd`, `bext`, `file name`, `tag` or `mtime`.
        device: What recorded, as far as the source says.
        details: What else it says in words worth keeping, such as `{"battery": "4.2V"}`.
        expansion: How many seconds of the file are one second of the world (time expansion); mostly 1.
        notes: What a reader should know of it, one line each.
    """

    when: dt.datetime
    source: str
    device: str | None = None
    details: Mapping[str, str] = field(default_factory=dict, hash=False)
    expansion: int = 1
    notes: tuple[str, ...] = ()


def fixed_zone(hours: str | None, minutes: str | None = None) -> dt.timezone | None:
    """The zone of an offset such as `-5`, `30`; the sign of the hours is that of the minutes (also of `-0`).

    Returns:
        The zone, or None where this is no offset any clock on earth may have (beyond 14 h, or 75 minutes).
    """
    if hours is None:
        return dt.timezone.utc if minutes is None else None
    offset = dt.timedelta(hours=abs(int(hours)), minutes=int(minutes or 0))
    if int(minutes or 0) > 59 or offset > dt.timedelta(hours=14):
        return None
    return dt.timezone(-offset if hours.strip().startswith("-") else offset)


def iso_moment(text: str) -> dt.datetime | None:
    """The time an ISO 8601 text says, if it is a date and a time to the second and nothing else.

    `2024-04-25T20:23:00`, with a space for the T, with a fraction (cut to microseconds), with `Z`, `UTC`, `+02:00`,
    `+0200` or `+2` at its end. Anything else, such as a date alone, is None: it says no time.
    """
    match = _ISO.fullmatch(text.strip(" \t\r\n\0"))
    if match is None:
        return None
    *numbers, fraction, utc, hours, minutes = match.groups()
    zone = None
    if utc or hours:
        zone = fixed_zone(hours, minutes)
        if zone is None:
            return None
    year, month, day, hour, minute, second = map(int, numbers)
    try:
        return dt.datetime(year, month, day, hour, minute, second, int(f"{fraction or 0:0<6}"[:6]), zone)
    except ValueError:
        return None
