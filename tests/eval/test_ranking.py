from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaframe.errors import OptionError
from peaframe.eval import auroc, average_precision, frame_auroc, frame_average_precision, top_k_accuracy
from peaframe.events import Event
from peaframe.scores import Scores

items = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30)


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


def test_top_k_counts_clips_and_takes_groups_as_one() -> None:
    labels = ["dog", "bark", "cat", "cow"]
    scores = [[0.1, 0.9, 0.2, 0.0], [0.9, 0.1, 0.8, 0.0], [0.3, 0.2, 0.1, 0.4]]
    truth = ["dog", "cat", "dog"]

    assert top_k_accuracy(scores, truth, labels) == 0.0
    assert top_k_accuracy(scores, truth, labels, same=[("dog", "bark")]) == pytest.approx(1 / 3)
    assert top_k_accuracy(scores, truth, labels, k=2) == pytest.approx(2 / 3)
    assert top_k_accuracy(scores, truth, labels, k=3) == 1.0
    assert top_k_accuracy(scores, truth, labels, k=2, same=[{"dog", "bark"}, {"cow"}]) == 1.0


def test_top_k_gives_nothing_for_ties() -> None:
    assert top_k_accuracy(np.zeros((2, 3)), ["a", "c"], ["a", "b", "c"], k=2) == 0.0
    assert top_k_accuracy(np.zeros((2, 3)), ["a", "c"], ["a", "b", "c"], k=3) == 1.0
    assert top_k_accuracy([[0.5, 0.5]], ["a"], ["a", "b"], same=[("a", "b")]) == 1.0


def test_arguments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OptionError, match=r"scores of shape \(2,\) and targets of shape \(1,\)"):
        auroc([0.1, 0.2], [True])
    with pytest.raises(OptionError, match="no NaN"):
        average_precision([0.1, float("nan")], [True, False])
    with pytest.raises(OptionError, match=r"shape \(1, 2\) for 1 clips and 3 labels"):
        top_k_accuracy([[0.1, 0.2]], ["a"], ["a", "b", "c"])
    with pytest.raises(OptionError, match="not NaN"):
        top_k_accuracy([[0.1, float("nan")]], ["a"], ["a", "b"])
    with pytest.raises(OptionError, match="for 0 clips"):
        top_k_accuracy(np.zeros((0, 2)), [], ["a", "b"])
    with pytest.raises(OptionError, match="k = 3; expected 1 to 2"):
        top_k_accuracy([[0.1, 0.2]], ["a"], ["a", "b"], k=3)
    with pytest.raises(OptionError, match="true label 'c' is none of the 2"):
        top_k_accuracy([[0.1, 0.2]], ["c"], ["a", "b"])
    with pytest.raises(OptionError, match="2 labels, 1 of them different"):
        top_k_accuracy([[0.1, 0.2]], ["a"], ["a", "a"])
    with pytest.raises(OptionError, match="'b' is in two groups"):
        top_k_accuracy([[0.1, 0.2]], ["a"], ["a", "b"], same=[("a", "b"), ("b",)])
    with pytest.raises(OptionError, match="'z' is in two groups, or in one and not a label"):
        top_k_accuracy([[0.1, 0.2]], ["a"], ["a", "b"], same=[("a", "z")])
