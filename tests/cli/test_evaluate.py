"""`peaframe eval`, seen from outside: real files, the built-in model, real processes."""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sysconfig
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from peaframe import Scores, formats
from peaframe.eval import read_table, write_table
from peaframe.events import Event

RATE = 48_000
DEMO_LABELS = {"crow cawing", "dog barking", "guitar playing", "telephone ringing", "woman speaking"}
HEADER = "filename\tonset\toffset\tevent_label\n"
EXAMPLES = Path(__file__).parent.parent.parent / "examples"
ONE_CORE = {**os.environ, "OMP_NUM_THREADS": "1"}
corpora = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent.parent / "eval/corpora.py")))


@pytest.fixture(scope="module", autouse=True)
def one_core():
    """Where others are busy, several cores wait for each other most of the time."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def beeps(path, onsets, seconds=4.0, seed=0):
    """Faint noise with a loud tone of half a second at each onset."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.003 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE // 2) / RATE)
    for onset in onsets:
        samples[round(onset * RATE) :][: len(tone)] += tone
    soundfile.write(path, samples, RATE)


@pytest.fixture(scope="module")
def beeping(tmp_path_factory):
    """Recordings as people have them: six beeps and a hum in some, the demo's sounds in one; and their truth."""
    data = tmp_path_factory.mktemp("evaluate") / "my recordings"
    takes = {
        "take 0.wav": (0.5, 2.0),
        "-take 1.flac": (1.0, 3.0),
        "take, 2.wav": (0.2, 2.6),
        "deep/take 0.wav": (),
    }
    lines = [HEADER]
    for seed, (name, onsets) in enumerate(takes.items()):
        beeps(data / name, onsets, 4.01, seed)
        lines += [f"{name}\t{onset}\t{onset + 0.5}\tbeep\n" for onset in onsets] or [f"{name}\t\t\t\n"]
    lines.append("-take 1.flac\t0.0\t0.5\ta low hum\n")
    shutil.copy(EXAMPLES / "demo.flac", data)
    lines += (EXAMPLES / "demo.tsv").read_text(encoding="utf-8").splitlines(keepends=True)[1:]
    (data / "ground_truth.tsv").write_text("".join(lines), encoding="utf-8")
    return data


@pytest.fixture(scope="module")
def ran(beeping, tmp_path_factory):
    """The command run once on them, from another process: its output and the folder it made."""
    output = tmp_path_factory.mktemp("ran") / "new" / "out"
    command = [peaframe(), "eval", "run", "folder", "--data", beeping, "--output", output]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ONE_CORE)
    assert done.returncode == 0, done.stderr
    return done, output


def peaframe():
    return str(Path(sysconfig.get_path("scripts")) / "peaframe")


def metrics_of(output):
    return json.loads((output / "metrics.json").read_text(encoding="utf-8"))


def one_line(ran, *parts):
    assert ran.code == 2, ran.err
    assert ran.out == ""
    (line,) = ran.err.splitlines()
    assert line.startswith("peaframe: error: ")
    assert [part for part in parts if part not in line] == []


