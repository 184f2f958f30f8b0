"""Batches of sound as batches of latents: heard anew every time, so that sound may be changed on the fly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from peaframe.data.latent_loader import LatentBatch
from peaframe.data.sound_loader import SoundLoader
from peaframe.models.frame import FrameModel


class SoundFeatures:
    """A `SoundLoader` that gives what a model's still part makes of its batches; it goes on where that does."""

    def __init__(self, loader: SoundLoader, model: FrameModel) -> None:
        """Hear with `model`, on its device."""
        self._loader, self._model = loader, model

    def __iter__(self) -> Iterator[LatentBatch]:
        """The batches of this epoch that have not been given."""
        for batch in self._loader:
            clips = zip(batch.waveform, batch.lengths.tolist(), strict=True)
            rows = [hear(self._model, waveform[:length]) for waveform, length in clips]
            yield LatentBatch(
                pad_sequence(rows, batch_first=True),
                *(batch.mask, batch.targets, batch.counted, batch.items, batch.partners, batch.starts),
            )

    def state_dict(self) -> dict[str, Any]:
        """Where it is."""
        return self._loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another one was."""
        self._loader.load_state_dict(state)


@torch.no_grad()
def hear(model: FrameModel, waveform: Tensor) -> Tensor:
    """The rows (frames, channels) that a model's still part gives for a waveform (samples,) at 48 kHz."""
    stream = model.open_features()
    return torch.cat((stream.push(waveform.to(model.device)), stream.finish())).float()
