"""Training of a captioning decoder on frozen embeddings of sound, a run as `peaframe.train.run` describes it.

Its `last/` and `best/` are captioners, as `peaframe.captions.prefix_captioner` loads them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peaframe.captions.prefix import PrefixDecoder
from peaframe.captions.prefix_captioner import write_encoder
from peaframe.captions.prefix_examples import Example, other_sounds, padded_rows
from peaframe.captions.prefix_rows import Rows, fingerprint
from peaframe.config import as_dict
from peaframe.errors import OptionError
from peaframe.files import make_folder
from peaframe.train.ema import Ema, EmaOptions
from peaframe.train.optim import GuardedStep, OptimOptions, Schedule, rate_factor, set_rates
from peaframe.train.parallel import Place
from peaframe.train.run import Run, put_averages
from peaframe.train.student import twin

PROBABILITY = "word_probability"
_FREE = ("evaluate_every", "save_every")  # what may change when a run goes on


@dataclass(frozen=True)
class PrefixTraining:
    """How a decoder is trained; all values are ours.

    Attributes:
        schedule: steps of AdamW, and how its rate rises and falls.
        batch: examples a step.
        lr: rate of what joins sound and language, at its peak.
        language: whether the language model learns, too; else it stands still.
        language_rate: factor of the rate for it.
        weight_decay: of matrices.
        clip: gradients are no longer than this.
        seed: of the order of examples and of dropout.
        evaluate_every: steps between measurements, with each of which `last/` is written.
        save_every: steps between states to go on from.
        ema: how weights are averaged, of which checkpoints are.
        data: what is learnt from, by `prefix_examples.digest`; a run goes on with the same alone.
        best: the measurement that chooses `best/`.
    """

    schedule: Schedule = field(default_factory=lambda: Schedule(1000, 100))
    batch: int = 16
    lr: float = 1e-3
    language: bool = False
    language_rate: float = 0.02
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    evaluate_every: int = 200
    save_every: int = 200
    ema: EmaOptions = field(default_factory=EmaOptions)
    data: str = ""
    best: str = PROBABILITY

    def __post_init__(self) -> None:
        if min(self.batch, self.evaluate_every, self.save_every) < 1:
            raise OptionError(
                f"got batches of {self.batch}, a measurement every {self.evaluate_every} and a state every "
                f"{self.save_every} steps, expected 1 or more of each"
            )
        positive = self.lr, self.clip, self.language_rate
        if not all(0 < value < math.inf for value in positive) or not 0 <= self.weight_decay < math.inf:
            raise OptionError(
                f"got lr {self.lr}, language_rate {self.language_rate}, clip {self.clip} and weight_decay "
                f"{self.weight_decay}, expected more than 0, and a decay that is not negative"
            )
        if self.seed < 0:
            raise OptionError(f"got seed {self.seed}, expected 0 or more")


class Batches:
    """Examples in a new order each time round, for ever; by the seed and how many batches there were alone."""

    def __init__(self, examples: Sequence[Example], batch: int, seed: int) -> None:
        self._examples, self._batch, self._seed, self._given = examples, batch, seed, 0

    def __iter__(self) -> Iterator[list[Example]]:
        count, known, order = len(self._examples), -1, np.empty(0, np.int64)
        while True:
            first = self._given * self._batch
            some = []
            for place in range(first, first + self._batch):
                epoch, at = divmod(place, count)
                if epoch != known:
                    known, order = epoch, np.random.default_rng((self._seed, epoch)).permutation(count)
                some.append(self._examples[order[at]])
            self._given += 1
            yield some

    def state_dict(self) -> dict[str, Any]:
        """Where it is."""
        return {"given": self._given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on there."""
        self._given = int(state["given"])


