"""Every kind of benchmark heard and scored, on its miniature."""

import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import peaframe
from peaframe import formats
from peaframe.errors import OptionError
from peaframe.eval import read_table
from peaframe.eval.benchmarks import find
from peaframe.eval.run import run_benchmark
from peaframe.eval.suite import evaluate
from peaframe.events import EventOptions, events_from_scores, filtered_scores
from peaframe.scores import Scores

Refusal = Callable[..., str]
Run = Callable[..., dict[str, Any]]
corpora = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "corpora.py")))
DASH, OTHER, tabs, text = corpora.DASH, corpora.OTHER, corpora.tabs, corpora.text
runs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "runs.py")))
times, metrics_of = runs.times, runs.metrics_of


@pytest.mark.slow
def test_desed_is_heard_with_its_ensembles_and_filtered_as_it_says(
    run: Run, detector: peaframe.Detector, tmp_path: Path
) -> None:
    data, output = corpora.desed(tmp_path / "desed"), tmp_path / "out"
    document = run("desed-validation", data, output, allow_missing=True, resamples=20)

    tables = {
        "Y00pbt6aJV8Y_350.000_360.000.tsv",
        f"Y{DASH}_30.000_40.000.tsv",
        "Yquiet, one_5.000_15.000.tsv",
        "Yzero0000000_1.000_11.000.tsv",
    }
    assert set(times(output)) == tables
    name = "Yzero0000000_1.000_11.000"
    table = read_table(output / "scores" / f"{name}.tsv")
    assert table.labels == find("desed-validation").labels
    audio = data / f"dataset/audio/validation/validation/{name}.flac"
    raw = detector.score(audio, ["alarm ringing", "bell ringing", "telephone ringing", "vacuum cleaner"])
    assert table["Alarm_bell_ringing"] == pytest.approx(raw.values[:, :3].mean(axis=1), abs=1e-6)
    assert table["Vacuum_cleaner"] == pytest.approx(raw["vacuum cleaner"], abs=1e-6)

    # The document is what `evaluate` says of the filtered tables.
    found = find("desed-validation").load(data)
    options = EventOptions(threshold=0.5, median=7 * 0.064)
    assert find("desed-validation").events == options
    heard = {}
    for recording in found.audio:
        own = read_table(output / "scores" / f"{recording}.tsv")
        heard[recording] = Scores(own.values, own.labels, duration=float(own.edges[-1]))
    expected = evaluate(
        found.truth,
        found.durations,
        {key: events_from_scores(own, options) for key, own in heard.items()},
        {key: filtered_scores(own, options) for key, own in heard.items()},
        labels=table.labels,
        metrics=find("desed-validation").metrics,
        resamples=20,
    )
    for part in ("metrics", "per_label", "confusion", "worst", "curves", "events", "hours", "unscored"):
        assert document[part] == expected[part]
    assert next(iter(document["metrics"])) == "psds1"
    assert document["notes"] == [*found.notes, *expected["notes"]]

    # Four of 1168 are there; one more is named.
    assert (document["complete"], document["missing"]) == (False, ["Ygone0000000_0.000_10.000"])
    assert (document["recordings"], document["unnamed"]) == (4, 1163)
    report = (output / "report.md").read_text(encoding="utf-8")
    assert "PARTIAL" in report
    assert "| Model | peaframe-mini |" in report
    assert "event options.median | 0.448" in report
    assert document["settings"]["queries"]["Cat"] == ["cat", "cat meowing"]
    assert document["settings"]["event options"] == {
        "threshold": 0.5,
        "median": 0.448,
        "min_duration": 0.0,
        "merge_gap": 0.0,
    }


