"""How well scores put what is there before what is not: AUROC, average precision, top-k accuracy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from peaframe.errors import OptionError
from peaframe.eval.corpus import Corpus, align
from peaframe.eval.thresholds import last_of_ties
from peaframe.events import Event, activity
from peaframe.scores import Scores

__all__ = [
    "RankingResult",
    "auroc",
    "average_precision",
    "frame_auroc",
    "frame_average_precision",
    "top_k_accuracy",
]


@dataclass(frozen=True, slots=True)
class RankingResult:
    """A ranking metric of each label, and their mean.

    Attributes:
        macro: Mean of `per_label`; NaN if there is none.
        per_label: The metric of each label that can be scored.
        unscored: Labels that are never active, and for AUROC also those that always are.
    """

    macro: float
    per_label: dict[str, float]
    unscored: tuple[str, ...]


def auroc(scores: ArrayLike, targets: ArrayLike) -> float:
    """Area under the receiver operating characteristic, exact also where scores are tied.

    It is the chance that a positive scores higher than a negative, a tie counting half (Mann and Whitney), in
    whole numbers up to the last division.

    Args:
        scores: (items,) any real numbers.
        targets: (items,) true where positive.

    Returns:
        The area in [0, 1]; NaN without a positive or without a negative.
    """
    positives, negatives = _counts_by_score(scores, targets)
    won = np.sum((2 * (np.cumsum(positives[::-1])[::-1] - positives) + positives) * negatives)
    pairs = 2 * int(positives.sum()) * int(negatives.sum())
    return int(won) / pairs if pairs else float("nan")


def average_precision(scores: ArrayLike, targets: ArrayLike) -> float:
    """Precision at each threshold, weighted by the recall gained there; tied items come in together.

    Args:
        scores: (items,) any real numbers.
        targets: (items,) true where positive.

    Returns:
        The average in (0, 1]; NaN without a positive.
    """
    positives, negatives = (counts[::-1] for counts in _counts_by_score(scores, targets))
    total = int(positives.sum())
    if not total:
        return float("nan")
    found = np.cumsum(positives)
    return float(np.sum(positives * (found / (found + np.cumsum(negatives)))) / total)


def frame_auroc(
    scores: Mapping[str, Scores],
    truth: Mapping[str, Sequence[Event]],
    *,
    labels: Sequence[str] | None = None,
) -> RankingResult:
    """AUROC of each label over all frames of all recordings.

    Args:
        scores: Scores by recording, all with the same labels.
        truth: True events by recording; a frame is positive if its centre lies inside one.
        labels: Score these labels only; by default all labels of the scores.

    Raises:
        OptionError: Scores, truth and labels do not fit each other, or no label has ground truth.
    """
    return _per_label(align(scores, truth, labels), auroc)


def frame_average_precision(
    scores: Mapping[str, Scores],
    truth: Mapping[str, Sequence[Event]],
    *,
    labels: Sequence[str] | None = None,
) -> RankingResult:
    """Average precision of each label over all frames of all recordings; else as `frame_auroc`."""
    return _per_label(align(scores, truth, labels), average_precision)


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


def _counts_by_score(scores: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many positives and negatives have each distinct score, lowest first."""
    values, positive = np.asarray(scores), np.asarray(targets, dtype=np.bool_)
    if values.ndim != 1 or values.shape != positive.shape or np.isnan(values).any():
        raise OptionError(
            f"got scores of shape {values.shape} and targets of shape {positive.shape}; "
            "expected two lists of one length, and no NaN"
        )
    order = np.argsort(values, kind="stable")
    values, positive = values[order], positive[order]
    ends = np.flatnonzero(last_of_ties(values)) + 1
    positives = np.diff(np.cumsum(positive)[ends - 1], prepend=0)
    return positives, np.diff(ends, prepend=0) - positives


def _per_label(corpus: Corpus, metric: Callable[[ArrayLike, ArrayLike], float]) -> RankingResult:
    per_label: dict[str, float] = {}
    for label, own in corpus.files_with.items():
        targets = [np.zeros(item.frames, dtype=np.bool_) for item in corpus.scores]
        for file in own:
            item = corpus.scores[file]
            events = [Event(onset, offset, label) for onset, offset in corpus.truth[file][label].tolist()]
            targets[file] = activity(events, [label], item.frames, item.start)[:, 0]
        values = np.concatenate([item[label] for item in corpus.scores])
        value = metric(values, np.concatenate(targets))
        if not np.isnan(value):
            per_label[label] = value
    macro = float(np.mean(list(per_label.values()))) if per_label else float("nan")
    return RankingResult(macro, per_label, tuple(label for label in corpus.labels if label not in per_label))


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
