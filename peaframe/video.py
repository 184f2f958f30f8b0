"""The pictures of a video file, decoded through PyAV (FFmpeg), a few at a time."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from peaframe.errors import VideoError

BLOCK_FRAMES = 16


def blocks(path: str | os.PathLike[str], frames: int | None = None) -> Iterator[NDArray[np.uint8]]:
    """Decode the first video stream of a file.

    Args:
        path: the file.
        frames: how many frames, evenly spread from the first to the last, as the reference picks them; of a shorter
            video some are given more than once. None for all of them.

    Yields:
        (up to 16, 3, height, width) RGB.

    Raises:
        VideoError: the file is missing, holds no pictures, or they cannot be decoded.
    """
    path = Path(path)
    if frames is not None and frames < 1:
        raise VideoError(f"got {frames} frames, expected 1 or more, or None for all")
    images = _images(path) if frames is None else _spread(path, frames)
    first = next(images, None)
    if first is None:
        raise VideoError(f"{path}: holds no pictures; give a video")
    whole = itertools.chain([first], images)
    while block := list(itertools.islice(whole, BLOCK_FRAMES)):
        yield np.stack(block).transpose(0, 3, 1, 2)


def _spread(path: Path, frames: int) -> Iterator[NDArray[np.uint8]]:
    """The frames numbered `int(i * (total - 1) / (frames - 1))`, total counted by decoding."""
    total = sum(1 for _ in _decoded(path))
    wanted = [int(i * (total - 1) / max(1, frames - 1)) for i in range(frames)] if total else []
    for number, frame in enumerate(_decoded(path)):
        for _ in range(wanted.count(number)):
            yield _rgb(frame)


def _images(path: Path) -> Iterator[NDArray[np.uint8]]:
    return map(_rgb, _decoded(path))


def _rgb(frame: Any) -> NDArray[np.uint8]:
    image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    return image


def _decoded(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise VideoError(f"{path}: no such file; give a video")
    try:
        # `file:` keeps colons in names harmless, the list keeps playlists from fetching
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
            if not container.streams.video:
                raise VideoError(f"{path}: has no pictures; give a video")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield from container.decode(stream)
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"{path}: cannot be read as a video ({reason}); give a video file") from error
