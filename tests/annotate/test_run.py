"""Runs in this process: what is heard, what is left alone, what fails and why."""

import json
import os
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from peaframe import Scores
from peaframe.annotate import estimate, units
from peaframe.annotate.journal import Journal
from peaframe.calibration import Calibration, Platt, QueryFit
from peaframe.errors import FormatError, OptionError
from peaframe.events import EventOptions

runs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "runs.py")))
go, write, views, rows, failed, QUERIES = (
    runs.go,
    runs.write,
    runs.views,
    runs.rows,
    runs.failed,
    runs.QUERIES,
)
ALL = EventOptions(threshold=0.0, median=0)


@pytest.fixture
def rec(tmp_path):
    """Three recordings that may be spoilt."""
    for i, name in enumerate(("a.wav", "b.wav", "c.wav")):
        write(tmp_path / "rec" / name, 3.0 + i, begin=3.0 * i)
    return tmp_path / "rec"


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


@pytest.mark.slow
def test_scores_that_are_kept_are_those_of_detect(worker, archive, tmp_path):
    go(worker, archive, tmp_path / "out", keep_scores=True)
    for name in ("a.wav", "night 1/c.wav", "night 2/deep/d.wav"):
        kept = Scores.load(tmp_path / "out" / "scores" / f"{name}.npz")
        own = worker._detector.score(archive / name, list(QUERIES))
        assert (kept.labels, kept.duration, kept.values.shape) == (QUERIES, own.duration, own.values.shape)
        np.testing.assert_allclose(kept.values, own.values, atol=1e-5)


def test_the_same_command_again_does_nothing(worker, archive, finished):
    bytes_before, times_before = views(finished), runs.times(finished)
    outcome, engine = go(worker, archive, finished)
    assert (engine.units, outcome.heard_seconds) == ([], 0.0)
    assert (outcome.recordings, outcome.failed, round(outcome.seconds, 2)) == (5, 0, 33.12)
    assert outcome.events == sum(summary.events for summary in outcome.summaries)
    assert (views(finished), runs.times(finished)) == (bytes_before, times_before)


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
    assert (outcome.recordings, outcome.failed) == (3, 6)
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


@pytest.mark.parametrize("change", ["vanishes", "grows", "is replaced"])
def test_a_recording_that_changes_before_it_is_heard_waits_for_the_next_run(worker, rec, tmp_path, change):
    original = (rec / "b.wav").read_bytes()
    other = write(tmp_path / "other.wav", 4.0, begin=15.0)

    def spoil(unit):
        if change == "vanishes":
            (rec / "b.wav").unlink()
        elif change == "grows":
            with (rec / "b.wav").open("ab") as file:
                file.write(bytes(100))
        else:
            os.replace(other, rec / "b.wav")

    outcome, _ = go(worker, rec, tmp_path / "out", before=spoil)
    assert (outcome.recordings, outcome.failed) == (2, 1)
    (reason,) = failed(tmp_path / "out").values()
    said = (
        "vanished while the run was at work" if change == "vanishes" else "changed while the run was at work"
    )
    assert said in reason
    (rec / "b.wav").write_bytes(original)
    again, engine = go(worker, rec, tmp_path / "out")
    assert (again.recordings, again.failed, engine.heard) == (3, 0, ["b.wav"])
    fresh, _ = go(worker, rec, tmp_path / "fresh")
    assert fresh.events == again.events
    assert views(tmp_path / "out") == views(tmp_path / "fresh")


@pytest.mark.slow
def test_what_was_done_stays_what_is_new_is_added_what_changed_is_heard_anew(worker, rec, tmp_path):
    go(worker, rec, tmp_path / "out")
    before = views(tmp_path / "out")
    (rec / "a.wav").unlink()
    write(rec / "sub" / "d.wav", 2.0)
    write(rec / "c.wav", 6.0, begin=20.0)
    outcome, engine = go(worker, rec, tmp_path / "out")
    assert engine.heard == ["c.wav", "d.wav"]
    assert (outcome.recordings, outcome.gone, outcome.failed) == (4, 1, 0)
    assert outcome.remarks[0] == "1 recordings annotated before are no longer there; their results stay"
    after = views(tmp_path / "out")
    same = [name for name in before if name.startswith("csv/") and after[name] == before[name]]
    assert same == ["csv/a.wav.csv", "csv/b.wav.csv"]
    (tmp_path / "two" / "rec").mkdir(parents=True)
    for name in ("b.wav", "c.wav", "sub/d.wav"):
        write(tmp_path / "two" / name, 0.1)
        shutil.copy2(rec / name, tmp_path / "two" / name)
    shutil.rmtree(tmp_path / "two" / "rec")
    go(worker, tmp_path / "two", tmp_path / "fresh")
    assert views(tmp_path / "fresh")["csv/c.wav.csv"] == after["csv/c.wav.csv"]


