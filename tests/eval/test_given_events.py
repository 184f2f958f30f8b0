"""Lists of events of any system: golden numbers, what is handled and said, what is refused."""

import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from peaframe import formats
from peaframe.errors import FormatError, OptionError
from peaframe.eval.given import score_events
from peaframe.scores import Scores

Refusal = Callable[..., str]
documents = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "documents.py")))
GOLDEN, TRUTH, DURATIONS, HEADER = documents.GOLDEN, documents.TRUTH, documents.DURATIONS, documents.HEADER
at_least = documents.at_least
values, per_label, close, written = documents.values, documents.per_label, documents.close, documents.written
REFERENCE = HEADER + "a.wav\t1\t2\tdog\na.wav\t4\t5\tcat\nb.wav\t0\t3\tdog\n"


def test_detections_give_what_sed_eval_and_psds_eval_say(
    sed_eval_numbers: Mapping[str, Any], psds_eval_numbers: Mapping[str, Any]
) -> None:
    document = score_events(TRUTH, GOLDEN / "detections_th0.5.tsv", DURATIONS)
    collar = sed_eval_numbers["event_dcase_on0.2_off0.2_20pct_optimal"]
    second = sed_eval_numbers["segment_1s_no_length_as_in_DCASE_baseline"]

    assert values(document) == close(
        {
            "event_f1_macro": collar["macro_f"],
            "event_f1_micro": collar["micro"]["f_measure"],
            "segment_f1_macro": second["macro_f"],
            "segment_f1_micro": second["micro"]["f_measure"],
            "intersection_f1_macro": psds_eval_numbers["intersection_macro_f_th0.5"]["macro"],
            "intersection_f1_micro": values(document)["intersection_f1_micro"],
        }
    )
    assert per_label(document, "event_f1") == close(collar["class_f"])
    assert per_label(document, "segment_f1") == close(second["class_f"])
    assert per_label(document, "intersection_f1") == close(
        psds_eval_numbers["intersection_macro_f_th0.5"]["class"]
    )
    names = {"ER": "error_rate", "S": "substitution_rate", "D": "deletion_rate", "I": "insertion_rate"}
    for key, numbers in (("event_based", collar), ("segment_based", second)):
        micro = document["sed_eval"][key]["micro"]
        assert {name: micro[name] for name in numbers["micro"] if name in micro} == close(
            {name: value for name, value in numbers["micro"].items() if name in micro}
        )
        assert {short: micro[long] for short, long in names.items()} == close(
            {short: numbers["micro"][short] for short in names}
        )
        rows = document["sed_eval"][key]["per_label"]
        assert {label: row["f_measure"] for label, row in rows.items()} == close(numbers["class_f"])
        assert {
            label: {"Nref": r["reference"], "Nsys": r["estimated"]} for label, r in rows.items()
        } == numbers["class_counts"]


