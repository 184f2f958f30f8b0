"""What must hold for any scores: found by trying hundreds of them."""

from __future__ import annotations

import itertools
import statistics
import tempfile
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from peaframe import clock
from peaframe.errors import FormatError
from peaframe.events import Event, EventOptions, activity, events_from_scores, merge_events
from peaframe.scores import Scores
from peaframe.spans import median_filter

LABELS = ("dog", "cat", "siren")
# Few distinct values, so that ties with thresholds and long runs are common.
LEVELS = st.sampled_from(np.float32([0.0, 0.1, 0.3, 0.5, 0.7, 1.0]).tolist())
LENGTHS = st.one_of(st.just(0.0), st.floats(0, 0.5), st.sampled_from([0.04, 0.08, 0.12, 0.28, 0.36]))
STARTS = st.one_of(st.just(0.0), st.integers(0, 50_000).map(clock.frame_start_seconds), st.floats(0, 1e5))


@st.composite
def any_scores(draw: st.DrawFn) -> Scores:
    frames = draw(st.integers(0, 60))
    elements = draw(st.sampled_from([LEVELS, st.floats(0, 1, width=32)]))
    values = draw(arrays(np.float32, (frames, len(LABELS)), elements=elements))
    missing_samples = draw(st.integers(0, clock.HOP_SAMPLES - 1)) if frames else 0
    duration = clock.seconds_of_samples(frames * clock.HOP_SAMPLES - missing_samples)
    return Scores(values, LABELS, draw(STARTS), duration)


@st.composite
def any_options(draw: st.DrawFn) -> EventOptions:
    threshold = draw(st.one_of(LEVELS, st.floats(0, 1)))
    low = draw(st.one_of(st.none(), st.floats(0, threshold)))
    return EventOptions(threshold, low, draw(LENGTHS), draw(LENGTHS), draw(LENGTHS))


@st.composite
def any_events(draw: st.DrawFn) -> list[Event]:
    times = st.integers(0, 200).map(lambda tick: tick * 0.03)
    spans = draw(st.lists(st.tuples(times, times, st.sampled_from(LABELS), st.none() | st.floats(0, 1))))
    return [Event(min(a, b), max(a, b), label, score) for a, b, label, score in spans if a != b]


def by_label(events: list[Event]) -> dict[str, list[Event]]:
    rows: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        rows[event.label].append(event)
    return rows


def active_frames(events: list[Event], scores: Scores) -> np.ndarray:
    return activity(events, LABELS, scores.frames, scores.start)


@given(any_scores(), any_options())
def test_events_are_sorted_apart_and_inside_the_recording(scores: Scores, options: EventOptions) -> None:
    events = events_from_scores(scores, options)
    assert events == sorted(events)
    assert all(scores.start <= event.onset < event.offset <= scores.end for event in events)
    for row in by_label(events).values():
        assert all(before.offset < after.onset for before, after in itertools.pairwise(row))
    assert merge_events(events) == events


@given(any_scores(), any_options())
def test_an_event_begins_and_ends_on_frame_edges(scores: Scores, options: EventOptions) -> None:
    edges = set(scores.edges.tolist())
    assert all({event.onset, event.offset} <= edges for event in events_from_scores(scores, options))


@given(any_scores(), any_options())
def test_an_event_scores_over_its_threshold(scores: Scores, options: EventOptions) -> None:
    for event in events_from_scores(scores, options):
        assert isinstance(event.score, float)
        assert np.float32(options.threshold) < event.score <= scores[event.label].max()


@given(any_scores(), LEVELS)
def test_plain_events_hold_exactly_the_frames_over_the_threshold(scores: Scores, threshold: float) -> None:
    whole = Scores(scores.values, LABELS, scores.start)  # an event cut in its last frame may miss its centre
    active = active_frames(events_from_scores(whole, EventOptions(threshold)), whole)
    assert np.array_equal(active, scores.values > np.float32(threshold))


@given(any_scores(), st.floats(0, 1), st.floats(0, 1), LENGTHS)
def test_a_higher_threshold_never_adds_active_time(
    scores: Scores, one: float, other: float, median: float
) -> None:
    lower, higher = (
        active_frames(events_from_scores(scores, EventOptions(threshold, median=median)), scores)
        for threshold in sorted((one, other))
    )
    assert not (higher & ~lower).any()


