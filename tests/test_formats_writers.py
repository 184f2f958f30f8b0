"""Files of events that are written as they grow."""

from __future__ import annotations

import io
import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pandas
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peaframe import formats
from peaframe.errors import FormatError, MissingExtraError
from peaframe.events import Event
from peaframe.formats import parquet_events

MANY = tuple(name for name in formats.names() if not formats.holds_one(name))
STREET = [Event(0.04, 1.2, "dog barking", 0.91), Event(1.2, 2.0, "a siren")]
MADE = {"start": "2024-06-01T04:00:00+02:00", "source": "guano", "timezone": "Europe/Berlin", "expansion": 1}

LABEL = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=9).filter(
    lambda text: text.strip() and text.strip().lower() != "noid"
)
STEM = st.sampled_from(["street", "yard", "quiet", "none", "a b"])
NAME = st.builds("{}{}{}".format, st.sampled_from(["", "x/", "y/"]), STEM, st.sampled_from([".wav", ".flac"]))


@st.composite
def events(draw: st.DrawFn) -> Event:
    onset, lasts = draw(st.integers(0, 10**6)), draw(st.integers(1, 10**5))
    score = draw(st.none() | st.integers(0, 10**4).map(lambda parts: parts / 10**4))
    return Event(onset / 1000, (onset + lasts) / 1000, draw(LABEL), score)


TIMES = st.sampled_from(
    [
        None,
        MADE,
        {"start": "2024-10-27T02:59:59.999500", "source": "mtime", "timezone": None, "expansion": 10},
    ]
)
RECORDINGS = st.dictionaries(
    NAME, st.tuples(st.lists(events(), max_size=3), st.floats(2000, 1e5), TIMES), max_size=4
)


@pytest.mark.parametrize("format", MANY)
@pytest.mark.parametrize("timed", [False, True])
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RECORDINGS)
def test_a_growing_file_is_the_whole_one(
    format: str, timed: bool, tmp_path: Path, recordings: dict[str, tuple[list[Event], float, Any]]
) -> None:
    whole = {name: own for name, (own, _, _) in recordings.items()}
    meta: dict[str, Any] = {"model": "mini", **({"recorded": {}} if timed else {})}
    with formats.open_writer(tmp_path / "a.out", format, meta) as writer:
        for name, (own, seconds, made) in recordings.items():
            writer.add(name, own, duration=seconds, recorded=made if timed else None)
    if timed:
        meta["recorded"] = {name: made for name, (_, _, made) in recordings.items() if made}
    if recordings:
        meta["durations"] = {name: seconds for name, (_, seconds, _) in recordings.items()}
    content, wanted = (tmp_path / "a.out").read_bytes(), formats.to_bytes(whole, format, meta)
    if formats.is_text(format):
        assert content == wanted
    else:
        read = formats.from_bytes(content, format)
        assert (read, list(read)) == (whole, list(whole))
        assert formats.meta_of(content, format) == meta
        tables = [pyarrow.parquet.ParquetFile(io.BytesIO(data)).read() for data in (content, wanted)]
        assert tables[0].cast(tables[1].schema).equals(tables[1])
    assert os.listdir(tmp_path) == ["a.out"]


@pytest.mark.parametrize("format", MANY)
def test_what_meta_says_beforehand_counts_too(format: str, tmp_path: Path) -> None:
    whole = {"street.wav": STREET, "quiet.wav": [], "yard.wav": STREET[:1]}
    made = {"street.wav": MADE, "yard.wav": MADE}
    meta = {"durations": dict.fromkeys(whole, 4.5), "model": "mini", "recorded": made}
    with formats.open_writer(tmp_path / "a", format, meta) as writer:
        for name, own in whole.items():
            writer.add(name, own)
    content = (tmp_path / "a").read_bytes()
    if formats.is_text(format):
        assert content == formats.to_bytes(whole, format, meta)
    assert formats.from_bytes(content, format) == formats.from_bytes(
        formats.to_bytes(whole, format, meta), format
    )


def test_of_the_suffix(tmp_path: Path) -> None:
    with formats.open_writer(tmp_path / "a.csv") as writer:
        writer.add("street.wav", STREET)
        writer.add("quiet.wav", [])
        assert not (tmp_path / "a.csv").exists()
    assert (tmp_path / "a.csv").read_text() == (
        "filename,onset,offset,event_label,score\nstreet.wav,0.040,1.200,dog barking,0.9100\n"
        "street.wav,1.200,2.000,a siren,\nquiet.wav,,,,\n"
    )
    with pytest.raises(FormatError, match=r"got 'x' after the file was closed; add it inside"):
        writer.add("x", [])


@pytest.mark.parametrize("format", [name for name in formats.names() if formats.holds_one(name)])
def test_formats_of_one_recording_have_none(format: str, tmp_path: Path) -> None:
    with (
        pytest.raises(FormatError, match=rf"a: {format} holds one recording; save a file for each"),
        formats.open_writer(tmp_path / "a", format),
    ):
        raise AssertionError
    assert os.listdir(tmp_path) == []


def write_and_fail(path: Path, format: str, error: type[BaseException]) -> None:
    with formats.open_writer(path, format) as writer:
        writer.add("street.wav", STREET, duration=2.5)
        raise error


@pytest.mark.parametrize("format", MANY)
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(format: str, error: type[BaseException], tmp_path: Path) -> None:
    (tmp_path / "a").write_text("before")
    with pytest.raises(error):
        write_and_fail(tmp_path / "a", format, error)
    assert (tmp_path / "a").read_text() == "before"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("format", MANY)
