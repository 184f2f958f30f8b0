"""When a recording was made: which source is believed, what is noted, and time zones."""

from __future__ import annotations

import copy
import datetime as dt
import os
import struct
import subprocess
import sys
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from peaframe.audio.recorded import Recorded, recorded
from peaframe.errors import AudioError, OptionError

UTC = dt.timezone.utc
COMMENT = (
    "Recorded at 20:23:00 25/04/2024 (UTC{}) by AudioMoth 24F3190361DA3578 at medium gain "
    "while battery was 4.2V and temperature was 17.5C."
)


def hours(offset: float) -> dt.timezone:
    return dt.timezone(dt.timedelta(hours=offset))


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def info(**texts: str) -> bytes:
    return chunk(b"LIST", b"INFO" + b"".join(chunk(k.encode(), v.encode() + b"\0") for k, v in texts.items()))


def fmt(rate: int = 8000) -> bytes:
    return chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16))


def bext(day: str, time: str, reference: int = 0, originator: str = "") -> bytes:
    return chunk(
        b"bext",
        struct.pack(
            "<256s32s32s10s8sQH", b"", originator.encode(), b"", day.encode(), time.encode(), reference, 1
        )
        + bytes(254),
    )


def wamd(*parts: tuple[int, bytes], version: int = 1) -> bytes:
    every = ((0, struct.pack("<H", version)), *parts)
    return chunk(b"wamd", b"".join(struct.pack("<HI", kind, len(value)) + value for kind, value in every))


def guan(*lines: str) -> bytes:
    return chunk(b"guan", "\n".join(("GUANO|Version: 1.0", *lines, "")).encode())


def wav(path: Path, *extra: bytes, seconds: float = 1.0, before: bytes = b"") -> Path:
    body = b"WAVE" + fmt() + before + chunk(b"data", bytes(round(seconds * 8000) * 2)) + b"".join(extra)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def found(*args: object, **options: object) -> Recorded:
    answer = recorded(*args, **options)  # type: ignore[arg-type]
    assert isinstance(answer, Recorded)
    return answer


def test_an_audiomoth_file(tmp_path: Path, elsewhere: Callable[..., Any]) -> None:
    text = info(ICMT=COMMENT.format("+2"), IART="AudioMoth 24F3190361DA3578")
    answer = found(wav(tmp_path / "20240425_202300.WAV", before=text))
    assert answer.start == dt.datetime(2024, 4, 25, 18, 23, tzinfo=UTC)
    assert answer.start.isoformat() == "2024-04-25T20:23:00+02:00"
    assert (answer.source, answer.zone_known) == ("comment", True)
    assert answer.device == "AudioMoth 24F3190361DA3578"
    assert answer.details == {"gain": "medium", "battery": "4.2V", "temperature": "17.5C"}
    assert answer.notes == ()
    assert elsewhere(copy.copy, answer) == answer
    assert hash(answer) == hash(found(tmp_path / "20240425_202300.WAV"))


def test_the_order_of_trust_and_what_the_others_say(tmp_path: Path) -> None:
    sources = [
        (guan("Timestamp: 2024-04-25T20:23:01+02:00"), "guano", 1),
        (info(ICMT=COMMENT.format("+2").replace(":00 ", ":02 ")), "comment", 2),
        (wamd((5, b"2024-04-25 20:23:03+02:00\0")), "wamd", 3),
        (bext("2024-04-25", "20:23:04"), "bext", 4),
    ]
    path = tmp_path / "20240425_202305.wav"
    for count in range(len(sources)):
        chosen, *others = sources[count:]
        answer = found(wav(path, chosen[0], *(extra for extra, *_ in reversed(others))))
        assert (answer.source, answer.start.second) == chosen[1:]
        beyond = [name for _, name, second in others if second - chosen[2] > 2]
        beyond += ["file name"] * (5 - chosen[2] > 2)
        assert [note.split(" says ")[0] for note in answer.notes] == beyond
    answer = found(wav(path, info(ICRD="2024-04-25T20:23:06")))
    assert (answer.source, answer.start) == ("file name", dt.datetime(2024, 4, 25, 20, 23, 5))
    answer = found(wav(tmp_path / "bird.wav", info(ICRD="2024-04-25T20:23:06")))
    assert (answer.source, answer.start) == ("tag", dt.datetime(2024, 4, 25, 20, 23, 6))
    assert "later edit" in answer.notes[0]
    assert found(path, "%Y%m%d_%H%M%S").source == "file name"


