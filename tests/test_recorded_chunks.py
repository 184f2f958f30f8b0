"""The chunks of WAV files, and what recorders write into them, byte by byte."""

from __future__ import annotations

import datetime as dt
import io
import struct
from pathlib import Path

import pytest

from peaframe.audio.chunk_moments import bext_moment, comment_moment, guano_moment, wamd_moment
from peaframe.audio.chunks import Chunk, listed, walk
from peaframe.audio.recorded import recorded

UTC = dt.timezone.utc
WANTED = (b"guan", b"LIST")


class Counted(io.BytesIO):
    """A file in memory that counts what is read of it."""

    total = 0

    def read(self, size: int | None = -1, /) -> bytes:
        got = super().read(size)
        self.total += len(got)
        return got


def head(name: bytes, size: int) -> bytes:
    return name + struct.pack("<I", size)


def riff(*parts: bytes, name: bytes = b"RIFF") -> bytes:
    return head(name, sum(map(len, parts)) + 4) + b"WAVE" + b"".join(parts)


def walked(content: bytes) -> list[Chunk]:
    return list(walk(io.BytesIO(content), WANTED))


def test_chunks_before_and_behind_the_sound() -> None:
    content = riff(head(b"LIST", 4), b"INFO", head(b"data", 6), bytes(6), head(b"guan", 3), b"a:b\0")
    assert walked(content) == [Chunk(b"LIST", 4, b"INFO"), Chunk(b"data", 6), Chunk(b"guan", 3, b"a:b")]


@pytest.mark.parametrize("padding", [b"", b"\0", b" ", b"x"])
def test_odd_bodies_padded_or_not(padding: bytes) -> None:
    content = riff(head(b"data", 5), b"\1\2\3\4\5", padding, head(b"guan", 3), b"a:b")
    assert walked(content) == [Chunk(b"data", 5), Chunk(b"guan", 3, b"a:b")]
    long = riff(
        head(b"data", 5), b"\1\2\3\4\5", padding, head(b"guan", 4), b"a:bc", head(b"JUNK", 2000), bytes(2000)
    )
    assert walked(long) == [Chunk(b"data", 5), Chunk(b"guan", 4, b"a:bc"), Chunk(b"JUNK", 2000)]


@pytest.mark.parametrize("padding", [b"", b"\0"])
def test_odd_texts_padded_or_not(padding: bytes) -> None:
    body = b"INFO" + head(b"ICMT", 3) + b"abc" + padding + head(b"IART", 5) + b"d\xe9f\0x" + padding
    body += head(b"INAM", 9) + b" g "
    assert listed(body) == {"ICMT": "abc", "IART": "d\xe9f", "INAM": "g"}
    assert listed(b"adtl" + body[4:]) == {}


def test_sizes_that_lie() -> None:
    assert walked(riff(head(b"data", 100), bytes(10))) == [Chunk(b"data", 10)]
    assert walked(riff(head(b"data", 0xFFFFFFFF), bytes(10))) == [Chunk(b"data", 10)]
    assert walked(riff(head(b"data", 0), b"\x80" * 10)) == [Chunk(b"data", 10)]
    assert walked(riff(head(b"data", 0), head(b"guan", 2), b"a:")) == [
        Chunk(b"data", 0),
        Chunk(b"guan", 2, b"a:"),
    ]
    assert walked(riff(head(b"guan", 1 << 30), b"a:b")) == [Chunk(b"guan", 3, b"a:b")]
    assert walked(riff(head(b"data", 4), bytes(3))) == [Chunk(b"data", 3)]
    assert walked(riff(head(b"data", 2), bytes(2), b"\0" * 40)) == [Chunk(b"data", 2)]
    for content in (
        b"",
        b"RIFF",
        b"RIFF\0\0\0\0WAVE",
        b"RIFF\0\0\0\0WAVEdat",
        b"OggS" + bytes(60),
        b"RIFF1234AVI " + bytes(9),
    ):
        assert walked(content) == []


@pytest.mark.parametrize("name", [b"RF64", b"BW64"])
def test_large_sizes(name: bytes) -> None:
    large = struct.pack("<QQQI4sQ", 0, 6, 3, 1, b"junk", 8)
    parts = (
        head(b"ds64", len(large)),
        large,
        head(b"junk", 0xFFFFFFFF),
        bytes(8),
        head(b"data", 0xFFFFFFFF),
        bytes(6),
    )
    chunks = walked(riff(*parts, head(b"guan", 3), b"a:b", name=name))
    assert chunks == [Chunk(b"ds64", 40), Chunk(b"junk", 8), Chunk(b"data", 6), Chunk(b"guan", 3, b"a:b")]
    assert walked(riff(head(b"ds64", 4), bytes(4), head(b"data", 0xFFFFFFFF), bytes(6), name=name))[
        1
    ] == Chunk(b"data", 6)


