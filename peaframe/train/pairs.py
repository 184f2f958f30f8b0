"""Which text is held against which clip: a batch's targets as rows of the frame-activity loss."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peaframe.data.manifest_item import Item
from peaframe.data.vocabulary import Vocabulary

WHOLE_ENOUGH = 0.75  # share of a weakly labelled item that a clip must hold for the label to count


@dataclass(frozen=True)
class Said:
    """What an item says of labels beside its targets.

    Attributes:
        weak: columns of labels that are heard, nobody knows when.
        named: columns of all labels that it says something of; None for all.
        frames: frames of the whole item.
    """

    weak: frozenset[int]
    named: frozenset[int] | None
    frames: int


def said(item: Item, labels: Sequence[str], frames: int) -> Said:
    """What `item` of `frames` frames says of `labels`."""
    named = {event.label for event in item.events} | {*item.weak, *item.negatives}
    named |= {span.label for span in item.unknown if span.label is not None}
    columns = {label: i for i, label in enumerate(labels)}

    def numbers(names: Collection[str]) -> frozenset[int]:
        return frozenset(columns[name] for name in names if name in columns)

    # Where nothing may be said of anything, the item does not leave labels out: it speaks of all of them.
    every = item.exhaustive or any(span.label is None for span in item.unknown)
    return Said(numbers(item.weak), None if every else numbers(named), frames)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Texts of a batch; fields as in `peaframe.losses.batch.ActivityBatch`.

    Attributes:
        phrases: what the texts say.
        clip: (texts,) int64.
        ids: (texts,) int64, the label's column; -1 for what is no label.
        states: (texts, frames) int8.
        weak: (texts,) bool.
    """

    phrases: tuple[str, ...]
    clip: Tensor
    ids: Tensor
    states: Tensor
    weak: Tensor


class SaidOf(Protocol):
    """What items say, by number."""

    def __getitem__(self, number: int, /) -> Said: ...


Share = Callable[[NDArray[np.bool_]], NDArray[np.bool_]]


@dataclass(frozen=True)
class Matchmaker:
    """Draws the texts of a step.

    Attributes:
        vocabulary: the labels and their words.
        items: what each item says.
        negatives: phrases that belong to no clip.
        other_labels: labels that belong to no clip.
        unsaid_absent: labels that an item says nothing of are absent from it.
        share: makes labels that any process has known to all of them.
    """

    vocabulary: Vocabulary
    items: SaidOf
    negatives: int
    other_labels: int
    unsaid_absent: bool
    share: Share

    def __call__(
        self,
        targets: NDArray[np.int8],
        counted: NDArray[np.bool_],
        items: Sequence[int],
        partners: Sequence[int],
        rng: np.random.Generator,
    ) -> Pairs:
        """Texts for a batch: a row for each clip and label heard, or not known, in it; then those of no clip.

        Args:
            targets: (batch, frames, labels): 1 heard, -1 not heard, 0 unknown.
            counted: (batch, frames), where targets count.
            items: number of each clip's item.
            partners: number of what is mixed into it, or -1.
            rng: draws phrases, and what belongs to no clip.
        """
        labels = targets.shape[2]
        heard = ((targets > 0) & counted[..., None]).any(axis=1)
        quiet = ((targets < 0) & counted[..., None]).any(axis=1)
        vague = ((targets == 0) & counted[..., None]).any(axis=1)
        weak, dim, unsaid = (np.zeros(heard.shape, dtype=np.bool_) for _ in range(3))
        for row, (item, partner) in enumerate(zip(items, partners, strict=True)):
            sources = [self.items[i] for i in (item, partner) if i >= 0]
            for source in sources:
                whole = counted[row].sum() >= WHOLE_ENOUGH * source.frames
                (weak if whole else dim)[row, list(source.weak)] = True
            unsaid[row] = [
                all(s.named is not None and c not in s.named for s in sources) for c in range(labels)
            ]
        weak &= ~heard
        present = heard | weak
        others = rng.choice(labels, min(self.other_labels, labels), replace=False)
        asked: NDArray[np.bool_] = np.asarray(present.any(axis=0))
        asked[others] = True
        asked = self.share(asked)
        unknown = vague & ~present & (quiet | ~unsaid if self.unsaid_absent else True)
        own = present | ((unknown | dim) & asked)
        clips, columns = np.nonzero(own)
        free = others[~present[:, others].any(axis=0)] if len(others) else others
        words = self.vocabulary.draw([*columns.tolist(), *free.tolist()], rng)
        wrong = self.vocabulary.draw_negatives(np.flatnonzero(asked).tolist(), self.negatives, rng)
        none = len(free) + len(wrong)
        states = np.concatenate(
            [
                np.where(weak[clips, columns, None], 1, targets[clips, :, columns]),
                np.full((none, targets.shape[1]), -1),
            ]
        )
        return Pairs(
            (*words, *wrong),
            torch.from_numpy(np.concatenate([clips, np.full(none, -1)])),
            torch.from_numpy(np.concatenate([columns, free, np.full(len(wrong), -1)]).astype(np.int64)),
            torch.from_numpy(states.astype(np.int8)),
            torch.from_numpy(np.concatenate([weak[clips, columns], np.zeros(none, dtype=bool)])),
        )
