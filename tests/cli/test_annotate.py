"""`peaframe annotate`, seen from outside."""

import json
import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from peaframe import load
from peaframe.queries import QueryFile, QueryVector

runs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "annotate" / "runs.py")))
ASK = ("--query", "dog barking", "--query", "caw")


@pytest.fixture
def rec(tmp_path):
    runs.write(tmp_path / "rec" / "a.wav", 6.0)
    runs.write(tmp_path / "rec" / "b" / "c.flac", 4.0, 22_050, begin=14.0)
    return tmp_path / "rec"


def one_line(ran):
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert line.startswith("peaframe: error: ")
    return line.removeprefix("peaframe: error: ")


@pytest.mark.slow
def test_a_folder_is_annotated_and_told(run, rec, tmp_path):
    out = tmp_path / "out"
    (rec / "bad.wav").write_text("no sound")
    ran = run("annotate", rec, *ASK, "--output", out, "--jobs", 1, "--format", "csv, raven", "--combined")
    assert ran.code == 1
    assert ran.out.splitlines()[0].split()[:2] == ["query", "events"]
    assert [line.split()[0] for line in ran.out.splitlines()[1:3]] == ["dog", "caw"]
    said = ran.err.splitlines()
    assert said[0] == "2 recordings to hear (0.2 min), 1 that cannot be read"
    times = "the times of 2 of 2 recordings are from their modification time, which copying changes"
    assert said[1] == times
    assert said[2].startswith("peaframe-mini on cpu: heard 0.2 min in ")
    assert said[2].count("%") == 5
    events = len(runs.rows(out / "events.csv"))
    assert said[3] == f"{out}: 2 recordings, 0.2 min, {events} events; look at report.html"
    assert said[4] == f"1 recording could not be heard; see {out / 'failed.csv'}"
    before, written = runs.views(out), runs.times(out)
    ran = run(
        "annotate", rec, *ASK, "--output", out, "--format", "csv,raven", "--combined", "--json", "--resume"
    )
    content = json.loads(ran.out)
    assert (ran.code, content["recordings"], content["failed"], content["heard_seconds"]) == (1, 2, 1, 0.0)
    assert (content["model"], content["events"], content["output"]) == ("peaframe-mini", events, str(out))
    assert [one["query"] for one in content["summaries"]] == ["dog barking", "caw"]
    assert content["remarks"] == [times]
    assert (runs.views(out), runs.times(out)) == (before, written)
    ran = run("annotate", rec, "--query", "caw", "--output", out)
    assert 'holds a run with other settings (queries ["caw"], there ["dog barking", "caw"]' in one_line(ran)
    assert runs.views(out) == before
    ran = run("annotate", rec, *ASK, "--output", out, "--timezone", "+25:00", "--combined")
    assert one_line(ran).startswith("time zone '+25:00' is not known; give a name such as ")
    assert runs.views(out) == before


@pytest.mark.slow
def test_what_embeddings_answer_was_not_heard(run, rec, tmp_path):
    command = ("annotate", rec, "--output", tmp_path / "out", "--jobs", 1, "--format", "tsv", "--embeddings")
    assert run(*command, "--query", "caw").code == 0
    (rec / "a.wav").unlink()
    ran = run(*command, "--query", "siren", "--overwrite")
    assert (ran.code, ran.err.splitlines()[1:3]) == (
        0,
        [
            "1 recordings annotated before are no longer there; their embeddings, which are kept, are asked",
            "0.2 min answered from embeddings, not heard again",
        ],
    )
    assert "heard 0" not in ran.err


@pytest.mark.slow
def test_progress_for_programs_counts_up(run, rec, tmp_path):
    ran = run("annotate", rec, *ASK, "--output", tmp_path / "out", "--jobs", 1, "--progress", "json")
    assert ran.code == 0
    lines = [json.loads(line) for line in ran.err.splitlines() if line.startswith("{")]
    assert {line["event"] for line in lines} == {"note", "progress"}
    hear = [line for line in lines if line.get("what") == "hear"]
    assert [line["done"] for line in hear] == sorted(line["done"] for line in hear)
    assert hear[-1]["done"] == hear[-1]["total"] == round(10 / 3600, 4)
    assert hear[-1]["events"] == sum(
        row["event_label"] != ""
        for path in (tmp_path / "out" / "csv").rglob("*.csv")
        for row in runs.rows(path)
    )
    look = [line for line in lines if line.get("what") == "look"]
    assert look[-1]["done"] == 2


