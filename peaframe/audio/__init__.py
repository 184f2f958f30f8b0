"""Recordings in: any container, rate, channel count and bit depth, out as 48 kHz mono float32.

libsndfile decodes what it can, PyAV the rest; soxr (quality HQ) resamples the mean of the channels as a
stream. The decoder's chunks do not depend on the block size, so blocks joined are bit-equal to `read`. A
part is decoded from a whole second at least one second earlier, where the samples of every rate coincide
with those of 48 kHz, so it equals the same slice of the whole: to 1e-4 for lossless codings, and for lossy
ones as far as their decoder settles within that second (AAC may fill bands with noise that is random on
purpose).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from peaframe import clock
from peaframe.audio import ffmpeg, libsndfile
from peaframe.audio.source import LOUDEST, AudioInfo, Samples, Source
from peaframe.errors import AudioError, OptionError
from peaframe.files import atomic_path

__all__ = ["AudioInfo", "blocks", "probe", "read", "write_wav"]

_PREROLL_SECONDS = 1


def probe(path: str | os.PathLike[str]) -> AudioInfo:
    """What a recording says about itself, without decoding it.

    Raises:
        AudioError: the file is missing, a folder, empty, or holds no sound that can be read.
    """
    return _source(path).info


def blocks(
    path: str | os.PathLike[str],
    seconds: float = 30.0,
    start: float | None = None,
    end: float | None = None,
) -> Iterator[Samples]:
    """Decode a recording, or [start, end) of it, block by block in bounded memory.

    Args:
        path: The recording.
        seconds: Length of a block; the last one may be shorter.
        start: Where to begin, in seconds; None means the recording's start.
        end: Where to stop, in seconds; None means the recording's end.

    Returns:
        An iterator over float32 arrays (samples,), 48 kHz mono, nominally within [-1, 1].

    Raises:
        AudioError: the file cannot be read, or start and end do not lie in it in this order; while iterating:
            it is cut or damaged before the end of what was asked for, or holds NaN or infinite samples, or some that
            are far over full scale, as floating-point files in another unit do.
        OptionError: `seconds` is less than a sample.
    """
    if not math.isfinite(seconds) or clock.samples_of_seconds(seconds) < 1:
        raise OptionError(f"got blocks of {seconds} s, expected a positive length in seconds")
    source = _source(path)
    first, last = _span(source, start, end)
    return _regroup(_samples(source, first, last), clock.samples_of_seconds(seconds))


def read(path: str | os.PathLike[str], start: float | None = None, end: float | None = None) -> Samples:
    """Decode a recording, or [start, end) of it, at once: float32 (samples,), 48 kHz mono.

    Raises:
        AudioError: as `blocks` does.
    """
    return np.concatenate(list(blocks(path, start=start, end=end)))


def write_wav(path: str | os.PathLike[str], waveform: Samples) -> None:
    """Write 48 kHz mono sound (samples,) as 16 bit PCM WAV, whole or not at all; beyond ±1 it is clipped.

    Raises:
        AudioError: `waveform` is not one-dimensional, is empty, or has NaN or infinite samples.
        FormatError: the file cannot be written.
    """
    values = np.asarray(waveform, dtype=np.float32)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise AudioError(f"got a waveform of shape {values.shape}, expected finite samples in one dimension")
    pcm = np.clip(np.rint(values * 32768.0), -32768, 32767).astype(np.int16)
    with atomic_path(path) as temp, temp.open("wb") as file:
        soundfile.write(file, pcm, clock.SAMPLE_RATE, format="WAV", subtype="PCM_16")


def _source(path: str | os.PathLike[str]) -> Source:
    given = Path(path)
    try:
        if given.is_dir():
            raise AudioError(f"{path}: is a folder; give a recording")
        if not given.exists():
            streamed = str(path) == "-" or "://" in str(path)
            instead = (
                "save the sound to a file first (peaframe annotate takes URLs)"
                if streamed
                else "check the name"
            )
            raise AudioError(f"{path}: no such file; {instead}")
        if not given.is_file():
            raise AudioError(f"{path}: is not a regular file; save the sound to a file first")
        with given.open("rb") as file:
            if not file.read(1):
                raise AudioError(f"{path}: is empty (0 bytes); give a recording")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{path!s}: cannot be opened ({reason}); check the name and permissions") from error
    absolute = Path(os.path.abspath(given))
    return libsndfile.open_source(absolute) or ffmpeg.open_source(absolute)


def _span(source: Source, start: float | None, end: float | None) -> tuple[int, int | None]:
    """The range asked for, in samples at 48 kHz; None as its end means to the end of the recording."""
    path, duration = source.info.path, source.info.duration
    for name, value in (("start", start), ("end", end)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise AudioError(f"{path}: got {name} {value}, expected seconds from 0 to {duration:.3f}")
    first = 0 if start is None else clock.samples_of_seconds(start)
    last = None if end is None else clock.samples_of_seconds(end)
    if first and first >= clock.samples_of_seconds(duration):
        raise AudioError(f"{path}: start {start} s is not before the recording's end at {duration:.3f} s")
    if last is not None and last > clock.samples_of_seconds(duration + source.slack):
        raise AudioError(f"{path}: end {end} s is beyond the recording's end at {duration:.3f} s")
    if last is not None and first >= last:
        raise AudioError(f"{path}: start {0 if start is None else start} s is not before end {end} s")
    return first, last


def _samples(source: Source, first: int, last: int | None) -> Iterator[Samples]:
    """Samples [first, last) at 48 kHz, in pieces of whatever size decoding gives."""
    origin = max(0, first // clock.SAMPLE_RATE - _PREROLL_SECONDS)
    position = origin * clock.SAMPLE_RATE
    for piece in _resampled(source, origin):
        kept = piece[max(0, first - position) : None if last is None else max(0, last - position)]
        position += len(piece)
        if len(kept):
            yield kept
        if last is not None and position >= last:
            return
    promised = clock.samples_of_seconds(max(0.0, source.info.duration - source.slack))
    needed = promised if last is None else min(last, promised)
    if position <= first or position + 1 < needed or (last is None and not source.whole):
        readable = clock.seconds_of_samples(position)
        raise AudioError(
            f"{source.info.path}: is cut short or damaged, only the first {readable:.2f} s can be read; "
            "get a whole copy, or ask for a part that ends earlier"
        )


def _resampled(source: Source, origin: int) -> Iterator[Samples]:
    """The recording from the whole second `origin` on, at 48 kHz; never nothing if there is a sample."""
    rate = source.info.sample_rate
    stream = soxr.ResampleStream(rate, clock.SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    heard = made = 0
    sample = np.zeros(0, np.float32)
    for chunk in source.chunks(origin * rate):
        fine = np.abs(chunk) <= LOUDEST  # which is false for NaN
        if not fine.all():
            first = int(np.argmin(fine))
            moment, value = origin + (heard + first) / rate, float(chunk[first])
            what = (
                f"samples up to {value:g}, expected -1 to 1"
                if math.isfinite(value)
                else "NaN or infinite samples"
            )
            raise AudioError(f"{source.info.path}: has {what}, first at {moment:.3f} s; re-export it")
        piece = chunk if rate == clock.SAMPLE_RATE else stream.resample_chunk(chunk)
        heard, made, sample = heard + len(chunk), made + len(piece), chunk[:1]
        yield piece
    if heard and rate != clock.SAMPLE_RATE:
        tail = stream.resample_chunk(np.zeros(0, np.float32), last=True)
        yield tail if made + len(tail) else sample


def _regroup(pieces: Iterator[Samples], size: int) -> Iterator[Samples]:
    """Pieces of any size as blocks of exactly `size` samples, the last one shorter."""
    held: list[Samples] = []
    count = 0
    for piece in pieces:
        held.append(piece)
        count += len(piece)
        if count < size:
            continue
        joined = np.concatenate(held)
        cut = count - count % size
        for begin in range(0, cut, size):
            yield joined[begin : begin + size].copy()
        held, count = [joined[cut:].copy()], count - cut
    if count:
        yield np.concatenate(held)
