"""Scored items of one label in order of their scores: counted once, or again and again with other weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from peaframe.errors import OptionError
from peaframe.eval.corpus import Corpus
from peaframe.eval.thresholds import last_of_ties

__all__ = ["Items", "Ranked", "Resampler", "area_under_roc", "checked_weights", "count", "mean_precision"]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Items:
    """What is ranked: frames, segments or clips of all recordings.

    Attributes:
        corpus: Whose they are.
        owner: (items,) the recording of each, as a position in `corpus.files`.
        of: A label's scores and which items are positive, both (items,).
    """

    corpus: Corpus
    owner: Ints
    of: Callable[[str], tuple[NDArray[np.float32], Flags]]


@dataclass(frozen=True)
class Ranked:
    """How many items have each score.

    Attributes:
        values: (distinct scores,) lowest first.
        positives: (distinct scores,) positive items with that score.
        negatives: (distinct scores,) the others.
    """

    values: NDArray[np.generic]
    positives: Floats
    negatives: Floats


def count(scores: ArrayLike, targets: ArrayLike) -> Ranked:
    """Count the positives and negatives of each distinct score.

    Raises:
        OptionError: Not two lists of one length, or a score is not a number.
    """
    values, positive = np.asarray(scores), np.asarray(targets, dtype=np.bool_)
    if values.ndim != 1 or values.shape != positive.shape or np.isnan(values).any():
        raise OptionError(
            f"got scores of shape {values.shape} and targets of shape {positive.shape}; "
            "expected two lists of one length, and no NaN"
        )
    order = np.argsort(values, kind="stable")
    values, positive = values[order], positive[order]
    ends = np.flatnonzero(last_of_ties(values)) + 1 if len(values) else np.empty(0, dtype=np.intp)
    positives = np.diff(np.cumsum(positive)[ends - 1], prepend=0)
    negatives = np.diff(ends, prepend=0) - positives
    return Ranked(values[ends - 1], positives.astype(np.float64), negatives.astype(np.float64))


class Resampler:
    """Ranked of one label's items where each recording counts as often as its weight says.

    Sorts once. Scores without a positive between two that have one are counted together, which changes no area
    under a curve and leaves few counts where positives are few.
    """

    def __init__(self, values: NDArray[np.float32], positive: Flags, owner: Ints, recordings: int) -> None:
        """Sort the items; `values`, `positive` and `owner` (the recording) are (items,)."""
        order = np.argsort(values, kind="stable")
        ends = last_of_ties(values[order]).astype(np.int64)
        tie = np.cumsum(ends) - ends
        hit = np.bincount(tie, weights=positive[order]) > 0
        group = np.cumsum(hit | np.append(False, hit[:-1]))[tie]
        self._groups = int(group[-1]) + 1
        key = group * recordings + owner[order]
        self._positives = _entries(key[positive[order]], recordings)
        self._negatives = _entries(key[~positive[order]], recordings)

    def counts(self, weights: Floats) -> tuple[Floats, Floats]:
        """Positives and negatives, (groups of scores,) lowest first, under `weights` (recordings,)."""
        return self._weighed(self._positives, weights), self._weighed(self._negatives, weights)

    def _weighed(self, entries: tuple[Ints, Ints, Ints], weights: Floats) -> Floats:
        group, owner, number = entries
        return np.bincount(group, weights[owner] * number, minlength=self._groups).astype(np.float64)


def area_under_roc(positives: Floats, negatives: Floats, max_fpr: float = 1.0) -> float:
    """Area under the ROC up to a false positive rate, over that rate; ties are straight pieces of the curve.

    Args:
        positives: (scores,) weights of positives, lowest score first.
        negatives: (scores,) weights of negatives.
        max_fpr: Highest false positive rate that counts, in (0, 1].

    Returns:
        The mean height of the curve, in [0, 1]; NaN without a positive or without a negative.
    """
    gained, alarms = positives[::-1], negatives[::-1]
    hits, falses = np.cumsum(gained), np.cumsum(alarms)
    if not (len(hits) and hits[-1] and falses[-1]):
        return float("nan")
    limit = max_fpr * falses[-1]
    width = np.clip(limit - (falses - alarms), 0.0, alarms)
    covered = np.divide(width, alarms, out=np.zeros_like(width), where=alarms > 0)
    area = np.sum(width * (hits - gained + gained * covered / 2))
    return min(float(area / (hits[-1] * limit)), 1.0)


def mean_precision(positives: Floats, negatives: Floats) -> float:
    """Average precision of weights by score, lowest score first; NaN without a positive."""
    gained = positives[::-1]
    found = np.cumsum(gained)
    if not (len(found) and found[-1]):
        return float("nan")
    named = found + np.cumsum(negatives[::-1])
    precision = np.divide(found, named, out=np.zeros_like(found), where=named > 0)
    return float(np.sum(gained * precision) / found[-1])


def checked_weights(weights: ArrayLike, recordings: int) -> Floats:
    """Weights of recordings as floats, (resamples, recordings).

    Raises:
        OptionError: Another shape, or a weight that is negative or not finite.
    """
    array = np.asarray(weights, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != recordings:
        raise OptionError(
            f"got weights of shape {array.shape} for {recordings} recordings; expected one row for each "
            "resample and one column for each recording, in the order of their names"
        )
    if not (np.isfinite(array) & (array >= 0)).all():
        raise OptionError(
            "got a weight that is negative or not finite; expected how often a recording counts"
        )
    return array


def _entries(keys: NDArray[np.int64], recordings: int) -> tuple[Ints, Ints, Ints]:
    """Groups, recordings, and how many items each pair of them has."""
    pairs, number = np.unique(keys, return_counts=True)
    return pairs // recordings, pairs % recordings, number
