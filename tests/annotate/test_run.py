"""Runs in this process: what is heard, what is left alone, what fails and why."""

import json
import os
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from peaframe.annotate import estimate
from peaframe.annotate.planning import Times
from peaframe.errors import FormatError, OptionError
from peaframe.events import EventOptions

runs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "runs.py")))
go, write, views, rows, failed = runs.go, runs.write, runs.views, runs.rows, runs.failed
QUERIES, ALL = runs.QUERIES, runs.ALL


def test_what_is_found_is_what_detect_finds(worker, archive, finished):
    names = ["a.flac", "a.wav", "night 1/b.ogg", "night 1/c.wav", "night 2/deep/d.wav"]
    assert sorted(views(finished)) == sorted(
        [*(f"csv/{name}.csv" for name in names), "report.html", "run.json", "summary.csv"]
    )
    found = 0
    for name in names:
        expected = worker._detector.detect(archive / name, list(QUERIES)).events
        table = [row for row in rows(finished / "csv" / f"{name}.csv") if row["event_label"]]
        assert [(row["onset"], row["offset"], row["event_label"]) for row in table] == [
            (f"{event.onset:.3f}", f"{event.offset:.3f}", event.label) for event in expected
        ]
        np.testing.assert_allclose(
            [float(row["score"]) for row in table], [event.score for event in expected], atol=1e-3
        )
        assert {row["filename"] for row in table} <= {name}
        found += len(expected)
    assert found >= 4
    assert not (finished / "work").exists()


def test_bad_recordings_fail_each_for_its_reason_and_the_good_are_complete(worker, rec, tmp_path):
    good = views(rec)
    (rec / "empty.wav").write_bytes(b"")
    (rec / "text.flac").write_text("This is no sound.\n" * 100)
    (rec / "cut.flac").write_bytes(write(rec / "whole.flac", 4.0).read_bytes()[:60_000])
    (rec / "header.wav").write_bytes(good["a.wav"][:44])
    (rec / "zeros.ogg").write_bytes(bytes(5000))
    os.symlink(rec / "nowhere.wav", rec / "link.wav")
    (rec / "whole.flac").unlink()
    outcome, _ = go(worker, rec, tmp_path / "out")
    assert (outcome.recordings, outcome.failed, outcome.heard_seconds) == (3, 6, 12.0)
    reasons = failed(tmp_path / "out")
    expected = {
        "cut.flac": "cut short",
        "empty.wav": "is empty (0 bytes)",
        "header.wav": "no samples",
        "link.wav": "no such file",
        "text.flac": "holds no sound that can be decoded",
        "zeros.ogg": "cannot be read",
    }
    assert list(reasons) == list(expected)
    assert [name for name, part in expected.items() if part not in reasons[name]] == []
    assert all(str(rec) in reason and "\n" not in reason for reason in reasons.values())
    go(worker, [rec / name for name in good], tmp_path / "alone")
    mine, alone = views(tmp_path / "out"), views(tmp_path / "alone")
    assert [name for name in mine if name.startswith("csv/")] == [f"csv/{name}.csv" for name in good]
    assert all(mine[f"csv/{name}.csv"] == alone[f"csv/{name}.csv"] for name in good)
    assert mine["summary.csv"] == alone["summary.csv"]
    times = runs.times(tmp_path / "out")
    again, engine = go(worker, rec, tmp_path / "out")  # they are as bad as before
    assert (again.failed, engine.units) == (6, [])
    assert set(views(tmp_path / "out")) == set(mine)
    assert views(tmp_path / "out") == mine
    assert {name for name, when in runs.times(tmp_path / "out").items() if times[name] != when} <= {
        *("failed.csv", "summary.csv", "report.html")
    }


