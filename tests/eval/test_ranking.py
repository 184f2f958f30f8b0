import itertools
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaframe.errors import OptionError
from peaframe.eval.ranking import (
    auroc,
    average_precision,
    d_prime,
    frame_auroc,
    frame_average_precision,
    frame_precision_recall,
    partial_auroc,
    precision_recall,
)
from peaframe.eval.tables import ScoreTable
from peaframe.events import Event, activity
from peaframe.scores import Scores

items = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30)
rates = st.sampled_from([0.05, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0])


def roc_height(pairs: list[tuple[int, bool]], max_fpr: float) -> float:
    """Mean height of the ROC up to `max_fpr`: its corners joined by straight lines, integrated piece by piece."""
    positives = [score for score, target in pairs if target]
    negatives = [score for score, target in pairs if not target]
    corners = [(0.0, 0.0)]
    for threshold in range(5, -1, -1):
        alarms = sum(score >= threshold for score in negatives) / len(negatives)
        corners.append((alarms, sum(score >= threshold for score in positives) / len(positives)))
    area = 0.0
    for (left, low), (right, high) in itertools.pairwise(corners):
        end = min(right, max_fpr)
        if end > left:
            area += (end - left) * (low + (low + (high - low) * (end - left) / (right - left))) / 2
    return area / max_fpr


def repeated(
    scores: Mapping[str, Scores], truth: Mapping[str, list[Event]], row: list[int]
) -> tuple[dict[str, Scores], dict[str, list[Event]]]:
    """Recordings as often as `row` says, in the order of their names."""
    names = {f"{file} {i}": file for file, n in zip(sorted(scores), row, strict=True) for i in range(n)}
    return {new: scores[old] for new, old in names.items()}, {
        new: truth.get(old, []) for new, old in names.items()
    }


@st.composite
def corpora(draw: st.DrawFn) -> tuple[dict[str, Scores], dict[str, list[Event]]]:
    """Up to five short recordings of two labels, with few different scores; "dog" is heard in one at least."""
    scores, truth = {}, {}
    for number in range(draw(st.integers(1, 5))):
        frames = draw(st.integers(1, 6))
        values = draw(
            st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2 * frames, max_size=2 * frames)
        )
        scores[f"r{number}"] = Scores(np.reshape(np.float32(values), (frames, 2)), ("cat", "dog"))
        spans = draw(
            st.lists(
                st.tuples(st.integers(0, 5), st.integers(1, 3), st.sampled_from(["cat", "dog"])), max_size=3
            )
        )
        truth[f"r{number}"] = [Event(0.04 * on, 0.04 * (on + length), label) for on, length, label in spans]
    truth["r0"] = [*truth["r0"], Event(0.0, 0.04, "dog")]
    return scores, truth


def segments(
    scores: Mapping[str, Scores], truth: Mapping[str, list[Event]], label: str, seconds: int
) -> tuple[list[float], list[bool]]:
    """The highest score in each segment of 10 s clips, and whether an event meets it."""
    values, targets = [], []
    for file, item in scores.items():
        for start in range(0, 10, seconds):
            values.append(float(item[label][start * 25 : (start + seconds) * 25].max()))
            targets.append(
                any(
                    event.label == label and event.onset < start + seconds and event.offset > start
                    for event in truth.get(file, [])
                )
            )
    return values, targets


@given(items)
def test_auroc_is_the_share_of_pairs_in_the_right_order(pairs: list[tuple[int, bool]]) -> None:
    positives = [score for score, target in pairs if target]
    negatives = [score for score, target in pairs if not target]
    won = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)

    value = auroc([score for score, _ in pairs], [target for _, target in pairs])

    if positives and negatives:
        assert value == pytest.approx(won / (len(positives) * len(negatives)), abs=1e-15)
    else:
        assert np.isnan(value)


@given(items)
def test_average_precision_is_the_sum_over_thresholds(pairs: list[tuple[int, bool]]) -> None:
    total = sum(target for _, target in pairs)
    expected, before = 0.0, 0
    for threshold in range(5, -1, -1):
        found = sum(target for score, target in pairs if score >= threshold)
        named = sum(score >= threshold for score, _ in pairs)
        if found > before:
            expected += (found - before) / total * found / named
        before = found

    value = average_precision([score for score, _ in pairs], [target for _, target in pairs])

    if total:
        assert value == pytest.approx(expected, abs=1e-15)
    else:
        assert np.isnan(value)


