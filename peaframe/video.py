"""The pictures of a video file, decoded through PyAV (FFmpeg), a few at a time."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from peaframe.errors import VideoError

BLOCK_FRAMES = 16
_FUZZ_SECONDS = 1e-6
_SLACK_SECONDS = 0.1  # containers round durations to packets and milliseconds


@dataclass(frozen=True)
class VideoInfo:
    """What a file of media says about itself.

    Attributes:
        sound: it has sound.
        pictures: it has pictures; the cover of a record does not count.
        still: it is one picture, which stands still for as long as one likes.
        duration: seconds from its beginning to the end of its pictures, as its container claims; 0 where it does not.
        whole: seconds from its beginning to its end, sound included, likewise.
    """

    sound: bool
    pictures: bool
    still: bool
    duration: float
    whole: float = 0.0


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """Look at a file without decoding it.

    Raises:
        VideoError: the file is missing, or no media.
    """
    with _opened(Path(path)) as container:
        stream = _moving(container)
        duration = whole = (container.duration or 0) / av.time_base
        if stream is not None and stream.duration:
            duration = (stream.start_time or 0) * float(stream.time_base) - _origin(container)
            duration += stream.duration * float(stream.time_base)
        family = container.format.name
        still = stream is not None and (family == "image2" or family.endswith("_pipe"))
        times = (0.0, 0.0) if still else (duration, whole)
        return VideoInfo(bool(container.streams.audio), stream is not None, still, *times)


def blocks(
    path: str | os.PathLike[str], frames: int | None = None, start: float = 0.0, end: float | None = None
) -> Iterator[NDArray[np.uint8]]:
    """Decode the first video stream of a file, or the pictures that are on the screen from `start` to `end`.

    Args:
        path: the file.
        frames: how many frames, evenly spread from the first to the last, as the reference picks them; of a shorter
            video some are given more than once. None for all of them.
        start: where to begin, in seconds.
        end: where to stop, in seconds; None means the end of the file.

    Yields:
        (up to 16, 3, height, width) RGB.

    Raises:
        VideoError: the file is missing, holds no pictures, or they cannot be decoded.
    """
    path = Path(path)
    if frames is not None and frames < 1:
        raise VideoError(f"got {frames} frames, expected 1 or more, or None for all")
    if not 0 <= start < math.inf or (end is not None and not start < end):
        raise VideoError(f"{path}: got start {start} s and end {end} s, expected 0 <= start < end")
    images = map(_rgb, _shown(path, start, end)) if frames is None else _spread(path, frames, start, end)
    first = next(images, None)
    if first is None:
        raise VideoError(f"{path}: holds no pictures; give a video")
    whole = itertools.chain([first], images)
    while block := list(itertools.islice(whole, BLOCK_FRAMES)):
        yield np.stack(block).transpose(0, 3, 1, 2)


def pictures_at(path: str | os.PathLike[str], times: Sequence[float]) -> list[NDArray[np.uint8]]:
    """The pictures that are on the screen at some moments: the last one to begin by then, or the first of all.

    Args:
        path: the file.
        times: seconds, ascending.

    Returns:
        (height, width, 3) RGB for each moment.

    Raises:
        VideoError: the file is missing, holds no pictures, or they cannot be decoded.
    """
    taken: list[NDArray[np.uint8]] = []
    held: Any = None
    for frame, time, _ in _decoded(Path(path), times[0]):
        while len(taken) < len(times) and time > times[len(taken)] + _FUZZ_SECONDS:
            taken.append(_rgb(frame if held is None else held))
        if len(taken) == len(times):
            return taken
        held = frame
    if held is None:
        raise VideoError(f"{path}: no picture can be decoded; get a whole copy")
    return taken + [_rgb(held)] * (len(times) - len(taken))


def _spread(path: Path, frames: int, start: float, end: float | None) -> Iterator[NDArray[np.uint8]]:
    """The frames numbered `int(i * (total - 1) / (frames - 1))`, total counted by decoding."""
    total = sum(1 for _ in _shown(path, start, end))
    wanted = [int(i * (total - 1) / max(1, frames - 1)) for i in range(frames)] if total else []
    for number, frame in enumerate(_shown(path, start, end)):
        for _ in range(wanted.count(number)):
            yield _rgb(frame)


def _rgb(frame: Any) -> NDArray[np.uint8]:
    image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    return image


def _shown(path: Path, start: float, end: float | None) -> Iterator[Any]:
    """Frames that are on the screen from `start` to `end`: the one that is there at `start`, and those that follow."""
    if start == 0 and end is None:
        yield from (frame for frame, *_ in _decoded(path, 0.0))
        return
    held: Any = None  # the last frame that begins by `start`
    until, begun = 0.0, False
    for frame, time, length in _decoded(path, start):
        if end is not None and time >= end - _FUZZ_SECONDS:
            break
        if time <= start + _FUZZ_SECONDS:
            held, until = frame, time + length
            continue
        if held is not None and not begun:
            yield held
        begun = True
        yield frame
    if not begun:
        if held is None or until + _SLACK_SECONDS <= start:
            raise VideoError(
                f"{path}: no picture is on the screen from {start} s on; give a part that has some"
            )
        yield held


def _decoded(path: Path, start: float) -> Iterator[tuple[Any, float, float]]:
    """Frames from one at or before `start` on, when each begins, and how long it lasts by its own account."""
    for jump in (True, False) if start else (False,):
        with _opened(path) as container:
            stream = _moving(container)
            if stream is None:
                raise VideoError(f"{path}: has no pictures; give a video")
            stream.thread_type = "AUTO"
            origin, base = _origin(container), float(stream.time_base or 0)
            step = 1 / float(stream.average_rate or 25)
            if jump:
                try:
                    container.seek(int((start + origin) / base), stream=stream)
                except (av.FFmpegError, ValueError, ZeroDivisionError):
                    continue
            landed = not jump
            for number, frame in enumerate(container.decode(stream)):
                time = number * step if frame.pts is None else frame.pts * base - origin
                if not landed and (frame.pts is None or time > start + _FUZZ_SECONDS):
                    break  # the jump went too far, or nobody knows how far: from the beginning, then
                landed = True
                yield frame, time, frame.duration * base if frame.duration else step
            if landed:
                return


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise VideoError(f"{path}: no such file; give a video")
    try:
        # `file:` keeps colons in names harmless, the list keeps playlists from fetching
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
            yield container
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"{path}: cannot be read as a video ({reason}); give a video file") from error


def _moving(container: Any) -> Any:
    """The first video stream that is no cover of a record; None without one."""
    return next((s for s in container.streams.video if not s.disposition & Disposition.attached_pic), None)


def _origin(container: Any) -> float:
    """When the file begins by its own clock, in seconds, as for its sound."""
    return 0.0 if container.start_time is None else max(0.0, container.start_time / av.time_base)
