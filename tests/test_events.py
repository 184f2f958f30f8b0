from __future__ import annotations

import math
import random
import time
from typing import Any

import numpy as np
import pytest

from peaframe.errors import OptionError
from peaframe.events import Event, EventOptions, activity, events_from_scores, merge_events
from peaframe.scores import Scores


def one_label(*values: float, start: float = 0.0, duration: float | None = None) -> Scores:
    return Scores(np.array([values]).T, ("dog",), start, duration)


def spans(scores: Scores, **options: float) -> list[tuple[float, float]]:
    return [(event.onset, event.offset) for event in events_from_scores(scores, EventOptions(**options))]


# Event


def test_an_event_holds_plain_floats() -> None:
    event = Event(np.float32(1), np.float64(2.5), "dog", np.float32(0.5))
    assert event == Event(1.0, 2.5, "dog", 0.5)
    assert [type(value) for value in (event.onset, event.offset, event.score)] == [float] * 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((-0.1, 1.0, "dog"), "lasts from -0.1 s to 1.0 s"),
        ((1.0, 1.0, "dog"), "give 0 <= onset < offset"),
        ((2.0, 1.0, "dog"), "lasts from 2.0 s to 1.0 s"),
        ((math.nan, 1.0, "dog"), "lasts from nan s"),
        ((0.0, math.inf, "dog"), "to inf s"),
        (("soon", 1.0, "dog"), "must be numbers"),
        ((None, 1.0, "dog"), "must be numbers"),
        ((0.0, 1.0, " "), "not blank"),
        ((0.0, 1.0, 3), "not blank"),
        ((0.0, 1.0, "dog", math.nan), "finite number"),
    ],
)
def test_a_senseless_event_is_refused(values: tuple[Any, ...], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Event(*values)


def test_events_sort_by_onset_offset_label_score() -> None:
    ordered = [
        Event(0.0, 1.0, "b"),
        Event(0.0, 1.0, "b", -3.0),
        Event(0.0, 1.0, "b", 0.2),
        Event(0.0, 1.0, "c", 0.1),
        Event(0.0, 2.0, "a"),
        Event(1.0, 1.5, "a"),
    ]
    mixed = ordered.copy()
    random.Random(3).shuffle(mixed)
    assert sorted(mixed) == ordered
    assert max(mixed) == ordered[-1]
    assert ordered[0] <= ordered[1]


# EventOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.01}, "threshold is 1.01"),
        ({"threshold": -0.1}, "from 0 to 1"),
        ({"threshold": math.nan}, "threshold is nan"),
        ({"low": 0.6}, "low is 0.6; give a probability from 0 to the threshold 0.5"),
        ({"low": -0.1}, "low is -0.1"),
        ({"median": -1.0}, "median is -1.0"),
        ({"median": 500.0}, "at most 60"),
        ({"min_duration": math.inf}, "min_duration is inf"),
        ({"merge_gap": math.nan}, "merge_gap is nan"),
    ],
)
def test_a_senseless_option_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        EventOptions(**options)


# events_from_scores


def test_an_event_carries_its_highest_score() -> None:
    scores = one_label(0.1, 0.75, 0.875, 0.625, 0.25, 0.5625)
    assert events_from_scores(scores) == [Event(0.04, 0.16, "dog", 0.875), Event(0.2, 0.24, "dog", 0.5625)]


def test_a_score_that_equals_the_threshold_is_not_over_it() -> None:
    scores = one_label(0.5, 0.1, 0.7, 0.1)
    assert spans(scores, threshold=0.5) == [(0.08, 0.12)]
    assert spans(scores, threshold=0.7) == []  # in float32, where 0.7 is 0.69999999
    assert spans(scores, threshold=0.1) == [(0.0, 0.04), (0.08, 0.12)]  # and 0.1 is 0.10000000149


def test_times_count_from_the_start_of_the_recording() -> None:
    assert spans(one_label(0, 0.9, 0.9, 0, start=10.0)) == [(10.04, 10.12)]