@given(items, st.randoms())
def test_order_and_monotone_transforms_change_nothing(pairs: list[tuple[int, bool]], order: Random) -> None:
    mixed = list(pairs)
    order.shuffle(mixed)
    for metric in (auroc, average_precision):
        one = metric([score for score, _ in pairs], [target for _, target in pairs])
        two = metric([np.exp(score) - 7 for score, _ in mixed], [target for _, target in mixed])
        assert one == two or (np.isnan(one) and np.isnan(two))


@given(items, rates)
def test_partial_area_is_that_under_straight_pieces(pairs: list[tuple[int, bool]], max_fpr: float) -> None:
    scores, targets = [score for score, _ in pairs], [target for _, target in pairs]
    height, stretched = auroc(scores, targets, max_fpr), partial_auroc(scores, targets, max_fpr)
    if len(set(targets)) < 2:
        assert np.isnan([height, stretched]).all()
        return
    expected = roc_height(pairs, max_fpr)
    least, most = max_fpr**2 / 2, max_fpr
    assert height == pytest.approx(expected, abs=1e-12)
    assert stretched == pytest.approx((1 + (expected * max_fpr - least) / (most - least)) / 2, abs=1e-12)
    if max_fpr == 1:
        assert height == stretched == auroc(scores, targets)


@pytest.mark.parametrize("max_fpr", [0.01, 0.1, 0.5, 1.0])
def test_partial_area_of_guessing_and_of_perfection(max_fpr: float) -> None:
    targets = [True, False, False]
    assert partial_auroc([1, 0, 0], targets, max_fpr) == auroc([1, 0, 0], targets, max_fpr) == 1
    assert partial_auroc([0, 0, 0], targets, max_fpr) == pytest.approx(0.5, abs=1e-15)
    assert auroc([0, 0, 0], targets, max_fpr) == pytest.approx(max_fpr / 2, abs=1e-15)


@pytest.mark.parametrize("max_fpr", [0.0, -0.1, 1.1, float("nan")])
def test_a_rate_out_of_range_is_refused(max_fpr: float) -> None:
    with pytest.raises(OptionError, match="over 0 and up to 1"):
        partial_auroc([0.1, 0.2], [True, False], max_fpr)


@given(items)
def test_the_curve_of_precision_holds_average_precision(pairs: list[tuple[int, bool]]) -> None:
    scores, targets = [score for score, _ in pairs], [target for _, target in pairs]

    recall, precision = precision_recall(scores, targets)

    if any(targets):
        assert recall[-1] == 1
        assert (np.diff(recall) > 0).all()
        assert np.sum(np.diff(recall, prepend=0) * precision) == pytest.approx(
            average_precision(scores, targets)
        )
    else:
        assert len(recall) == len(precision) == 0


def test_the_curve_of_precision_point_by_point() -> None:
    recall, precision = precision_recall([0.9, 0.8, 0.8, 0.7, 0.1], [True, False, True, False, True])
    assert recall.tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert precision.tolist() == pytest.approx([1, 2 / 3, 3 / 5])


def test_d_prime_is_the_distance_of_two_normal_distributions() -> None:
    assert d_prime(0.5) == 0
    assert d_prime(1) == -d_prime(0) == float("inf")
    # AUROC .5 (1 + erf(d / 2)): of distance 1 it is .7602499389, of distance 2 it is .9213503965.
    assert d_prime(0.7602499389065233) == pytest.approx(1, abs=1e-12)
    assert d_prime(0.9213503964748574) == pytest.approx(2, abs=1e-12)
    assert np.isnan(d_prime(float("nan")))
    with pytest.raises(OptionError, match=r"AUROC of 1\.5"):
        d_prime(1.5)


def test_auroc_of_many_ties_is_exact() -> None:
    # A sort that is not stable, over points of one false positive rate, gave 0.9977 for these elsewhere.
    scores = np.repeat([0.0, 1.0], [200_000, 100_000])
    assert auroc(scores, scores > 0.5) == 1.0
    assert auroc(np.zeros(300_000), scores > 0.5) == 0.5


