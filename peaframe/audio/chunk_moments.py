"""When a recording began, by what recorders write into WAV files.

Layouts and wordings, from their own documents and firmware:
GUANO 1.0 (guano-md.org: UTF-8 lines `key: value`, `Timestamp` is the start of the recording), AudioMoth's comment
(github.com/OpenAcousticDevices/AudioMoth-Firmware-Basic, `setHeaderComment`), Wildlife Acoustics' `wa_meta.h`
(subchunks of id, length, value; 0x0005 is the start of the file), and Broadcast Wave (EBU Tech 3285).
"""

from __future__ import annotations

import datetime as dt
import re
import struct
from collections.abc import Mapping

from peaframe.audio.chunks import decoded
from peaframe.audio.moments import Moment, fixed_zone, iso_moment

__all__ = ["bext_moment", "chunk_moments", "comment_moment", "guano_moment", "wamd_moment"]

_COMMENT = re.compile(
    r"Recorded at (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))? (\d\d)/(\d\d)/(\d{4})"
    r"( \(UTC([+-]\d{1,2})?(?::\s?(\d{1,2}))?\))?(?= (?:by|during))",
    re.ASCII,
)
_COMMENT_DETAILS = {
    "gain": re.compile(r"\bat (?:gain setting (\d)|([a-z-]+) gain)\b"),
    "battery": re.compile(r"\bbattery (?:state )?was ((?:less than |greater than |[<>] ?)?\d+\.\d+V)"),
    "temperature": re.compile(r"\btemperature was (-?\d+\.\d+C)"),
    "deployment": re.compile(r"\bduring deployment ([0-9A-F]{16})\b"),
}
_GUANO_DETAILS = {
    "firmware": ("Firmware Version", ""),
    "temperature": ("Temperature Int", "C"),
    "temperature outside": ("Temperature Ext", "C"),
    "position": ("Loc Position", ""),
    "battery": ("OAD|Battery Voltage", "V"),
}
_WAMD_DETAILS = {
    0x0003: "firmware",
    0x0004: "prefix",
    0x0006: "position",
    0x0015: "temperature",
    0x0016: "temperature outside",
}
_BEXT_HEAD = 346
_BEXT_DAY = re.compile(r"(\d{4})[-_: ./](\d\d)[-_: ./](\d\d)", re.ASCII)
_BEXT_TIME = re.compile(r"(\d\d)[-_: ./](\d\d)[-_: ./](\d\d)", re.ASCII)
_SAME_SECONDS = 2.0
_DAY = 86400


def comment_moment(comment: str, artist: str = "") -> Moment | None:
    """What an AudioMoth's comment says: "Recorded at 20:23:00 25/04/2024 (UTC+2) by AudioMoth 24F3190361DA3578 ...".

    The day comes before the month. Firmware 1.0 names no zone; its clock runs in UTC, so UTC it is. Half hours are
    written `(UTC-5:30)`, and `(UTC-0:30)`.

    Args:
        comment: The comment (`ICMT`).
        artist: The artist (`IART`), which holds the device's number also where the comment names a deployment.

    Returns:
        The moment, or None where the comment is none of an AudioMoth's or says no valid time.
    """
    match = _COMMENT.search(comment)
    if match is None or "AudioMoth" not in comment + artist:
        return None
    hour, minute, second, fraction, day, month, year, named, hours, minutes = match.groups()
    zone = fixed_zone(hours, minutes)
    if zone is None:
        return None
    try:
        when = dt.datetime(
            int(year),
            int(month),
            int(day),
            int(hour),
            int(minute),
            int(second),
            int(f"{fraction or 0:0<6}"),
            zone,
        )
    except ValueError:
        return None
    device = re.search(r"AudioMoth(?: [0-9A-F]{16})?", f"{artist} {comment}" if artist else comment)
    found = {name: pattern.search(comment) for name, pattern in _COMMENT_DETAILS.items()}
    return Moment(
        when,
        "comment",
        device[0] if device else None,
        {name: next(filter(None, hit.groups())) for name, hit in found.items() if hit},
        notes=() if named else ("the AudioMoth's comment names no zone (firmware 1.0): taken as UTC",),
    )


