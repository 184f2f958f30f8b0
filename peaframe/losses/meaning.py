"""Which texts mean the same, or nearly: they are no negatives of each other.

Ours: equal numbers mean equal labels; above a cosine, two texts are taken for paraphrases (FLAM, arXiv 2505.05335,
removes only embeddings equal to 1e-6); pairs of labels may be given as related (parent and child in an ontology;
FlexSED keeps such pairs out of its negatives too).

Clusters of texts are FineLAP's idea (arXiv 2604.01155): about 500 groups of paraphrases, negatives from other groups
only. What is done with them here is ours (see `ActivityOptions.cluster_weight`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from peaframe.errors import OptionError


def same_meaning(
    ids: Tensor,
    other_ids: Tensor,
    texts: Tensor,
    other_texts: Tensor,
    above: float | None = None,
    related: Tensor | None = None,
) -> Tensor:
    """Whether two texts mean the same, (texts, others) bool.

    Args:
        ids: (texts,) int64, equal for the same label; negative ones equal nothing.
        other_ids: (others,) int64.
        texts: (texts, dim) embeddings.
        other_texts: (others, dim).
        above: cosine above which (strictly) they mean the same; None leaves embeddings out of it.
        related: (pairs, 2) int64, labels that are no negatives of each other, in either order; None for none.
    """
    same = (ids[:, None] == other_ids[None]) & (ids[:, None] >= 0)
    if above is not None:
        cosine = F.normalize(texts.detach(), dim=-1) @ F.normalize(other_texts.detach(), dim=-1).T
        same = same | (cosine > above)
    if related is not None and len(related):
        known, places = torch.unique(related, return_inverse=True)
        pairs = torch.cat(
            (places[:, 0] * len(known) + places[:, 1], places[:, 1] * len(known) + places[:, 0])
        )
        row, row_known = _find(known, ids)
        column, column_known = _find(known, other_ids)
        named = row_known[:, None] & column_known[None]
        same = same | (named & torch.isin(row[:, None] * len(known) + column[None], pairs))
    return same


def cluster_centres(texts: Tensor, count: int, rounds: int = 20) -> Tensor:
    """Centres of `count` clusters of texts by cosine, (count, dim), each of length 1; the same for the same texts.

    The first centres are texts far from each other (each the farthest from those before it, the first text first);
    then k-means. A cluster that loses all of its texts keeps its centre.

    Args:
        texts: (texts, dim) embeddings.
        count: number of clusters, from 1 to the number of texts.
        rounds: rounds of k-means.

    Raises:
        OptionError: `count` is out of that range.
    """
    if not 1 <= count <= len(texts):
        raise OptionError(f"got {count} clusters of {len(texts)} texts, expected from 1 to as many as texts")
    points = F.normalize(texts.detach(), dim=-1)
    chosen = [0]
    nearest = points @ points[0]
    for _ in range(1, count):
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, points @ points[chosen[-1]])
    centres = points[chosen]
    for _ in range(rounds):
        sums = torch.zeros_like(centres).index_add_(0, nearest_centre(points, centres), points)
        lengths = sums.norm(dim=-1, keepdim=True)
        centres = torch.where(lengths > 0, sums / lengths.clamp(min=1e-12), centres)
    return centres


def nearest_centre(texts: Tensor, centres: Tensor) -> Tensor:
    """The cluster of each text, (texts,) int64: the row of `centres` (clusters, dim) of the highest cosine."""
    return (F.normalize(texts.detach(), dim=-1) @ F.normalize(centres.detach(), dim=-1).T).argmax(dim=1)


def _find(known: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The place of each id among the sorted `known`, and whether it is there."""
    places = torch.searchsorted(known, ids).clamp(max=len(known) - 1)
    return places, known[places] == ids
