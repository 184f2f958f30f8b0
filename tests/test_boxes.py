from __future__ import annotations

import json
import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from peaframe import clock
from peaframe.boxes import BoxOptions, boxed_curve, boxed_scores, find_boxes
from peaframe.config import build
from peaframe.errors import ConfigError, OptionError
from peaframe.events import Event, EventOptions, boxes_from_scores, events_from_scores, filtered_scores
from peaframe.scores import Scores

NO_MERGING = BoxOptions(
    step=0.16, merge_absolute=0.0, merge_relative=1.0
)  # two frames on each side of an edge


def curve(*parts: tuple[float, int]) -> np.ndarray:
    """Stretches of (score, frames)."""
    values = [np.full(frames, score, dtype=np.float32) for score, frames in parts]
    return np.concatenate([np.zeros(0, dtype=np.float32), *values])


def boxes(values: np.ndarray, **options: float) -> list[tuple[int, int, float]]:
    onsets, stops, confidences = find_boxes(values, BoxOptions(**options))
    return list(
        zip(onsets.tolist(), stops.tolist(), [round(x, 6) for x in confidences.tolist()], strict=True)
    )


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 0.0}, "step is 0.0; give a length in seconds, over 0 and at most 60"),
        ({"step": math.nan}, "step is nan"),
        ({"step": 61}, "step is 61"),
        ({"merge_absolute": -0.1}, "merge_absolute is -0.1; give a difference of scores from 0 to 1"),
        ({"merge_absolute": 1.1}, "merge_absolute is 1.1"),
        ({"merge_relative": 0.9}, "merge_relative is 0.9; give a ratio of scores, 1 or more"),
        ({"merge_relative": math.inf}, "merge_relative is inf"),
    ],
)
def test_senseless_options_are_refused(options: dict[str, float], message: str, refusal: Any) -> None:
    assert message in refusal(OptionError, BoxOptions, **options)


def test_options_of_one_label_may_be_given_for_each(refusal: Any) -> None:
    scores = Scores(np.full((9, 2), 0.5, dtype=np.float32), ("dog", "cat"))
    assert (
        boxed_scores(scores, {"dog": BoxOptions(), "cat": BoxOptions(0.16)}).values.tolist()
        == [[0.5, 0.5]] * 9
    )
    assert "no box options for 'cat'" in refusal(OptionError, boxed_scores, scores, {"dog": BoxOptions()})


# What the definition says, on curves made by hand


def test_a_level_curve_is_one_box() -> None:
    assert boxes(curve((0.25, 10))) == [(0, 10, 0.25)]
    assert boxes(curve((1, 1))) == [(0, 1, 1.0)]
    assert boxes(curve((0, 10))) == []
    assert boxes(curve()) == []


def test_background_is_no_box_beside_an_event() -> None:
    assert boxes(curve((0.05, 20), (0.9, 10), (0.05, 20))) == [(20, 30, 0.9)]
    assert boxes(curve((0.9, 10), (0.05, 20))) == [(0, 10, 0.9)]
    assert boxes(curve((0.05, 20), (0.9, 10))) == [(20, 30, 0.9)]


def test_the_greatest_rise_and_fall_are_the_edges_of_stairs() -> None:
    assert boxes(curve((0, 10), (0.375, 10), (1, 10), (0.5, 10))) == [(20, 40, 0.75)]
    assert boxes(curve((0, 10), (0.5, 10), (1, 10), (0.5, 10), (0, 10))) == [
        (10, 40, 0.666667)
    ]  # equal: outermost


def test_short_events_and_short_gaps_keep_their_edges() -> None:
    assert boxes(curve((0, 20), (1, 1), (0, 20))) == [(20, 21, 1.0)]
    assert boxes(curve((0, 20), (1, 3), (0, 20))) == [(20, 23, 1.0)]
    values = curve((0, 20), (1, 20), (0, 2), (1, 20), (0, 20))
    assert boxes(values) == [(20, 40, 1.0), (42, 62, 1.0)]


def test_a_ramp_has_its_edge_half_way() -> None:
    values = np.concatenate([np.linspace(0, 1, 11), np.ones(20), np.linspace(1, 0, 11)]).astype(np.float32)
    ((onset, stop, _),) = boxes(values, step=0.8)
    assert (onset, stop) == (5, 37)


def test_a_gap_is_closed_by_its_depth() -> None:
    values = curve((0.8, 10), (0.5, 10), (0.7, 10))
    apart = [(0, 10, 0.8), (20, 30, 0.7)]
    one = [(0, 30, 0.666667)]
    assert boxes(values, merge_absolute=0.29, merge_relative=1) == apart
    assert boxes(values, merge_absolute=0.31, merge_relative=1) == one
    assert boxes(values, merge_absolute=0, merge_relative=1.59) == apart
    assert boxes(values, merge_absolute=0, merge_relative=1.61) == one


def test_gaps_are_measured_from_the_higher_neighbour() -> None:
    values = curve((0.1, 20), (0.05, 10), (0.9, 10))
    assert boxes(values, merge_absolute=0.2, merge_relative=1)[-1] == (30, 40, 0.9)


