"""The loss of peaframe-mini's training: heard or not, the right order, and what a teacher says."""

from __future__ import annotations

import torch
from torch import Tensor

from peaframe.losses.frame_activity import distillation_loss, frame_activity_loss, frame_ranking_loss
from peaframe.train.phrases import PhraseTable


def objective(
    logits: Tensor,
    targets: Tensor,
    taught: Tensor | None,
    overlap: Tensor,
    table: PhraseTable,
    weights: tuple[float, float, float, float],
) -> tuple[Tensor, dict[str, float]]:
    """The loss, a scalar, and its parts by name.

    Args:
        logits: (batch, frames, texts) of the texts that `table` drew: labels, teacher's classes, distractors.
        targets: (batch, frames, labels) in {-1, 0, 1}.
        taught: the teacher's probabilities for the first few of the batch, (some, frames, classes); None for none.
        overlap: (labels, labels) float, 1 where two labels overlap in meaning.
        table: tells which texts are which.
        weights: share of the local loss, weight of heard pairs in the global one, of the ranking, of the teacher.
    """
    p_local, positive, ranking, teacher = weights
    labels, classes = table.labels, table.classes
    own = torch.cat((logits[..., :labels], logits[..., labels + classes :]), dim=-1)
    silent = targets.new_full((*targets.shape[:2], own.shape[2] - labels), -1)
    goals = torch.cat((targets, silent), dim=-1)
    loss, parts = frame_activity_loss(own, goals, p_local, positive)
    order = frame_ranking_loss(own, goals, _rivals(goals, overlap))
    loss, parts["ranking"] = loss + ranking * order, float(order.detach())
    if taught is not None:
        distilled = distillation_loss(logits[: len(taught), :, labels : labels + classes], taught.float())
        loss, parts["teacher"] = loss + teacher * distilled, float(distilled.detach())
    return loss, parts


def _rivals(goals: Tensor, overlap: Tensor) -> Tensor:
    """What a heard label is ranked against: the labels not heard, and those that overlap a heard one."""
    labels = len(overlap)
    related = (goals[..., :labels] > 0).float() @ overlap
    rivals = goals < 0
    rivals[..., :labels] |= (related > 0) & (goals[..., :labels] == 0)
    return rivals
