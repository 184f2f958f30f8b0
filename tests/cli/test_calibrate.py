"""`peaframe calibrate` and `peaframe detect --calibration`, seen from outside."""

import json
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import peaframe
from peaframe import Scores, formats
from peaframe.calibration import Calibration, Platt, QueryFit
from peaframe.events import EventOptions, events_from_scores

evaluating = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "evaluating.py")))
HEADER, beeps, one_line = evaluating.HEADER, evaluating.beeps, evaluating.one_line


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Four recordings with six beeps and one hum among them, and their truth."""
    folder = tmp_path_factory.mktemp("calibrate")
    data = folder / "my recordings"
    data.mkdir()
    lines = [HEADER]
    for number, onsets in enumerate([(0.5, 2.0), (1.0, 3.0), (0.2, 2.6), ()]):
        beeps(data / f"take {number}.wav", onsets, seed=number)
        lines += [f"take {number}.wav\t{onset}\t{onset + 0.5}\tbeep\n" for onset in onsets]
    lines += ["take 1.wav\t0.0\t0.5\ta low hum\n", "take 3.wav\t\t\t\n"]
    (folder / "truth.tsv").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def fitted(made, tmp_path_factory):
    """The calibration of these recordings, as the command makes it in this process."""
    from peaframe.cli.main import main

    output = tmp_path_factory.mktemp("fitted") / "cal.json"
    command = [
        "calibrate",
        "--data",
        made / "my recordings",
        "--truth",
        made / "truth.tsv",
        "--output",
        output,
    ]
    assert main([str(word) for word in command]) == 0
    return output


def arguments(folder, output):
    data, truth = folder / "my recordings", folder / "truth.tsv"
    return ["calibrate", "--data", data, "--truth", truth, "--output", output]


# Fitting


@pytest.mark.slow
@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_calibration_is_written_and_what_it_brought_is_said(shell, made, tmp_path, method):
    output = tmp_path / "cal.json"
    ran = shell(*arguments(made, output), "--method", method)
    assert ran.code == 0, ran.err
    header, hum, beep = (line.split("  ") for line in ran.out.splitlines())
    assert " ".join(" ".join(header).split()) == "query events active threshold F1 before F1 after"
    assert (hum[0], beep[0]) == ("a low hum", "beep")
    assert ran.out.splitlines()[2].split()[1] == "6"
    summary, gain, few = ran.err.splitlines()
    assert summary.startswith("peaframe-mini on c")
    assert f": {method} curves and event settings for 2 queries in {output}, after " in summary
    assert gain.startswith("on the 4 recordings it was fitted on: frame cross-entropy ")
    assert gain.endswith("; expect less on others")
    before, after = gain.split("cross-entropy ")[1].split(",")[0].split(" -> ")
    assert float(after) < float(before)
    worse, better = gain.split("mean event F1 ")[1].split(";")[0].split(" -> ")
    assert float(better) >= float(worse)
    assert few == "fewer than 5 events, so fitted together with all others: 'a low hum'"
    calibration = Calibration.load(output)
    assert calibration.model == "peaframe-mini"
    assert {query: (fit.true_events, fit.shared) for query, fit in calibration.queries.items()} == {
        "a low hum": (1, True),
        "beep": (6, False),
    }
    assert calibration.queries["beep"].prior == pytest.approx(6 * 0.5 / 16, abs=0.01)
    assert isinstance(calibration.queries["beep"].curve, Platt) == (method == "platt")
    assert [file.name for file in tmp_path.iterdir()] == ["cal.json"]


@pytest.mark.slow
def test_the_same_recordings_give_the_same_file(run, made, fitted, tmp_path):
    assert run(*arguments(made, tmp_path / "again.json")).code == 0
    assert (tmp_path / "again.json").read_bytes() == fitted.read_bytes()


# Using it


@pytest.mark.slow
def test_detect_uses_scores_and_options_of_known_queries(run, made, fitted, tmp_path):
    recording, kept = made / "my recordings" / "take 0.wav", tmp_path / "s.npz"
    ran = run("detect", recording, "beep", "rain", "--calibration", fitted, "--scores", kept, "--json")
    assert ran.code == 0, ran.err
    calibration = Calibration.load(fitted)
    raw = peaframe.load(device="cpu").score(recording, ["beep", "rain"])
    scores = Scores.load(kept)
    assert np.allclose(scores["beep"], calibration.queries["beep"].curve(raw["beep"]), atol=1e-5)
    assert np.allclose(scores["rain"], raw["rain"], atol=1e-5)
    meta = json.loads(ran.out)["meta"]
    assert meta["calibrated"] == ["beep"]
    assert meta["options"]["beep"]["threshold"] == calibration.queries["beep"].events.threshold
    base = peaframe.load_model("peaframe-mini").event_options
    assert meta["options"]["rain"]["threshold"] == base.threshold
    (found,) = formats.loads(ran.out, "json").values()
    assert found == events_from_scores(scores, calibration.options(["beep", "rain"], base))
    assert "beep" in {event.label for event in found}
    assert ", 1 of 2 queries calibrated: heard 4.00 s" in ran.err


def test_without_one_nothing_is_calibrated(run, made):
    ran = run("detect", made / "my recordings" / "take 0.wav", "beep", "--json")
    assert json.loads(ran.out)["meta"]["calibrated"] == []
    assert "calibrated" not in ran.err


def test_what_is_given_wins_over_what_was_fitted(run, made, tmp_path):
    output = tmp_path / "cal.json"
    fit = QueryFit(Platt(1.0, 0.0), 0.1, EventOptions(0.4, 0.3, 0.2, 0.5, 0.5), 9)
    Calibration("peaframe-mini", {"beep": fit}).save(output)
    recording = made / "my recordings" / "take 0.wav"
    given = ["--threshold", "0.1", "--median", "0", "--boxes", "0.32", "--json"]
    ran = run("detect", recording, "beep", "--calibration", output, *given)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["meta"]["options"] == {
        "beep": {
            "threshold": 0.1,
            "low": 0.1,
            "median": 0.0,
            "min_duration": 0.5,
            "merge_gap": 0.5,
            "boxes": {"step": 0.32, "merge_absolute": 0.0, "merge_relative": 8.0},
        }
    }
    assert (
        "thresholds beep=0.1, low 0.1, min duration 0.5 s, merge gap 0.5 s, boxes 0.32 s, 1 of 1" in ran.err
    )


def test_boxes_work_without_a_calibration_and_in_a_plot(run, made, tmp_path):
    recording = made / "my recordings" / "take 0.wav"
    base = ("detect", recording, "beep", "--threshold", "0", "--median", "0", "--merge-gap", "0", "--json")
    boxed = json.loads(run(*base, "--boxes", "0.48", "--plot", tmp_path / "p.png").out)
    plain = json.loads(run(*base, "--boxes", "0").out)
    assert boxed["meta"]["options"]["boxes"]["step"] == 0.48
    assert plain["meta"]["options"]["boxes"] is None
    assert [(e["onset"], e["offset"]) for e in plain["files"][0]["events"]] == [(0, 4)]
    assert boxed["files"][0]["events"] != plain["files"][0]["events"]
    assert (tmp_path / "p.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


# What cannot work


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("truth.tsv:",)),
        (HEADER, ("truth.tsv: names no recording",)),
        (HEADER + "take 0.wav\t\t\t\n", ("truth.tsv: holds no event",)),
        (HEADER + "take 0.wav\t2\t1\tbeep\n", ("truth.tsv:2: ", "ends at 1 s, before its onset at 2 s")),
        (HEADER + "take 0.wav\t0\t1\tbeep\ngone.wav\t0\t1\tbeep\n", ("names 1 of 2", "'gone'")),
        (HEADER + "take 0.wav\t0\t1\tbeep\ntext.wav\t0\t1\tbeep\n", ("cannot be read, first 'text'",)),
    ],
)
def test_a_truth_that_does_not_fit_is_one_line(run, made, tmp_path, text, parts):
    shutil.copytree(made / "my recordings", tmp_path / "my recordings")
    (tmp_path / "my recordings" / "text.wav").write_text("This is no sound. " * 100)
    (tmp_path / "truth.tsv").write_text(text, encoding="utf-8")
    one_line(run(*arguments(tmp_path, tmp_path / "cal.json")), *parts)
    assert not (tmp_path / "cal.json").exists()


def test_recordings_are_found_as_eval_finds_them(run, made, fitted, tmp_path):
    shutil.copytree(made / "my recordings", tmp_path / "set" / "audio")
    late = (made / "truth.tsv").read_text(encoding="utf-8") + "take 3.wav\t3.5\t300\ta low hum\n"
    (tmp_path / "truth.tsv").write_text(late.replace(".wav", ".flac"), encoding="utf-8")

    ran = run(
        "calibrate",
        "--data",
        tmp_path / "set",
        "--truth",
        tmp_path / "truth.tsv",
        "--output",
        tmp_path / "cal.json",
    )

    assert ran.code == 0
    assert "truth.tsv: true events cut that reach beyond their clip's end: 1\n" in ran.err
    known = Calibration.load(tmp_path / "cal.json").queries
    assert {query: fit.true_events for query, fit in known.items()} == {"beep": 6, "a low hum": 2}


def test_wrong_names_are_one_line(run, made, tmp_path):
    good = arguments(made, tmp_path / "cal.json")
    one_line(run(*good, "--data", tmp_path / "no"), "no: no such folder")
    one_line(run(*good, "--truth", tmp_path / "no.tsv"), "no.tsv: cannot be read")
    one_line(run(*good, "--output", tmp_path / "no" / "cal.json"), "cannot be written")
    one_line(run(*good, "--output", made / "truth.tsv"), "truth.tsv is --truth too; give another file")
    one_line(run(*good, "--method", "plat"), "invalid choice: 'plat'")
    one_line(run(*good, "--model", "no-such-model"), "no-such-model")
    one_line(run("calibrate", "--data", made), "--truth, --output")


def test_a_calibration_that_does_not_fit_is_one_line(run, made, fitted, tmp_path):
    recording = made / "my recordings" / "take 0.wav"
    base = ("detect", recording, "beep", "--calibration")
    one_line(run(*base, tmp_path / "no.json"), "no.json: cannot read the calibration")
    one_line(run(*base, made / "truth.tsv"), "truth.tsv: no calibration, it is not JSON")
    Calibration("pe-a-frame-small", {}).save(tmp_path / "other.json")
    one_line(run(*base, tmp_path / "other.json"), "'pe-a-frame-small'", "the model is 'peaframe-mini'")
    before = fitted.read_bytes()
    one_line(run(*base, fitted, "--output", fitted), "is --calibration too; give another file")
    one_line(run(*base, fitted, "--boxes", "-1"), "step is -1")
    one_line(run(*base, fitted, "--boxes", "nan"), "step is nan")
    assert fitted.read_bytes() == before


def test_help_says_what_it_takes(shell):
    ran = shell("calibrate", "--help")
    assert ran.code == 0
    named = "data truth output method model device precision"
    assert [name for name in named.split() if f"--{name}" not in ran.out] == []
    assert "--calibration" in shell("detect", "--help").out
