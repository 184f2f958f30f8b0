"""The last part of peaframe-mini's training: its words learn what it hears, the ears stay as they are.

The finished model hears many scenes once and keeps some frames' embeddings. On those, an adapter between sentence
encoder and text head learns with the head, for many more phrases a second than beside the audio side, whose frames it
can no longer overfit. Probabilities of the teacher's classes, which scenes do not teach, are kept near what they
were. The weights kept lie between those before and those after (WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903).
"""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from peaframe.models.frame import MiniFrameModel
from peaframe.models.text import Adapter
from peaframe.train.objective import objective
from peaframe.train.phrases import PhraseTable
from peaframe.train.scenes import SceneDataset
from peaframe.train.warm import frame_bank

FIRST = 2**33  # batches of scenes are counted from here, where no other part of training comes
WARMUP = 100


@dataclass(frozen=True)
class WordsConfig:
    """How the text side learns.

    Attributes:
        steps: optimiser steps; 0 leaves this part, and the adapter, out.
        hidden: hidden channels of the adapter.
        frames: embeddings kept.
        per_scene: of each scene.
        scene_seconds: length of the scenes.
        batch: frames a step.
        lr: peak learning rate.
        ranking_weight: weight of the softmax ranking within a frame.
        keep_weight: weight of staying near the probabilities of the teacher's classes.
        distractors: phrases that mean no sound, a step.
        share: how far the weights kept go from those before (0) to those after (1).
    """

    steps: int = 0
    hidden: int = 1024
    frames: int = 60_000
    per_scene: int = 6
    scene_seconds: float = 5.12
    batch: int = 512
    lr: float = 1e-3
    ranking_weight: float = 1.0
    keep_weight: float = 1.0
    distractors: int = 48
    share: float = 0.5


def learn_words(
    model: MiniFrameModel,
    table: PhraseTable,
    dataset: SceneDataset,
    config: WordsConfig,
    seconds: float,
    workers: int,
    seed: int,
) -> MiniFrameModel:
    """Train the text side.

    Args:
        model: a model without adapter; stays as it is.
        table: the phrases.
        dataset: the scenes.
        config: how.
        seconds: seconds of audio that are heard at a time.
        workers: processes that mix.
        seed: of everything random.

    Returns:
        A model with an adapter and another text head, scale and bias.
    """
    torch.manual_seed(seed)
    before = _with_adapter(model, config.hidden)
    after = copy.deepcopy(before).train()
    ears = model.eval()

    def listen(waveform: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            frames = ears.encode_decimated(waveform).float()
        return frames, frames.new_zeros(*frames.shape[:2], 0)

    size = (config.frames, config.scene_seconds, seconds, workers, seed, FIRST, config.per_scene)
    bank = frame_bank(listen, dataset, *size)
    overlap = torch.from_numpy(dataset.overlap).float()
    learning = _text_side(after)
    average = {name: p.detach().clone() for name, p in learning.items()}
    matrices = [p for p in learning.values() if p.ndim > 1]
    others = [p for p in learning.values() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98))
    weights = (0.0, 1.0, config.ranking_weight, config.keep_weight)
    classes = slice(table.labels, table.labels + table.classes)
    batches = bank.batches(config.batch, 0, config.steps, seed)
    bar = tqdm(batches, total=config.steps, desc="words", unit="step", disable=None)
    for step, (frames, targets, _) in enumerate(bar):
        texts = table.draw(np.random.default_rng((seed, 4, step)), config.distractors)
        with torch.no_grad():
            taught = before.score(frames, before.project_text(texts[classes])).sigmoid()
        logits = after.score(frames, after.project_text(texts))
        loss, parts = objective(logits, targets, taught, overlap, table, weights)
        rate = min(1.0, (step + 1) / WARMUP) * (1 + math.cos(math.pi * step / config.steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = config.lr * rate
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(list(learning.values()), 1.0)
        optimizer.step()
        with torch.no_grad():
            for name, p in learning.items():
                average[name].lerp_(p, 1 - min(0.998, (1 + step) / (10 + step)))
        if step % 50 == 0:
            bar.set_postfix(parts)
    with torch.no_grad():
        for name, p in _text_side(before).items():
            p.lerp_(average[name], config.share)
    return before.eval()


def _with_adapter(model: MiniFrameModel, hidden: int) -> MiniFrameModel:
    """A copy with an adapter that adds nothing yet."""
    out = copy.deepcopy(model)
    out.config = dataclasses.replace(model.config, text_hidden=hidden)
    out.text_adapter = Adapter(model.config.text.width, hidden)
    return out


def _text_side(model: MiniFrameModel) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name."""
    kept = ("text_adapter.", "text_head.", "logit_")
    return {name: p for name, p in model.named_parameters() if name.startswith(kept)}
