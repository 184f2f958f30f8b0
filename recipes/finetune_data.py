"""What a run of fine-tuning learns from, put together for the trainer; wiring only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peaframe.clock import frames_of_seconds
from peaframe.data.latent_loader import LatentBatch
from peaframe.data.manifest_item import Item
from peaframe.data.teacher_scores import TeacherScores, open_teacher, recording_name
from peaframe.errors import ManifestError
from peaframe.losses.meaning import cluster_centres, nearest_centre
from peaframe.models.frame import FrameModel
from peaframe.recipes.finetune_material import Material
from peaframe.recipes.finetune_sources import source_of
from peaframe.train.finetune import Lesson
from peaframe.train.pairs import Matchmaker
from peaframe.train.parallel import Place
from peaframe.train.settings import FinetuneSettings
from peaframe.train.student import Texts, text_states


def lesson(material: Material, settings: FinetuneSettings, model: FrameModel, place: Place) -> Lesson:
    """All that the trainer needs; latents that are not there yet are made."""
    data, vocabulary = settings.data, material.vocabulary
    source = source_of(material, settings, model, place)
    match = Matchmaker(
        vocabulary,
        source.said,
        data.negatives,
        data.other_labels,
        data.unsaid == "absent",
        _shared_labels(place),
    )
    teacher = None if data.teacher is None else open_teacher(data.teacher)
    classes = () if teacher is None else tuple(label.lower() for label in teacher.labels)
    phrases = tuple(dict.fromkeys((*vocabulary.all_phrases(), *classes)))
    learns = "text" in settings.learn or _in_text(
        model, () if settings.lora is None else settings.lora.layers
    )
    related = torch.from_numpy(vocabulary.related_ids()).to(place.device)
    return Lesson(
        source.loader,
        match,
        Texts(model, phrases, learns),
        related if len(related) else None,
        _clusters(model, phrases, settings.loss.clusters),
        None if teacher is None else Teaching(teacher, material.train),
        classes,
    )


def _in_text(model: FrameModel, patterns: Sequence[str]) -> bool:
    """Whether LoRA of these patterns reaches into the text tower."""
    names = [f"text.{name}" for name, _ in model.text.named_modules()]
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _shared_labels(place: Place) -> Callable[[NDArray[np.bool_]], NDArray[np.bool_]]:
    def share(mine: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if place.world_size == 1:
            return mine
        every = torch.from_numpy(mine.astype(np.int32)).to(place.device)
        torch.distributed.all_reduce(every, torch.distributed.ReduceOp.MAX)
        found: NDArray[np.bool_] = every.cpu().numpy() > 0
        return found

    return share


def _clusters(model: FrameModel, phrases: Sequence[str], count: int) -> Mapping[str, int] | None:
    if not count:
        return None
    states = text_states(model, phrases)
    groups = nearest_centre(states, cluster_centres(states, min(count, len(phrases))))
    return dict(zip(phrases, groups.tolist(), strict=True))


class Teaching:
    """The teacher's probabilities for batches; it is silent on what was mixed, and on what it has not heard."""

    def __init__(self, teacher: TeacherScores, items: Sequence[Item]) -> None:
        """Find the items by the names of their recordings."""
        self._teacher = teacher
        self._names = [recording_name(item.audio) for item in items]
        self._starts = [frames_of_seconds(item.start) for item in items]
        if not any(name in teacher for name in self._names):
            raise ManifestError(
                f"{teacher.folder}: knows none of the {len(items)} recordings, {self._names[0]!r} for one; "
                "recordings are found by file name"
            )

    def __call__(self, batch: LatentBatch) -> tuple[Tensor, Tensor]:
        """Probabilities (batch, frames, classes) and where they count (batch, frames, 1)."""
        size, frames = batch.mask.shape
        values = torch.zeros(size, frames, len(self._teacher.labels))
        known = torch.zeros(size, frames, 1, dtype=torch.bool)
        rows = zip(batch.items.tolist(), batch.partners.tolist(), batch.starts.tolist(), strict=True)
        for row, (item, partner, start) in enumerate(rows):
            name = self._names[item]
            if partner < 0 and name in self._teacher:
                logits, valid = self._teacher.rows(name, self._starts[item] + start, frames)
                values[row] = torch.from_numpy(logits.astype(np.float32)).sigmoid()
                known[row, :, 0] = torch.from_numpy(valid) & batch.counted[row]
        return values, known
