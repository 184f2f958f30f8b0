"""Files of events: what is written, what is read, and what is refused, for each format."""

from __future__ import annotations

import io
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest

from peaframe import formats
from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.files import atomic_path

KEEP_SILENT = ("tsv", "csv", "json", "jsonl", "parquet", "label_studio", "sam_audio", "kaleidoscope")
STREET = [Event(0.04, 1.2, "dog barking", 0.91), Event(1.2, 2.0, "a siren", None)]
EVENTS = {"street.wav": STREET, "clips/yard 2.flac": [Event(10.0, 12.345, "door", 0.50005)]}


def test_names_and_suffixes() -> None:
    suffixes = {
        "tsv": ".tsv",
        "csv": ".CSV",
        "json": ".json",
        "jsonl": ".jsonl",
        "parquet": ".parquet",
        "audacity": ".txt",
        "raven": ".Selections.txt",
        "jams": ".jams",
        "rttm": ".rttm",
        "textgrid": ".TextGrid",
        "elan": ".eaf",
        "webvtt": ".vtt",
        "srt": ".SRT",
    }
    by_name = {"label_studio": ".json", "sam_audio": ".json", "kaleidoscope": ".csv"}
    assert formats.names() == (*suffixes, *by_name)
    assert {name: formats.for_path(f"folder.x/a{suffix}") for name, suffix in suffixes.items()} == {
        name: name for name in suffixes
    }
    assert formats.for_path("a.textgrid") == "textgrid"
    for name, suffix in (suffixes | by_name).items():
        assert formats.suffix(name).lower() == suffix.lower()
    ones = ("audacity", "jams", "textgrid", "elan", "webvtt", "srt")
    assert tuple(name for name in formats.names() if formats.holds_one(name)) == ones
    for name in formats.names():
        if formats.holds_one(name):
            with pytest.raises(
                FormatError, match=f"{name} holds one recording, got 2; write a file for each"
            ):
                formats.to_bytes(EVENTS, name)
        elif name != "raven":
            assert len(formats.from_bytes(formats.to_bytes(EVENTS, name), name)) == 2
    for odd in ("a.wav", "a", ".tsv"):
        with pytest.raises(FormatError, match=r"use \.tsv \(tsv\), \.csv \(csv\)"):
            formats.for_path(odd)
    for call in (lambda: formats.dumps({}, "xml"), lambda: formats.loads("", "xml")):
        with pytest.raises(
            FormatError,
            match="unknown format 'xml'; expected one of tsv, csv, json, jsonl, parquet, audacity",
        ):
            call()


def test_tsv() -> None:
    text = formats.dumps({**EVENTS, "quiet.wav": []}, "tsv")
    assert text == (
        "filename\tonset\toffset\tevent_label\n"
        "street.wav\t0.040\t1.200\tdog barking\n"
        "street.wav\t1.200\t2.000\ta siren\n"
        "clips/yard 2.flac\t10.000\t12.345\tdoor\n"
        "quiet.wav\t\t\t\n"
    )
    assert formats.loads(text, "tsv") == {
        "street.wav": [Event(0.04, 1.2, "dog barking"), Event(1.2, 2.0, "a siren")],
        "clips/yard 2.flac": [Event(10.0, 12.345, "door")],
        "quiet.wav": [],
    }


def test_csv() -> None:
    text = formats.dumps({**EVENTS, "quiet.wav": []}, "csv")
    assert text == (
        "filename,onset,offset,event_label,score\n"
        "street.wav,0.040,1.200,dog barking,0.9100\n"
        "street.wav,1.200,2.000,a siren,\n"
        "clips/yard 2.flac,10.000,12.345,door,0.5000\n"
        "quiet.wav,,,,\n"
    )
    read = formats.loads(text, "csv")
    assert (read["street.wav"], read["quiet.wav"]) == (STREET, [])
    table = pandas.read_csv(io.StringIO(text))
    assert table.onset.tolist()[:3] == [0.04, 1.2, 10.0]
    assert table.iloc[3].filename == "quiet.wav"
    assert table.iloc[3, 1:].isna().all()
    assert (table.onset.dtype, table.score.dtype) == (float, float)
    assert table.dropna(subset=["onset"]).event_label.tolist() == ["dog barking", "a siren", "door"]
    version_1 = text.removesuffix("quiet.wav,,,,\n")
    assert list(formats.loads(version_1, "csv")) == ["street.wav", "clips/yard 2.flac"]


