"""The trainer of PE-AV's pre-training, a run as `peaframe.train.run` describes it.

Beside what lies in the folder of every run:

last/ best/               a PE-AV in transformers' layout, as `load_audio_video_model` takes it, and in
`pretraining.safetensors` what learnt beside it, for the next stage
frame/                    the PE-A-Frame that comes of `last/`, as `peaframe train model=RUN/frame` takes it
quantiser.safetensors     BEST-RQ's projection, codes and statistics, which stand still
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from peaframe.data.clip_batches import ClipBatch
from peaframe.data.latent_rows import fingerprint
from peaframe.errors import CheckpointError, FormatError
from peaframe.files import make_folder
from peaframe.losses.best_rq import BestRq, Hidden
from peaframe.models.checkpoint import write_tensors
from peaframe.models.load import save_pe
from peaframe.train.ema import Ema
from peaframe.train.layers import compile_layers
from peaframe.train.optim import GuardedStep, make_optimizer, rate_factor, set_rates
from peaframe.train.parallel import Place, shared
from peaframe.train.pretrain_batch import PretrainBatch, Tokens
from peaframe.train.pretrain_model import PretrainModel
from peaframe.train.pretrain_settings import PretrainSettings
from peaframe.train.pretrain_step import pretrain_step
from peaframe.train.resume import read_facts, whole_folder
from peaframe.train.run import Loader, Run, put_averages
from peaframe.train.student import twin

Evaluate = Callable[[PretrainModel], Mapping[str, float]]
BESIDE = "pretraining.safetensors"
QUANTISER = "quantiser.safetensors"
FRAME = "frame"


class Pretraining(Run[ClipBatch, PretrainModel]):
    """One run in one folder."""

    FOLDERS = ("last", "best", FRAME)
    settings: PretrainSettings
    student: PretrainModel

    def __init__(
        self,
        student: PretrainModel,
        loader: Loader[ClipBatch],
        settings: PretrainSettings,
        folder: Path,
        place: Place,
        tokenizer: str | None = None,
        evaluate: Evaluate | None = None,
        observed: bool = False,
    ) -> None:
        """Prepare, or take up a run that was stopped.

        Args:
            student: what learns, on `place.device`; it is changed in place.
            loader: gives the clips of this process.
            settings: how.
            folder: of the run; made if it does not exist.
            place: this process.
            tokenizer: the text of the `tokenizer.json` that goes with its checkpoints.
            evaluate: measures a model; without it there is no `best/`.
            observed: whether the student's BEST-RQ knows mean and deviation of the latents, of a stage before.

        Raises:
            ConfigError: the folder holds a run with other settings.
            CheckpointError: its state is damaged.
            OptionError: the batch cannot be shared out, or there is no sound for BEST-RQ.
        """
        self.settings, self.folder, self.place = settings, folder, place
        self.loader, self.evaluate, self._tokenizer = loader, evaluate, tokenizer
        if place.first:
            make_folder(folder, "choose another --out")
        sizes = json.dumps(asdict(student.model.config), sort_keys=True)
        self._base, self._start = (
            fingerprint(sizes, student.state_dict()),
            settings.model.start or "its model",
        )
        # an image encoder is only handed on: it need not lie on the GPU
        self._image = None if student.model.image is None else student.model.image.cpu()
        student.model.image = None
        if student.best_rq is not None:
            self._settle(student.best_rq, observed)
        self.student = student.train()
        self._twin = twin(student)
        if settings.compile:
            compile_layers(student)
        self._call = shared(student, place, settings.parallel, [*student.model.audio.codec.parameters()])
        options = settings.optim.options()
        self.optimizer = make_optimizer(student, options)
        self.ema = Ema(student, settings.ema)
        self.guard = GuardedStep(self.optimizer, options)
        self._take_up()

    def _settle(self, best_rq: BestRq, observed: bool) -> None:
        """Give BEST-RQ its statistics: those that the run began with, or of the first batches."""
        path, place = self.folder / QUANTISER, self.place
        if read_facts(self.folder) is not None:
            own = dict(best_rq.named_buffers())
            _put(own, _tensors(path), path)
            return
        if not observed:
            before = self.loader.state_dict()
            found = [batch.inputs for batch in islice(iter(self.loader), self.settings.observe)]
            self.loader.load_state_dict(before)
            rows = torch.cat([batch.latents[batch.audio_mask] for batch in found])[None].to(place.device)
            best_rq.observe(rows, torch.ones(rows.shape[:2], dtype=torch.bool, device=place.device))
        if place.first:
            _save(path, {name: tensor.cpu() for name, tensor in best_rq.named_buffers()}, {})

    def _step(self, batches: Iterator[ClipBatch]) -> dict[str, float]:
        s, place = self.settings, self.place
        torch.manual_seed(np.random.SeedSequence((s.seed, self.step, place.rank, 1)).generate_state(1)[0])
        batch = next(batches).inputs
        if s.data.shuffled_captions:
            batch = _to_others(batch)
        batch = batch.to(place.device)
        factor = rate_factor(self.step, s.schedule)
        set_rates(self.optimizer, factor)
        told = pretrain_step(
            self._call,
            batch,
            self._hide(batch),
            s.options,
            s.clips_at_once,
            factor=place.world_size,
            autocast=torch.bfloat16 if s.precision == "bfloat16" else None,
        )
        moved, norm = self.guard(torch.tensor(told["loss"], device=place.device))
        if moved:
            self.ema.update(self.student)
        skipped = float(self.guard.skipped)
        return {**told, "lr": s.optim.lr * factor, "norm": norm if moved else math.nan, "skipped": skipped}

    def _hide(self, batch: PretrainBatch) -> Hidden | None:
        """Draw what BEST-RQ hides: of a clip by the seed, the step and its place in the whole batch alone."""
        best_rq = self.student.best_rq
        if best_rq is None:
            return None
        spans = torch.zeros(batch.latents.shape[:2], dtype=torch.bool, device=batch.latents.device)
        noise = None if best_rq.vector is not None else torch.zeros_like(batch.latents)
        for i, frames in enumerate(batch.audio_frames.tolist()):
            place = self.place.rank * len(batch) + i
            seed = np.random.SeedSequence((self.settings.seed, self.step, place, 2)).generate_state(1)[0]
            own = best_rq.hide(
                batch.latents[i : i + 1, :frames],
                spans.new_ones(1, frames),
                torch.Generator().manual_seed(int(seed)),
            )
            spans[i, :frames] = own.spans[0]
            if noise is not None and own.noise is not None:
                noise[i, :frames] = own.noise[0]
        return Hidden(spans, noise)

    def averaged(self) -> PretrainModel:
        """The model with averaged weights, as it is used; all processes must ask."""
        put_averages(self.ema, self._twin)
        return self._twin.requires_grad_(False).eval()

    def _write(self, model: PretrainModel, folder: Path) -> None:
        model.model.image = self._image
        try:
            save_pe(model.model, folder, "transformers", self._tokenizer)
        finally:
            model.model.image = None
        own = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("model.")}
        _save(folder / BESIDE, own, {"pairs": list(self.settings.options.pairs)})

    def _keep(self, model: PretrainModel, name: str) -> None:
        super()._keep(model, name)
        if name == "last":
            with whole_folder(self.folder / FRAME) as new:
                save_pe(model.frame_model(), new, "transformers", self._tokenizer)


def take_over(student: PretrainModel, folder: Path) -> bool:
    """Give a student what learnt beside the model of a stage before, as far as there is the same in this one.

    Pairs that are new keep the scale and bias that they start with; a BEST-RQ of other sizes stays new.

    Args:
        student: changed in place.
        folder: `last` or `best` of that stage; of one without `pretraining.safetensors` nothing is taken.

    Returns:
        Whether BEST-RQ was there, with its statistics.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / BESIDE
    if not path.is_file():
        return False
    tensors = _tensors(path)
    try:
        with safe_open(path, "pt") as file:
            pairs = json.loads(file.metadata()["peaframe"])["pairs"]
        with torch.no_grad():
            for name in ("log_scale", "bias"):
                mine, before = getattr(student.scales, name), tensors[f"scales.{name}"]
                for i, pair in enumerate(student.scales.names):
                    if pair in pairs:
                        mine[i] = before[pairs.index(pair)]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(f"{path}: does not tell the pairs ({error!r}); write it again") from error
    theirs = {n.removeprefix("best_rq."): t for n, t in tensors.items() if n.startswith("best_rq.")}
    if student.best_rq is None or not theirs:
        return False
    own = student.best_rq.state_dict()
    if {n: t.shape for n, t in own.items()} != {n: t.shape for n, t in theirs.items()}:
        return False
    _put(own, theirs, path)
    return True


def _to_others(batch: PretrainBatch) -> PretrainBatch:
    """The captions of each clip at the next one."""
    return replace(
        batch,
        captions={
            kind: Tokens(text.ids.roll(1, 0), text.mask.roll(1, 0)) for kind, text in batch.captions.items()
        },
    )


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error


@torch.no_grad()
def _put(own: Mapping[str, Tensor], values: Mapping[str, Tensor], path: Path) -> None:
    for name, tensor in own.items():
        if name not in values or values[name].shape != tensor.shape:
            raise CheckpointError(f"{path}: lacks {name} of shape {tuple(tensor.shape)}; begin anew")
        tensor.copy_(values[name])


def _save(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        write_tensors(path, kept, {"peaframe": json.dumps(dict(facts))})
    except (OSError, SafetensorError) as error:
        raise FormatError(f"{path}: cannot be written ({error}); make room and go on") from error
