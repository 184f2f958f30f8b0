"""The pictures of a report: curves where they are, thinned to what can be seen, and the most confused labels."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaframe.eval.report import html
from peaframe.eval.report_confusion import Confusion, heat_map
from peaframe.eval.report_svg import Curve, mean_precision, thin

reports = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "reports.py")))
Page, evaluation = reports.Page, reports.evaluation


def test_curves_are_drawn_where_they_are() -> None:
    page = Page(html(evaluation(steps=3)))

    paths = [attrs["d"] for attrs in page.all("path", "label")]
    assert len(paths) == 6
    # From (0, 0): up to .1 at 1 %, to .5 at 50 %, to .9 at 99 % of the width, and level to its end.
    assert paths[0] == "M0 1000h10v-100h490v-400h490v-400h10"
    assert page.all("path", "mean")[0]["d"] == "M0 1000h10v-50h490v-200h490v-200h10"
    # Precision .95 up to recall .1, .5 up to .5, .05 up to .9; nothing beyond.
    assert paths[3] == "M0 50h100v450h400v450h400"
    assert [attrs["data-label"] for attrs in page.all("path", "label")] == ["0", "1", "2", "0", "1", "2"]
    assert [attrs["data-label"] for attrs in page.all("tr") if attrs.get("data-label")] == ["0", "1", "2"]


def test_what_lies_beyond_the_axis_is_cut_off() -> None:
    given_ = evaluation(("dog", "cat"))
    given_["curves"] = {
        "psd_roc": {"labels": {"dog": {"efpr": [0, 5, 30], "tpr": [0.2, 0.4, 1.0]}}, "max_efpr": 10}
    }
    page = Page(html(given_))
    assert [attrs["d"] for attrs in page.all("path", "label")] == ["M0 1000v-200h500v-200h500"]
    assert page.all("path", "mean") == []
    assert "2.5" in page.said("text")


@pytest.mark.slow
def test_407_labels_stay_small() -> None:
    labels = tuple(f"label {place}, with a display name of some length" for place in range(407))
    given_ = evaluation(labels, steps=1000)
    rng = np.random.default_rng(0)
    for curve in given_["curves"]["psd_roc"]["labels"].values():
        curve["efpr"] = np.sort(rng.uniform(0, 100, 1000)).tolist()
        curve["tpr"] = np.sort(rng.uniform(0, 1, 1000)).tolist()
    for curve in given_["curves"]["pr"].values():
        curve["precision"] = rng.uniform(0, 1, 1000).tolist()
    matrix = rng.integers(0, 50, (408, 408))
    given_["confusion"]["matrix"] = matrix.tolist()

    text = html(given_)
    page = Page(text)

    assert len(text.encode()) < 3_000_000
    assert len(page.all("path", "label")) == 814
    assert max(len(re.findall("h", attrs["d"] or "")) for attrs in page.all("path", "label")) <= 201
    assert len(page.all("rect")) == 31 * 31 - 1
    assert "30 of 407 labels" in page.said()
    assert len([attrs for attrs in page.all("tr") if "data-label" in attrs]) == 407


def staircase_area(x: np.ndarray, y: np.ndarray, end: float) -> float:
    return float(np.sum(y * np.diff(x, append=end)))


def test_thinning_keeps_ends_and_great_steps() -> None:
    # Three great steps among ten thousand tiny ones.
    x = np.linspace(0, 100, 10_000)
    y = 1e-6 * np.arange(10_000) + 0.3 * (x >= 20) + 0.2 * (x >= 21) + 0.4 * (x >= 77.7)

    kept = thin(x, y, 200)

    assert len(kept) == 200
    assert (kept[0], kept[-1]) == (0, 9_999)
    assert (np.diff(kept) > 0).all()
    for place in (20.0, 21.0, 77.7):
        step = np.searchsorted(x, place)
        assert np.abs(x[kept] - x[step]).min() <= 0.1  # a column of the picture
    drawn = y[kept][np.searchsorted(x[kept], x, side="right") - 1]
    assert (drawn <= y).all()
    assert staircase_area(x, y, 100) - staircase_area(x[kept], y[kept], 100) < 0.1


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20)), max_size=60),
    st.integers(2, 30),
    st.booleans(),
)
def test_thinning_any_staircase(points: list[tuple[int, int]], most: int, forward: bool) -> None:
    x, y = [point[0] for point in points], [point[1] / 20 for point in points]
    curve = Curve.of({"x": x, "y": y}, ("x", "y"), forward, "it")
    thinned = curve.thinned(most)

    assert len(thinned.x) == min(len(points), most)
    assert set(zip(thinned.x, thinned.y, strict=True)) <= set(zip(curve.x, curve.y, strict=True))
    if points:
        assert (thinned.x[0], thinned.y[0]) == (curve.x[0], curve.y[0])
        assert (thinned.x[-1], thinned.y[-1]) == (curve.x[-1], curve.y[-1])
    # Points that change nothing go first: with as many points as there are steps, the area stays.
    levels = len(set(x)) + int(np.count_nonzero(np.diff(curve.y))) + 2
    if levels <= most and forward and points:
        assert staircase_area(thinned.x, thinned.y, 40) == pytest.approx(staircase_area(curve.x, curve.y, 40))


def test_the_mean_precision_has_the_mean_of_the_areas() -> None:
    one = Curve(np.array([0.25, 1.0]), np.array([1.0, 0.5]), forward=False)
    two = Curve(np.array([0.5]), np.array([0.8]), forward=False)
    mean = mean_precision([one, two])
    assert float(np.mean(mean.y)) == pytest.approx((0.25 + 0.375 + 0.4) / 2, abs=1e-12)
    assert mean.y[[0, 60, 150]] == pytest.approx([0.9, 0.65, 0.25])


def test_the_most_confused_labels_are_shown() -> None:
    matrix = np.diag([9.0] * 5 + [0.0])
    matrix[3, 1], matrix[4, 0], matrix[2, -1] = 6, 1, 50
    confusion = Confusion.of(list("abcde"), matrix.tolist())

    assert confusion.most_confused(2) == [1, 3]
    assert confusion.most_confused(3) == [0, 1, 3]
    assert confusion.worst_pairs() == [("d", "b", 6.0, 6 / 15), ("e", "a", 1.0, 0.1)]
    picture = Page(heat_map(confusion, most=2))
    cells = [attrs["class"] for attrs in picture.all("rect")]
    assert cells == ["hit s10", "miss s0", "miss s0", "miss s7", "hit s8", "miss s0", "miss s0", "miss s0"]
    assert "d → b: 6 (40.0 %)" in picture.said("title")
