"""Learning another model's frame scores, where it has some to give."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from peaframe.errors import OptionError
from peaframe.losses.ring import over_ranks


def distillation_counts(mask: Tensor) -> dict[str, Tensor]:
    """What `masked_distillation_loss` divides by: frames in which any text counts, shape (), int64.

    Args:
        mask: (batch, frames, texts) bool.
    """
    return {"distillation": mask.any(dim=-1).sum()}


def masked_distillation_loss(
    logits: Tensor,
    probabilities: Tensor,
    mask: Tensor,
    counts: dict[str, Tensor] | None = None,
    across_ranks: bool = True,
) -> tuple[Tensor, dict[str, float]]:
    """Binary cross entropy with a teacher's frame probabilities, summed over texts, averaged over frames.

    Args:
        logits: (batch, frames, texts).
        probabilities: (batch, frames, texts) in [0, 1]; of what is masked, anything.
        mask: bool, false where the teacher says nothing (padding, clips or classes it does not know); broadcasts to
            (batch, frames, texts).
        counts: what to divide by, from `distillation_counts`, if this is a piece of a larger batch; None for the
            counts of this one over all processes.
        across_ranks: the mean is over the frames of all processes, or of this one only.

    Returns:
        This process's share (see `peaframe.losses.ring`), a scalar, and the same by name.

    Raises:
        OptionError: shapes that do not fit.
    """
    if logits.shape != probabilities.shape:
        raise OptionError(
            f"got logits {tuple(logits.shape)} and probabilities {tuple(probabilities.shape)}, expected one shape"
        )
    try:
        mask = mask.expand(logits.shape)
    except RuntimeError as error:
        raise OptionError(
            f"got a mask {tuple(mask.shape)}, expected one that fits {tuple(logits.shape)}"
        ) from error
    if counts is None:
        counts = over_ranks(distillation_counts(mask), across_ranks)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    terms = F.binary_cross_entropy_with_logits(
        logits.to(dtype).masked_fill(~mask, 0),
        probabilities.to(dtype).masked_fill(~mask, 0),
        reduction="none",
    )
    loss = (terms * mask).sum() / counts["distillation"].to(logits.device, dtype).clamp(min=1)
    return loss, {"distillation": float(loss.detach())}
