"""How well scores put what is there before what is not: AUROC, average precision, top-k accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from peaframe.errors import OptionError
from peaframe.eval.corpus import Corpus, FrameScores, align
from peaframe.eval.ranked import (
    Items,
    Ranked,
    Resampler,
    area_under_roc,
    checked_weights,
    count,
    mean_precision,
)
from peaframe.events import Event

__all__ = [
    "RankingResult",
    "auroc",
    "average_precision",
    "d_prime",
    "frame_auroc",
    "frame_average_precision",
    "frame_precision_recall",
    "frames",
    "partial_auroc",
    "precision_recall",
    "rank_auroc",
    "rank_average_precision",
    "top_k_accuracy",
]

Floats = NDArray[np.float64]
_FUZZ_SECONDS = 4e-8  # a frame's centre this close after an edge lies on it, as in `peaframe.clock`


@dataclass(frozen=True, slots=True)
class RankingResult:
    """A ranking metric of each label, and their mean.

    Attributes:
        macro: Mean of `per_label`; NaN if there is none.
        per_label: The metric of each label that can be scored.
        unscored: Labels that are never active, and for AUROC also those that always are.
        samples: (resamples,) `macro` under each row of `weights`, of the labels that can be scored there (NaN
            if there are none); None if no weights were given.
    """

    macro: float
    per_label: dict[str, float]
    unscored: tuple[str, ...]
    samples: Floats | None = field(default=None, compare=False)


def auroc(scores: ArrayLike, targets: ArrayLike, max_fpr: float = 1.0) -> float:
    """Area under the receiver operating characteristic, exact also where scores are tied.

    It is the chance that a positive scores higher than a negative, a tie counting half (Mann and Whitney), in
    numbers without rounding up to the last division.

    Args:
        scores: (items,) any real numbers.
        targets: (items,) true where positive.
        max_fpr: Highest false positive rate that counts, in (0, 1]. The area up to it is divided by it, as
            sed_scores_eval does unless told otherwise, and so DCASE 2024's mpAUC: guessing earns `max_fpr` / 2.
            `partial_auroc` has the other custom.

    Returns:
        The area in [0, 1]; NaN without a positive or without a negative.

    Raises:
        OptionError: The lists do not fit each other, or `max_fpr` is out of range.
    """
    counts = count(scores, targets)
    return area_under_roc(counts.positives, counts.negatives, _checked_rate(max_fpr))


def partial_auroc(scores: ArrayLike, targets: ArrayLike, max_fpr: float) -> float:
    """AUROC up to a false positive rate, stretched so that guessing earns 1/2 and perfection 1.

    Source: McClish, "Analyzing a portion of the ROC curve", Medical Decision Making 9(3), 1989; the same number
    as scikit-learn's `roc_auc_score(..., max_fpr=...)`.

    Args:
        scores: (items,) any real numbers.
        targets: (items,) true where positive.
        max_fpr: Highest false positive rate that counts, in (0, 1].

    Returns:
        The area; NaN without a positive or without a negative.

    Raises:
        OptionError: The lists do not fit each other, or `max_fpr` is out of range.
    """
    height = auroc(scores, targets, max_fpr)
    guessed = max_fpr / 2
    return height if max_fpr == 1 else 0.5 * (1 + (height - guessed) / (1 - guessed))


def average_precision(scores: ArrayLike, targets: ArrayLike) -> float:
    """Precision at each threshold, weighted by the recall gained there; tied items come in together.

    Args:
        scores: (items,) any real numbers.
        targets: (items,) true where positive.

    Returns:
        The average in (0, 1]; NaN without a positive.
    """
    counts = count(scores, targets)
    return mean_precision(counts.positives, counts.negatives)


def precision_recall(scores: ArrayLike, targets: ArrayLike) -> tuple[Floats, Floats]:
    """The curve whose staircase area is `average_precision`: a point wherever recall grows.

    Args:
        scores: (items,) any real numbers.
        targets: (items,) true where positive.

    Returns:
        Recall, rising to 1, and precision, both (points,); empty without a positive.
    """
    return _curve(count(scores, targets))


def d_prime(auroc: float) -> float:
    """How many standard deviations apart two normal distributions with this AUROC are.

    It is the square root of 2, times the inverse of the normal distribution function: 0 at 1/2, infinite at 0
    and 1. Source: Hershey et al., "CNN architectures for large-scale audio classification", ICASSP 2017.

    Raises:
        OptionError: No area from 0 to 1 (NaN is handed back).
    """
    if math.isnan(auroc):
        return math.nan
    if not 0 <= auroc <= 1:
        raise OptionError(f"got an AUROC of {auroc:g}; expected an area from 0 to 1")
    if auroc in (0, 1):
        return math.inf if auroc else -math.inf
    return math.sqrt(2) * NormalDist().inv_cdf(auroc)


def frame_auroc(
    scores: Mapping[str, FrameScores],
    truth: Mapping[str, Sequence[Event]],
    *,
    labels: Sequence[str] | None = None,
    max_fpr: float = 1.0,
    weights: ArrayLike | None = None,
) -> RankingResult:
    """AUROC of each label over all frames of all recordings.

    Args:
        scores: Scores by recording, all with the same labels.
        truth: True events by recording; a frame is positive if its centre lies inside one. A last frame that is
            shorter than the one before was cut by the recording's end, and has its centre where it would be.
        labels: Score these labels only; by default all labels of the scores.
        max_fpr: As for `auroc`.
        weights: (resamples, recordings) how often each recording counts, in the order of their names: the macro
            average is then also taken for each row, as `samples`.

    Raises:
        OptionError: Scores, truth and labels do not fit each other, no label has ground truth, or another
            argument is out of range.
    """
    return rank_auroc(frames(align(scores, truth, labels)), max_fpr, weights)


def frame_average_precision(
    scores: Mapping[str, FrameScores],
    truth: Mapping[str, Sequence[Event]],
    *,
    labels: Sequence[str] | None = None,
    weights: ArrayLike | None = None,
) -> RankingResult:
    """Average precision of each label over all frames of all recordings; else as `frame_auroc`."""
    return rank_average_precision(frames(align(scores, truth, labels)), weights)


def frame_precision_recall(
    scores: Mapping[str, FrameScores],
    truth: Mapping[str, Sequence[Event]],
    *,
    labels: Sequence[str] | None = None,
    points: int = 500,
) -> dict[str, tuple[Floats, Floats]]:
    """`precision_recall` of each label over all frames, for plots; else as `frame_auroc`.

    Longer curves are thinned to `points` points, evenly spread and with both ends. Labels without a positive
    frame are left out.
    """
    if points < 2:
        raise OptionError(f"got {points} points for a curve; expected 2 or more")
    items, curves = frames(align(scores, truth, labels)), {}
    for label in items.corpus.files_with:
        recall, precision = precision_recall(*items.of(label))
        if len(recall):
            kept = np.unique(np.linspace(0, len(recall) - 1, points).round().astype(np.intp))
            curves[label] = (recall[kept], precision[kept])
    return curves


def top_k_accuracy(
    scores: ArrayLike,
    truth: Sequence[str],
    labels: Sequence[str],
    k: int = 1,
    same: Iterable[Collection[str]] = (),
) -> float:
    """How often one of the k best labels is the true one, or counts as the same.

    A wrong label that ties with the right one comes before it, so that constant scores earn nothing.

    Args:
        scores: (clips, labels) any real numbers.
        truth: The true label of each clip.
        labels: Names of the columns.
        k: How many labels may be named.
        same: Groups of labels that count as the same; a label is in one at most.

    Returns:
        The share of clips, in [0, 1].

    Raises:
        OptionError: The arguments do not fit each other.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (len(truth), len(labels)) or not len(truth) or np.isnan(values).any():
        raise OptionError(
            f"got scores of shape {values.shape} for {len(truth)} clips and {len(labels)} labels; "
            "expected one number, not NaN, for each clip (at least one) and label"
        )
    if not 1 <= k <= len(labels):
        raise OptionError(f"got k = {k}; expected 1 to {len(labels)}, the number of labels")
    group = _groups(labels, truth, same)
    right = np.array([group[name] for name in truth])[:, None] == np.array([group[name] for name in labels])
    best = np.max(values, axis=1, where=right, initial=-np.inf, keepdims=True)
    ahead = np.sum(~right & (values >= best), axis=1)
    return float(np.mean(ahead < k))


