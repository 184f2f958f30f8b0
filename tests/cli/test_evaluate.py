"""`peaframe eval`, seen from outside: tables of others, the list of benchmarks, help."""

import json
import runpy
import subprocess
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from peaframe import Scores, formats
from peaframe.eval import write_table
from peaframe.events import Event

evaluating = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "evaluating.py")))
HEADER, one_line, everything = evaluating.HEADER, evaluating.one_line, evaluating.everything


# compare


@pytest.mark.slow
def test_compare_prints_both_and_how_sure_the_difference_is(run, golden_folder, golden_tables, tmp_path):
    given = golden_tables, golden_folder / "ground_truth.tsv", golden_folder / "durations.tsv"
    ran = run("eval", "compare", golden_tables, *given, "--resamples", "3")
    assert ran.code == 0, ran.err
    first, blank, header, *rows = ran.out.splitlines()
    assert first == f"first: {golden_tables}, second: {golden_tables}; 60 recordings"
    assert (blank, header.split()) == (
        "",
        ["metric", "first", "second", "difference", "95", "%", "interval", "p"],
    )
    assert rows[0].split() == ["PSDS1", "0.297", "0.297", "+0.000", "+0.000", "to", "+0.000", "1.000"]
    machine = json.loads(run("eval", "compare", golden_tables, *given, "--resamples", "3", "--json").out)
    assert machine["metrics"]["psds1"]["p_value"] == 1.0
    one_line(run("eval", "compare", golden_tables, tmp_path / "no", *given[1:]), "no: no such folder")


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


@pytest.mark.slow
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
    one_line(run("eval", "events", good, good, "--report", good / "x"), "cannot be made")
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
