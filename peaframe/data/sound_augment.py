"""Augmentation of recordings, labels following: speed, shift, filters, a room, noise, gain, real codecs.

What is done comes in this order, as it would to a sound that is played, heard in a room, and recorded. Shifts are
those of the DCASE baselines and FlexSED (arXiv 2509.18606); the ranges are ours.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy import fft

from peaframe.clock import HOP_SAMPLES, SAMPLE_RATE, frame_count, frames_of_seconds
from peaframe.data.augment import AugmentConfig, Waveform, change_speed, filter_and_room
from peaframe.errors import OptionError

Targets = NDArray[Any]

# Container, coding, sample rate.
_CODECS = {
    "mp3": ("MP3", "MPEG_LAYER_III", SAMPLE_RATE),
    "opus": ("OGG", "OPUS", SAMPLE_RATE),
    "vorbis": ("OGG", "VORBIS", SAMPLE_RATE),
    "gsm": ("WAV", "GSM610", 8_000),
    "ulaw": ("WAV", "ULAW", 8_000),
}
_MOST_DELAY_SAMPLES = SAMPLE_RATE // 10
_DROWNED_DB = 18.0  # as `masked_db` of soundscapes


@dataclass(frozen=True)
class SoundAugment:
    """What happens to items; nothing unless it is asked for.

    Attributes:
        speed: probability of a speed change, pitch, length and labels following.
        semitones: the largest, up or down.
        shift: probability of a shift in a circle, by whole frames: what leaves at the end comes in at the start.
        shift_seconds: the farthest, either way.
        filter: probability of a smooth random frequency response.
        filter_db: its largest gain or loss.
        band_limit: probability of a low-pass or high-pass, as of a poor recording.
        room: probability of reverberation.
        noise: probability of noise, anything from white to brown.
        snr_db: range of the item's mean level over the noise's.
        gain: probability of another level.
        gain_db: its range.
        codec: probability of being coded and decoded.
        codecs: by which, each as likely: mp3, opus, vorbis, and of telephones (8 kHz) gsm and ulaw.
        codec_level: range of how hard mp3, opus and vorbis compress, from 0 (best) to 1 (smallest).

    Raises:
        OptionError: a probability is not in [0, 1], a range is none, a size is negative, a codec is unknown, or is
            not in this machine's libsndfile.
    """

    speed: float = 0.0
    semitones: float = 3.0
    shift: float = 0.0
    shift_seconds: float = 5.0
    filter: float = 0.0
    filter_db: float = 9.0
    band_limit: float = 0.0
    room: float = 0.0
    noise: float = 0.0
    snr_db: tuple[float, float] = (10.0, 40.0)
    gain: float = 0.0
    gain_db: tuple[float, float] = (-12.0, 6.0)
    codec: float = 0.0
    codecs: tuple[str, ...] = tuple(_CODECS)
    codec_level: tuple[float, float] = (0.3, 0.95)

    def __post_init__(self) -> None:
        for name in ("speed", "shift", "filter", "band_limit", "room", "noise", "gain", "codec"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"got {name} {getattr(self, name)}, expected a probability in [0, 1]")
        for name in ("semitones", "shift_seconds", "filter_db"):
            if not 0 <= getattr(self, name) < math.inf:
                raise OptionError(f"got {name} {getattr(self, name)}, expected a number, 0 or more")
        for name in ("snr_db", "gain_db", "codec_level"):
            low, high = getattr(self, name)
            if not -math.inf < low <= high < math.inf:
                raise OptionError(f"got {name} ({low}, {high}), expected two numbers, the smaller one first")
        if not (self.codec_level[0] >= 0 and self.codec_level[1] <= 1):
            raise OptionError(f"got codec_level {self.codec_level}, expected numbers in [0, 1]")
        strange = [name for name in self.codecs if name not in _CODECS]
        if strange or (self.codec > 0 and not self.codecs):
            raise OptionError(f"got codecs {list(self.codecs)}, expected some of {', '.join(_CODECS)}")
        absent = [name for name in self.codecs if self.codec > 0 and not _is_there(name)]
        if absent:
            raise OptionError(
                f"codecs {', '.join(absent)} are not in libsndfile {soundfile.__libsndfile_version__}; leave them "
                "out, or upgrade soundfile"
            )


def augment_sound(
    waveform: Waveform, targets: Targets, augment: SoundAugment, rng: np.random.Generator
) -> tuple[Waveform, Targets]:
    """Change a recording, and what is said of it where that changes, too.

    - Speed and shift: a new frame says what was said where its middle was; a frame that no middle came from is
      joined to the nearest one, where heard goes before unknown, and unknown before not heard.
    - Room: a label that was heard, or may have been, is unknown instead of not heard for as long after as the
      reverberation lasts (0.1 to 1.0 s, until it has lost 60 dB).
    - Noise: heard becomes unknown in frames where the noise is 18 dB louder than all else, there and in the frames
      beside it (speed and shift leave labels exact to a frame, no more).

    Args:
        waveform: (samples,) float32, 48 kHz.
        targets: (frames, labels), +1 heard, -1 not heard, 0 unknown; one row for each 1920 samples begun.
        augment: what may happen.
        rng: draws what does.

    Returns:
        Both, changed, of the same types; what was given stays as it was. Only a speed change alters their lengths.

    Raises:
        OptionError: the shapes do not fit.
    """
    if waveform.ndim != 1 or not waveform.size or len(targets) != frame_count(len(waveform)):
        raise OptionError(
            f"got sound of shape {waveform.shape} and targets of shape {targets.shape}, expected samples in one "
            f"dimension and a row of targets for each {HOP_SAMPLES} of them"
        )
    x, targets = waveform.astype(np.float32), targets.copy()
    if rng.random() < augment.speed:
        x, targets = _speed(x, targets, float(rng.uniform(-augment.semitones, augment.semitones)))
    if rng.random() < augment.shift:
        most = frames_of_seconds(augment.shift_seconds)
        x, targets = _shift(x, targets, int(rng.integers(-most, most + 1)))
    x, targets = _room(x, targets, augment, rng)
    if rng.random() < augment.noise:
        x, targets = _noise(x, targets, float(rng.uniform(*augment.snr_db)), rng)
    if rng.random() < augment.gain:
        x = x * np.float32(10 ** (rng.uniform(*augment.gain_db) / 20))
    if rng.random() < augment.codec:
        name = augment.codecs[int(rng.integers(len(augment.codecs)))]
        x = code(x, name, float(rng.uniform(*augment.codec_level)))
    return x, targets


def code(waveform: Waveform, codec: str, level: float = 0.5) -> Waveform:
    """Code and decode sound in memory.

    Args:
        waveform: (samples,) float32, 48 kHz; what is beyond ±1 is coded at a lower level.
        codec: mp3, opus, vorbis, gsm or ulaw.
        level: how hard the first three compress, from 0 to 1.

    Returns:
        As many samples; the codec's delay is measured, once in each process, and taken off.

    Raises:
        OptionError: the codec is unknown, or libsndfile refuses to use it.
    """
    if codec not in _CODECS:
        raise OptionError(f"got codec {codec!r}, expected one of {', '.join(_CODECS)}")
    peak = max(1.0, float(np.abs(waveform).max(initial=0)))
    try:
        delay = _delay(codec)
        decoded = _decoded(waveform / np.float32(peak), codec, level) * np.float32(peak)
    except soundfile.LibsndfileError as error:
        raise OptionError(
            f"codec {codec}: libsndfile {soundfile.__libsndfile_version__} cannot use it ({error.error_string}); "
            "leave it out, or upgrade soundfile"
        ) from error
    if delay < 0:
        decoded = np.pad(decoded, (-delay, 0))
    out: Waveform = decoded[max(0, delay) :][: len(waveform)]
    return out


def _is_there(codec: str) -> bool:
    container, coding, _ = _CODECS[codec]
    return coding in soundfile.available_subtypes(container)


def _decoded(waveform: Waveform, codec: str, level: float) -> Waveform:
    """What comes out, late by the codec's delay, with silence behind it."""
    container, coding, rate = _CODECS[codec]
    x = np.pad(waveform, (0, 2 * _MOST_DELAY_SAMPLES))
    samples = len(x)
    if rate != SAMPLE_RATE:
        x = soxr.resample(x, SAMPLE_RATE, rate, quality="HQ")
    file = io.BytesIO()
    options = {} if container == "WAV" else {"compression_level": min(level, 0.99)}  # MP3 has no 1.0
    with soundfile.SoundFile(file, "w", rate, 1, coding, format=container, **options) as writer:
        for begin in range(0, len(x), rate):  # by the second: Vorbis overflows its stack at long stretches
            writer.write(x[begin : begin + rate])
    file.seek(0)
    y, _ = soundfile.read(file, dtype="float32")
    if rate != SAMPLE_RATE:
        y = soxr.resample(y, rate, SAMPLE_RATE, quality="HQ")
    out: Waveform = np.pad(y, (0, max(0, samples - len(y)))).astype(np.float32)
    return out


