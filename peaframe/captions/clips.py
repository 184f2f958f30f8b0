"""Clips: a stretch of a recording or video, opened only as far as somebody asks."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from peaframe import audio, video
from peaframe.audio.source import Samples
from peaframe.errors import AudioError, VideoError

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Clip:
    """A row of the table.

    Attributes:
        media: the file as the table names it.
        path: where it is.
        start: where the clip begins, in seconds.
        end: where it ends; None means the end of the file.
        transcript: what is said in it, if the table tells.
    """

    media: str
    path: Path
    start: float = 0.0
    end: float | None = None
    transcript: str = ""


@dataclass(frozen=True)
class Streams:
    """What a file has.

    Attributes:
        sound: whether there is any.
        pictures: whether there are some; a record's cover does not count.
        seconds: how long it says it is.
    """

    sound: bool
    pictures: bool
    seconds: float


class OpenClip:
    """A clip whose sound and pictures are decoded when they are first wanted, and kept."""

    def __init__(self, clip: Clip, pictures: int = 4) -> None:
        """Look at the file's bytes, not yet at what they mean.

        Args:
            clip: which.
            pictures: how many to take from it, evenly spread.

        Raises:
            AudioError: the file is missing or cannot be opened.
        """
        self.clip, self._count = clip, pictures
        try:
            about = os.stat(clip.path)
            content = _content(str(clip.path), about.st_size, about.st_mtime_ns)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise AudioError(f"{clip.media}: cannot be opened ({reason}); check the name") from error
        what = f"{content} {clip.start!r} {clip.end!r} {pictures}"
        self.digest: str = hashlib.sha256(what.encode()).hexdigest()

    @cached_property
    def streams(self) -> Streams:
        """What the file has; raises AudioError if that is neither sound nor pictures."""
        found = _streams(self.clip.path)
        if found.sound or found.pictures:
            return found
        return Streams(True, False, audio.probe(self.clip.path).duration)

    @property
    def seconds(self) -> float:
        """How long the clip is, as far as the file says; raises AudioError as `streams` does."""
        end = self.streams.seconds if self.clip.end is None else self.clip.end
        return max(0.0, end - self.clip.start)

    @cached_property
    def sound(self) -> Samples:
        """The clip's sound (samples,), 48 kHz mono; raises AudioError."""
        return audio.read(self.clip.path, self.clip.start or None, self.clip.end)

    @cached_property
    def pictures(self) -> list[Picture]:
        """Pictures (height, width, 3) RGB, evenly spread over the clip; one of a still, none of a file without.

        Raises:
            VideoError: they cannot be decoded.
        """
        if not self.streams.pictures:
            return []
        return _pictures(self.clip, self._count)

    def forget(self) -> None:
        """Let go of sound and pictures; they are decoded again if wanted again."""
        self.__dict__.pop("sound", None)
        self.__dict__.pop("pictures", None)


@lru_cache(maxsize=4096)
def _content(path: str, size: int, modified: int) -> str:
    """SHA-256 of a file; many clips of one recording read it once."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _streams(path: Path) -> Streams:
    try:
        info = video.probe(path)
    except VideoError:
        return Streams(False, False, 0.0)
    return Streams(info.sound, info.pictures, info.whole)


def _pictures(clip: Clip, count: int) -> list[Picture]:
    """What is on the screen in the middle of each of `count` equal parts of the clip."""
    try:
        info = video.probe(clip.path)
        if info.still:
            return video.pictures_at(clip.path, [0.0])
        last = info.duration if clip.end is None else clip.end
        if not clip.start < last:
            raise VideoError(
                f"{clip.media}: start {clip.start} s is not before the pictures' end at {last:.3f} s"
            )
        times = [clip.start + (last - clip.start) * (i + 0.5) / count for i in range(count)]
        return video.pictures_at(clip.path, times)
    except VideoError as error:
        raise VideoError(str(error).replace(str(clip.path), clip.media)) from error
