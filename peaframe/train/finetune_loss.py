"""The loss of fine-tuning: frames against texts, and beside it whole clips, a prior, a teacher, where asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from peaframe.losses.activity import activity_counts, activity_loss
from peaframe.losses.batch import ActivityBatch
from peaframe.losses.clip import mean_of_frames
from peaframe.losses.distillation import distillation_counts, masked_distillation_loss
from peaframe.losses.prior import prior_counts, prior_loss
from peaframe.losses.ring import over_ranks
from peaframe.train.pairs import Pairs
from peaframe.train.settings import LossSettings
from peaframe.train.student import Heard


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a step's clips, with all of the step's texts.

    Attributes:
        features: (batch, frames, channels).
        mask: (batch, frames) bool, where there is sound.
        counted: (batch, frames) bool, where something is known.
        clip: (texts,) int64, the clip of this piece that a text belongs to, or -1.
        states: (texts, frames) int8.
        taught: (batch, frames, classes) the teacher's probabilities; None without a teacher.
        taught_mask: (batch, frames, 1) bool, where it says something.
    """

    features: Tensor
    mask: Tensor
    counted: Tensor
    clip: Tensor
    states: Tensor
    taught: Tensor | None = None
    taught_mask: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Step:
    """A step's clips in pieces, and its texts.

    Attributes:
        pieces: one or more.
        phrases: what the texts say.
        ids: (texts,) int64.
        weak: (texts,) bool.
        clusters: (texts,) int64, or None.
    """

    pieces: Sequence[Piece]
    phrases: tuple[str, ...]
    ids: Tensor
    weak: Tensor
    clusters: Tensor | None = None

    def batch(self, piece: Piece, frames: Tensor, texts: Tensor) -> ActivityBatch:
        """What the losses look at, of a piece and the embeddings made of it."""
        return ActivityBatch(
            frames, piece.counted, texts, piece.clip, self.ids, piece.states, self.weak, None, self.clusters
        )


def join(pairs: Sequence[Pairs]) -> tuple[tuple[str, ...], Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
    """All texts of several batches: phrases, ids, weak, and for each batch the clip and states of every text."""
    phrases = tuple(phrase for own in pairs for phrase in own.phrases)
    views = []
    first = 0
    for own in pairs:
        clip = torch.full((len(phrases),), -1, dtype=torch.int64)
        states = torch.full((len(phrases), own.states.shape[1]), -1, dtype=torch.int8)
        rows = slice(first, first + len(own.phrases))
        clip[rows], states[rows] = own.clip, own.states
        first = rows.stop
        views.append((clip, states))
    ids, weak = (torch.cat([getattr(own, name) for own in pairs]) for name in ("ids", "weak"))
    return phrases, ids, weak, views


class FinetuneLoss:
    """What is asked of a student in a step.

    Its value and its gradients are this process's share (see `peaframe.losses.ring`), and a piece's share of the
    step's: pieces add up to what one piece with all of the clips would give.
    """

    def __init__(self, settings: LossSettings, related: Tensor | None) -> None:
        """Take the weights, and (pairs, 2) ids of labels that are no negatives of each other."""
        self.settings, self.related = settings, related

    @torch.no_grad()
    def counts(self, step: Step) -> dict[str, Tensor]:
        """What the terms are divided by: sums over the step's pieces and all processes."""
        total: dict[str, Tensor] = {}
        for piece in step.pieces:
            empty = piece.features.new_zeros(*piece.mask.shape, 1)
            batch = step.batch(piece, empty, empty.new_zeros(len(step.phrases), 1))
            own = activity_counts(batch)
            own["clip"] = piece.counted.any(dim=1).sum()
            if piece.taught_mask is not None and piece.taught is not None:
                own |= distillation_counts(piece.taught_mask.expand(piece.taught.shape))
            for name, count in own.items():
                total[name] = total[name] + count if name in total else count
        return over_ranks(total, self.settings.activity.across_ranks)

    def __call__(
        self, step: Step, number: int, heard: Heard, counts: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of piece `number`, a scalar, and its terms by name.

        Args:
            step: all of it.
            number: of the piece that was heard.
            heard: what the student makes of it; behind the step's texts stand the teacher's classes, if there is one.
            counts: from `counts`.
        """
        s, piece, texts = self.settings, step.pieces[number], len(step.phrases)
        batch = step.batch(piece, heard.frames, heard.texts[:texts])
        fixed = (
            heard.bias.detach() if s.prior_weight else heard.bias
        )  # with a prior, it learns from that alone
        scale, bias = (value if value.dim() == 0 else value[:texts] for value in (heard.scale, fixed))
        loss, parts = activity_loss(batch, scale, bias, s.activity, self.related, counts)
        if s.clip_weight:
            term, told = self._clips(batch, heard, counts)
            loss, parts = loss + s.clip_weight * term, parts | told
        if s.prior_weight and number == len(step.pieces) - 1:
            shares = sum(
                prior_counts(
                    step.batch(
                        own, own.features.new_zeros(*own.mask.shape, heard.texts.shape[1]), batch.texts
                    ),
                    s.activity,
                    self.related,
                )
                for own in step.pieces
            )
            assert isinstance(shares, Tensor)
            term, told = prior_loss(heard.bias[:texts], shares, s.activity.across_ranks)
            loss, parts = loss + s.prior_weight * term, parts | told
        if piece.taught is not None and piece.taught_mask is not None:
            logits = heard.frames @ heard.texts[texts:].T
            scale, bias = (value if value.dim() == 0 else value[texts:] for value in (heard.scale, fixed))
            term, told = masked_distillation_loss(
                logits * scale + bias,
                piece.taught,
                piece.taught_mask,
                {"distillation": counts["distillation"]},
                s.activity.across_ranks,
            )
            loss, parts = loss + s.teacher_weight * term, parts | told
        return loss, {"loss": float(loss.detach()), **parts}

    def _clips(
        self, batch: ActivityBatch, heard: Heard, counts: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of `peaframe.losses.clip`, but a label that a clip may hold or not is no negative of that clip."""
        inside = batch.frame_mask[batch.clip.clamp(min=0)]
        clips = replace(
            batch,
            frames=mean_of_frames(heard.frames, batch.frame_mask)[:, None],
            frame_mask=batch.frame_mask.any(dim=1, keepdim=True),
            states=batch.states.masked_fill(~inside, -1).amax(dim=1, keepdim=True),
            weak=torch.zeros_like(batch.weak),
            clusters=None,
        )
        one = torch.ones_like(counts["clip"])
        loss, parts = activity_loss(
            clips,
            heard.clip_scale,
            heard.clip_bias,
            replace(self.settings.activity, p_local=0.0),
            self.related,
            {"global": counts["clip"], "local": one, "weak": one},
        )
        return loss, {"clip": parts["global"]}
