"""The words of a label set: what to call each label, what is near it and is not it, and which labels are kin.

`peaframe.data.vocabulary_file` reads them from files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from peaframe.data.manifest_item import refuse_doubles
from peaframe.errors import OptionError

__all__ = ["Vocabulary"]


@dataclass(frozen=True)
class Vocabulary:
    """The words of a label set.

    Attributes:
        labels: The labels, each once: the columns of targets.
        phrases: Label -> what to call it, its plain name first; one or more for every label.
        hard_negatives: Label -> phrases that are near it and are not it; a label may be left out.
        related: Pairs of labels that are no negatives of each other, in any order.
        distractors: Phrases that mean no sound at all here.

    Raises:
        OptionError: No labels, one is there twice or has no phrase, or words are given for what is no label.
    """

    labels: tuple[str, ...]
    phrases: Mapping[str, tuple[str, ...]]
    hard_negatives: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    related: tuple[tuple[str, str], ...] = ()
    distractors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.labels:
            raise OptionError("got no labels, expected one or more")
        refuse_doubles(self.labels, "labels")
        for label in self.labels:
            if not self.phrases.get(label):
                raise OptionError(f"the label {label!r} has no phrase; give one or more")
        known = set(self.labels)
        for label in (*self.phrases, *self.hard_negatives, *(name for pair in self.related for name in pair)):
            if label not in known:
                raise OptionError(f"words are given for {label!r}, which is no label; leave them out")

    def related_ids(self) -> NDArray[np.int64]:
        """The related pairs as column numbers, (pairs, 2): each pair once, the smaller number first, sorted."""
        column = {label: i for i, label in enumerate(self.labels)}
        pairs = [(column[a], column[b]) for a, b in self.related if a != b]
        ordered = sorted({(min(pair), max(pair)) for pair in pairs})
        return np.array(ordered, dtype=np.int64).reshape(-1, 2)

    def draw(
        self, label_numbers: Iterable[int], rng: np.random.Generator, plain_share: float = 1 / 3
    ) -> list[str]:
        """One phrase for each label number.

        Args:
            label_numbers: Columns of labels, in any order, repeated or not.
            rng: Draws.
            plain_share: How often the label's first phrase is taken outright; otherwise any of its phrases, the first
                among them, with equal chances.

        Raises:
            OptionError: No such column, or a share outside 0 to 1.
        """
        if not 0 <= plain_share <= 1:
            raise OptionError(f"got a plain_share of {plain_share}, expected 0 to 1")
        drawn = []
        for label in self._named(label_numbers):
            own = self.phrases[label]
            drawn.append(own[0 if rng.random() < plain_share else int(rng.integers(len(own)))])
        return drawn

    def draw_negatives(self, label_numbers: Iterable[int], count: int, rng: np.random.Generator) -> list[str]:
        """Phrases for what is not heard where these labels are, at most `count`, no two alike but for case.

        Hard negatives of the labels come first, then distractors, each in an order drawn anew. A phrase of any of
        these labels, or of a label that is related to one of them, is never among them.

        Args:
            label_numbers: Columns of the labels that are heard.
            count: How many phrases are wanted; there are fewer where the words do not suffice.
            rng: Draws.

        Raises:
            OptionError: No such column, or `count` is negative.
        """
        if count < 0:
            raise OptionError(f"got a count of {count}, expected 0 or more")
        heard = dict.fromkeys(self._named(label_numbers))
        taken = {phrase for label in heard for phrase in self._kin_phrases[label]}
        near = list(dict.fromkeys(phrase for label in heard for phrase in self.hard_negatives.get(label, ())))
        drawn: list[str] = []
        for phrase in (pool[i] for pool in (near, self.distractors) for i in rng.permutation(len(pool))):
            if len(drawn) == count:
                break
            if phrase.casefold() not in taken:
                taken.add(phrase.casefold())
                drawn.append(phrase)
        return drawn

    def all_phrases(self) -> tuple[str, ...]:
        """Every phrase once: those of the labels, in the labels' order, then hard negatives, then distractors."""
        own = [phrase for label in self.labels for phrase in self.phrases[label]]
        near = [phrase for label in self.labels for phrase in self.hard_negatives.get(label, ())]
        return tuple(dict.fromkeys((*own, *near, *self.distractors)))

    def _named(self, label_numbers: Iterable[int]) -> list[str]:
        numbers = list(label_numbers)
        for number in numbers:
            if not 0 <= number < len(self.labels):
                raise OptionError(f"got the label number {number}, expected 0 to {len(self.labels) - 1}")
        return [self.labels[number] for number in numbers]

    @cached_property
    def _kin_phrases(self) -> dict[str, set[str]]:
        """Label -> the phrases of it and of the labels related to it, without case."""
        own = {label: {phrase.casefold() for phrase in self.phrases[label]} for label in self.labels}
        kin = {label: set(phrases) for label, phrases in own.items()}
        for a, b in self.related:
            kin[a] |= own[b]
            kin[b] |= own[a]
        return kin
