"""What becomes of a clip in a shard (`peaframe.data.clip_shards`): decoded, encoded, and as files."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from peaframe.codec.encode import encode
from peaframe.data.clip_media import read_clip, shown
from peaframe.data.clips_table import ClipRow
from peaframe.data.latent_rows import fingerprint
from peaframe.data.shard_files import flac_bytes, json_line, npy_bytes
from peaframe.data.shard_folder import Made, key
from peaframe.errors import ModelError, OptionError, PeaframeError
from peaframe.models import checkpoint
from peaframe.models.audio_video import PEAudioVideoModel
from peaframe.models.device import device_of
from peaframe.models.load import PEModel, find, read_pe
from peaframe.models.published import layout_of

VIDEO = "video.npy"  # what the file of features is called behind its key


@dataclass(frozen=True)
class ClipContent:
    """What is kept of a clip.

    Attributes:
        content: `latents`, or `audio`.
        model: name or folder of what makes latents and features; None where neither is wanted.
        video: whether features of pictures are kept.
        frames: of how many pictures, evenly spread: a number, `all`, or None for as many as the model takes.
        device: where the model runs.

    Raises:
        OptionError: they do not fit together.
    """

    content: str = "latents"
    model: str | None = None
    video: bool = True
    frames: int | str | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.content not in ("latents", "audio"):
            raise OptionError(f"got content {self.content!r}, expected latents or audio")
        if self.model is None and (self.content == "latents" or self.video):
            raise OptionError("got no model; give a PE-AV, or content audio without features of pictures")
        if not (self.frames in (None, "all") or (isinstance(self.frames, int) and self.frames >= 1)):
            raise OptionError(f"got frames {self.frames!r}, expected a number of 1 or more, or 'all'")


class ClipMaker:
    """Makes samples of clips; one for each process.

    Attributes:
        made: what the index says of the model: its name and a fingerprint, for `latents` and for `video`.
    """

    def __init__(self, wanted: ClipContent) -> None:
        """Load the model.

        Raises:
            OptionError: there is no such device.
            ModelError: the model has no codec or no image encoder, or cannot be loaded.
        """
        self._wanted = wanted
        device = device_of(wanted.device, auto=False)
        self._model = None if wanted.model is None else _load(wanted.model)
        self._encoder = None
        self._frames: int | None = None
        self.made: dict[str, Mapping[str, Any] | None] = {"latents": None, "video": None}
        if self._model is None:
            return
        self._model.to(device)
        if wanted.content == "latents":
            self.made["latents"] = codec_facts(self._model)
        if wanted.video:
            self.made["video"] = facts = video_facts(self._model, wanted.frames)
            self._encoder = self._model.image if isinstance(self._model, PEAudioVideoModel) else None
            self._frames = facts["frames"]

    def __call__(self, task: tuple[int, ClipRow]) -> Made:
        """The sample of a row, or why there is none."""
        number, row = task
        origin = shown(row.media)
        try:
            media = read_clip(row, self._encoder, self._frames)
            files: dict[str, bytes] = {}
            if media.sound is not None and self._wanted.content == "audio":
                files["flac"] = flac_bytes(media.sound)
            elif media.sound is not None:
                files["npy"] = npy_bytes(self._latents(origin, torch.from_numpy(media.sound)))
            if media.video is not None:
                files[VIDEO] = npy_bytes(media.video)
        except PeaframeError as error:
            return Made(number, origin, reason=" ".join(str(error).split()))
        values = {
            **said_of(number, row),
            "seconds": media.seconds,
            "still": media.still,
            "digest": media.digest,
            "crc32": {suffix: zlib.crc32(data) for suffix, data in files.items()},
        }
        return Made(number, origin, {"json": json_line(values), **files}, digest=media.digest)

    def _latents(self, origin: str, waveform: torch.Tensor) -> NDArray[np.float16]:
        if self._model is None:
            raise OptionError("latents need a model")
        with torch.no_grad():
            rows: NDArray[np.float16] = encode(self._model.audio.open_stream(), waveform).half().cpu().numpy()
        if not np.isfinite(rows).all():
            raise ModelError(f"{origin}: has a latent beyond the range of float16; check the model")
        return rows


def codec_facts(model: PEModel) -> dict[str, Any]:
    """What an index says of the codec that made latents."""
    config = model.config.audio.codec
    sizes = json.dumps(asdict(config), sort_keys=True)
    mark = fingerprint(sizes, model.audio.codec.state_dict())
    return {"model": model.name, "fingerprint": mark, "channels": config.latent}


def video_facts(model: PEModel, frames: int | str | None = None) -> dict[str, Any]:
    """What an index says of the image encoder that made features; `frames` as in `ClipContent`."""
    if not isinstance(model, PEAudioVideoModel) or model.image is None:
        raise ModelError(
            f"{model.name} came without an image encoder; give a PE-AV in the layout of transformers, or leave "
            "features of pictures out"
        )
    sizes = json.dumps(asdict(model.image.config), sort_keys=True)
    taken = model.config.video.frames if frames is None else frames
    return {
        "model": model.name,
        "fingerprint": fingerprint(sizes, model.image.state_dict()),
        "channels": model.image.head.out_features,
        "frames": taken if isinstance(taken, int) else None,
    }


def _load(name: str) -> PEModel:
    folder, called = find(name)
    values = checkpoint.read_values(folder)
    if layout_of(values) is None:
        raise ModelError(f"{name} has no codec, expected a PE-AV or PE-A-Frame")
    model = read_pe(folder, values, called).eval()
    model.name = Path(called).resolve().name if os.path.isdir(called) else called
    return model


def said_of(number: int, row: ClipRow) -> dict[str, Any]:
    """What a sample's `.json` says that its row says."""
    return {
        "key": key(number),
        "media": shown(row.media),
        "start": row.start,
        "end": row.end,
        "captions": {kind: list(texts) for kind, texts in row.captions.items()},
        "transcript": row.transcript,
        "source": row.source,
        "metadata": dict(row.metadata),
    }
