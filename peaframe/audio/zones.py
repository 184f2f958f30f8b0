"""Time zones by name or offset, and what a clock on the wall means in them."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo

from peaframe.audio.moments import fixed_zone
from peaframe.errors import OptionError

__all__ = ["in_zone", "named_zone"]

_OFFSET = re.compile(r"(?:UTC)?([+-]\d{1,2})(?::?(\d\d))?", re.ASCII)


def named_zone(zone: str | dt.tzinfo) -> dt.tzinfo:
    """The zone of a name: `Europe/Berlin`, `UTC`, `+02:00`, `-0530`, `+2`, `UTC+2`; a zone itself stays what it is.

    Names are those of the IANA database, which the system or the package `tzdata` has.

    Raises:
        OptionError: No such zone, or no database to look it up.
    """
    if isinstance(zone, dt.tzinfo):
        return zone
    name = zone.strip()
    match = _OFFSET.fullmatch(name)
    found = fixed_zone(*match.groups()) if match else None
    if name.upper() in ("UTC", "Z"):
        found = dt.timezone.utc
    if found is not None:
        return found
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        if not match and not zoneinfo.available_timezones():
            raise OptionError(
                f"time zone {zone!r} cannot be looked up: this system has no time zone database; run: "
                "pip install tzdata, or give an offset such as '+02:00'"
            ) from error
        raise OptionError(
            f"time zone {zone!r} is not known; give a name such as 'Europe/Berlin' or an offset such as '+02:00'"
        ) from error


def in_zone(naive: dt.datetime, zone: dt.tzinfo) -> tuple[dt.datetime, tuple[str, ...]]:
    """What the clock on the wall says, as a moment in a zone, with a note where it says it never or twice.

    Where clocks went back, the hour that came twice is taken as its first time. Where they went forward, the hour
    that never was is read as by a clock that was not put forward: 02:30 becomes 03:30 of summer time.
    """
    early, late = naive.replace(tzinfo=zone, fold=0), naive.replace(tzinfo=zone, fold=1)
    if early.utcoffset() == late.utcoffset():
        return early, ()
    moment = early.astimezone(dt.timezone.utc).astimezone(zone)
    if moment.replace(tzinfo=None, fold=0) == naive:
        other = late.strftime("%z")
        return moment, (
            f"{naive} came twice in {zone}: the first is taken ({moment:%z}, the second is {other})",
        )
    return moment, (f"{naive} never was in {zone}, clocks went forward: taken as {moment:%H:%M:%S%z}",)
