"""Samples in memory: what is scaled, what is refused."""

import numpy as np
import pytest
import torch

from peaframe.audio.arrays import from_array
from peaframe.errors import AudioError

WAVE = np.array([0.0, 0.25, -0.5, -1.0, 0.75])


@pytest.mark.parametrize(
    ("samples", "tolerance"),
    [
        (WAVE.astype(np.float32), 0),
        (WAVE, 0),
        (WAVE.astype(np.float16), 0),
        (WAVE.tolist(), 0),
        (torch.tensor(WAVE), 0),
        ((WAVE * 2**15).astype(np.int16), 0),
        ((WAVE * 2**31).astype(np.int32), 0),
        ((WAVE * 128 + 128).astype(np.uint8), 0),
        (np.repeat(WAVE, 2)[::2], 0),
    ],
)
def test_samples_of_any_kind_are_the_same_sound(samples, tolerance):
    heard = from_array(samples)

    assert heard.dtype == np.float32
    np.testing.assert_allclose(heard, WAVE, atol=tolerance)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((2, 9)), "got an array of shape (2, 9), expected mono samples (samples,) at 48 kHz"),
        (np.zeros(0), "got an array of shape (0,), expected mono samples"),
        (None, "got NoneType, so an array of shape (), expected mono samples"),
        ((48_000, np.zeros(9)), "got tuple that is no NumPy array"),
        (torch.zeros(9, requires_grad=True), "got Tensor that is no NumPy array"),
        (torch.zeros(9, dtype=torch.bfloat16), "got Tensor that is no NumPy array"),
        (
            np.zeros(9, dtype=np.int64),
            "got samples of int64, expected floating point in [-1, 1], or int16, int32",
        ),
        (np.zeros(9, dtype=bool), "got samples of bool"),
        (np.zeros(9, dtype=complex), "got samples of complex128"),
        (np.array(["a"]), "got samples of <U1"),
        (np.array([0, np.nan]), "got an array with NaN or infinite samples"),
        (
            np.array([0, -32768.0]),
            "got samples up to 32768, expected [-1, 1]; divide them by their full scale",
        ),
    ],
)
def test_what_is_no_sound_is_refused(refusal, source, message):
    assert refusal(AudioError, from_array, source).startswith(message)