def test_the_last_frame_ends_with_the_recording() -> None:
    scores = one_label(0.9, 0, 0.9, duration=0.1)
    assert spans(scores) == [(0.0, 0.04), (0.08, 0.1)]
    assert spans(one_label(0.9, duration=1 / 48_000)) == [(0.0, 1 / 48_000)]


def test_with_hysteresis_an_event_keeps_on_over_the_low_threshold() -> None:
    scores = one_label(0.4, 0.4, 0.8, 0.4, 0.3, 0.4, 0.2, 0.4, 0.1)
    assert spans(scores) == [(0.08, 0.12)]
    assert spans(scores, low=0.3) == [(0.08, 0.16)]
    assert spans(scores, low=0.2) == [(0.08, 0.24)]
    assert spans(scores, low=0.0) == [(0.08, 0.36)]


def test_hysteresis_does_not_carry_a_start_into_a_weak_run() -> None:
    assert spans(one_label(0.4, 0.1, 0.6, 0.1, 0.4), low=0.3) == [(0.08, 0.12)]


def test_the_median_filter_removes_spikes_and_fills_holes() -> None:
    spike = one_label(0, 0, 0.9, 0, 0, 0)
    hole = one_label(0.9, 0.9, 0.1, 0.9, 0.9)
    assert spans(spike, median=0.12) == []
    assert spans(hole, median=0.12) == [(0.0, 0.2)]
    assert spans(spike, median=0.04) == [(0.08, 0.12)]  # one frame: nothing to do
    assert spans(spike, median=0.08) == []  # two frames are rounded up to three


def test_the_median_is_what_the_event_is_scored_by() -> None:
    scores = one_label(0.0, 0.75, 0.875, 0.625, 0.0)
    assert events_from_scores(scores, EventOptions(median=0.12)) == [Event(0.04, 0.16, "dog", 0.75)]


def test_the_median_filter_mirrors_both_ends_alike() -> None:
    # Edge windows: (a a b) at the first frame, (y z z) at the last one.
    assert spans(one_label(0.9, 0, 0, 0, 0.9), median=0.12) == [(0.0, 0.04), (0.16, 0.2)]
    # A window far longer than the recording goes back and forth over it.
    assert spans(one_label(0.9, 0.9, 0.1), median=1.0) == [(0.0, 0.12)]


def test_gaps_are_closed_before_short_events_are_dropped() -> None:
    scores = one_label(0.9, 0, 0.9, 0, 0, 0.9, 0, 0, 0)
    assert spans(scores, merge_gap=0.04) == [(0.0, 0.12), (0.2, 0.24)]
    assert spans(scores, merge_gap=0.08) == [(0.0, 0.24)]
    assert spans(scores, merge_gap=0.04, min_duration=0.12) == [(0.0, 0.12)]
    assert spans(scores, min_duration=0.08) == []


@pytest.mark.parametrize("seconds", [0.28, 0.1 + 0.2 - 0.02, 7 * 0.04])
def test_lengths_are_compared_in_frames(seconds: float) -> None:
    seven = one_label(0, *[0.9] * 7, 0, *[0] * 6, 0.9)
    assert spans(seven, min_duration=seconds) == [(0.04, 0.32)]
    assert spans(seven, merge_gap=seconds) == [(0.04, 0.64)]


def test_options_may_differ_between_labels() -> None:
    scores = Scores(np.full((2, 2), 0.4, dtype=np.float32), ("cat", "dog"))
    options = {"cat": EventOptions(0.3), "dog": EventOptions(0.6), "cow": EventOptions()}
    assert events_from_scores(scores, options) == [Event(0.0, 0.08, "cat", float(np.float32(0.4)))]


def test_a_label_without_options_is_refused() -> None:
    with pytest.raises(OptionError, match="no event options for 'dog'"):
        events_from_scores(one_label(0.9), {"cat": EventOptions()})