def test_audioset_has_d_prime_where_explicit_negatives_are_there(run: Run, tmp_path: Path) -> None:
    data, output = corpora.audioset(tmp_path / "audioset"), tmp_path / "out"
    framed = [
        f"{segment} | {begin:.2f} | {begin + 0.96:.2f} | {label} | {present}"
        for segment, begin, label, present in (
            (f"{DASH}_30000", 0.0, "/m/05zppz", "PRESENT"),
            (f"{DASH}_30000", 6.72, "/m/05zppz", "NOT_PRESENT"),
            (f"{OTHER}_0", 1.92, "/m/05zppz", "NOT_PRESENT"),
            (f"{OTHER}_0", 1.92, "/m/01v1d8", "PRESENT"),
            ("abcdefghij1_10000", 0.0, "/m/01v1d8", "NOT_PRESENT"),
            ("abcdefghij1_10000", 0.0, "/m/018vs", "NOT_PRESENT"),  # has no training clip
            ("lostlostlos_40000", 0.0, "/m/05zppz", "PRESENT"),  # is missing
        )
    ]
    text(data / "audioset_eval_strong_framed_posneg.tsv", *tabs(f"{corpora.AUDIOSET} | present", *framed))

    document = run("audioset-strong", data, output, allow_missing=True)

    keys = ["psds1_a", "psds1_t", "psds1", "d_prime", "frame_auroc", "segment_ap", "clip_ap"]
    assert list(document["metrics"]) == keys
    assert {label for label, row in document["per_label"].items() if "d_prime" in row} == {
        "Clink, chink",
        "Male speech, man speaking",
    }
    assert document["settings"]["queries"]["Vehicle horn, car horn, honking, toot"] == [
        "vehicle horn",
        "car horn",
        "honking",
        "toot",
    ]
    assert sorted(times(output)) == [
        f"{DASH}_30000.tsv",
        f"{OTHER}_0.tsv",
        "abcdefghij1_10000.tsv",
        "abcdefghij2_500.tsv",
    ]
    assert (document["recordings"], document["unnamed"], len(document["missing"])) == (4, 16990, 2)
    assert "d′" in (output / "report.md").read_text(encoding="utf-8")

    (data / "audioset_eval_strong_framed_posneg.tsv").unlink()
    again = run("audioset-strong", data, output, allow_missing=True)
    assert "d_prime is left out for want of explicit negatives" in again["notes"]
    assert "d_prime" not in again["metrics"]


@pytest.mark.slow
def test_urbansed_and_maestro_are_heard(run: Run, tmp_path: Path) -> None:
    data = corpora.urbansed(tmp_path / "urbansed")
    document = run("urbansed", data, tmp_path / "u", allow_missing=True)
    assert list(document["metrics"])[:3] == ["psds1", "psds2", "psds1_a"]
    assert list(document["per_label"]) == ["dog_bark", "gun_shot", "siren"]
    assert document["events"] == 3
    assert len(document["unscored"]) == 7
    assert [path.name for path in sorted((tmp_path / "u/scores").iterdir())] == [
        f"soundscape_test_bimodal{number}.tsv" for number in range(3)
    ]

    data = corpora.maestro(tmp_path / "maestro")
    document = run("maestro", data, tmp_path / "m", allow_missing=True)
    assert next(iter(document["metrics"])) == "segment_mpauc"
    assert list(document["per_label"]) == ["birds_singing", "cutlery and dishes", "people talking"]
    assert document["hours"] == pytest.approx(23.5 / 3600)
    table = read_table(tmp_path / "m/scores/cafe_restaurant_00.tsv")
    assert (table.frames, len(table.labels)) == (313, 11)
    assert table.edges[-1] == pytest.approx(12.5)


def test_every_recording_of_a_folder_keeps_its_own_events(run: Run, mine: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    document = run("folder", mine, output)

    assert sorted(times(output)) == ["-three.tsv", "deep/two.tsv", "one.tsv", "two.tsv"]
    found = formats.load(output / "events.tsv")
    assert list(found) == ["-three.flac", "deep/two.wav", "one.wav", "two.wav"]  # two.wav is there twice
    assert document["title"] == "mine, 4 recordings"
    assert read_table(output / "scores/-three.tsv").edges[-1] == pytest.approx(1.02)
    assert metrics_of(output)["metrics"] == document["metrics"]
    assert document["notes"] == []

    text(mine / "durations.tsv", *tabs("filename | duration", "one.wav | 0.4", "two.wav | 1.5"))
    document = run("folder", mine, output)
    assert document["notes"] == [
        "true events cut that reach beyond their clip's end: 1",
        "recordings whose scores end over 0.5 s before or after them, as with a wrong frame rate: 1, "
        "first 'one' (1 of 0.4 s)",
    ]


def test_a_whole_benchmark_is_complete(detector: peaframe.Detector, tmp_path: Path, refusal: Refusal) -> None:
    data = corpora.public(tmp_path / "desed")
    small = replace(find("desed-public"), recordings=2)
    document = run_benchmark(small, data, detector, tmp_path / "out", resamples=0)
    assert (document["complete"], document["missing"], document["unnamed"]) == (True, [], 0)
    assert "PARTIAL" not in (tmp_path / "out/report.md").read_text(encoding="utf-8")

    # All that the metadata name is there, and still not the benchmark.
    three = replace(small, recordings=3)
    message = refusal(OptionError, run_benchmark, three, data, detector, tmp_path / "out")
    assert "1 of 3 recordings of desed-public are missing, which the metadata does not name" in message
    document = run_benchmark(three, data, detector, tmp_path / "out", allow_missing=True, resamples=0)
    assert (document["complete"], document["missing"], document["unnamed"]) == (False, [], 1)
    assert "PARTIAL" in (tmp_path / "out/report.md").read_text(encoding="utf-8")