def test_a_pattern_of_the_user_is_believed_before_all(tmp_path: Path) -> None:
    path = wav(tmp_path / "site7_250424-2124.wav", info(ICMT=COMMENT.format("")))
    assert found(path).source == "comment"
    answer = found(path, "%d%m%y-%H%M", "+02:00")
    assert answer.start.isoformat() == "2024-04-25T21:24:00+02:00"
    assert answer.device == "AudioMoth 24F3190361DA3578"
    assert answer.notes == ("comment says 2024-04-25 20:23:00+00:00, file name 2024-04-25 21:24:00",)
    other = found(path, "%Y-%m-%d_%H")
    assert other.source == "comment"
    assert other.notes == (
        "the time format '%Y-%m-%d_%H' does not fit the file name 'site7_250424-2124.wav'",
    )


def test_another_zone_is_told_from_another_time(tmp_path: Path) -> None:
    path = wav(tmp_path / "20240425_222301.wav", info(ICMT=COMMENT.format("")))
    assert found(path).notes == (
        "file name says 2024-04-25 22:23:01, comment 2024-04-25 20:23:00+00:00: perhaps in another time zone",
    )
    path = wav(tmp_path / "20240425_223100.wav", info(ICMT=COMMENT.format("")))
    assert found(path).notes == ("file name says 2024-04-25 22:31:00, comment 2024-04-25 20:23:00+00:00",)
    path = wav(tmp_path / "20240425_222301+0200.wav", info(ICMT=COMMENT.format("")))
    assert found(path).notes == ()


def test_two_sources_with_zones_and_what_each_adds(tmp_path: Path) -> None:
    guano = guan("Timestamp: 2024-04-25T20:23:00Z", "Serial: 24F3", "OAD|Battery Voltage:4.8")
    other = chunk(b"LIST", b"adtl" + bytes(8))
    answer = found(
        wav(tmp_path / "a.wav", guano, info(ICMT=COMMENT.format("+2")), info(ICMT="edited"), other)
    )
    assert answer.start == dt.datetime(2024, 4, 25, 20, 23, tzinfo=UTC)
    assert answer.device == "24F3"
    assert answer.details == {"battery": "4.8V", "gain": "medium", "temperature": "17.5C"}
    assert answer.notes == ("comment says 2024-04-25 20:23:00+02:00, guano 2024-04-25 20:23:00+00:00",)


def test_a_clock_never_set_is_passed_over(tmp_path: Path) -> None:
    text = COMMENT.format("").replace("20:23:00 25/04/2024", "00:00:12 01/01/1970")
    answer = found(wav(tmp_path / "20240425_202300.WAV", info(ICMT=text)))
    assert (answer.source, answer.device) == ("file name", "AudioMoth 24F3190361DA3578")
    assert answer.notes == ("comment says 1970-01-01 00:00:12+00:00: no credible time, passed over",)
    for stamp in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59-11:00", "1980-01-01T00:10:00"):
        path = wav(
            tmp_path / "20240425_202300.WAV", guan(f"Timestamp: {stamp}"), bext("0001-01-01", "00:00:01", 1)
        )
        answer = found(path, timezone="Europe/Berlin")
        assert (answer.source, len(answer.notes)) == ("file name", 2)


