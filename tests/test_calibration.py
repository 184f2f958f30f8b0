from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from peaframe.boxes import BoxOptions
from peaframe.calibration import Calibration, Isotonic, Platt, QueryFit, fit_isotonic, fit_platt, log_odds
from peaframe.errors import FormatError, OptionError
from peaframe.events import EventOptions
from peaframe.scores import Scores

ODD = 'a "queer"\tname, 狗\u2028 {0}'
EVENTS = EventOptions(0.2, 0.1, 0.36, 0.08, 0.2, BoxOptions(0.32, 0.1, 3.0))


def a_calibration() -> Calibration:
    stairs = Isotonic((0.1, 0.5, 0.6), (0.05, 0.05, 0.8))
    return Calibration(
        "mini",
        {
            "dog": QueryFit(Platt(2.0, -1.0), 0.1, EVENTS, 12),
            ODD: QueryFit(stairs, 0.25, EventOptions(), 2, shared=True),
        },
    )


def scores_of(values: Any, *labels: str, **meta: str) -> Scores:
    return Scores(np.array(values, dtype=np.float32), labels, 1.0, meta=meta)


def odds(p: float) -> float:
    return math.log(p / (1 - p))


def probability(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# Curves


def test_platt_moves_log_odds() -> None:
    got = Platt(2.0, -1.0)([0.1, 0.5, 0.9])
    assert got.tolist() == pytest.approx([probability(2 * odds(p) - 1) for p in (0.1, 0.5, 0.9)], rel=1e-12)
    assert Platt(1.0, 0.0)([0.0, 1.0]).tolist() == pytest.approx([1e-7, 1 - 1e-7], rel=1e-9)
    assert Platt(1.0, -40.0)([0.5]).tolist() == pytest.approx([math.exp(-40)], rel=1e-12)


def test_isotonic_is_straight_between_knots_and_level_outside() -> None:
    curve = Isotonic((0.2, 0.4, 0.6), (0.1, 0.3, 0.3))
    assert curve([0.0, 0.2, 0.3, 0.4, 0.5, 1.0]).tolist() == pytest.approx([0.1, 0.1, 0.2, 0.3, 0.3, 0.3])


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (Platt, (-0.1, 0.0), "slope -0.1"),
        (Platt, (1.0, math.nan), "offset nan"),
        (Isotonic, ((), ()), "knots do not rise"),
        (Isotonic, ((0.1, 0.2), (0.5,)), "as many probabilities as scores"),
        (Isotonic, ((0.2, 0.2), (0.4, 0.5)), "knots do not rise"),
        (Isotonic, ((0.1, 0.2), (0.5, 0.4)), "knots do not rise"),
        (Isotonic, ((0.1, 1.2), (0.4, 0.5)), "knots do not rise"),
        (Isotonic, ((0.1, math.nan), (0.4, 0.5)), "knots do not rise"),
        (Isotonic, ((0.1, 0.2), (0.0, 0.5)), "knots do not rise"),
        (QueryFit, (Platt(1.0, 0.0), 0.0, EVENTS, 3), "a prior of 0.0; give a share over 0 and under 1"),
    ],
)
def test_senseless_curves_are_refused(make: Any, arguments: Any, message: str, refusal: Any) -> None:
    assert message in refusal(OptionError, make, *arguments)


# Fitting


def test_platt_recovers_a_known_logistic() -> None:
    grid = 1 / (1 + np.exp(-np.linspace(-6, 6, 121)))
    true = 1 / (1 + np.exp(-(1.7 * log_odds(grid) - 0.8)))
    both = np.concatenate([grid, grid])
    targets = np.repeat([True, False], len(grid))
    weights = 1e6 * np.concatenate([true, 1 - true])
    fitted = fit_platt(both, targets, weights)
    assert (fitted.slope, fitted.offset) == (pytest.approx(1.7, abs=1e-4), pytest.approx(-0.8, abs=1e-4))


def test_platt_recovers_it_from_a_sample() -> None:
    random = np.random.default_rng(0)
    scores = random.beta(0.5, 3, 100_000)
    targets = random.random(len(scores)) < Platt(0.6, 0.5)(scores)
    fitted = fit_platt(scores, targets)
    assert (fitted.slope, fitted.offset) == (pytest.approx(0.6, abs=0.02), pytest.approx(0.5, abs=0.05))


def test_platts_targets_keep_a_perfect_score_finite() -> None:
    """Two scores fit two targets exactly: 3/4 for two active frames, and 1/4 for two that are not."""
    fitted = fit_platt([0.2, 0.2, 0.9, 0.9], [False, False, True, True])
    assert fitted([0.2, 0.9]).tolist() == pytest.approx([0.25, 0.75], abs=1e-7)


