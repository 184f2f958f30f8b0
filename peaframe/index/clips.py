"""Whole clips and texts through PE-AV: sound, pictures, both, words, and words joined with either.

What the towers give of a clip (its tokens) is kept beside its embeddings, so that texts can be joined with it later
without hearing or seeing it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peaframe import audio
from peaframe.clock import seconds_of_samples
from peaframe.errors import AudioError, ModelError, VideoError
from peaframe.models import checkpoint
from peaframe.models.audio_video import PEAudioVideoConfig, PEAudioVideoModel
from peaframe.models.device import device_of
from peaframe.models.load import find, load_audio_video_model
from peaframe.models.published import layout_of, read_published

__all__ = ["PIECE_SECONDS", "ClipEncoder", "embeds_clips", "load_clips"]

PIECE_SECONDS = 30.0
"""Length of the pieces that a long recording is heard in: that of the clips PE-AV was trained on."""
TEXTS = 32
_HASHED = 256
Floats = NDArray[np.float32]


class ClipEncoder:
    """A PE-AV model ready to hear, see and read.

    Attributes:
        name: The model's.
        dim: Channels of all embeddings.
    """

    def __init__(self, model: PEAudioVideoModel, device: str = "auto") -> None:
        """Put a model on a device.

        Args:
            model: From `peaframe.models.load.load_audio_video_model`.
            device: `auto` (a GPU if there is one), `cpu`, `cuda` ...

        Raises:
            OptionError: There is no such device.
        """
        self.device = device_of(device)
        self._model = model.to(self.device).eval()
        self.name, self.dim = model.name, model.config.embedding_dim

    def fingerprint(self) -> str:
        """Sixteen hex digits that tell models apart, as those of frame models."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._model.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().flatten()[:_HASHED].float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.inference_mode()
    def clip(self, sound: Path | None, pictures: Path | None) -> tuple[dict[str, Floats], float]:
        """Everything of one clip as a whole.

        Args:
            sound: The file to hear.
            pictures: The file to see; often the same.

        Returns:
            Arrays of one row each: `audio`, `visual` and `audio_visual` (1, dim) and `audio_token`, `visual_token`
            (1, width of the tower), as far as there is sound or pictures; and the seconds of sound. What cannot be
            heard or seen is left out if the other can.

        Raises:
            AudioError, VideoError: Neither can be read.
            ModelError: The model came without its image encoder.
        """
        model, found, seconds = self._model, dict[str, Tensor](), 0.0
        frames = joint = None
        failed: AudioError | VideoError | None = None
        if sound is not None:
            try:
                waveform = audio.read(sound)
            except AudioError as error:
                failed = error
            else:
                seconds = seconds_of_samples(len(waveform))
                frames, token = self._hear(waveform)
                found |= {"audio": model.heads["audio"](token), "audio_token": token}
        if pictures is not None:
            try:
                features = model.video_features(pictures)[None].to(self.device)
            except VideoError as error:
                failed = error
            else:
                seen, token = model.video(features, None)
                found |= {"visual": model.heads["visual"](token), "visual_token": token}
                joint = seen
        if frames is not None and joint is not None:
            _, token = model.fusion(frames, None, joint, None)
            found["audio_visual"] = model.heads["audio_visual"](token)
        if not found:
            raise failed or AudioError("got a clip without a file, expected sound or pictures")
        return {name: _plain(values) for name, values in found.items()}, seconds

    @torch.inference_mode()
    def media(self, path: Path) -> tuple[dict[str, Floats], float]:
        """A file of any length, to be searched.

        Returns:
            `audio` (pieces, dim), a row for each `PIECE_SECONDS` begun, and `visual` (1, dim) of all its pictures, as
            far as there are any; and the seconds of sound.

        Raises:
            AudioError: It has neither sound nor pictures.
        """
        model, rows, seconds = self._model, list[Floats](), 0.0
        found: dict[str, Floats] = {}
        failed: AudioError | None = None
        try:
            for block in audio.blocks(path, PIECE_SECONDS):
                rows.append(_plain(model.heads["audio"](self._hear(block)[1])))
                seconds += seconds_of_samples(len(block))
            found["audio"] = np.concatenate(rows)
        except AudioError as error:
            failed, seconds = error, 0.0
        if model.image is not None:
            try:
                _, token = model.video(model.video_features(path)[None].to(self.device), None)
                found["visual"] = _plain(model.heads["visual"](token))
            except VideoError:
                pass  # a recording of sound alone
        if not found:
            raise failed or AudioError(f"{path}: holds no sound; give a recording")
        return found, seconds

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> dict[str, Floats]:
        """Texts as descriptions: (texts, dim) `audio_text`, `visual_text`, `audio_visual_text`, and `text_token`.

        Raises:
            ModelError: The model has no tokenizer, or a text is empty or far too long.
        """
        if self._model.tokenizer is None:
            raise ModelError(
                f"{self.name or 'this model'} has no tokenizer; put a tokenizer.json into its folder"
            )
        parts: dict[str, list[Floats]] = {}
        for first in range(0, len(texts), TEXTS):
            ids, mask = self._model.tokenizer(list(texts[first : first + TEXTS]))
            token = self._model.text(ids.to(self.device), mask.to(self.device))
            parts.setdefault("text_token", []).append(_plain(token))
            for kind in ("audio_text", "visual_text", "audio_visual_text"):
                parts.setdefault(kind, []).append(_plain(self._model.heads[kind](token)))
        return {kind: np.concatenate(rows) for kind, rows in parts.items()}

    @torch.inference_mode()
    def joined(self, kind: str, clips: NDArray[Any], texts: NDArray[Any]) -> Floats:
        """Clips, each joined with a text of its own.

        Args:
            kind: `audio` or `visual`.
            clips: (clips, width) their `audio_token` or `visual_token`.
            texts: (clips, width) the texts' `text_token`.

        Returns:
            (clips, dim): what PE-AV calls `audio_plus_text` and `visual_plus_text`.
        """
        both = np.concatenate((np.asarray(clips, np.float32), np.asarray(texts, np.float32)), axis=1)
        return _plain(self._model.heads[f"{kind}_plus_text"](torch.from_numpy(both).to(self.device)))

    def sound(self, waveform: NDArray[np.float32]) -> dict[str, Floats]:
        """`audio` (1, dim) and `audio_token` of mono samples at 48 kHz."""
        with torch.inference_mode():
            token = self._hear(waveform)[1]
            return {"audio": _plain(self._model.heads["audio"](token)), "audio_token": _plain(token)}

    def _hear(self, waveform: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        """Frames (1, frames, width) and token (1, width) of mono samples."""
        samples = torch.from_numpy(np.ascontiguousarray(waveform))[None].to(self.device)
        latents, mask = self._model.audio.latents(samples, [samples.shape[1]])
        frames, token = self._model.audio(latents, mask)
        return frames, token


def embeds_clips(name_or_folder: str | Path) -> bool:
    """Whether a model embeds whole clips (PE-AV), not frames; errors as for `load_model`. Only its config is read."""
    folder, _ = find(name_or_folder)
    values = checkpoint.read_values(folder)
    if layout_of(values) is None:
        return False
    return isinstance(read_published(folder / "config.json", values), PEAudioVideoConfig)


def load_clips(name_or_folder: str | Path, device: str = "auto") -> ClipEncoder:
    """Load a PE-AV model; errors as for `load_audio_video_model` and `ClipEncoder`."""
    return ClipEncoder(load_audio_video_model(name_or_folder), device)


def _plain(values: Tensor) -> Floats:
    array: Floats = values.float().cpu().numpy()
    return array
