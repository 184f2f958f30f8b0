"""When a recording was made, and so when any moment in it was.

Several sources may say it. The first of this list that does is believed; the others only add a note where they
disagree by more than two seconds.

1. The file name, but only by a pattern that the user gives: they know their files.
2. `guan` (GUANO): made to say when the recording began, with the zone.
3. AudioMoth's comment: written with the first sample, with the zone. Of other formats, such as FLAC made from such
   files, the tag `comment`.
4. `wamd` (Wildlife Acoustics): the same, the zone is often missing.
5. `bext` (Broadcast Wave): never a zone, and editors write when they exported.
6. The file name by the common patterns: people rename files, and a zone is rare.
7. Tags with date and time (`ICRD`, `creation_time`, `date`): the time of saving or converting as often as of recording.
8. The file's modification time less its length: right on the memory card, gone with the first careless copy.

A recorder whose clock was never set writes the first days of 1970 or 1980, software the year 1: January of those two
years and all before 1900 or from 2200 on is passed over, with a note.
"""

from __future__ import annotations

import datetime as dt
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import av

from peaframe.audio.chunk_moments import chunk_moments, comment_moment
from peaframe.audio.chunks import listed, walk
from peaframe.audio.moments import Moment, iso_moment
from peaframe.audio.name_moments import formatted_moment, name_moment
from peaframe.audio.zones import in_zone, named_zone
from peaframe.errors import AudioError, OptionError

__all__ = ["Recorded", "recorded"]

_SAME = dt.timedelta(seconds=2)
_QUARTER = dt.timedelta(minutes=15)
_FAR = dt.timedelta(hours=26)
_LONGEST_SECONDS = 366 * 86400
_UNSET = {(1970, 1), (1980, 1)}
_YEARS = range(1900, 2200)
_WANTED = (b"fmt ", b"guan", b"wamd", b"bext", b"LIST")
_TAGS = ("com.apple.quicktime.creationdate", "creation_time", "date")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


@dataclass(frozen=True)
class Recorded:
    """When a recording was made.

    Attributes:
        start: When it began; it has a zone if and only if `zone_known`.
        source: Who says so: `guano`, `comment`, `wamd`, `bext`, `file name`, `tag`, `mtime`.
        device: What recorded or wrote it, as far as any source says, such as `AudioMoth 24F3190361DA3578`.
        zone_known: Whether `start` is a moment of the world, or only what a clock somewhere showed.
        details: What else the sources say, such as `{"battery": "4.2V", "temperature": "17.5C"}`.
        expansion: How many seconds of the file are one second of the world (time expansion); mostly 1.
        notes: What a reader should know: guesses made, and sources that say otherwise.
    """

    start: dt.datetime
    source: str
    device: str | None
    zone_known: bool
    details: Mapping[str, str] = field(default_factory=dict, hash=False)
    expansion: int = 1
    notes: tuple[str, ...] = ()

    def at(self, seconds: float) -> dt.datetime:
        """When it was, `seconds` into the recording: in the zone of `start`, right across a change of the clocks too.

        Raises:
            OptionError: `seconds` is not finite, or leads out of the years 1 to 9999.
        """
        try:
            passed = dt.timedelta(seconds=seconds / self.expansion)
            if self.start.tzinfo is None:
                return self.start + passed
            return (self.start.astimezone(dt.timezone.utc) + passed).astimezone(self.start.tzinfo)
        except (OverflowError, ValueError) as error:
            raise OptionError(
                f"{seconds} s after {self.start} is no time; give seconds in the recording"
            ) from error


def recorded(
    path: str | os.PathLike[str], time_format: str | None = None, timezone: str | dt.tzinfo | None = None
) -> Recorded | None:
    """Find out when a recording was made, from its head and name alone.

    Args:
        path: The recording.
        time_format: Where the time stands in the file name, as a pattern of `datetime.strptime` such as
            `%d%m%y-%H%M`; it may stand anywhere in the name, and is believed before all else. Where it does not fit, a
            note says so and the other sources count.
        timezone: What the recorder's clock was set to, where nobody says it: a name such as `Europe/Berlin`, an offset
            such as `+02:00`, or a zone. Times with a zone of their own are expressed in this one too.

    Returns:
        When it began and who says so; None where nobody does, not even a credible modification time.

    Raises:
        AudioError: There is no such file, or it cannot be read.
        OptionError: The time zone is not known, or the pattern does not give day and hour.
    """
    zone = None if timezone is None else named_zone(timezone)
    given, notes, moments = Path(path), list[str](), list[Moment]()
    if time_format is not None:
        named = formatted_moment(given, time_format)
        if named is None:
            notes.append(f"the time format {time_format!r} does not fit the file name {given.name!r}")
        moments += [named] if named else []
    else:
        named = name_moment(given)
    try:
        if given.is_dir():
            raise AudioError(f"{path}: is a folder; give a recording")
        if not given.is_file():
            raise AudioError(f"{path}: no such file; check the name")
        inside, tags, seconds = _inside(given)
        modified = given.stat().st_mtime_ns // 1000
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{path}: cannot be opened ({reason}); check the name and permissions") from error
    moments += inside
    if time_format is None and named:
        moments.append(named)
    moments += tags
    credible = [moment for moment in moments if _credible(moment.when)]
    notes += [
        f"{moment.source} says {moment.when}: no credible time, passed over"
        for moment in moments
        if moment not in credible
    ]
    chosen = credible[0] if credible else _modified(modified, seconds)
    if chosen is None:
        return None
    notes += [*chosen.notes, *(note for other in credible[1:] for note in _conflict(chosen, other))]
    start = chosen.when
    if zone is not None and start.tzinfo is None:
        start, why = in_zone(start, zone)
        notes += why
    elif zone is not None:
        start = start.astimezone(zone)
    everything = (chosen, *moments)  # what recorded does not hang on whose time is believed
    expansion = next((moment.expansion for moment in everything if moment.expansion > 1), 1)
    if expansion > 1:
        notes.append(f"time-expanded by {expansion}: {expansion} s of the file are 1 s")
    return Recorded(
        start,
        chosen.source,
        next((moment.device for moment in everything if moment.device), None),
        start.tzinfo is not None,
        {name: text for moment in reversed(everything) for name, text in moment.details.items()},
        expansion,
        tuple(notes),
    )


