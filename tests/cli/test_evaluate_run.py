"""`peaframe eval run`, seen from outside: real files, the built-in model, real processes."""

import io
import json
import os
import runpy
import shutil
import signal
import subprocess
import sysconfig
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from peaframe import formats
from peaframe.cli.main import main
from peaframe.eval import read_table

DEMO_LABELS = {"crow cawing", "dog barking", "guitar playing", "telephone ringing", "woman speaking"}
EXAMPLES = Path(__file__).parent.parent.parent / "examples"
ONE_CORE = {**os.environ, "OMP_NUM_THREADS": "1"}
corpora = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent.parent / "eval/corpora.py")))
evaluating = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "evaluating.py")))
pytestmark = pytest.mark.usefixtures("one_thread")
HEADER, beeps, everything = evaluating.HEADER, evaluating.beeps, evaluating.everything
one_line = evaluating.one_line


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
    """The command run once on them: its output and the folder it made."""
    output = tmp_path_factory.mktemp("ran") / "new" / "out"
    command = ["eval", "run", "folder", "--data", str(beeping), "--output", str(output)]
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        code = main(command)
    said = SimpleNamespace(out=out.buffer.getvalue().decode(), err=err.buffer.getvalue().decode())
    assert code == 0, said.err
    return said, output


def peaframe():
    return str(Path(sysconfig.get_path("scripts")) / "peaframe")


def metrics_of(output):
    return json.loads((output / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_run_prints_the_metrics_and_where_the_report_is(ran, beeping):
    done, output = ran
    lines = done.out.splitlines()
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
    assert done.err == ""


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


@pytest.mark.slow
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