def test_a_good_recording_that_becomes_bad_leaves_no_old_table(worker, rec, tmp_path):
    go(worker, rec, tmp_path / "out", keep_scores=True, keep_embeddings=True)
    (rec / "b.wav").write_text("no sound at all")
    outcome, _ = go(worker, rec, tmp_path / "out", keep_scores=True, keep_embeddings=True)
    assert (outcome.recordings, outcome.failed) == (2, 1)
    assert [name for name in views(tmp_path / "out") if "b.wav" in name] == []
    assert "cannot be read" in failed(tmp_path / "out")["b.wav"]


def test_a_recording_that_was_to_be_heard_and_is_gone_ends_the_run_all_the_same(
    worker, rec, tmp_path, monkeypatch
):
    monkeypatch.setattr(units, "UNIT_WINDOWS", 1)  # a unit for each
    for name in ("a.wav", "b.wav", "c.wav"):
        write(rec / name, 8.0)
    with pytest.raises(runs.StopError):
        go(worker, rec, tmp_path / "out", after=runs.stopper(1))
    (rec / "b.wav").rename(tmp_path / "b.wav")
    outcome, engine = go(worker, rec, tmp_path / "out")
    assert engine.heard == ["c.wav"]
    assert failed(tmp_path / "out") == {"b.wav": "vanished before it was heard"}
    (tmp_path / "b.wav").rename(rec / "b.wav")
    outcome, engine = go(worker, rec, tmp_path / "out")
    assert (engine.heard, outcome.failed, outcome.recordings) == (["b.wav"], 0, 3)
    assert not (tmp_path / "out" / "failed.csv").exists()


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


def test_a_folder_with_other_things_is_refused_and_left_alone(worker, rec, tmp_path, refusal):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("ten years")
    message = refusal(OptionError, go, worker, rec, tmp_path / "out")
    assert message.startswith(f"--output {tmp_path / 'out'}: holds 'thesis.txt' and no run of peaframe")
    assert os.listdir(tmp_path / "out") == ["thesis.txt"]
    message = refusal(OptionError, go, worker, rec, tmp_path / "out" / "thesis.txt")
    assert message.endswith("thesis.txt: is a file; give a folder")
    message = refusal(OptionError, go, worker, rec, tmp_path / "new", resume=True)
    assert message == f"--resume: there is no run in {tmp_path / 'new'}; leave --resume out to begin one"
    assert not (tmp_path / "new").exists()


def test_a_second_run_in_the_folder_is_refused_and_harms_nothing(worker, rec, tmp_path, refusal):
    out, said = tmp_path / "out", []

    def second(unit):
        half = out / "work" / "new" / "half-written"
        half.write_text("by the first")
        said.append(refusal(OptionError, go, worker, rec, out))
        said.append(half.read_text())
        half.unlink()

    outcome, _ = go(worker, rec, out, before=second)
    assert said[0] == f"{out}: another run is at work in this folder; wait for it, or give another --output"
    assert (said[1], outcome.recordings) == ("by the first", 3)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"queries": ("caw",)}, 'queries ["caw"], there ["dog barking", "caw"]'),
        ({"options": ALL}, "options {"),
        ({"keep_scores": True}, "scores true, there false"),
    ],
)
def test_other_settings_need_overwrite(worker, archive, finished, refusal, changed, said):
    before, times = views(finished), runs.times(finished)
    message = refusal(OptionError, go, worker, archive, finished, **changed)
    assert message.startswith(f"--output {finished}: holds a run with other settings ({said}")
    assert message.endswith("give --overwrite, or another --output")
    refusal(OptionError, go, worker, archive, finished, **changed, resume=True)
    assert (views(finished), runs.times(finished)) == (before, times)
    assert not list((finished / "work" / "new").glob("*")) if (finished / "work").exists() else True


def test_overwrite_begins_anew_and_removes_what_was_there(worker, rec, tmp_path):
    out = tmp_path / "out"
    go(worker, rec, out, formats=("csv", "raven"), combined=True, keep_scores=True)
    (rec / "a.wav").unlink()
    outcome, engine = go(worker, rec, out, queries=("caw",), overwrite=True)
    assert (engine.heard, outcome.recordings, outcome.gone) == (["b.wav", "c.wav"], 2, 0)
    go(worker, rec, tmp_path / "fresh", queries=("caw",))
    assert views(out) == views(tmp_path / "fresh")
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["csv"]
    _, engine = go(worker, rec, out, queries=("caw",), overwrite=True)  # the same, once more
    assert engine.heard == ["b.wav", "c.wav"]


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.slow
def test_kept_embeddings_are_asked_without_any_audio(worker, rec, tmp_path, monkeypatch, long):
    if long:
        monkeypatch.setattr(units, "UNIT_WINDOWS", 1)
        write(rec / "a.wav", 35.0)
    out, kept = tmp_path / "out", {"keep_embeddings": True}
    go(worker, rec, out, **kept)
    go(worker, rec, tmp_path / "fresh", queries=("caw", "rain"), **kept)
    opened = []
    monkeypatch.setattr(worker, "_blocks", lambda *piece: opened.append(piece))
    with pytest.raises(OptionError, match=", which hears nothing again: its embeddings are kept, or another"):
        go(worker, rec, out, queries=("caw", "rain"), **kept)
    (rec / "c.wav").unlink()  # nobody needs it any more
    outcome, engine = go(worker, rec, out, queries=("caw", "rain"), overwrite=True, **kept)
    assert (opened, engine.heard, outcome.recordings) == ([], ["a.wav", "b.wav", "c.wav"], 3)
    assert all(piece.embeddings is not None for unit in engine.units for piece in unit.pieces)
    mine, fresh = views(out), views(tmp_path / "fresh")
    assert {name: mine[name] for name in mine if name != "report.html"} == {
        name: fresh[name] for name in fresh if name != "report.html"
    }


