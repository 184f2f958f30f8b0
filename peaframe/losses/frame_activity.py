"""The frame-level sigmoid loss: is this text heard in this frame?

PE-A-Frame's paper names a local-activity loss with a share `p_local`, and a global one, without formulas that could
be read; the two parts here are ours, in the family of SigLIP (arXiv 2303.15343) and FLAM (arXiv 2505.05335):

- *global*: every frame of the batch against every text of the batch. It learns presence, so few false alarms.
- *local*: a clip's own texts only, active frames against inactive ones, both with the same weight. It learns
  boundaries.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def frame_activity_loss(
    logits: Tensor, targets: Tensor, p_local: float, positive_weight: float = 1.0
) -> tuple[Tensor, dict[str, float]]:
    """The masked sigmoid loss of frames against texts.

    Args:
        logits: (batch, frames, texts).
        targets: (batch, frames, texts): +1 heard, -1 not heard, 0 unknown (left out).
        p_local: share of the local part in [0, 1]; the global part has the rest.
        positive_weight: weight of the pairs that are heard, in the global part.

    Returns:
        The loss, a scalar, and its parts by name. The global part is the sum over texts of
        `-log sigmoid(target * logit)`, averaged over frames; the local part is the mean over (clip, text) pairs that
        are heard somewhere, half of it from the active and half from the inactive frames.
    """
    known = (targets != 0).to(logits.dtype)
    terms = F.softplus(-targets.to(logits.dtype) * logits) * known
    positive = (targets > 0).to(logits.dtype)
    negative = known - positive
    weights = 1 + (positive_weight - 1) * positive
    everywhere = (terms * weights).sum() / (logits.shape[0] * logits.shape[1])

    active, inactive = positive.sum(dim=1), negative.sum(dim=1)
    own = (active > 0).to(logits.dtype)
    local = (terms * positive).sum(dim=1) / active.clamp(min=1)
    local = (local + (terms * negative).sum(dim=1) / inactive.clamp(min=1)) / 2
    within = (local * own).sum() / own.sum().clamp(min=1)

    loss = (1 - p_local) * everywhere + p_local * within
    return loss, {"global": float(everywhere.detach()), "local": float(within.detach())}


def frame_ranking_loss(logits: Tensor, targets: Tensor, rivals: Tensor) -> Tensor:
    """Softmax cross entropy of each heard text against its rivals in the same frame.

    It asks for the right order within a frame, where the sigmoid asks for the right level, and its gradient does not
    fade when thousands of easy negatives fill the sum. A text that overlaps the heard one in meaning may be a rival:
    "snare drum" fits a snare drum better than "drum loop", without the latter being wrong.

    Args:
        logits: (batch, frames, texts).
        targets: (batch, frames, texts): +1 heard, anything else not.
        rivals: (batch, frames, texts), true for the texts that a heard one is compared with.

    Returns:
        The mean over (clip, text) pairs that are heard somewhere of the mean over their active frames, a scalar.
    """
    positive = (targets > 0).to(logits.dtype)
    level = logits.masked_fill(~rivals, float("-inf")).logsumexp(dim=-1, keepdim=True)
    terms = F.softplus(level - logits) * positive
    active = positive.sum(dim=1)
    means = terms.sum(dim=1) / active.clamp(min=1)
    return means.sum() / (active > 0).sum().clamp(min=1)


def distillation_loss(logits: Tensor, probabilities: Tensor) -> Tensor:
    """Binary cross entropy with a teacher's frame probabilities, summed over texts, averaged over frames.

    Args:
        logits: (batch, frames, texts).
        probabilities: (batch, frames, texts) in [0, 1].
    """
    terms = F.binary_cross_entropy_with_logits(logits, probabilities.to(logits.dtype), reduction="none")
    return terms.sum() / (logits.shape[0] * logits.shape[1])