@pytest.mark.slow
def test_names_of_all_kinds(worker, tmp_path):
    rec, out = tmp_path / "rec", tmp_path / "out"
    deep = "/".join(["deep"] * 60)
    good = ["ä ü/日本 🐦.wav", "a,b;'\"%s{}.wav", "same.flac", "same.wav", " lead.wav", f"{deep}/x.wav"]
    good += ["x" * 251 + ".wav", "é" * 125 + "y.wav"]
    for name in good:
        write(rec / name, 0.5)
    write(rec / "line\nbreak.wav", 0.5)
    shutil.copy(rec / "same.wav", os.fsencode(rec) + b"/bad\xff.wav")
    options = {"formats": ("csv", "raven"), "combined": True, "options": ALL, "keep_scores": True}
    outcome, _ = go(worker, rec, out, **options)
    assert (outcome.recordings, outcome.failed) == (len(good), 2)
    reasons = failed(out)
    assert reasons["line\nbreak.wav"].endswith("has '\\n' in its name, which tables cannot hold; rename it")
    assert reasons["bad\\udcff.wav"] == "'bad\\udcff.wav': its name is not valid Unicode; rename it"
    assert {row["filename"] for row in rows(out / "events.csv")} == set(good)
    for name in good[:6]:
        assert rows(out / "csv" / f"{name}.csv")[0]["filename"] == name
    long = sorted((path for path in (out / "csv").iterdir() if "~" in path.name), key=lambda path: path.name)
    assert [len(os.fsencode(path.name)) for path in long] == [255, 255]
    assert {rows(path)[0]["filename"] for path in long} == set(good[-2:])
    assert len(list((out / "scores").rglob("*.npz"))) == len(good)
    times = runs.times(out)
    assert go(worker, rec, out, **options)[1].units == []
    assert runs.times(out) == times
    go(worker, rec, out, queries=("caw",), overwrite=True)  # finds them all again, to remove them
    assert [name for name in views(out) if "raven" in name or name.startswith("scores")] == []


def test_a_folder_whose_name_is_no_unicode_fails_its_recordings(worker, rec, tmp_path):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff")
    shutil.copytree(rec, odd)
    outcome, _ = go(worker, odd, tmp_path / "out")
    assert (outcome.recordings, outcome.failed) == (0, 3)
    assert failed(tmp_path / "out")["a.wav"] == (
        "'a.wav': a folder it lies in has a name that is not valid Unicode; rename it"
    )
    assert go(worker, odd, tmp_path / "out")[0].failed == 3


def test_the_output_may_lie_inside_the_input(worker, rec):
    outcome, _ = go(worker, rec, rec / "out", keep_scores=True)
    write(rec / "out" / "csv" / "clip.wav", 1.0)
    again, engine = go(worker, rec, rec / "out", keep_scores=True)
    assert (outcome.recordings, again.recordings, engine.units) == (3, 3, [])


def test_options_differ_by_query(worker, rec, tmp_path):
    options = {"dog barking": ALL, "caw": EventOptions(threshold=1.0)}
    outcome, _ = go(worker, rec, tmp_path / "out", options=options)
    assert [(one.query, one.events, one.active) for one in outcome.summaries] == [
        ("dog barking", 3, 12.0),
        ("caw", 0, 0.0),
    ]
    stored = json.loads((tmp_path / "out" / "run.json").read_text())
    assert stored["options"]["caw"]["threshold"] == 1.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"queries": ()}, "got no query"),
        ({"queries": (" ",)}, "got no query"),
        ({"min_score": 1.5}, "--min-score: got 1.5, expected a probability from 0 to 1"),
        ({"clips": -1}, "--clips: got -1"),
        ({"resume": True, "overwrite": True}, "got --resume and --overwrite; give one of them"),
        ({"formats": ("docx",)}, "docx"),
        (
            {"times": Times(timezone="Mars")},
            "time zone 'Mars' is not known; give a name such as 'Europe/Berlin'",
        ),
        ({"times": Times(timezone="+25:00")}, "time zone '+25:00' is not known"),
        ({"times": Times("%d%q")}, "time format '%d%q' has the unknown %q; use of %Y"),
        ({"times": Times("%H%M")}, "time format '%H%M' does not give year, month, day and hour"),
        ({"options": {"caw": ALL}}, "no event options for 'dog barking'"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(worker, rec, tmp_path, refusal, options, said):
    kind = FormatError if "formats" in options else OptionError
    assert said in refusal(kind, go, worker, rec, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_leaves_nothing_behind(worker, rec, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "TRIAL_SECONDS", 0.5)
    before = set(os.listdir(tmp_path))
    outcome, engine = go(worker, rec, tmp_path / "out", dry_run=True, keep_scores=True)
    assert set(os.listdir(tmp_path)) == before
    assert len(engine.units) == 1
    found = outcome.estimate
    assert found.rate > 1
    assert found.seconds == pytest.approx(12.0 / found.rate, rel=1e-6)
    assert (found.disk, found.disk_meanwhile) == (4 * 25 * 2 * 12, 2 * 4 * 25 * 2 * 5)
    go(worker, rec, tmp_path / "out")
    views_before, times = views(tmp_path / "out"), runs.times(tmp_path / "out")
    write(rec / "d.wav", 1.0)
    again, engine = go(worker, rec, tmp_path / "out", dry_run=True)
    assert [unit.pieces[0].path for unit in engine.units] == [str(rec / "d.wav")]
    assert (views(tmp_path / "out"), runs.times(tmp_path / "out")) == (views_before, times)
    assert not (tmp_path / "out" / "work").exists()
    assert again.estimate.disk == 0
