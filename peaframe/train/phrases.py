"""Texts of a training step: one phrase for each label, teacher class and distractor, as sentence vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from peaframe.data.prompts import TEMPLATES, Prompts
from peaframe.errors import ModelError
from peaframe.models.frame import MiniFrameModel

LIKE_A_SOUND = 0.6  # a distractor whose sentence vector is nearer than this to a sound's phrase is left out


@dataclass(frozen=True)
class PhraseTable:
    """Sentence vectors of every phrase, grouped by what they stand for.

    Attributes:
        vectors: (phrases, width).
        groups: for each label, then each teacher class, the rows of its phrases; distractors follow, one row each.
        labels: number of labels.
        classes: number of teacher classes.
    """

    vectors: Tensor
    groups: Sequence[np.ndarray]
    labels: int
    classes: int

    def draw(self, rng: np.random.Generator, distractors: int) -> Tensor:
        """Sentence vectors (labels + classes + distractors, width) of one phrase each.

        A label's first phrase, its own name, is drawn a third of the time.
        """
        rows = [
            int(group[0] if rng.random() < 1 / 3 else rng.choice(group))
            for group in self.groups[: self.labels + self.classes]
        ]
        others = self.groups[self.labels + self.classes :]
        rows += [int(others[i][0]) for i in rng.choice(len(others), distractors, replace=False)]
        return self.vectors[rows]


@torch.no_grad()
def phrase_table(model: MiniFrameModel, prompts: Prompts, classes: Sequence[str]) -> PhraseTable:
    """Encode all phrases, plain and in templates, with the sentence encoder of `model`.

    Args:
        model: its `text` and `tokenizer` are used.
        prompts: the words.
        classes: the teacher's class names, in its order.
    """
    sets = [prompts.phrases[label] for label in prompts.labels]
    sets += [(name.lower(), *prompts.teacher.get(name, ())) for name in classes]
    texts: list[str] = []
    groups: list[np.ndarray] = []
    for phrases in sets:
        spoken = list(dict.fromkeys([*phrases, *(t.format(p) for p in phrases[:2] for t in TEMPLATES)]))
        groups.append(np.arange(len(texts), len(texts) + len(spoken)))
        texts += spoken
    sounds = _sentences(model, texts)
    others = _sentences(model, list(prompts.distractors))
    far = (others @ sounds.T).amax(dim=1) < LIKE_A_SOUND
    groups += [np.array([len(texts) + i]) for i in range(int(far.sum()))]
    return PhraseTable(torch.cat((sounds, others[far])), groups, len(prompts.labels), len(classes))


def _sentences(model: MiniFrameModel, texts: list[str]) -> Tensor:
    if model.tokenizer is None:
        raise ModelError("got a model without tokenizer, expected one to read phrases with")
    parts = [model.text(*model.tokenizer(texts[i : i + 256])) for i in range(0, len(texts), 256)]
    return torch.cat(parts)