@given(any_scores(), any_options())
def test_hysteresis_only_lengthens_what_the_threshold_found(scores: Scores, options: EventOptions) -> None:
    plain = events_from_scores(scores, EventOptions(options.threshold))
    kept_on = events_from_scores(scores, EventOptions(options.threshold, low=options.low))
    assert not (active_frames(plain, scores) & ~active_frames(kept_on, scores)).any()
    onsets = {(event.onset, event.label) for event in plain}
    assert all((event.onset, event.label) in onsets for event in kept_on)


@given(any_scores(), any_options())
def test_gaps_are_longer_than_merge_gap_and_events_not_under_min_duration(
    scores: Scores, options: EventOptions
) -> None:
    events = events_from_scores(scores, options)
    shortest = clock.frames_of_seconds(options.min_duration)
    widest = clock.frames_of_seconds(options.merge_gap)
    frame_of = {edge: frame for frame, edge in enumerate(scores.edges.tolist())}
    assert all(frame_of[event.offset] - frame_of[event.onset] >= shortest for event in events)
    for row in by_label(events).values():
        gaps = [frame_of[b.onset] - frame_of[a.offset] for a, b in itertools.pairwise(row)]
        assert all(gap > widest for gap in gaps)


@given(any_scores(), any_options())
def test_merging_adds_and_a_minimum_duration_takes_away(scores: Scores, options: EventOptions) -> None:
    def active(merge_gap: float, min_duration: float) -> np.ndarray:
        chosen = EventOptions(options.threshold, options.low, options.median, min_duration, merge_gap)
        return active_frames(events_from_scores(scores, chosen), scores)

    bare, merged = active(0.0, 0.0), active(options.merge_gap, 0.0)
    assert not (bare & ~merged).any()
    assert not (active(options.merge_gap, options.min_duration) & ~merged).any()


@given(any_scores(), any_options())
def test_labels_do_not_touch_each_other(scores: Scores, options: EventOptions) -> None:
    alone = [
        event
        for label in LABELS
        for event in events_from_scores(
            Scores(scores[label][:, None], (label,), scores.start, scores.duration), options
        )
    ]
    assert sorted(alone) == events_from_scores(scores, options)


@given(any_events(), STARTS)
def test_events_on_the_grid_survive_the_way_through_scores(events: list[Event], start: float) -> None:
    drawn = activity(events, LABELS, 160, 0.0)
    on_grid = events_from_scores(Scores(drawn.astype(np.float32), LABELS, start), EventOptions())
    again = activity(on_grid, LABELS, 160, start)
    assert np.array_equal(again, drawn)
    assert events_from_scores(Scores(again.astype(np.float32), LABELS, start), EventOptions()) == on_grid


@given(any_events())
def test_merged_events_are_apart_and_cover_the_same_frames(events: list[Event]) -> None:
    merged = merge_events(events)
    assert merged == sorted(merged)
    assert merge_events(merged) == merged
    assert np.array_equal(activity(merged, LABELS, 160), activity(events, LABELS, 160))
    for label, row in by_label(merged).items():
        assert all(before.offset < after.onset for before, after in itertools.pairwise(row))
        known = [event.score for event in events if event.label == label and event.score is not None]
        kept = [event.score for event in row if event.score is not None]
        assert max(kept, default=None) == max(known, default=None)


@given(arrays(np.float32, st.integers(1, 40), elements=st.floats(0, 1, width=32)), st.integers(0, 40))
def test_the_median_filter_is_the_median_of_the_mirrored_curve(curve: np.ndarray, half: int) -> None:
    period = [*curve.tolist(), *curve.tolist()[::-1]]
    expected = [
        statistics.median(period[at % len(period)] for at in range(centre - half, centre + half + 1))
        for centre in range(len(curve))
    ]
    assert median_filter(curve, 2 * half + 1).tolist() == expected
    assert median_filter(curve[::-1].copy(), 2 * half + 1).tolist() == expected[::-1]


@cache
def _saved_scores() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.npz"
        Scores(np.full((3, 2), 0.5), ("dog", "cat"), meta={"model": "mini"}).save(path)
        return path.read_bytes()


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_scores_file_is_refused_or_read_whole(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.npz"
        content = bytearray(_saved_scores())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        try:
            scores = Scores.load(path)
        except FormatError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:
            assert scores.values.tolist() == [[0.5, 0.5]] * 3
            assert scores.labels == ("dog", "cat")


@given(any_scores(), any_options())
def test_a_mapping_with_the_same_options_for_all_changes_nothing(
    scores: Scores, options: EventOptions
) -> None:
    mapping = dict.fromkeys(LABELS, options)
    assert events_from_scores(scores, options) == events_from_scores(scores, mapping)
