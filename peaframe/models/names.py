"""The models that can be loaded by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BUILT_IN = "peaframe-mini"


@dataclass(frozen=True)
class ModelName:
    """What is known about a model before it is loaded.

    Attributes:
        name: what the user says.
        description: one line.
        licence: SPDX name of the weights' licence.
        parameters: number of parameters in millions, as its authors state it; None where they do not.
        folder: where its checkpoint lies on every installation; None for one that is fetched.
        hub_id: its repository on the Hugging Face hub; None for one that is built in.
        revision: the repository's revision that holds the layout of transformers.
        frames: whether it gives one embedding per frame; else one per clip.
        video_frames: how many frames, evenly spread, stand for a clip's pictures; None for all of them.
    """

    name: str
    description: str
    licence: str
    parameters: float | None = None
    folder: Path | None = None
    hub_id: str | None = None
    revision: str = "main"
    frames: bool = True
    video_frames: int | None = None

    @property
    def gigabytes(self) -> float | None:
        """About how much is fetched: four bytes a parameter; None for what is built in or not stated."""
        return None if self.hub_id is None or self.parameters is None else self.parameters * 4 / 1000


def _frame(size: str, parameters: float) -> ModelName:
    name = f"pe-a-frame-{size}"
    what = f"Meta's PE-A-Frame, {size}: any words, one embedding per 40 ms"
    return ModelName(name, what, "Apache-2.0", parameters, hub_id=f"facebook/{name}")


def _clip(size: str, sampled: bool) -> ModelName:
    name = f"pe-av-{size}-16-frame" if sampled else f"pe-av-{size}"
    video = "16 video frames" if sampled else "all video frames"
    what = f"Meta's PE-AV, {size}: sound, pictures and words of whole clips, {video}"
    return ModelName(
        name,
        what,
        "Apache-2.0",
        hub_id=f"facebook/{name}",
        frames=False,
        video_frames=16 if sampled else None,
    )


_ALL = (
    ModelName(
        BUILT_IN,
        "built in; trained by recipes/mini on real sounds, any English words",
        "Apache-2.0",
        26,
        Path(__file__).parent / "mini",
    ),
    *(_frame(size, parameters) for size, parameters in (("small", 450), ("base", 560), ("large", 1400))),
    *(_clip(size, sampled) for size in ("small", "base", "large") for sampled in (False, True)),
)
MODELS = {model.name: model for model in _ALL}


def promised_frames(name: str) -> int | None:
    """The `video_frames` of the public model that a name, or a hub id with or without a revision, stands for."""
    said = (m.video_frames for m in _ALL if name.partition("@")[0] in (m.name, m.hub_id))
    return next(said, None)
