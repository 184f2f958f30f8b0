"""Zero-shot classification: the label whose words are nearest to a clip.

A label is asked for by several texts, one for each template. Their embeddings are made of unit length, averaged, and
made of unit length again (`class_vectors`), as open_clip and PE's own clip_benchmark do; a clip's score for a label
is the cosine with that. `pooled_scores` is the other custom, the mean of the cosines: the same but for the length
of the mean, which is shorter for labels whose templates disagree.

Top-k: a clip counts if fewer than k other labels score as high as its own or higher, so ties count against the
system. Corpora with folds report the mean of the folds' own numbers, as their authors ask for; nothing is trained
here, so that folds of equal size change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from peaframe.errors import OptionError
from peaframe.eval.bootstrap import Interval, interval, resample
from peaframe.eval.ranking import average_precision

__all__ = ["ClassRow", "Classification", "class_vectors", "classify", "intervals", "pooled_scores"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ClassRow:
    """One label.

    Attributes:
        label: Its name.
        clips: How many clips have it.
        recall: Share of them for which it scored highest, ties against; NaN without any.
        precision: Share of clips for which it scored highest that have it; NaN if it never did.
        average_precision: Of ranking all clips by its score; NaN without a clip that has it.
    """

    label: str
    clips: int
    recall: float
    precision: float
    average_precision: float


@dataclass(frozen=True)
class Classification:
    """How well labels were told.

    Attributes:
        clips: How many clips there were.
        top1: Share of clips whose label scored highest; with folds, the mean of theirs. Of clips with several labels,
            the share for which any of them did.
        top5: The same among the first five.
        mean_recall: Mean of the labels' recall.
        mean_ap: Mean of the labels' average precision, the headline where clips have several labels.
        folds: Fold -> its top-1; empty without folds.
        per_class: A row for each label.
        confusion: (labels, labels) clips by true label (row) and the label that scored highest (column), the first of
            equal ones; clips with several labels are not in it.
        ranks: (clips,) the rank of a clip's best label.
    """

    clips: int
    top1: float
    top5: float
    mean_recall: float
    mean_ap: float
    folds: dict[str, float]
    per_class: tuple[ClassRow, ...]
    confusion: Ints = field(repr=False, compare=False)
    ranks: Ints = field(repr=False, compare=False)


def class_vectors(texts: ArrayLike, owners: ArrayLike, classes: int) -> Floats:
    """One embedding of unit length for each label from its texts' embeddings.

    Args:
        texts: (texts, dim).
        owners: (texts,) the label each belongs to, by number.
        classes: How many labels there are; each must have a text.
    """
    rows, owner = np.asarray(texts, dtype=np.float64), _owners(owners, len(np.asarray(texts)), classes)
    return _unit(_mean(_unit(rows).T, owner, classes).T)


def pooled_scores(scores: ArrayLike, owners: ArrayLike, classes: int) -> Floats:
    """Scores (clips, texts) -> (clips, labels), the mean over a label's texts; arguments as `class_vectors`."""
    table = np.asarray(scores, dtype=np.float64)
    return _mean(table, _owners(owners, table.shape[1], classes), classes)


def classify(
    scores: ArrayLike,
    truth: ArrayLike,
    labels: Sequence[str],
    folds: Mapping[str, ArrayLike] | None = None,
) -> Classification:
    """Measure scores.

    Args:
        scores: (clips, labels) finite; the higher, the likelier.
        truth: (clips,) the label's number, or (clips, labels) true where a clip has the label.
        labels: Their names.
        folds: Fold -> (clips,) true for those in it; a clip may be in several, or in none.

    Raises:
        OptionError: Shapes do not fit, numbers are not finite, or a clip has no label.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or not table.size or table.shape[1] != len(labels) or not np.isfinite(table).all():
        raise OptionError(f"got scores of shape {table.shape}, expected finite (clips, {len(labels)} labels)")
    true = _truth(truth, *table.shape)
    own = np.where(true, table, -np.inf).max(axis=1)
    ranks = 1 + np.count_nonzero((table >= own[:, None]) & ~true, axis=1)
    said = table.argmax(axis=1)
    hit = ranks == 1
    single = true.sum(axis=1) == 1
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (true[single].argmax(axis=1), said[single]), 1)
    rows = []
    for number, label in enumerate(labels):
        have = true[:, number]
        told = (said == number) & (hit | ~have)
        best = hit & have & (table[:, number] == own)
        rows.append(
            ClassRow(
                label,
                int(have.sum()),
                _share(best, have),
                _share(told & have, told),
                average_precision(table[:, number], have),
            )
        )
    members = {name: np.asarray(one, dtype=np.bool_) for name, one in (folds or {}).items()}
    for name, one in members.items():
        if one.shape != hit.shape or not one.any():
            raise OptionError(
                f"fold {name!r} holds {int(one.sum())} clips of {one.shape}, expected some of {hit.shape}"
            )
    by_fold = {name: float(hit[one].mean()) for name, one in members.items()}
    five = [float((ranks[one] <= 5).mean()) for one in members.values()] or [float((ranks <= 5).mean())]
    return Classification(
        len(table),
        float(np.mean(list(by_fold.values()) or [hit.mean()])),
        float(np.mean(five)),
        _nanmean([row.recall for row in rows]),
        _nanmean([row.average_precision for row in rows]),
        by_fold,
        tuple(rows),
        confusion,
        ranks,
    )


def intervals(found: Classification, resamples: int, seed: int = 0) -> dict[str, Interval]:
    """`top1` and `top5` with intervals: clips drawn with replacement, folds left out of it."""
    weights = resample(found.clips, resamples, seed)
    samples = {f"top{k}": weights @ (found.ranks <= k) / found.clips for k in (1, 5)}
    return {"top1": interval(found.top1, samples["top1"]), "top5": interval(found.top5, samples["top5"])}


def _truth(truth: ArrayLike, clips: int, labels: int) -> NDArray[np.bool_]:
    """(clips, labels) true where a clip has the label."""
    given = np.asarray(truth)
    if given.shape == (clips,) and given.dtype.kind in "iu":
        if given.min() < 0 or given.max() >= labels:
            raise OptionError(f"got labels {given.min()} to {given.max()}, expected 0 to {labels - 1}")
        one: NDArray[np.bool_] = given[:, None] == np.arange(labels)
        return one
    if given.shape != (clips, labels):
        raise OptionError(f"got truth of shape {given.shape}, expected ({clips},) or ({clips}, {labels})")
    true: NDArray[np.bool_] = given.astype(np.bool_)
    if not true.any(axis=1).all():
        raise OptionError(f"clip {int((~true.any(axis=1)).argmax())} has no label; leave it out")
    return true


def _owners(owners: ArrayLike, texts: int, classes: int) -> Ints:
    owner = np.asarray(owners, dtype=np.int64)
    if owner.shape != (texts,) or set(owner.tolist()) != set(range(classes)):
        raise OptionError(
            f"got owners of shape {owner.shape}, expected a label of {classes} for each of {texts} texts"
        )
    return owner


def _mean(columns: Floats, owner: Ints, classes: int) -> Floats:
    """Mean over the columns (rows, texts) of each label: (rows, labels)."""
    weights = (owner[:, None] == np.arange(classes)).astype(np.float64)
    mean: Floats = columns @ (weights / weights.sum(axis=0))
    return mean


def _unit(rows: Floats) -> Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units: Floats = rows / np.where(lengths > 0, lengths, 1)
    return units


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else float("nan")


def _nanmean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")
