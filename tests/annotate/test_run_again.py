"""Runs in a folder that holds one: what is done stays, what changed is heard, what would mix is refused."""

import os
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from peaframe.annotate import units
from peaframe.annotate.journal import Journal
from peaframe.errors import OptionError
from peaframe.queries import QueryFile, QueryVector

runs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "runs.py")))
go, write, views, failed, ALL = runs.go, runs.write, runs.views, runs.failed, runs.ALL


def test_the_same_command_again_does_nothing(worker, archive, finished):
    bytes_before, times_before = views(finished), runs.times(finished)
    outcome, engine = go(worker, archive, finished)
    assert (engine.units, outcome.heard_seconds) == ([], 0.0)
    assert (outcome.recordings, outcome.failed, round(outcome.seconds, 2)) == (5, 0, 33.12)
    assert outcome.events == sum(summary.events for summary in outcome.summaries)
    assert (views(finished), runs.times(finished)) == (bytes_before, times_before)


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


@pytest.mark.parametrize("there", [False, True])
def test_what_the_model_refuses_leaves_everything_as_it_was(worker, rec, tmp_path, refusal, there):
    out = tmp_path / "deep" / "out"
    if there:
        go(worker, rec, out)
    before = views(out) if there else sorted(os.listdir(tmp_path))
    facts = worker.facts()
    vector = QueryVector("mine", np.ones(facts.dim, np.float32))
    foreign = QueryFile("another", "0" * 16, (vector,))
    message = refusal(OptionError, go, worker, rec, out, queries=("mine",), vectors=foreign, overwrite=there)
    assert message.startswith("these query vectors were tuned for 'another'")
    assert (views(out) if there else sorted(os.listdir(tmp_path))) == before
    if there:
        refusal(OptionError, go, worker, rec, out, queries=("caw",))
        assert not (out / "work").exists()
        _, engine = go(worker, rec, out)
        assert engine.units == []


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
    assert not (finished / "work").exists()


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
