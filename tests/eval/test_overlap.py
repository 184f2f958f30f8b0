import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peaframe.errors import OptionError
from peaframe.eval import (
    PSDS1,
    PSDS2,
    PSDSSettings,
    events_at,
    intersection_counts,
    psds,
    psds_of_points,
)
from peaframe.events import Event
from peaframe.scores import Scores

at_least = runpy.run_path(str(Path(__file__).parent / "documents.py"))["at_least"]


def test_agrees_with_sed_scores_eval_and_psds_eval(
    golden_scores: Mapping[str, Scores],
    golden_truth: Mapping[str, list[Event]],
    golden_detections: Mapping[str, list[Event]],
    sed_scores_eval_numbers: Mapping[str, Any],
    psds_eval_numbers: Mapping[str, Any],
) -> None:
    found = {file: events_at(scores, 0.5) for file, scores in golden_scores.items()}
    result = intersection_counts(found, golden_truth).f_scores()
    expected = sed_scores_eval_numbers["intersection_f_th0.5_dtc0.5_gtc0.5"]
    for short, key in (("f", "f_measure"), ("p", "precision"), ("r", "recall")):
        assert result.macro[key] == pytest.approx(expected[short]["macro_average"], abs=1e-9)
        assert result.micro[key] == pytest.approx(expected[short]["micro_average"], abs=1e-9)
        for label, row in result.per_label.items():
            assert row[key] == pytest.approx(expected[short][label], abs=1e-9)

    # These detections have scores of 0.5 too.
    result = intersection_counts(golden_detections, golden_truth).f_scores()
    expected = psds_eval_numbers["intersection_macro_f_th0.5"]
    assert result.macro["f_measure"] == pytest.approx(expected["macro"], abs=1e-9)
    assert {label: row["f_measure"] for label, row in result.per_label.items()} == pytest.approx(
        expected["class"], abs=1e-9
    )


def test_a_missed_label_counts_in_the_macro_mean() -> None:
    # psds_eval leaves it out and says 1.
    truth = {"a": [Event(0, 1, "x"), Event(2, 3, "y")]}

    result = intersection_counts({"a": [Event(0, 1, "x")]}, truth).f_scores()

    assert result.macro["f_measure"] == 0.5
    assert result.per_label["y"]["f_measure"] == 0.0


def test_shares_are_taken_of_merged_events() -> None:
    truth = {"a": [Event(0, 1, "x"), Event(0.5, 2, "x")]}
    found = {"a": [Event(0, 0.8, "x"), Event(0.7, 1.0, "x")]}

    counts = intersection_counts(found, truth, dtc=1.0, gtc=0.5)

    assert (counts.true.sum(), counts.found.sum(), counts.hit.sum()) == (1, 1, 1)
    assert intersection_counts(found, truth, gtc=0.51).hit.sum() == 0
    with pytest.raises(OptionError, match="gtc 0; expected a share"):
        intersection_counts(found, truth, gtc=0)


@pytest.mark.parametrize(("settings", "name"), [(PSDS1, "psds_S1"), (PSDS2, "psds_S2")])
def test_fifty_operating_points_give_what_psds_eval_says(
    settings: PSDSSettings,
    name: str,
    golden_scores: Mapping[str, Scores],
    golden_truth: Mapping[str, list[Event]],
    golden_durations: Mapping[str, float],
    psds_eval_numbers: Mapping[str, float],
) -> None:
    points = [
        {file: at_least(scores, threshold) for file, scores in golden_scores.items()}
        for threshold in np.arange(0.01, 1, 0.02).tolist()
    ]

    result = psds_of_points(points, golden_truth, golden_durations, settings)

    assert result.value == pytest.approx(psds_eval_numbers[f"{name}_50thresholds"], abs=1e-9)
    assert result.value < psds(golden_scores, golden_truth, settings).value


def test_operating_points_that_make_no_sense_are_refused() -> None:
    truth = {"a": [Event(0, 1, "x")]}
    with pytest.raises(OptionError, match="no operating points"):
        psds_of_points([], truth, {"a": 10.0})
    with pytest.raises(OptionError, match="no duration for 'b'"):
        psds_of_points([{"b": []}], truth, {"a": 10.0})
