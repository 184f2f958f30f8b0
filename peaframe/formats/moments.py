"""When a recording was made, as the files of events say it, and when any moment in it was.

`meta["recorded"]` has for a recording's name what `describe` makes:

    {"start": "2024-06-01T04:00:00+02:00", "source": "guano", "timezone": "Europe/Berlin", "expansion": 1}

`start` is ISO 8601, with an offset where the zone is known; `source` says who says so; `timezone` is the name of the
zone, which is needed where the clocks change during a recording, or null; `expansion` is how many seconds of the file
are one second of the world.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from peaframe.errors import FormatError, OptionError

if TYPE_CHECKING:
    from peaframe.audio.recorded import Recorded

__all__ = ["begun", "clock", "describe", "instants", "moment", "sentence", "stamp", "timed"]

_HALF = 0.0005  # of a millisecond, in seconds


def describe(recorded: Recorded) -> dict[str, Any]:
    """When a recording was made, as `meta["recorded"]` holds it under the recording's name."""
    return {
        "start": recorded.start.isoformat(),
        "source": recorded.source,
        "timezone": getattr(recorded.start.tzinfo, "key", None),
        "expansion": recorded.expansion,
    }


def moment(meta: Mapping[str, Any], filename: str, seconds: float) -> dt.datetime | None:
    """When it was, `seconds` into a recording, by `meta["recorded"]`; None where that does not say.

    It has a zone if and only if the recording's zone is known, and is right across a change of the clocks.

    Raises:
        FormatError: what is said of the recording is no time, or leads out of the years 1 to 9999.
    """
    given = meta.get("recorded")
    start = begun(given.get(filename) if isinstance(given, Mapping) else None, filename)
    return None if start is None else _at(start, seconds)


def timed(meta: Mapping[str, Any]) -> bool:
    """Whether times are to be written: `meta` has a mapping `recorded`, even an empty one."""
    return isinstance(meta.get("recorded"), Mapping)


def begun(said: Any, filename: str) -> Recorded | None:
    """When a recording was made, from what `describe` made of it; None from None.

    Raises:
        FormatError: it is none of `describe`'s, or its zone is not known here.
    """
    if said is None:
        return None
    cells = [said.get(key) for key in ("start", "timezone", "expansion")] if isinstance(said, Mapping) else []
    match cells:
        case [str(start), str() | None as zone, int() | None as expansion] if expansion is None or (
            expansion >= 1 and not isinstance(expansion, bool)
        ):
            source = said.get("source")
            try:
                return _rebuilt(start, zone, expansion or 1, source if isinstance(source, str) else "")
            except (ValueError, OverflowError, OptionError) as error:
                raise FormatError(f"{filename}: was made at {start!r}, zone {zone!r}: {error}") from error
    raise FormatError(
        f"{filename}: got {said!r} as the time it was made, expected "
        '{"start": "2024-06-01T04:00:00+02:00", "source": ..., "timezone": ..., "expansion": 1}'
    )


def stamp(start: Recorded, seconds: float) -> str:
    """When it was, as ISO 8601 to the nearest millisecond: `2024-06-01T04:00:01.200+02:00`.

    Raises:
        FormatError: it leads out of the years 1 to 9999.
    """
    return _nearest(start, seconds).isoformat(timespec="milliseconds")


def sentence(start: Recorded) -> str:
    """When a recording was made and who says so: `2024-06-01T04:00:00.000+02:00 (guano, Europe/Berlin)`."""
    zone = getattr(start.start.tzinfo, "key", None)
    return f"{stamp(start, 0.0)} ({', '.join(filter(None, (start.source, zone)))})".removesuffix(" ()")


def clock(start: Recorded, seconds: float) -> tuple[str, str]:
    """What a calendar and a clock showed then: `2024-06-01` and, to the nearest millisecond, `04:00:01.200`.

    Raises:
        FormatError: it leads out of the years 1 to 9999.
    """
    when = _nearest(start, seconds).replace(tzinfo=None)
    return when.date().isoformat(), when.time().isoformat(timespec="milliseconds")


def instants(start: Recorded | None, seconds: float) -> tuple[dt.datetime | None, dt.datetime | None]:
    """When it was, in UTC, and what a clock showed, without its zone; None each where that is not known.

    Raises:
        FormatError: it leads out of the years 1 to 9999.
    """
    if start is None:
        return None, None
    when = _at(start, seconds)
    return when.astimezone(dt.timezone.utc) if when.tzinfo else None, when.replace(tzinfo=None)


def _nearest(start: Recorded, seconds: float) -> dt.datetime:
    """A moment from which cutting off all after the milliseconds gives the nearest one."""
    return _at(start, seconds + _HALF * start.expansion)


def _at(start: Recorded, seconds: float) -> dt.datetime:
    try:
        return start.at(seconds)
    except OptionError as error:
        raise FormatError(str(error)) from error


@functools.lru_cache(maxsize=64)
def _rebuilt(start: str, timezone: str | None, expansion: int, source: str) -> Recorded:
    from peaframe.audio.recorded import Recorded
    from peaframe.audio.zones import in_zone, named_zone

    when = dt.datetime.fromisoformat(start.removesuffix("Z") + "+00:00" if start.endswith("Z") else start)
    if timezone is not None:
        zone = named_zone(timezone)
        when = in_zone(when, zone)[0] if when.tzinfo is None else when.astimezone(zone)
    return Recorded(when, source, None, when.tzinfo is not None, expansion=expansion)
