"""What hears, sees and reads the clips of a benchmark: PE-AV, or a frame model's sound and words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import OptionError

if TYPE_CHECKING:
    from peaframe.infer.detector import Detector

__all__ = ["MEDIA", "POOLS", "Ears", "FrameEars", "load_ears"]

MEDIA = {"audio": "audio", "visual": "video", "audio_visual": "av"}
"""An embedding's name in the model -> in the names of metrics."""
POOLS = ("mean", "max")
Arrays = dict[str, NDArray[Any]]


class Ears(Protocol):
    """What is needed of a model.

    Attributes:
        name: The model's.
    """

    name: str

    def fingerprint(self) -> str:
        """What tells models apart."""
        ...

    def clip(self, sound: Path | None, pictures: Path | None) -> tuple[Arrays, float]:
        """Arrays of a clip by name, and its seconds; see `peaframe.index.clips.ClipEncoder.clip`."""
        ...

    def texts(self, texts: Sequence[str]) -> Arrays:
        """Embeddings of texts by what they describe: `audio_text`, ..., each (texts, dim)."""
        ...


class FrameEars:
    """A frame model's sound and words.

    Attributes:
        name: The model's.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.name = detector.model.name

    def fingerprint(self) -> str:
        """The model's own, and the type it multiplies in."""
        model = self._detector.model
        return f"{model.fingerprint()} {str(model.products).removeprefix('torch.')}"

    def clip(self, sound: Path | None, pictures: Path | None) -> tuple[Arrays, float]:
        """`frames` (frames, dim) of the sound; pictures are not looked at.

        Raises:
            AudioError: It cannot be heard.
            OptionError: There is none.
        """
        if sound is None:
            raise OptionError(f"{pictures}: {self.name} hears only, and there is no sound; use a PE-AV model")
        heard = self._detector.embed(sound)
        return {"frames": heard.values}, heard.duration

    def texts(self, texts: Sequence[str]) -> Arrays:
        """`audio_text` (texts, dim); errors as of `Detector.ask`."""
        once = list(dict.fromkeys(texts))
        rows = self._detector.ask(once).texts.float().cpu().numpy()
        place = {text: number for number, text in enumerate(once)}
        return {"audio_text": np.asarray(rows)[[place[text] for text in texts]]}


def load_ears(model: str, device: str = "auto", precision: str = "exact") -> Ears:
    """A model by name or folder, of either kind.

    Raises:
        OptionError: `precision` is not `exact` for PE-AV, which has no other, or there is no such device.
        ModelError, CheckpointError: It cannot be loaded.
    """
    from peaframe.index.clips import embeds_clips, load_clips

    if not embeds_clips(model):
        from peaframe.infer.detector import load

        return FrameEars(load(model, device, precision))
    if precision != "exact":
        raise OptionError(f"got --precision {precision} for {model}, expected exact: PE-AV has no other here")
    return load_clips(model, device)
