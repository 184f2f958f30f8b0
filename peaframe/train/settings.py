"""What a fine-tuning run is made of: the sections of its configuration, read by `peaframe.config`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from peaframe.data.latent_augment import LatentAugment
from peaframe.data.mix import MixConfig
from peaframe.data.sound_augment import SoundAugment
from peaframe.errors import ConfigError
from peaframe.losses.batch import ActivityOptions
from peaframe.train.ema import EmaOptions
from peaframe.train.lora import LoraOptions
from peaframe.train.optim import PARTS, OptimOptions, Schedule
from peaframe.train.query_vectors import TuneOptions
from peaframe.train.run_options import RunOptions

QUERIES = "queries"
"""Learns in place of weights: the vectors of the labels themselves."""


@dataclass(frozen=True)
class ScenesSettings:
    """Soundscapes mixed on the fly; no scene is heard twice.

    Attributes:
        sounds: folder that has one folder for each label, or a `manifest.csv` (its train split is taken).
        backgrounds: folder of ambiences; None for those of the manifest, or else a whisper of white noise.
        per_epoch: scenes of an epoch.
        mix: what they are like.
        exclude_sources: sources of a `manifest.csv` that are left out.
    """

    sounds: Path
    backgrounds: Path | None = None
    per_epoch: int = 1000
    mix: MixConfig = field(default_factory=MixConfig)
    exclude_sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.per_epoch < 1:
            raise ConfigError(f"got data.scenes.per_epoch {self.per_epoch}, expected 1 or more")


@dataclass(frozen=True)
class DataSettings:
    """What is learned from, and in which portions.

    Attributes:
        manifests: files of `peaframe.data.manifest`; with shards or scenes, only to be measured on.
        shards: folder or address of WebDataset shards (`recipes.make_shards`) to learn from instead; needs `labels`.
        shuffle_buffer: samples of shards that are held to draw from.
        scenes: soundscapes to learn from instead.
        cache: folder of latents, filled before training begins.
        train: splits of the manifests to learn from.
        valid: splits to be measured on; none of them there means that nothing is measured.
        labels: only these; by default all that the training items name.
        words: file of phrases, hard negatives and parents (`peaframe.data.vocabulary_file`).
        ontology: ontology file of AudioSet's kind.
        batch_size: items at a time, on each process.
        crop_seconds: longer items are cut to this; scenes have this length.
        workers: processes that prepare batches.
        augment: what happens to latents.
        sound: hear the recordings anew every time instead of reading latents, so that `sound_augment` may change them;
            many times slower.
        sound_augment: what happens to sound.
        negatives: phrases a step that belong to no clip: hard negatives of its labels, and distractors.
        other_labels: labels a step that belong to no clip, drawn from all.
        unsaid: `absent` or `unknown`: what a label is in an item that says nothing of it. The first is what
            contrastive training does, the second is for recordings that were not searched for every label.
        teacher: folder of another model's frame scores (`peaframe.data.teacher_scores`).
    """

    manifests: tuple[Path, ...] = ()
    shards: str | None = None
    shuffle_buffer: int = 1000
    scenes: ScenesSettings | None = None
    cache: Path = Path("runs/latents")
    train: tuple[str, ...] = ("train",)
    valid: tuple[str, ...] = ("valid",)
    labels: tuple[str, ...] = ()
    words: Path | None = None
    ontology: Path | None = None
    batch_size: int = 16
    crop_seconds: float = 10.0
    workers: int = 0
    augment: LatentAugment = field(default_factory=LatentAugment)
    sound: bool = False
    sound_augment: SoundAugment = field(default_factory=SoundAugment)
    negatives: int = 8
    other_labels: int = 0
    unsaid: str = "absent"
    teacher: Path | None = None

    def __post_init__(self) -> None:
        if not (self.manifests or self.shards or self.scenes):
            raise ConfigError("got no data.manifests, expected one manifest or more, or shards, or scenes")
        if self.shards and self.scenes:
            raise ConfigError("got data.shards and data.scenes, expected one of them")
        if self.shards and not self.labels:
            raise ConfigError("got data.shards without data.labels; shards do not say all that is in them")
        if (self.shards or self.scenes) and self.teacher:
            raise ConfigError("got data.teacher beside shards or scenes; a teacher needs manifests")
        if self.unsaid not in ("absent", "unknown"):
            raise ConfigError(f"got data.unsaid {self.unsaid!r}, expected absent or unknown")
        for name in ("batch_size", "negatives", "other_labels"):
            if getattr(self, name) < (name == "batch_size"):
                raise ConfigError(f"got data.{name} {getattr(self, name)}, expected a positive number")


@dataclass(frozen=True)
class LossSettings:
    """The terms of the loss and their weights; 0 leaves a term out.

    Attributes:
        activity: the frame-activity loss (`peaframe.losses.activity`).
        clip_weight: of the sigmoid loss of whole clips against what is heard in them.
        prior_weight: of FLAM's prior loss; the checkpoint then has a `text_prior` and gives unbiased scores.
        teacher_weight: of the distillation from `data.teacher`.
        clusters: groups of similar phrases, by the text tower as it is at first; see `activity.cluster_weight`.
    """

    activity: ActivityOptions = field(default_factory=ActivityOptions)
    clip_weight: float = 0.0
    prior_weight: float = 0.0
    teacher_weight: float = 0.0
    clusters: int = 0

    def __post_init__(self) -> None:
        for name in ("clip_weight", "prior_weight", "teacher_weight", "clusters"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"got loss.{name} {getattr(self, name)}, expected 0 or more")


@dataclass(frozen=True)
class FinetuneSettings(RunOptions):
    """A run of fine-tuning; `RunOptions` has the rest.

    Attributes:
        model: name or folder of the checkpoint to start from.
        data: what is learned from.
        schedule: how many steps, and how the rates rise and fall.
        loss: what is asked of the model.
        optim: learning rates and the optimiser.
        ema: the averaged weights, which are what is measured and saved.
        learn: parts of the model that learn (`codec` never does), or `queries` alone.
        lora: small matrices that learn beside what stands still; `learn` then names what learns besides.
        queries: how query vectors are tuned.
        accumulate: batches that make up a step.
        evaluate_every: steps between measurements; the last step is always measured.
        save_every: steps between states to go on from.
        best: the metric of `peaframe.eval.suite` that chooses `best/`.
    """

    model: str
    data: DataSettings
    schedule: Schedule
    loss: LossSettings = field(default_factory=LossSettings)
    optim: OptimOptions = field(default_factory=OptimOptions)
    ema: EmaOptions = field(default_factory=EmaOptions)
    learn: tuple[str, ...] = ("front", "audio", "heads", "scale")
    lora: LoraOptions | None = None
    queries: TuneOptions = field(default_factory=TuneOptions)
    accumulate: int = 1
    evaluate_every: int = field(default=500, kw_only=True)
    save_every: int = field(default=200, kw_only=True)
    best: str = "psds1"

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = (*(part for part in PARTS if part != "codec"), QUERIES)
        for part in self.learn:
            if part not in allowed:
                raise ConfigError(f"got learn {part!r}, expected some of {', '.join(allowed)}")
        if QUERIES in self.learn and (len(self.learn) > 1 or self.lora is not None):
            raise ConfigError("got learn queries and more; query vectors learn alone, the model stands still")
        if not self.learn and self.lora is None:
            raise ConfigError("got nothing to learn; name parts in `learn`, or give `lora`")
        if self.accumulate < 1:
            raise ConfigError(f"got accumulate {self.accumulate}, expected 1 or more")
        if (self.loss.teacher_weight > 0) != (self.data.teacher is not None):
            raise ConfigError("got only one of loss.teacher_weight and data.teacher; give both or neither")
