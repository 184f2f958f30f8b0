"""Retrieval: how high up is what belongs to a query, among all there is?

Recall at k (a query counts if any of what belongs to it is among the first k), median rank, and mean average precision
of the first ten. Everything is taken from one row of scores at a time, a few dozen queries or more in a block, so that
100 000 queries against 100 000 candidates need the two tables in float64 and a few blocks of 32 MB.

Ties are against the system: whatever does not belong to the query and scores as high as what does comes before it,
so that scores that are all equal earn nothing. Scores within a billionth of each other are equal, for the same pair
may come out of a product of matrices with another last digit.

Dual softmax reweighting is that of PE-AV's own evaluation (`--reweight-scale 10`, perception_models,
apps/pe/docs/evaluation.md): with `s = scale * score`, each score becomes `s * softmax(s over all queries)`, in each
direction anew, which lowers candidates that are near to every query. It looks at all queries at once, as no search
engine can; numbers with and without it are not to be compared. Embeddings are compared by their cosine, as
clip_benchmark does, which that evaluation is built on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from peaframe.errors import OptionError
from peaframe.eval.bootstrap import Interval, interval, resample

__all__ = [
    "CUTS",
    "SCALE",
    "Retrieval",
    "dual_softmax",
    "intervals",
    "retrieve",
    "retrieve_both",
    "retrieve_scores",
]

CUTS = (1, 5, 10)
SCALE = 10.0
TIE = 1e-9
_PRECISION_CUT = 10
_BLOCK_NUMBERS = 1 << 22
_DRAWS = 50  # at a time: weights of 100 000 queries take 40 MB
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = Callable[[int, int], Floats]


@dataclass(frozen=True)
class Retrieval:
    """How well candidates were found in one direction.

    Attributes:
        queries: How many queries there were.
        candidates: Among how many candidates they looked.
        recall: k -> share of queries with something that belongs to them among the first k.
        median_rank: Of the first candidate that belongs; 1 is best.
        map10: Mean average precision of the first ten.
        ranks: (queries,) rank of the first candidate that belongs.
        precisions: (queries,) average precision of the first ten.
        groups: (queries,) which are drawn together by `intervals`: the captions of one clip.
    """

    queries: int
    candidates: int
    recall: dict[int, float]
    median_rank: float
    map10: float
    ranks: Ints = field(repr=False, compare=False)
    precisions: Floats = field(repr=False, compare=False)
    groups: Ints = field(repr=False, compare=False)


def dual_softmax(scores: ArrayLike, scale: float = SCALE) -> Floats:
    """Scores (queries, candidates) reweighted as the reference does it; see the top of this file."""
    scaled = np.asarray(scores, dtype=np.float64) * scale
    weights = np.exp(scaled - scaled.max(axis=0))
    reweighted: Floats = scaled * (weights / weights.sum(axis=0))
    return reweighted


def retrieve(
    queries: ArrayLike, candidates: ArrayLike, pairs: ArrayLike, *, scale: float | None = None
) -> Retrieval:
    """Find candidates by queries, both as embeddings, by their cosine.

    Args:
        queries: (queries, dim).
        candidates: (candidates, dim).
        pairs: (n, 2) which query and which candidate belong together, by number.
        scale: Of the dual softmax; None goes without.

    Raises:
        OptionError: Shapes do not fit, numbers are not finite, or a query has nothing that belongs to it.
    """
    one, other = _units(queries, "queries"), _units(candidates, "candidates")
    if one.shape[1] != other.shape[1]:
        raise OptionError(f"got embeddings of {one.shape[1]} and {other.shape[1]} channels, expected as many")
    return _retrieve(lambda a, b: one[a:b] @ other.T, len(one), len(other), pairs, scale)


def retrieve_scores(scores: ArrayLike, pairs: ArrayLike, *, scale: float | None = None) -> Retrieval:
    """Find candidates by given scores (queries, candidates); the rest as `retrieve`."""
    table = np.asarray(scores)
    if table.ndim != 2 or not table.size or not _finite(table):
        raise OptionError(f"got scores of shape {table.shape}, expected finite (queries, candidates)")
    queries, candidates = table.shape
    return _retrieve(lambda a, b: table[a:b].astype(np.float64), queries, candidates, pairs, scale)


def retrieve_both(
    one: ArrayLike, other: ArrayLike, pairs: ArrayLike, *, scale: float | None = None
) -> tuple[Retrieval, Retrieval]:
    """`retrieve` from the first table into the second, and from the second into the first."""
    turned = np.asarray(pairs)[:, ::-1]
    return retrieve(one, other, pairs, scale=scale), retrieve(other, one, turned, scale=scale)


def intervals(found: Retrieval, resamples: int, seed: int = 0) -> dict[str, Interval]:
    """The metrics with their intervals, queries drawn with replacement, captions of one clip together.

    Args:
        found: What `retrieve` gave.
        resamples: How many draws; 1 or more.
        seed: Of the draws.

    Returns:
        `r1`, `r5`, `r10`, `median_rank`, `map10`.
    """
    groups, members = np.unique(found.groups, return_inverse=True)
    order = np.argsort(found.ranks, kind="stable")
    ranks = found.ranks[order].astype(np.float64)
    hits = np.stack([found.ranks <= cut for cut in CUTS] + [found.precisions], axis=1).astype(np.float64)
    means, medians = [], []
    for first in range(0, resamples, _DRAWS):
        weights = resample(len(groups), min(_DRAWS, resamples - first), seed + first)[:, members]
        totals = weights.sum(axis=1)
        means.append(weights @ hits / totals[:, None])
        for own, total in zip(weights[:, order].cumsum(axis=1), totals, strict=True):
            middle = np.searchsorted(own, [(total - 1) // 2, total // 2], side="right")
            medians.append(float(ranks[middle].mean()))
    drawn = np.concatenate(means)
    values = {f"r{cut}": found.recall[cut] for cut in CUTS} | {"map10": found.map10}
    bounds = {name: interval(value, drawn[:, i]) for i, (name, value) in enumerate(values.items())}
    return bounds | {"median_rank": interval(found.median_rank, medians)}


def _retrieve(rows: Rows, queries: int, candidates: int, pairs: ArrayLike, scale: float | None) -> Retrieval:
    own = _belonging(pairs, queries, candidates)
    step = max(1, _BLOCK_NUMBERS // candidates)
    blocks = [(first, min(first + step, queries)) for first in range(0, queries, step)]
    if scale is not None:
        rows = _reweighted(rows, blocks, candidates, scale)
    ranks, precisions = np.zeros(queries, np.int64), np.zeros(queries)
    for first, stop in blocks:
        scores = rows(first, stop)
        for query in range(first, stop):
            places = _ranks(scores[query - first], own[query])
            ranks[query] = places[0]
            counted = np.arange(1, len(places) + 1)[places <= _PRECISION_CUT]
            best = min(len(places), _PRECISION_CUT)
            precisions[query] = np.sum(counted / places[: len(counted)]) / best
    alone = all(len(one) == 1 for one in own)
    groups = np.array([int(one[0]) for one in own]) if alone else np.arange(queries)
    recall = {cut: float(np.mean(ranks <= cut)) for cut in CUTS}
    median, precision = float(np.median(ranks)), float(precisions.mean())
    return Retrieval(queries, candidates, recall, median, precision, ranks, precisions, groups)


def _ranks(scores: Floats, own: Ints) -> Ints:
    """Ranks (own,) of what belongs to a query, from the first; others that score as high come before."""
    mine = np.sort(scores[own])[::-1]
    least = mine - TIE * np.abs(mine)
    if len(mine) == 1:  # by far the most
        return np.array([np.count_nonzero(scores >= least[0])])  # itself among them
    others = np.sort(np.delete(scores, own))
    before = len(others) - np.searchsorted(others, least, side="left")
    ranks: Ints = before + np.arange(1, len(mine) + 1)
    return ranks


def _reweighted(rows: Rows, blocks: Sequence[tuple[int, int]], candidates: int, scale: float) -> Rows:
    """Rows after the dual softmax; what all queries together say is summed up in a pass of its own."""
    top, total = np.full(candidates, -np.inf), np.zeros(candidates)
    for first, stop in blocks:
        scaled = rows(first, stop) * scale
        higher = np.maximum(top, scaled.max(axis=0))
        total = total * np.exp(top - higher) + np.exp(scaled - higher).sum(axis=0)
        top = higher

    def reweighted(first: int, stop: int) -> Floats:
        scaled = rows(first, stop) * scale
        values: Floats = scaled * (np.exp(scaled - top) / total)
        return values

    return reweighted


def _belonging(pairs: ArrayLike, queries: int, candidates: int) -> list[Ints]:
    """The candidates of each query, sorted, each once."""
    table = np.asarray(pairs)
    if table.ndim != 2 or table.shape[1] != 2 or table.dtype.kind not in "iu":
        raise OptionError(f"got pairs of shape {table.shape}, expected (n, 2) of whole numbers")
    table = np.unique(table.astype(np.int64), axis=0)
    if len(table) and (table.min() < 0 or table[:, 0].max() >= queries or table[:, 1].max() >= candidates):
        raise OptionError(f"got pairs beyond {queries} queries and {candidates} candidates; count from 0")
    counts = np.bincount(table[:, 0], minlength=queries)
    if queries == 0 or counts.min() == 0:
        which = int(counts.argmin()) if queries else 0
        raise OptionError(f"query {which} has no candidate that belongs to it; leave it out")
    return np.split(table[:, 1], np.cumsum(counts)[:-1])


def _units(table: ArrayLike, what: str) -> Floats:
    """Rows of unit length; rows of zeros stay."""
    values = np.asarray(table, dtype=np.float64)
    if values.ndim != 2 or not values.size or not _finite(values):
        raise OptionError(f"got {what} of shape {values.shape}, expected finite embeddings (n, dim)")
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    units: Floats = values / np.where(lengths > 0, lengths, 1)
    return units


def _finite(table: NDArray[np.generic]) -> bool:
    return all(bool(np.isfinite(table[i : i + 4096]).all()) for i in range(0, len(table), 4096))
