"""What a run of pre-training is made of: the sections of its configuration, read by `peaframe.config`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from peaframe.data.clip_batches import ClipOptions
from peaframe.errors import ConfigError
from peaframe.train.ema import EmaOptions
from peaframe.train.optim import OptimOptions, Schedule
from peaframe.train.pretrain_model import PretrainOptions
from peaframe.train.run_options import RunOptions


@dataclass(frozen=True)
class ClipSource:
    """Shards that are drawn from together.

    Attributes:
        shards: folders or addresses that `peaframe shards` wrote.
        weight: how often a clip is drawn from them, in proportion to other sources.
    """

    shards: tuple[str, ...]
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.shards or not 0 < self.weight < math.inf:
            raise ConfigError(
                f"got a source of {len(self.shards)} shards with weight {self.weight}, expected one folder or more, "
                "and a weight above 0"
            )


@dataclass(frozen=True)
class ClipData:
    """What is learned from, and in which portions.

    Attributes:
        sources: shards to learn from, mixed by their weights.
        valid: shards to be measured on; none of them means that nothing is measured.
        batch_size: clips of a step, of all processes together.
        clips: how they are cut, and when transcripts stand in captions.
        shuffle_buffer: clips that are held to draw from, on each process.
        workers: threads that decode ahead, on each process.
        shuffled_captions: captions go to other clips of their batch, to see what is learnt from nothing.
    """

    sources: tuple[ClipSource, ...]
    valid: tuple[str, ...] = ()
    batch_size: int = 64
    clips: ClipOptions = field(default_factory=ClipOptions)
    shuffle_buffer: int = 1000
    workers: int = 0
    shuffled_captions: bool = False

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError("got no data.sources, expected one or more, each with shards")
        if self.batch_size < 2:
            raise ConfigError(f"got data.batch_size {self.batch_size}, expected 2 or more clips")


@dataclass(frozen=True)
class ModelSettings:
    """The model to begin with.

    Attributes:
        size: `tiny`, `small`, `base` or `large`.
        frames: pictures that stand for a clip: 16, or None for all of them.
        start: a PE-AV to go on from, such as `last` of stage 1's run; all else here is then its own.
        codec: name or folder of the model whose codec made the latents; its image encoder goes along if it has one.
            None for a random codec, which `tiny` can be tried with.
        text: folder of a ModernBERT in transformers' layout; None for a text tower of random weights.
        tokenizer: a `tokenizer.json`, or name or folder of a model that has one; None for that of `codec` or `text`.
    """

    size: str = "small"
    frames: int | None = None
    start: str | None = None
    codec: str | None = None
    text: Path | None = None
    tokenizer: str | None = None


@dataclass(frozen=True)
class PretrainOptim:
    """AdamW and its learning rates. Of these the paper gives `lr` alone; all others are ours.

    Attributes:
        lr: peak learning rate.
        text_rate: its factor for the text tower.
        weight_decay: on matrices and convolutions.
        betas: AdamW's two decays.
        eps: AdamW's term beside the root.
        clip: the gradient's greatest norm; `inf` never clips.
        most_skipped: steps in a row that may be skipped because they are not finite.
    """

    lr: float = 1e-4
    text_rate: float = 1.0
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    clip: float = 1.0
    most_skipped: int = 20

    def __post_init__(self) -> None:
        self.options()

    def options(self) -> OptimOptions:
        """As the optimiser takes them: all layers have one rate."""
        return OptimOptions(
            lr=self.lr,
            layer_decay=1.0,
            text_rate=self.text_rate,
            weight_decay=self.weight_decay,
            betas=self.betas,
            eps=self.eps,
            clip=self.clip,
            most_skipped=self.most_skipped,
        )


@dataclass(frozen=True)
class PretrainSettings(RunOptions):
    """A run of pre-training; `RunOptions` has the rest.

    Attributes:
        data: what is learned from.
        schedule: how many steps, and how the rates rise and fall.
        model: what learns.
        options: pairs, BEST-RQ, and what else is asked of the model.
        optim: learning rates and the optimiser.
        ema: the averaged weights, which are what is measured and saved.
        clips_at_once: clips of a process that go through the towers together; None for all. Fewer take less memory and
            a third more time, and give the same.
        observe: batches that the mean and deviation of latents are taken of, for BEST-RQ.
        best: the measurement that chooses `best/`.
    """

    data: ClipData
    schedule: Schedule
    model: ModelSettings = field(default_factory=ModelSettings)
    options: PretrainOptions = field(default_factory=PretrainOptions)
    optim: PretrainOptim = field(default_factory=PretrainOptim)
    ema: EmaOptions = field(default_factory=EmaOptions)
    clips_at_once: int | None = None
    observe: int = 8
    best: str = "ahead"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("clips_at_once", "observe"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"got {name} {value}, expected 1 or more")
        if not self.options.pair.across_ranks:
            raise ConfigError("got options.pair.across_ranks false; a run's loss is over all processes")
