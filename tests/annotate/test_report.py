"""report.html: counts by day and hour, what is said, what is bounded, and that nothing in it can do harm."""

import base64
import datetime as dt
import io
import re
import runpy
import struct
import tracemalloc
import zlib
import zoneinfo
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from peaframe.annotate.annotated import Annotated
from peaframe.annotate.report import report, write_report
from peaframe.annotate.report_counts import collect
from peaframe.annotate.report_media import picture, sound
from peaframe.annotate.report_svg import short
from peaframe.annotate.summary import summarise
from peaframe.audio.recorded import Recorded
from peaframe.errors import AudioError
from peaframe.events import Event

RATE = 48_000
Page = runpy.run_path(str(Path(__file__).parents[1] / "pages.py"))["Page"]
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


@contextmanager
def opened(path: str) -> Iterator[Path]:
    if path.startswith("gone"):
        raise AudioError(f"{path}: no such file; check the name")
    yield Path(path)


@pytest.fixture
def tone(tmp_path: Path) -> str:
    """30 s of a tone of 1 kHz."""
    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.4 * np.sin(2 * np.pi * 1000 * np.arange(30 * RATE) / RATE), RATE)
    return str(path)


def made(start: dt.datetime, expansion: int = 1) -> Recorded:
    return Recorded(start, "guano", None, start.tzinfo is not None, expansion=expansion)


def run_of(*recordings: Annotated) -> list[Annotated]:
    return list(recordings)


def page(run: Sequence[Annotated], queries: Sequence[str], failures=(), settings=None) -> tuple[str, Page]:
    text, _ = report(lambda: run, summarise(lambda: run, queries), settings or {}, failures, opened)
    return text, Page(text)


def test_hours_at_the_end_of_summer_time() -> None:
    # From 01:30 on, three hours: the hour from 2 to 3 comes twice.
    events = [
        Event(0, 60, "dog"),  # 01:30
        Event(2000, 2010, "dog"),  # 02:03, summer time
        Event(2000, 6000, "dog"),  # until 02:10, winter time: one event in one cell
        Event(6000, 9100, "dog"),  # 02:10 to 03:01
    ]
    run = run_of(Annotated("a", "a", 10_800, made(dt.datetime(2024, 10, 27, 1, 30, tzinfo=BERLIN)), events))
    grid = collect(lambda: run, ["dog"], 0, 31).grid

    assert (grid.timed, grid.unit, grid.rows) == (True, "day", ("2024-10-27",))
    assert grid.heard[0].tolist() == [0, 1800, 7200, 1800] + [0] * 20
    assert grid.counts["dog"][0].tolist() == [0, 1, 3, 1] + [0] * 20
    assert grid.totals["dog"].tolist() == [4]


def test_hours_at_the_begin_of_summer_time() -> None:
    events = [Event(1700, 1900, "dog"), Event(5300, 5500, "cat")]
    run = run_of(Annotated("a", "a", 7200, made(dt.datetime(2024, 3, 31, 1, 30, tzinfo=BERLIN)), events))
    grid = collect(lambda: run, ["dog", "cat"], 0, 31).grid

    assert grid.heard[0].tolist() == [0, 1800, 0, 3600, 1800] + [0] * 19
    assert grid.counts["dog"][0].tolist() == [0, 1, 0, 1] + [0] * 20
    assert grid.counts["cat"][0].tolist() == [0, 0, 0, 1, 1] + [0] * 19


def test_midnight_and_time_expansion() -> None:
    # Ten seconds of the file are one of the world: 7200 s are 12 min, from 23:54 to 00:06.
    events = [Event(3000, 4000, "bat"), Event(3600, 3700, "bat")]
    run = run_of(Annotated("a", "a", 7200, made(dt.datetime(2024, 5, 1, 23, 54), 10), events))
    seen = collect(lambda: run, ["bat"], 0, 31)

    assert seen.grid.rows == ("2024-05-01", "2024-05-02")
    assert [seen.grid.heard[0, 23], seen.grid.heard[1, 0], seen.grid.heard.sum()] == [360, 360, 720]
    assert [seen.grid.counts["bat"][0, 23], seen.grid.counts["bat"][1, 0]] == [1, 2]
    assert (seen.zoneless, seen.timeless) == (1, 0)
    assert seen.last == dt.datetime(2024, 5, 2, 0, 6)


