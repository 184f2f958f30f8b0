"""Files of a checkpoint folder: safetensors in one piece or in shards, JSON; nothing pickled, nothing guessed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode

from peaframe.errors import CheckpointError
from peaframe.files import atomic_path
from peaframe.models import checkpoint_files
from peaframe.models.checkpoint_files import read_json, weight_files

Tensors = dict[str, torch.Tensor]


class _Unfilled(TorchFunctionMode):
    """Leaves out what fills new tensors: on the meta device that does nothing but load a second of Python first."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, given = getattr(function, "__name__", ""), kwargs or {}
        if name.endswith("_") and not name.startswith("_"):
            return args[0] if args else given["tensor"]
        return torch.empty(*args, **given) if name == "randn" else function(*args, **given)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Modules made in here have tensors of the right shapes without values, to be given with `load_state_dict`."""
    with torch.device("meta"), _Unfilled():
        yield


WEIGHTS, INDEX = checkpoint_files.WEIGHTS, checkpoint_files.INDEX
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_LOOKED_AT = 256  # values of each tensor, see `check_fit`


def read_values(folder: Path) -> dict[str, Any]:
    """The content of config.json, an object."""
    path = part(folder, "config.json")
    values = read_json(path, "model configuration")
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: no model configuration, expected an object with model_type")
    return values


def read_weights(folder: Path) -> Tensors:
    """All tensors of a folder, from `model.safetensors` or the shards that its index names."""
    tensors: Tensors = {}
    for name in weight_files(folder):
        path = part(folder, name)
        try:
            tensors |= load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES:
            raise CheckpointError(
                f"{folder / WEIGHTS}: {name} is {tensor.dtype}, expected float32, float16, bfloat16 or float64"
            )
    return tensors


def check_fit(
    folder: Path, tensors: Tensors, expected: Mapping[str, torch.Size], ignored: Iterable[str] = ()
) -> None:
    """Refuse tensors that do not fit the model that config.json describes, by name, and those that hold no numbers.

    Only the first values of each are looked at for that: a training that diverged leaves NaN all over, and what lies
    behind may stay on the disk until it is used, which loads models of gigabytes in no time.

    Args:
        folder: named in the message.
        tensors: what was read.
        expected: shape by name.
        ignored: names that may be there for nothing.
    """
    missing = sorted(expected.keys() - tensors.keys())
    surplus = sorted(tensors.keys() - expected.keys() - set(ignored))
    path = folder / WEIGHTS
    if missing or surplus:
        raise CheckpointError(
            f"{path}: does not fit config.json; missing {missing[:3]}, not expected {surplus[:3]}"
        )
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            got = tuple(tensors[name].shape)
            raise CheckpointError(f"{path}: {name} has shape {got}, config.json expects {tuple(shape)}")
        if not tensors[name].reshape(-1)[:_LOOKED_AT].isfinite().all():
            raise CheckpointError(f"{path}: {name} holds NaN or infinite values, expected finite weights")


def part(folder: Path, name: str) -> Path:
    """A file that a checkpoint folder must hold."""
    path = folder / name
    if not path.is_file():
        pickled = [p.name for p in folder.glob("*") if p.suffix in (".bin", ".pt", ".pth", ".ckpt")]
        hint = f"; {pickled[0]} may hold a pickle, which is never read" if pickled else ""
        raise CheckpointError(
            f"{path}: not found; a checkpoint folder holds config.json, model.safetensors, tokenizer.json{hint}"
        )
    return path


def write_tensors(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file atomically; `metadata` are texts to put into its head."""
    with atomic_path(path) as temporary:
        mode = temporary.stat().st_mode
        save_file(tensors, temporary, metadata)
        temporary.chmod(mode)  # the library makes its own file, for its owner alone


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