def test_json() -> None:
    events = {
        "a.wav": [Event(0.1, 1 / 3, 'say "hi"\n\t, ü 犬', 0.1 + 0.2), Event(1, 2, "b")],
        "quiet.wav": [],
    }
    text = formats.dumps(events, "json", meta={"model": "peaframe-mini", "threshold": 0.5})
    assert json.loads(text) == {
        "format": "peaframe-events",
        "version": 1,
        "meta": {"model": "peaframe-mini", "threshold": 0.5},
        "files": [
            {
                "filename": "a.wav",
                "events": [
                    {"onset": 0.1, "offset": 1 / 3, "event_label": 'say "hi"\n\t, ü 犬', "score": 0.1 + 0.2},
                    {"onset": 1.0, "offset": 2.0, "event_label": "b", "score": None},
                ],
            },
            {"filename": "quiet.wav", "events": []},
        ],
    }
    assert formats.loads(text, "json") == events
    for bad in ({"x": float("nan")}, {"x": Path("a")}):
        with pytest.raises(FormatError, match="meta cannot be written as JSON"):
            formats.dumps({}, "json", meta=bad)


def test_audacity() -> None:
    text = formats.dumps({"street.wav": STREET}, "audacity")
    assert text == "0.040000\t1.200000\tdog barking\n1.200000\t2.000000\ta siren\n"
    bare = [Event(0.04, 1.2, "dog barking"), Event(1.2, 2.0, "a siren")]
    assert formats.loads(text, "audacity", source="out/street.txt") == {"street": bare}
    spectral = "0.5\t1.5\tcall\r\n\\\t400.0\t3200.5\r\n2.0\t2.5\tsong\r\n"
    events = [Event(0.5, 1.5, "call"), Event(2.0, 2.5, "song")]
    assert formats.loads(spectral, "audacity", source="x.txt") == {"x": events}
    with pytest.raises(FormatError, match="holds one recording, got 2"):
        formats.dumps(EVENTS, "audacity")


@pytest.mark.parametrize("format", formats.names())
def test_nothing_found_makes_a_valid_file(format: str, tmp_path: Path) -> None:
    for events in ({}, {"quiet.wav": []}):
        formats.save(tmp_path / "a", events, format)
        read = formats.load(tmp_path / "a", format)
        assert not any(read.values())
        if format in KEEP_SILENT:
            assert read == events


@pytest.mark.parametrize(
    "label", ['a "quoted" dog', "dog, cat; bird", "'", '"', "Hund ä 犬 🐕", "  spaces ", "\u2028x", "#1"]
)
@pytest.mark.parametrize("format", formats.names())
def test_odd_labels_come_back(format: str, label: str, tmp_path: Path) -> None:
    formats.save(tmp_path / "x.out", {"x": [Event(1.0, 2.0, label)]}, format)
    assert formats.load(tmp_path / "x.out", format) == {"x": [Event(1.0, 2.0, label)]}


@pytest.mark.parametrize("label", ["a\tb", "a\nb", "a\rb", "a\r\nb", "a\0b"])
def test_labels_of_several_cells_or_lines(label: str) -> None:
    for format in ("tsv", "audacity"):
        with pytest.raises(FormatError, match="cannot hold") as caught:
            formats.dumps({"x.wav": [Event(1.0, 2.0, label)]}, format)
        assert "\n" not in str(caught.value)
    events = {"x.wav": [Event(1.0, 2.0, label)]}
    assert formats.loads(formats.dumps(events, "json"), "json") == events
    if "\0" in label:
        with pytest.raises(FormatError, match="null character"):
            formats.dumps(events, "csv")
    else:
        assert formats.loads(formats.dumps(events, "csv"), "csv") == events