def test_weights_are_repeats() -> None:
    scores, targets = [0.1, 0.4, 0.5, 0.8], [False, True, False, True]
    weights = [5, 1, 2, 3]
    for fit in (fit_platt, fit_isotonic):
        repeated = fit(np.repeat(scores, weights), np.repeat(targets, weights))
        x = np.linspace(0, 1, 21)
        assert fit(scores, targets, weights)(x).tolist() == pytest.approx(repeated(x).tolist(), abs=1e-7)
        assert fit([*scores, 0.7], [*targets, True], [*weights, 0])(x).tolist() == pytest.approx(
            repeated(x).tolist()
        )


def test_scores_that_point_the_wrong_way_become_level() -> None:
    scores, targets = [0.1, 0.2, 0.8, 0.9], [True, True, False, False]
    assert fit_platt(scores, targets) == Platt(0.0, 0.0)
    assert fit_isotonic(scores, targets)([0.0, 0.5, 1.0]).tolist() == [0.5, 0.5, 0.5]


def test_isotonic_by_hand() -> None:
    fitted = fit_isotonic([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0, 1, 0, 0, 1, 1])
    # 0 | 1 0 0 | 1 1, and none nearer to 0 or 1 than 1/8
    assert fitted.scores == (0.1, 0.2, 0.4, 0.5, 0.6)
    assert fitted.probabilities == (0.125, pytest.approx(1 / 3), pytest.approx(1 / 3), 0.875, 0.875)


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], []), "not all 0"),
        (([0.1, 0.2], [True]), "scores of shape (2,), targets of (1,)"),
        (([0.1], [True], [0.0]), "not all 0"),
        (([0.1, 0.2], [True, False], [1.0, -1.0]), "weights of 0 or more"),
        (([0.1, math.nan], [True, False]), "no probabilities; expected numbers from 0 to 1"),
        (([0.1, 1.2], [True, False]), "no probabilities"),
    ],
)
def test_what_cannot_be_fitted_is_refused(fit: Any, arguments: Any, message: str, refusal: Any) -> None:
    assert message in refusal(OptionError, fit, *arguments)


SAMPLES = st.integers(1, 40).flatmap(
    lambda count: st.tuples(
        arrays(
            np.float32,
            count,
            elements=st.one_of(
                st.floats(0, 1, width=32), st.sampled_from(np.float32([0, 0.1, 0.3, 0.9, 1]).tolist())
            ),
        ),
        arrays(np.bool_, count),
    )
)


@given(SAMPLES)
def test_isotonic_is_pool_adjacent_violators(sample: tuple[np.ndarray, np.ndarray]) -> None:
    scores, targets = sample
    blocks: list[list[float]] = []  # [active, frames], one for each value at first
    for value in np.unique(scores):
        blocks.append([float(targets[scores == value].sum()), float((scores == value).sum())])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            active, frames = blocks.pop()
            blocks[-1][0] += active
            blocks[-1][1] += frames
    naive, done = {}, 0
    counts = [int((scores == value).sum()) for value in np.unique(scores)]
    left = [frames for _, frames in blocks]
    for value, count in zip(np.unique(scores), counts, strict=True):
        if left[done] == 0:
            done += 1
        left[done] -= count
        naive[float(value)] = blocks[done][0] / blocks[done][1]
    edge = 1 / (len(scores) + 2)
    expected = [min(max(naive[float(value)], edge), 1 - edge) for value in scores]
    assert fit_isotonic(scores, targets)(scores).tolist() == pytest.approx(expected, abs=1e-12)


@given(SAMPLES, st.lists(st.floats(0, 1, width=32), min_size=2), st.none() | st.floats(0.001, 0.999))
def test_calibrated_scores_rise_with_raw_ones(
    sample: tuple[np.ndarray, np.ndarray], values: list[float], prior: float | None
) -> None:
    column = np.sort(np.array(values, dtype=np.float32))[:, None]
    for fit in (fit_platt, fit_isotonic):
        fitted = Calibration("m", {"dog": QueryFit(fit(*sample), 0.3, EVENTS, 5)})
        calibrated = fitted.apply(Scores(column, ("dog",)), prior=prior).values[:, 0]
        assert (np.diff(calibrated) >= 0).all()
        assert 0 <= calibrated.min() <= calibrated.max() <= 1


# A calibration of many queries


def test_known_queries_are_calibrated_and_others_are_not() -> None:
    scores = scores_of([[0.1, 0.7, 0.5], [0.9, 0.2, 0.55]], "dog", "cat", ODD, model="mini", note="x")
    calibrated = a_calibration().apply(scores)
    dog = [probability(2 * odds(p) - 1) for p in (0.1, 0.9)]
    assert calibrated["dog"].tolist() == pytest.approx(dog, rel=1e-5)
    assert calibrated["cat"].tolist() == scores["cat"].tolist()
    assert calibrated[ODD].tolist() == pytest.approx([0.05, 0.425], rel=1e-5)
    assert (calibrated.start, calibrated.end, calibrated.labels) == (1.0, 1.08, scores.labels)
    assert calibrated.meta == {
        "model": "mini",
        "note": "x",
        "calibration": json.dumps(["dog", ODD], ensure_ascii=False),
    }
    assert scores["dog"].tolist() == pytest.approx([0.1, 0.9])