def guano_moment(body: bytes) -> Moment | None:
    """What a `guan` chunk says; None where its `Timestamp` is missing or none."""
    lines = (line.partition(":") for line in decoded(body).splitlines())
    fields = {key.strip(" \t\0"): value.strip(" \t\0") for key, colon, value in lines if colon}
    when = iso_moment(fields.get("Timestamp", ""))
    if when is None:
        return None
    device = " ".join(filter(None, (fields.get(key) for key in ("Make", "Model", "Serial"))))
    return Moment(
        when,
        "guano",
        device or None,
        {name: fields[key] + unit for name, (key, unit) in _GUANO_DETAILS.items() if fields.get(key)},
        _expansion(fields.get("TE", "")),
    )


def wamd_moment(body: bytes) -> Moment | None:
    """What a `wamd` chunk (Wildlife Acoustics: Song Meter, Echo Meter) says; None where it says no start time."""
    texts: dict[int, str] = {}
    expansion, at = 1, 0
    while at + 6 <= len(body):
        kind, size = struct.unpack_from("<HI", body, at)
        value = body[at + 6 : at + 6 + size]
        if kind == 0x0000 and value[:2] != b"\1\0":
            return None  # its makers ask not to read on in other versions
        if kind == 0x000F and len(value) >= 2:
            expansion = max(1, *struct.unpack_from("<H", value))
        elif kind != 0xFFFF:
            texts.setdefault(kind, decoded(value).strip(" \t\r\n\0"))
        at += 6 + size
    when = iso_moment(texts.get(0x0005, ""))
    if when is None:
        return None
    device = " ".join(filter(None, (texts.get(0x0001), texts.get(0x0002))))
    details = {name: texts[kind] for kind, name in _WAMD_DETAILS.items() if texts.get(kind)}
    return Moment(when, "wamd", device or None, details, expansion)


def bext_moment(body: bytes, sample_rate: int) -> Moment | None:
    """What a `bext` chunk says: the origination's day and time, finer by the time reference if the two agree.

    The time reference counts samples since midnight, to the sample. But it is a timecode: a recorder's generator may
    be set to anything and an editor counts from where its project begins. So it only adds the fraction of a second
    where it lies within two seconds of the origination time; where it says something else, a note tells what.

    Args:
        body: The chunk.
        sample_rate: The recording's samples a second; 0 if unknown, then the time reference is not used.

    Returns:
        The moment, without a zone: the format has none. None where day or time are blank or malformed.
    """
    if len(body) < 338:
        return None
    text = body[:338].decode("latin-1")
    day, time = _BEXT_DAY.fullmatch(text[320:330]), _BEXT_TIME.fullmatch(text[330:338])
    if day is None or time is None:
        return None
    try:
        when = dt.datetime(*map(int, day.groups()), *map(int, time.groups()))  # type: ignore[arg-type]
    except ValueError:
        return None
    device = text[256:288].split("\0")[0].strip() or None
    (reference,) = struct.unpack_from("<Q", body, 338) if len(body) >= _BEXT_HEAD else (0,)
    if not reference or sample_rate <= 0:
        return Moment(when, "bext", device)
    passed = reference / sample_rate
    ahead = passed - (when - when.replace(hour=0, minute=0, second=0)).total_seconds()
    ahead -= _DAY * round(ahead / _DAY)
    if passed < 2 * _DAY and abs(ahead) <= _SAME_SECONDS and when.year > 1:
        return Moment(when + dt.timedelta(seconds=ahead), "bext", device)
    note = f"bext: the time reference is {passed:.0f} s after midnight, the time {when:%H:%M:%S}: this one counts"
    return Moment(when, "bext", device, notes=(note,))


def _expansion(text: str) -> int:
    return max(1, int(text)) if re.fullmatch(r"\d{1,4}", text, re.ASCII) else 1


def chunk_moments(chunks: Mapping[bytes, bytes], info: Mapping[str, str], sample_rate: int) -> list[Moment]:
    """All that the chunks say, the most trusted first: `guan`, the comment, `wamd`, `bext`, a date among the texts.

    Args:
        chunks: Bodies by name.
        info: The texts of `LIST` `INFO`.
        sample_rate: The recording's samples a second, 0 if unknown.
    """
    found = (
        guano_moment(chunks.get(b"guan", b"")),
        comment_moment(info.get("ICMT", ""), info.get("IART", "")),
        wamd_moment(chunks.get(b"wamd", b"")),
        bext_moment(chunks.get(b"bext", b""), sample_rate),
    )
    created = iso_moment(info.get("ICRD", ""))
    tagged = (
        [Moment(created, "tag", notes=("the tag ICRD may be the time of a later edit",))] if created else []
    )
    return [moment for moment in found if moment] + tagged
