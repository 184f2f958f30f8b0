"""Which files make up a checkpoint folder, and JSON read from them; light, for what never loads a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peaframe.errors import CheckpointError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def read_json(path: Path, what: str = "JSON") -> Any:
    """The content of a JSON file; `what` is what it should hold, for the message."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: no {what} ({error}), expected JSON") from error


def is_whole(folder: Path) -> bool:
    """Whether a folder holds config.json and all of its weights, as one whose download was interrupted does not."""
    try:
        names = ["config.json", *weight_files(folder)]
    except CheckpointError:
        return False
    return all((folder / name).is_file() for name in names)


def weight_files(folder: Path) -> list[str]:
    """`model.safetensors`, or the shards that a folder's index names where that is missing."""
    index = folder / INDEX
    if not index.is_file() or (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    content = read_json(index, "index of shards")
    shards = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise CheckpointError(
            f"{index}: no index of shards, expected weight_map with tensors and their files"
        )
    for name in shards.values():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{index}: names {name!r}, expected safetensors files beside it")
    return sorted(set(shards.values()))
