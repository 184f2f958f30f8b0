"""The sound of MP4, M4A, MOV, MKV, WebM and whatever else libsndfile does not open, through PyAV (FFmpeg).

A sample's place in time follows the container's clock, as a player would: the encoder's delay is taken off
where the container tells it, sound that begins after the picture is preceded by silence, and a hole in the
stream is silence.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np

from peaframe.audio.source import AudioInfo, Samples, Source, mix_down
from peaframe.errors import AudioError

_SLACK_SECONDS = 0.1  # containers round durations to packets and milliseconds
_GAP_SECONDS = 0.1  # timestamps jitter by less than this
_SEEK_BACK_SECONDS = 0.2  # decoders may swallow a packet or two after a jump
_GRID_FRAMES = 8
_GRID_SECONDS = 0.002
_SILENCE_SAMPLES = 1 << 16
_Frame: TypeAlias = tuple[int | None, Samples]
_FULL_SCALE = {"u1": 128.0, "i2": 32768.0, "i4": 2147483648.0, "i8": 9223372036854775808.0}


def open_source(path: Path) -> Source:
    """Open the first audio stream of a media file.

    Raises:
        AudioError: FFmpeg cannot read the file, or it has no sound.
    """
    try:
        with _open(path) as container:
            if not container.streams.audio:
                raise AudioError(f"{path}: has no audio stream; give a recording or a video with sound")
            stream = container.streams.audio[0]
            context = stream.codec_context
            if not context or not context.sample_rate or not context.layout.nb_channels:
                raise AudioError(f"{path}: holds no sound that can be decoded; give an audio file")
            rate, channels = int(context.sample_rate), int(context.layout.nb_channels)
            codec = f"{container.format.name.split(',')[0]}/{context.name}"
            duration = _duration(container, stream)
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{path}: cannot be read as a recording ({reason}); give an audio file") from error
    if duration <= 0:
        raise AudioError(f"{path}: holds no samples; give a recording with sound")
    last = round((duration + 1) * rate)
    return Source(
        info=AudioInfo(path, duration, rate, channels, codec),
        chunks=lambda first: _chunks(path, rate, first, last),
        slack=_SLACK_SECONDS,
    )


def _open(path: Path) -> Any:
    """Open for reading; `file:` keeps colons in names harmless, the list keeps playlists from fetching."""
    return av.open(f"file:{path}", metadata_errors="ignore", options={"protocol_whitelist": "file"})


def _origin(container: Any) -> float:
    """When the recording begins by the container's clock, in seconds; what lies before 0 is encoder delay."""
    return 0.0 if container.start_time is None else max(0.0, container.start_time / 1_000_000)


def _duration(container: Any, stream: Any) -> float:
    """Until when the audio stream lasts, in seconds, from the header if that can be trusted, else counted."""
    base, origin, family = float(stream.time_base), _origin(container), container.format.name
    if "mov" in family and stream.duration:
        return float((stream.start_time or 0) * base - origin + stream.duration * base)
    if "matroska" in family:
        for key, text in stream.metadata.items():
            hours, minutes, seconds = ([*text.split(":"), "", ""])[:3]
            if key.startswith("DURATION") and hours.isdigit() and minutes.isdigit():
                return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - origin
        if len(container.streams) == 1 and container.duration:
            return float(container.duration / 1_000_000)
    return _counted(container, stream)


def _counted(container: Any, stream: Any) -> float:
    base, origin, end = float(stream.time_base), _origin(container), 0.0
    try:
        for packet in container.demux(stream):
            if packet.pts is not None:
                end = max(end, (packet.pts + (packet.duration or 0)) * base - origin)
    except av.FFmpegError:
        pass  # what lies before the damage counts; decoding will meet it again
    return end


def _chunks(path: Path, rate: int, first: int, last: int) -> Iterator[Samples]:
    """The mean of the channels from stored sample `first` on; silence is filled in up to `last` at most."""
    with _open(path) as container:
        frames = _frames_near(container, rate, first) if first else None
        if frames is not None:
            yield from _timed(frames, rate, first, last)
            return
    with _open(path) as container:
        yield from _timed(_frames(container, rate), rate, first, last)


def _timed(frames: Iterator[_Frame], rate: int, first: int, last: int) -> Iterator[Samples]:
    """Lay frames end to end from sample `first` on, with silence where the clock runs ahead of them."""
    position: int | None = None
    for at, mono in frames:
        late = 0 if at is None else at - (position or 0)
        if position is None:
            position = 0 if late > 0 else (at or 0)
        elif late <= _GAP_SECONDS * rate:
            late = 0
        silent_from, silent_to = max(position, first), position + late
        if late > 0 and silent_to <= last:
            for start in range(silent_from, silent_to, _SILENCE_SAMPLES):
                yield np.zeros(min(_SILENCE_SAMPLES, silent_to - start), np.float32)
            position = silent_to
        kept = mono[max(0, first - position) :]
        position += len(mono)
        if len(kept):
            yield kept


def _frames(container: Any, rate: int) -> Iterator[_Frame]:
    """Decode from where the container stands: (number of a frame's first sample by its clock, samples)."""
    stream, origin = container.streams.audio[0], _origin(container)
    delay = stream.codec_context.delay
    try:
        for frame in container.decode(stream):
            if frame.sample_rate != rate:
                return
            at = None if frame.pts is None else round((float(frame.pts * frame.time_base) - origin) * rate)
            if at is not None and at < 0 and abs(at + delay) < _GRID_SECONDS * rate:
                at = -delay  # FFmpeg before 8.1 leaves it to us, and tells it in milliseconds
            values = frame.to_ndarray()
            values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
            scale = _FULL_SCALE.get(values.dtype.str[1:])
            if scale is not None:
                values = values / np.float64(scale) - (1.0 if values.dtype == np.uint8 else 0.0)
            yield at, mix_down(values)
    except av.FFmpegError:
        return


def _frames_near(container: Any, rate: int, first: int) -> Iterator[_Frame] | None:
    """Frames from at or before sample `first` on, by seeking; None where that cannot be done to the sample.

    Matroska's timestamps are whole milliseconds. Where all frames are equally long, and only there, they
    still tell which frame it is, hence which sample.
    """
    if container.format.name == "mp3":  # only such without a header come here: a jump lands by a guess
        return None
    stream = container.streams.audio[0]
    head, step = 0, 1
    if float(stream.time_base) * rate > 1.001:
        opening = list(itertools.islice(_frames(container, rate), _GRID_FRAMES))
        lengths = [len(mono) for _, mono in opening]
        if len(lengths) < _GRID_FRAMES or len(set(lengths[1:])) > 1:
            return None
        head, step = (opening[0][0] or 0) + lengths[0], lengths[1]
    seconds = max(0.0, first / rate - _SEEK_BACK_SECONDS) + _origin(container)
    try:
        container.seek(int(seconds / float(stream.time_base)), stream=stream)
    except av.FFmpegError:
        return None
    frames = _frames(container, rate)
    at, mono = next(frames, (None, None))
    if at is None or mono is None:
        return None
    exact = head + round((at - head) / step) * step if at else 0
    if exact > first or abs(exact - at) > _GRID_SECONDS * rate:
        return None
    return itertools.chain([(exact, mono)], frames)
