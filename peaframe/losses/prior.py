"""FLAM's correction for how rare a text is (arXiv 2505.05335): a bias for each text, and scores without it.

As FLAM does: the logit of a frame and a text is `scale(text) * dot + bias(text)`, both from small networks on the
text; the bias learns only from the prior loss, the cross entropy with the share of frames in which the text is heard,
and comes detached into the frame loss; for use, `p / (p + sigmoid(bias))` is about `p(heard | frame) / p(heard)`,
squeezed, and 0.5 is the threshold for every text. The networks start at a bias of -8 and a scale of 10.

Ours: the networks look at the text's embedding, without moving it; their last layer starts at zero; the share is taken
of the pairs that the frame loss counts, together over all texts of one label and all processes; weak texts have none.

    counts = prior_counts(batch)
    biases = model.text_prior.bias(batch.texts)  # peaframe.models.text_prior
    prior, _ = prior_loss(biases, counts)
    loss, _ = activity_loss(batch, model.text_prior.scale(batch.texts), biases.detach())
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from peaframe.losses.batch import ActivityBatch, ActivityOptions, foreign_weights, own_rows, weak_clips
from peaframe.losses.ring import circulate, over_ranks


@torch.no_grad()
def prior_counts(
    batch: ActivityBatch, options: ActivityOptions | None = None, related: Tensor | None = None
) -> Tensor:
    """Frames of all processes in which each text is heard, and frames in which it is known, (texts, 2).

    Texts of one label count together: heard where any clip's text of that label is, not heard in clips without it.
    If a clip has several texts of one label, they share its frames. Weak texts and padding have zeros. The counts of
    pieces of a batch, each with all texts, add up.

    Args:
        batch: as for `activity_loss`.
        options: as for `activity_loss`: what means the same is not counted.
        related: as for `activity_loss`.
    """
    options = options or ActivityOptions()
    dtype = torch.promote_types(batch.texts.dtype, torch.float32)
    own_texts = batch.texts.to(dtype)
    rows = own_rows(batch)
    rows = rows[~batch.weak[rows]]
    clips, ids = batch.clip[rows], batch.ids[rows]
    alike = (ids[:, None] == ids[None]) & (clips[:, None] == clips[None]) & (ids >= 0)
    alike |= torch.eye(len(rows), dtype=torch.bool, device=ids.device)
    states = batch.states[rows].to(dtype) * batch.frame_mask[clips]
    own = torch.stack(((states > 0).sum(dim=1), (states != 0).sum(dim=1)), dim=1) / alike.sum(dim=1)[:, None]
    length = batch.frame_mask.sum(dim=1) * ~weak_clips(batch)

    def visit(goods: Sequence[Tensor], home: bool) -> Sequence[Tensor]:
        texts, *companions = goods
        theirs, weak, counted, _ = companions
        strong = (counted & ~weak).to(dtype)[:, None]
        mine = (ids[:, None] == theirs[None]) & (theirs >= 0)
        if home:
            mine[torch.arange(len(rows), device=ids.device), rows] = True
        elsewhere = foreign_weights(batch, own_texts, texts, companions, home, options, related) > 0
        silent = length.to(dtype) @ elsewhere.to(dtype)
        added = mine.to(dtype).T @ own.to(dtype)
        return [(added + torch.stack((torch.zeros_like(silent), silent), dim=1)) * strong]

    cargo = (own_texts, batch.ids, batch.weak, batch.counted, batch.groups)
    return circulate(cargo, [own_texts.new_zeros(len(own_texts), 2)], visit, options.across_ranks)[0]


def prior_loss(biases: Tensor, counts: Tensor, across_ranks: bool = True) -> tuple[Tensor, dict[str, float]]:
    """Cross entropy of `sigmoid(biases)` with the share of frames in which each text is heard.

    Args:
        biases: (texts,), logits.
        counts: (texts, 2), from `prior_counts`; texts known nowhere do not count.
        across_ranks: the mean is over the texts of all processes, or of this one only.

    Returns:
        This process's share of the mean over texts (see `peaframe.losses.ring`), a scalar, and the same by name.
    """
    dtype = torch.promote_types(biases.dtype, torch.float32)
    known = counts[:, 1] > 0
    texts = over_ranks({"prior": known.sum()}, across_ranks)["prior"].to(dtype).clamp(min=1)
    share = (counts[:, 0] / counts[:, 1].clamp(min=1)).to(dtype)
    logits = biases.to(dtype).masked_fill(~known, 0)
    terms = F.binary_cross_entropy_with_logits(logits, share, reduction="none")
    loss = (terms * known).sum() / texts
    return loss, {"prior": float(loss.detach())}