def test_the_modification_time_comes_last(tmp_path: Path) -> None:
    path = wav(tmp_path / "bird.wav", seconds=2.5)
    os.utime(path, ns=(0, 1_714_076_583_250_000_000))
    answer = found(path)
    assert answer.start == dt.datetime(2024, 4, 25, 20, 23, 0, 750000, tzinfo=UTC)
    assert (answer.source, answer.zone_known, answer.device) == ("mtime", True, None)
    assert "less its length" in answer.notes[0]
    assert found(path, timezone="+02:00").start.isoformat() == "2024-04-25T22:23:00.750000+02:00"
    (tmp_path / "noise.raw").write_bytes(b"no container at all")
    os.utime(tmp_path / "noise.raw", ns=(0, 1_714_076_583_000_000_000))
    answer = found(tmp_path / "noise.raw")
    assert (answer.source, answer.start) == ("mtime", dt.datetime(2024, 4, 25, 20, 23, 3, tzinfo=UTC))
    assert "length is unknown" in answer.notes[0]
    os.utime(path, ns=(0, 315_532_800_000_000_000))  # 1980-01-01, what FAT begins with
    assert recorded(path) is None


def test_time_expansion(tmp_path: Path) -> None:
    path = wav(tmp_path / "bat.wav", guan("Timestamp: 2024-04-25T20:23:00Z", "TE: 10"))
    answer = found(path)
    assert answer.expansion == 10
    assert answer.at(25) == dt.datetime(2024, 4, 25, 20, 23, 2, 500000, tzinfo=UTC)
    assert answer.notes == ("time-expanded by 10: 10 s of the file are 1 s",)


def test_naive_times_stay_naive_or_become_local(tmp_path: Path) -> None:
    path = wav(tmp_path / "SM4_20240425_202300.wav")
    answer = found(path)
    assert (answer.start, answer.zone_known) == (dt.datetime(2024, 4, 25, 20, 23), False)
    assert answer.start.tzinfo is None
    assert answer.at(90.5) == dt.datetime(2024, 4, 25, 20, 24, 30, 500000)
    answer = found(path, timezone="Europe/Berlin")
    assert (answer.start.isoformat(), answer.zone_known) == ("2024-04-25T20:23:00+02:00", True)


@pytest.mark.parametrize(
    ("zone", "offset"),
    [
        ("UTC", 0),
        ("z", 0),
        ("+02:00", 2),
        ("-0530", -5.5),
        ("+2", 2),
        ("UTC-3", -3),
        (" +0545 ", 5.75),
        (hours(9), 9),
    ],
)
def test_zones_by_offset(tmp_path: Path, zone: str | dt.tzinfo, offset: float) -> None:
    answer = found(wav(tmp_path / "20240425_202300.wav"), timezone=zone)
    assert answer.start == dt.datetime(2024, 4, 25, 20, 23, tzinfo=hours(offset))


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "+25:00", "../etc/passwd", "Europe", "+2:75"])
def test_zones_that_are_none(tmp_path: Path, zone: str) -> None:
    with pytest.raises(OptionError, match=r"time zone .* is not known; give a name such as 'Europe/Berlin'"):
        recorded(wav(tmp_path / "a.wav"), timezone=zone)


