"""Where batches of fine-tuning come from: latents of items, sound of items, shards, or scenes mixed on the fly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peaframe.clock import frame_count, frames_of_seconds, samples_of_seconds
from peaframe.data import manifest
from peaframe.data.latent_loader import LatentBatch, LatentLoader
from peaframe.data.manifest_item import Item
from peaframe.data.mix import Mixer, Scene
from peaframe.data.mix_folder import FolderBank
from peaframe.data.scene_features import SceneFeatures
from peaframe.data.shard_batches import ShardBatches
from peaframe.data.shard_reader import ShardReader
from peaframe.data.sound_features import SoundFeatures
from peaframe.data.sound_loader import SoundLoader
from peaframe.data.vocabulary import Vocabulary
from peaframe.models.frame import FrameModel
from peaframe.recipes.finetune_material import Material, cached, part, seconds_of
from peaframe.train.pairs import Said, SaidOf, said
from peaframe.train.parallel import Place
from peaframe.train.run import Loader
from peaframe.train.scenes import scene_targets
from peaframe.train.settings import FinetuneSettings


@dataclass(frozen=True)
class Source:
    """Batches, and what their items say beside targets."""

    loader: Loader[LatentBatch]
    said: SaidOf


def source_of(material: Material, settings: FinetuneSettings, model: FrameModel, place: Place) -> Source:
    """The source that the settings name."""
    data = settings.data
    if data.scenes is not None:
        return _scenes(material, settings, model, place)
    if data.shards:
        return _shards(material.vocabulary, settings, model, place)
    return (
        _sound(material, settings, model, place) if data.sound else _latents(material, settings, model, place)
    )


@dataclass(frozen=True)
class Targets:
    """Targets of items by number, for loaders and their processes."""

    items: Sequence[Item]
    frames: Sequence[int]
    labels: tuple[str, ...]

    def __call__(self, number: int) -> NDArray[np.int8]:
        """Of an item: (frames, labels)."""
        return manifest.targets(self.items[number], self.labels, self.frames[number])


def _latents(material: Material, settings: FinetuneSettings, model: FrameModel, place: Place) -> Source:
    data, labels = settings.data, material.vocabulary.labels
    cache = cached(data, material.train, model, place)
    keys = [cache.key(part(item)) for item in material.train]
    frames = [cache.frames(key) for key in keys]
    loader = LatentLoader(
        cache,
        keys,
        Targets(material.train, frames, labels),
        batch_size=data.batch_size,
        crop_seconds=data.crop_seconds,
        seed=settings.seed,
        rank=place.rank,
        world_size=place.world_size,
        workers=data.workers,
        augment=data.augment,
    )
    return Source(loader, _said(material.train, labels, frames))


def _sound(material: Material, settings: FinetuneSettings, model: FrameModel, place: Place) -> Source:
    data, labels = settings.data, material.vocabulary.labels
    frames = [frame_count(samples_of_seconds(seconds_of(item))) for item in material.train]
    loader = SoundLoader(
        [part(item) for item in material.train],
        Targets(material.train, frames, labels),
        batch_size=data.batch_size,
        crop_seconds=data.crop_seconds,
        seed=settings.seed,
        rank=place.rank,
        world_size=place.world_size,
        workers=data.workers,
        augment=data.sound_augment,
    )
    return Source(SoundFeatures(loader, model), _said(material.train, labels, frames))


def _said(items: Sequence[Item], labels: Sequence[str], frames: Sequence[int]) -> list[Said]:
    return [said(item, labels, count) for item, count in zip(items, frames, strict=True)]


@dataclass(frozen=True)
class _SaidInShards:
    """What the samples of the batch given last say."""

    batches: ShardBatches
    labels: tuple[str, ...]

    def __getitem__(self, number: int, /) -> Said:
        item = self.batches.item(number)
        return said(item, self.labels, frame_count(samples_of_seconds(seconds_of(item))))


def _shards(vocabulary: Vocabulary, settings: FinetuneSettings, model: FrameModel, place: Place) -> Source:
    data = settings.data
    assert data.shards is not None
    reader = ShardReader(
        data.shards,
        seed=settings.seed,
        shuffle_buffer=data.shuffle_buffer,
        rank=place.rank,
        world_size=place.world_size,
        workers=data.workers,
    )
    loader = ShardBatches(
        reader,
        vocabulary.labels,
        batch_size=data.batch_size,
        crop_seconds=data.crop_seconds,
        seed=settings.seed,
        augment=data.augment,
        model=model,
    )
    return Source(loader, _SaidInShards(loader, vocabulary.labels))


@dataclass(frozen=True)
class SceneTargets:
    """Targets of scenes, for loaders and their processes."""

    columns: Mapping[str, int]
    overlap: NDArray[np.bool_]

    def __call__(self, scene: Scene) -> NDArray[np.int8]:
        """Of a scene: (frames, labels)."""
        found: NDArray[np.int8] = scene_targets(scene, self.columns, self.overlap)
        return found


class _AllSaid:
    """Scenes say everything of every label."""

    def __init__(self, seconds: float) -> None:
        self._said = Said(frozenset(), None, frames_of_seconds(seconds))

    def __getitem__(self, number: int, /) -> Said:
        return self._said


def _scenes(material: Material, settings: FinetuneSettings, model: FrameModel, place: Place) -> Source:
    data, labels = settings.data, material.vocabulary.labels
    assert data.scenes is not None
    overlap = np.zeros((len(labels), len(labels)), dtype=bool)
    for one, other in material.vocabulary.related_ids():
        overlap[one, other] = overlap[other, one] = True
    columns = {label: column for column, label in enumerate(labels)}
    loader = SceneFeatures(
        Mixer(FolderBank(material.clips), data.scenes.mix, settings.seed),
        model,
        labels,
        SceneTargets(columns, overlap),
        scenes_per_epoch=data.scenes.per_epoch,
        batch_size=data.batch_size,
        seconds=data.crop_seconds,
        seed=settings.seed,
        rank=place.rank,
        world_size=place.world_size,
        workers=data.workers,
    )
    return Source(loader, _AllSaid(data.crop_seconds))
