import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from peaframe.eval.thresholds import Detections, lay, onset_changes
from peaframe.scores import Scores

curves = st.lists(st.lists(st.integers(0, 6), max_size=40), min_size=1, max_size=4)


def by_thresholding(curve: list[int], threshold: int) -> set[tuple[int, int]]:
    active = [0, *(x > threshold for x in curve), 0]
    edges = np.flatnonzero(np.diff(active)).tolist()
    return set(zip(edges[::2], edges[1::2], strict=True))


@given(curves)
def test_all_detections_of_all_thresholds_are_found_at_once(levels: list[list[int]]) -> None:
    scores = [Scores((np.array(x).reshape(-1, 1) / 8).astype(np.float32), ("dog",)) for x in levels]
    strip = lay(scores, "dog")
    found = Detections.of(strip)
    thresholds, steps = onset_changes(strip)

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
        assert steps[thresholds > threshold / 8].sum() == len(expected)


def test_long_ramps_are_quick() -> None:
    # Every frame of a ramp has to look past all others; a walk frame by frame would take minutes.
    up = np.linspace(0, 1, 400_000, dtype=np.float32)
    ramps = Scores(np.concatenate([up, up[::-1]]).reshape(-1, 1), ("dog",))

    found = Detections.of(lay([ramps], "dog"))

    widths = found.end - found.start
    assert widths.max() == 800_000
    assert widths.min() == 2
    assert len(widths) == len(np.unique(up))
