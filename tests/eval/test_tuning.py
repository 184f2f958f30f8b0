"""Post-processing and calibration fitted on development data."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peaframe.boxes import BoxOptions
from peaframe.calibration import Platt, fit_isotonic, fit_platt
from peaframe.errors import OptionError
from peaframe.eval import collar_counts
from peaframe.eval.corpus import align
from peaframe.eval.laid import Laid
from peaframe.eval.tuning import TuningGrid, cross_entropy, fit_calibration, tune_events
from peaframe.eval.tuning import _detections as detections
from peaframe.events import Event, EventOptions, activity, events_from_scores, merge_events
from peaframe.scores import Scores

Truth = dict[str, list[Event]]
SMALL = TuningGrid(
    thresholds=(0.1, 0.4, 0.8),
    medians=(0.0, 0.2),
    lows=(1.0, 0.5),
    merge_gaps=(0.0, 0.4),
    min_durations=(0.0, 0.16),
    boxes=(BoxOptions(0.16), BoxOptions(0.48, 0.1, 1.0)),
)
ONLY = {"medians": (0.0,), "lows": (1.0,), "merge_gaps": (0.0,), "min_durations": (0.0,), "boxes": ()}


def drawn(events: list[Event], labels: tuple[str, ...], frames: int = 250, high: float = 1.0) -> np.ndarray:
    return activity(events, labels, frames).astype(np.float32) * np.float32(high)


def noisy(recordings: int, labels: tuple[str, ...], seed: int = 0) -> tuple[dict[str, Scores], Truth]:
    """Recordings of 1 to 10 s with a few events of each label, and scores that follow them badly."""
    random = np.random.default_rng(seed)
    scores, truth = {}, {}
    for number in range(recordings):
        frames = int(random.integers(25, 251))
        duration = frames / 25 - float(random.uniform(0, 0.03))
        events = []
        for label in labels:
            for _ in range(random.integers(0, 4)):
                onset = float(random.uniform(0, duration - 0.2))
                offset = min(duration, onset + float(random.uniform(0.1, 2)))
                events.append(Event(onset, offset, label))
        logits = 4 * drawn(events, labels, frames) - 3 + random.normal(0, 1.5, (frames, len(labels)))
        name = f"take {number}"
        scores[name] = Scores((1 / (1 + np.exp(-logits))).astype(np.float32), labels, 0.0, duration)
        truth[name] = events
    return scores, truth


def f1(scores: dict[str, Scores], truth: Truth, options: Any, label: str) -> float:
    found = {name: events_from_scores(own, options) for name, own in scores.items()}
    merged = {name: merge_events(events) for name, events in truth.items()}
    return collar_counts(found, merged, labels=[label]).f_scores().per_label[label]["f_measure"]


# The fast count, against the definition


def check_counts(scores: dict[str, Scores], truth: Truth, grid: TuningGrid, label: str) -> None:
    corpus = align(scores, truth)
    laid = Laid(corpus)
    merged = {name: merge_events(events) for name, events in truth.items()}
    tried = list(detections(laid, corpus.column(label), grid))
    assert len(tried) == len(grid.options())
    for options, (onsets, stops) in zip(grid.options(), tried, strict=True):
        found = {name: events_from_scores(own, options) for name, own in scores.items()}
        counts = collar_counts(found, merged, labels=[label])
        assert len(onsets) == counts.found.sum(), options
        assert laid.hits(label, onsets, stops) == counts.hit.sum(), options


def test_detections_and_hits_are_those_of_each_recording_by_itself() -> None:
    scores, truth = noisy(12, ("dog", "cat"))
    for label in ("dog", "cat"):
        check_counts(scores, truth, SMALL, label)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_they_are_on_scores_full_of_ties(data: st.DataObject) -> None:
    levels = st.sampled_from([0.0, 0.1, 0.2, 0.4, 0.8, 1.0])
    scores, truth = {}, {}
    for name in "abc":
        values = data.draw(st.lists(levels, min_size=0 if name == "b" else 1, max_size=40))
        scores[name] = Scores(np.array(values, dtype=np.float32).reshape(-1, 1), ("dog",))
        ticks = data.draw(st.sets(st.integers(0, 40), max_size=8).map(sorted))
        truth[name] = [Event(on / 25, off / 25, "dog") for on, off in itertools.pairwise(ticks)][::2]
    truth["a"] = [*truth["a"], Event(0.0, 0.2, "dog")]
    check_counts(scores, truth, SMALL, "dog")


# What is chosen


def test_perfect_scores_keep_the_simplest_options_and_all_events() -> None:
    truth = {f"r{i}": [Event(1 + i / 25, 3 + i / 25, "dog"), Event(5.0, 6.0, "dog")] for i in range(4)}
    scores = {name: Scores(drawn(events, ("dog",)), ("dog",)) for name, events in truth.items()}
    options = tune_events(scores, truth)
    assert options == {"dog": EventOptions(TuningGrid().thresholds[0])}
    assert f1(scores, truth, options, "dog") == 1.0


def test_each_option_is_found_where_it_is_needed() -> None:
    """Scores damaged so that one option alone makes them good again."""
    events = {f"r{i}": [Event(1.0, 3.0, "dog"), Event(5.0, 6.0, "dog")] for i in range(4)}

    def damaged(spoil: Any) -> dict[str, Scores]:
        scores = {}
        for name, own in events.items():
            values = drawn(own, ("dog",), high=0.9)
            spoil(values)
            scores[name] = Scores(values, ("dog",))
        return scores

    def clicks(values: np.ndarray) -> None:
        values[[10, 90, 100, 200]] = 0.9

    def holes(values: np.ndarray) -> None:
        values[[30, 31, 32, 60, 61, 130, 131]] = 0.0

    def low_tails(values: np.ndarray) -> None:
        values[40:75] = 0.3
        values[200:230] = 0.3

    def tune(spoil: Any, **grid: Any) -> EventOptions:
        scores = damaged(spoil)
        chosen = tune_events(scores, events, grid=TuningGrid(**{**ONLY, "thresholds": (0.2, 0.5), **grid}))[
            "dog"
        ]
        assert f1(scores, events, chosen, "dog") == 1.0
        return chosen

    assert tune(clicks, min_durations=(0.0, 0.2)) == EventOptions(0.2, min_duration=0.2)
    assert tune(clicks, medians=(0.0, 0.2)) == EventOptions(0.2, median=0.2)
    assert tune(holes, merge_gaps=(0.0, 0.2)) == EventOptions(0.2, merge_gap=0.2)
    assert tune(low_tails, lows=(1.0, 0.5)) == EventOptions(0.5, 0.25)

    def rising(values: np.ndarray) -> None:
        values[125:150] = 0.2  # one event that is unsure
        values[90:97, 0] = np.linspace(0, 0.12, 7)

    boxes = BoxOptions(0.48, 0.0, 2.0)
    found = tune(rising, thresholds=(0.1,), medians=(), boxes=(boxes,))
    assert found == EventOptions(0.1, boxes=boxes)


def test_the_best_of_the_grid_wins_without_a_prior() -> None:
    scores, truth = noisy(25, ("dog", "cat"))
    chosen = tune_events(scores, truth, grid=SMALL, prior_events=0.0)
    assert list(chosen) == ["cat", "dog"]
    for label, own in chosen.items():
        best = [f1(scores, truth, options, label) for options in SMALL.options()]
        assert f1(scores, truth, own, label) == max(best)
        assert SMALL.options().index(own) == best.index(max(best))


def test_a_label_of_few_events_gets_what_is_best_for_all() -> None:
    labels = ("cat", "dog", "emu", "owl")
    scores, truth = noisy(16, labels)
    kept = {"emu": 3}
    for name, events in truth.items():
        truth[name] = [e for e in events if kept.get(e.label, 99) > 0 and e.label != "owl"]
        kept["emu"] -= sum(e.label == "emu" for e in truth[name])
    truth = {name: merge_events(events) for name, events in truth.items()}
    few = sum(event.label == "emu" for events in truth.values() for event in events)
    assert 0 < few <= 5
    chosen = tune_events(scores, truth, grid=SMALL, enough=6)
    mean = [
        np.mean([f1(scores, truth, options, label) for label in labels[:3]]) for options in SMALL.options()
    ]
    shared = SMALL.options()[int(np.argmax(mean))]
    assert chosen["emu"] == chosen["owl"] == shared
    assert tune_events(scores, truth, grid=SMALL, prior_events=1e9) == dict.fromkeys(labels, shared)


def test_order_of_recordings_and_labels_is_irrelevant() -> None:
    scores, truth = noisy(15, ("dog", "cat"))
    turned = {
        name: Scores(own.values[:, ::-1], own.labels[::-1], 0.0, own.duration)
        for name, own in reversed(scores.items())
    }
    assert tune_events(turned, truth, grid=SMALL) == tune_events(scores, truth, grid=SMALL)


def test_only_the_labels_asked_for_are_tuned() -> None:
    scores, truth = noisy(10, ("dog", "cat"))
    alone = {name: Scores(own["dog"][:, None], ("dog",), 0.0, own.duration) for name, own in scores.items()}
    dogs = {name: [event for event in own if event.label == "dog"] for name, own in truth.items()}
    assert tune_events(scores, truth, labels=["dog"], grid=SMALL) == tune_events(alone, dogs, grid=SMALL)


def test_a_senseless_grid_is_refused(refusal: Any) -> None:
    assert "nothing to try" in refusal(OptionError, TuningGrid, thresholds=())
    assert "nothing to try" in refusal(OptionError, TuningGrid, medians=(), boxes=())
    assert "lows are (2.0,)" in refusal(OptionError, TuningGrid, lows=(2.0,))
    assert "threshold is 1.5" in refusal(OptionError, TuningGrid, thresholds=(1.5,))


@pytest.mark.slow
def test_two_hundred_labels_take_less_than_three_minutes() -> None:
    labels = tuple(f"label {number}" for number in range(10))
    random = np.random.default_rng(0)
    scores, truth = {}, {}
    for number in range(300):
        onset = float(random.uniform(0, 8))
        events = [Event(onset, onset + float(random.uniform(0.2, 2)), labels[number % 10])]
        logits = 5 * drawn(events, labels) - 4 + random.normal(0, 1, (250, 10))
        truth[f"{number}"] = events
        scores[f"{number}"] = Scores((1 / (1 + np.exp(-logits))).astype(np.float32), labels)
    began = time.perf_counter()
    tune_events(scores, truth)
    assert time.perf_counter() - began < 3 * 60 * 10 / 200


# Calibration


def test_curves_are_those_of_each_labels_frames() -> None:
    scores, truth = noisy(20, ("dog", "cat"))
    active = np.concatenate([activity(truth[n], ["dog", "cat"], scores[n].frames) for n in sorted(scores)])
    values = np.concatenate([scores[name].values for name in sorted(scores)])
    for method, fit in (("platt", fit_platt), ("isotonic", fit_isotonic)):
        fitted = fit_calibration(scores, truth, model="m", method=method, grid=SMALL)  # type: ignore[arg-type]
        assert (fitted.model, list(fitted.queries)) == ("m", ["cat", "dog"])
        for column, label in enumerate(("dog", "cat")):
            own = fitted.queries[label]
            assert own.curve == fit(values[:, column], active[:, column])
            assert own.prior == active[:, column].mean()
            count = sum(e.label == label for events in truth.values() for e in merge_events(events))
            assert (own.true_events, own.shared) == (count, False)
        calibrated = {name: fitted.apply(own) for name, own in scores.items()}
        assert tune_events(calibrated, truth, grid=SMALL) == {
            k: own.events for k, own in fitted.queries.items()
        }
        assert cross_entropy(calibrated, truth) < cross_entropy(scores, truth)


def test_a_query_of_few_events_shares_the_curve_of_all() -> None:
    scores, truth = noisy(20, ("dog", "cat", "emu"))
    truth = {name: merge_events(events) for name, events in truth.items()}
    emus = [(name, event) for name, events in truth.items() for event in events if event.label == "emu"][:2]
    for name, events in truth.items():
        truth[name] = [event for event in events if event.label != "emu"] + [e for n, e in emus if n == name]
    fitted = fit_calibration(scores, truth, model="m", grid=SMALL)
    emu = fitted.queries["emu"]
    assert (emu.true_events, emu.shared) == (2, True)
    active = np.concatenate(
        [activity(truth[n], ["dog", "cat", "emu"], scores[n].frames).ravel() for n in sorted(scores)]
    )
    everyones = fit_platt(np.concatenate([scores[name].values.ravel() for name in sorted(scores)]), active)
    assert isinstance(emu.curve, Platt)
    assert emu.curve.slope == pytest.approx(everyones.slope, abs=1e-3)
    assert emu.curve.offset == pytest.approx(everyones.offset, abs=1e-3)
    assert emu.prior == pytest.approx(active.mean(), rel=1e-3)


def test_a_label_that_never_rests_shares_the_curve_too() -> None:
    scores, truth = noisy(12, ("dog", "cat"))
    for name, own in scores.items():
        truth[name] = [event for event in truth[name] if event.label == "dog"] + [
            Event(0.0, own.end + 1, "cat")
        ]
    fitted = fit_calibration(scores, truth, model="m", grid=SMALL)
    assert fitted.queries["cat"].shared
    assert not fitted.queries["dog"].shared


def test_cross_entropy_by_hand() -> None:
    scores = {
        "a": Scores(np.array([[0.5], [0.25]]), ("dog",)),
        "b": Scores(np.array([[1.0], [0.0]]), ("dog",)),
    }
    truth = {"a": [Event(0.0, 0.04, "dog")], "b": [Event(0.0, 0.08, "dog")]}
    expected = -(np.log(0.5) + np.log(0.75) + np.log(1 - 1e-7) + np.log(1e-7)) / 4
    assert cross_entropy(scores, truth) == pytest.approx(expected, rel=1e-9)


def test_what_cannot_be_fitted_is_refused(refusal: Any) -> None:
    scores, truth = noisy(5, ("dog",))
    said = refusal(OptionError, fit_calibration, scores, truth, model="m", method="plat")
    assert "got method 'plat'; expected platt or isotonic" in said
    assert "no recordings" in refusal(OptionError, tune_events, {}, {})
    assert "recordings that have no scores" in refusal(
        OptionError, tune_events, scores, {"x": truth["take 0"]}
    )
    fitted = fit_calibration(scores, truth, model="m", grid=SMALL)
    calibrated = {name: fitted.apply(own) for name, own in scores.items()}
    assert "calibrated already" in refusal(
        OptionError, fit_calibration, calibrated, truth, model="m", grid=SMALL
    )