@pytest.mark.parametrize(
    ("name", "metric", "seconds"),
    [("segment_auroc_1s", auroc, 1), ("segment_ap_1s", average_precision, 1), ("clip_auroc", auroc, 10)],
)
def test_agrees_with_sed_scores_eval(
    name: str,
    metric: Callable[[list[float], list[bool]], float],
    seconds: int,
    golden_scores: Mapping[str, Scores],
    golden_truth: Mapping[str, list[Event]],
    sed_scores_eval_numbers: Mapping[str, Any],
) -> None:
    expected = dict(sed_scores_eval_numbers[name])
    mean = expected.pop("mean")

    got = {label: metric(*segments(golden_scores, golden_truth, label, seconds)) for label in expected}

    assert got == pytest.approx(expected, abs=1e-9)
    assert np.mean(list(got.values())) == pytest.approx(mean, abs=1e-9)


def test_frames_are_positive_where_their_centre_is() -> None:
    values = np.array([[0.1, 0.9, 0.8, 0.2]], dtype=np.float32).T
    scores = {"a": Scores(values, ("dog",), start=2.0)}

    assert frame_auroc(scores, {"a": [Event(2.05, 2.11, "dog")]}).per_label == {"dog": 1.0}
    # The event holds the centres of the first two frames: pairs won are 0.9 over 0.8 and 0.2.
    two = {"a": [Event(2.0, 2.07, "dog")]}
    assert frame_auroc(scores, two).macro == 0.5
    assert frame_average_precision(scores, two).macro == pytest.approx((1 + 2 / 4) / 2)


def test_frames_of_all_recordings_are_ranked_together(
    golden_scores: Mapping[str, Scores], golden_truth: Mapping[str, list[Event]]
) -> None:
    result = frame_auroc(dict(reversed(list(golden_scores.items()))), golden_truth)

    values = np.concatenate([item["dog"] for item in golden_scores.values()])
    centres = (np.arange(250) + 0.5) / 25
    targets = np.zeros((60, 250), dtype=bool)
    for row, file in enumerate(golden_scores):
        for event in golden_truth.get(file, []):
            if event.label == "dog":
                targets[row] |= (centres >= event.onset) & (centres < event.offset)
    positives, negatives = values[targets.ravel()], values[~targets.ravel()]
    won = (positives[:, None] > negatives).mean() + (positives[:, None] == negatives).mean() / 2

    assert result.per_label["dog"] == pytest.approx(won, abs=1e-12)
    assert result.macro == pytest.approx(np.mean(list(result.per_label.values())), abs=1e-15)
    assert list(result.per_label) == ["alarm", "cat", "dishes", "dog", "speech", "vacuum"]


@given(corpora())
def test_frames_are_positive_as_on_the_grid_of_events(
    corpus: tuple[dict[str, Scores], dict[str, list[Event]]],
) -> None:
    scores, truth = corpus
    result = frame_auroc(scores, truth)
    for label in ("cat", "dog"):
        values = np.concatenate([item[label] for item in scores.values()])
        grids = [activity(truth[file], ("cat", "dog"), item.frames) for file, item in scores.items()]
        expected = auroc(values, np.concatenate(grids)[:, ("cat", "dog").index(label)])
        assert result.per_label.get(label, float("nan")) == pytest.approx(expected, abs=1e-15, nan_ok=True)


def test_any_grid_of_frames_will_do() -> None:
    values = np.array([[-3.0], [7.0], [2.0]], dtype=np.float32)
    scores = {"a": ScoreTable(values, ("dog",), np.array([0.0, 1.0, 4.0, 6.0]))}
    # Centres 0.5, 2.5 and 5.5: the last frame, shorter than the one before, was cut short at 6 s.
    assert frame_auroc(scores, {"a": [Event(2.5, 5.5, "dog")]}).macro == 1.0
    assert frame_auroc(scores, {"a": [Event(2.6, 5.6, "dog")]}).macro == 0.5
    assert frame_average_precision(scores, {"a": [Event(0.0, 2.5, "dog")]}).macro == pytest.approx(1 / 3)


def test_a_last_frame_that_was_cut_short_is_the_same_in_scores_and_in_a_table() -> None:
    own = Scores(np.array([[0.1], [0.2], [0.9]], dtype=np.float32), ("dog",), start=1.0, duration=0.09)
    table = ScoreTable(own.values, own.labels, own.edges)
    for offset in (1.09, 1.1, 1.101):
        truth = {"a": [Event(1.02, offset, "dog")]}
        held = activity(truth["a"], ["dog"], 3, 1.0)[:, 0]
        expected = frame_auroc({"a": own}, truth)
        assert repr(expected) == repr(frame_auroc({"a": table}, truth))
        assert expected.per_label.get("dog", None) == (None if held.all() else auroc(own["dog"], held))