def frames(corpus: Corpus) -> Items:
    """Every frame of every recording, positive if its centre lies in [onset, offset) of an event."""
    bounds = np.concatenate(([0], np.cumsum(corpus.frames)))

    def of(label: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        positive = np.zeros(int(bounds[-1]), dtype=np.bool_)
        for file in corpus.files_with.get(label, ()):
            held = np.searchsorted(_centres(corpus.edges_of(file)), corpus.truth[file][label] - _FUZZ_SECONDS)
            for first, stop in (bounds[file] + held).tolist():
                positive[first:stop] = True
        return corpus.column(label), positive

    return Items(corpus, np.repeat(np.arange(len(corpus.files), dtype=np.intp), corpus.frames), of)


def rank_auroc(items: Items, max_fpr: float = 1.0, weights: ArrayLike | None = None) -> RankingResult:
    """AUROC of each label over items of any kind."""
    rate = _checked_rate(max_fpr)
    return _per_label(items, lambda positives, negatives: area_under_roc(positives, negatives, rate), weights)


def rank_average_precision(items: Items, weights: ArrayLike | None = None) -> RankingResult:
    """Average precision of each label over items of any kind."""
    return _per_label(items, mean_precision, weights)


def _per_label(
    items: Items, metric: Callable[[Floats, Floats], float], weights: ArrayLike | None
) -> RankingResult:
    corpus = items.corpus
    rows = None if weights is None else checked_weights(weights, len(corpus.files))
    per_label: dict[str, float] = {}
    total, number = (np.zeros(0 if rows is None else len(rows)) for _ in range(2))
    for label in corpus.files_with:
        values, positive = items.of(label)
        counts = count(values, positive)
        value = metric(counts.positives, counts.negatives)
        if math.isnan(value):
            continue
        per_label[label] = value
        if rows is not None:
            resampler = Resampler(values, positive, items.owner, len(corpus.files))
            drawn = np.array([metric(*resampler.counts(row)) for row in rows])
            known = ~np.isnan(drawn)
            total[known] += drawn[known]
            number += known
    macro = float(np.mean(list(per_label.values()))) if per_label else float("nan")
    unscored = tuple(label for label in corpus.labels if label not in per_label)
    if rows is None:
        return RankingResult(macro, per_label, unscored)
    samples = np.divide(total, number, out=np.full(len(rows), np.nan), where=number > 0)
    return RankingResult(macro, per_label, unscored, samples)


def _curve(counts: Ranked) -> tuple[Floats, Floats]:
    gained = counts.positives[::-1]
    found, named = np.cumsum(gained), np.cumsum(gained + counts.negatives[::-1])
    grows = gained > 0
    return (found[grows] / found[-1] if grows.any() else found[grows]), found[grows] / named[grows]


def _centres(edges: Floats) -> Floats:
    """The middle of each frame, (frames,); that of a last frame cut short is where the whole one's would be."""
    widths = np.diff(edges)
    if len(widths) > 1:
        widths[-1] = max(widths[-1], widths[-2])
    return edges[:-1] + widths / 2


def _checked_rate(max_fpr: float) -> float:
    if not 0 < max_fpr <= 1:
        raise OptionError(f"got max_fpr {max_fpr:g}; expected a false positive rate over 0 and up to 1")
    return float(max_fpr)


def _groups(labels: Sequence[str], truth: Sequence[str], same: Iterable[Collection[str]]) -> dict[str, int]:
    """A number for each label, equal for those that count as the same."""
    group = {label: number for number, label in enumerate(labels)}
    if len(group) < len(labels):
        raise OptionError(f"got {len(labels)} labels, {len(group)} of them different; name each column once")
    placed: set[str] = set()
    for members in same:
        odd = placed.intersection(members) or set(members) - set(labels)
        if odd:
            raise OptionError(f"{min(odd)!r} is in two groups, or in one and not a label; mend the groups")
        placed.update(members)
        group.update(dict.fromkeys(members, min((group[label] for label in members), default=0)))
    unknown = sorted(set(truth) - set(labels))
    if unknown:
        raise OptionError(f"the true label {unknown[0]!r} is none of the {len(labels)} labels; score it too")
    return group
