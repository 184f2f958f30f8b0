"""What all trainers have in common: steps, measurements, states to go on from; on one process or many.

A run lies in one folder:

    settings.json       the configuration, resolved
    last/ best/         checkpoint folders of averaged weights
    log.jsonl           means of every ten steps, and measurements, the first before the first step
    tensorboard/        the same, where TensorBoard is installed
    resume.safetensors  all that is needed to go on

Everything random in a step hangs on the seed, the step and the process alone, so a run that was stopped anywhere goes
on as if it had not been, bit for bit, on as many processes; on another number of them, `peaframe.train.dealt_anew` says
what it learns from.
"""

from __future__ import annotations

import json
import math
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import nn

from peaframe.config import as_dict
from peaframe.errors import CheckpointError, ConfigError
from peaframe.models.checkpoint import write_text
from peaframe.train.dealt_anew import dealt_anew
from peaframe.train.ema import Ema
from peaframe.train.journal import Journal
from peaframe.train.optim import GuardedStep, Schedule
from peaframe.train.parallel import Place, anywhere, like, of_all, wait_for_all, whole
from peaframe.train.resume import clear_up, read_facts, read_state, whole_folder, write_state

Batch = TypeVar("Batch")
Given = TypeVar("Given", covariant=True)
Model = TypeVar("Model")
# What may change when a run goes on, and besides on another number of processes.
_FREE = ("save_every", "evaluate_every", "device", "parallel", "compile")
_FREE_ELSEWHERE = ("accumulate", "clips_at_once")


class Loader(Protocol[Given]):
    """Batches that go on where they were."""

    def __iter__(self) -> Iterator[Given]: ...
    def state_dict(self) -> dict[str, Any]:
        """Where it is."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on there."""
        ...


class RunSettings(Protocol):
    """What a run must know of its settings, which are a frozen dataclass."""

    @property
    def schedule(self) -> Schedule:
        """How many steps there are."""
        ...

    @property
    def evaluate_every(self) -> int:
        """Steps between measurements."""
        ...

    @property
    def save_every(self) -> int:
        """Steps between states to go on from."""
        ...

    @property
    def best(self) -> str:
        """The measurement that chooses `best/`."""
        ...


class Run(ABC, Generic[Batch, Model]):
    """One run in one folder. Whoever derives from it sets the attributes and then calls `_take_up`.

    Attributes:
        settings: how.
        folder: of the run.
        place: this process.
        loader: gives batches of this process.
        evaluate: measures a model; without it there is no `best/`.
        student: what learns.
        optimizer: moves it.
        ema: its averages.
        guard: its steps.
        step: how many steps are done.
        best: the best measurement so far, None before the first.
    """

    FOLDERS: ClassVar[tuple[str, ...]] = ("last", "best")  # written whole or not at all
    settings: RunSettings
    folder: Path
    place: Place
    loader: Loader[Batch]
    evaluate: Callable[[Model], Mapping[str, float]] | None
    student: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema
    guard: GuardedStep
    _base: str  # a hash of the model that it started from
    _start: str  # how that is called, for messages

    @abstractmethod
    def _step(self, batches: Iterator[Batch]) -> dict[str, float]:
        """One step of the optimiser; the loss, its terms, the rate and the gradient's norm."""

    @abstractmethod
    def averaged(self) -> Model:
        """The model with averaged weights, as it is used; all processes must ask."""

    @abstractmethod
    def _write(self, model: Model, folder: Path) -> None:
        """Write a checkpoint folder."""

    def _take_up(self) -> None:
        """Go on where the run in the folder was, if there is one.

        Raises:
            ConfigError: the folder holds a run with other settings.
            CheckpointError: its state is damaged.
        """
        self.step = 0
        self.best: float | None = None
        self._unlogged: Mapping[str, Any] = {}
        self._measured = False  # at this step
        self._resume()
        if self.place.first:
            clear_up(self.folder, self.FOLDERS)

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
                values = self._step(batches)
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

    def _batches(self) -> Iterator[Batch]:
        while True:
            yield from self.loader

    def _measure(self, journal: Journal) -> None:
        """If it is time and not done, measure the averaged model; write it to `last/`, and to `best/` if it is."""
        due = self.step == self.settings.schedule.steps or self.step % self.settings.evaluate_every == 0
        if self._measured or not due:
            return
        self._measured = True
        model = self.averaged()
        if self.place.first:
            self._keep(model, "last")
            if self.evaluate is not None:
                metrics = self.evaluate(model)
                journal.measured(self.step, metrics)
                value = metrics[self.settings.best]
                if self.best is None or value >= self.best or math.isnan(self.best):  # of equals, the last
                    self.best = value
                    self._keep(model, "best")
        wait_for_all(self.place)

    def _keep(self, model: Model, name: str) -> None:
        with whole_folder(self.folder / name) as new:
            self._write(model, new)

    def save(self) -> None:
        """Write what is needed to go on, in one file."""
        if self.place.first:
            write_text(self.folder / "settings.json", json.dumps(as_dict(self.settings), indent=2) + "\n")
        facts = {
            "step": self.step,
            "best": self.best,
            "loader": of_all(self.loader.state_dict(), self.place),
            "guard": self.guard.state_dict(),
            "settings": self._comparable(),
            "base": self._base,
            "unlogged": self._unlogged,
            "measured": self._measured,
        }
        write_state(self.folder, self.student, self.optimizer, self.ema, facts, self.place)
        wait_for_all(self.place)

    def _load_loader(self, states: Sequence[Mapping[str, Any]]) -> None:
        place = self.place
        if len(states) == place.world_size:
            self.loader.load_state_dict(dict(states[place.rank]))
            return
        self.loader.load_state_dict(dealt_anew(states, self.loader.state_dict(), place.world_size))
        if place.first:
            print(
                f"{self.folder}: was saved by {len(states)} process(es) and goes on with {place.world_size}; what is "
                "left of the epoch is dealt anew, and shards begin their next epoch",
                file=sys.stderr,
            )

    def _comparable(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(json.dumps(as_dict(self.settings)))
        values["data"].pop("workers")
        return {name: value for name, value in values.items() if name not in _FREE}

    def _resume(self) -> None:
        facts = read_facts(self.folder)
        if facts is None:
            return
        states = facts["loader"]
        now, before = self._comparable(), dict(facts["settings"])
        if len(states) != self.place.world_size:
            for name in _FREE_ELSEWHERE:
                now.pop(name, None)
                before.pop(name, None)
        if before != now:
            odd = sorted(name for name in now if before.get(name) != now[name])
            raise ConfigError(
                f"{self.folder}: holds a run with other settings ({', '.join(odd)}); choose another --out, or "
                "remove it"
            )
        if facts["base"] != self._base:
            raise CheckpointError(
                f"{self.folder}: holds a run that started from another model of the name {self._start}; "
                "choose another --out"
            )
        read_state(self.folder, self.student, self.optimizer, self.ema)
        self._load_loader(states)
        self.guard.load_state_dict(facts["guard"])
        self.step, self.best = facts["step"], facts["best"]
        self._unlogged, self._measured = facts["unlogged"], facts["measured"]


@torch.no_grad()
def put_averages(ema: Ema, twin: nn.Module, prefix: str = "") -> None:
    """Give a twin the averages of what learns, which has its parameters with `prefix` before their names."""
    for name, p in twin.named_parameters():
        if prefix + name in ema.average:
            p.copy_(like(whole(ema.average[prefix + name]), p))


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