@pytest.mark.parametrize("format", ["tsv", "csv", "audacity"])
def test_an_event_shorter_than_the_last_decimal_stays_an_event(format: str) -> None:
    text = formats.dumps({"x": [Event(1.0, 1.0 + 1e-9, "click")]}, format)
    (event,) = formats.loads(text, format, source="x")["x"]
    assert event.onset == 1.0
    assert 0 < event.offset - event.onset <= 0.00101


def test_columns_in_any_order_and_more_of_them() -> None:
    text = "\ufeffevent_label,note,offset,onset,filename\r\ndog,loud,2,1,a.wav\r\n\r\n"
    assert formats.loads(text, "csv") == {"a.wav": [Event(1, 2, "dog")]}


HEAD = "filename,onset,offset,event_label,score\n"


@pytest.mark.parametrize(
    ("format", "text", "message"),
    [
        ("csv", "", r"f\.csv:1: got an empty file"),
        ("csv", "a,b\n", r"f\.csv:1: header .* has no column filename, onset, offset, event_label"),
        ("csv", "filename,onset,onset,offset,event_label\n", r"f\.csv:1: header .* a column twice"),
        ("csv", HEAD + "a.wav,0,1,dog,0.5\na.wav,0,1\n", r"f\.csv:3: got 3 cells, expected 5"),
        ("csv", HEAD + "a.wav,zero,1,dog,\n", r"f\.csv:2: got 'zero' to '1', expected numbers"),
        ("csv", HEAD + "a.wav,2,1,dog,\n", r"f\.csv:2: an event lasts from 2\.0 s to 1\.0 s"),
        ("csv", HEAD + "a.wav,nan,1,dog,\n", r"f\.csv:2: an event lasts from nan"),
        ("csv", HEAD + "a.wav,0,1,,0.5\n", r"f\.csv:2: an event's label is ''"),
        ("csv", HEAD + "a.wav,0,1,dog,high\n", r"f\.csv:2: .*'high'"),
        ("csv", HEAD + ",0,1,dog,\n", r"f\.csv:2: the filename is blank"),
        ("csv", HEAD + 'a.wav,0,1,"dog,\n', r"f\.csv:2: not a table"),
        ("csv", HEAD + 'a.wav,0,1,"a\nb",\na.wav,1,x,dog,\n', r"f\.csv:4: got '1' to 'x'"),
        ("tsv", HEAD, r"f\.csv:1: header"),
        ("audacity", "0\t1\tdog\n0 1 dog\n", r"f\.csv:2: got 1 cells, expected start, end, label"),
        ("audacity", "1\t1\tpoint\n", r"f\.csv:1: an event lasts"),
        ("audacity", "\\\t1\t2\n", r"f\.csv:1: got"),
        ("json", '{\n"format": }', r"f\.csv:2: not JSON"),
        ("json", "[" * 100_000, r"f\.csv:1: not JSON"),
        ("json", "[]", r"f\.csv:1: not peaframe's events"),
        ("json", '{"format": "peaframe-events", "version": 2}', r"f\.csv:1: got version 2, expected 1"),
        ("json", '{"format": "peaframe-events", "version": 1}', r"f\.csv: got NoneType for 'files'"),
        ("json", '{"format": "peaframe-events", "version": 1, "files": [3]}', r"files\[0\]: got no filename"),
    ],
)
def test_what_cannot_be_read_names_file_and_line(format: str, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        formats.loads(text, format, source="f.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "event",
    [
        {},
        5,
        {"onset": "0", "offset": 1, "event_label": "a"},
        {"onset": True, "offset": 2, "event_label": "a"},
        {"onset": 0, "offset": 10**400, "event_label": "a"},
        {"onset": 0, "offset": 1, "event_label": 7},
        {"onset": 0, "offset": 1, "event_label": "a", "score": "b"},
        {"onset": 0, "offset": float("inf"), "event_label": "a"},
    ],
)
def test_json_events_that_are_none(event: object) -> None:
    files = [{"filename": "a.wav", "events": [{"onset": 0, "offset": 1, "event_label": "ok"}, event]}]
    text = json.dumps({"format": "peaframe-events", "version": 1, "files": files})
    with pytest.raises(FormatError, match=r"^f\.json: files\[0\]\.events\[1\]: "):
        formats.loads(text, "json", source="f.json")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read"):
        formats.load(tmp_path / "missing.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FormatError, match="cannot be read"):
        formats.load(tmp_path / "folder.csv")
    (tmp_path / "latin.csv").write_bytes(HEAD.encode() + "a.wav,0,1,Tür,\n".encode("latin-1"))
    with pytest.raises(FormatError, match="is not UTF-8"):
        formats.load(tmp_path / "latin.csv")


def test_blank_recording_names_are_refused() -> None:
    for format in ("tsv", "csv"):
        with pytest.raises(FormatError, match="expected one that is not blank"):
            formats.dumps({" ": [Event(0, 1, "a")]}, format)


def test_save_is_whole_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "events.csv"
    formats.save(target, EVENTS)
    before = target.read_bytes()
    with pytest.raises(FormatError, match="null character"):
        formats.save(target, {"a.wav": [Event(0, 1, "a\0")]})
    with pytest.raises(FormatError, match="not valid Unicode") as caught:
        formats.save(target, {"a.wav": [Event(0, 1, "a\udc80")]})
    str(caught.value).encode()
    assert target.read_bytes() == before
    assert os.listdir(tmp_path) == ["events.csv"]


def test_save_refuses_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FormatError, match="is a folder"):
        formats.save(tmp_path / "folder.csv", EVENTS)
    with pytest.raises(FormatError, match="cannot be written"):
        formats.save(tmp_path / "missing" / "a.csv", EVENTS)
    with pytest.raises(FormatError, match="not a regular file"):
        formats.save("/dev/null", EVENTS, "csv")
    (tmp_path / "file").touch()
    with pytest.raises(FormatError, match="cannot be written"):
        formats.save(tmp_path / "file" / "a.csv", EVENTS)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.csv"]


def test_atomic_path(tmp_path: Path) -> None:
    target = tmp_path / "a.npz"
    mask = os.umask(0o027)
    try:
        with atomic_path(target) as temp:
            assert (temp.parent, temp.suffix) == (tmp_path, ".npz")
            temp.write_bytes(b"first")
            assert not target.exists()
    finally:
        os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temp:
        temp.write_bytes(bytes(1 // 0))
    with (
        pytest.raises(FormatError, match=r"a\.npz: cannot be written \(No space left\)"),
        atomic_path(target),
    ):
        raise OSError(28, "No space left")
    assert target.read_bytes() == b"first"
    (tmp_path / "link.npz").symlink_to(target)
    with atomic_path(tmp_path / "link.npz") as temp:
        temp.write_bytes(b"second")
    assert (tmp_path / "link.npz").is_symlink()
    assert target.read_bytes() == b"second"
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "link.npz"]


def test_atomic_path_is_on_the_disk_before_it_takes_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, seen = tmp_path / "a.txt", []

    def fsync(number: int, plain: Callable[[int], None] = os.fsync) -> None:
        seen.append((os.pread(number, 9, 0), target.exists()))
        plain(number)

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_path(target) as temp:
        temp.write_text("whole")
    assert (seen, target.read_text()) == ([(b"whole", False)], "whole")