def test_curves_for_plots_are_thinned_and_keep_their_ends(
    golden_scores: Mapping[str, Scores], golden_truth: Mapping[str, list[Event]]
) -> None:
    whole = frame_precision_recall(golden_scores, golden_truth, points=10**6)
    short = frame_precision_recall(golden_scores, golden_truth, points=20)
    areas = frame_average_precision(golden_scores, golden_truth).per_label

    assert {label: len(recall) for label, (recall, _) in short.items()} == dict.fromkeys(areas, 20)
    for label, (recall, precision) in whole.items():
        assert np.sum(np.diff(recall, prepend=0) * precision) == pytest.approx(areas[label], abs=1e-12)
        assert short[label][0][[0, -1]].tolist() == recall[[0, -1]].tolist()
        assert set(short[label][1].tolist()) <= set(precision.tolist())
    with pytest.raises(OptionError, match="1 points"):
        frame_precision_recall(golden_scores, golden_truth, points=1)


@given(corpora(), st.data(), rates)
def test_weights_repeat_recordings(
    corpus: tuple[dict[str, Scores], dict[str, list[Event]]], data: st.DataObject, max_fpr: float
) -> None:
    scores, truth = corpus
    counts = st.lists(st.integers(0, 3), min_size=len(scores), max_size=len(scores))
    rows = data.draw(st.lists(counts, min_size=1, max_size=3))

    area = frame_auroc(scores, truth, max_fpr=max_fpr, weights=rows)
    precision = frame_average_precision(scores, truth, weights=rows)

    samples = np.stack([np.asarray(area.samples), np.asarray(precision.samples)], axis=1)
    assert samples.shape == (len(rows), 2)
    for row, (one, two) in zip(rows, samples.tolist(), strict=True):
        copies, events = repeated(scores, truth, row)
        if any(events.values()):
            expected = frame_auroc(copies, events, max_fpr=max_fpr), frame_average_precision(copies, events)
            assert (one, two) == pytest.approx([result.macro for result in expected], abs=1e-12, nan_ok=True)
        else:
            assert np.isnan([one, two]).all()


def test_equal_weights_change_nothing(
    golden_scores: Mapping[str, Scores], golden_truth: Mapping[str, list[Event]]
) -> None:
    for metric in (frame_auroc, frame_average_precision):
        plain = metric(golden_scores, golden_truth)
        weighed = metric(golden_scores, golden_truth, weights=[[1] * 60, [2] * 60])
        assert plain == weighed
        assert plain.samples is None
        assert weighed.samples == pytest.approx([plain.macro] * 2, abs=1e-14)


def test_weights_that_do_not_fit_are_refused() -> None:
    scores = {"a": Scores(np.zeros((2, 1), dtype=np.float32), ("dog",))}
    truth = {"a": [Event(0.0, 0.04, "dog")]}
    with pytest.raises(OptionError, match=r"weights of shape \(2,\) for 1 recordings"):
        frame_auroc(scores, truth, weights=[1, 1])
    with pytest.raises(OptionError, match=r"weights of shape \(1, 2\) for 1 recordings"):
        frame_average_precision(scores, truth, weights=[[1, 1]])
    with pytest.raises(OptionError, match="negative or not finite"):
        frame_auroc(scores, truth, weights=[[-1]])


def test_labels_without_contrast_are_set_apart() -> None:
    values = np.array([[0.9, 0.8, 0.5], [0.1, 0.8, 0.5]], dtype=np.float32)
    scores = {"a": Scores(values, ("dog", "unicorn", "hum"))}
    truth = {"a": [Event(0.0, 0.04, "dog"), Event(0.0, 0.08, "hum")]}

    result = frame_auroc(scores, truth)
    assert (result.per_label, result.macro, result.unscored) == ({"dog": 1.0}, 1.0, ("hum", "unicorn"))
    precision = frame_average_precision(scores, truth)
    assert (precision.per_label, precision.unscored) == ({"dog": 1.0, "hum": 1.0}, ("unicorn",))

    nothing = frame_auroc(scores, {"a": [Event(0.0, 0.08, "hum")]})
    assert np.isnan(nothing.macro)
    assert nothing.per_label == {}
