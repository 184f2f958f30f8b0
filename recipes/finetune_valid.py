"""What a model is worth in the middle of a run: a few numbers on cached latents, by peaframe.eval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from peaframe.clock import frame_start_seconds
from peaframe.data.latents import LatentCache
from peaframe.data.manifest_item import Item
from peaframe.data.vocabulary import Vocabulary
from peaframe.eval import PSDS1, best_thresholds, collar_counts, events_at, frame_auroc, psds
from peaframe.events import Event, EventOptions, events_from_scores, filtered_scores, merge_events
from peaframe.infer.windows import OVERLAP_FRAMES, WINDOW_FRAMES, Stitcher, windows
from peaframe.models.frame import FrameModel
from peaframe.recipes.finetune_material import part
from peaframe.scores import Scores

METRICS = (
    *("psds1", "psds1_a", "frame_auroc", "event_f1", "false_alarms_per_hour"),
    *("event_f1_best", "false_alarms_per_hour_best"),
)


@dataclass(frozen=True)
class Measure:
    """Measures models on the same items, by their true events.

    Attributes:
        cache: has the items' latents.
        items: what is heard; each is a recording of its own.
        vocabulary: labels and words; a label's first phrase is the query.
        options: how scores become events; None for the model's own.
    """

    cache: LatentCache
    items: Sequence[Item]
    vocabulary: Vocabulary
    options: EventOptions | None = None

    def __call__(self, model: FrameModel) -> dict[str, float]:
        """`METRICS` by name: means over the labels that have true events; false alarms per hour and label.

        Those called `best` are at the threshold of each label that is best for its event F1 on these very items: what
        could be reached, whatever the level of a model's scores.
        """
        scores = self.scores(model)
        truth = {name: merge_events(item.events) for name, item in zip(scores, self.items, strict=True)}
        present = {event.label for own in truth.values() for event in own}
        labels = tuple(label for label in self.vocabulary.labels if label in present)
        options = model.event_options if self.options is None else self.options
        found = {name: events_from_scores(own, options) for name, own in scores.items()}
        smooth = {name: filtered_scores(own, options) for name, own in scores.items()}
        mine = {name: [e for e in own if e.label in present] for name, own in truth.items()}
        durations = {name: own.end for name, own in scores.items()}
        best = best_thresholds(smooth, mine, labels=labels)
        limits = {label: threshold for label, (threshold, _) in best.items()}
        reached = {name: events_at(own, limits) for name, own in smooth.items()}
        result = psds(smooth, mine, PSDS1, durations=durations, labels=labels)
        return {
            "psds1": result.value,
            "psds1_a": result.macro,
            "frame_auroc": frame_auroc(scores, mine, labels=labels).macro,
            "event_f1": collar_counts(found, mine, labels=labels).f_scores().macro["f_measure"],
            "false_alarms_per_hour": _alarms(found, truth, durations, labels),
            "event_f1_best": sum(value for _, value in best.values()) / len(best),
            "false_alarms_per_hour_best": _alarms(reached, truth, durations, labels),
        }

    @torch.no_grad()
    def scores(self, model: FrameModel) -> dict[str, Scores]:
        """The curves of every item and label, heard in windows as the detector does it."""
        labels = self.vocabulary.labels
        texts = model.encode_text([self.vocabulary.phrases[label][0] for label in labels])
        found = {}
        for number, item in enumerate(self.items):
            rows = self.cache.get(self.cache.key(part(item)))
            seconds = item.duration or frame_start_seconds(len(rows))
            found[f"{number:06}_{item.audio.name}"] = Scores(
                _curves(model, rows, texts), labels, 0.0, seconds
            )
        return found


def _curves(model: FrameModel, rows: NDArray[np.float16], texts: torch.Tensor) -> NDArray[np.float32]:
    stitcher = Stitcher(len(texts), OVERLAP_FRAMES)
    for first, window in windows([rows.astype(np.float32)], WINDOW_FRAMES, OVERLAP_FRAMES):
        frames = model.encode_features(torch.from_numpy(window)[None].to(model.device))
        stitcher.add(first, model.score(frames, texts)[0].float().cpu().numpy())
    logits = torch.from_numpy(np.array(stitcher.result()))
    values: NDArray[np.float32] = logits.sigmoid().numpy()
    return values


def _alarms(
    found: dict[str, list[Event]],
    truth: dict[str, list[Event]],
    durations: dict[str, float],
    labels: Sequence[str],
) -> float:
    """Detections that overlap no true event of their label, per hour and label."""
    wrong = sum(
        not any(t.label == e.label and t.onset < e.offset and e.onset < t.offset for t in truth[name])
        for name, own in found.items()
        for e in own
        if e.label in labels
    )
    hours = sum(durations.values()) / 3600
    return wrong / (hours * len(labels))
