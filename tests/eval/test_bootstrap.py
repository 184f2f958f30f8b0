import numpy as np
import pytest

from peaframe.errors import OptionError
from peaframe.eval import collar_counts, interval, paired, resample
from peaframe.events import Event


def test_draws_are_with_replacement_and_repeat_with_their_seed() -> None:
    weights = resample(30, 500, seed=3)

    assert weights.shape == (500, 30)
    assert (weights.sum(axis=1) == 30).all()
    assert np.array_equal(weights, resample([str(n) for n in range(30)], 500, seed=3))
    assert not np.array_equal(weights, resample(30, 500, seed=4))
    # A recording is left out of a draw with probability (1 - 1/30) ** 30.
    assert np.mean(weights == 0) == pytest.approx((1 - 1 / 30) ** 30, abs=0.01)


def test_an_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    samples = resample(400, 2000) @ values / 400

    found = interval(float(values.mean()), samples)

    spread = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - spread, abs=0.02)
    assert found.high == pytest.approx(values.mean() + spread, abs=0.02)
    assert interval(0.25, [0.1, np.nan, 0.3], level=0.5).low == pytest.approx(0.2)  # half way to -0.1
    assert str(interval(0.5, [0.5, 0.5])) == "0.500 [0.500, 0.500]"


def test_an_interval_holds_its_value_where_samples_are_biased() -> None:
    found = interval(0.5, [0.1, 0.2, 0.3], level=0.9)

    assert (found.low, found.value, found.high) == pytest.approx((0.41, 0.5, 0.59))
    assert paired(0.5, 0.4, [0.1, 0.2, 0.3], [0.3, 0.4, 0.5]).p_value == pytest.approx(0.5)


def test_paired_tests_see_what_unpaired_intervals_hide() -> None:
    # Recordings differ far more than the two systems do, which always differ by 0.1.
    random = np.random.default_rng(2)
    hard = random.normal(0, 1, 200)
    better = hard + 0.1 + random.normal(0, 0.05, 200)
    weights = resample(200, 1000)
    one, two = weights @ better / 200, weights @ hard / 200

    found = paired(float(better.mean()), float(hard.mean()), one, two)

    assert found.value == pytest.approx(0.1, abs=0.02)
    assert 0.08 < found.low < found.high < 0.12
    assert found.p_value == pytest.approx(2 / 1001)
    assert paired(0.5, 0.5, two, two).p_value == 1.0


def test_p_values_of_equal_systems_are_spread_over_all() -> None:
    random = np.random.default_rng(6)
    small = 0
    for _ in range(200):
        gap = random.normal(0, 1, 60)
        samples = resample(60, 200, seed=int(random.integers(1 << 30))) @ gap / 60
        small += paired(float(gap.mean()), 0.0, samples, np.zeros(200)).p_value < 0.1
    assert 8 <= small <= 36  # one in ten is expected


def test_samples_of_counts_are_f_scores_of_the_draw() -> None:
    truth = {"a": [Event(0, 1, "x")], "b": [Event(0, 1, "x"), Event(2, 3, "y")], "c": []}
    found = {"a": [Event(0, 1, "x")], "c": [Event(0, 1, "x")]}
    counts = collar_counts(found, truth)

    macro = counts.macro_samples(np.array([[1, 1, 1], [3, 0, 0], [0, 3, 0], [0, 0, 3], [2, 0, 1]]))

    assert macro[:3] == pytest.approx([0.25, 1.0, 0.0])
    assert np.isnan(macro[3])  # nothing to find in it
    assert macro[4] == pytest.approx(0.8)
    assert counts.micro_samples(np.array([[1, 1, 1]])) == pytest.approx([2 / 5])
    assert counts.by_file() == [("a", 1.0, 0, 0), ("b", 0.0, 2, 0), ("c", 0.0, 0, 1)]


def test_what_cannot_be_drawn_or_compared_is_refused() -> None:
    with pytest.raises(OptionError, match="got 0 recordings"):
        resample(0)
    with pytest.raises(OptionError, match="no samples"):
        interval(0.5, [np.nan])
    with pytest.raises(OptionError, match="level 1"):
        interval(0.5, [0.5], level=1)
    with pytest.raises(OptionError, match="expected as many"):
        paired(0.5, 0.4, [0.5, 0.5], [0.4])
