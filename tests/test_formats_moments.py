"""Absolute time in files of events: what is said of a recording, and where each format puts it."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import zoneinfo
from pathlib import Path

import pandas
import pyarrow.parquet
import pytest

from peaframe import formats
from peaframe.audio.recorded import Recorded
from peaframe.cli.main import main
from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats import moments

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
UTC = dt.timezone.utc
# half an hour before clocks go back from 03:00 to 02:00
NIGHT = {
    "start": "2024-10-27T02:30:00+02:00",
    "source": "guano",
    "timezone": "Europe/Berlin",
    "expansion": 1,
}
LOCAL = {"start": "2024-06-01T23:59:59", "source": "file name", "timezone": None, "expansion": 1}
EVENTS = {
    "night.wav": [Event(0.04, 1.2, "owl", 0.91), Event(1800.0, 1801.0, "bat")],
    "local.wav": [Event(0.9996, 2.0, "door", 0.5)],
    "unknown.wav": [Event(1.0, 2.0, "cat")],
    "quiet.wav": [],
}
META = {
    "durations": {"night.wav": 3600.0, "local.wav": 10.0, "unknown.wav": 5, "quiet.wav": 60},
    "recorded": {"night.wav": NIGHT, "local.wav": LOCAL, "quiet.wav": LOCAL},
}
STAMPS = ["2024-10-27T02:30:00.040+02:00", "2024-10-27T02:00:00.000+01:00", "2024-06-02T00:00:00.000"]


def made(start: dt.datetime, expansion: int = 1) -> Recorded:
    return Recorded(start, "guano", "AudioMoth", start.tzinfo is not None, expansion=expansion)


def test_what_is_said_of_a_recording() -> None:
    summer = dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN)
    assert moments.describe(made(summer)) == NIGHT
    winter = moments.describe(made(summer.replace(fold=1)))
    assert winter == NIGHT | {"start": "2024-10-27T02:30:00+01:00"}
    fixed = moments.describe(made(summer.astimezone(dt.timezone(dt.timedelta(hours=2)))))
    assert fixed == NIGHT | {"timezone": None}
    naive = moments.describe(made(dt.datetime(2024, 6, 1, 4, 0, 0, 250000), expansion=10))
    assert naive == {
        "start": "2024-06-01T04:00:00.250000",
        "source": "guano",
        "timezone": None,
        "expansion": 10,
    }
    json.dumps(naive)


@pytest.mark.parametrize(
    "start",
    [
        dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN),
        dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN),
        dt.datetime(2024, 3, 31, 1, 59, 59, 999999, tzinfo=BERLIN),
        dt.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("Australia/Lord_Howe")),
        dt.datetime(2024, 7, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3, minutes=-30))),
        dt.datetime(2024, 7, 1, 12, 0, 0, 1, tzinfo=UTC),
        dt.datetime(1900, 1, 1, 3, tzinfo=zoneinfo.ZoneInfo("Europe/Amsterdam")),
        dt.datetime(2024, 7, 1, 12),
    ],
)
@pytest.mark.parametrize("expansion", [1, 10])
def test_a_moment_is_what_the_recording_says(start: dt.datetime, expansion: int) -> None:
    whole = made(start, expansion)
    meta = {"recorded": {"a.wav": moments.describe(whole)}}
    for seconds in (0.0, 0.125, 1.0, 1800.0, 3600.0, 7e6):
        found = moments.moment(meta, "a.wav", seconds)
        assert found.isoformat() == whole.at(seconds).isoformat()


def test_a_moment_across_a_change_of_clocks() -> None:
    found = [moments.moment(META, "night.wav", seconds) for seconds in (0, 1799, 1800, 5400)]
    assert [str(when) for when in found] == [
        "2024-10-27 02:30:00+02:00",
        "2024-10-27 02:59:59+02:00",
        "2024-10-27 02:00:00+01:00",
        "2024-10-27 03:00:00+01:00",
    ]
    assert moments.moment(META, "local.wav", 1.5) == dt.datetime(2024, 6, 2, 0, 0, 0, 500000)
    assert moments.moment(META, "unknown.wav", 0) is None
    for other in ({}, {"recorded": {}}, {"recorded": None}, {"recorded": {"night.wav": None}}):
        assert moments.moment(other, "night.wav", 0) is None
    shown = {"a": {"start": "2024-06-01T04:00:00", "timezone": "Europe/Berlin"}}
    assert str(moments.moment({"recorded": shown}, "a", 0)) == "2024-06-01 04:00:00+02:00"
    assert str(moments.moment({"recorded": {"a": {"start": "2024-06-01T04:00:00Z"}}}, "a", 0)) == (
        "2024-06-01 04:00:00+00:00"
    )


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (3, "a: got 3 as the time it was made, expected"),
        ({}, r"a: got \{\} as the time"),
        ({"start": 5}, "a: got .* as the time"),
        ({"start": "2024-06-01T04:00:00", "expansion": 0}, "a: got .* as the time"),
        ({"start": "2024-06-01T04:00:00", "expansion": True}, "a: got .* as the time"),
        ({"start": "yesterday"}, "a: was made at 'yesterday', zone None: Invalid isoformat"),
        ({"start": "2024-06-01T04:00:00", "timezone": "Mars/Olympus"}, "'Mars/Olympus' is not known"),
    ],
)
def test_what_is_no_time(said: object, message: str) -> None:
    meta = {"recorded": {"a": said}}
    with pytest.raises(FormatError, match=message) as caught:
        moments.moment(meta, "a", 0)
    assert "\n" not in str(caught.value)
    for format in (
        "csv",
        "json",
        "jsonl",
        "parquet",
        "raven",
        "kaleidoscope",
        "label_studio",
        "elan",
        "webvtt",
    ):
        with pytest.raises(FormatError, match=message):
            formats.to_bytes({"a": [Event(0, 1, "x")]}, format, meta)


def test_beyond_the_calendar() -> None:
    late = {"recorded": {"a": NIGHT | {"start": "9999-12-31T23:59:59"}}}
    with pytest.raises(FormatError, match="is no time; give seconds in the recording"):
        formats.dumps({"a": [Event(90000, 90001, "x")]}, "csv", late)


def test_stamps_are_the_nearest_milliseconds() -> None:
    start = made(dt.datetime(2024, 6, 1, 4, 0, 0, 999_600, tzinfo=BERLIN))
    assert moments.stamp(start, 0.0) == "2024-06-01T04:00:01.000+02:00"
    assert moments.stamp(start, 0.00089) == "2024-06-01T04:00:01.000+02:00"
    assert moments.stamp(start, 0.0009) == "2024-06-01T04:00:01.001+02:00"
    slow = made(dt.datetime(2024, 6, 1, 4, 0), expansion=10)
    assert [moments.stamp(slow, seconds) for seconds in (12.344, 12.345, 12.35)] == [
        "2024-06-01T04:00:01.234",
        "2024-06-01T04:00:01.235",
        "2024-06-01T04:00:01.235",
    ]
    assert moments.sentence(start) == "2024-06-01T04:00:01.000+02:00 (guano, Europe/Berlin)"
    assert moments.sentence(slow) == "2024-06-01T04:00:00.000 (guano)"


def test_csv() -> None:
    text = formats.dumps(EVENTS, "csv", META)
    assert text == (
        "filename,onset,offset,event_label,score,time\n"
        f"night.wav,0.040,1.200,owl,0.9100,{STAMPS[0]}\n"
        f"night.wav,1800.000,1801.000,bat,,{STAMPS[1]}\n"
        f"local.wav,1.000,2.000,door,0.5000,{STAMPS[2]}\n"
        "unknown.wav,1.000,2.000,cat,,\n"
        "quiet.wav,,,,,\n"
    )
    read = formats.loads(text, "csv")
    assert (read["night.wav"], read["quiet.wav"]) == (EVENTS["night.wav"], [])
    table = pandas.read_csv(io.StringIO(text)).dropna(subset=["onset"])
    owls = table[table.filename == "night.wav"]
    assert pandas.to_datetime(owls.time, utc=True).tolist() == [
        pandas.Timestamp("2024-10-27T00:30:00.040Z"),
        pandas.Timestamp("2024-10-27T01:00:00Z"),
    ]
    assert table.time.isna().tolist() == [False, False, False, True]


@pytest.mark.parametrize("format", formats.names())
def test_without_times_nothing_changes_and_an_empty_mapping_makes_columns(format: str) -> None:
    one = {"unknown.wav": EVENTS["unknown.wav"]}
    before = formats.to_bytes(one, format, {})
    none = formats.to_bytes(one, format, {"recorded": None})
    empty = formats.to_bytes(one, format, {"recorded": {}})
    if format in ("csv", "raven", "kaleidoscope", "parquet"):
        assert len(empty) > len(before)
        assert formats.from_bytes(empty, format) == formats.from_bytes(before, format)
    elif format not in ("json", "jams"):
        assert empty == before
    if format in ("csv", "raven", "kaleidoscope"):
        assert none == before


@pytest.mark.parametrize("format", formats.names())
def test_events_come_back_with_times_as_without(format: str) -> None:
    every = {"night.wav": EVENTS["night.wav"]} if formats.holds_one(format) else EVENTS
    timed = formats.to_bytes(every, format, META)
    untimed = formats.to_bytes(every, format, {"durations": META["durations"]})
    assert formats.from_bytes(timed, format, "night") == formats.from_bytes(untimed, format, "night")
    timeless = ("tsv", "audacity", "rttm", "textgrid", "srt", "sam_audio")
    assert (timed == untimed) == (format in timeless)
    if format in ("json", "jsonl", "parquet"):
        assert formats.meta_of(timed, format) == META
    if format == "jams":
        assert formats.meta_of(timed, format) == META | {"recorded": {"night.wav": NIGHT}}


def test_json() -> None:
    document = json.loads(formats.dumps(EVENTS, "json", META))
    assert document["meta"] == META
    found = [event.get("time") for entry in document["files"] for event in entry["events"]]
    assert found == [STAMPS[0], STAMPS[1], "2024-06-02T00:00:00.000", None]


def test_lines() -> None:
    text = formats.dumps(EVENTS, "jsonl", META | {"model": "mini"})
    assert text == (
        '{"format": "peaframe-events-lines", "version": 1, "meta": {"model": "mini"}}\n'
        '{"filename": "night.wav", "duration": 3600.0, "recorded": {"start": "2024-10-27T02:30:00+02:00", '
        '"source": "guano", "timezone": "Europe/Berlin", "expansion": 1}}\n'
        '{"filename": "night.wav", "onset": 0.04, "offset": 1.2, "event_label": "owl", "score": 0.91, '
        f'"time": "{STAMPS[0]}"}}\n'
        '{"filename": "night.wav", "onset": 1800.0, "offset": 1801.0, "event_label": "bat", "score": null, '
        f'"time": "{STAMPS[1]}"}}\n'
        '{"filename": "local.wav", "duration": 10.0, "recorded": {"start": "2024-06-01T23:59:59", '
        '"source": "file name", "timezone": null, "expansion": 1}}\n'
        '{"filename": "local.wav", "onset": 0.9996, "offset": 2.0, "event_label": "door", "score": 0.5, '
        f'"time": "{STAMPS[2]}"}}\n'
        '{"filename": "unknown.wav", "duration": 5}\n'
        '{"filename": "unknown.wav", "onset": 1.0, "offset": 2.0, "event_label": "cat", "score": null}\n'
        '{"filename": "quiet.wav", "duration": 60, "recorded": {"start": "2024-06-01T23:59:59", '
        '"source": "file name", "timezone": null, "expansion": 1}}\n'
    )
    table = pandas.read_json(io.StringIO(text), lines=True).dropna(subset=["onset"])
    assert table.event_label.tolist() == ["owl", "bat", "door", "cat"]
    old = '{"format": "peaframe-events-lines", "version": 1, "meta": {"durations": {"a": 1, "b": 2}}}\n'
    both = (
        old
        + '{"filename": "a", "duration": 3}\n{"filename": "b", "onset": 0, "offset": 1, "event_label": "x", '
    )
    both += '"duration": 9}\n'
    assert formats.meta_of(both.encode(), "jsonl") == {"durations": {"a": 3, "b": 2}}


def test_parquet() -> None:
    content = formats.to_bytes(EVENTS, "parquet", META)
    schema = pyarrow.parquet.read_schema(io.BytesIO(content))
    assert [(field.name, str(field.type), field.nullable) for field in schema][5:] == [
        ("time", "timestamp[us, tz=UTC]", True),
        ("local_time", "timestamp[us]", True),
    ]
    table = pandas.read_parquet(io.BytesIO(content))
    assert str(table.time.dtype) == "datetime64[us, UTC]"
    assert str(table.local_time.dtype) == "datetime64[us]"
    assert table.time.dropna().tolist() == [
        pandas.Timestamp("2024-10-27T00:30:00.040Z"),
        pandas.Timestamp("2024-10-27T01:00:00Z"),
    ]
    assert table.local_time.tolist()[:3] == [
        pandas.Timestamp("2024-10-27 02:30:00.040"),
        pandas.Timestamp("2024-10-27 02:00:00"),
        pandas.Timestamp("2024-06-01 23:59:59.999600"),
    ]
    assert table.local_time.isna().tolist() == [False, False, False, True]
    offsets = (table.local_time - table.time.dt.tz_localize(None)).dropna()
    assert [offset.total_seconds() / 3600 for offset in offsets] == [2, 1]


def test_raven() -> None:
    text = formats.dumps(EVENTS, "raven", META)
    rows = list(csv.reader(io.StringIO(text), delimiter="\t"))
    assert rows[0][-2:] == ["Begin Date", "Begin Clock Time"]
    assert [row[-4:] for row in rows[1:]] == [
        ["owl", "0.9100", "2024/10/27", "02:30:00.040"],
        ["bat", "", "2024/10/27", "02:00:00.000"],
        ["door", "0.5000", "2024/06/02", "00:00:00.000"],
        ["cat", "", "", ""],
    ]
    assert [row[3] for row in rows[1:]] == ["0.040000", "1800.000000", "3600.999600", "3611.000000"]


def test_kaleidoscope() -> None:
    text = formats.dumps(EVENTS, "kaleidoscope", META)
    assert text == (
        "INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,DATE,TIME,HOUR,AUTO ID,CONFIDENCE,MANUAL ID\n"
        ",,night.wav,0,0.040,1.160,2024-10-27,02:30:00,2,owl,0.9100,\n"
        ",,night.wav,0,1800.000,1.000,2024-10-27,02:00:00,2,bat,,\n"
        ",,local.wav,0,1.000,1.000,2024-06-02,00:00:00,0,door,0.5000,\n"
        ",,unknown.wav,0,1.000,1.000,,,,cat,,\n"
        ",,quiet.wav,0,0.000,60.000,2024-06-01,23:59:59,23,,,\n"
    )
    assert pandas.read_csv(io.StringIO(text)).HOUR.tolist()[:3] == [2, 2, 0]


def test_formats_of_one_recording_and_label_studio() -> None:
    one = {"night.wav": EVENTS["night.wav"]}
    said = "2024-10-27T02:30:00.000+02:00 (guano, Europe/Berlin)"
    assert formats.dumps(one, "webvtt", META).split("\n\n")[:3] == [
        "WEBVTT",
        "NOTE recording: night.wav",
        f"NOTE recorded: {said}",
    ]
    assert f'<PROPERTY NAME="peaframe recorded">{said}</PROPERTY>' in formats.dumps(one, "elan", META)
    odd = {"recorded": {"night.wav": NIGHT | {"source": "<b> & -->"}}}
    text = formats.dumps(one, "webvtt", odd)
    assert "(&lt;b&gt; &amp; --&gt;, Europe/Berlin)" in text
    assert formats.loads(text, "webvtt") == one
    assert list(formats.loads(formats.dumps(one, "elan", odd), "elan")) == ["night.wav"]
    tasks = json.loads(formats.dumps(EVENTS, "label_studio", META))
    assert [task["data"] for task in tasks] == [
        {"audio": "night.wav", "recorded": "2024-10-27T02:30:00+02:00"},
        {"audio": "local.wav", "recorded": "2024-06-01T23:59:59"},
        {"audio": "unknown.wav"},
        {"audio": "quiet.wav", "recorded": "2024-06-01T23:59:59"},
    ]


def test_convert_keeps_the_times_of_each_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in ("night", "local"):
        own = {f"{name}.wav": EVENTS[f"{name}.wav"]}
        meta = {"model": "mini", "recorded": {f"{name}.wav": META["recorded"][f"{name}.wav"]}}
        formats.save(f"in/{name}.json", own, meta=meta)
    assert main(["convert", "in", "all.csv"]) == 0
    cells = [line.rpartition(",")[2] for line in Path("all.csv").read_text().splitlines()]
    assert cells == ["time", STAMPS[2], STAMPS[0], STAMPS[1]]
    assert main(["convert", "in", "single/", "--to", "jams"]) == 0
    kept = formats.meta_of(Path("single/night.jams").read_bytes(), "jams")
    assert kept == {"model": "mini", "recorded": {"night.wav": NIGHT}}
