"""Changes a sound can undergo before it is mixed: cut, speed and pitch, filters, band limits, a room.

Every function takes and gives float32 samples and draws from the `numpy.random.Generator` it is handed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy import fft

Waveform = NDArray[np.float32]


@dataclass(frozen=True)
class AugmentConfig:
    """How often and how far sounds are changed.

    Attributes:
        cut: probability of keeping only a part.
        speed: probability of a speed change, pitch following.
        semitones: largest speed change, in semitones.
        filter: probability of a smooth random frequency response.
        filter_db: its largest gain or loss.
        band_limit: probability of a low-pass or high-pass, as of a poor recording.
        room: probability of reverberation.
    """

    cut: float = 0.25
    speed: float = 0.5
    semitones: float = 3.0
    filter: float = 0.6
    filter_db: float = 9.0
    band_limit: float = 0.3
    room: float = 0.35


def cut(x: Waveform, rate: int, rng: np.random.Generator) -> Waveform:
    """Keep a random part of at least 0.4 s, faded over 5 ms at new ends."""
    shortest = int(0.4 * rate)
    if len(x) <= shortest:
        return x
    length = int(rng.integers(shortest, len(x)))
    start = int(rng.integers(0, len(x) - length + 1))
    return fade(x[start : start + length], rate)


def fade(x: Waveform, rate: int, seconds: float = 0.005) -> Waveform:
    """Fade both ends linearly."""
    n = min(int(seconds * rate), len(x) // 2)
    if n == 0:
        return x
    y: Waveform = x.copy()
    ramp = np.linspace(0, 1, n, dtype=np.float32)
    y[:n] *= ramp
    y[-n:] *= ramp[::-1]
    return y


def change_speed(x: Waveform, rate: int, semitones: float) -> Waveform:
    """Play faster and higher (positive) or slower and lower by `semitones`."""
    y: Waveform = soxr.resample(x, rate * 2 ** (semitones / 12), rate, quality="LQ").astype(np.float32)
    return y if len(y) else x


def filter_and_room(x: Waveform, rate: int, config: AugmentConfig, rng: np.random.Generator) -> Waveform:
    """Apply a random frequency response, band limits and a room, all in one spectrum product."""
    response = rng.random() < config.filter
    limit = rng.random() < config.band_limit
    room = rng.random() < config.room
    if not (response or limit or room):
        return x
    impulse = room_impulse(rate, rng) if room else np.ones(1, dtype=np.float32)
    n = fft.next_fast_len(len(x) + len(impulse), real=True)
    spectrum = fft.rfft(x, n)
    if room:
        spectrum *= fft.rfft(impulse, n)
    if response or limit:
        octaves = np.log2(np.maximum(np.arange(len(spectrum)) * (rate / n), 20.0) / 20.0)
        gain_db = np.zeros(len(spectrum), dtype=np.float32)
        if response:
            knots = np.linspace(0, octaves[-1], 7)
            gain_db += np.interp(octaves, knots, rng.uniform(-config.filter_db, config.filter_db, 7))
        if limit:
            if rng.random() < 0.7:
                gain_db -= 36 * np.maximum(octaves - np.log2(rng.uniform(1200, 7500) / 20), 0)
            if rng.random() < 0.5:
                gain_db -= 24 * np.maximum(np.log2(rng.uniform(60, 500) / 20) - octaves, 0)
        spectrum *= 10 ** (np.maximum(gain_db, -80) / 20)
    wet: Waveform = fft.irfft(spectrum, n)[: len(x) + len(impulse) - 1].astype(np.float32)
    return wet


def room_impulse(rate: int, rng: np.random.Generator) -> Waveform:
    """A made-up room: the direct sound, then decaying noise whose treble dies sooner.

    The reverberation time is 0.1 to 1.0 s, the direct-to-reverberant ratio -3 to 15 dB.
    """
    rt60 = float(rng.uniform(0.1, 1.0))
    n = int(rt60 * rate)
    t = np.arange(n, dtype=np.float32) / rate
    noise = rng.standard_normal(n).astype(np.float32)
    dull = np.convolve(noise, np.ones(4, dtype=np.float32) / 4, mode="same")
    tail = noise * np.exp(-13.8 * t / rt60) + 2 * dull * np.exp(-6.9 * t / rt60)
    tail[: int(rng.uniform(0.001, 0.02) * rate)] = 0
    energy = float(np.sum(tail**2))
    if energy > 0:
        tail *= 10 ** (-rng.uniform(-3, 15) / 20) / np.sqrt(energy)
    tail[0] = 1.0
    impulse: Waveform = tail.astype(np.float32)
    return impulse


def augment(x: Waveform, rate: int, config: AugmentConfig, rng: np.random.Generator) -> Waveform:
    """All of the above, each with its probability; the loudest sample stays where it was."""
    peak = float(np.abs(x).max())
    if rng.random() < config.cut:
        x = cut(x, rate, rng)
    if rng.random() < config.speed:
        x = change_speed(x, rate, float(rng.uniform(-config.semitones, config.semitones)))
    x = filter_and_room(x, rate, config, rng)
    now = float(np.abs(x).max())
    return x * np.float32(peak / now) if now > 0 else x
