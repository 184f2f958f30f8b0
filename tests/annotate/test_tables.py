"""The tables of a finished run: other formats, other thresholds, other times, and nothing heard again."""

import datetime as dt
import json
import os
import runpy
import shutil
import zoneinfo
from pathlib import Path
from types import SimpleNamespace

import pytest

from peaframe import formats
from peaframe.annotate.journal import Journal
from peaframe.annotate.planning import Times
from peaframe.annotate.tables import show_times
from peaframe.annotate.times import plain_time, time_of
from peaframe.audio.recorded import recorded
from peaframe.events import Event, EventOptions

runs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "runs.py")))
go, write, views, rows = runs.go, runs.write, runs.views, runs.rows


@pytest.fixture
def mine(archive, finished, tmp_path):
    """A finished run of one's own."""
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


def events_of(table):
    return [(row["filename"], row["onset"], row["event_label"]) for row in table if row["event_label"]]


def test_other_formats_appear_without_hearing(worker, archive, mine):
    before = views(mine)
    _, engine = go(worker, archive, mine, formats=("json", "raven", "parquet", "audacity"))
    assert engine.units == []
    after = views(mine)
    assert {name: after[name] for name in before} == before
    assert sorted({name.split("/")[0] for name in after if name not in before}) == [
        *("audacity", "json", "parquet", "raven")
    ]
    with Journal(mine / "journal.sqlite") as journal:
        stored = {one.name: one for one in journal.annotated(runs.QUERIES)}
    for name, one in stored.items():
        content = json.loads(after[f"json/{name}.json"])
        (file,) = content["files"]
        assert content["meta"]["durations"] == {name: pytest.approx(one.seconds)}
        assert [(e["onset"], e["event_label"]) for e in file["events"]] == [
            (pytest.approx(event.onset, abs=1e-3), event.label) for event in one.events
        ]
        parquet = formats.load(mine / "parquet" / f"{name}.parquet")
        assert [e.onset for events in parquet.values() for e in events] == pytest.approx(
            [event.onset for event in one.events], abs=1e-3
        )
    times = runs.times(mine)
    go(
        worker, archive, mine, formats=("audacity", "json", "raven", "parquet")
    )  # another order is no other wish
    assert runs.times(mine) == times


def test_all_formats_can_be_written_and_combined(worker, archive, mine):
    outcome, engine = go(worker, archive, mine, formats=formats.names(), combined=True)
    assert engine.units == []
    remark, times = outcome.remarks
    assert remark.startswith(
        "--combined: audacity, jams, textgrid, elan, webvtt, srt holds one recording a file"
    )
    assert times == "the times of 5 of 5 recordings are from their modification time, which copying changes"
    combined = {path.name for path in mine.iterdir() if path.name.startswith("events.")}
    assert len(combined) == sum(not formats.holds_one(kind) for kind in formats.names())
    assert {"events.csv", "events.tsv", "events.json", "events.parquet"} <= combined
    for kind in formats.names():
        tables = [name for name in views(mine) if name.startswith(f"{kind}/")]
        assert len(tables) == 5
    each = [row for path in sorted((mine / "csv").rglob("*.csv")) for row in events_of(rows(path))]
    assert sorted(each) == sorted(events_of(rows(mine / "events.csv")))
    assert len(each) == outcome.events