@pytest.mark.parametrize(
    ("days", "unit", "rows", "last"),
    [
        (31, "day", 31, "2024-01-31"),
        (32, "week", 5, "2024-01-29 +6"),
        (400, "month", 14, "2025-02"),
        (3000, "year", 9, "2032"),
    ],
)
def test_long_runs_have_longer_rows(days: int, unit: str, rows: int, last: str) -> None:
    begin = dt.datetime(2024, 1, 1, 5)
    run = [
        Annotated(f"{day:06}", "a", 60, made(begin + dt.timedelta(days=day)), [Event(0, 1, "dog")])
        for day in range(days)
    ]
    grid = collect(lambda: run, ["dog"], 0, 31).grid
    assert (grid.unit, len(grid.rows), grid.rows[-1]) == (unit, rows, last)
    assert grid.counts["dog"][:, 5].sum() == grid.totals["dog"].sum() == days
    assert grid.heard.sum() == 60 * days


def test_without_times_maps_show_places_in_recordings(tone: str) -> None:
    run = run_of(
        Annotated("a.wav", tone, 24, None, [Event(0, 24, "dog", 0.5), Event(23.5, 24, "dog", 0.9)]),
        Annotated("b.wav", tone, 12, None, [Event(1, 1.75, "dog", 0.8)]),
    )
    grid = collect(lambda: run, ["dog"], 0, 31).grid
    assert (grid.timed, grid.unit, grid.each, grid.rows) == (False, "recording", 1, ("a.wav", "b.wav"))
    assert grid.counts["dog"].tolist() == [[1] * 23 + [2], [0, 0, 1, 1] + [0] * 20]
    assert grid.totals["dog"].tolist() == [2, 1]

    _, read = page(run, ["dog"])
    assert "No recording says when it was made" in "".join(read.each("li"))
    assert "By recording and place in it" in read.each("h3")
    assert "a.wav part 24 of 24: 2" in read.each("title")


def test_many_recordings_without_times_share_rows() -> None:
    run = [Annotated(f"{n:04}", "a", 10, None, [Event(0, 1, "dog")] * (n % 2)) for n in range(65)]
    grid = collect(lambda: run, ["dog"], 0, 31).grid
    assert (grid.each, len(grid.rows), grid.rows[1]) == (4, 17, "0004 …")
    assert grid.totals["dog"].tolist() == [2] * 16 + [0]
    assert grid.heard.sum() == pytest.approx(650)


def test_the_surest_events_come_first_and_can_be_heard(tone: str) -> None:
    begin = dt.datetime(2024, 4, 25, 20, 0, tzinfo=dt.timezone.utc)
    events = [Event(n, n + 0.5, "dog", score) for n, score in enumerate((0.3, 0.9, 0.6, 0.9, 0.8, 0.7, 0.4))]
    run = run_of(Annotated("a.wav", tone, 30, made(begin), [*events, Event(12, 29, "cat", 0.55)]))

    text, read = page(run, ["dog", "cat"], settings={"model": "mini", "options": {"threshold": 0.25}})

    assert read.each("strong") == ["0.90", "0.90", "0.80", "0.70", "0.60", "0.55"]
    spans = [text.strip() for text in read.each("p") if " to 0:" in text]
    assert spans[:2] == ["0:01.0 to 0:01.5", "0:03.0 to 0:03.5"]
    shown = [attrs["style"] for attrs in read.all("div") if attrs.get("class") == "shown"]
    assert shown[1] == "--a:0.4000;--b:0.6000"
    assert shown[5] == "--a:0.1250;--b:1.0000"  # longer than what is shown
    sounds = [attrs["src"] for attrs in read.all("audio")]
    heard, rate = soundfile.read(
        io.BytesIO(base64.b64decode(sounds[5].removeprefix("data:audio/ogg;base64,")))
    )
    assert rate == RATE
    assert len(heard) / RATE == pytest.approx(8, abs=0.05)
    spectrum = np.abs(np.fft.rfft(heard[RATE : 2 * RATE]))
    assert int(spectrum.argmax()) == 1000
    assert all(attrs["src"].startswith("data:image/png;base64,") for attrs in read.all("img"))
    assert all(attrs["alt"].startswith("spectrogram of ") for attrs in read.all("img"))
    assert [row[0] for row in read.rows[1:3]] == ["dog", "cat"]
    assert read.rows[1][1:7] == ["7", "1", "3.5 s", "840.00", "0.66", "0.90"]
    assert "options.threshold" in read.each("dt")
    assert "0.25" in read.each("dd")
    assert page(run, ["dog", "cat"], settings={"model": "mini", "options": {"threshold": 0.25}})[0] == text


