"""Runs of benchmarks: how they go on after a stop, and what is refused."""

import json
import runpy
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import peaframe
from peaframe.errors import AudioError, FormatError, OptionError
from peaframe.eval import ScoreTable, read_table, write_table
from peaframe.eval.benchmarks import Benchmark, Recordings, find
from peaframe.eval.run import run_benchmark
from peaframe.events import Event

Refusal = Callable[..., str]
Run = Callable[..., dict[str, Any]]
corpora = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "corpora.py")))
sound = corpora.sound
runs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "runs.py")))
times, metrics_of = runs.times, runs.metrics_of


def but_seconds(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "seconds"}


# Going on


def test_a_second_run_hears_nothing_again_and_says_the_same(run: Run, mine: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = run("folder", mine, output, resamples=30)
    before, report = times(output), (output / "report.html").read_text(encoding="utf-8")
    second = run("folder", mine, output, resamples=30)

    assert times(output) == before
    assert but_seconds(second) == but_seconds(first)
    assert (output / "report.html").read_text(encoding="utf-8").count("<svg") == report.count("<svg")


def test_what_is_missing_or_half_written_or_too_old_is_heard_again(
    run: Run, mine: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    first = run("folder", mine, output)
    scores = output / "scores"
    (scores / "one.tsv").unlink()
    (scores / "deep/.0f3a9b11c2de.tsv").write_bytes(
        b"onset\toffs"
    )  # what a kill leaves of a file not yet whole
    sound(mine / "two.wav", 2.5)  # made anew, and longer now
    before = times(output)
    second = run("folder", mine, output)

    after = times(output)
    assert sorted(after) == ["-three.tsv", "deep/two.tsv", "one.tsv", "two.tsv"]
    assert [name for name in after if after[name] == before.get(name)] == ["-three.tsv", "deep/two.tsv"]
    assert read_table(scores / "two.tsv").edges[-1] == pytest.approx(2.5)
    assert second["hours"] == pytest.approx(first["hours"] + 1 / 3600)


def test_a_recording_that_cannot_be_read_stops_the_run_where_it_is(
    run: Run, mine: Path, tmp_path: Path, refusal: Refusal
) -> None:
    output = tmp_path / "out"
    broken = mine / "one.wav"
    content = bytearray(broken.read_bytes())
    content[40:44] = struct.pack("<I", 4 * len(content))  # promises more than there is
    content[4:8] = struct.pack("<I", 4 * len(content) + 36)
    broken.write_bytes(content)

    message = refusal(AudioError, run, "folder", mine, output)

    assert "one.wav: is cut short or damaged" in message
    assert "recording 'one'; take it out of the folder and use --allow-missing" in message
    assert sorted(times(output)) == ["-three.tsv", "deep/two.tsv"]
    assert not (output / "metrics.json").exists()
    before = times(output)
    broken.unlink()
    assert "1 of 4 recordings of folder are missing, first 'one'" in refusal(
        OptionError, run, "folder", mine, output
    )
    # Its label has gone with it, so that the tables that are there have a column too many.
    assert "which differs in queries;" in refusal(
        OptionError, run, "folder", mine, output, allow_missing=True
    )
    sound(broken, 1.0)
    document = run("folder", mine, output)
    assert (document["recordings"], document["complete"]) == (4, True)
    assert {name: times(output)[name] for name in before} == before


def test_a_run_that_replaces_another_and_stops_leaves_no_mixture(
    run: Run, mine: Path, tmp_path: Path, refusal: Refusal
) -> None:
    output = tmp_path / "out"
    run("folder", mine, output)
    (output / "scores/a note.txt").write_text("keep me")
    table = mine / "ground_truth.tsv"
    table.write_text(table.read_text(encoding="utf-8").replace("beep", "buzz"), encoding="utf-8")
    whole = (mine / "two.wav").read_bytes()
    (mine / "two.wav").write_bytes(whole[:3000])  # the last one to be heard

    assert "which differs in queries;" in refusal(OptionError, run, "folder", mine, output)
    assert read_table(output / "scores/one.tsv").labels == ("beep", "rain")
    refusal(AudioError, run, "folder", mine, output, overwrite=True)
    assert sorted(times(output)) == ["-three.tsv", "a note.txt", "deep/two.tsv", "one.tsv"]
    (mine / "two.wav").write_bytes(whole)
    assert list(run("folder", mine, output)["per_label"]) == ["buzz", "rain"]
    assert {read_table(path).labels for path in (output / "scores").rglob("*.tsv")} == {("buzz", "rain")}


def test_other_models_labels_data_and_windows_are_refused(
    run: Run, detector: peaframe.Detector, mine: Path, tmp_path: Path, refusal: Refusal
) -> None:
    output = tmp_path / "out"
    run("folder", mine, output)
    before = times(output)
    other = peaframe.load(other_weights(tmp_path / "other"), device="cpu")

    def refused(benchmark: Benchmark, data: Path, by: peaframe.Detector) -> str:
        return refusal(OptionError, run_benchmark, benchmark, data, by, output)

    benchmark = find("folder")
    assert "another run, which differs in model, fingerprint; name another folder, or --overwrite" in refused(
        benchmark, mine, other
    )
    other.model.name = detector.model.name
    assert "which differs in fingerprint;" in refused(benchmark, mine, other)
    assert "which differs in benchmark;" in refused(find("asfx-sed"), mine, detector)
    assert "which differs in queries;" in refused(
        replace(benchmark, prompts=lambda label: (label, "a sound")), mine, detector
    )
    shutil.copytree(mine, tmp_path / "copy")
    assert "which differs in data;" in refused(benchmark, tmp_path / "copy", detector)
    narrow = peaframe.Detector(detector.model, "cpu", window_frames=100, overlap_frames=20)
    assert "which differs in windows;" in refused(benchmark, mine, narrow)
    assert times(output) == before

    document = run_benchmark(benchmark, mine, other, output, overwrite=True, resamples=0)
    assert all(times(output)[name] > before[name] for name in before)
    assert json.loads((output / "run.json").read_text())["fingerprint"] == other.model.fingerprint()
    assert document["metrics"] == metrics_of(output)["metrics"]


def other_weights(folder: Path) -> Path:
    """The built-in model with one number changed."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(Path(peaframe.__file__).parent / "models/mini", folder)
    weights = load_file(folder / "model.safetensors")
    name = sorted(weights)[0]
    changed = weights[name].copy()
    changed.flat[0] += 1
    save_file({**weights, name: changed}, folder / "model.safetensors")
    return folder


# What is refused


def lone(data: Path, name: str, truth: list[Event] | None = None) -> Benchmark:
    """A benchmark of one recording that is called as one wants."""
    audio = sound(data / "x.wav", 1.0)
    events = [Event(0, 0.5, "beep")] if truth is None else truth
    found = Recordings({name: audio}, {name: 1.0}, {name: events}, (), ())
    return replace(find("folder"), load=lambda data: found)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/tmp/x", "a\\..\\x", "a\0b"])
def test_no_recording_writes_outside_the_folder(
    detector: peaframe.Detector, tmp_path: Path, refusal: Refusal, name: str
) -> None:
    data = tmp_path / "data"
    benchmark = lone(data, name)
    before = sorted(tmp_path.rglob("*"))

    message = refusal(OptionError, run_benchmark, benchmark, data, detector, tmp_path / "deep/out")

    assert f"got the recording {name!r}, whose scores would lie outside the folder" in message
    assert sorted(tmp_path.rglob("*")) == before


def test_names_with_dots_that_stay_inside_are_fine(detector: peaframe.Detector, tmp_path: Path) -> None:
    benchmark = lone(tmp_path / "data", "..x/...y.z")
    run_benchmark(benchmark, tmp_path / "data", detector, tmp_path / "out", resamples=0)
    assert list(times(tmp_path / "out")) == ["..x/...y.z.tsv"]


def test_places_that_will_not_do_are_refused(run: Run, mine: Path, tmp_path: Path, refusal: Refusal) -> None:
    assert "mine: is the corpus itself" in refusal(OptionError, run, "folder", mine, mine)
    assert "..: is the corpus itself" in refusal(OptionError, run, "folder", mine, mine / "deep/..")

    (tmp_path / "file").write_text("x")
    assert "file: cannot be used for results" in refusal(FormatError, run, "folder", mine, tmp_path / "file")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/scores").write_text("x")
    assert "odd: cannot be used for results" in refusal(FormatError, run, "folder", mine, tmp_path / "odd")

    theirs = tmp_path / "theirs"
    (theirs / "scores").mkdir(parents=True)
    write_table(theirs / "scores/one.tsv", ScoreTable(np.zeros((1, 1)), ("beep",), np.array([0.0, 1.0])))
    assert "holds scores that no run.json explains" in refusal(OptionError, run, "folder", mine, theirs)
    for content in ("{", '["a"]', "{}"):
        (theirs / "run.json").write_text(content)
        message = refusal((FormatError, OptionError), run, "folder", mine, theirs)
        assert "theirs: " in message
        assert "name another folder" in message
    assert read_table(theirs / "scores/one.tsv").frames == 1


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([0.0, 0.5, 1.0], "not one of our score tables"),
        ([0.0, 0.03, 0.06], "frames are not 40 ms long"),
        (None, "one.tsv:3: got 2 cells, expected 4"),
    ],
)
def test_a_table_that_somebody_changed_is_refused(
    run: Run, mine: Path, tmp_path: Path, refusal: Refusal, frames: list[float] | None, message: str
) -> None:
    output = tmp_path / "out"
    run("folder", mine, output)
    path = output / "scores/one.tsv"
    if frames is None:
        path.write_text("onset\toffset\tbeep\train\n0\t0.04\t0.1\t0.1\n0.04\t0.08\n")
    else:
        values = np.full((2, 2), 0.5)
        write_table(path, ScoreTable(values, ("beep", "rain"), np.array(frames)))
    got = refusal(FormatError, run, "folder", mine, output)
    assert "one.tsv" in got
    assert message in got


def test_a_corpus_in_which_nothing_is_true_is_refused(
    detector: peaframe.Detector, tmp_path: Path, refusal: Refusal
) -> None:
    benchmark = lone(tmp_path / "data", "x", truth=[])
    message = refusal(FormatError, run_benchmark, benchmark, tmp_path / "data", detector, tmp_path / "out")
    assert "got 1 recordings without a true event" in message
    assert not (tmp_path / "out").exists()


def test_a_label_that_no_table_can_hold_is_refused(
    detector: peaframe.Detector, tmp_path: Path, refusal: Refusal
) -> None:
    benchmark = lone(tmp_path / "data", "x", truth=[Event(0, 1, "onset")])
    message = refusal(FormatError, run_benchmark, benchmark, tmp_path / "data", detector, tmp_path / "out")
    assert "x.tsv: a score table cannot have a column 'onset'; rename the label" in message
    assert times(tmp_path / "out") == {}


def test_tables_hold_the_end_of_very_long_recordings(tmp_path: Path) -> None:
    # Ten hours and one sample: with nine digits the last frame would be gone.
    edges = np.array([35999.96, 36000.0, 36000 + 1 / 48_000])
    write_table(tmp_path / "a.tsv", ScoreTable(np.zeros((2, 1)), ("dog",), edges))
    assert read_table(tmp_path / "a.tsv").edges == pytest.approx(edges, abs=1e-7)
