"""The trainer of fine-tuning, a run as `peaframe.train.run` describes it; its folders are what `--model` takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from peaframe.data.latent_loader import LatentBatch
from peaframe.files import make_folder
from peaframe.models.frame import FrameModel
from peaframe.models.load import save_frame_model
from peaframe.train.ema import Ema
from peaframe.train.finetune_loss import FinetuneLoss, Piece, Step, join
from peaframe.train.layers import compile_layers
from peaframe.train.optim import GuardedStep, make_optimizer, rate_factor, set_rates
from peaframe.train.pairs import Matchmaker
from peaframe.train.parallel import Place, gradients_kept, shared
from peaframe.train.run import Loader, Run, put_averages
from peaframe.train.settings import FinetuneSettings
from peaframe.train.student import Student, Texts, finished, twin

Evaluate = Callable[[FrameModel], Mapping[str, float]]
Teach = Callable[[LatentBatch], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a run learns from.

    Attributes:
        loader: gives batches of items, those of this process.
        match: finds the texts of a batch.
        texts: knows all phrases.
        related: (pairs, 2) ids of labels that are no negatives of each other, or None.
        clusters: the group of each phrase, or None.
        teach: gives the teacher's probabilities (batch, frames, classes) and where they count; None without one.
        classes: the teacher's labels.
    """

    loader: Loader[LatentBatch]
    match: Matchmaker
    texts: Texts
    related: Tensor | None = None
    clusters: Mapping[str, int] | None = None
    teach: Teach | None = None
    classes: tuple[str, ...] = ()


class Finetuning(Run[LatentBatch, FrameModel]):
    """One run in one folder."""

    settings: FinetuneSettings
    student: Student

    def __init__(
        self,
        model: FrameModel,
        lesson: Lesson,
        settings: FinetuneSettings,
        folder: Path,
        source: Path,
        place: Place,
        evaluate: Evaluate | None = None,
    ) -> None:
        """Prepare, or take up a run that was stopped.

        Args:
            model: what learns, on `place.device`; it is changed in place.
            lesson: what it learns from.
            settings: how.
            folder: of the run; made if it does not exist.
            source: the checkpoint folder that the model came from.
            place: this process.
            evaluate: measures a model; without it there is no `best/`.

        Raises:
            ConfigError: the folder holds a run with other settings.
            CheckpointError: its state is damaged.
        """
        self.lesson, self.settings, self.folder, self.source = lesson, settings, folder, source
        self.place, self.evaluate = place, evaluate
        if place.first:
            make_folder(folder, "choose another --out")
        self.loader = lesson.loader
        self._base, self._start = model.fingerprint(), settings.model
        self.student = Student(model, settings).train()
        self._twin = twin(model)
        if settings.compile:
            compile_layers(model)
        self._loss = FinetuneLoss(settings.loss, lesson.related)
        self._call = shared(self.student, place, settings.parallel, model.still_part()[1].values())
        self.optimizer = make_optimizer(self.student, settings.optim)
        self.ema = Ema(self.student, settings.ema)
        self.guard = GuardedStep(self.optimizer, settings.optim)
        self._take_up()

    def _step(self, batches: Iterator[LatentBatch]) -> dict[str, float]:
        """One step of the optimiser, on one batch or more."""
        s, place = self.settings, self.place
        torch.manual_seed(np.random.SeedSequence((s.seed, self.step, place.rank, 1)).generate_state(1)[0])
        step = self._prepare(islice(batches, s.accumulate))
        counts = self._loss.counts(step)
        factor = rate_factor(self.step, s.schedule)
        set_rates(self.optimizer, factor)
        sums: dict[str, float] = {}
        phrases = (*step.phrases, *self.lesson.classes)
        half = torch.autocast(place.device.type, torch.bfloat16, enabled=s.precision == "bfloat16")
        for number, piece in enumerate(step.pieces):
            with gradients_kept(self._call, number < len(step.pieces) - 1):
                with half:
                    heard = self._call(piece.features, piece.mask, *self.lesson.texts(phrases))
                loss, parts = self._loss(step, number, heard, counts)
                torch.autograd.backward(loss * place.world_size)
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value
        names = sorted(sums)
        totals = torch.tensor([sums[name] for name in names], dtype=torch.float64, device=place.device)
        if place.world_size > 1:
            torch.distributed.all_reduce(totals)
        values = dict(zip(names, totals.tolist(), strict=True))
        moved, norm = self.guard(totals[names.index("loss")])
        if moved:
            self.ema.update(self.student)
        skipped = float(self.guard.skipped)
        return {**values, "lr": s.optim.lr * factor, "norm": norm if moved else math.nan, "skipped": skipped}

    def _prepare(self, batches: Iterable[LatentBatch]) -> Step:
        """Find the texts of some batches, each before the next one is taken, and bring all of it to the device."""
        rng = np.random.default_rng((self.settings.seed, self.step, self.place.rank))
        taken, pairs = [], []
        for b in batches:
            taken.append(b)
            arrays, numbers = (b.targets.numpy(), b.counted.numpy()), (b.items.tolist(), b.partners.tolist())
            pairs.append(self.lesson.match(*arrays, *numbers, rng))
        phrases, ids, weak, views = join(pairs)
        device = self.place.device
        groups = self.lesson.clusters
        clusters = None if groups is None else torch.tensor([groups[p] for p in phrases], device=device)
        pieces = []
        for b, (clip, states) in zip(taken, views, strict=True):
            taught = (None, None) if self.lesson.teach is None else self.lesson.teach(b)
            tensors = (b.latents, b.mask, b.counted, clip, states, *taught)
            pieces.append(Piece(*(t if t is None else t.to(device) for t in tensors)))  # type: ignore[arg-type]
        return Step(pieces, phrases, ids.to(device), weak.to(device), clusters)

    def averaged(self) -> FrameModel:
        """The model with averaged weights, as it is used; all processes must ask."""
        put_averages(self.ema, self._twin, "model.")
        return finished(self._twin)

    def _write(self, model: FrameModel, folder: Path) -> None:
        save_frame_model(model, folder, self.source)