def test_closing_goes_on_with_what_was_closed() -> None:
    # 1 and 1 make 5/6 with the gap between them, from which the next gap is hardly a step.
    values = curve((1, 4), (0.5, 4), (1, 4), (0.25, 6), (0.5, 4))
    plain = {"step": 0.16, "merge_absolute": 0.0}
    assert boxes(values, **plain, merge_relative=1.9) == [(0, 4, 1), (8, 12, 1), (18, 22, 0.5)]
    assert boxes(values, **plain, merge_relative=2.1) == [(0, 12, 0.833333), (18, 22, 0.5)]
    assert boxes(values, **plain, merge_relative=3.4) == [(0, 22, 0.613636)]


def test_steps_are_half_a_filter_on_each_side() -> None:
    # Two events, a gap of 3 frames: a filter that averages 12 on each side cannot tell them apart.
    values = curve((0, 30), (0.5, 2), (0, 3), (1, 2), (0, 30))
    assert boxes(values, step=0.08, merge_relative=1) == [(30, 32, 0.5), (35, 37, 1.0)]
    assert len(boxes(values, step=0.96, merge_relative=1)) == 1


def test_recordings_end_to_end_are_cut_apart() -> None:
    parts = [curve((0.5, 6)), curve(), curve((0.5, 6), (0, 3)), curve((0.4, 1)), curve((0, 5), (0.9, 4))]
    starts = np.cumsum([0, *map(len, parts[:-1])])
    onsets, stops, confidences = find_boxes(np.concatenate(parts), BoxOptions(merge_absolute=1.0), starts)
    assert list(zip(onsets.tolist(), stops.tolist(), strict=True)) == [(0, 6), (6, 12), (15, 16), (21, 25)]
    assert np.array_equal(confidences, np.float32([0.5, 0.5, 0.4, 0.9]))


def test_a_day_takes_a_moment() -> None:
    values = np.random.default_rng(0).random(24 * 3600 * clock.FRAME_RATE, dtype=np.float32)
    began = time.perf_counter()
    onsets, _, _ = find_boxes(values, BoxOptions(merge_relative=2.0))
    assert time.perf_counter() - began < 20
    assert 100_000 < len(onsets) < 300_000


# As scores and as events


def scores_of(*columns: np.ndarray, start: float = 0.0, duration: float | None = None) -> Scores:
    return Scores(np.column_stack(columns), ("dog", "cat")[: len(columns)], start, duration, {"model": "m"})


def test_boxed_scores_hold_each_boxs_confidence() -> None:
    scores = scores_of(curve((0, 5), (0.5, 2), (1, 2), (0, 4)), curve((0.25, 13)), start=2.0, duration=0.5)
    boxed = boxed_scores(scores, NO_MERGING)
    assert boxed["dog"].tolist() == [0] * 5 + [0.75] * 4 + [0] * 4
    assert boxed["cat"].tolist() == [0.25] * 13
    assert (boxed.start, boxed.end, boxed.meta) == (2.0, 2.5, {"model": "m"})


def test_boxes_are_events_on_the_recordings_clock() -> None:
    scores = scores_of(curve((0, 5), (0.75, 4), (0, 4)), curve((0.25, 13)), start=2.0, duration=0.5)
    assert boxes_from_scores(scores, NO_MERGING) == [
        Event(2.0, 2.5, "cat", 0.25),
        Event(2.2, 2.36, "dog", 0.75),
    ]


def test_the_threshold_moves_no_edge() -> None:
    values = np.concatenate([np.linspace(0, 1, 11), np.ones(20), np.linspace(1, 0, 11)]).astype(np.float32)
    scores = scores_of(values)
    found = {
        (event.onset, event.offset)
        for threshold in (0.0, 0.3, 0.6, 0.8)
        for event in events_from_scores(scores, EventOptions(threshold, boxes=BoxOptions(0.8)))
    }
    assert found == {(0.2, 1.48)}
    (box,) = boxes_from_scores(scores, BoxOptions(0.8))
    confidence = float(box.score or 0)
    assert confidence > 0.8
    assert events_from_scores(scores, EventOptions(confidence, boxes=BoxOptions(0.8))) == []


def test_the_other_options_go_on_with_boxes() -> None:
    scores = scores_of(curve((0, 9), (0.75, 5), (0, 5), (0.5, 9), (0, 9), (1, 1), (0, 9)))

    def spans(**options: float) -> list[tuple[float, float, float | None]]:
        chosen = EventOptions(boxes=NO_MERGING, **options)
        return [(event.onset, event.offset, event.score) for event in events_from_scores(scores, chosen)]

    assert spans(threshold=0.0) == [(0.36, 0.56, 0.75), (0.76, 1.12, 0.5), (1.48, 1.52, 1.0)]
    assert spans(threshold=0.5) == [(0.36, 0.56, 0.75), (1.48, 1.52, 1.0)]
    assert spans(threshold=0.0, merge_gap=0.2) == [(0.36, 1.12, 0.75), (1.48, 1.52, 1.0)]
    assert spans(threshold=0.0, min_duration=0.08) == [(0.36, 0.56, 0.75), (0.76, 1.12, 0.5)]
    assert spans(threshold=0.0, median=0.12) == [(0.36, 0.56, 0.75), (0.76, 1.12, 0.5)]


