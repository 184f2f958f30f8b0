"""What a captioning decoder hears: embeddings of frames, by a model that stands still, made once and kept."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from peaframe.audio.source import Samples
from peaframe.captions.clips import OpenClip
from peaframe.clock import seconds_of_samples
from peaframe.errors import OptionError
from peaframe.infer.detector import Detector, load
from peaframe.infer.embeddings import SUFFIX, Embeddings
from peaframe.models.audio_video import PEAudioVideoConfig, PEAudioVideoModel
from peaframe.models.checkpoint import read_values
from peaframe.models.load import find, load_audio_video_model
from peaframe.models.published import layout_of, read_published

_HASHED = 256  # values of each tensor that a fingerprint takes


class Rows(Protocol):
    """Turns sound into embeddings of its frames, and stands still."""

    name: str
    width: int
    identity: str

    def rows(self, sound: Samples) -> Tensor:
        """(samples,) at 48 kHz to (frames, width) float32, 25 a second, of half precision."""
        ...


class FrameRows:
    """Frames as a frame model, such as PE-A-Frame, embeds them."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.name = detector.model.name
        self.width = detector.model.embedding_dim
        self.identity = f"frames {detector.model.fingerprint()}"

    def rows(self, sound: Samples) -> Tensor:
        """(samples,) at 48 kHz to (frames, width) float32, 25 a second, of half precision."""
        return torch.tensor(self._detector.embed(sound).values).float()


class AudioVideoRows:
    """Frames as the audio tower of PE-AV leaves them."""

    def __init__(self, model: PEAudioVideoModel, device: str = "auto") -> None:
        """Put a PE-AV on a device.

        Raises:
            OptionError: there is no such device.
        """
        wanted = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        try:
            self._model = model.to(torch.device(wanted)).eval()
        except (RuntimeError, AssertionError) as error:
            raise OptionError(
                f"device {device!r} is not there; expected auto, cpu, or cuda with a GPU"
            ) from error
        self.name = model.name
        self.width = model.config.audio.tower.width
        self.identity = f"audio tower {fingerprint(model.audio)}"

    @torch.no_grad()
    def rows(self, sound: Samples) -> Tensor:
        """(samples,) at 48 kHz to (frames, width) float32, 25 a second, of half precision."""
        device = next(self._model.parameters()).device
        waveform = torch.tensor(sound)[None].to(device)
        latents, mask = self._model.audio.latents(waveform, [len(sound)])
        frames: Tensor = self._model.audio(latents, mask)[0]
        return frames[0].half().float().cpu()


def load_rows(model: str | Path, device: str = "auto") -> Rows:
    """The frames of a PE-AV or of a frame model.

    Args:
        model: a name that `peaframe models` lists, a checkpoint folder, or a hub id.
        device: `auto` (a GPU if there is one), `cpu`, `cuda` ...

    Raises:
        ModelError: there is no such model.
        CheckpointError: the folder is incomplete, or its weights do not fit its configuration.
        OptionError: there is no such device.
    """
    folder, _ = find(model)
    values = read_values(folder)
    if layout_of(values) is not None:
        config = read_published(folder / "config.json", values)
        if isinstance(config, PEAudioVideoConfig):
            return AudioVideoRows(load_audio_video_model(model), device)
    return FrameRows(load(model, device))


def fingerprint(module: nn.Module) -> str:
    """Sixteen hex digits that tell models apart: a hash of every tensor's name, shape and first values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().flatten()[:_HASHED].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


class KeptRows:
    """A folder of files as `peaframe embed` writes them, one for each clip, named by its content and the encoder."""

    def __init__(self, folder: Path, encoder: Rows) -> None:
        self.folder, self.encoder = folder, encoder

    def path(self, clip: OpenClip) -> Path:
        """Where a clip's rows are, or will be."""
        name = hashlib.sha256(f"{clip.digest} {self.encoder.identity}".encode()).hexdigest()[:32]
        return self.folder / name[:2] / f"{name}{SUFFIX}"

    def keep(self, clip: OpenClip) -> Path:
        """Hear a clip, unless that was done before.

        Raises:
            AudioError: it has no sound that can be decoded.
            OptionError: what it gives is no number in half precision.
            FormatError: the file cannot be written.
        """
        path = self.path(clip)
        if not path.is_file():
            rows = self.encoder.rows(clip.sound).numpy()
            with np.errstate(over="ignore"):
                half = rows.astype(np.float16)
            seconds = seconds_of_samples(len(clip.sound))
            encoder = self.encoder
            kept = Embeddings(half, encoder.name, encoder.identity, clip.clip.start, seconds, clip.clip.media)
            path.parent.mkdir(parents=True, exist_ok=True)
            kept.save(path)
        return path


def read_rows(path: Path) -> Tensor:
    """Rows (frames, width) float32 that were kept; raises FormatError if the file is damaged."""
    return torch.from_numpy(np.asarray(Embeddings.load(path).values, np.float32))
