"""Workers of the caption engine: on this machine or a cluster, with one file of answers for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from peaframe.captions.answers import Answers
from peaframe.captions.engine import CaptionOptions, Engine, made_by
from peaframe.captions.hearing import FrameEar, FrameScorer
from peaframe.captions.named import Manner, captioner, writer
from peaframe.captions.parts import Parts
from peaframe.captions.prompts import Prompt, load_prompts
from peaframe.captions.run import Captions, Do, Unit
from peaframe.errors import OptionError
from peaframe.workers import engine
from peaframe.workers.local import resident
from peaframe.workers.order import in_order


@dataclass(frozen=True)
class CaptionFacts:
    """What a worker says of itself.

    Attributes:
        made_by: what all captions have in common, see `engine.made_by`.
        identities: of its parts.
        device: `cpu` or `cuda`.
        devices: how many of that kind its machine has; of a CPU, 1.
        memory: bytes the worker holds with its models loaded.
    """

    made_by: Mapping[str, Any]
    identities: tuple[str, ...]
    device: str
    devices: int
    memory: int


@dataclass(frozen=True)
class CaptionMachine:
    """Makes workers that caption; parts are by their lines of text, see `peaframe.captions.named`.

    Attributes:
        audio: captioners of sound.
        writer: the language model.
        video: captioner of pictures, or None.
        scorer: name or folder of peaframe's model, for confidence; None for none.
        bounds: scores above which trust is medium, and high.
        labels: what that model listens for, for the report; None for nothing.
        manner: how parts work.
        options: how the engine does.
        prompts: what it asks with.
    """

    audio: tuple[str, ...]
    writer: str
    video: str | None = None
    scorer: str | None = None
    bounds: tuple[float, float] = (0.1, 0.3)
    labels: tuple[str, ...] | None = None
    manner: Manner = field(default_factory=Manner)
    options: CaptionOptions = field(default_factory=CaptionOptions)
    prompts: Mapping[str, Prompt] = field(default_factory=load_prompts)

    @property
    def model(self) -> str:
        """What a worker loads."""
        names = (*self.audio, self.video, self.writer, self.scorer)
        return ", ".join(name for name in names if name)

    @property
    def device(self) -> str:
        """Where models of this machine run."""
        return self.manner.device

    def on(self, device: str) -> CaptionMachine:
        """The same on another device."""
        return replace(self, manner=replace(self.manner, device=device))

    def worker(self) -> CaptionWorker:
        """A worker that has this process for itself; raises as `CaptionWorker` does."""
        import torch

        torch.set_num_threads(1)
        return CaptionWorker(self)


class CaptionWorker:
    """Captions batches, and keeps every answer.

    Attributes:
        parts: what makes captions.
    """

    def __init__(self, machine: CaptionMachine) -> None:
        """Load all parts.

        Raises:
            OptionError: a part is none, or they do not fit together.
            ModelError: a model cannot be loaded.
        """
        from peaframe.infer.detector import load

        self._machine = machine
        scorer = ear = None
        if machine.scorer is not None:
            detector = load(machine.scorer, machine.device)
            scorer = FrameScorer(detector, *machine.bounds)
            ear = None if machine.labels is None else FrameEar(detector, machine.labels)
        elif machine.labels is not None:
            raise OptionError("got --labels and --scorer none, expected a model that listens for them")
        video = None if machine.video is None else captioner(machine.video, machine.manner, pictures=True)
        audio = tuple(captioner(text, machine.manner) for text in machine.audio)
        self.parts = Parts(audio, writer(machine.writer, machine.manner), video, scorer, ear)

    def facts(self) -> CaptionFacts:
        """What it runs."""
        import torch

        parts, device = self.parts, self._machine.device
        cuda = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
        every = (*parts.audio, parts.writer, parts.video, parts.scorer, parts.ear)
        return CaptionFacts(
            made_by(parts, self._machine.prompts, self._machine.options.checks),
            tuple(part.identity for part in every if part is not None),
            "cuda" if cuda else "cpu",
            torch.cuda.device_count() if cuda and device in ("cuda", "auto") else 1,
            resident(),
        )

    def begin(self, orders: Callable[[], Answers]) -> None:
        """Learn where answers are kept; raises OptionError if there is no captioner, FormatError if they cannot be."""
        self._engine = Engine(self.parts, orders(), self._machine.options, dict(self._machine.prompts))

    def do(self, unit: Unit) -> Captions:
        """Do a batch."""
        return self._engine.do(unit)

    def close(self) -> None:
        """Answers are kept as they come, so nothing is left to do."""


CaptionEngine = engine.Engine[CaptionFacts, Callable[[], Answers], Unit, Captions]


@contextmanager
def one_worker(machine: CaptionMachine, answers: Path) -> Iterator[tuple[CaptionFacts, Do]]:
    """What this process is as a worker, and what does units in it; errors as those of `CaptionWorker`."""
    worker = CaptionWorker(machine)
    with ExitStack() as stack:

        def kept() -> Answers:
            return stack.enter_context(closing(Answers(answers)))

        yield worker.facts(), _begun(partial(worker.begin, kept), lambda units: map(worker.do, units))


@contextmanager
def many_workers(workers: CaptionEngine, answers: Path) -> Iterator[tuple[CaptionFacts, Do]]:
    """What workers are, and what does units by them; they share one file of answers, and are let go in the end."""
    with closing(workers):

        def begin() -> None:
            Answers(answers).close()  # it is made, and what is wrong with it is said, here
            workers.begin(workers.share(partial(Answers, answers.resolve())))

        def do(units: Iterable[Unit]) -> Iterator[Captions]:
            return in_order(workers.do, units, lambda: workers.jobs)

        yield workers.facts(), _begun(begin, do)


def _begun(begin: Callable[[], None], do: Do) -> Do:
    """What begins with its first unit."""
    begun = False

    def done(units: Iterable[Unit]) -> Iterator[Captions]:
        nonlocal begun
        if not begun:
            begin()
            begun = True
        return do(units)

    return done