def test_embeddings_that_are_lost_are_made_again(worker, rec, tmp_path):
    out, kept = tmp_path / "out", {"keep_embeddings": True}
    go(worker, rec, out, **kept)
    before = (out / "embeddings" / "a.wav.npz").read_bytes()
    (out / "embeddings" / "a.wav.npz").unlink()
    (out / "embeddings" / "b.wav.npz").write_bytes(b"spoilt")
    outcome, _ = go(worker, rec, out, queries=("caw",), overwrite=True, **kept)
    assert (outcome.recordings, list(failed(out))) == (2, ["b.wav"])
    assert "its embeddings cannot be used" in failed(out)["b.wav"]
    assert (out / "embeddings" / "a.wav.npz").read_bytes() == before
    outcome, engine = go(worker, rec, out, queries=("caw",), **kept)
    assert (outcome.recordings, outcome.failed, engine.heard) == (3, 0, ["b.wav"])


def test_embeddings_are_asked_though_they_are_to_be_kept_no_longer(worker, rec, tmp_path):
    go(worker, rec, tmp_path / "out", keep_embeddings=True)
    outcome, _ = go(worker, rec, tmp_path / "out", queries=("caw",), overwrite=True)
    fresh, _ = go(worker, rec, tmp_path / "fresh", queries=("caw",), keep_embeddings=True)
    assert [summary.events for summary in outcome.summaries] == [
        summary.events for summary in fresh.summaries
    ]
    assert views(tmp_path / "out")["csv/b.wav.csv"] == views(tmp_path / "fresh")["csv/b.wav.csv"]


def test_a_calibration_changes_scores_and_is_a_setting(worker, rec, tmp_path, refusal):
    facts = worker.facts()
    fit = QueryFit(Platt(0.5, -1.0), 0.3, ALL, 10)
    calibration = Calibration(facts.model, {"dog barking": fit, "caw": fit}, facts.fingerprint)
    go(worker, rec, tmp_path / "out", calibration=calibration, keep_scores=True)
    kept = Scores.load(tmp_path / "out" / "scores" / "a.wav.npz").values
    plain = worker._detector.score(rec / "a.wav", list(QUERIES))
    np.testing.assert_allclose(kept, calibration.apply(plain).values, atol=1e-5)
    assert np.abs(kept[:, 0] - plain.values[:, 0]).max() > 0.05
    message = refusal(OptionError, go, worker, rec, tmp_path / "out", keep_scores=True)
    assert "calibration null, there" in message


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
        ({"options": {"caw": ALL}}, "no event options for 'dog barking'"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(worker, rec, tmp_path, refusal, options, said):
    kind = FormatError if "formats" in options else OptionError
    assert said in refusal(kind, go, worker, rec, tmp_path / "out", **options)
    assert views(tmp_path / "out") == {} if (tmp_path / "out").exists() else True


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


def test_a_done_recording_that_cannot_be_looked_at_keeps_its_results(worker, rec, tmp_path):
    go(worker, rec, tmp_path / "out")
    before = views(tmp_path / "out")
    (rec / "b.wav").rename(tmp_path / "b.wav")
    os.symlink("/nowhere/at/all.wav", rec / "b.wav")
    outcome, engine = go(worker, rec, tmp_path / "out")
    assert (outcome.recordings, outcome.failed, engine.units) == (3, 0, [])
    assert views(tmp_path / "out") == before


@pytest.mark.slow
def test_a_moved_archive_is_not_heard_again_but_tables_with_paths_are_written_anew(worker, rec, tmp_path):
    out = tmp_path / "out"
    go(worker, rec, out, formats=("csv", "raven"), options=ALL)
    before = views(out)
    rec.rename(tmp_path / "moved")
    outcome, engine = go(worker, tmp_path / "moved", out, formats=("csv", "raven"), options=ALL)
    assert (engine.units, outcome.recordings, outcome.gone) == ([], 3, 0)
    after = views(out)
    assert all(before[f"csv/{name}.wav.csv"] == after[f"csv/{name}.wav.csv"] for name in "abc")
    raven = [name for name in after if name.startswith("raven/")]
    assert len(raven) == 3
    assert all(str(tmp_path / "moved").encode() in after[name] for name in raven)
    with Journal(out / "journal.sqlite") as journal:
        assert [file.path for file in journal.files()] == [
            str(tmp_path / "moved" / f"{n}.wav") for n in "abc"
        ]
