"""When a recording began, by its file name: the common patterns of recorders, or one that the user gives.

| pattern | who writes it |
|---|---|
| `20240425_202300`, `20240425_202300T` | AudioMoth (by its configured zone; mostly UTC) |
| `PREFIX_20240425_202300`, `PREFIX_0+1_20240425$202300` | Song Meter; `$` marks a clock set by GPS |
| `PREFIX_20240425_202300_123456` | SMART microphones (microseconds); three digits are milliseconds |
| `swift_20240425_202300_-0500`, `20240425T202300+1000`, `...Z`, `...-UTC` | SWIFT and archives, with a zone |
| `2024-04-25T20-23-00`, `2024-04-25 20.23.00`, `20240425202300` | phones, computers, Avisoft |
| `2024-04-25 at 8.23.00 PM` | Apple |
| `2024-04-25-birdnet-20:23:00` | BirdNET-Pi |
| `240425-202300`, `240425_202300` | Zoom and others; read as 20yy |
| `5678.240425202300` | SoundTrap, behind its serial number and a dot |
| `5E90A4D4` | AudioMoth before firmware 1.3: Unix seconds in hexadecimal, in UTC |
| `1714076580`, `1714076580123` | Unix seconds or milliseconds, in UTC, as the whole name |

A number that is no valid date and time is passed over. A name of eight hexadecimal digits must hold a letter (others
number their files so) and lie between 2016 and 2030; a date alone, or day before month, says nothing certain and is
left to a pattern of the user.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import PurePath

from peaframe.audio.moments import Moment, fixed_zone
from peaframe.errors import OptionError

__all__ = ["check_format", "formatted_moment", "name_moment"]

_ZONE = r"(?P<zone>Z(?![A-Za-z0-9])|[-_ ]?UTC(?![A-Za-z0-9+-])|[_ ]?[+-]\d\d:?\d\d(?!\d))?"
_CLOCK = r"(?P<H>\d\d?)(?P<b>[-_.:]?)(?P<M>\d\d)(?P=b)(?P<S>\d\d)(?!\d)(?:[._](?P<f>\d{6}|\d{3})(?!\d))?"
_LONG = re.compile(
    r"(?<!\d)(?P<Y>(?:19|20)\d\d)(?P<a>[-_.]?)(?P<m>\d\d)(?P=a)(?P<d>\d\d)"
    r"(?:[ _T$.-]{0,3}| at |-birdnet-(?:RTSP_\d+-)?)"
    + _CLOCK
    + r"(?: ?(?P<p>[AaPp][Mm])(?![A-Za-z0-9]))?"
    + _ZONE,
    re.ASCII,
)
_SHORT = re.compile(
    r"(?<!\d)(?P<Y>\d\d)(?P<m>\d\d)(?P<d>\d\d)[-_](?P<H>\d\d)(?P<M>\d\d)(?P<S>\d\d)(?!\d)" + _ZONE, re.ASCII
)
_SERIAL = re.compile(
    r"(?<=\d\.)(?P<Y>\d\d)(?P<m>\d\d)(?P<d>\d\d)(?P<H>\d\d)(?P<M>\d\d)(?P<S>\d\d)(?!\d)" + _ZONE, re.ASCII
)
_HEX = re.compile(r"(?=.*[A-Fa-f])(?:[0-9A-F]{8}|[0-9a-f]{8})", re.ASCII)
_HEX_RANGE = range(1_451_606_400, 1_893_456_000)
_UNIX = re.compile(r"(1\d{9})(\d{3})?", re.ASCII)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_SUFFIX = re.compile(r"\.(?=\d*[A-Za-z])[A-Za-z0-9]{1,5}$", re.ASCII)

_DIRECTIVES = {
    "Y": r"\d{4}", "y": r"\d\d", "m": r"\d{1,2}", "d": r"\d{1,2}", "j": r"\d{1,3}", "H": r"\d{1,2}",
    "I": r"\d{1,2}", "M": r"\d{1,2}", "S": r"\d{1,2}", "f": r"\d{1,6}", "p": r"[AaPp][Mm]", "b": r"[^\W\d_]+\.?",
    "B": r"[^\W\d_]+", "a": r"[^\W\d_]+\.?", "A": r"[^\W\d_]+", "z": r"(?:Z|[+-]\d\d:?\d\d)", "%": "%",
}  # fmt: skip


def name_moment(path: str | PurePath) -> Moment | None:
    """What a file's name says by the patterns above, or None. Of several times in it the first counts, with a note.

    The folders it lies in are not looked at.
    """
    stem = _stem(path)
    for pattern in (_LONG, _SHORT, _SERIAL):
        found = [moment for match in pattern.finditer(stem) if (moment := _dated(match))]
        if found:
            notes = ["the year in the file name has two digits: read as 20yy"] * (pattern is not _LONG)
            if any(other.replace(tzinfo=None) != found[0].replace(tzinfo=None) for other in found):
                notes.append(f"the file name holds {len(found)} times: the first one is taken")
            return Moment(found[0], "file name", notes=tuple(notes))
    if _HEX.fullmatch(stem) and int(stem, 16) in _HEX_RANGE:
        when = _EPOCH + dt.timedelta(seconds=int(stem, 16))
        note = "the file name is read as hexadecimal Unix seconds, as old AudioMoths write it"
        return Moment(when, "file name", notes=(note,))
    unix = _UNIX.fullmatch(stem)
    if unix:
        when = _EPOCH + dt.timedelta(seconds=int(unix[1]), milliseconds=int(unix[2] or 0))
        return Moment(when, "file name", notes=("the file name is read as Unix time",))
    return None


def check_format(time_format: str) -> None:
    """Refuse a pattern that `formatted_moment` refuses.

    Raises:
        OptionError: The pattern has a directive that is not known or comes twice, or does not give day and hour.
    """
    _expression(time_format)


def formatted_moment(path: str | PurePath, time_format: str) -> Moment | None:
    """What a file's name says by a pattern of `datetime.strptime`, which may stand anywhere in it.

    Digits right before or behind the place where it fits belong to another number: there it does not fit.

    Raises:
        OptionError: The pattern has a directive that is not known or comes twice, or does not give day and hour.
    """
    expression = _expression(time_format)
    stem = _stem(path)
    for start in range(len(stem)):
        match = expression.match(stem, start)
        try:
            if match:
                return Moment(dt.datetime.strptime(match[0], time_format), "file name")
        except ValueError:
            continue
    return None


def _stem(path: str | PurePath) -> str:
    """The name without its suffix; `.00` is none, a time may end so."""
    return _SUFFIX.sub("", PurePath(path).name)


def _dated(match: re.Match[str]) -> dt.datetime | None:
    """The valid time that a pattern has found, or None."""
    parts = match.groupdict()
    hour, half = int(parts["H"]), (parts.get("p") or "").upper()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "PM" else 0)
    elif len(parts["H"]) < 2:
        return None
    year = int(parts["Y"]) + (2000 if len(parts["Y"]) == 2 else 0)
    fraction = int(f"{parts.get('f') or 0:0<6}")
    zone = _zone(parts["zone"] or "")
    try:
        return dt.datetime(
            year, int(parts["m"]), int(parts["d"]), hour, int(parts["M"]), int(parts["S"]), fraction, zone
        )
    except ValueError:
        return None


def _zone(text: str) -> dt.timezone | None:
    """The zone behind a time, or None where it is only a number with a dash, such as a counter."""
    digits = text.strip("_ ").replace(":", "")
    if digits.endswith(("Z", "UTC")) or digits == "+0000":
        return dt.timezone.utc
    if len(digits) != 5 or digits[1:3] == "00" or digits[3:] not in ("00", "30", "45"):
        return None
    return fixed_zone(digits[:3], digits[3:])


def _expression(time_format: str) -> re.Pattern[str]:
    """A pattern of strptime as a regular expression."""
    pieces = re.split(r"(%.|\s+)", time_format, flags=re.DOTALL)
    letters = [piece[1] for piece in pieces if len(piece) == 2 and piece[0] == "%"]
    given = set(letters)
    unknown = sorted(given - set(_DIRECTIVES))
    if unknown or time_format.replace("%%", "").endswith("%"):
        raise OptionError(
            f"time format {time_format!r} has the unknown %{unknown[0] if unknown else ''}; "
            f"use of {' '.join('%' + letter for letter in _DIRECTIVES)}"
        )
    if twice := [letter for letter in _DIRECTIVES if letter != "%" and letters.count(letter) > 1]:
        raise OptionError(f"time format {time_format!r} has %{twice[0]} more than once; give it once")
    month_day = {"m", "b", "B"} & given and "d" in given
    if not ({"Y", "y"} & given and (month_day or "j" in given) and ("H" in given or {"I", "p"} <= given)):
        raise OptionError(
            f"time format {time_format!r} does not give year, month, day and hour; such as '%Y%m%d_%H%M%S' does"
        )
    source = "".join(
        _DIRECTIVES[piece[1]]
        if len(piece) == 2 and piece[0] == "%"
        else (r"\s+" if piece.isspace() else re.escape(piece))
        for piece in pieces
    )
    before = r"(?<!\d)" if re.match(r"%[^bBaApz%]", time_format) else ""
    after = r"(?!\d)" if re.search(r"%[^bBaAp%]$", time_format) else ""
    return re.compile(before + source + after, re.ASCII if time_format.isascii() else 0)
