"""What the models' embedding functions are given, checked before torch sees it: one line instead of its errors.

Shapes and types are checked of everything, values only where wrong ones would go unnoticed or stop torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from peaframe.errors import OptionError


def clip_lengths(waveform: Tensor, lengths: Tensor | None) -> list[int]:
    """Check a batch of audio and give each clip's samples; see `FrameModel.encode_audio`."""
    _tensor("waveform", waveform)
    shape = tuple(waveform.shape)
    if waveform.ndim != 2 or 0 in shape:
        raise OptionError(f"got a waveform of shape {shape}, expected (batch, samples), none 0")
    _floating("waveform", waveform)
    _finite("waveform", waveform)
    if lengths is None:
        return [shape[1]] * shape[0]
    try:
        counts = [int(n) for n in lengths]
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"got lengths that are no whole numbers ({error}), expected one per clip"
        ) from error
    if len(counts) != shape[0] or min(counts) < 1 or max(counts) > shape[1]:
        raise OptionError(
            f"got lengths {counts} for a waveform of shape {shape}, expected one per clip between 1 and {shape[1]}"
        )
    return counts


def check_frames(features: Tensor, mask: Tensor | None, width: int, dtype: torch.dtype) -> None:
    """Check the frame features of a batch of videos and their mask; see `PEAudioVideoModel.encode_av`."""
    _tensor("frame_features", features)
    shape = tuple(features.shape)
    if features.ndim != 3 or 0 in shape or shape[2] != width:
        raise OptionError(
            f"got frame_features of shape {shape}, expected (batch, video frames, {width}), none 0"
        )
    if features.dtype != dtype:
        raise OptionError(f"got frame_features of {features.dtype}, expected {dtype}, the model's type")
    _finite("frame_features", features)
    if mask is None:
        return
    _tensor("frame_mask", mask)
    if mask.shape != features.shape[:2] or mask.dtype != torch.bool:
        raise OptionError(
            f"got frame_mask of shape {tuple(mask.shape)} and {mask.dtype}, expected {shape[:2]} of torch.bool"
        )
    _no_empty_row("frame_mask", mask)


def check_tokens(input_ids: Tensor, attention_mask: Tensor | None, vocabulary: int, most: int) -> None:
    """Check token ids of a batch of texts and their mask; see `FrameModel.encode_tokens`."""
    _tensor("input_ids", input_ids)
    shape = tuple(input_ids.shape)
    if input_ids.ndim != 2 or 0 in shape or shape[1] > most:
        raise OptionError(f"got input_ids of shape {shape}, expected (texts, up to {most} tokens), none 0")
    if input_ids.dtype not in (torch.int64, torch.int32):
        raise OptionError(f"got input_ids of {input_ids.dtype}, expected torch.int64")
    if _has_values(input_ids):
        low, high = (int(edge) for edge in input_ids.aminmax())
        if low < 0 or high >= vocabulary:
            raise OptionError(f"got input_ids from {low} to {high}, expected ids from 0 to {vocabulary - 1}")
    if attention_mask is None:
        return
    _tensor("attention_mask", attention_mask)
    if attention_mask.shape != input_ids.shape:
        raise OptionError(
            f"got attention_mask of shape {tuple(attention_mask.shape)}, expected that of input_ids, {shape}"
        )
    _no_empty_row("attention_mask", attention_mask)


def _tensor(name: str, value: Any) -> None:
    if not isinstance(value, Tensor):
        kind = type(value)
        got = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        raise OptionError(f"got {name} of type {got}, expected a torch.Tensor; torch.as_tensor makes one")


def _has_values(tensor: Tensor) -> bool:
    """Whether there is something to look at, as there is not where a run is planned or traced."""
    return not isinstance(tensor, FakeTensor) and not tensor.is_meta


def _floating(name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point():
        raise OptionError(f"got {name} of {tensor.dtype}, expected floating point such as torch.float32")


def _finite(name: str, tensor: Tensor) -> None:
    if _has_values(tensor) and not tensor.isfinite().all():
        raise OptionError(f"got {name} with NaN or infinite values, expected finite ones")


def _no_empty_row(name: str, mask: Tensor) -> None:
    if _has_values(mask) and not (kept := mask.bool().any(dim=1)).all():
        row = kept.tolist().index(False)
        raise OptionError(f"got {name} without anything true in row {row}, expected something in every row")
