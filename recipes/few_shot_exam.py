"""How well a model hears the held labels of few_shot, and all others: frame AUROC on soundscapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peaframe.clock import frame_start_seconds
from peaframe.data import manifest
from peaframe.data.latents import LatentCache
from peaframe.data.manifest_item import Item
from peaframe.data.vocabulary_file import read_vocabulary
from peaframe.errors import OptionError
from peaframe.eval import frame_auroc
from peaframe.events import merge_events
from peaframe.infer.windows import OVERLAP_FRAMES, WINDOW_FRAMES, Stitcher, windows
from peaframe.models.frame import FrameModel
from peaframe.queries import QueryFile
from peaframe.recipes.finetune_material import part
from peaframe.recipes.finetune_valid import Measure
from peaframe.scores import Scores


class Exam:
    """Soundscapes with all labels, and what models make of them.

    Attributes:
        held: labels that are taught.
        labels: all labels that are heard in the soundscapes.
        measure: hears models.
    """

    def __init__(self, path: Path, held: Sequence[str], cache: LatentCache) -> None:
        """Read a manifest.

        Raises:
            OptionError: a held label is not heard there, or nothing else is.
        """
        items = list(manifest.load(path))
        self.held = tuple(held)
        self.labels = tuple(sorted({event.label for item in items for event in item.events}))
        for label in self.held:
            if label not in self.labels:
                raise OptionError(f"{path}: got no events of {label!r} in {len(items)} items, expected some")
        if len(self.labels) == len(self.held):
            raise OptionError(f"{path}: got events of the held labels only, expected others as well")
        self.measure = Measure(cache, items, read_vocabulary(self.labels))
        self._frames: list[list[tuple[int, torch.Tensor]]] = []

    def words(self, model: FrameModel) -> dict[str, float]:
        """Frame AUROC of each label by a model, asked in words."""
        return self._auroc(self.measure.scores(model), self.labels)

    @torch.no_grad()
    def vectors(self, model: FrameModel, queries: QueryFile) -> dict[str, float]:
        """Frame AUROC of each held label by tuned vectors; the model's frames are kept for the next call."""
        queries.check_model(model.name, model.fingerprint(), model.embedding_dim)
        if not self._frames:
            self._frames = [self._embedded(model, item) for item in self.measure.items]
        own = {query.name: query for query in queries.queries}
        asked = [own[self.measure.vocabulary.phrases[label][0]] for label in self.held]
        texts = torch.tensor(np.stack([query.vector for query in asked]))
        biases = torch.tensor([query.bias for query in asked])
        scores = {}
        for number, (item, parts) in enumerate(zip(self.measure.items, self._frames, strict=True)):
            stitcher = Stitcher(len(asked), OVERLAP_FRAMES)
            for first, frames in parts:
                stitcher.add(first, (model.score(frames, texts)[0] + biases).numpy())
            values = torch.from_numpy(np.array(stitcher.result())).sigmoid().numpy()
            seconds = item.duration or frame_start_seconds(len(values))
            scores[f"{number:06}_{item.audio.name}"] = Scores(values, self.held, 0.0, seconds)
        return self._auroc(scores, self.held)

    def _embedded(self, model: FrameModel, item: Item) -> list[tuple[int, torch.Tensor]]:
        rows = self.measure.cache.get(self.measure.cache.key(part(item))).astype(np.float32)
        return [
            (first, model.encode_features(torch.from_numpy(window)[None]))
            for first, window in windows([rows], WINDOW_FRAMES, OVERLAP_FRAMES)
        ]

    def _auroc(self, scores: dict[str, Scores], labels: tuple[str, ...]) -> dict[str, float]:
        truth = {
            name: [event for event in merge_events(item.events) if event.label in labels]
            for name, item in zip(scores, self.measure.items, strict=True)
        }
        return dict(frame_auroc(scores, truth, labels=labels).per_label)

    def sides(self, labels: Mapping[str, float]) -> dict[str, Any]:
        """Mean of the held labels and of the others, and all of them."""
        held = [labels[label] for label in self.held]
        other = [value for label, value in labels.items() if label not in self.held]
        return {"held": float(np.mean(held)), "other": float(np.mean(other)), "labels": dict(labels)}