@pytest.mark.slow
def test_the_least_score_filters_everything_and_back(worker, archive, mine):
    go(worker, archive, mine, combined=True)
    before = views(mine)
    scores = sorted(float(row["score"]) for row in rows(mine / "events.csv") if row["score"])
    least = scores[len(scores) // 2] - 0.0005
    outcome, engine = go(worker, archive, mine, combined=True, min_score=least)
    kept = [score for score in scores if score >= least]
    assert 0 < len(kept) < len(scores)
    assert (engine.units, outcome.events) == ([], len(kept))
    assert sum(summary.events for summary in outcome.summaries) == len(kept)
    assert sum(int(row["events"]) for row in rows(mine / "summary.csv")) == len(kept)
    assert len(events_of(rows(mine / "events.csv"))) == len(kept)
    assert sum(len(events_of(rows(path))) for path in (mine / "csv").rglob("*.csv")) == len(kept)
    go(worker, archive, mine, combined=True)
    assert views(mine) == before


@pytest.fixture
def nights(tmp_path):
    """Two recordings with names of an AudioMoth."""
    for name in ("20241026_235950", "20241027_005950"):
        write(tmp_path / "rec" / f"{name}.WAV", 12.0, 16_000)
    return tmp_path / "rec"


@pytest.mark.parametrize("kind", formats.names())
def test_it_is_known_which_tables_say_when_recordings_were_made(kind):
    events = {"a.wav": [Event(1.0, 2.0, "caw", 0.5)]}
    made = {"start": "2024-04-25T20:23:00", "source": "mtime", "timezone": None, "expansion": 1}
    plain, timed = (formats.to_bytes(events, kind, {"recorded": each}) for each in ({}, {"a.wav": made}))
    assert show_times([kind]) is (plain != timed)


def test_times_that_copying_changes_are_told_where_tables_show_them(worker, nights, tmp_path):
    def remarks(**options):
        return go(worker, nights, tmp_path / "out", queries=("caw",), **options)[0].remarks

    assert remarks() == []
    write(nights / "0.wav", 1.0)
    (nights / "bad.wav").write_text("no sound")
    said = ["the times of 1 of 3 recordings are from their modification time, which copying changes"]
    assert remarks(combined=True) == said
    assert remarks(combined=True) == said  # nothing was heard, and nothing written
    assert remarks(formats=("tsv", "audacity")) == []


@pytest.mark.slow
def test_absolute_times_go_across_the_end_of_summer_time(worker, tmp_path):
    write(tmp_path / "rec" / "20241027_025950.WAV", 30.0, 16_000)  # ten seconds later it is 02:00 again
    out = tmp_path / "out"
    go(worker, tmp_path / "rec", out, times=Times(None, "Europe/Berlin"), combined=True)
    table = rows(out / "csv" / "20241027_025950.WAV.csv")
    assert rows(out / "events.csv") == table
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    start = dt.datetime(2024, 10, 27, 2, 59, 50, tzinfo=berlin).timestamp()
    for row in table:
        moment = dt.datetime.fromtimestamp(start + float(row["onset"]), berlin)
        assert row["time"] == moment.isoformat(timespec="milliseconds")
    hours = [(float(row["onset"]) < 10, row["time"][10:14], row["time"][-6:]) for row in table]
    assert set(hours) == {(True, "T02:", "+02:00"), (False, "T02:", "+01:00")}
    assert len(table) == 6


@pytest.mark.slow
def test_other_times_change_tables_without_hearing(worker, nights, tmp_path):
    options = {"options": EventOptions(threshold=0.0), "queries": ("caw",), "combined": True}
    first, out = tmp_path / "first", tmp_path / "out"
    go(worker, nights, first, times=Times("%Y%m%d_%H%M%S", "+02:00"), **options)
    go(worker, nights, out, times=Times(None, None), **options)
    before, stamps = views(out), runs.times(out)
    _, engine = go(worker, nights, out, times=Times("%Y%m%d_%H%M%S", "+02:00"), **options)
    assert engine.units == []
    assert views(out) == views(first)
    assert views(out)["events.csv"] != before["events.csv"]
    assert "2024-10-26T23:59:50.000+02:00" in (out / "events.csv").read_text()
    _, engine = go(worker, nights, out, **options)
    assert (engine.units, views(out)) == ([], before)
    assert stamps.keys() == views(out).keys()


@pytest.mark.parametrize("zone", [None, "Europe/Berlin", "+05:30", "UTC"])
def test_a_time_comes_back_from_the_journal_as_it_was(nights, zone):
    for path in sorted(nights.iterdir()):
        moment = recorded(path, "%Y%m%d_%H%M%S", zone)
        again = time_of(plain_time(moment))
        assert again == moment
        for seconds in (0.0, 11.5, 7200.25):
            assert again.at(seconds) == moment.at(seconds)
            assert again.at(seconds).utcoffset() == moment.at(seconds).utcoffset()
    assert (plain_time(None), time_of(None)) == (None, None)


@pytest.mark.slow
def test_a_combined_table_knows_recordings_that_are_added(worker, nights, tmp_path):
    options = {"options": EventOptions(threshold=0.0), "queries": ("caw",), "combined": True}
    go(worker, nights, tmp_path / "out", **options)
    write(nights / "0.wav", 1.0)
    os.utime(nights / "0.wav", (1.7e9, 1.7e9))
    _, engine = go(worker, nights, tmp_path / "out", **options)
    names = [row["filename"] for row in rows(tmp_path / "out" / "events.csv")]
    assert (engine.heard, names) == (["0.wav"], ["0.wav", "20241026_235950.WAV", "20241027_005950.WAV"])
    go(worker, nights, tmp_path / "fresh", **options)
    assert views(tmp_path / "fresh") == views(tmp_path / "out")