def test_no_zone_database(tmp_path: Path) -> None:
    path = wav(tmp_path / "20240425_202300.wav")
    code = f"""
import sys; sys.modules["tzdata"] = None
import zoneinfo; zoneinfo.reset_tzpath(to=[])
from peaframe.audio.recorded import recorded
from peaframe.errors import OptionError
print(recorded({str(path)!r}, timezone="+02:00").start, recorded({str(path)!r}, timezone="UTC").start)
try: recorded({str(path)!r}, timezone="Europe/Berlin")
except OptionError as error: print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    times, error = done.stdout.splitlines()
    assert times == "2024-04-25 20:23:00+02:00 2024-04-25 20:23:00+00:00"
    assert "has no time zone database; run: pip install tzdata, or give an offset" in error


def test_the_hour_that_came_twice(tmp_path: Path) -> None:
    answer = found(wav(tmp_path / "20241027_023000.wav"), timezone="Europe/Berlin")
    assert answer.start.isoformat() == "2024-10-27T02:30:00+02:00"
    assert answer.notes == (
        "2024-10-27 02:30:00 came twice in Europe/Berlin: the first is taken (+0200, the second is +0100)",
    )
    assert answer.at(3600).isoformat() == "2024-10-27T02:30:00+01:00"
    assert answer.at(7200).isoformat() == "2024-10-27T03:30:00+01:00"


def test_the_hour_that_never_was(tmp_path: Path) -> None:
    answer = found(wav(tmp_path / "20240331_023000.wav"), timezone="Europe/Berlin")
    assert answer.start.isoformat() == "2024-03-31T03:30:00+02:00"
    assert answer.notes == (
        "2024-03-31 02:30:00 never was in Europe/Berlin, clocks went forward: taken as 03:30:00+0200",
    )
    answer = found(wav(tmp_path / "20240331_013000.wav"), timezone="Europe/Berlin")
    assert answer.notes == ()
    assert answer.at(3600).isoformat() == "2024-03-31T03:30:00+02:00"


def test_known_times_are_expressed_in_the_zone_asked_for(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", info(ICMT=COMMENT.format("")))
    answer = found(path, timezone=zoneinfo.ZoneInfo("America/New_York"))
    assert answer.start.isoformat() == "2024-04-25T16:23:00-04:00"
    assert answer.start == dt.datetime(2024, 4, 25, 20, 23, tzinfo=UTC)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e12])
def test_seconds_that_lead_nowhere(seconds: float) -> None:
    with pytest.raises(OptionError, match="is no time"):
        Recorded(dt.datetime(2024, 4, 25), "bext", None, False).at(seconds)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        recorded(tmp_path / "20240425_202300.wav")
    with pytest.raises(AudioError, match="is a folder"):
        recorded(tmp_path)
    with pytest.raises(AudioError, match=r"no such file|cannot be opened"):
        recorded("20240425_\0_202300.wav")


def encoded(path: Path, codec: str, **tags: str) -> Path:
    with av.open(str(path), "w") as container:
        container.metadata.update(tags)
        stream = container.add_stream(codec, rate=48000)
        stream.codec_context.layout = "mono"
        kind = "s16" if codec == "flac" else "fltp"
        sound = np.zeros((1, 48000), np.int16 if codec == "flac" else np.float32)
        frame = av.AudioFrame.from_ndarray(sound, format=kind, layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        fit = av.AudioResampler(
            stream.codec_context.format, "mono", 48000, stream.codec_context.frame_size or 4608
        )
        for piece in [*fit.resample(frame), *fit.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


def test_tags_of_other_containers(tmp_path: Path) -> None:
    answer = found(encoded(tmp_path / "moth.flac", "flac", comment=COMMENT.format("-3"), artist="AudioMoth"))
    assert (answer.source, answer.start) == ("comment", dt.datetime(2024, 4, 25, 23, 23, tzinfo=UTC))
    assert answer.details["battery"] == "4.2V"
    answer = found(encoded(tmp_path / "phone.m4a", "aac", creation_time="2024-04-25T20:23:00Z"))
    assert (answer.source, answer.start) == ("tag", dt.datetime(2024, 4, 25, 20, 23, tzinfo=UTC))
    assert answer.notes == ("the tag creation_time may be the time of saving or of a later edit",)
    answer = found(encoded(tmp_path / "a.flac", "flac", date="2024-04-25 20:23:00"))
    assert (answer.source, answer.start) == ("tag", dt.datetime(2024, 4, 25, 20, 23))
    path = encoded(tmp_path / "b.flac", "flac", date="2024-04-25")
    os.utime(path, ns=(0, 1_714_076_583_000_000_000))
    answer = found(path)
    assert (answer.source, answer.start) == ("mtime", dt.datetime(2024, 4, 25, 20, 23, 2, tzinfo=UTC))
    answer = found(encoded(tmp_path / "20240425_202300.flac", "flac", date="2024-05-01T10:00:00"))
    assert answer.source == "file name"
    assert answer.notes == ("tag says 2024-05-01 10:00:00, file name 2024-04-25 20:23:00",)
