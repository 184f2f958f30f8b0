"""`peaframe detect` and `peaframe models`, seen from outside."""

import csv
import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from peaframe import Scores, formats
from peaframe.version import __version__

# With the threshold 0 every frame is part of an event, with 1 none is, whatever the model has learnt.
ALL = ("--threshold", "0", "--median", "0")
NONE = ("--threshold", "1")


def times(text, format):
    """(onset, offset, label) of each event in a command's output."""
    return [
        (event.onset, event.offset, event.label)
        for events in formats.loads(text, format).values()
        for event in events
    ]


@pytest.mark.slow
def test_a_person_sees_a_table(shell, street):
    ran = shell("detect", street, "dog barking", "a siren", *ALL)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0].split() == ["onset", "offset", "event_label", "score"]
    assert [line.split()[:2] for line in lines[1:]] == [["0.000", "4.500"], ["0.000", "4.500"]]
    assert lines[0].index("event_label") == lines[1].index("a siren") == lines[2].index("dog barking")
    assert len({line.rstrip().rfind(".") for line in lines[1:]}) == 1
    (said,) = ran.err.splitlines()
    assert said.startswith("peaframe-mini on c")
    for part in ("threshold 0", "heard 4.50 s in ", " times real time", "2 events"):
        assert part in said


def test_without_events_the_highest_score_is_said(run, street, tmp_path):
    ran = run("detect", street, "dog barking", *NONE, "--scores", tmp_path / "scores.npz")
    assert (ran.code, ran.out.split()) == (0, ["onset", "offset", "event_label", "score"])
    scores = Scores.load(tmp_path / "scores.npz")
    best, at = scores["dog barking"].max(), scores.edges[scores["dog barking"].argmax()]
    assert ran.err.endswith(f"; no events, highest score {best:.2f} (dog barking at {at:.2f} s)\n")


def test_csv_has_the_columns_everyone_reads(run, street):
    ran = run("detect", street, "dog barking", *ALL, "--format", "csv")
    header, row = csv.reader(io.StringIO(ran.out))
    assert header == ["filename", "onset", "offset", "event_label", "score"]
    assert row[:4] == [str(street), "0.000", "4.500", "dog barking"]
    assert 0 < float(row[4]) <= 1


@pytest.mark.parametrize("format", ["csv", "tsv", "json", "audacity"])
def test_every_format_can_be_read_again(run, street, format):
    ran = run("detect", street, "dog barking", "siren", *ALL, "--format", format)
    assert ran.code == 0
    assert times(ran.out, format) == [(0, 4.5, "dog barking"), (0, 4.5, "siren")]


def test_json_tells_the_settings(run, street):
    ran = run("detect", street, "siren", *ALL, "--json")
    content = json.loads(ran.out)
    assert content["meta"]["model"] == "peaframe-mini"
    assert content["meta"]["peaframe"] == __version__
    assert content["meta"]["options"]["threshold"] == 0
    assert (content["meta"]["precision"], content["meta"]["products"]) == ("exact", "float32")
    assert [(e["onset"], e["offset"]) for e in content["files"][0]["events"]] == [(0, 4.5)]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "txt"])
def test_output_goes_to_the_file_in_the_format_of_its_suffix(run, street, tmp_path, suffix):
    path = tmp_path / f"found.{suffix}"
    ran = run("detect", street, "siren", *ALL, "--output", path)
    assert (ran.code, ran.out) == (0, "")
    assert times(path.read_text(), formats.for_path(path)) == [(0, 4.5, "siren")]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([path.name, street.name])


def test_the_format_asked_for_beats_the_suffix(run, street, tmp_path):
    path = tmp_path / "found.csv"
    ran = run("detect", street, "siren", *ALL, "--output", path, "--format", "table")
    assert ran.code == 0
    assert path.read_text().split()[:4] == ["onset", "offset", "event_label", "score"]


def test_scores_are_kept(run, street, tmp_path):
    ran = run("detect", street, "siren", "rain", "--scores", tmp_path / "s.npz", "--start", "1", "--end", "3")
    assert ran.code == 0, ran.err
    scores = Scores.load(tmp_path / "s.npz")
    assert scores.labels == ("siren", "rain")
    assert (scores.frames, scores.start, scores.end) == (50, 1.0, 3.0)
    assert ((scores.values >= 0) & (scores.values <= 1)).all()


def test_the_plot_is_a_picture_of_the_promised_size(run, street, tmp_path):
    path = tmp_path / "street.png"
    ran = run("detect", street, "siren", "costs $5 & $6", *ALL, "--plot", path)
    assert ran.code == 0, ran.err
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(data[16:20], "big") == 1_200


