"""The trainer of peaframe-mini: soundscapes in, checkpoints out; resumable, seeded."""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm

from peaframe.config import as_dict
from peaframe.data.mix import MixConfig
from peaframe.errors import ConfigError
from peaframe.models.checkpoint import write_tensors, write_text
from peaframe.models.frame import MiniFrameModel
from peaframe.models.load import save_model
from peaframe.train.objective import objective
from peaframe.train.phrases import PhraseTable
from peaframe.train.scenes import SceneDataset, SceneSampler, scene_loader
from peaframe.train.teacher import Teacher
from peaframe.train.warm import frame_bank
from peaframe.train.words import WordsConfig

PRETRAINED = ("conv1", "depthwise", "pointwise")  # the front end's convolutions


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        steps: optimiser steps in all, the warm start's included.
        warm_steps: steps of the warm start on single frames (see `peaframe.train.warm`).
        warm_frames: frames kept for it.
        warm_batch: frames a step of it.
        warm_lr: peak learning rate of new layers in it; frames from everywhere bear a higher one than scenes.
        seconds: seconds of audio a step.
        durations: lengths of scenes in seconds, one a batch.
        lr: peak learning rate of new layers.
        front_lr: peak learning rate of the pretrained convolutions.
        scale_lr: peak learning rate of the logits' scale and bias.
        frozen_steps: steps at first in which the pretrained convolutions stand still (three times as quick, and the
            teacher is the same convolutions then, so it costs nothing).
        warmup: steps until the peak; a cosine down to a fiftieth follows.
        weight_decay: AdamW's, on matrices.
        ema: decay of the averaged weights, which are the ones saved.
        p_local: share of the local loss.
        positive_weight: see `frame_activity_loss`.
        ranking_weight: weight of the softmax ranking within a frame.
        teacher_weight: weight of the distillation from YAMNet's scores.
        teacher_share: share of each batch that the teacher hears once the convolutions learn; 0 leaves it out.
        distractors: phrases that mean no sound, a step.
        precision: `float32` or `bfloat16` (autocast).
        workers: processes that mix scenes.
        save_every: steps between checkpoints.
        seed: of everything random.
    """

    steps: int
    warm_steps: int = 0
    warm_frames: int = 100_000
    warm_batch: int = 512
    warm_lr: float = 8e-4
    seconds: float = 160.0
    durations: tuple[float, ...] = (2.56, 2.56, 5.12, 10.24)
    lr: float = 1e-3
    front_lr: float = 2e-4
    scale_lr: float = 1e-2
    frozen_steps: int = 400
    warmup: int = 150
    weight_decay: float = 0.05
    ema: float = 0.998
    p_local: float = 0.3
    positive_weight: float = 1.0
    ranking_weight: float = 1.0
    teacher_weight: float = 0.2
    teacher_share: float = 0.34
    distractors: int = 48
    precision: str = "bfloat16"
    workers: int = 1
    save_every: int = 200
    seed: int = 0


@dataclass(frozen=True)
class Settings:
    """A whole run: `train`, what scenes are `mix`ed, the `model`'s sizes.

    Attributes:
        train: how to train.
        mix: what soundscapes are like.
        exclude_sources: sources of the sound bank left out.
        vocabulary_words: whole words kept of the sentence encoder's vocabulary.
        width: channels of the tower.
        layers: layers of the tower.
        embedding_dim: channels of the shared space.
        around: frames that the front end takes means and deviations over.
        words: how the text side learns at the end.
        dropout: dropout of the tower in training.
        channel_dropout: share of the front end's channels left out of a scene in training.
    """

    train: TrainConfig
    mix: MixConfig = field(default_factory=MixConfig)
    words: WordsConfig = field(default_factory=WordsConfig)
    exclude_sources: tuple[str, ...] = ()
    vocabulary_words: int = 12_000
    width: int = 256
    layers: int = 3
    embedding_dim: int = 256
    around: tuple[int, ...] = (25,)
    dropout: float = 0.1
    channel_dropout: float = 0.3


def learning_rate(step: int, config: TrainConfig) -> float:
    """Factor of the peak rates at `step`, in the warm start and again after it: linear warm-up, cosine to 0.02."""
    steps = config.warm_steps
    if step >= config.warm_steps:
        step, steps = step - config.warm_steps, config.steps - config.warm_steps
    if step < config.warmup:
        return (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, steps - config.warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class Trainer:
    """One run in one folder.

    The folder gets `config.json model.safetensors tokenizer.json` (averaged weights, loadable at any time),
    `settings.json` (the resolved configuration), `log.jsonl`, and `resume.safetensors` to go on from.
    """

    def __init__(
        self,
        model: MiniFrameModel,
        teacher: Teacher,
        table: PhraseTable,
        dataset: SceneDataset,
        settings: Settings,
        tokenizer: dict[str, Any],
        folder: Path,
    ) -> None:
        self.model, self.teacher, self.table, self.dataset = model, teacher, table, dataset
        self.settings, self.config, self.tokenizer, self.folder = settings, settings.train, tokenizer, folder
        spare = len(table.groups) - table.labels - table.classes
        if self.config.distractors > spare:
            raise ConfigError(
                f"got train.distractors {self.config.distractors}, expected at most the {spare} there are"
            )
        self.overlap = torch.from_numpy(dataset.overlap).float()
        model.text.requires_grad_(False)
        model.front.log_mel.requires_grad_(False)
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.average = {n: p.detach().clone() for n, p in self.parameters.items()}
        self.optimizer = torch.optim.AdamW(self._groups(), betas=(0.9, 0.98))
        self.step = 0
        self._resume()
        ours, theirs = model.front.state_dict(), teacher.front.state_dict()
        self.still_the_teacher = all(
            torch.equal(ours[name], theirs[name]) for name in ours if name.startswith(PRETRAINED)
        )

    def _groups(self) -> list[dict[str, Any]]:
        groups: dict[tuple[float, float], list[Tensor]] = {}
        for name, p in self.parameters.items():
            pretrained = name.removeprefix("front.").startswith(PRETRAINED)
            decay = self.config.weight_decay if p.ndim > 1 and not pretrained else 0.0
            lr = self.config.front_lr if pretrained else self.config.lr
            lr = self.config.scale_lr if name.startswith("logit_") else lr
            groups.setdefault((lr, decay), []).append(p)
        return [{"params": ps, "lr": lr, "peak": lr, "weight_decay": wd} for (lr, wd), ps in groups.items()]

    def run(self, on_save: Callable[[int], None] | None = None) -> None:
        """Train to the last step; `on_save(step)` is called after each checkpoint."""
        c = self.config
        bar = tqdm(total=c.steps, initial=self.step, desc="train", unit="step", disable=None)
        sums: dict[str, float] = {}
        summed = 0
        began, first = time.monotonic(), self.step
        for update in self._updates():
            for name, value in update().items():
                sums[name] = sums.get(name, 0.0) + value
            self.step += 1
            summed += 1
            bar.update()
            if self.step % 50 == 0:
                means = {name: round(value / summed, 4) for name, value in sums.items()}
                sums, summed = {}, 0
                bar.set_postfix(means)
                pace = round((time.monotonic() - began) / (self.step - first), 3)
                self._log({"step": self.step, **means, "seconds_per_step": pace})
            if self.step % c.save_every == 0 or self.step == c.steps:
                self.save()
                if on_save is not None:
                    on_save(self.step)
        bar.close()

    def _updates(self) -> Iterator[Callable[[], dict[str, float]]]:
        """The steps still to do, each to be called once: those on single frames, then those on scenes."""
        c = self.config
        if self.step < c.warm_steps:
            if not self.still_the_teacher:
                raise ConfigError("a warm start needs the teacher's convolutions; set train.warm_steps=0")
            how = (min(c.durations), c.seconds, c.workers, c.seed)
            with torch.autocast("cpu", torch.bfloat16, enabled=c.precision == "bfloat16"):
                bank = frame_bank(self._listen, self.dataset, c.warm_frames, *how)
            for batch in bank.batches(c.warm_batch, self.step, c.warm_steps, c.seed):
                yield functools.partial(self._frames_update, *batch)
            del bank
        sampler = SceneSampler(c.seed, self.step, c.steps, c.durations, c.seconds)
        for waveform, targets in scene_loader(self.dataset, sampler, c.workers):
            yield functools.partial(self._scenes_update, waveform, targets)

    def _listen(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """What the front end's maps hold of waveforms, and the teacher's probabilities from the deepest."""
        features, deep = self.model.front.features(self.model.front.log_mel(waveform))
        return features, self.teacher.scores(deep)

    def _prepare(self) -> None:
        c = self.config
        factor = learning_rate(self.step, c)
        for group in self.optimizer.param_groups:
            warm = self.step < c.warm_steps and group["peak"] == c.lr
            group["lr"] = (c.warm_lr if warm else group["peak"]) * factor
        torch.manual_seed(hash((c.seed, self.step)) % 2**31)
        self.model.train()
        self.model.front.hold(self.step < c.frozen_steps)

    def _frames_update(self, features: Tensor, targets: Tensor, taught: Tensor) -> dict[str, float]:
        self._prepare()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            frames = self.model.embed(self.model.tower.finish(self.model.front.project(features)))
        return self._learn(frames, targets, taught, p_local=0.0)

    def _scenes_update(self, waveform: Tensor, targets: Tensor) -> dict[str, float]:
        self._prepare()
        c = self.config
        taught = None
        with torch.autocast("cpu", torch.bfloat16, enabled=c.precision == "bfloat16"):
            features, deep = self.model.front(waveform)
            frames = self.model.encode_projected(features)
            part = math.ceil(len(waveform) * c.teacher_share)
            if part and self.step < c.frozen_steps and self.still_the_teacher:
                part, taught = len(waveform), self.teacher.scores(deep)
            elif part:
                taught = self.teacher(waveform[:part])
        return self._learn(frames, targets, taught, c.p_local)

    def _learn(
        self, frames: Tensor, targets: Tensor, taught: Tensor | None, p_local: float
    ) -> dict[str, float]:
        """One step of the optimiser.

        Args:
            frames: (batch, frames, dim) embeddings.
            targets: (batch, frames, labels).
            taught: the teacher's probabilities of the first few, (some, frames, classes).
            p_local: share of the local loss.
        """
        c = self.config
        rng = np.random.default_rng((c.seed, 1, self.step))
        texts = self.model.project_text(self.table.draw(rng, c.distractors))
        logits = self.model.score(frames.float(), texts)
        weights = (p_local, c.positive_weight, c.ranking_weight, c.teacher_weight)
        loss, parts = objective(logits, targets, taught, self.overlap, self.table, weights)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ConfigError(f"the loss is {value} at step {self.step}; lower lr or use precision: float32")
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(list(self.parameters.values()), 1.0)
        self.optimizer.step()
        decay = min(c.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, p in self.parameters.items():
                self.average[name].lerp_(p, 1 - decay)
        return {"loss": value, **parts}

    def averaged(self) -> MiniFrameModel:
        """A copy of the model with the averaged weights, in evaluation mode."""
        copy = MiniFrameModel(self.model.config, self.model.tokenizer)
        copy.load_state_dict({**self.model.state_dict(), **self.average})
        return copy.eval()

    def save(self) -> None:
        """Write the averaged model, and in one file all that is needed to go on."""
        save_model(self.averaged(), self.folder, self.tokenizer)
        write_text(self.folder / "settings.json", json.dumps(as_dict(self.settings), indent=2) + "\n")
        tensors = {"step": torch.tensor(self.step)}
        for name, p in self.parameters.items():
            tensors[f"raw/{name}"] = p.detach()
            tensors[f"average/{name}"] = self.average[name]
            for key, value in self.optimizer.state[p].items():
                tensors[f"{key}/{name}"] = value
        write_tensors(self.folder / "resume.safetensors", tensors)

    def _resume(self) -> None:
        path = self.folder / "resume.safetensors"
        if not path.is_file():
            return
        settings = json.loads((self.folder / "settings.json").read_text(encoding="utf-8"))
        if settings != json.loads(json.dumps(as_dict(self.settings))):
            raise ConfigError(f"{self.folder}: holds a run with other settings; choose another --out")
        tensors = load_file(path)
        self.step = int(tensors["step"])
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(tensors[f"raw/{name}"])
                self.average[name].copy_(tensors[f"average/{name}"])
                if f"step/{name}" in tensors:  # what stood still so far has no moments
                    keys = ("step", "exp_avg", "exp_avg_sq")
                    self.optimizer.state[p] = {key: tensors[f"{key}/{name}"] for key in keys}

    def _log(self, entry: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")