class PrefixRun(Run[list[Example], PrefixDecoder]):
    """One run in one folder."""

    settings: PrefixTraining
    student: PrefixDecoder

    def __init__(
        self,
        decoder: PrefixDecoder,
        encoder: Rows,
        examples: Sequence[Example],
        settings: PrefixTraining,
        folder: Path,
        device: torch.device,
        valid: Sequence[Example] = (),
        source: str | None = None,
    ) -> None:
        """Prepare, or take up a run that was stopped.

        Args:
            decoder: what learns, its language model only if `settings` say so; it is changed in place.
            encoder: what made the embeddings, and stands still.
            examples: what is learnt from.
            settings: how.
            folder: of the run; made if it does not exist.
            device: where to compute.
            valid: what is measured with; without it there is no `best/`.
            source: folder or hub id of the language model; checkpoints name it if it stands still, else they have it.

        Raises:
            OptionError: no examples, or one of an unknown kind.
            ConfigError: the folder holds a run with other settings or examples.
            CheckpointError: its state is damaged, or it started from other models.
        """
        if not examples:
            raise OptionError("got no examples to learn from; expected one or more")
        for example in (*examples, *valid):
            check(decoder, example.kind, encoder.width)
        make_folder(folder, "choose another --out")
        self.settings, self.folder = settings, folder
        self.place = Place(0, 1, device)
        self.loader = Batches(examples, settings.batch, settings.seed)
        self.evaluate = (lambda model: measure(model, valid, settings.batch)) if valid else None
        self._encoder, self._source = encoder, None if settings.language else source
        sizes = json.dumps(asdict(decoder.config))
        self._base = f"{sizes} {fingerprint(decoder)} {encoder.identity}"
        self._start = "its models"
        for name, parameter in decoder.named_parameters():
            parameter.requires_grad_(settings.language or not name.startswith("language."))
        self.student = decoder.to(device).train()
        self.student.language.train(settings.language)  # what stands still has no dropout
        self._twin = twin(self.student).eval()
        self.optimizer = _optimizer(self.student, settings)
        self.ema = Ema(self.student, settings.ema)
        self.guard = GuardedStep(self.optimizer, OptimOptions(lr=settings.lr, clip=settings.clip))
        self._take_up()

    def _step(self, batches: Iterator[list[Example]]) -> dict[str, float]:
        s = self.settings
        torch.manual_seed(int(np.random.SeedSequence((s.seed, self.step)).generate_state(1)[0]))
        factor = rate_factor(self.step, s.schedule)
        set_rates(self.optimizer, factor)
        sums, counts = _losses(self.student, next(batches))
        loss = sums.sum() / counts.sum()
        torch.autograd.backward(loss)
        moved, norm = self.guard(loss)
        if moved:
            self.ema.update(self.student)
        skipped = float(self.guard.skipped)
        told = {"loss": float(loss.detach()), "lr": s.lr * factor}
        return {**told, "norm": norm if moved else math.nan, "skipped": skipped}

    def averaged(self) -> PrefixDecoder:
        """The decoder with averaged weights."""
        put_averages(self.ema, self._twin)
        return self._twin.requires_grad_(False).eval()

    def _write(self, model: PrefixDecoder, folder: Path) -> None:
        model.save(folder, self._source)
        write_encoder(folder, self._encoder)

    def _comparable(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(json.dumps(as_dict(self.settings)))
        return {name: value for name, value in values.items() if name not in _FREE}


@torch.no_grad()
def measure(decoder: PrefixDecoder, examples: Sequence[Example], batch: int) -> Mapping[str, float]:
    """How well captions follow from their clips, and from others.

    Returns:
        `loss`, the mean cross-entropy of all tokens; `other_sounds`, the same where each caption stands behind the
        sound of another clip with other words, missing where there is none: a decoder that does not listen
        has the same in both; and `word_probability`, exp(-loss).
    """
    own = _mean_loss(decoder, examples, examples, batch)
    found = {"loss": own, PROBABILITY: math.exp(-own)}
    others = [(i, j) for i, j in enumerate(other_sounds(examples)) if j is not None]
    if others:
        said, heard = [examples[i] for i, _ in others], [examples[j] for _, j in others]
        found["other_sounds"] = _mean_loss(decoder, said, heard, batch)
    return found


def _mean_loss(
    decoder: PrefixDecoder, said: Sequence[Example], heard: Sequence[Example], batch: int
) -> float:
    total = count = 0.0
    for first in range(0, len(said), batch):
        sums, counts = _losses(decoder, said[first : first + batch], heard[first : first + batch])
        total, count = total + float(sums.double().sum()), count + float(counts.sum())
    return total / count


def _losses(
    decoder: PrefixDecoder, said: Sequence[Example], heard: Sequence[Example] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    device = decoder.queries.device
    rows, mask = padded_rows([example.rows for example in heard or said])
    check(decoder, said[0].kind, rows.shape[2])
    kinds = torch.tensor([decoder.config.kinds.index(example.kind) for example in said], device=device)
    return decoder.losses(rows.to(device), mask.to(device), kinds, [example.caption for example in said])


def check(decoder: PrefixDecoder, kind: str, width: int) -> None:
    """Refuse a kind that a decoder does not have, or embeddings of another width; raises OptionError."""
    if kind not in decoder.config.kinds or width != decoder.config.width:
        raise OptionError(
            f"got embeddings of {width} channels and kind {kind!r}, "
            f"expected {decoder.config.width} and one of {', '.join(decoder.config.kinds)}"
        )


def _optimizer(decoder: PrefixDecoder, settings: PrefixTraining) -> torch.optim.AdamW:
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in decoder.named_parameters():
        if parameter.requires_grad:
            rate = settings.lr * (settings.language_rate if name.startswith("language.") else 1.0)
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": own, "lr": rate, "peak": rate, "weight_decay": decay}
            for (rate, decay), own in groups.items()
        ],
        lr=settings.lr,
    )
