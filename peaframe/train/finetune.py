"""The trainer of fine-tuning: steps, measurements, states to go on from; on one process or many.

A run lies in one folder:

    settings.json       the configuration, resolved
    last/ best/         checkpoint folders of averaged weights, as `peaframe detect --model` takes them
    log.jsonl           means of every ten steps, and measurements, the first before the first step
    tensorboard/        the same, where TensorBoard is installed
    resume.safetensors  all that is needed to go on

Everything random in a step hangs on the seed, the step and the process alone, so a run that was stopped anywhere goes
on as if it had not been, bit for bit.
"""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from peaframe.config import as_dict
from peaframe.data.latent_loader import LatentBatch
from peaframe.errors import CheckpointError, ConfigError, FormatError
from peaframe.models.checkpoint import write_text
from peaframe.models.frame import FrameModel
from peaframe.models.load import save_frame_model
from peaframe.train.ema import Ema
from peaframe.train.finetune_loss import FinetuneLoss, Piece, Step, join
from peaframe.train.journal import Journal
from peaframe.train.optim import GuardedStep, make_optimizer, rate_factor, set_rates
from peaframe.train.pairs import Matchmaker
from peaframe.train.parallel import Place, anywhere, gradients_kept, like, shared, wait_for_all, whole
from peaframe.train.resume import clear_up, read_facts, read_state, whole_folder, write_state
from peaframe.train.settings import FinetuneSettings
from peaframe.train.student import Student, Texts, finished, twin

Evaluate = Callable[[FrameModel], Mapping[str, float]]
Teach = Callable[[LatentBatch], tuple[Tensor, Tensor]]
_FOLDERS = ("last", "best")
_FREE = ("save_every", "evaluate_every", "device", "parallel")  # what may change when a run goes on


class Loader(Protocol):
    """Batches that go on where they were, as `peaframe.data.latent_loader.LatentLoader`'s."""

    def __iter__(self) -> Iterator[LatentBatch]: ...
    def state_dict(self) -> dict[str, Any]:
        """Where it is."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on there."""
        ...


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

    loader: Loader
    match: Matchmaker
    texts: Texts
    related: Tensor | None = None
    clusters: Mapping[str, int] | None = None
    teach: Teach | None = None
    classes: tuple[str, ...] = ()


class Finetuning:
    """One run in one folder.

    Attributes:
        step: how many steps are done.
        best: the best measurement so far, None before the first.
    """

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
            _make(folder)
        self._base = model.fingerprint()
        self.student = Student(model, settings).train()
        self._twin = twin(model)
        self._loss = FinetuneLoss(settings.loss, lesson.related)
        self._call = shared(self.student, place, settings.parallel, model.still_part()[1].values())
        self.optimizer = make_optimizer(self.student, settings.optim)
        self.ema = Ema(self.student, settings.ema)
        self.guard = GuardedStep(self.optimizer, settings.optim)
        self.step = 0
        self.best: float | None = None
        self._unlogged: Mapping[str, Any] = {}
        self._measured = False  # at this step
        self._resume()
        if place.first:
            clear_up(folder, _FOLDERS)

    def run(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Go on to the last step, or until `stop()` says so; then save.

        Returns:
            Whether the last step was done.
        """
        s, last = self.settings, self.settings.schedule.steps
        first = self.place.first
        with Journal(self.folder, self.step, last, first, self._measured, self._unlogged) as journal:
            batches = self._batches()
            self._measure(journal)
            while self.step < last:
                values = self._step(islice(batches, s.accumulate))
                self.step, self._measured = self.step + 1, False
                journal.step(self.step, values)
                done = self.step == last
                leaving = not done and anywhere(stop(), self.place)
                if not leaving:
                    self._measure(journal)
                self._unlogged = journal.state_dict()
                if done or leaving or self.step % s.save_every == 0:
                    self.save()
                if leaving:
                    return False
        return True

    def _batches(self) -> Iterator[LatentBatch]:
        while True:
            yield from self.lesson.loader

    def _step(self, batches: Iterable[LatentBatch]) -> dict[str, float]:
        """One step of the optimiser on one batch or more; the loss, its terms, the rate and the gradient's norm."""
        s, place = self.settings, self.place
        torch.manual_seed(np.random.SeedSequence((s.seed, self.step, place.rank, 1)).generate_state(1)[0])
        step = self._prepare(batches)
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
        with torch.no_grad():
            for name, p in self._twin.named_parameters():
                if f"model.{name}" in self.ema.average:
                    p.copy_(like(whole(self.ema.average[f"model.{name}"]), p))
        return finished(self._twin)

    def _measure(self, journal: Journal) -> None:
        """If it is time and not done, measure the averaged model; write it to `last/`, and to `best/` if it is."""
        due = self.step == self.settings.schedule.steps or self.step % self.settings.evaluate_every == 0
        if self._measured or not due:
            return
        self._measured = True
        model = self.averaged()
        if self.place.first:
            with whole_folder(self.folder / "last") as new:
                save_frame_model(model, new, self.source)
            if self.evaluate is not None:
                metrics = self.evaluate(model)
                journal.measured(self.step, metrics)
                value = metrics[self.settings.best]
                if self.best is None or value >= self.best or math.isnan(self.best):  # of equals, the last
                    self.best = value
                    with whole_folder(self.folder / "best") as new:
                        save_frame_model(model, new, self.source)
        wait_for_all(self.place)

    def save(self) -> None:
        """Write what is needed to go on, in one file."""
        if self.place.first:
            write_text(self.folder / "settings.json", json.dumps(as_dict(self.settings), indent=2) + "\n")
        facts = {
            "step": self.step,
            "best": self.best,
            "loader": self.lesson.loader.state_dict(),
            "guard": self.guard.state_dict(),
            "settings": self._comparable(),
            "base": self._base,
            "unlogged": self._unlogged,
            "measured": self._measured,
        }
        write_state(self.folder, self.student, self.optimizer, self.ema, facts, self.place)
        wait_for_all(self.place)

    def _comparable(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(json.dumps(as_dict(self.settings)))
        values["data"].pop("workers")
        return {name: value for name, value in values.items() if name not in _FREE}

    def _resume(self) -> None:
        facts = read_facts(self.folder)
        if facts is None:
            return
        now = self._comparable()
        if facts["settings"] != now:
            odd = sorted(name for name in now if facts["settings"].get(name) != now[name])
            raise ConfigError(
                f"{self.folder}: holds a run with other settings ({', '.join(odd)}); choose another --out, or "
                "remove it"
            )
        if facts["base"] != self._base:
            raise CheckpointError(
                f"{self.folder}: holds a run that started from another model of the name {self.settings.model}; "
                "choose another --out"
            )
        read_state(self.folder, self.student, self.optimizer, self.ema)
        self.lesson.loader.load_state_dict(facts["loader"])
        self.guard.load_state_dict(facts["guard"])
        self.step, self.best = facts["step"], facts["best"]
        self._unlogged, self._measured = facts["unlogged"], facts["measured"]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FormatError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from error


@contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """Inside, SIGINT and SIGTERM are only noted, the first time; the function given says which came, or 0."""
    caught = 0

    def note(number: int, frame: object) -> None:
        nonlocal caught
        caught = number
        signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