@pytest.mark.slow
def test_a_dry_run_says_what_it_would_take(run, rec, tmp_path):
    before = sorted(os.listdir(tmp_path))
    ran = run("annotate", rec, *ASK, "--output", tmp_path / "out", "--jobs", 1, "--dry-run")
    assert (ran.code, ran.out) == (0, "")
    said = ran.err.splitlines()
    assert said[0] == "2 recordings to hear (0.2 min)"
    assert " times real time with 1 worker of peaframe-mini on cpu; memory " in said[1]
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.slow
def test_queries_from_files_and_tuned_vectors(run, rec, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("\ufeff# birds\ncaw  # of a crow\n\n dog barking \ncaw\n", encoding="utf-8")
    model = load(device="cpu").model
    vector = np.zeros(model.embedding_dim, np.float32)
    vector[0] = 1.0
    tuned = QueryFile(model.name, model.fingerprint(), (QueryVector("mine", vector),))
    tuned.save(tmp_path / "tuned.json")
    given = ("--query-file", words, "--query-file", tmp_path / "tuned.json", "--query", "siren")
    ran = run(
        "annotate", rec, *given, "--output", tmp_path / "out", "--jobs", 1, "--scores", "--threshold", "0.4"
    )
    assert ran.code == 0, ran.err
    settings = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert settings["queries"] == ["siren", "caw", "dog barking", "mine"]
    assert len(settings["tuned"]) == 16
    assert {one["threshold"] for one in settings["options"].values()} == {0.4}
    assert (tmp_path / "out" / "scores" / "b" / "c.flac.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "got no query; give --query 'dog barking' or --query-file FILE"),
        (("--query", "caw", "--jobs", "0"), "--jobs: got 0, expected 1 or more"),
        (("--query", "caw", "--format", "docx"), "unknown format 'docx'; expected one of "),
        (("--query", "caw", "--format", ","), "--format: got ',', expected some of "),
        (("--query", "caw", "--ray-address", "auto"), "--ray-address needs --engine ray; give both"),
        (("--query", "caw", "--resume"), "--resume: there is no run in "),
        (("--query", "caw", "--min-score", "2"), "--min-score: got 2.0, expected a probability from 0 to 1"),
        (
            ("--query", "caw", "--timezone", "Europe/Berlln"),
            "time zone 'Europe/Berlln' is not known; give a name ",
        ),
        (("--query", "caw", "--timezone", "+25:00"), "time zone '+25:00' is not known; give a name such as "),
        (("--query", "caw", "--time-format", "%d%q"), "time format '%d%q' has the unknown %q; use of %Y "),
        (
            ("--query", "caw", "--time-format", "%H"),
            "time format '%H' does not give year, month, day and hour",
        ),
        (("--query", "caw", "--clips", "-1"), "--clips: got -1, expected a number of clips"),
        (
            ("--query-file", "nowhere.txt"),
            "--query-file nowhere.txt: cannot be read (No such file or directory)",
        ),
    ],
)
def test_what_makes_no_sense_is_one_line_and_makes_nothing(run, rec, tmp_path, arguments, said):
    assert one_line(run("annotate", rec, "--output", tmp_path / "out", *arguments)).startswith(said)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_model_that_cannot_annotate_leaves_nothing(run, rec, tmp_path, golden_folder):
    model = golden_folder / "pe_av_original"
    ran = run("annotate", rec, *ASK, "--output", tmp_path / "deep" / "out", "--model", model, "--jobs", 1)
    assert "embeds whole clips (PE-AV), expected a frame model" in one_line(ran)
    assert not (tmp_path / "deep").exists()


def test_query_files_that_are_none_are_one_line(run, rec, tmp_path):
    path = tmp_path / "words.txt"
    for content, said in (
        (b"# nothing\n\n", "holds no query; write one on each line"),
        (b"\xff\xfe\x00", "UTF-8"),
    ):
        path.write_bytes(content)
        line = one_line(run("annotate", rec, "--output", tmp_path / "out", "--query-file", path))
        assert line.startswith(f"--query-file {path}: ")
        assert said in line


def test_inputs_that_are_missing_or_hold_nothing_are_one_line(run, rec, tmp_path):
    out = tmp_path / "out"
    line = one_line(run("annotate", tmp_path / "recc", *ASK, "--output", out))
    assert line.startswith(f"{tmp_path / 'recc'}: no such file or folder")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x")
    line = one_line(run("annotate", tmp_path / "texts", *ASK, "--output", out))
    assert "holds no recordings that are asked for, there are files: 1 .txt" in line
    line = one_line(run("annotate", tmp_path / "nogl*b", *ASK, "--output", out))
    assert line == f"{tmp_path / 'nogl*b'}: no file below {tmp_path} matches it; give another pattern"
    assert "lies in it; give another folder for the output" in one_line(
        run("annotate", rec / "b", *ASK, "--output", rec)
    )
    assert not out.exists()
