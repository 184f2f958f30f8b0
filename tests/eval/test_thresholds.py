import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from peaframe.eval.thresholds import Detections, Onsets, Strip

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


@given(curves, st.lists(st.integers(0, 3), min_size=4, max_size=4), st.sets(st.integers(0, 7), min_size=1))
def test_onsets_are_counted_under_and_between_thresholds(
    levels: list[list[int]], counts: list[int], marks: set[int]
) -> None:
    strip = lay(levels)
    weights = np.array(counts[: len(levels)], dtype=np.float64)
    falling = sorted(marks, reverse=True)
    thresholds = np.array(falling, dtype=np.float32) / 8

    def detections(threshold: int, weighted: bool) -> float:
        found = [len(by_thresholding(curve, threshold)) for curve in levels]
        return float(weights @ found) if weighted else float(sum(found))

    for weighted in (False, True):
        onsets = Onsets(strip, by_recording=weighted)
        chosen = weights if weighted else None
        # Scores are whole eighths: just under mark v is the threshold v - 1, and so on down to the next mark.
        expected = [detections(v - 1, weighted) for v in falling]
        assert onsets.under(thresholds, chosen).tolist() == expected
        ends = [*falling[1:], -1]
        lowest = [
            min(detections(t, weighted) for t in range(v - 1, min(end - 1, v - 2), -1))
            for v, end in zip(falling, ends, strict=True)
        ]
        assert onsets.fewest(thresholds, chosen).tolist() == lowest


def test_long_ramps_are_quick() -> None:
    # Every frame of a ramp has to look past all others; a walk frame by frame would take minutes.
    up = np.linspace(0, 1, 400_000, dtype=np.float32)
    column = np.concatenate([up, up[::-1]])

    found = Detections.of(Strip.of(column, np.array([800_000]), np.arange(800_001) / 25))

    widths = found.end - found.start
    assert widths.max() == 800_000
    assert widths.min() == 2
    assert len(widths) == len(np.unique(up))
