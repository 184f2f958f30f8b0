import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from peaframe.eval.thresholds import Changes, Detections, Strip, Sweep, onset_changes

curves = st.lists(st.lists(st.integers(0, 6), max_size=40), min_size=1, max_size=4)


def lay(levels: list[list[int]]) -> Strip:
    frames = np.array([len(x) for x in levels])
    column = np.array([x / 8 for own in levels for x in own], dtype=np.float32)
    return Strip.of(column, frames, np.concatenate([np.arange(n + 1) / 25 for n in frames.tolist()]))


def by_thresholding(curve: list[int], threshold: int) -> set[tuple[int, int]]:
    active = [0, *(x > threshold for x in curve), 0]
    edges = np.flatnonzero(np.diff(active)).tolist()
    return set(zip(edges[::2], edges[1::2], strict=True))


@given(curves)
def test_all_detections_of_all_thresholds_are_found_at_once(levels: list[list[int]]) -> None:
    strip = lay(levels)
    found = Detections.of(strip)

    for threshold in range(-1, 7):
        alive = found.where((found.low <= threshold / 8) & (found.high > threshold / 8))
        got = set(zip(alive.start.tolist(), alive.end.tolist(), strict=True))
        expected = {
            (a + first, b + first)
            for curve, first in zip(levels, strip.first.tolist(), strict=False)
            for a, b in by_thresholding(curve, threshold)
        }
        assert got == expected
        assert len(alive.high) == len(expected)


@given(curves, st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_onsets_are_counted_under_every_threshold(levels: list[list[int]], counts: list[int]) -> None:
    strip = lay(levels)
    sweep = Sweep([onset_changes(strip, -3), onset_changes(strip, 5)])

    # Scores are whole eighths: just under mark v is the threshold v - 1.
    marks = (sweep.marks * 8).astype(int).tolist()
    assert marks == sorted(marks, reverse=True)
    found = np.array([[len(by_thresholding(curve, mark - 1)) for curve in levels] for mark in marks])
    found = found.reshape(len(marks), len(levels))
    assert sweep.counts(-3).tolist() == found.sum(axis=1).tolist()
    weights = np.array(counts[: len(levels)], dtype=np.float64)
    assert sweep.counts(-3, weights).tolist() == (found @ weights).tolist()
    prices = np.array([0, 0, 0, 0, 0, 0.5])
    assert sweep.costs(prices, weights).tolist() == (found @ weights / 2).tolist()
    assert sweep.places(-3).tolist() == list(range(len(marks)))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_any_scores_are_put_in_order(values: list[float]) -> None:
    thresholds = np.array(values, dtype=np.float32)
    nobody = np.zeros(len(values), dtype=np.intp)
    sweep = Sweep([Changes(-1, thresholds, np.arange(len(values)), nobody)])

    assert sweep.marks.tolist() == sorted(set(thresholds.tolist()), reverse=True)
    expected = [
        sum(i for i, x in enumerate(thresholds.tolist()) if x >= mark) for mark in sweep.marks.tolist()
    ]
    assert sweep.counts(-1).tolist() == expected


def test_long_ramps_are_quick() -> None:
    # Every frame of a ramp has to look past all others; a walk frame by frame would take minutes.
    up = np.linspace(0, 1, 400_000, dtype=np.float32)
    column = np.concatenate([up, up[::-1]])

    found = Detections.of(Strip.of(column, np.array([800_000]), np.arange(800_001) / 25))

    widths = found.end - found.start
    assert widths.max() == 800_000
    assert widths.min() == 2
    assert len(widths) == len(np.unique(up))