@cache
def _delay(codec: str) -> int:
    """By how many samples a codec is late, by cross-correlation of half a second of dull noise."""
    noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE // 2)
    x = np.convolve(noise, np.hanning(48) / 48, mode="same").astype(np.float32)
    y = _decoded(x, codec, 0.5)
    size = len(x) + len(y)
    likeness = fft.irfft(fft.rfft(y, size) * np.conj(fft.rfft(x, size)), size)
    lags = np.arange(-_MOST_DELAY_SAMPLES, _MOST_DELAY_SAMPLES + 1)
    return int(lags[int(likeness[lags].argmax())])


def _follow(targets: Targets, moments: NDArray[np.float64]) -> Targets:
    """Targets on a new grid. `moments`: (new frames,) which old sample the middle of each is."""
    rows = np.minimum(moments // HOP_SAMPLES, len(targets) - 1).astype(np.int64)
    out = targets[rows]
    missed = np.setdiff1d(np.arange(len(targets)), rows)
    middles = (missed + 0.5) * HOP_SAMPLES
    if missed.size:
        nearest = np.abs(moments[:, None] - middles).argmin(axis=0)
        np.maximum.at(out, nearest, targets[missed])
    return out


def _middles(samples: int) -> NDArray[np.float64]:
    """The middle of each frame, in samples; of the last one, of what there is of it."""
    begins = np.arange(frame_count(samples)) * HOP_SAMPLES
    middles: NDArray[np.float64] = (begins + np.minimum(begins + HOP_SAMPLES, samples)) / 2
    return middles


def _speed(x: Waveform, targets: Targets, semitones: float) -> tuple[Waveform, Targets]:
    y = change_speed(x, SAMPLE_RATE, semitones)
    return y, _follow(targets, _middles(len(y)) * (len(x) / len(y)))


def _shift(x: Waveform, targets: Targets, frames: int) -> tuple[Waveform, Targets]:
    moments = (_middles(len(x)) - frames * HOP_SAMPLES) % len(x)
    return np.roll(x, frames * HOP_SAMPLES), _follow(targets, moments)


def _room(
    x: Waveform, targets: Targets, augment: SoundAugment, rng: np.random.Generator
) -> tuple[Waveform, Targets]:
    """Filters and a room; the loudest sample stays as loud as it was."""
    config = AugmentConfig(
        filter=augment.filter, filter_db=augment.filter_db, band_limit=augment.band_limit, room=augment.room
    )
    wet = filter_and_room(x, SAMPLE_RATE, config, rng)
    tail = frame_count(len(wet) - len(x))
    wet = wet[: len(x)]
    now = float(np.abs(wet).max())
    if now > 0:
        wet = wet * np.float32(float(np.abs(x).max()) / now)
    if tail:
        frames = np.arange(len(targets))[:, None]
        last = np.maximum.accumulate(np.where(targets != -1, frames, -tail - 1), axis=0)
        targets = np.where((targets == -1) & (frames - last <= tail), np.zeros((), targets.dtype), targets)
    return wet, targets


def _noise(
    x: Waveform, targets: Targets, snr_db: float, rng: np.random.Generator
) -> tuple[Waveform, Targets]:
    """Noise whose power falls as 1 / frequency^slope, the slope from 0 (white) to 2 (brown), flat below 20 Hz."""
    size = fft.next_fast_len(len(x), real=True)
    spectrum = fft.rfft(rng.standard_normal(size))
    hertz = np.maximum(np.arange(len(spectrum)) * (SAMPLE_RATE / size), 20.0)
    noise = fft.irfft(spectrum * hertz ** (-rng.uniform(0, 2) / 2), size)[: len(x)]
    level = float(np.sqrt(np.mean(x.astype(np.float64) ** 2)))
    noise *= level * 10 ** (-snr_db / 20) / max(float(np.sqrt(np.mean(noise**2))), 1e-30)
    quiet = _energy(x) < _energy(noise) * 10 ** (-_DROWNED_DB / 10)
    around = np.pad(quiet, 1, constant_values=True)
    drowned = quiet & around[:-2] & around[2:]
    targets = np.where(drowned[:, None] & (targets > 0), np.zeros((), targets.dtype), targets)
    return x + noise.astype(np.float32), targets


def _energy(x: NDArray[Any]) -> NDArray[np.float64]:
    """Of each frame, summed."""
    square = np.pad(x.astype(np.float64) ** 2, (0, -len(x) % HOP_SAMPLES))
    energy: NDArray[np.float64] = square.reshape(-1, HOP_SAMPLES).sum(axis=1)
    return energy