def test_pictures_are_pngs_with_low_sounds_below() -> None:
    low = np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE).astype(np.float32)
    data = picture(low)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, colours = struct.unpack(">IIBB", data[16:26])
    assert (height, depth, colours) == (128, 8, 3)
    at = data.index(b"IDAT")
    size = struct.unpack(">I", data[at - 4 : at])[0]
    body = data[at + 4 : at + 4 + size]
    assert struct.unpack(">I", data[at + 4 + size : at + 8 + size])[0] == zlib.crc32(b"IDAT" + body)
    shades = np.frombuffer(zlib.decompress(body), np.uint8).reshape(height, width + 1)[:, 1:]
    assert int(shades.mean(axis=1).argmax()) > 110
    assert shades.max() == 27
    assert len(picture(np.zeros(100, np.float32))) > 60


def test_the_same_sound_gives_the_same_bytes() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert sound(noise) == sound(noise)
    assert len(sound(noise)) < 10_000
    quiet, _ = soundfile.read(io.BytesIO(sound(noise / 1000)))
    assert np.abs(quiet).max() < 0.02  # ten times as loud, not a thousand times
    assert sound(np.zeros(10, np.float32))[:4] == b"OggS"


def test_hostile_texts_are_only_text(tone: str) -> None:
    evil = '<script>alert("1")</script>\' onload=x ../../ </style> &amp; \u202e\x1b[31m'
    run = run_of(
        Annotated(evil + ".wav", tone, 30, made(dt.datetime(2024, 4, 25, 20)), [Event(1, 2, evil, 0.9)]),
        Annotated("gone" + evil, "gone", 30, made(dt.datetime(2024, 4, 25, 21)), [Event(1, 2, evil, 0.95)]),
    )
    text, read = page(
        run,
        [evil, "</title>"],
        [(evil, evil)],
        {evil: evil, "model": evil, "version": evil, "x": {evil: [evil]}},
    )

    assert len(read.all("script")) == 1
    assert text.count("<script") == 1
    assert text.count("</style>") == 1
    assert not [name for _, attrs in read.tags for name in attrs if name.startswith("on")]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e]", text)
    assert read.rows[1][0].startswith('<script>alert("1")</script>\' onload=x ../../ </style> &amp; ')
    policy = next(attrs["content"] for attrs in read.all("meta") if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    assert "'unsafe-inline'; script" in policy
    assert policy.count("unsafe") == 1
    for _, attrs in read.tags:
        for name in ("src", "href"):
            assert (attrs.get(name) or "#").startswith(("#", "data:"))
    assert "http://" not in text
    assert "https://" not in text


def test_a_recording_that_is_gone_is_said(tone: str, tmp_path: Path) -> None:
    run = run_of(
        Annotated("a.wav", "gone/a.wav", 30, None, [Event(1, 2, "dog", 0.9), Event(3, 4, "dog", 0.8)]),
        Annotated("b.wav", tone, 30, None, [Event(1, 2, "dog", 0.7)]),
    )
    path = tmp_path / "report.html"
    gone = write_report(path, lambda: run, summarise(lambda: run, ["dog"]), {}, [], opened)
    assert gone == {"a.wav": "gone/a.wav: no such file; check the name"}
    read = Page(path.read_text(encoding="utf-8"))
    assert read.each("strong") == ["0.70"]
    assert any("Cannot be read any more" in said and "a.wav" in said for said in read.each("li"))


@pytest.mark.parametrize("run", [[], [Annotated("a", "a", 60, None, [])]])
def test_nothing_found(run: list[Annotated]) -> None:
    _, read = page(run, ["dog"])
    assert read.each("li") == [
        "No event was found." if run else "No recording was heard.",
        *[
            "No recording says when it was made: maps show the recordings in the order of their names, from "
            "the begin of each to its end."
        ]
        * bool(run),
    ]
    assert read.rows[1][:3] == ["dog", "0", "0"]
    assert read.each("h2") == ["Notes", "Queries"]


def test_times_that_are_missing_are_said() -> None:
    run = run_of(
        Annotated("a", "gone", 60, made(dt.datetime(2024, 4, 25, 20)), [Event(1, 2, "dog", 0.5)]),
        Annotated("b", "gone", 60, None, [Event(1, 2, "dog", 0.5)]),
    )
    _, read = page(run, ["dog"], [("c", "empty")])
    notes = read.each("li")
    assert notes[0].startswith("1 recording of 2: not in the maps")
    assert notes[1].startswith("1 recording of 2: no time zone is known")
    assert "2024-04-25 20:00: 1" in read.each("title")
    assert read.rows[-1] == ["c", "empty"]
    assert "1 recording could not be heard; " in read.each("p")


@pytest.mark.slow
def test_500_queries_stay_small(tone: str) -> None:
    queries = [f"query {n}, with a name of some length" for n in range(500)]
    begin = dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)
    run = [
        Annotated(
            f"{hour:04}.wav",
            tone,
            30,
            made(begin + dt.timedelta(hours=hour)),
            [Event(5, 12, query, 0.5) for query in queries[hour % 3 :: 1 + hour % 5]],
        )
        for hour in range(31 * 24)
    ]
    text, read = page(run, queries, (("x", "bad") for _ in range(3000)))
    assert len(text) < 7_000_000
    assert len([row for row in read.rows if row[0].startswith("query ")]) == 500
    assert len(read.each("h2")) == 44
    assert "Maps and sounds are of the 40 queries with the most events; the table has all." in read.each("li")
    assert any(said.endswith(" are left out for lack of room.") for said in read.each("li"))
    assert read.each("p")[0] == "3,000 recordings could not be heard; "
    assert "The first 200 of 3,000; failed.csv has all." in read.each("p")
    heard = [re.sub(",.*", "", attrs["alt"]) for attrs in read.all("img")]
    assert len(set(heard)) == 40  # every query's first before any second one


def many(count: int) -> Iterator[Annotated]:
    begin = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)
    for n in range(count):
        events = [Event(second, second + 1, "dog", (n * 7 + second) % 100 / 100) for second in range(3)]
        yield Annotated(f"{n:06}", "gone", 60, made(begin + dt.timedelta(hours=5 * n)), events)


@pytest.mark.slow
def test_memory_does_not_grow_with_recordings() -> None:
    tracemalloc.start()
    try:
        seen = collect(lambda: many(10_000), ["dog"], 5, 31)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (seen.recordings, seen.grid.unit, int(seen.grid.totals["dog"].sum())) == (10_000, "year", 30_000)
    assert [one.score for one in seen.top["dog"]] == [0.99] * 5
    assert peak < 2_000_000, peak


def test_long_texts_lose_their_middle() -> None:
    assert short("a" * 10 + "b" * 10, 9) == "aaaa…bbbb"
    assert short("short", 9) == "short"
