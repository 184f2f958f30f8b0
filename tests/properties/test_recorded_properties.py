"""Whatever the file name or the bytes: a time that is there is found, one that is not is not made up."""

from __future__ import annotations

import datetime as dt
import io
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from peaframe.audio.chunk_moments import chunk_moments
from peaframe.audio.chunks import listed, walk
from peaframe.audio.moments import iso_moment
from peaframe.audio.name_moments import formatted_moment, name_moment

TIMES = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2099, 12, 31, 23, 59, 59)).map(
    lambda when: when.replace(microsecond=0)
)
PATTERNS = (
    "%Y%m%d_%H%M%S",
    "%Y%m%d%H%M%S",
    "%Y-%m-%dT%H-%M-%S",
    "%Y-%m-%d %H.%M.%S",
    "%Y%m%d$%H%M%S",
    "%Y_%m_%d_%H_%M_%S",
)
OFFSETS = st.integers(-12, 14).filter(bool)
DIGITS = st.characters(min_codepoint=48, max_codepoint=57)
NAMES = (b"fmt ", b"data", b"LIST", b"guan", b"wamd", b"bext", b"JUNK", b"ds64")


@given(
    TIMES,
    st.sampled_from(PATTERNS),
    st.sampled_from(["", "SM4_", "a-", "S4A02641_0+1_", "x"]),
    st.sampled_from(["", "T", "_7", " (2)"]),
)
def test_times_in_names_are_found(when: dt.datetime, pattern: str, before: str, behind: str) -> None:
    name = f"{before}{when.strftime(pattern) if when.year > 999 else ''}{behind}.wav"
    moment = name_moment(name)
    assert (moment.when, moment.notes) == (when, ())
    told = formatted_moment(name, pattern)
    assert told.when == when


@given(TIMES, OFFSETS, st.sampled_from(["", "_"]))
def test_zones_in_names_are_found(when: dt.datetime, hours: int, gap: str) -> None:
    moment = name_moment(f"swift_{when:%Y%m%d_%H%M%S}{gap}{hours:+03d}00.wav")
    assert moment.when == when.replace(tzinfo=dt.timezone(dt.timedelta(hours=hours)))


@settings(max_examples=500)
@given(
    st.text(DIGITS, min_size=4, max_size=4) | st.sampled_from(["1999", "2024"]),
    st.text(DIGITS, min_size=10, max_size=10),
)
def test_numbers_are_times_only_if_they_are(year: str, rest: str) -> None:
    try:
        when = dt.datetime.strptime(year + rest, "%Y%m%d%H%M%S") if "1900" <= year < "2100" else None
    except ValueError:
        when = None
    if int(rest[8:]) > 59:  # strptime lets seconds up to 61 pass where the clock has no such
        when = None
    moment = name_moment(f"{year}{rest[:4]}_{rest[4:]}.wav")
    assert (moment and moment.when) == when


@given(st.text(max_size=40))
def test_no_name_is_too_odd(name: str) -> None:
    moment = name_moment(name)
    assert moment is None or 1900 <= moment.when.year < 2100
    told = formatted_moment(name, "%d%m%y%H")
    assert told is None or 1969 <= told.when.year < 2069


@given(TIMES, st.integers(0, 999999), OFFSETS | st.none())
def test_iso_times_come_back(when: dt.datetime, fraction: int, hours: int | None) -> None:
    zone = None if hours is None else dt.timezone(dt.timedelta(hours=hours))
    full = when.replace(microsecond=fraction, tzinfo=zone)
    assert iso_moment(full.isoformat()) == full
    assert iso_moment(full.isoformat(" ")) == full


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(st.sampled_from(NAMES), st.binary(max_size=40), st.integers(-3, 3) | st.just(1 << 31))
    ),
    st.sampled_from([b"RIFF", b"RF64"]),
    st.binary(max_size=8),
)
def test_no_bytes_are_too_odd(parts: list[tuple[bytes, bytes, int]], kind: bytes, tail: bytes) -> None:
    content = kind + bytes(4) + b"WAVE"
    for name, body, lie in parts:
        content += name + struct.pack("<I", max(0, len(body) + lie)) + body
    chunks = list(walk(io.BytesIO(content + tail), NAMES))
    assert sum(8 + chunk.size for chunk in chunks) <= len(content + tail)
    assert all(len(chunk.body) == chunk.size * (chunk.name in NAMES) for chunk in chunks)
    bodies = {chunk.name: chunk.body for chunk in chunks}
    chunk_moments(bodies, listed(bodies.get(b"LIST", b"")), 1)
    if chunks and parts and parts[0][2] == 0:
        assert chunks[0].name == parts[0][0]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.binary(min_size=1, max_size=40))), st.booleans())
def test_whole_files_are_walked_whole(parts: list[tuple[bytes, bytes]], padded: bool) -> None:
    parts = [(name, body) for name, body in parts if name != b"ds64"]
    content = b"RIFF" + bytes(4) + b"WAVE"
    for name, body in parts:
        content += name + struct.pack("<I", len(body)) + body + b"\0" * (padded and len(body) % 2)
    assert [(chunk.name, chunk.body) for chunk in walk(io.BytesIO(content), NAMES)] == parts


@given(st.binary(max_size=700), st.binary(max_size=60))
def test_no_chunk_body_is_too_odd(body: bytes, text: bytes) -> None:
    kinds = (b"guan", b"wamd", b"bext")
    info = {"ICMT": text.decode("latin-1"), "ICRD": text.decode("latin-1")}
    assert chunk_moments(dict.fromkeys(kinds, body), info, 8000) == []
    assert all("\0" not in value and value == value.strip() for value in listed(b"INFO" + body).values())
    assert listed(body[:3]) == {}