def test_times_count_from_the_recordings_start(run, street):
    ran = run("detect", street, "siren", *ALL, "--start", "1.5", "--end", "3.25", "--format", "csv")
    assert times(ran.out, "csv") == [(1.5, 3.25, "siren")]


def test_thresholds_can_differ_by_query(run, street):
    ran = run("detect", street, "siren", "a=b", *ALL, "--threshold", "siren=1", "--format", "csv")
    assert times(ran.out, "csv") == [(0, 4.5, "a=b")]
    ran = run(
        "detect", street, "siren", "a=b", *NONE, "--threshold", "a=b=0", "--median", "0", "--format", "csv"
    )
    assert times(ran.out, "csv") == [(0, 4.5, "a=b")]


@pytest.mark.slow
def test_event_options_reach_the_events(run, street, tmp_path):
    run("detect", street, "siren", "--scores", tmp_path / "s.npz")
    middle = float(np.quantile(Scores.load(tmp_path / "s.npz").values, 0.5))
    base = (
        "detect",
        street,
        "siren",
        "--median",
        "0",
        "--threshold",
        middle,
        "--low",
        middle,
        "--format",
        "csv",
    )
    plain = times(run(*base, "--min-duration", "0", "--merge-gap", "0").out, "csv")
    assert plain
    longest = max(offset - onset for onset, offset, _ in plain)
    assert times(run(*base, "--merge-gap", "9", "--min-duration", "0").out, "csv") == [
        (plain[0][0], plain[-1][1], "siren")
    ]
    kept = times(run(*base, "--min-duration", longest, "--merge-gap", "0").out, "csv")
    assert kept == [event for event in plain if round(event[1] - event[0] - longest, 6) >= 0]
    assert times(run(*base, "--min-duration", "60").out, "csv") == []


def test_the_same_query_twice_is_one(run, street):
    ran = run("detect", street, "siren", "siren", *ALL, "--format", "csv")
    assert len(times(ran.out, "csv")) == 1


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"), [(8_000, 1, "PCM_U8"), (192_000, 1, "PCM_24"), (44_100, 8, "FLOAT")]
)
def test_all_rates_channels_and_depths_are_heard(run, tmp_path, rate, channels, subtype):
    path = tmp_path / "odd.wav"
    samples = 0.1 * np.random.default_rng(1).standard_normal((rate, channels))
    soundfile.write(path, samples, rate, subtype=subtype)
    ran = run("detect", path, "siren", *ALL, "--format", "csv")
    assert times(ran.out, "csv") == [(0, 1, "siren")]


@pytest.mark.parametrize("samples", [1, 48_000])
def test_silence_and_a_single_sample_are_no_errors(run, tmp_path, samples):
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(samples), 48_000)
    ran = run("detect", path, "dog barking", "--plot", tmp_path / "silence.png")
    assert ran.code == 0
    assert "; no events, highest score 0." in ran.err


@pytest.mark.slow
def test_a_name_that_is_no_text_is_printed_all_the_same(shell, street):
    odd = street.rename(street.parent / os.fsdecode(b"stra\xdfe.wav"))
    ran = shell("detect", odd, "siren", *ALL, "--format", "csv")
    assert ran.code == 0, ran.err
    assert "stra\\udcdfe.wav" in ran.out


@pytest.mark.slow
def test_a_reader_that_leaves_early_is_no_error(shell, street):
    read, write = os.pipe()
    os.close(read)
    ran = shell("detect", street, "siren", capture_output=False, stdout=write, stderr=-1)
    os.close(write)
    assert (ran.code, ran.err) == (141, "")


def test_ctrl_c_leaves_quietly(street):
    code = """
import signal, sys
from peaframe.cli.main import main

def press(event, arguments):  # while the model is being loaded
    if event == "import" and arguments[0] == "torch":
        signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins with it ignored
sys.addaudithook(press)
sys.exit(main(["detect", sys.argv[1], "siren"]))
"""
    done = subprocess.run([sys.executable, "-c", code, street], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "")


def test_models_lists_the_built_in_one(shell):
    ran = shell("models")
    assert ran.code == 0
    header = ["name", "parameters", "download", "licence", "here", "description"]
    assert ran.out.splitlines()[0].split() == header
    assert ran.out.splitlines()[1].startswith("peaframe-mini")
    assert "Apache-2.0" in ran.out


def test_help_shows_examples_and_every_option(shell):
    ran = shell("detect", "--help")
    assert ran.code == 0
    assert 'peaframe detect street.wav "dog barking" "a siren"' in ran.out
    named = (
        "model threshold low median min-duration merge-gap format json output scores plot start end device"
    )
    assert [name for name in named.split() if f"--{name}" not in ran.out] == []


def test_version_is_the_packages(shell):
    assert shell("--version").out == f"peaframe {__version__}\n"
