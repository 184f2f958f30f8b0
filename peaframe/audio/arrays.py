"""Samples that somebody has in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from peaframe.audio.source import LOUDEST
from peaframe.errors import AudioError

WHOLE = {"int16": (0, 2**15), "int32": (0, 2**31), "uint8": (128, 128)}
"""What whole numbers stand for in a WAV file: the zero, and what is full scale."""


def from_array(source: Any) -> NDArray[np.float32]:
    """Mono samples (samples,) at 48 kHz as float32 in [-1, 1]; int16, int32 and uint8 are scaled as WAV files are.

    Raises:
        AudioError: No array of numbers, another shape, no samples, one that is not finite, or far over full scale.
    """
    try:
        samples = np.asarray(source)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; tensors on a GPU or with gradients
        reason = str(error).partition("\n")[0]
        raise AudioError(
            f"got {type(source).__name__} that is no NumPy array ({reason}); expected samples (samples,) at 48 kHz"
        ) from error
    if samples.ndim != 1 or samples.size == 0:
        what = "an array" if isinstance(source, np.ndarray) else f"{type(source).__name__}, so an array"
        raise AudioError(
            f"got {what} of shape {samples.shape}, expected mono samples (samples,) at 48 kHz, not 0"
        )
    if (scale := WHOLE.get(samples.dtype.name)) is not None:
        zero, full = scale
        return ((samples.astype(np.float64) - zero) / full).astype(np.float32)
    if samples.dtype.kind != "f":
        raise AudioError(
            f"got samples of {samples.dtype}, expected floating point in [-1, 1], or {', '.join(WHOLE)} as WAV "
            "files hold them"
        )
    if not np.isfinite(samples).all():
        raise AudioError("got an array with NaN or infinite samples, expected finite numbers in [-1, 1]")
    if (peak := float(np.abs(samples).max())) > LOUDEST:
        raise AudioError(f"got samples up to {peak:g}, expected [-1, 1]; divide them by their full scale")
    return samples.astype(np.float32)
