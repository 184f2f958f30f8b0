"""Samples, frames and seconds: the only place that converts between them, in integers.

Audio runs at 48 000 samples a second; a frame is 1 920 samples, so there are 25 frames a second, 40 ms each
(PE-A-Frame's grid: `hop_length` of its DAC-VAE codec). Frame `t` covers samples `[1920 t, 1920 (t + 1))`.
"""

from __future__ import annotations

import math

SAMPLE_RATE = 48_000
HOP_SAMPLES = 1_920
FRAME_RATE = SAMPLE_RATE // HOP_SAMPLES
FRAME_SECONDS = 1 / FRAME_RATE

_FUZZ = 1e-6  # frames; far under a sample (5e-4), far over float noise of times up to years


def frame_count(samples: int) -> int:
    """How many frames hold `samples` samples: every sample lies in a frame, so it rounds up."""
    return -(-samples // HOP_SAMPLES)


def frame_start_seconds(frame: int) -> float:
    """When frame `frame` begins, in seconds."""
    return frame / FRAME_RATE


def frames_of_seconds(seconds: float) -> int:
    """The frame count nearest to a length of `seconds`; halves round up."""
    return math.floor(seconds * FRAME_RATE + 0.5 + _FUZZ)


def frame_at(seconds: float) -> int:
    """The frame that holds the moment `seconds`; a moment on an edge belongs to the later frame."""
    return math.floor(seconds * FRAME_RATE + _FUZZ)


def samples_of_seconds(seconds: float) -> int:
    """The sample count nearest to a length of `seconds`; halves round up."""
    return math.floor(seconds * SAMPLE_RATE + 0.5)


def seconds_of_samples(samples: int) -> float:
    """The length of `samples` samples, in seconds."""
    return samples / SAMPLE_RATE