@pytest.mark.slow
def test_a_folder_of_fifty_operating_points_gives_what_psds_eval_says(
    golden_scores: Mapping[str, Scores], psds_eval_numbers: Mapping[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "points"
    folder.mkdir()
    for number, threshold in enumerate(np.arange(0.01, 1, 0.02).tolist()):
        found = {name: at_least(scores, threshold) for name, scores in golden_scores.items()}
        formats.save(folder / f"{number:02}.tsv", found)
    (folder / "._00.tsv").write_bytes(b"\x00\x05\x16\x07")  # what macOS leaves beside a file
    (folder / "readme.txt").write_text("fifty thresholds")

    document = score_events(TRUTH, folder, DURATIONS, resamples=100)

    found = values(document)
    assert (found["psds1"], found["psds2"]) == close(
        (psds_eval_numbers["psds_S1_50thresholds"], psds_eval_numbers["psds_S2_50thresholds"])
    )
    assert found["psds1_a"] == close(np.mean(list(per_label(document, "psds1").values())))
    assert document["title"] == "points, 60 recordings at 50 operating points"
    assert document["notes"] == [
        "no intervals: operating points are not resampled",
        "PSDS of 50 operating points, which is at most that of all thresholds",
    ]
    assert document["events"] == 196


def scored(
    folder: Path, estimated: str | bytes, durations: str | None = "a\t10\nb\t10\n", **options: Any
) -> Any:
    (folder / "ref.tsv").write_text(REFERENCE, encoding="utf-8")
    (folder / "est.tsv").write_bytes(estimated if isinstance(estimated, bytes) else estimated.encode())
    given = None
    if durations is not None:
        given = folder / "durations.tsv"
        given.write_text("filename\tduration\n" + durations, encoding="utf-8")
    return score_events(folder / "ref.tsv", folder / "est.tsv", given, **options)


ALL_FOUND = "a\t1\t2\tdog\na\t4\t5\tcat\nb\t0\t3\tdog\n"


@pytest.mark.parametrize(
    "estimated",
    [
        REFERENCE,
        HEADER + ALL_FOUND,
        HEADER + "b\t0\t3\tdog\na\t4\t5\tcat\na\t1\t2\tdog\n",
        (HEADER + ALL_FOUND).replace("\n", "\r\n"),
        "\ufeff" + HEADER + "\n" + ALL_FOUND + "\n",
        "event_label\tfilename\tscore\toffset\tonset\ndog\ta.flac\t.5\t2\t1\ncat\ta.flac\t.5\t5\t4\ndog\tb\t.5\t3\t0\n",
    ],
    ids=["same", "bare names", "unsorted", "windows", "bom and blank lines", "columns"],
)
def test_forms_of_a_table_that_make_no_difference(tmp_path: Path, estimated: str) -> None:
    document = scored(tmp_path, estimated)

    assert set(values(document).values()) == {1.0}
    assert document["notes"] == []
    assert document["hours"] == pytest.approx(20 / 3600)


@pytest.mark.parametrize("name", ["est.csv", "est.json", "est.parquet", "est.jsonl"])
def test_tables_that_peaframe_writes_are_read_too(tmp_path: Path, name: str) -> None:
    (tmp_path / "all.tsv").write_text(
        HEADER + ALL_FOUND.replace("a\t", "deep/a.wav\t").replace("b\t", "b.flac\t")
    )
    (tmp_path / "ref.tsv").write_text(REFERENCE.replace("a.wav", "deep/a.flac"))
    (tmp_path / "d.tsv").write_text("filename\tduration\ndeep/a\t10\nb\t10\n")
    formats.save(tmp_path / name, formats.load(tmp_path / "all.tsv"))

    document = score_events(tmp_path / "ref.tsv", tmp_path / name, tmp_path / "d.tsv")

    assert set(values(document).values()) == {1.0}
    assert document["notes"] == []


def test_what_is_handled_is_said(tmp_path: Path) -> None:
    odd = "a\t1\t2\tdog\n" + "b\t9\t10.5\tdog\n" + "b\t11\t12\tdog\n" + "a\t3\t3\tdog\n" + "a\t6\t7\towl\n"
    document = scored(tmp_path, HEADER + ALL_FOUND + odd)

    assert document["notes"] == [
        "est.tsv: rows dropped that say the same as another one: 1",
        "est.tsv: detections dropped that last no time: 1",
        "est.tsv: detections that reach beyond their recording's end, taken as they are: 2",
        "detections of labels without true events, which count nowhere: 1",
    ]
    assert document["unscored"] == ["owl"]
    assert per_label(document, "event_precision") == {"cat": 1.0, "dog": 0.5}

    truth = written(
        tmp_path / "t.tsv", "filename onset offset event_label", "a 9 11 dog", "a 10 11 dog", "a 1 2 cat"
    )
    document = score_events(truth, tmp_path / "est.tsv", tmp_path / "durations.tsv")
    assert document["notes"][:2] == [
        "t.tsv: true events dropped that begin at or after their clip's end: 1",
        "t.tsv: true events cut that reach beyond their clip's end: 1",
    ]
    assert document["events"] == 2


def test_no_detection_at_all_is_a_score_of_0(tmp_path: Path) -> None:
    for estimated in (HEADER, HEADER + "a\t\t\t\n"):
        document = scored(tmp_path, estimated)
        assert set(values(document).values()) == {0.0}
        assert document["notes"] == ["est.tsv: holds no detection"]
        assert document["confusion"]["matrix"] == [[0, 0, 1], [0, 0, 2], [0, 0, 0]]
        assert document["sed_eval"]["event_based"]["micro"]["deletion_rate"] == 1.0


def test_without_durations_recordings_end_with_their_last_event(tmp_path: Path) -> None:
    document = scored(tmp_path, HEADER + "a\t1\t2\tdog\nc.mp3\t1\t8\tdog\n", None)

    assert (document["recordings"], document["hours"]) == (3, pytest.approx((5 + 3 + 8) / 3600))
    assert document["notes"] == [
        "hours count each recording up to its last event, for want of --durations",
        "recordings in the table of true events only: 1, first 'b'",
        "recordings in the table of detections only: 1, first 'c'",
    ]
    with_durations = scored(tmp_path, HEADER + "a\t1\t2\tdog\nc.mp3\t1\t8\tdog\n", "a\t9\nb\t9\nc\t9\n")
    assert values(with_durations) == values(document)


EVENTS_REFUSED: list[tuple[str | bytes, tuple[str, ...]]] = [
    ("a\tnan\t2\tdog\n", ("est.tsv:2: got onset 'nan', expected seconds, 0 or more",)),
    ("a\t0\t1\tdog\na\t-1\t2\tdog\n", ("est.tsv:3: got onset '-1'",)),
    ("a\t1\tinf\tdog\n", ("est.tsv:2: got offset 'inf'",)),
    ("a\t2\t1\tdog\n", ("est.tsv:2: got an event that ends at 1 s, before its onset at 2 s",)),
    ("a\t1\t2\n", ("est.tsv:2: got 3 cells with tabs between them, expected 4",)),
    ("a\t1\t2\tdog\na,1,2,dog\n", ("est.tsv:3: this line has commas where others have tabs",)),
    ("a\t1\t2\t\n", ("est.tsv:2: got a blank label",)),
    ("\t1\t2\tdog\n", ("est.tsv:2: the file name is blank",)),
    ("c\t1\t2\tdog\n", ("est.tsv: 'c' and 0 more recordings are not in", "durations.tsv")),
    ("a.wav\t1\t2\tdog\na.mp3\t3\t4\tdog\n", ("est.tsv:3: got 'a.mp3' beside 'a.wav'",)),
    ('a\t1\t2\t"dog\n', ("est.tsv:2: not a table",)),
    (b"a\t1\t2\tcaf\xe9\n", ("est.tsv: is not UTF-8",)),
]


@pytest.mark.parametrize(("rows", "parts"), EVENTS_REFUSED)
def test_events_that_make_no_sense_are_refused_with_file_and_row(
    tmp_path: Path, refusal: Refusal, rows: str | bytes, parts: tuple[str, ...]
) -> None:
    content = HEADER.encode() + (rows if isinstance(rows, bytes) else rows.encode())
    message = refusal((FormatError, OptionError), scored, tmp_path, content)
    assert [part for part in parts if part not in message] == []


def test_headers_files_and_folders_that_do_not_fit_are_refused(tmp_path: Path, refusal: Refusal) -> None:
    assert "est.tsv:1: got an empty file" in refusal(FormatError, scored, tmp_path, "")
    assert "est.tsv:1: header" in refusal(FormatError, scored, tmp_path, "a\t1\t2\tdog\n")
    assert "has no column offset" in refusal(FormatError, scored, tmp_path, "filename\tonset\tevent_label\n")
    assert "a column twice" in refusal(FormatError, scored, tmp_path, HEADER.replace("\n", "\tonset\n"))
    assert "ref.tsv: 'b' and 0 more recordings are not in" in refusal(
        OptionError, scored, tmp_path, HEADER, "a\t10\n"
    )
    reference, durations = tmp_path / "ref.tsv", tmp_path / "durations.tsv"
    points = tmp_path / "points"
    points.mkdir()
    assert "whose PSDS needs --durations" in refusal(OptionError, score_events, reference, points)
    durations.write_text("filename\tduration\na\t10\nb\t10\n")
    assert "points: holds no .tsv files" in refusal(FormatError, score_events, reference, points, durations)
    assert "points: cannot be read (Is a directory)" in refusal(FormatError, score_events, points, reference)
    assert "no.tsv: cannot be read" in refusal(
        FormatError, score_events, reference, tmp_path / "no.tsv", durations
    )
    (points / "0.1.tsv").write_text(HEADER + "a\t1\t2\tdog\n")
    (points / "0.2.tsv").write_text(HEADER + "a\t1\t2\tdog\na\t2\t1\tdog\n")
    assert "0.2.tsv:3: got an event that ends" in refusal(
        FormatError, score_events, reference, points, durations
    )
    reference.write_text(HEADER + "a\t\t\t\n")
    assert "has an event in the ground truth of" in refusal(
        OptionError, score_events, reference, tmp_path / "est.tsv", durations
    )


def test_notes_of_many_operating_points_are_a_few(tmp_path: Path) -> None:
    scored(tmp_path, HEADER)
    points = tmp_path / "points"
    points.mkdir()
    for number in range(9):
        late = "b\t9\t11\tdog\n" if number else ""
        (points / f"{number}.tsv").write_text(HEADER + ALL_FOUND + late)
    overlapping = REFERENCE + "b.wav\t2\t4\tdog\n"
    (tmp_path / "ref.tsv").write_text(overlapping)

    document = score_events(tmp_path / "ref.tsv", points, tmp_path / "durations.tsv")

    late = "detections that reach beyond their recording's end, taken as they are: 1"
    assert document["notes"] == [
        *(f"{number}.tsv: {late}" for number in range(1, 6)),
        "and 3 more such notes of operating points",
        "true events merged into another of their label that they overlap or touch: 1",
        "PSDS of 9 operating points, which is at most that of all thresholds",
    ]
    assert (document["events"], values(document)["psds1"]) == (3, 1.0)