def everything(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


# run


def test_run_prints_the_metrics_and_where_the_report_is(ran, beeping):
    done, output = ran
    lines = done.stdout.splitlines()
    assert lines[0] == "my recordings, 5 recordings: 0.01 h, 19 true events, 7 labels"
    assert lines[2].split() == ["metric", "value", "95", "%", "interval"]
    printed = {" ".join(line[:31].split()): line[31:].split() for line in lines[3:13]}
    metrics = metrics_of(output)["metrics"]
    for name, key in (
        ("PSDS1", "psds1"),
        ("Event F1, collar 200 ms", "event_f1_macro"),
        ("mAP", "segment_ap"),
    ):
        row = metrics[key]
        assert printed[name] == [f"{row['value']:.3f}", f"{row['low']:.3f}", "to", f"{row['high']:.3f}"]
    assert lines[-1] == f"report: {output}/report.html"
    assert done.stderr == ""


def test_run_hears_what_is_to_be_heard(ran):
    document = metrics_of(ran[1])
    labels = document["per_label"]
    assert labels["dog barking"]["events"] == 3
    assert [label for label in sorted(DEMO_LABELS) if labels[label]["psds2"] < 0.9] == []
    assert document["metrics"]["psds2"]["value"] > 0.3
    assert document["metrics"]["event_f1_micro"]["value"] > 0.3
    assert (labels["beep"]["events"], labels["beep"]["auroc"] > 0.7) == (6, True)
    table = document["confusion"]
    dog = table["labels"].index("dog barking")
    assert table["matrix"][dog][dog] == 3


def test_run_writes_tables_that_others_read(ran, beeping):
    import pandas as pd

    _, output = ran
    names = ["-take 1", "deep/take 0", "demo", "take 0", "take, 2"]
    tables = {p.relative_to(output / "scores").as_posix(): p for p in (output / "scores").rglob("*.tsv")}
    assert sorted(tables) == [f"{name}.tsv" for name in names]
    for path in tables.values():
        ours, theirs = read_table(path), pd.read_csv(path, sep="\t")
        assert list(theirs.columns) == ["onset", "offset", *sorted({*DEMO_LABELS, "a low hum", "beep"})]
        assert (ours.frames, ours.edges[-1]) == (
            (750, 30.0) if path.stem == "demo" else (101, pytest.approx(4.01))
        )
        assert np.array_equal(theirs["beep"].to_numpy(np.float32), ours["beep"])
    found = formats.load(output / "events.tsv")
    assert list(found) == ["-take 1.flac", "deep/take 0.wav", "demo.flac", "take 0.wav", "take, 2.wav"]
    assert {event.label for event in found["demo.flac"]} == DEMO_LABELS
    assert sorted(path.name for path in output.iterdir()) == [
        "events.tsv",
        "metrics.json",
        "report.html",
        "report.md",
        "run.json",
        "scores",
    ]


def test_run_reports_model_settings_and_versions(ran, beeping):
    import peaframe as package

    _, output = ran
    document = metrics_of(output)
    for name in ("report.md", "report.html"):
        content = (output / name).read_text(encoding="utf-8")
        said = (
            "peaframe-mini",
            package.__version__,
            "my recordings, 5 recordings",
            "device",
            "PSDS1",
            "threshold",
        )
        assert [text for text in said if text not in content] == []
        assert f"{document['metrics']['psds1']['value']:.3f}" in content
    options = package.load_model("peaframe-mini").event_options
    assert document["settings"]["event options"]["threshold"] == options.threshold
    assert document["settings"]["queries"] == {label: [label] for label in document["per_label"]}
    assert (document["model"], document["benchmark"], document["complete"]) == (
        "peaframe-mini",
        "folder",
        True,
    )
    assert set(document["seconds"]) == {"listening", "metrics"}


def test_run_again_hears_nothing_and_prints_what_metrics_json_holds(run, ran, beeping):
    _, output = ran
    tables, before = everything(output / "scores"), metrics_of(output)
    again = run("eval", "run", "folder", "--data", beeping, "--output", output, "--json")
    assert again.code == 0, again.err
    assert again.out == (output / "metrics.json").read_text(encoding="utf-8")
    assert everything(output / "scores") == tables
    assert {**json.loads(again.out), "seconds": 0} == {**before, "seconds": 0}


def test_what_run_wrote_can_be_scored_by_the_other_two(run, ran, beeping, tmp_path):
    _, output = ran
    durations = tmp_path / "durations.tsv"
    names = ("take 0.wav", "-take 1.wav", "take, 2.wav", "deep/take 0.wav")
    rows = "".join(f"{name}\t4.01\n" for name in names)
    durations.write_text(f"filename\tduration\n{rows}demo\t30\n")
    truth, whole = beeping / "ground_truth.tsv", metrics_of(output)["metrics"]

    scored = run("eval", "scores", output / "scores", truth, durations, "--json", "--resamples", "0")
    assert scored.code == 0, scored.err
    raw = json.loads(scored.out)["metrics"]  # of scores without a filter
    assert set(raw) > set(whole)
    scored = run("eval", "events", truth, output / "events.tsv", "--durations", durations, "--json")
    assert scored.code == 0, scored.err
    events = json.loads(scored.out)["metrics"]
    for key in ("event_f1_macro", "event_f1_micro", "segment_f1_macro", "intersection_f1_macro"):
        assert events[key] == pytest.approx(whole[key], abs=1e-9)


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_and_ends_as_if_nothing_had_been(run, shell, tmp_path):
    data = tmp_path / "data"
    lines = [HEADER]
    for number in range(6):
        beeps(data / f"{number}.wav", (0.5,), 1.5, number)
        lines.append(f"{number}.wav\t0.5\t1.0\tbeep\n")
    beeps(data / "long.wav", (3.0, 30.0), 90.0, 9)
    (data / "ground_truth.tsv").write_text("".join(lines) + "long.wav\t3\t3.5\tbeep\n", encoding="utf-8")
    output, whole = tmp_path / "stopped", tmp_path / "whole"
    command = ["eval", "run", "folder", "--data", data, "--resamples", "20", "--output"]

    process = subprocess.Popen(
        [peaframe(), *map(str, command), str(output)],
        env=ONE_CORE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (output / "scores/2.tsv").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    tables = sorted((output / "scores").glob("[!.]*"))
    assert 3 <= len(tables) <= 6
    assert [path.stem for path in tables] == [str(number) for number in range(len(tables))]
    assert {read_table(path).frames for path in tables} == {38}
    assert not (output / "metrics.json").exists()
    before = {path: path.stat().st_mtime_ns for path in tables}

    first = shell(*command, output, env=ONE_CORE)
    assert first.code == 0, first.err
    assert {path: path.stat().st_mtime_ns for path in tables} == before
    assert len(list((output / "scores").iterdir())) == 7
    second = run(*command, whole)
    assert second.code == 0, second.err
    assert first.out == second.out.replace(str(whole), str(output))
    assert {**metrics_of(output), "seconds": 0} == {**metrics_of(whole), "seconds": 0}
    for path in tables:
        assert path.read_bytes() == (whole / "scores" / path.name).read_bytes()


def test_a_folder_of_another_run_is_refused_unless_told_otherwise(run, beeping, tmp_path):
    output, data = tmp_path / "out", tmp_path / "data"
    beeps(data / "a.wav", (0.5,), 1.5)
    (data / "ground_truth.tsv").write_text(HEADER + "a.wav\t0.5\t1\tbeep\n")
    command = ("eval", "run", "folder", "--data", data, "--output", output, "--resamples", "0")
    assert run(*command).code == 0
    before = everything(output)

    one_line(
        run("eval", "run", "folder", "--data", beeping, "--output", output), "another run", "data, queries"
    )
    (data / "ground_truth.tsv").write_text(HEADER + "a.wav\t0.5\t1\tbuzz\n")
    one_line(run(*command), f"{output}: holds scores of another run, which differs in queries", "--overwrite")
    assert everything(output) == before
    assert run(*command, "--overwrite").code == 0
    assert read_table(output / "scores/a.tsv").labels == ("buzz",)


def test_missing_recordings_are_refused_or_make_a_partial_score(run, beeping, tmp_path):
    data, output = tmp_path / "desed", tmp_path / "out"
    corpora.desed(data)
    command = ("eval", "run", "desed-validation", "--data", data, "--output", output, "--resamples", "0")
    one_line(
        run(*command), "1164 of 1168 recordings", "desed-validation", "'Ygone0000000_0.000_10.000'", "--allow"
    )
    assert not output.exists()

    ran = run(*command, "--allow-missing")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[1] == "PARTIAL: 1164 recordings missing, so this is not the score of desed-validation"
    assert "note: recordings in the metadata: 5; the whole benchmark has 1168" in lines
    assert any(
        line.startswith("note: labels without true events, in no score: Alarm_bell_r") for line in lines
    )
    assert metrics_of(output)["complete"] is False
    assert "**PARTIAL: " in (output / "report.md").read_text(encoding="utf-8")


def test_ids_that_lead_outside_write_nothing_there(run, tmp_path):
    data, output = tmp_path / "deep/data", tmp_path / "deep/out"
    beeps(data / "a.wav", (0.5,), 1.5)
    beeps(tmp_path / "deep/x.wav", (0.5,), 1.5)
    (data / "ground_truth.tsv").write_text(
        HEADER + "a.wav\t0.5\t1\tbeep\n../x.wav\t0\t1\tbeep\n/tmp/y\t0\t1\tbeep\n"
    )
    outside = {path for path in tmp_path.rglob("*") if output not in path.parents}
    command = ("eval", "run", "folder", "--data", data, "--output", output, "--resamples", "0")
    one_line(run(*command), "2 of 3 recordings of folder are missing, first '../x'")
    ran = run(*command, "--allow-missing")
    assert ran.code == 0, ran.err
    assert "PARTIAL: 2 recordings missing" in ran.out
    assert {path for path in tmp_path.rglob("*") if output not in path.parents} == outside | {output}
    assert [path.name for path in (output / "scores").iterdir()] == ["a.tsv"]


def test_corrupt_recordings_are_one_line(run, tmp_path):
    data, output = tmp_path / "data", tmp_path / "out"
    beeps(data / "a.wav", (0.5,), 1.5)
    beeps(data / "b.flac", (0.5,), 20)
    content = bytearray((data / "b.flac").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = np.random.default_rng(1).bytes(4000)
    (data / "b.flac").write_bytes(content)
    (data / "c.wav").write_text("this is no sound")
    (data / "ground_truth.tsv").write_text(HEADER + "".join(f"{x}\t0.5\t1\tbeep\n" for x in "abc"))
    command = ("eval", "run", "folder", "--data", data, "--output", output, "--resamples", "0")
    one_line(run(*command), "1 of 3 recordings of folder are missing, first 'c'")
    one_line(
        run(*command, "--allow-missing"), "b.flac: is cut short or damaged", "(recording 'b'; take it out"
    )
    (data / "b.flac").unlink()
    ran = run(*command, "--allow-missing")
    assert ran.code == 0, ran.err
    assert "PARTIAL: 2 recordings missing" in ran.out
    assert "note: files that cannot be read and count as missing: 1 (c)" in ran.out


def test_wrong_words_to_run_are_one_line(run, beeping, tmp_path):
    output = tmp_path / "out"
    (tmp_path / "file").write_text("x")
    good = ("eval", "run", "folder", "--data", beeping, "--output", output)
    one_line(
        run("eval", "run", "desed", *good[3:]), "got the benchmark 'desed', expected one of desed-validation,"
    )
    one_line(run(*good, "--data", tmp_path / "no"), "no: no such folder")
    one_line(run(*good, "--data", tmp_path / "file"), "file: no such folder")
    one_line(run(*good, "--output", tmp_path / "file"), "file: is a file; give a folder")
    one_line(run(*good, "--output", beeping), "is the corpus itself")
    one_line(run(*good, "--output", tmp_path / "file/deep"), "file/deep: cannot be used for results")
    one_line(run(*good, "--resamples", "-1"), "argument --resamples: got -1, expected 0 to 100000")
    one_line(run(*good, "--resamples", "many"), "argument --resamples: invalid int value: 'many'")
    one_line(run(*good, "--model", "no-such-model"), "no-such-model")
    one_line(run(*good, "--device", "abacus"), "abacus")
    one_line(run(*good, "--over"), "--over")
    one_line(run("eval", "run", "folder", "--data", beeping), "--output")
    one_line(run("eval"), "ACTION")
    one_line(
        run(*good, "--data", tmp_path), "got no table, expected ground_truth.tsv with the columns filename"
    )
    assert not output.exists()


# scores


@pytest.fixture(scope="module")
def golden_tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden") / "scores"
    folder.mkdir()
    golden = Path(__file__).parent.parent / "golden"
    with np.load(golden / "scores.npz") as stored:
        for name, values in zip(stored["files"].tolist(), stored["scores"], strict=True):
            write_table(folder / f"{name}.tsv", Scores(values, tuple(stored["classes"].tolist())))
    return folder


def close(value):
    return pytest.approx(value, abs=1e-9)


def test_scores_prints_golden_numbers_and_writes_a_report(run, golden_folder, golden_tables, tmp_path):
    truth, durations = golden_folder / "ground_truth.tsv", golden_folder / "durations.tsv"
    golden = json.loads((golden_folder / "golden_sed_scores_eval.json").read_text())
    command = ("eval", "scores", golden_tables, truth, durations, "--report", tmp_path / "new/report")
    ran = run(*command, "--json")
    assert ran.code == 0, ran.err
    assert ran.out == (tmp_path / "new/report/metrics.json").read_text()
    metrics = json.loads(ran.out)["metrics"]
    assert metrics["psds1"]["value"] == close(golden["psds_S1"]["psds"])
    assert metrics["psds2"]["value"] == close(golden["psds_S2"]["psds"])
    assert metrics["event_f1_macro"]["value"] == close(golden["collar_f_th0.5"]["f"]["macro_average"])
    assert metrics["segment_f1_macro"]["value"] == close(golden["segment_f_th0.5_1s"]["f"]["macro_average"])
    assert metrics["intersection_f1_macro"]["value"] == close(
        golden["intersection_f_th0.5_dtc0.5_gtc0.5"]["f"]["macro_average"]
    )
    assert metrics["segment_mpauc"]["value"] == close(golden["segment_pauroc_1s_maxfpr0.1"]["mean"])
    assert metrics["clip_auroc"]["value"] == close(golden["clip_auroc"]["mean"])
    for row in metrics.values():
        assert row["low"] is None or 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    assert {path.name for path in (tmp_path / "new/report").iterdir()} == {
        "metrics.json",
        "report.md",
        "report.html",
    }

    text = run(*command, "--resamples", "0")
    assert text.code == 0
    lines = text.out.splitlines()
    assert lines[0] == "scores, 60 recordings: 0.17 h, 196 true events, 6 labels"
    assert "PSDS1                           0.297" in lines
    assert "Event F1, collar 200 ms         0.252" in lines
    assert lines[-1] == f"report: {tmp_path}/new/report/report.html"


def test_scores_of_logits_each_second(run, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s/a.tsv").write_text("onset\toffset\tdog\n0\t1\t-4.5\n1\t2\t3\n2\t3\t0.0\n")
    (tmp_path / "t.tsv").write_text(HEADER + "a.wav\t1\t2\tdog\n")
    (tmp_path / "d.tsv").write_text("filename\tduration\na.wav\t3\n")
    command = ("eval", "scores", tmp_path / "s", tmp_path / "t.tsv", tmp_path / "d.tsv", "--json")
    at_0, below = (json.loads(run(*command, "--threshold", value).out) for value in ("0", "-0.5"))
    assert at_0["metrics"]["event_f1_macro"]["value"] == 1.0  # 0 is not over 0
    assert below["metrics"]["event_f1_macro"]["value"] == 0.0
    assert below["metrics"]["psds1"]["value"] == at_0["metrics"]["psds1"]["value"] == 1.0
    one_line(run(*command, "--threshold", "nan"), "got the threshold nan; expected a finite number")


# events


def test_events_prints_golden_numbers(run, golden_folder, tmp_path):
    truth, found = golden_folder / "ground_truth.tsv", golden_folder / "detections_th0.5.tsv"
    golden = json.loads((golden_folder / "golden_sed_eval.json").read_text())
    ran = run("eval", "events", truth, found, "--durations", golden_folder / "durations.tsv", "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    expected = golden["event_dcase_on0.2_off0.2_20pct_optimal"]
    assert document["metrics"]["event_f1_macro"]["value"] == close(expected["macro_f"])
    assert document["sed_eval"]["event_based"]["micro"]["error_rate"] == close(expected["micro"]["ER"])
    expected = golden["segment_1s_no_length_as_in_DCASE_baseline"]
    assert document["metrics"]["segment_f1_macro"]["value"] == close(expected["macro_f"])
    assert document["sed_eval"]["segment_based"]["micro"]["error_rate"] == close(expected["micro"]["ER"])

    (tmp_path / "many.tsv").write_text(HEADER + "".join(f"a\t0\t1\tlabel {n:02}\n" for n in range(30)))
    (tmp_path / "one.tsv").write_text(HEADER + "a\t0\t1\tlabel 05\n")
    lines = run("eval", "events", tmp_path / "one.tsv", tmp_path / "many.tsv").out.splitlines()
    assert "note: detections of labels without true events, which count nowhere: 29" in lines
    assert lines[-1].startswith("note: labels without true events, in no score: label 00, label 01, ")
    assert lines[-1].endswith("label 20 and 9 more")

    without = run("eval", "events", truth, found)
    assert without.code == 0
    lines = without.out.splitlines()
    assert lines[0].startswith("detections_th0.5.tsv, ")
    assert "note: hours count each recording up to its last event, for want of --durations" in lines
    assert "Event F1, collar 200 ms         0.252" in "\n".join(lines)


def test_events_takes_names_that_begin_with_a_dash_and_scores_operating_points(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("-ref.tsv").write_text(HEADER + "-a, b.wav\t0\t1\tdog\n")
    Path("-est").mkdir()
    for number in range(3):
        formats.save(f"-est/{number}.tsv", {"-a, b": [Event(0, 1 + number, "dog")]})
    Path("d.tsv").write_text("filename\tduration\n-a, b.flac\t10\n")
    ran = run("eval", "events", "--durations", "d.tsv", "--report", "r", "--", "-ref.tsv", "-est")
    assert ran.code == 0, ran.err
    assert "PSDS1    1.000" in ran.out
    assert "note: PSDS of 3 operating points" in ran.out
    assert "PSDS1" in Path("r/report.html").read_text(encoding="utf-8")


def test_wrong_tables_are_one_line_and_nothing_is_written(run, tmp_path):
    good, bad = tmp_path / "good.tsv", tmp_path / "bad.tsv"
    good.write_text(HEADER + "a\t0\t1\tdog\n")
    bad.write_text(HEADER + "a\t0\t1\tdog\na\t0\tnan\tdog\n")
    durations = tmp_path / "durations.tsv"
    durations.write_text("filename\tduration\na\t10\n")
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores/a.tsv").write_text("onset\toffset\tdog\n0\t1\t0.1\n1.5\t2\t0.1\n")
    before = everything(tmp_path)
    report = ("--report", tmp_path / "report")
    one_line(run("eval", "events", good, bad, *report), "bad.tsv:3: got offset 'nan'")
    one_line(run("eval", "events", bad, good, *report), "bad.tsv:3: got offset 'nan'")
    one_line(run("eval", "events", good, tmp_path / "no.tsv", *report), "no.tsv: cannot be read")
    one_line(run("eval", "events", good, tmp_path / "scores", *report), "needs --durations")
    one_line(
        run("eval", "scores", tmp_path / "scores", good, durations, *report),
        "a.tsv:3: the frame begins at 1.5",
    )
    one_line(run("eval", "events", good, good, "--report", good), "good.tsv: is a file; give a folder")
    one_line(run("eval", "events", good, good, "--report", good / "x"), "cannot be made a folder")
    one_line(run("eval", "events", good, good, "--resamples", "-1"), "got -1, expected 0 to 100000")
    one_line(run("eval", "events", good), "estimated")
    assert everything(tmp_path) == before


# list and help


def test_the_list_is_the_benchmarks(run):
    from peaframe.eval.benchmarks import BENCHMARKS

    ran = run("eval", "list")
    lines = ran.out.splitlines()
    assert lines[0].split() == ["name", "recordings", "headline", "description"]
    assert [line.split()[0] for line in lines[1:]] == list(BENCHMARKS)
    assert lines[1].split()[1:3] == ["1168", "psds1"]
    rows = json.loads(run("eval", "list", "--json").out)
    assert [row["name"] for row in rows] == list(BENCHMARKS)
    assert rows[0]["metrics"][0] == "psds1"
    assert set(rows[0]) == {"name", "recordings", "metrics", "source", "licence"}


def test_help_says_what_each_action_takes(run, capsys):
    for action, words in (
        (
            "run",
            "--data --output --model --device --precision --allow-missing --overwrite --resamples --json",
        ),
        ("scores", "reference durations --threshold --report --resamples --json"),
        ("events", "reference estimated --durations --report --resamples --json"),
    ):
        with pytest.raises(SystemExit) as stopped:
            run("eval", action, "--help")
        assert stopped.value.code == 0
        out = capsys.readouterr().out
        assert [word for word in words.split() if word not in out] == []


def test_torch_waits_for_run(tmp_path):
    (tmp_path / "a.tsv").write_text(HEADER + "a\t0\t1\tdog\n")
    code = (
        "import sys; from peaframe.cli.main import main; "
        f"code = main(['eval', 'events', *[r'{tmp_path / 'a.tsv'}'] * 2, '--json']); "
        "print(code, 'torch' in sys.modules, file=sys.stderr)"
    )
    python = Path(sysconfig.get_path("scripts")) / "python"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "0 False"
    assert json.loads(done.stdout)["metrics"]["event_f1_macro"]["value"] == 1.0
