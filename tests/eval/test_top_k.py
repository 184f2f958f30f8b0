import numpy as np
import pytest
from hypothesis import strategies as st

from peaframe.errors import OptionError
from peaframe.eval.ranking import (
    auroc,
    average_precision,
    top_k_accuracy,
)

items = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30)
rates = st.sampled_from([0.05, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0])


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