def test_events_of_several_labels_come_in_order_of_time() -> None:
    values = np.array([[0, 0.75, 0.75], [0.75, 0.75, 0.75], [0, 0, 0.75]])
    events = events_from_scores(Scores(values.astype(np.float32), ("z", "b", "a")))
    assert [(event.onset, event.label) for event in events] == [(0.0, "b"), (0.0, "a"), (0.04, "z")]


@pytest.mark.parametrize("shape", [(0, 1), (4, 0), (0, 0)])
def test_nothing_heard_or_asked_for_gives_no_events(shape: tuple[int, int]) -> None:
    scores = Scores(np.zeros(shape, dtype=np.float32), ("dog",)[: shape[1]])
    everything = EventOptions(0.0, low=0.0, median=0.2, min_duration=0.2, merge_gap=0.2)
    assert events_from_scores(scores, everything) == []


@pytest.mark.slow
def test_ten_hours_of_twenty_labels_take_seconds() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((10 * 3600 * 25, 20), dtype=np.float32)
    values[: 18_000 * 25] *= 0.4  # half of it silent; the rest far busier than any recording
    scores = Scores(values, tuple(f"label {i}" for i in range(20)))
    began = time.process_time()
    events = events_from_scores(scores, EventOptions(0.6, median=0.36, min_duration=0.2, merge_gap=0.2))
    assert time.process_time() - began < 15
    assert len(events) > 100_000
    assert min(event.onset for event in events) >= 18_000 - 0.2


# activity


def test_a_frame_is_active_if_its_centre_lies_inside() -> None:
    def frames(onset: float, offset: float, start: float = 0.0) -> list[int]:
        rows, _ = activity([Event(onset, offset, "dog")], ["dog"], 5, start).nonzero()
        return [int(row) for row in rows]

    assert frames(0.0, 0.08) == [0, 1]
    assert frames(0.02, 0.06) == [0]  # a centre on the onset is inside, one on the offset is not
    assert frames(0.021, 0.061) == [1]
    assert frames(0.03, 0.05) == []
    assert frames(0.1, 99.0) == [2, 3, 4]
    assert frames(0.3, 0.4) == []
    assert frames(10.1, 10.14, start=10.0) == [2]  # 10.1 - 10.0 is 0.09999999999999964
    assert frames(0.0, 10.05, start=10.0) == [0]
    assert frames(0.0, 5.0, start=10.0) == []


def test_overlapping_events_and_labels_share_the_grid() -> None:
    events = [Event(0.04, 0.12, "a"), Event(0.0, 0.08, "a"), Event(0.08, 0.12, "b")]
    assert activity(events, ("b", "a", "c"), 4).tolist() == [
        [False, True, False],
        [False, True, False],
        [True, True, False],
        [False, False, False],
    ]


def test_an_event_of_another_label_is_refused() -> None:
    with pytest.raises(OptionError, match="an event of 'cow'; expected one of 'cat', 'dog'"):
        activity([Event(0.0, 1.0, "cow")], ["cat", "dog"], 25)


# merge_events


def test_overlapping_and_touching_events_of_a_label_are_joined() -> None:
    events = [
        Event(2.0, 3.0, "dog", 0.7),
        Event(0.0, 1.0, "dog", 0.6),
        Event(0.5, 0.7, "dog", 0.9),
        Event(1.0, 1.5, "dog"),
        Event(0.9, 2.5, "cat"),
        Event(2.5, 2.6, "cat"),
    ]
    assert merge_events(events) == [
        Event(0.0, 1.5, "dog", 0.9),
        Event(0.9, 2.6, "cat"),
        Event(2.0, 3.0, "dog", 0.7),
    ]


def test_touching_is_decided_in_samples() -> None:
    assert merge_events([Event(0.1, 0.3, "dog"), Event(0.1 + 0.2, 0.5, "dog")]) == [Event(0.1, 0.5, "dog")]
    apart = [Event(0.1, 0.3, "dog"), Event(0.3 + 1 / 48_000, 0.5, "dog")]
    assert merge_events(apart) == apart