def test_wave64() -> None:
    tail = bytes.fromhex("f3acd3118cd100c04f8edb8a")

    def piece(name: bytes, body: bytes) -> bytes:
        return name + tail + struct.pack("<Q", 24 + len(body)) + body + bytes(-len(body) % 8)

    parts = piece(b"fmt ", bytes(18)) + piece(b"data", bytes(13)) + piece(b"guan", b"a:b")
    start = bytes.fromhex("726966662e91cf11a5d628db04c10000")
    content = start + struct.pack("<Q", 40 + len(parts)) + b"wave" + tail + parts
    assert walked(content) == [Chunk(b"fmt ", 18), Chunk(b"data", 13), Chunk(b"guan", 3, b"a:b")]
    assert walked(content[:-6]) == [Chunk(b"fmt ", 18), Chunk(b"data", 13), Chunk(b"guan", 2, b"a:")]
    assert walked(start + struct.pack("<Q", 64) + b"wave" + tail + b"data" + tail + bytes(8)) == []


def test_only_heads_are_read() -> None:
    parts = [head(b"JUNK", 1000), bytes(1000)] * 3000
    file = Counted(riff(head(b"guan", 1 << 20), b"a" * (1 << 20), *parts))
    chunks = list(walk(file, WANTED))
    assert len(chunks) == 1000
    assert (chunks[0].size, len(chunks[0].body)) == (1 << 20, 1 << 18)
    assert file.total == 40 + (1 << 18) + 8 * 1000
    file = Counted(riff(*[head(b"guan", 1 << 18), bytes(1 << 18)] * 8))
    assert [len(found.body) for found in walk(file, WANTED)] == [1 << 18] * 4 + [0] * 4


def test_a_file_of_many_gigabytes(tmp_path: Path) -> None:
    path, sound = tmp_path / "long.wav", 5 << 30
    guano = b"GUANO|Version:1.0\nTimestamp:2024-04-25T20:23:00+02:00\n"
    large = struct.pack("<QQQI", sound + 200, sound, sound // 2, 0)
    with path.open("wb") as file:
        file.write(head(b"RF64", 0xFFFFFFFF) + b"WAVE" + head(b"ds64", 28) + large)
        file.write(
            head(b"fmt ", 16) + struct.pack("<HHIIHH", 1, 1, 48000, 96000, 2, 16) + head(b"data", 0xFFFFFFFF)
        )
        file.seek(sound, 1)  # sparse: nothing is written
        file.write(head(b"guan", len(guano)) + guano)
    assert path.stat().st_size > sound
    answer = recorded(path)
    assert (answer.source, answer.start.isoformat()) == ("guano", "2024-04-25T20:23:00+02:00")

    class Watched(io.FileIO):
        total = 0

        def read(self, size: int | None = -1, /) -> bytes:
            got = super().read(size)
            self.total += len(got)
            return got

    with Watched(str(path)) as watched:
        assert [found.name for found in walk(watched, WANTED)] == [b"ds64", b"fmt ", b"data", b"guan"]
        assert watched.total == 40 + 4 * 8 + 28 + len(guano)


BY = "by AudioMoth 24F3190361DA3578 at "


@pytest.mark.parametrize(
    ("text", "minutes", "details"),
    [
        (f" {BY}gain setting 2 while battery state was 3.9V", 0, {"gain": "2", "battery": "3.9V"}),
        (f" (UTC) {BY}gain setting 2 while battery state was < 3.6V", 0, {"gain": "2", "battery": "< 3.6V"}),
        (f" (UTC) {BY}gain setting 2 while battery state was 4.2V", 0, {"gain": "2", "battery": "4.2V"}),
        (f" (UTC+2) {BY}gain setting 3 while battery state was 4.2V", 120, {"gain": "3", "battery": "4.2V"}),
        (
            f" (UTC-11) {BY}medium-high gain setting while battery state was greater than 4.9V and "
            "temperature was -3.4C.",
            -660,
            {"gain": "medium-high", "battery": "greater than 4.9V", "temperature": "-3.4C"},
        ),
        (
            f" (UTC-5:30) {BY}low-medium gain while battery was less than 2.5V and temperature was 17.0C. "
            "Band-pass filter with frequencies of 1.0kHz and 9.0kHz applied.",
            -330,
            {"gain": "low-medium", "battery": "less than 2.5V", "temperature": "17.0C"},
        ),
        (f" (UTC-0:30) {BY}low gain while battery was 4.0V", -30, {"gain": "low", "battery": "4.0V"}),
        (f" (UTC+0:45) {BY}low gain while battery was 4.0V", 45, {"gain": "low", "battery": "4.0V"}),
    ],
)
def test_comments_of_all_firmwares(text: str, minutes: int, details: dict[str, str]) -> None:
    moment = comment_moment("Recorded at 20:23:00 25/04/2024" + text)
    assert moment.when == dt.datetime(2024, 4, 25, 20, 23, tzinfo=dt.timezone(dt.timedelta(minutes=minutes)))
    assert moment.when.utcoffset() == dt.timedelta(minutes=minutes)
    assert (moment.device, moment.details) == ("AudioMoth 24F3190361DA3578", details)
    assert bool(moment.notes) == ("UTC" not in text)


def test_comments_of_a_deployment_and_with_milliseconds() -> None:
    text = "Recorded at 20:23:00.250 25/04/2024 (UTC) during deployment 0123456789ABCDEF "
    text += "using external microphone at high gain"
    moment = comment_moment(text, "AudioMoth 24F3190361DA3578")
    assert moment.when == dt.datetime(2024, 4, 25, 20, 23, 0, 250000, tzinfo=UTC)
    assert moment.device == "AudioMoth 24F3190361DA3578"
    assert moment.details == {"gain": "high", "deployment": "0123456789ABCDEF"}
    assert comment_moment(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Recorded by AudioMoth",
        "Recorded at 25:23:00 25/04/2024 (UTC) by AudioMoth 1",
        "Recorded at 20:23:00 31/04/2024 (UTC) by AudioMoth 1",
        "Recorded at 20:23:00 25/04/2024 (UTC+19) by AudioMoth 1",
        "Recorded at 20:23:00 25/04/2024 in Kent by AudioMoth 1",
        "Recorded at 20:23:00 25/04/2024 (UTC) by my telephone",
    ],
)
def test_comments_that_say_no_time(text: str) -> None:
    assert comment_moment(text) is None