def _inside(path: Path) -> tuple[list[Moment], list[Moment], float | None]:
    """What the file's head says: sources to be believed before its name, after it, and its length in seconds."""
    bodies: dict[bytes, bytes] = {}
    info: dict[str, str] = {}
    data, riff = 0, False
    with path.open("rb", buffering=0) as file:
        for chunk in walk(file, _WANTED):
            riff = True
            if chunk.name == b"LIST":
                info = {**listed(chunk.body), **info}
            elif chunk.name == b"data":
                data = data or chunk.size
            elif chunk.name in _WANTED:
                bodies.setdefault(chunk.name, chunk.body)
    if not riff:
        return _tagged(path)
    form = bodies.get(b"fmt ", b"")
    rate, bytes_a_second = struct.unpack_from("<II", form, 4) if len(form) >= 12 else (0, 0)
    found = chunk_moments(bodies, info, rate)
    tags = [moment for moment in found if moment.source == "tag"]
    return [m for m in found if m not in tags], tags, data / bytes_a_second if bytes_a_second else None


def _tagged(path: Path) -> tuple[list[Moment], list[Moment], float | None]:
    """As `_inside`, of any other container, as FFmpeg reads its head; nothing where it cannot."""
    try:
        with av.open(
            f"file:{path}", metadata_errors="ignore", options={"protocol_whitelist": "file"}
        ) as container:
            streams = (stream.metadata for stream in container.streams)
            texts = {
                key.lower(): text for part in (*streams, container.metadata) for key, text in part.items()
            }
            heard = container.streams.audio and container.duration is not None
            seconds = container.duration / 1_000_000 if heard else None
    except (av.FFmpegError, ValueError):
        return [], [], None
    comment = comment_moment(texts.get("comment", texts.get("description", "")), texts.get("artist", ""))
    tags = [
        Moment(when, "tag", notes=(f"the tag {key} may be the time of saving or of a later edit",))
        for key in _TAGS
        if (when := iso_moment(texts.get(key, "")))
    ]
    return [comment] if comment else [], tags, seconds


def _modified(microseconds: int, seconds: float | None) -> Moment | None:
    """The file's modification time, less its length if that is known; None before 1990 (a clock not set)."""
    try:
        when = _EPOCH + dt.timedelta(microseconds=microseconds)
    except OverflowError:
        return None
    if not 1990 <= when.year < _YEARS.stop:
        return None
    if seconds is None or not 0 <= seconds <= _LONGEST_SECONDS:
        return Moment(
            when, "mtime", notes=("the file's modification time: its length is unknown, so this is its end",)
        )
    note = "the file's modification time less its length: wrong if the file was copied or changed since"
    return Moment(when - dt.timedelta(seconds=seconds), "mtime", notes=(note,))


def _credible(when: dt.datetime) -> bool:
    return when.year in _YEARS and (when.year, when.month) not in _UNSET


def _conflict(chosen: Moment, other: Moment) -> list[str]:
    """A note where another source says another time; in a time without a zone only the clock's face is compared."""
    both = chosen.when.tzinfo is not None and other.when.tzinfo is not None
    first, second = (chosen.when, other.when) if both else (_face(chosen.when), _face(other.when))
    apart = second - first
    if abs(apart) <= _SAME:
        return []
    note = f"{other.source} says {other.when}, {chosen.source} {chosen.when}"
    off = abs(apart - _QUARTER * round(apart / _QUARTER))
    return [note + ": perhaps in another time zone" * (not both and abs(apart) <= _FAR and off <= _SAME)]


def _face(when: dt.datetime) -> dt.datetime:
    return when.replace(tzinfo=None)
