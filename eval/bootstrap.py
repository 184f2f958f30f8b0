"""How sure is a metric: bootstrap intervals over recordings, and paired tests of two systems.

Recordings are drawn with replacement, as many as there are (Efron, "Bootstrap methods: another look at the
jackknife", 1979); what a metric makes of each draw is one sample. Two systems heard on the same recordings are
compared on the same draws, so that what both find hard does not blur the difference.

An interval is how far samples lie from their mean, put around the metric itself. Plain percentiles of the samples
would not do: a draw's labels are rarer and more unequal than those of all recordings, so that PSDS1, which punishes
unequal labels, comes out lower in nearly every draw.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from peaframe.errors import OptionError

__all__ = ["Difference", "Interval", "interval", "paired", "resample"]

RESAMPLES, LEVEL = 1000, 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A metric and where it would lie with other recordings of the same kind.

    Attributes:
        value: The metric on all recordings.
        low: Lower end of the interval.
        high: Upper end.
        level: The share of samples between them.
    """

    value: float
    low: float
    high: float
    level: float = LEVEL

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better one system is than another, on the same recordings.

    Attributes:
        value: The first's metric less the second's.
        low: Lower end of the difference's interval.
        high: Upper end.
        p_value: Two-sided: how often a difference of the other sign, or none, comes up, doubled.
        level: The share of samples between `low` and `high`.
    """

    value: float
    low: float
    high: float
    p_value: float
    level: float = LEVEL


def resample(
    recordings: int | Collection[str], resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.int64]:
    """Draw recordings with replacement.

    Args:
        recordings: How many there are, or their names.
        resamples: How many draws.
        seed: Of the draws; the same seed gives the same ones, for any metric and system.

    Returns:
        (resamples, recordings) how often each recording was drawn, in the order of their names: the `weights`
        of the metrics.

    Raises:
        OptionError: Nothing to draw from, or a negative number of draws.
    """
    count = recordings if isinstance(recordings, int) else len(recordings)
    if count < 1 or resamples < 0:
        raise OptionError(
            f"got {count} recordings and {resamples} resamples; expected 1 or more, and 0 or more"
        )
    random = np.random.default_rng(seed)
    weights = np.zeros((resamples, count), dtype=np.int64)
    for row in weights:
        row += np.bincount(random.integers(0, count, count), minlength=count)
    return weights


def interval(value: float, samples: ArrayLike, level: float = LEVEL) -> Interval:
    """The interval around a metric.

    Args:
        value: The metric on all recordings.
        samples: (resamples,) the metric of each resample; NaN where it could not be taken.
        level: The share of samples inside.

    Raises:
        OptionError: No sample at all, or a level not inside (0, 1).
    """
    low, high = _spread(samples, level)
    return Interval(value, value + low, value + high, level)


def paired(
    value: float, other: float, samples: ArrayLike, other_samples: ArrayLike, level: float = LEVEL
) -> Difference:
    """Test whether one system beats another, both on the same resamples of the same recordings.

    Args:
        value: The first system's metric on all recordings.
        other: The second's.
        samples: (resamples,) the first's on each resample.
        other_samples: (resamples,) the second's on the same.
        level: The share of samples inside the interval.

    Raises:
        OptionError: Samples of different number, none at all, or a level not inside (0, 1).
    """
    one, two = np.asarray(samples, dtype=np.float64), np.asarray(other_samples, dtype=np.float64)
    if one.shape != two.shape or one.ndim != 1:
        raise OptionError(
            f"got samples of shapes {one.shape} and {two.shape}; expected as many, of the same draws"
        )
    gaps = one - two
    low, high = _spread(gaps, level)
    gaps = gaps[~np.isnan(gaps)]
    gaps += (value - other) - gaps.mean()
    sides = ((np.sum(gaps <= 0) + 1) / (len(gaps) + 1), (np.sum(gaps >= 0) + 1) / (len(gaps) + 1))
    difference = value - other
    return Difference(difference, difference + low, difference + high, min(1.0, 2 * float(min(sides))), level)


def _spread(samples: ArrayLike, level: float) -> tuple[float, float]:
    """Percentiles of the samples' distance from their mean."""
    if not 0 < level < 1:
        raise OptionError(f"got the level {level:g}; expected a share inside 0 to 1, such as 0.95")
    values = np.asarray(samples, dtype=np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        raise OptionError("got no samples; expected the metric of one resample or more")
    tail = (1 - level) / 2
    low, high = np.quantile(values - values.mean(), (tail, 1 - tail))
    return float(low), float(high)