def test_filtered_scores_are_what_thresholds_meet() -> None:
    random = np.random.default_rng(1)
    scores = scores_of(*random.random((2, 80), dtype=np.float32))
    options = {"dog": EventOptions(median=0.2), "cat": EventOptions(median=0.12, boxes=BoxOptions())}
    filtered = filtered_scores(scores, options)
    for threshold in (0.2, 0.4, 0.6):
        raw = {
            label: EventOptions(threshold, None, own.median, boxes=own.boxes)
            for label, own in options.items()
        }
        assert events_from_scores(filtered, EventOptions(threshold)) == events_from_scores(scores, raw)


def test_options_with_boxes_are_plain_values() -> None:
    stored = json.loads('{"threshold": 0.4, "boxes": {"step": 0.32, "merge_relative": 3}}')
    assert build(EventOptions, stored) == EventOptions(0.4, boxes=BoxOptions(0.32, merge_relative=3.0))
    assert build(EventOptions, {"threshold": 0.4, "boxes": None}) == EventOptions(0.4)
    with pytest.raises(ConfigError, match=r"unknown key 'boxes\.stop'; did you mean 'step'"):
        build(EventOptions, {"boxes": {"stop": 1.0}})


# What holds for any curve

LEVELS = st.sampled_from(np.float32([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]).tolist())
CURVES = st.one_of(
    arrays(np.float32, st.integers(0, 80), elements=st.one_of(LEVELS, st.floats(0, 1, width=32))),
    arrays(np.float32, st.integers(0, 80), elements=LEVELS),
)
OPTIONS = st.builds(
    BoxOptions,
    st.sampled_from([0.04, 0.08, 0.16, 0.32, 0.48, 0.64, 5.0]),
    st.sampled_from([0.0, 0.15, 0.3, 1.0]),
    st.sampled_from([1.0, 1.5, 2.0, 3.0]),
)


@given(CURVES, OPTIONS)
def test_boxes_are_apart_inside_and_as_sure_as_their_scores(values: np.ndarray, options: BoxOptions) -> None:
    onsets, stops, confidences = find_boxes(values, options)
    assert len(onsets) == len(stops) == len(confidences)
    for onset, stop, confidence in zip(onsets, stops, confidences, strict=True):
        assert 0 <= onset < stop <= len(values)
        inside = values[onset:stop]
        assert inside.min() <= confidence <= inside.max()
        assert abs(confidence - inside.mean(dtype=np.float64)) < 1e-6
    assert (stops[:-1] < onsets[1:]).all()
    assert (len(onsets) > 0) == bool((np.rint(values.astype(np.float64) * 2**24) > 0).any())


@given(CURVES, OPTIONS)
def test_backwards_makes_the_same_boxes(values: np.ndarray, options: BoxOptions) -> None:
    onsets, stops, confidences = find_boxes(values, options)
    again = find_boxes(values[::-1].copy(), options)
    assert np.array_equal(again[0], (len(values) - stops)[::-1])
    assert np.array_equal(again[1], (len(values) - onsets)[::-1])
    assert np.allclose(again[2], confidences[::-1], rtol=1e-6)


@given(st.lists(CURVES, max_size=5), OPTIONS)
def test_end_to_end_is_as_one_by_one(parts: list[np.ndarray], options: BoxOptions) -> None:
    starts = np.cumsum([0, *map(len, parts)])[:-1]
    whole = find_boxes(np.concatenate([np.zeros(0, dtype=np.float32), *parts]), options, starts)
    each = [find_boxes(part, options) for part in parts]
    for column, shifted in enumerate((True, True, False)):
        rows = [own[column] + start * shifted for own, start in zip(each, starts, strict=True)]
        assert np.array_equal(whole[column], np.concatenate([np.zeros(0), *rows]))


@given(st.lists(st.integers(6, 30), min_size=1, max_size=9), st.booleans())
def test_a_perfect_curve_gives_the_true_events(lengths: list[int], active_first: bool) -> None:
    values = curve(*((float(i % 2 == active_first), frames) for i, frames in enumerate(lengths)))
    assume(values.any())
    found = boxes_from_scores(scores_of(values), BoxOptions(0.48, 0.5, 2.0))  # six frames on each side
    assert found == events_from_scores(scores_of(values), EventOptions(0.5))


@given(CURVES, OPTIONS, st.floats(0, 1))
def test_thresholds_choose_among_boxes(values: np.ndarray, options: BoxOptions, threshold: float) -> None:
    scores = scores_of(values)
    every = boxes_from_scores(scores, options)
    chosen = [event for event in every if np.float32(event.score) > np.float32(threshold)]
    assert events_from_scores(scores, EventOptions(threshold, boxes=options)) == chosen
    assert events_from_scores(boxed_scores(scores, options), EventOptions(threshold)) == chosen
    assert np.array_equal(boxed_curve(values, options), boxed_scores(scores, options)["dog"])
