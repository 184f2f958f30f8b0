"""The frame-activity loss of fine-tuning: all frames against all texts, on embeddings, over all processes.

PE-A-Frame's paper names a local-activity loss with a share `p_local`, and a global one; its formulas could not be
read, so this is ours, in the family of SigLIP (arXiv 2303.15343) and FLAM (arXiv 2505.05335). Every pair of a clip and
a text gives terms `-log sigmoid(state * logit)` of one kind:

- *global*: a text with known frames gives one term for each frame, a text of another clip as not heard all through.
- *weak*: where only the whole clip is known (the text is weak, or all texts of the clip are), one term of its pooled
  logit, `log(mean(exp(sharpness * logit))) / sharpness`. This lies between the mean and the maximum: it does not
  grow with the length of a clip, as a sum would, and it teaches every frame that speaks for the text, where a
  maximum would teach a single one and leave an event a peak.
- *local*, besides: a clip's own texts that are heard in it, active frames and inactive ones with half the weight each.

A text that means the same as one of a clip's own is left out for that clip, unless it is its own.

Global terms are summed over texts and divided by the frames that count, weak ones by the clips that count, local ones
by the texts that are heard. These counts come from masks and states alone (`activity_counts`), so a batch in pieces
can equal the whole: add the counts of all pieces, over all processes (`over_ranks`), hand them to every piece, and
add up losses and gradients. For the same negatives each piece needs all texts of the batch, with clip -1 for those
of clips in other pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from peaframe.losses.batch import ActivityBatch, ActivityOptions, foreign_weights, own_rows, weak_clips
from peaframe.losses.ring import over_ranks, ring_sum

TERMS = ("global", "local", "weak")


@torch.no_grad()
def activity_counts(batch: ActivityBatch) -> dict[str, Tensor]:
    """What the terms of `activity_loss` are divided by, by name, each shape (), int64."""
    rows = own_rows(batch)
    heard = ((batch.states[rows] > 0) & batch.frame_mask[batch.clip[rows]]).any(dim=1)
    return {
        "global": batch.frame_mask.sum(),
        "local": (heard & ~batch.weak[rows]).sum(),
        "weak": batch.frame_mask.any(dim=1).sum(),
    }


def activity_loss(
    batch: ActivityBatch,
    scale: Tensor,
    bias: Tensor,
    options: ActivityOptions | None = None,
    related: Tensor | None = None,
    counts: Mapping[str, Tensor] | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """The masked sigmoid loss of frames against texts, this process's share of it (see `peaframe.losses.ring`).

    Args:
        batch: embeddings, and what is known of them.
        scale: what dot products are multiplied with, () or one for each text, (texts,).
        bias: what is added then, () or (texts,).
        options: what counts how much; None for the defaults.
        related: (pairs, 2) int64, ids of texts that are no negatives of each other; None for none.
        counts: what to divide by, from `activity_counts`, if the batch is a piece of a larger one; None for the
            counts of this batch over all processes.

    Returns:
        `(1 - p_local) * global + p_local * local + weak_weight * weak`, a scalar, and the three by name.
    """
    options = options or ActivityOptions()
    if counts is None:
        counts = over_ranks(activity_counts(batch), options.across_ranks)
    dtype = torch.promote_types(batch.frames.dtype, torch.float32)
    frames = batch.frames.to(dtype).masked_fill(~batch.frame_mask[..., None], 0)
    texts = batch.texts.to(dtype).masked_fill(~batch.counted[:, None], 0)
    per_text = [value.to(dtype).expand(len(texts)).masked_fill(~batch.counted, 0) for value in (scale, bias)]
    divisors = torch.stack([counts[name].to(frames.device, dtype).clamp(min=1) for name in TERMS])
    shares = divisors.new_tensor([1 - options.p_local, options.p_local, options.weak_weight])
    own_texts = texts.detach()

    def meeting(
        frames: Tensor, travelling: Sequence[Tensor], companions: Sequence[Tensor], home: bool
    ) -> tuple[Tensor, Tensor]:
        texts, scale, bias = travelling
        weak = companions[1]
        weights = foreign_weights(batch, own_texts, texts, companions, home, options, related)
        logits = frames @ texts.T * scale + bias
        terms = _terms(batch, logits, weights, weak, options, home) / divisors
        return terms @ shares, terms

    companions = (batch.ids, batch.weak, batch.counted, batch.groups)
    loss, terms = ring_sum(meeting, frames, (texts, *per_text), companions, options.across_ranks)
    return loss, dict(zip(TERMS, terms.tolist(), strict=True))


def _terms(
    batch: ActivityBatch,
    logits: Tensor,
    weights: Tensor,
    weak: Tensor,
    options: ActivityOptions,
    home: bool,
) -> Tensor:
    """Sums of the three kinds of terms, (3,).

    Args:
        batch: this process's clips, and texts.
        logits: (batch, frames, texts), of texts from anywhere.
        weights: (batch, texts), of texts that are not the clip's own; 0 leaves them out.
        weak: (texts,) bool.
        options: what counts how much.
        home: the texts are those of `batch`.
    """
    pooling = weak | weak_clips(batch)[:, None]  # pairs of which only the whole clip is known
    some = batch.frame_mask.any(dim=1)
    silent = torch.einsum("btn,bt->bn", F.softplus(logits), batch.frame_mask.to(logits.dtype))
    everywhere = (silent * weights * ~pooling).sum()
    within = pooled_sum = logits.new_zeros(())
    pools = bool((pooling & some[:, None]).any())
    pooled = _pool(logits, batch.frame_mask | ~some[:, None], options.sharpness) if pools else None
    if pooled is not None:
        pooled_sum = (F.softplus(pooled) * weights * (pooling & some[:, None])).sum()
    if home:
        rows = own_rows(batch)
        clips = batch.clip[rows]
        states = batch.states[rows].to(logits.dtype) * batch.frame_mask[clips]
        if pooled is not None:
            vague = batch.weak[rows] & some[clips]
            whole = batch.states[rows].masked_fill(~batch.frame_mask[clips], -1).amax(dim=1)[vague]
            pooled_sum = (
                pooled_sum + _heard_or_not(pooled[clips[vague], rows[vague]], whole, options)[0].sum()
            )
        rows, clips, states = (tensor[~batch.weak[rows]] for tensor in (rows, clips, states))
        terms, plain = _heard_or_not(logits[clips, :, rows], states, options)
        everywhere = everywhere + terms.sum()
        within = _balanced(plain, states)
    return torch.stack((everywhere, within, pooled_sum))


def _heard_or_not(logits: Tensor, states: Tensor, options: ActivityOptions) -> tuple[Tensor, Tensor]:
    """`-log sigmoid(state * logit)`, 0 where the state is, with the weight of heard pairs and without."""
    states = states.to(logits.dtype)
    plain = F.softplus(-states * logits) * states.abs()
    return plain * (1 + (options.positive_weight - 1) * (states > 0)), plain


def _balanced(terms: Tensor, states: Tensor) -> Tensor:
    """Half from active frames, half from inactive ones, of each text heard; summed over texts. Both (texts, frames)."""
    active, inactive = states > 0, states < 0
    means = [(terms * kind).sum(dim=1) / kind.sum(dim=1).clamp(min=1) for kind in (active, inactive)]
    return ((means[0] + means[1]) / 2 * active.any(dim=1)).sum()


def _pool(logits: Tensor, mask: Tensor, sharpness: float) -> Tensor:
    """Between the mean and the maximum over the frames in `mask` (batch, frames): (batch, texts)."""
    inside = (sharpness * logits).masked_fill(~mask[..., None], float("-inf"))
    return (torch.logsumexp(inside, dim=1) - mask.sum(dim=1).to(logits.dtype).log()[:, None]) / sharpness
