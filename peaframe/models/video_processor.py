"""How many frames of a video a PE-AV checkpoint takes, as transformers' video processor says it beside config.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peaframe.models.checkpoint_files import read_json
from peaframe.models.config_values import Values

# In the order in which transformers looks; the first holds the processors of all kinds, the last is of old.
NESTED = "processor_config.json"
FILE = "video_preprocessor_config.json"
FILES = (NESTED, FILE, "preprocessor_config.json")


def read_frames(folder: Path) -> int | None:
    """Frames, evenly spread, that stand for a clip, from the first file here that says; None where none does.

    `do_sample_frames: false` means all frames, whatever number stands beside it, as in transformers.
    """
    for name in FILES:
        if not (folder / name).is_file():
            continue
        values = Values(folder / name, read_json(folder / name))
        if name == NESTED:
            values = values.part_if_any("video_processor")
        if values.values.get("num_frames") is not None:
            frames = values.integer("num_frames")
            return None if values.values.get("do_sample_frames") is False else frames
    return None


def processor_values(frames: int, size: int) -> dict[str, Any]:
    """The content of `video_preprocessor_config.json`: that many frames, squashed to squares of `size` pixels."""
    return {
        "video_processor_type": "PeVideoVideoProcessor",
        "do_sample_frames": True,
        "num_frames": frames,
        "do_resize": True,
        "size": {"height": size, "width": size},
        "resample": 2,
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
