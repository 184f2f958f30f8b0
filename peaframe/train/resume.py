"""The state of a run in one file, from which it goes on bit for bit, and folders that appear whole or not at all."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from peaframe.errors import CheckpointError, FormatError
from peaframe.models.checkpoint import write_tensors, write_text
from peaframe.train.ema import Ema
from peaframe.train.parallel import Place, like, whole

FILE = "resume.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq")
_FACTS = {"step", "best", "loader", "guard", "settings", "base"}
_NEW, _OLD = ".{}.new", ".{}.old"
_UNFINISHED = re.compile(r"\.[0-9a-f]{12}(\.\w+)?$|\.tmp\w{6}$")  # of peaframe.files, and of safetensors


def write_state(
    folder: Path,
    student: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: Ema,
    facts: Mapping[str, Any],
    place: Place,
) -> None:
    """Write what learns, its moments and averages, and `facts`, whole or not at all; all processes must call.

    Raises:
        FormatError: it cannot be written; the state before it is still there.
    """
    tensors: dict[str, Tensor] = {}
    for name, p in student.named_parameters():
        if not p.requires_grad:
            continue
        tensors[f"raw/{name}"] = whole(p)
        state = optimizer.state.get(p, {})
        for key in _MOMENTS:
            if key in state:
                tensors[f"{key}/{name}"] = whole(state[key])
        if "step" in state:
            tensors[f"step/{name}"] = state["step"].detach()
    tensors |= {name: whole(tensor) for name, tensor in ema.state_dict().items()}
    if not place.first:
        return
    kept = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    try:
        write_tensors(folder / FILE, kept, {"peaframe": json.dumps(dict(facts), sort_keys=True)})
    except (OSError, SafetensorError) as error:
        raise FormatError(
            f"{folder / FILE}: cannot be written ({error}); what was saved before is still there, make room and go on"
        ) from error


def read_facts(folder: Path) -> dict[str, Any] | None:
    """The facts of the state in a folder; None where there is none. Raises CheckpointError for a damaged file."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["peaframe"])
            if lacking := sorted(_FACTS - facts.keys()):
                raise KeyError(lacking[0])
            return facts
    except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: no state of a run ({error!r}); remove it to begin anew, or take a copy"
        ) from error


@torch.no_grad()
def read_state(folder: Path, student: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema) -> None:
    """Put the state of a folder into what a new run has just made.

    Raises:
        CheckpointError: it is damaged, or of another model.
    """
    path = folder / FILE
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
    learning = {name: p for name, p in student.named_parameters() if p.requires_grad}
    have = {name.removeprefix("raw/") for name in tensors if name.startswith("raw/")}
    if odd := have.symmetric_difference(learning):
        raise CheckpointError(f"{path}: does not fit what learns here, {sorted(odd)[0]} for one")
    for name, p in learning.items():
        moments = [f"{key}/{name}" for key in _MOMENTS] if f"step/{name}" in tensors else []
        for own in (f"raw/{name}", f"average/{name}", *moments):
            if own not in tensors:
                raise CheckpointError(f"{path}: lacks {own}; remove it to begin anew, or take a copy")
            if tensors[own].shape != p.shape and (tensors[own].numel(), p.numel()) != (1, 1):
                raise CheckpointError(f"{path}: {name} has another shape than the model's")
        p.copy_(like(tensors[f"raw/{name}"], p))
        if moments:
            own_state = {key: like(tensors[f"{key}/{name}"], p) for key in _MOMENTS}
            optimizer.state[p] = {"step": tensors[f"step/{name}"], **own_state}
    averages = {n: t for n, t in tensors.items() if n == "updates" or n.startswith("average/")}
    names = dict(student.named_parameters())
    if odd := {n.removeprefix("average/") for n in averages} - names.keys() - {"updates"}:
        raise CheckpointError(f"{path}: averages {sorted(odd)[0]}, which the model does not have")
    ema.load_state_dict(
        {n: t if n == "updates" else like(t, names[n.removeprefix("average/")]) for n, t in averages.items()},
        student,
    )


def cut_log(path: Path, step: int, measured: bool = True) -> None:
    """Take out of a log what was written behind `step`, or measured at it if that is not `measured`: it comes again."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [
        line for line in lines if _step_of(line) <= (step if measured or '"valid"' not in line else step - 1)
    ]
    if len(kept) < len(lines):
        write_text(path, "".join(kept))


def _step_of(line: str) -> float:
    """The step of a line of a log; of one that was cut when the run was killed, none is late enough."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a new folder that takes the place of `folder` if the block ends well; after an error that is as before.

    Killed in between, it is as before, as it shall be, or (for `clear_up` to mend) not there; never half of it.

    Raises:
        FormatError: it cannot be written.
    """
    new, old = (folder.with_name(name.format(folder.name)) for name in (_NEW, _OLD))
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        yield new
        if folder.is_dir():
            os.rename(folder, old)
        os.rename(new, folder)
    except (OSError, SafetensorError) as error:
        raise FormatError(f"{folder}: cannot be written ({error}); make room and go on") from error
    finally:
        if folder.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(new, ignore_errors=True)


def clear_up(folder: Path, names: Collection[str]) -> None:
    """Put back the folders of those names in `folder`, and remove what a killed run had not finished."""
    for name in names:
        new, old = (folder / form.format(name) for form in (_NEW, _OLD))
        if old.is_dir() and not (folder / name).exists():
            os.rename(old, folder / name)
        for rest in (new, old):
            shutil.rmtree(rest, ignore_errors=True)
    for path in folder.iterdir():
        if _UNFINISHED.match(path.name) and path.is_file():
            path.unlink(missing_ok=True)