def test_another_prior_moves_the_log_odds() -> None:
    scores = scores_of([[0.3, 0.55]], "dog", ODD)
    plain = a_calibration().apply(scores)
    assert a_calibration().apply(scores, prior={"dog": 0.1}).values.tolist() == pytest.approx(
        plain.values, rel=1e-6
    )
    moved = a_calibration().apply(scores, prior=0.4)
    for label, prior in (("dog", 0.1), (ODD, 0.25)):
        expected = odds(float(plain[label][0])) + odds(0.4) - odds(prior)
        assert odds(float(moved[label][0])) == pytest.approx(expected, abs=1e-5)


def test_options_are_those_fitted_or_the_base() -> None:
    base = EventOptions(0.35)
    assert a_calibration().options(["dog", "cat"], base) == {"dog": EVENTS, "cat": base}
    assert a_calibration().known(["cat", ODD, "dog"]) == [ODD, "dog"]


def test_misuse_is_refused(refusal: Any) -> None:
    fitted = a_calibration()
    other = scores_of([[0.3]], "dog", model="large")
    assert "fitted for 'mini', and the model is 'large'" in refusal(OptionError, fitted.apply, other)
    assert "use --model mini" in refusal(OptionError, fitted.check_model, "large")
    marked = dataclasses.replace(fitted, fingerprint="00ff")
    marked.check_model("mini", "00ff")
    marked.check_model("mini")
    assert "other weights of 'mini' (00ff, these are 11aa)" in refusal(
        OptionError, marked.check_model, "mini", "11aa"
    )
    twice = fitted.apply(scores_of([[0.3]], "dog", model="mini"))
    assert "calibrated already" in refusal(OptionError, fitted.apply, twice)
    for prior in (0, 1, math.nan):
        assert "for 'dog'" in refusal(OptionError, fitted.apply, scores_of([[0.3]], "dog"), prior=prior)


# Files


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    a_calibration().save(tmp_path / "cal.json")
    again = Calibration.load(tmp_path / "cal.json")
    assert again == a_calibration()
    assert list(again.queries) == ["dog", ODD]
    content = json.loads((tmp_path / "cal.json").read_text(encoding="utf-8"))
    assert (content["format"], content["version"], content["model"]) == ("peaframe-calibration", 1, "mini")
    assert content["queries"]["dog"]["platt"] == {"slope": 2.0, "offset": -1.0}
    assert [file.name for file in tmp_path.iterdir()] == ["cal.json"]


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path, refusal: Any) -> None:
    assert "cannot be written" in refusal(FormatError, a_calibration().save, tmp_path / "no" / "cal.json")


def change(path: str, value: Any) -> Any:
    def changed(content: dict[str, Any]) -> None:
        *parents, last = path.split("/")
        for parent in parents:
            content = content[parent]
        content[last] = value

    return changed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (change("format", "other"), "does not say format 'peaframe-calibration'"),
        (change("version", 2), "a calibration of version 2, expected 1; use the peaframe that wrote it"),
        (change("model", None), "without model or queries"),
        (change("queries", []), "without model or queries"),
        (change("queries/dog", 3), "'dog' has no curve, or two"),
        (change("queries/dog/isotonic", {}), "'dog' has no curve, or two"),
        (change("queries/dog/platt", 3), "the curve of 'dog' is 3"),
        (change("queries/dog/platt/slope", "steep"), "key 'dog.slope': got 'steep'"),
        (change("queries/dog/platt/slope", -1), "slope -1"),
        (change("queries/dog/platt/slope", math.nan), "slope nan"),
        (change("queries/dog/prior", 1), "a prior of 1.0"),
        (change("queries/dog/prio", 1), "did you mean 'prior'?"),
        (change("queries/dog/events/threshold", 2), "threshold is 2"),
        (change("queries/dog/events/boxes/step", 0), "step is 0"),
        (change("queries/dog/true_events", True), "key 'dog.true_events': got True"),
    ],
)
def test_a_damaged_file_is_said(tmp_path: Path, changed: Any, message: str, refusal: Any) -> None:
    path = tmp_path / "cal.json"
    a_calibration().save(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    changed(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    said = refusal(FormatError, Calibration.load, path)
    assert said.startswith(f"{path}: ")
    assert message in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the calibration (No such file or directory)"),
        (b"", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b'{"format": "peaframe-cal', "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[1, 2]", "does not say format"),
        (b"null", "does not say format"),
    ],
)
def test_no_calibration_is_said(tmp_path: Path, content: bytes | None, message: str, refusal: Any) -> None:
    path = tmp_path / "cal.json"
    if content is not None:
        path.write_bytes(content)
    said = refusal(FormatError, Calibration.load, path)
    assert message in said
    assert said.endswith("expected a file written by peaframe calibrate")
