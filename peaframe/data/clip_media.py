"""The sound and the pictures of one clip, from a file or an address, and a hash of what they hold."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from peaframe import audio, video
from peaframe.audio.source import Samples
from peaframe.clock import seconds_of_samples
from peaframe.data.clips_table import ClipRow
from peaframe.data.shard_files import open_file, pcm16
from peaframe.errors import FormatError, OptionError, PeaframeError, VideoError

_TRIES = 3  # at an address
_PAUSE_SECONDS = 1.0  # before the second try; longer before the third
_SLACK_SECONDS = 0.1  # by which a video may end before the clip does


class Looking(Protocol):
    """What makes features of pictures."""

    def frame_features(self, frames: torch.Tensor) -> torch.Tensor:
        """See `ImageEncoder.frame_features`."""
        ...


@dataclass(frozen=True, eq=False)
class ClipMedia:
    """What a clip holds; what is missing is None.

    Attributes:
        sound: float32 (samples,) at 48 kHz.
        video: features (frames, channels) float32, of unit length.
        still: its pictures are one that stands still.
        seconds: how long it is; 0 for a picture of which nobody says how long.
        digest: thirty-two hex digits: a hash of the decoded content, sound in steps of 16 bit and the pictures
            that were looked at. Other files of the same content have the same; other lossy codings do not.
    """

    sound: Samples | None
    video: NDArray[np.float32] | None
    still: bool
    seconds: float
    digest: str


def read_clip(row: ClipRow, encoder: Looking | None, frames: int | None) -> ClipMedia:
    """Decode a clip.

    Args:
        row: which.
        encoder: looks at its pictures; None to leave them alone.
        frames: how many pictures, evenly spread; None for all of them. A still one is looked at once and then
            given as often, or once.

    Raises:
        PeaframeError: it cannot be read, or has neither sound nor pictures.
    """
    with _local(row.path) as path:
        try:
            return _read(row, path, encoder, frames)
        except PeaframeError as error:
            raise type(error)(str(error).replace(str(path), shown(row.media))) from error


def shown(media: str) -> str:
    """An address without what may be secret in it: no query, user or password; a path as it is."""
    if "://" not in media:
        return media
    parts = urllib.parse.urlsplit(media)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _read(row: ClipRow, path: Path, encoder: Looking | None, frames: int | None) -> ClipMedia:
    info = _streams(path)
    digest = hashlib.sha256()
    sound = features = None
    if info.sound:
        sound = audio.read(path, row.start or None, row.end)
        digest.update(b"sound" + pcm16(sound).tobytes())
    if encoder is not None and info.pictures:
        features = _look(row, path, info, encoder, frames, digest)
    if sound is None and features is None:
        what = (
            "neither sound nor pictures" if encoder is not None else "no sound, and pictures are not wanted"
        )
        raise FormatError(f"{path}: holds {what}; give media that have some")
    if sound is not None:
        seconds = seconds_of_samples(len(sound))
    else:
        seconds = max(0.0, (info.duration if row.end is None else row.end) - row.start)
    return ClipMedia(sound, features, info.still, seconds, digest.hexdigest()[:32])


def _streams(path: Path) -> video.VideoInfo:
    try:
        return video.probe(path)
    except VideoError:
        audio.probe(path)  # what FFmpeg does not know libsndfile may; if not, it says why
        return video.VideoInfo(sound=True, pictures=False, still=False, duration=0.0)


def _look(
    row: ClipRow, path: Path, info: video.VideoInfo, encoder: Looking, frames: int | None, digest: Any
) -> NDArray[np.float32]:
    start, end, wanted = (0.0, None, None) if info.still else (row.start, row.end, frames)
    if end is not None and not info.sound and info.duration and end > info.duration + _SLACK_SECONDS:
        raise VideoError(f"{path}: end {end} s is beyond the video's end at {info.duration:.3f} s")
    parts = []
    for block in video.blocks(path, wanted, start, end):
        digest.update(f"pictures {block.shape}".encode() + np.ascontiguousarray(block).tobytes())
        parts.append(
            encoder.frame_features(torch.from_numpy(np.ascontiguousarray(block))).float().cpu().numpy()
        )
    rows: NDArray[np.float32] = np.concatenate(parts)
    if info.still:
        rows = np.repeat(rows[:1], frames or 1, axis=0)
    if not np.isfinite(rows).all():
        raise VideoError(f"{path}: has a picture whose features are not finite; check the model")
    return rows


@contextmanager
def _local(path: str) -> Iterator[Path]:
    """A file on this machine; one at an address is fetched, and removed afterwards."""
    if "://" not in path:
        yield Path(path)
        return
    suffix = os.path.splitext(urllib.parse.urlsplit(path).path)[1]
    with tempfile.TemporaryDirectory(prefix="peaframe-") as folder:
        target = Path(folder) / f"media{suffix}"
        for tried in range(_TRIES):
            try:
                with open_file(path) as remote, target.open("wb") as file:
                    shutil.copyfileobj(remote, file)
                break
            except OptionError:
                raise
            except Exception as error:  # clients of object stores raise errors of all kinds
                if tried + 1 == _TRIES or getattr(error, "code", 0) in (401, 403, 404, 410):
                    reason = " ".join(f"{type(error).__name__} {error}".replace(path, shown(path)).split())
                    raise FormatError(
                        f"{shown(path)}: cannot be fetched ({reason}); check the address"
                    ) from error
                time.sleep(_PAUSE_SECONDS * 4**tried)
        yield target
