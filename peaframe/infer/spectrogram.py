"""A picture of a recording's sound: pitch over time, in a fixed number of columns however long it is."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from peaframe.clock import SAMPLE_RATE

WINDOW_SAMPLES = 2_048
LOWEST_HERTZ, HIGHEST_HERTZ = 50.0, 20_000.0
BANDS = 128

_WINDOWS_PER_COLUMN = 32  # 1.4 s of sound; of longer columns that much is looked at, spread evenly
_ROWS = 512  # windows transformed at a time: 8 MiB


def mel(hertz: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Pitch on the mel scale (O'Shaughnessy 1987): nearly linear under 1 kHz, logarithmic above."""
    return np.asarray(2595 * np.log10(1 + np.asarray(hertz) / 700))


def spectrogram(
    blocks: Iterable[NDArray[np.float32]], samples: int, columns: int = 1_000
) -> NDArray[np.float32]:
    """Mel-spaced levels of a recording, read once in bounded memory.

    Args:
        blocks: consecutive stretches of samples at 48 kHz, of any lengths.
        samples: how many samples to draw; 1 or more. Blocks may hold more; what they lack is silence.
        columns: how many columns to draw at most.

    Returns:
        Mean power density in dB, (columns, `BANDS`), evenly spaced over the samples in time and, in mel, from
        `LOWEST_HERTZ` to `HIGHEST_HERTZ`.
    """
    columns = max(1, min(columns, samples * 8 // WINDOW_SAMPLES))
    each = -(-samples // (columns * WINDOW_SAMPLES // 2))
    each = max(1, min(each, _WINDOWS_PER_COLUMN))
    starts = np.linspace(0, max(0, samples - WINDOW_SAMPLES), columns * each).astype(np.int64)
    bands = _bands()
    power = np.zeros((columns, BANDS), dtype=np.float32)
    kept, first, done = np.zeros(0, dtype=np.float32), 0, 0

    def draw(until: int) -> None:
        """Add all windows up to the one at index `until`; `kept` holds them."""
        nonlocal done
        taper = np.hanning(WINDOW_SAMPLES).astype(np.float32)
        for row in range(done, until, _ROWS):
            some = np.arange(row, min(row + _ROWS, until))
            clips = kept[(starts[some] - first)[:, None] + np.arange(WINDOW_SAMPLES)]
            spectrum = np.fft.rfft(clips * taper, axis=1)
            np.add.at(power, some // each, (np.abs(spectrum) ** 2).astype(np.float32) @ bands)
        done = until

    for block in blocks:
        kept = np.concatenate((kept, block))
        draw(int(np.searchsorted(starts, first + len(kept) - WINDOW_SAMPLES, side="right")))
        if done == len(starts):
            break
        dropped = min(len(kept), int(starts[done]) - first)
        kept, first = kept[dropped:], first + dropped
    if done < len(starts):
        kept = np.pad(kept, (0, int(starts[-1]) + WINDOW_SAMPLES - first - len(kept)))
        draw(len(starts))
    return np.asarray(10 * np.log10(power / each + 1e-12), dtype=np.float32)


def _bands() -> NDArray[np.float32]:
    """How much of each FFT bin lies in each band, over the band's width: (bins, bands)."""
    steps = np.linspace(mel(LOWEST_HERTZ), mel(HIGHEST_HERTZ), BANDS + 1)
    edges = 700 * (10 ** (steps / 2595) - 1) * WINDOW_SAMPLES / SAMPLE_RATE
    bins = np.arange(WINDOW_SAMPLES // 2 + 1)[:, None]
    inside = np.minimum(edges[1:], bins + 0.5) - np.maximum(edges[:-1], bins - 0.5)
    return np.asarray(np.clip(inside, 0, None) / np.diff(edges), dtype=np.float32)
