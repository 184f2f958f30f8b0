"""Score tables of any system: golden numbers, what is handled and said, what is refused."""

import runpy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from peaframe.errors import FormatError, OptionError
from peaframe.eval import ScoreTable, write_table
from peaframe.eval.given import score_tables
from peaframe.scores import Scores

Refusal = Callable[..., str]
documents = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "documents.py")))
TRUTH, DURATIONS = documents.TRUTH, documents.DURATIONS
values, per_label, close, written = documents.values, documents.per_label, documents.close, documents.written


def table(path: Path, curves: Mapping[str, Iterable[float]], seconds: float = 1.0) -> None:
    """A score table of any grid."""
    stacked = np.array([list(curve) for curve in curves.values()]).T
    write_table(path, ScoreTable(stacked, tuple(curves), seconds * np.arange(len(stacked) + 1)))


@pytest.fixture(scope="module")
def golden_tables(golden_scores: Mapping[str, Scores], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden scores as sed_scores_eval keeps them: a table for each recording, without its suffix."""
    folder = tmp_path_factory.mktemp("golden") / "scores"
    folder.mkdir()
    for name, scores in golden_scores.items():
        write_table(folder / f"{Path(name).stem}.tsv", scores)
    return folder


@pytest.fixture(scope="module")
def golden_document(golden_tables: Path) -> dict[str, Any]:
    return score_tables(golden_tables, TRUTH, DURATIONS)


def test_score_tables_give_what_sed_scores_eval_says(
    golden_document: dict[str, Any], sed_scores_eval_numbers: Mapping[str, Any]
) -> None:
    golden, found = sed_scores_eval_numbers, values(golden_document)
    intersection = golden["intersection_f_th0.5_dtc0.5_gtc0.5"]["f"]
    expected = {
        "psds1": golden["psds_S1"]["psds"],
        "psds1_a": golden["psds_S1_alpha_st0"]["psds"],
        "psds2": golden["psds_S2"]["psds"],
        "event_f1_macro": golden["collar_f_th0.5"]["f"]["macro_average"],
        "event_f1_micro": golden["collar_f_th0.5"]["f"]["micro_average"],
        "event_f1_best_macro": golden["collar_best_f"]["f"]["macro_average"],
        "intersection_f1_macro": intersection["macro_average"],
        "intersection_f1_micro": intersection["micro_average"],
        "segment_f1_macro": golden["segment_f_th0.5_1s"]["f"]["macro_average"],
        "segment_f1_micro": golden["segment_f_th0.5_1s"]["f"]["micro_average"],
        "segment_f1_best_macro": golden["segment_best_f_1s"]["macro_average"],
        "segment_auroc": golden["segment_auroc_1s"]["mean"],
        "segment_mpauc": golden["segment_pauroc_1s_maxfpr0.1"]["mean"],
        "segment_ap": golden["segment_ap_1s"]["mean"],
        "clip_auroc": golden["clip_auroc"]["mean"],
    }
    assert {key: found[key] for key in expected} == close(expected)
    assert per_label(golden_document, "psds1") == close(golden["psds_S1"]["single_class"])
    assert per_label(golden_document, "psds2") == close(golden["psds_S2"]["single_class"])
    labels = set(golden_document["per_label"])
    for column, numbers in (
        ("event_f1", golden["collar_f_th0.5"]["f"]),
        ("event_precision", golden["collar_f_th0.5"]["p"]),
        ("event_recall", golden["collar_f_th0.5"]["r"]),
        ("segment_f1", golden["segment_f_th0.5_1s"]["f"]),
        ("intersection_f1", intersection),
        ("mpauc", golden["segment_pauroc_1s_maxfpr0.1"]),
    ):
        assert per_label(golden_document, column) == close({label: numbers[label] for label in labels})


def test_the_document_of_score_tables_says_what_was_scored(golden_document: dict[str, Any]) -> None:
    assert golden_document["title"] == "scores, 60 recordings"
    assert (golden_document["recordings"], golden_document["events"]) == (60, 196)
    assert golden_document["hours"] == pytest.approx(600 / 3600)
    assert golden_document["settings"] == {"resamples": 200, "seed": 0, "level": 0.95, "threshold": 0.5}
    assert (golden_document["notes"], golden_document["unscored"]) == ([], [])
    assert (golden_document["complete"], golden_document["benchmark"]) == (True, None)
    for row in golden_document["metrics"].values():
        if row["low"] is not None:
            assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    assert golden_document["metrics"]["psds1"]["low"] < golden_document["metrics"]["psds1"]["high"]


def test_any_grid_and_any_numbers_will_do(tmp_path: Path) -> None:
    scores = tmp_path / "their scores"
    (scores / "deep").mkdir(parents=True)
    table(scores / "a.tsv", {"dog": [-3.5, 2, 2, -1], "cat": [-9, -9, -9, -0.5]})
    table(scores / "deep" / "-b, c.wav.tsv", {"cat": [-5, -5, 4, -5], "dog": [-7, -7, -7, -7]})
    (scores / "._a.tsv").write_bytes(b"\x00\x05\x16\x07")
    (scores / ".ipynb_checkpoints").mkdir()
    (scores / ".ipynb_checkpoints" / "a-checkpoint.tsv").write_text("onset\toffset\n")
    truth = written(tmp_path / "t.tsv", "filename onset offset event_label", "a.wav 1 3 dog", "z 0 1 cat")
    truth.write_text(truth.read_text().replace("z\t0\t1", "deep/-b, c.flac\t2\t3"))
    durations = tmp_path / "d.tsv"
    durations.write_text("filename\tduration\na\t4\ndeep/-b, c\t4\n")

    document = score_tables(scores, truth, durations, 0.0)

    assert set(values(document).values()) == {1.0}
    assert document["settings"]["threshold"] == 0.0
    assert document["notes"] == []
    # Where the cat begins at -0.6, there is one too many.
    many = score_tables(scores, truth, durations, -0.6, resamples=0)
    assert per_label(many, "event_precision") == {"cat": 0.5, "dog": 1.0}
    assert many["worst"] == [{"recording": "a", "f1": pytest.approx(2 / 3), "missed": 0, "false": 1}]


def test_tables_that_do_not_last_as_long_as_their_recording_are_said(tmp_path: Path) -> None:
    scores = tmp_path / "s"
    scores.mkdir()
    for name in "abc":
        table(scores / f"{name}.tsv", {"dog": [0.1, 0.9, 0.1, 0.1]}, 2.0 if name == "b" else 1.0)
    truth = written(tmp_path / "t.tsv", "filename onset offset event_label", "a 1 2 dog", "b 1 2 dog")
    durations = written(tmp_path / "d.tsv", "filename duration", "a 4", "b 4", "c 4.4")

    document = score_tables(scores, truth, durations, resamples=0)

    assert document["notes"] == [
        "recordings whose scores end over 0.5 s before or after them, as with a wrong frame rate: "
        "1, first 'b' (8 of 4 s)"
    ]


def test_scores_that_the_threshold_does_not_fit_are_said(tmp_path: Path) -> None:
    scores = tmp_path / "s"
    scores.mkdir()
    table(scores / "a.tsv", {"dog": [-3, 40, -1, -1]})
    truth = written(tmp_path / "t.tsv", "filename onset offset event_label", "a 1 2 dog")
    durations = written(tmp_path / "d.tsv", "filename duration", "a 4")
    end = "no intervals: of one recording there is nothing to draw"

    def notes(threshold: float | None) -> list[str]:
        said: list[str] = score_tables(scores, truth, durations, threshold)["notes"]
        return said

    assert notes(None) == [
        "scores run from -3 to 40, so are no probabilities, and events are those over 0.5: give a --threshold",
        end,
    ]
    assert notes(-3.0) == notes(0.5) == [end]
    assert notes(40.0) == [
        "scores run from -3 to 40: the threshold 40 is under or over all of them, and parts no events",
        end,
    ]


def test_scores_that_begin_late_are_said(tmp_path: Path) -> None:
    scores = tmp_path / "s"
    scores.mkdir()
    table(scores / "a.tsv", {"dog": [0.1, 0.9, 0.1, 0.1]})
    lines = (scores / "a.tsv").read_text().splitlines(keepends=True)
    (scores / "a.tsv").write_text(lines[0] + "".join(lines[2:]))
    truth = written(tmp_path / "t.tsv", "filename onset offset event_label", "a 1 2 dog")
    durations = written(tmp_path / "d.tsv", "filename duration", "a 4")

    document = score_tables(scores, truth, durations, resamples=0)

    assert document["notes"][-1] == "recordings whose scores begin over 0.5 s late: 1, first 'a' (at 1 s)"


def small(folder: Path) -> tuple[Path, Path, Path]:
    """Two score tables, true events and durations that fit."""
    scores = folder / "scores"
    scores.mkdir()
    for name in ("a", "b"):
        table(scores / f"{name}.tsv", {"cat": [0.1, 0.9], "dog": [0.8, 0.2]})
    truth = written(folder / "truth.tsv", "filename onset offset event_label", "a 0 1 dog", "b 1 2 cat")
    return scores, truth, written(folder / "durations.tsv", "filename duration", "a 2", "b 2")


SCORES_REFUSED: list[tuple[str, str, tuple[str, ...]]] = [
    ("scores/a.tsv", "onset offset cat dog|0 1 0.5 nan", ("a.tsv:2: got 'nan', expected a finite number",)),
    ("scores/a.tsv", "onset offset cat dog|0 1 1 1|1.5 2 1 1", ("a.tsv:3: the frame begins at 1.5 s",)),
    ("scores/a.tsv", "onset offset cat dog|0 1 1 1|1 2 1", ("a.tsv:3: got 3 cells, expected 4",)),
    ("scores/a.tsv", "onset offset cat dog|0 1 1 1|1,2,1,1", ("a.tsv:3: got 1 cells", "tabs between")),
    ("scores/a.tsv", "onset offset cat dog|1 0 1 1", ("a.tsv:2: expected 0 <= onset < offset",)),
    ("scores/a.tsv", "onset offset cat dog", ("a.tsv:2: no frames",)),
    ("scores/a.tsv", "", ("a.tsv:1: the header begins with nothing",)),
    ("scores/b.tsv", "onset offset cat cow|0 1 1 1", ("scores: 'b' and others differ in the label 'cow'",)),
    ("scores/b.tsv", "onset offset cat|0 1 1", ("scores: 'b' and others differ in the label 'dog'",)),
    (
        "scores/c.tsv",
        "onset offset cat dog|0 1 1 1",
        ("scores: 'c' and 0 more", "are not in ", "durations.tsv"),
    ),
    ("scores/a.wav.tsv", "onset offset cat dog|0 1 1 1", ("a.wav.tsv: is a second table", "beside a.tsv")),
    ("durations.tsv", "filename duration|a 2|b 2|c 2", ("durations.tsv: 'c' and 0 more", "have no table in")),
    ("durations.tsv", "filename duration|a 2", ("truth.tsv: 'b' and 0 more", "are not in", "durations.tsv")),
    (
        "durations.tsv",
        "filename duration|a 2|b 2|a.wav 3",
        ("durations.tsv:4: got 'a.wav'", "durations.tsv:2"),
    ),
    ("durations.tsv", "filename duration|a 2|b 0", ("durations.tsv:3: got duration '0'",)),
    ("durations.tsv", "filename duration|a 2|b nan", ("durations.tsv:3: got duration 'nan'",)),
    ("durations.tsv", "filename duration", ("durations.tsv: names no recording",)),
    ("durations.tsv", "", ("durations.tsv:1: got an empty file",)),
    ("durations.tsv", "filename seconds|a 2", ("durations.tsv:1: header", "no column duration")),
    ("truth.tsv", "filename onset offset event_label|a 0 1 owl", ("1 labels that have no scores", "'owl'")),
    ("truth.tsv", "filename onset offset event_label|c 0 1 dog", ("truth.tsv: 'c' and 0 more",)),
    (
        "truth.tsv",
        "filename onset offset event_label|a 0 1 dog|a.flac 1 2 dog",
        ("truth.tsv:3: got 'a.flac'",),
    ),
]


@pytest.mark.parametrize(("file", "content", "parts"), SCORES_REFUSED)
def test_score_tables_that_do_not_fit_are_refused(
    tmp_path: Path, refusal: Refusal, file: str, content: str, parts: tuple[str, ...]
) -> None:
    case = small(tmp_path)
    assert values(score_tables(*case, resamples=0))["event_f1_macro"] == pytest.approx(2 / 3)
    written(tmp_path / file, *filter(None, content.split("|")))

    message = refusal((FormatError, OptionError), score_tables, *case)

    assert [part for part in parts if part not in message] == []


def test_wrong_places_and_thresholds_are_refused(tmp_path: Path, refusal: Refusal) -> None:
    scores, truth, durations = small(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    for threshold in (float("nan"), float("inf")):
        assert "expected a finite number" in refusal(
            OptionError, score_tables, scores, truth, durations, threshold
        )
    assert "truth.tsv: no such folder" in refusal(FormatError, score_tables, truth, truth, durations)
    assert "no: no such folder" in refusal(FormatError, score_tables, tmp_path / "no", truth, durations)
    assert "holds no .tsv files" in refusal(FormatError, score_tables, empty, truth, durations)
    assert "scores: cannot be read (Is a directory)" in refusal(
        FormatError, score_tables, scores, scores, durations
    )
    assert "scores: cannot be read (Is a directory)" in refusal(
        FormatError, score_tables, scores, truth, scores
    )
    assert "no.tsv: cannot be read (No such file" in refusal(
        FormatError, score_tables, scores, tmp_path / "no.tsv", durations
    )
    truth.write_bytes(b"filename\tonset\toffset\tevent_label\na\t0\t1\tcaf\xe9\n")
    assert "truth.tsv: is not UTF-8" in refusal(FormatError, score_tables, scores, truth, durations)