def test_a_recording_that_is_refused_leaves_no_trace(format: str, tmp_path: Path) -> None:
    bad = [*STREET, Event(3, 4, "half \udc80")]
    for name, refused in (("a", True), ("b", False)):
        with formats.open_writer(tmp_path / name, format, {"recorded": {}}) as writer:
            for number in range(3):
                if refused:
                    with pytest.raises(FormatError, match="not valid Unicode"):
                        writer.add(f"bad/{number}.wav", bad, 5.0, MADE)
                    if format not in ("tsv", "rttm", "sam_audio"):  # which write no times
                        with pytest.raises(FormatError, match=r"^bad\.wav: got .* as the time it was made"):
                            writer.add("bad.wav", STREET, 5.0, {"start": 3})
                writer.add(f"{number}.wav", STREET[: number + 1], 5.0, MADE)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_is_added_wrongly(tmp_path: Path) -> None:
    with formats.open_writer(tmp_path / "a.tsv") as writer:
        writer.add("street.wav", STREET)
        with pytest.raises(FormatError, match=r"got the recording 'street\.wav' twice"):
            writer.add("street.wav", [])
        with pytest.raises(FormatError, match=r"no meta\[\"recorded\"\]; open the file with meta="):
            writer.add("yard.wav", [], recorded=MADE)
    assert formats.load(tmp_path / "a.tsv") == {
        "street.wav": [Event(e.onset, e.offset, e.label) for e in STREET]
    }
    for format in ("json", "jsonl", "parquet"):
        with (
            pytest.raises(FormatError, match="meta cannot be written as JSON"),
            formats.open_writer(tmp_path / "b", format, {"x": tmp_path}),
        ):
            raise AssertionError
    assert os.listdir(tmp_path) == ["a.tsv"]


def test_raven_goes_on_counting_and_needs_lengths(tmp_path: Path) -> None:
    with formats.open_writer(tmp_path / "a.selections.txt") as writer:
        writer.add("a.wav", STREET, duration=60)
        writer.add("quiet.wav", [], duration=0.5)
        with pytest.raises(FormatError, match=r"the length None of 'b\.wav'; give meta\[\"durations\"\]"):
            writer.add("b.wav", STREET)
        with pytest.raises(FormatError, match=r"b\.wav: got an event until 2\.0 s in a recording of 1\.5 s"):
            writer.add("b.wav", STREET, duration=1.5)
        writer.add("b.wav", STREET, duration=2.5)
    lines = [line.split("\t") for line in (tmp_path / "a.selections.txt").read_text().splitlines()[1:]]
    assert [(line[0], line[3], line[9]) for line in lines] == [
        ("1", "0.040000", "0.040000"),
        ("2", "1.200000", "1.200000"),
        ("3", "60.540000", "0.040000"),
        ("4", "61.700000", "1.200000"),
    ]
    with formats.open_writer(tmp_path / "b.selections.txt") as writer:
        writer.add("a.wav", STREET)
        with pytest.raises(FormatError, match=r"the length None of 'a\.wav'"):
            writer.add("b.wav", STREET, duration=2.5)
    assert formats.load(tmp_path / "b.selections.txt") == {"a.wav": STREET}


def test_rttm_of_stems_until_two_are_the_same(tmp_path: Path) -> None:
    for names, cells in (
        (["x/a b.wav", "y/c.wav"], ["a%20b", "c"]),
        (["x/a b.wav", "y/a b.wav", "nan"], ["x/a%20b.wav", "y/a%20b.wav", "%6Ean"]),
    ):
        with formats.open_writer(tmp_path / "a.rttm") as writer:
            for name in names:
                writer.add(name, STREET[:1])
        text = (tmp_path / "a.rttm").read_text()
        assert text == "".join(
            f"SPEAKER {cell} 1 0.040 1.160 <NA> <NA> dog%20barking 0.9100 <NA>\n" for cell in cells
        )
        assert text == formats.dumps(dict.fromkeys(names, STREET[:1]), "rttm")


def test_parquet_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_events, "_GROUP", 100)
    whole = {
        f"{number}.wav": [Event(at, at + 0.5, f"label {(at + number) % 7}", 0.5) for at in range(number * 20)]
        for number in range(14)
    }
    with formats.open_writer(tmp_path / "a.parquet", meta={"recorded": {}}) as writer:
        for name, own in whole.items():
            writer.add(name, own, recorded=MADE)
    file = pyarrow.parquet.ParquetFile(tmp_path / "a.parquet")
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    assert sizes == [100] * 18 + [20]
    assert formats.load(tmp_path / "a.parquet") == whole
    table = pandas.read_parquet(tmp_path / "a.parquet")
    assert table.event_label.dtype == "category"
    assert table.event_label.tolist() == [event.label for own in whole.values() for event in own]
    assert table.time.iloc[5] == pandas.Timestamp("2024-06-01T02:00:05Z")


def test_parquet_as_it_grows_needs_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="needs pyarrow"), formats.open_writer(tmp_path / "a.parquet"):
        raise AssertionError
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("format", MANY)
@pytest.mark.slow
def test_memory_does_not_grow_with_events(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_events, "_GROUP", 1000)
    own = [Event(at, at + 0.5, f"label {at % 7}", 0.5) for at in range(100)]

    def peak(count: int) -> int:
        tracemalloc.start()
        with formats.open_writer(tmp_path / "a", format, {"recorded": {}}) as writer:
            for number in range(count):
                writer.add(f"{number}.wav", own, 200.0, MADE)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(1)
    few, many = peak(15), peak(120)
    assert (
        many - few < 105 * 2000
    )  # a name, a length and a time of each recording, no events: these take 10 000 and more
    assert (tmp_path / "a").stat().st_size > 50_000
