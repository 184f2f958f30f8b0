"""The clip-level sigmoid loss, kept beside the frame loss: without it retrieval is lost.

FineLAP's ablation (arXiv 2604.01155) says so: mean retrieval falls from 45.7 to 4.9. The loss is SigLIP's
(arXiv 2303.15343): all clips against all captions of all processes, summed, divided by the clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from peaframe.losses.activity import activity_loss
from peaframe.losses.batch import ActivityBatch, ActivityOptions


def mean_of_frames(frames: Tensor, frame_mask: Tensor) -> Tensor:
    """The mean embedding of each clip's frames, (batch, dim); zeros for a clip without frames.

    Args:
        frames: (batch, frames, dim).
        frame_mask: (batch, frames) bool, false for padding.
    """
    inside = frames.masked_fill(~frame_mask[..., None], 0)
    return inside.sum(dim=1) / frame_mask.sum(dim=1).clamp(min=1)[:, None]


def clip_loss(
    clips: Tensor,
    captions: Tensor,
    clip: Tensor,
    ids: Tensor,
    scale: Tensor,
    bias: Tensor,
    clip_mask: Tensor | None = None,
    caption_mask: Tensor | None = None,
    options: ActivityOptions | None = None,
    counts: Mapping[str, Tensor] | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """The masked sigmoid loss of clips against captions, this process's share (see `peaframe.losses.ring`).

    Args:
        clips: (batch, dim), one embedding for each clip (a tower's own, or `mean_of_frames`).
        captions: (captions, dim).
        clip: (captions,) int64, the clip that a caption describes; -1 for none of them.
        ids: (captions,) int64, equal for the same words; negative for a caption like no other.
        scale: what dot products are multiplied with, () or (captions,). Not the frames' own: clips need another.
        bias: what is added then, () or (captions,).
        clip_mask: (batch,) bool, false for padding; None for all true.
        caption_mask: (captions,) bool, false for padding; None for all true.
        options: `positive_weight`, `same_above` and `across_ranks` are used; None for the defaults.
        counts: `{"clip": clips that count}`, over all pieces and processes, if this is a piece of a larger batch.

    Returns:
        The loss, a scalar, and the same by name. Captions that mean the same as a clip's own are left out.
    """
    if clip_mask is None:
        clip_mask = torch.ones(len(clips), dtype=torch.bool, device=clips.device)
    batch = ActivityBatch(
        frames=clips[:, None],
        frame_mask=clip_mask[:, None],
        texts=captions,
        clip=clip,
        ids=ids,
        states=torch.ones(len(captions), 1, device=captions.device),
        weak=torch.zeros(len(captions), dtype=torch.bool, device=captions.device),
        text_mask=caption_mask,
    )
    if counts is not None:
        one = torch.ones((), dtype=torch.int64, device=clips.device)
        counts = {"global": counts["clip"], "local": one, "weak": one}
    options = replace(options or ActivityOptions(), p_local=0.0)
    loss, parts = activity_loss(batch, scale, bias, options, counts=counts)
    return loss, {"clip": parts["global"]}
