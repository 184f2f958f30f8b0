"""Checkpoint folders <-> models: `config.json`, `model.safetensors`, `tokenizer.json`, nothing pickled."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from peaframe.config import build
from peaframe.errors import CheckpointError, ConfigError, ModelError, OptionError
from peaframe.events import EventOptions
from peaframe.files import atomic_path
from peaframe.models.frame import FrameModel, MiniConfig, MiniFrameModel
from peaframe.models.names import BUILT_IN, MODELS
from peaframe.models.text import QueryTokenizer

FORMAT = 1


def load_model(name_or_folder: str | Path = BUILT_IN) -> FrameModel:
    """Load a frame model, ready to run on the CPU.

    Args:
        name_or_folder: a name that `peaframe models` lists, or a checkpoint folder.

    Raises:
        ModelError: no such name and no such folder.
        CheckpointError: the folder is incomplete, or its weights do not fit its configuration.
    """
    known = MODELS.get(str(name_or_folder))
    folder = known.folder if known else Path(name_or_folder)
    if known is None and not os.path.isdir(folder):
        near = difflib.get_close_matches(str(name_or_folder), MODELS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ModelError(
            f"unknown model {str(name_or_folder)!r}; {hint}expected {', '.join(MODELS)} or a checkpoint folder"
        )
    model = _read(folder)
    model.name = known.name if known else str(folder)
    model.event_options = read_event_options(folder)
    return model.eval()


def _read(folder: Path) -> FrameModel:
    config = read_config(folder)
    tokenizer = QueryTokenizer(_part(folder, "tokenizer.json"), config.text.max_tokens)
    weights = _part(folder, "model.safetensors")
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(weights).items()}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{weights}: not a readable safetensors file ({error})") from error
    with torch.device("meta"):
        model = MiniFrameModel(config, tokenizer)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    missing, surplus = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or surplus:
        raise CheckpointError(
            f"{weights}: does not fit config.json; missing {missing[:3]}, not expected {surplus[:3]}"
        )
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            got = tuple(tensors[name].shape)
            raise CheckpointError(f"{weights}: {name} has shape {got}, config.json expects {tuple(shape)}")
    model = MiniFrameModel(config, tokenizer)
    model.load_state_dict(tensors)
    return model


def read_config(folder: Path) -> MiniConfig:
    """Read a checkpoint's `config.json`; refuses other kinds of model and unknown keys by name."""
    path = _part(folder, "config.json")
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind, number = values.pop("model_type"), values.pop("format")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: no model configuration ({error!r}); expected model_type and format"
        ) from error
    if kind != "peaframe_mini" or number != FORMAT:
        raise CheckpointError(
            f"{path}: got model_type {kind!r} of format {number!r}, expected 'peaframe_mini' of format {FORMAT}"
        )
    try:
        return build(MiniConfig, values)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def read_event_options(folder: Path) -> EventOptions:
    """Read a checkpoint's `events.json`, how its scores become events; without the file, the plain defaults."""
    path = folder / "events.json"
    if not path.is_file():
        return EventOptions()
    try:
        return build(EventOptions, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError, ConfigError, OptionError) as error:
        raise CheckpointError(
            f"{path}: no event options ({error}); expected threshold, median ..."
        ) from error


def save_model(
    model: MiniFrameModel, folder: Path, tokenizer: dict[str, Any], dtype: torch.dtype = torch.float32
) -> None:
    """Write a checkpoint folder; each file appears whole or not at all.

    Args:
        model: what to save.
        folder: made if it does not exist.
        tokenizer: the content of `tokenizer.json`.
        dtype: what the weights are stored as; `load_model` gives float32 again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values = {"model_type": "peaframe_mini", "format": FORMAT, **dataclasses.asdict(model.config)}
    write_text(folder / "config.json", json.dumps(values, indent=2) + "\n")
    write_text(folder / "tokenizer.json", json.dumps(tokenizer, ensure_ascii=False))
    write_tensors(
        folder / "model.safetensors",
        {name: tensor.detach().to(dtype).contiguous() for name, tensor in model.state_dict().items()},
    )


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write a safetensors file atomically."""
    with atomic_path(path) as part:
        part.write_bytes(save(tensors))


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def _part(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise CheckpointError(
            f"{path}: not found; a checkpoint folder holds config.json, model.safetensors, tokenizer.json"
        )
    return path
