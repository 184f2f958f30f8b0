"""What there is for a run of fine-tuning: items of manifests, sounds to mix, words, latents that are computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peaframe import audio
from peaframe.data import manifest
from peaframe.data.latent_rows import AudioPart
from peaframe.data.latents import LatentCache, fill
from peaframe.data.manifest_item import Item
from peaframe.data.mix_folder import WHISPER, labelled
from peaframe.data.soundbank import Clip, read_manifest
from peaframe.data.vocabulary import Vocabulary
from peaframe.data.vocabulary_file import read_vocabulary
from peaframe.errors import ManifestError
from peaframe.eval.benchmarks.audio_files import audio_below
from peaframe.models.frame import FrameModel
from peaframe.train.parallel import Place, anywhere
from peaframe.train.settings import DataSettings, ScenesSettings


@dataclass(frozen=True)
class Material:
    """What there is for a run.

    Attributes:
        train: items of manifests to learn from; none where shards or scenes are learned from.
        clips: sounds that scenes are mixed from.
        valid: items to be measured on.
        vocabulary: words of the labels to learn.
        asked: words of the labels to be measured on.
    """

    train: list[Item]
    clips: list[Clip]
    valid: list[Item]
    vocabulary: Vocabulary
    asked: Vocabulary | None

    def hours(self, items: Sequence[Item]) -> float:
        """How long items are together, hours."""
        return sum(seconds_of(item) for item in items) / 3600


def read_material(data: DataSettings) -> Material:
    """Read the manifests.

    Raises:
        ManifestError: a file is no manifest, or there is nothing to learn from.
    """
    items = [item for path in data.manifests for item in manifest.load(path)]
    other = bool(data.shards or data.scenes)
    train = [] if other else [item for item in items if item.split in data.train]
    valid = [item for item in items if item.split in data.valid]
    clips = [] if data.scenes is None else sounds_of(data.scenes)
    if not train and not other:
        have = ", ".join(sorted({item.split for item in items})) or "nothing"
        raise ManifestError(
            f"{data.manifests[0]}: got no items of the splits {', '.join(data.train)}; there is {have}"
        )
    labels = data.labels or _labels(train) or tuple(sorted({clip.label for clip in clips} - {""}))
    if not labels:
        raise ManifestError(
            f"{data.manifests[0]}: got no labels in its items, expected events or weak labels"
        )
    asked = data.labels or _labels(valid)
    return Material(
        train,
        clips,
        valid,
        read_vocabulary(labels, data.words, data.ontology),
        read_vocabulary(asked, data.words, data.ontology) if valid and asked else None,
    )


def _labels(items: Sequence[Item]) -> tuple[str, ...]:
    return tuple(
        sorted({e.label for item in items for e in item.events} | {w for i in items for w in i.weak})
    )


def seconds_of(item: Item) -> float:
    """How long an item is, seconds."""
    if item.duration is not None:
        return item.duration
    return max(0.0, audio.probe(item.audio).duration - item.start)


def part(item: Item) -> AudioPart:
    """The recording of an item, as caches know it."""
    return AudioPart(item.audio, item.start, item.duration)


def cached(settings: DataSettings, items: Sequence[Item], model: FrameModel, place: Place) -> LatentCache:
    """The cache with the latents of all items; processes share the work."""
    cache = LatentCache(settings.cache)
    fill(cache, [part(item) for item in items], model, progress=place.first)
    anywhere(False, place)  # all have come this far
    cache.refresh()
    return cache


def sounds_of(scenes: ScenesSettings) -> list[Clip]:
    """The clips that scenes are mixed from, in a fixed order.

    Raises:
        ManifestError: there are no events among them.
    """
    clips = _clips(scenes.sounds, "event", scenes.exclude_sources)
    if scenes.backgrounds is not None:
        clips = [clip for clip in clips if clip.role == "event"]
        clips += _clips(scenes.backgrounds, "background", scenes.exclude_sources)
    if not any(clip.role == "event" for clip in clips):
        raise ManifestError(f"{scenes.sounds}: got no sounds of events; expected {scenes.sounds}/LABEL/a.wav")
    if not any(clip.role == "background" for clip in clips):
        clips.append(WHISPER)
    return clips


def _clips(folder: Path, role: str, excluded: Sequence[str]) -> list[Clip]:
    if not folder.is_dir():
        raise ManifestError(f"{folder}: no such folder; give one that holds labelled sounds")
    if (folder / "manifest.csv").is_file():
        clips = [clip for clip in read_manifest(folder, tuple(excluded)) if clip.split == "train"]
        return clips if role == "event" else [clip for clip in clips if clip.role == role]
    return labelled(folder, audio_below(folder), role, loose=role == "background")