@pytest.mark.parametrize(
    ("stamp", "when"),
    [
        ("2024-04-25T20:23:00", dt.datetime(2024, 4, 25, 20, 23)),
        ("2024-04-25T20:23:00.123", dt.datetime(2024, 4, 25, 20, 23, 0, 123000)),
        ("2024-04-25T20:23:00.1234567Z", dt.datetime(2024, 4, 25, 20, 23, 0, 123456, UTC)),
        ("2024-04-25T20:23:00-05:30", dt.datetime(2024, 4, 26, 1, 53, tzinfo=UTC)),
        ("2024-04-25 20:23:00+0200", dt.datetime(2024, 4, 25, 18, 23, tzinfo=UTC)),
        ("2024-04-25T20:23:00 -5", dt.datetime(2024, 4, 26, 1, 23, tzinfo=UTC)),
        ("2024-04-25", None),
        ("2024-04-25T20:23", None),
        ("2024-02-30T20:23:00", None),
        ("2024-04-25T20:23:00+20:00", None),
        ("2024-04-25T20:23:00 CEST", None),
        ("", None),
    ],
)
def test_guano_times(stamp: str, when: dt.datetime | None) -> None:
    moment = guano_moment(f"GUANO|Version: 1.0\r\nNote: at 1:2\n\nTimestamp :  {stamp} \nTE: x\n\0 ".encode())
    assert (moment and moment.when) == when
    assert moment is None or (moment.when.tzinfo is None) == (when is not None and when.tzinfo is None)


def test_guano_of_an_audiomoth() -> None:
    body = (
        b"GUANO|Version:1.0\nMake:Open Acoustic Devices\nModel:AudioMoth\nSerial:24F3190361DA3578\n"
        b"Firmware Version:AudioMoth-Firmware-Basic (1.11.0)\nTimestamp:2024-04-25T20:23:00Z\n"
        b"OAD|Battery Voltage:4.8\nTemperature Int:21.5"
    )
    moment = guano_moment(body)
    assert moment.device == "Open Acoustic Devices AudioMoth 24F3190361DA3578"
    assert moment.details == {
        "firmware": "AudioMoth-Firmware-Basic (1.11.0)",
        "temperature": "21.5C",
        "battery": "4.8V",
    }


