"""Frame models: audio and text in, embeddings on one scale out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peaframe.models.frame import FrameModel
    from peaframe.models.load import load_audio_video_model, load_model

_HOMES = {
    "FrameModel": "peaframe.models.frame",
    "load_audio_video_model": "peaframe.models.load",
    "load_model": "peaframe.models.load",
}

__all__ = ["FrameModel", "load_audio_video_model", "load_model"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'peaframe.models' has no attribute {name!r}")