def subchunks(*parts: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack("<HI", kind, len(value)) + value for kind, value in parts)


def test_wamd() -> None:
    body = subchunks(
        (0x0000, b"\1\0"), (0xFFFF, bytes(5)), (0x0001, b"SM4\0"), (0x0002, b"S4A02641"), (0x0003, b"2.3.1"),
        (0x0005, b"2024-04-25 20:23:00.500-05:00\0"), (0x000F, b"\x0a\0"), (0x0015, b"12.3C\0\0"), (0x0004, b"WALDEN"),
    )  # fmt: skip
    moment = wamd_moment(body)
    assert moment.when == dt.datetime(2024, 4, 26, 1, 23, 0, 500000, UTC)
    assert (moment.device, moment.expansion) == ("SM4 S4A02641", 10)
    assert moment.details == {"firmware": "2.3.1", "temperature": "12.3C", "prefix": "WALDEN"}
    naive = wamd_moment(subchunks((0, b"\1\0"), (5, b"2024-04-25 20:23:00")))
    assert (naive.when, naive.device) == (dt.datetime(2024, 4, 25, 20, 23), None)
    assert wamd_moment(subchunks((0, b"\2\0"), (5, b"2024-04-25 20:23:00"))) is None
    assert wamd_moment(subchunks((0, b"\1\0"), (1, b"SM4"))) is None
    assert wamd_moment(struct.pack("<HI", 5, 1 << 31) + b"2024-04-25 20") is None
    assert wamd_moment(b"") is None


def bext_body(day: bytes, time: bytes, reference: int = 0) -> bytes:
    return struct.pack("<256s32s32s10s8sQH", b"", b"ZOOM H5", b"", day, time, reference, 1)


@pytest.mark.parametrize(
    ("day", "time", "when"),
    [
        (b"2024-04-25", b"20:23:00", dt.datetime(2024, 4, 25, 20, 23)),
        (b"2024:04:25", b"20-23-00", dt.datetime(2024, 4, 25, 20, 23)),
        (b"2024/04/25", b"20.23.00", dt.datetime(2024, 4, 25, 20, 23)),
        (b"2024-04-31", b"20:23:00", None),
        (b"0000-00-00", b"00:00:00", None),
        (b"", b"20:23:00", None),
        (b"25-04-2024", b"20:23:00", None),
    ],
)
def test_bext_times(day: bytes, time: bytes, when: dt.datetime | None) -> None:
    moment = bext_moment(bext_body(day, time), 48000)
    assert (moment and moment.when) == when
    assert moment is None or moment.device == "ZOOM H5"


def test_the_time_reference_makes_it_finer_or_is_told() -> None:
    exact = 48000 * (20 * 3600 + 23 * 60) + 36000
    moment = bext_moment(bext_body(b"2024-04-25", b"20:23:00", exact), 48000)
    assert (moment.when, moment.notes) == (dt.datetime(2024, 4, 25, 20, 23, 0, 750000), ())
    moment = bext_moment(bext_body(b"2024-04-25", b"00:00:01", 48000 * 86400 - 24000), 48000)
    assert moment.when == dt.datetime(2024, 4, 24, 23, 59, 59, 500000)
    moment = bext_moment(bext_body(b"2024-04-25", b"20:23:00", 48000 * 3600), 48000)
    assert moment.when == dt.datetime(2024, 4, 25, 20, 23)
    assert moment.notes == (
        "bext: the time reference is 3600 s after midnight, the time 20:23:00: this one counts",
    )
    moment = bext_moment(bext_body(b"2024-04-25", b"20:23:00", exact + 48000 * 60), 48000)
    assert (moment.when, len(moment.notes)) == (dt.datetime(2024, 4, 25, 20, 23), 1)
    for rate, body in (
        (0, bext_body(b"2024-04-25", b"20:23:00", exact)),
        (48000, bext_body(b"2024-04-25", b"20:23:00")[:338]),
    ):
        moment = bext_moment(body, rate)
        assert moment.when == dt.datetime(2024, 4, 25, 20, 23)
    assert bext_moment(bext_body(b"2024-04-25", b"20:23:00")[:337], 48000) is None
    vast = bext_moment(bext_body(b"2024-04-25", b"20:23:00", (1 << 64) - 1), 1)
    assert (vast.when, len(vast.notes)) == (dt.datetime(2024, 4, 25, 20, 23), 1)
