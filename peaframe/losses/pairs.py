"""The sigmoid losses of PE-AV's pre-training: pairs of what is known of a clip, each with its own scale and bias.

The paper's (arXiv 2512.19687, as its readers note it): for every pair of modalities, over the clips of a batch,

    loss = -(1 / clips) * sum over i, j of log sigmoid(z_ij * (scale * x_i . y_j + bias)), z_ij = 1 if i = j, else -1,

eight pairs in stage 1 and ten in stage 2, with a scale and a bias for each pair. How they start, the weights of pairs
and how a missing modality is treated are not known, so these are ours:

- A clip counts in a pair if it has both sides; all others give no term there, as a row or as a column, and the
  formula holds with the number of clips that have both. With `unmatched`, clips with one side are negatives besides.
- Pairs are added up, with weights of 1. Scales start at exp(log 10) and biases at -10, as SigLIP's (arXiv 2303.15343);
  the logarithm of the scale is what is learnt.
- Dot products are of embeddings as they are, since the released model norms none; `unit_length` changes that.
- Two clips of which one side is the same (a caption with the same words) are no negatives of each other, where the
  caller says what is the same.

Everything is computed in float32 or more, in blocks of rows that are computed again for their gradient: memory grows
with the batch, not with its square. Over processes the right sides go round (see `peaframe.losses.ring`), and all
that is returned is a share.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from peaframe.errors import OptionError
from peaframe.losses.ring import over_ranks, ring_sum

# Both sides of a pair, by the names of PE-AV's heads; the right one travels between processes.
SIDES: dict[str, tuple[str, str]] = {
    "A-AC": ("audio", "audio_text"),
    "A-V": ("audio", "visual"),
    "A-AVC": ("audio", "audio_visual_text"),
    "AV-AC": ("audio_visual", "audio_text"),
    "AV-AVC": ("audio_visual", "audio_visual_text"),
    "V-AC": ("visual", "audio_text"),
    "V-VC": ("visual", "visual_text"),
    "V-AVC": ("visual", "audio_visual_text"),
    "A-(V+text)": ("audio", "visual_plus_text"),
    "V-(A+text)": ("visual", "audio_plus_text"),
}
STAGE_1 = tuple(SIDES)[:8]
STAGE_2 = tuple(SIDES)


def check_pairs(names: Sequence[str]) -> tuple[str, ...]:
    """Give the names of pairs back; raises OptionError for none, for one twice and for one that is not known."""
    for name in names:
        if name not in SIDES:
            folded = {known.casefold(): known for known in SIDES}
            near = difflib.get_close_matches(str(name).casefold(), folded, n=1)
            hint = f"did you mean {folded[near[0]]!r}? " if near else ""
            raise OptionError(f"got a pair {name!r}; {hint}expected some of {', '.join(SIDES)}")
    if isinstance(names, str) or not names or len(set(names)) < len(names):
        raise OptionError(f"got pairs {names!r}, expected one or more of {', '.join(SIDES)}, each once")
    return tuple(names)


@dataclass(frozen=True)
class PairOptions:
    """What counts how much; all values are ours.

    Attributes:
        weights: of the pairs' losses, in their order; none for 1 each.
        unmatched: whether clips that have one side of a pair only are negatives for the others.
        unit_length: whether embeddings are brought to length 1 first.
        rows: clips of a block; what is kept at once is (rows, clips of a process).
        across_ranks: clips of all processes, or of this one only.
    """

    weights: tuple[float, ...] = ()
    unmatched: bool = False
    unit_length: bool = False
    rows: int = 1024
    across_ranks: bool = True

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if any(not 0 <= weight < float("inf") for weight in self.weights):
            raise OptionError(f"got weights {self.weights}, expected 0 or more for each pair")
        if self.rows < 1:
            raise OptionError(f"got rows {self.rows}, expected 1 or more clips in a block")


class PairScales(nn.Module):
    """A scale and a bias for each pair.

    Attributes:
        names: the pairs, in order.
        log_scale: (pairs,), the natural logarithm of the scales.
        bias: (pairs,).
    """

    def __init__(self, names: Sequence[str] = STAGE_1, scale: float = 10.0, bias: float = -10.0) -> None:
        """Take the pairs, and where all scales (above 0) and biases start."""
        super().__init__()
        self.names = check_pairs(names)
        if not 0 < scale < float("inf"):
            raise OptionError(f"got a scale of {scale}, expected more than 0")
        self.log_scale = nn.Parameter(torch.full((len(self.names),), math.log(scale)))
        self.bias = nn.Parameter(torch.full((len(self.names),), float(bias)))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Scales and biases, each (pairs,)."""
        return self.log_scale.exp(), self.bias.clone()  # FSDP2 frees weights that leave a module as they are

    def values(self) -> dict[str, float]:
        """`A-AC/scale`, `A-AC/bias` and so on, for logs."""
        scales, biases = (tensor.detach().tolist() for tensor in self())
        each = zip(self.names, scales, biases, strict=True)
        return {
            f"{name}/{what}": x for name, *own in each for what, x in zip(("scale", "bias"), own, strict=True)
        }


def pair_loss(
    names: Sequence[str],
    embeddings: Mapping[str, Tensor],
    present: Mapping[str, Tensor],
    scales: Tensor,
    biases: Tensor,
    options: PairOptions | None = None,
    same: Mapping[str, Tensor] | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """The sum of the pairs' losses, this process's share of it.

    Args:
        names: the pairs.
        embeddings: (clips, dim) by the names of `SIDES`; what is not there may hold anything.
        present: (clips,) bool by the same names, where a clip has it.
        scales: (pairs,), above 0.
        biases: (pairs,).
        options: what counts how much; None for the defaults.
        same: (clips,) int64 by the same names, equal where two clips have the same there, on all processes; negative
            for one like no other. Names may be missing.

    Returns:
        A scalar; and by name `A-AC/loss`, and `A-AC/accuracy`: how often the right side of a clip fits its left side
        better than those of all other clips that count. Both are shares: processes' values add up to the whole's.

    Raises:
        OptionError: unknown pairs, or tensors that are missing or do not fit.
    """
    names, options = check_pairs(names), options or PairOptions()
    weights = _weights(names, options)
    lefts, rights = (tuple(dict.fromkeys(SIDES[name][side] for name in names)) for side in (0, 1))
    _check(names, (*lefts, *rights), embeddings, present, scales, biases)
    still, moving = (
        torch.stack([_ready(embeddings[side], present[side], options) for side in sides], dim=1)
        for sides in (lefts, rights)
    )
    here, there = (torch.stack([present[SIDES[name][side]] for name in names], dim=1) for side in (0, 1))
    here, there = (here, there) if options.unmatched else (here & there, here & there)
    own_ids, ids = (
        torch.stack([_ids(same, SIDES[name], side, present) for name in names], dim=1) for side in (0, 1)
    )
    clips = over_ranks({"clips": (here & there).sum(dim=0)}, options.across_ranks)["clips"]
    divisors = clips.to(still.dtype).clamp(min=1)
    shares = torch.tensor(weights, dtype=still.dtype, device=still.device)
    places = [(lefts.index(SIDES[name][0]), rights.index(SIDES[name][1])) for name in names]
    per_clip = [value.to(still.dtype).expand(len(moving), -1) for value in (scales, biases)]
    best = still.new_full((len(still), len(names)), float("-inf"))  # the best logit of another clip
    own = torch.zeros_like(best)

    def meeting(
        still: Tensor, travelling: Sequence[Tensor], companions: Sequence[Tensor], home: bool
    ) -> tuple[Tensor, Tensor]:
        moving, scales, biases = travelling
        parts = []
        for pair, (left, right) in enumerate(places):
            total = still.new_zeros(())
            theirs = [tensor[:, pair] for tensor in companions]
            for first in range(0, len(still), options.rows):
                rows = slice(first, first + options.rows)
                mine = [tensor[rows, pair] for tensor in (here, own_ids, ids)]
                block = checkpoint(
                    _block,
                    *(still[rows, left], moving[:, right], scales[:, pair], biases[:, pair]),
                    *(mine, theirs, first if home else None),
                    use_reentrant=False,
                    preserve_rng_state=False,
                )
                total = total + block[0]
                best[rows, pair] = torch.maximum(best[rows, pair], block[1])
                if home:
                    own[rows, pair] = block[2]
            parts.append(total)
        losses = torch.stack(parts) / divisors
        return losses @ shares, losses

    loss, losses = ring_sum(meeting, still, (moving, *per_clip), (there, own_ids, ids), options.across_ranks)
    hits = ((own > best) & here & there).sum(dim=0) / divisors
    told = torch.stack((losses, hits), dim=1).tolist()
    return loss, {
        f"{name}/{what}": x
        for name, values in zip(names, told, strict=True)
        for what, x in zip(("loss", "accuracy"), values, strict=True)
    }


def _block(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    bias: Tensor,
    mine: Sequence[Tensor],
    theirs: Sequence[Tensor],
    first: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Some rows against all columns of a process.

    Args:
        x: (rows, dim).
        y: (columns, dim).
        scale: (columns,).
        bias: (columns,).
        mine: of the rows: which count, and what the left and the right side hold, each (rows,).
        theirs: the same of the columns, each (columns,).
        first: the column that is the clip of the first row, the others follow; None for no such clips.

    Returns:
        The sum of terms, the highest logit of another clip (rows,), and that of the clip itself (rows,).
    """
    counts = mine[0][:, None] & theirs[0]
    twins = torch.zeros_like(counts)
    if first is not None:
        twins.diagonal(first).fill_(True)
    for own, other in zip(mine[1:], theirs[1:], strict=True):
        counts &= (own[:, None] != other) | (other < 0) | twins
    logits = x @ y.T * scale + bias
    terms = F.logsigmoid(torch.where(twins, logits, -logits)).masked_fill(~counts, 0)
    seen = logits.detach()
    others = seen.masked_fill(~counts | twins, float("-inf"))
    highest = F.pad(others, (0, 1), value=float("-inf")).amax(dim=1)  # a process may have no clips
    return -terms.sum(), highest, seen.masked_fill(~twins, 0).sum(dim=1)


def _ready(x: Tensor, present: Tensor, options: PairOptions) -> Tensor:
    """Embeddings in float32 or more, of nothing where they are absent, so that nothing can come from there."""
    x = x.to(torch.promote_types(x.dtype, torch.float32)).masked_fill(~present[:, None], 0)
    return F.normalize(x, dim=-1) if options.unit_length else x


def _ids(
    same: Mapping[str, Tensor] | None, sides: tuple[str, str], side: int, present: Mapping[str, Tensor]
) -> Tensor:
    """(clips,) int64 of one side of a pair, -1 for what is like no other."""
    found = None if same is None else same.get(sides[side])
    blank = torch.full_like(present[sides[side]], -1, dtype=torch.int64)
    return blank if found is None else found.to(blank)


def _weights(names: Sequence[str], options: PairOptions) -> tuple[float, ...]:
    if options.weights and len(options.weights) != len(names):
        raise OptionError(
            f"got {len(options.weights)} weights for {len(names)} pairs, expected one for each or none"
        )
    return options.weights or (1.0,) * len(names)


def _check(
    names: Sequence[str],
    sides: Sequence[str],
    embeddings: Mapping[str, Tensor],
    present: Mapping[str, Tensor],
    scales: Tensor,
    biases: Tensor,
) -> None:
    """Refuse what is missing or of another shape."""
    missing = sorted(set(sides) - (embeddings.keys() & present.keys()))
    if missing:
        raise OptionError(f"got no embeddings or no presence of {missing[0]!r}, expected {', '.join(sides)}")
    shape = embeddings[sides[0]].shape
    for side in sides:
        got = embeddings[side].shape, present[side].shape
        if len(shape) != 2 or got != (shape, shape[:1]):
            raise OptionError(
                f"got {side} of shape {tuple(got[0])} with presence {tuple(got[1])}, "
                "expected (clips, dim) and (clips,), as for all others"
            )
    for what, tensor in (("scales", scales), ("biases", biases)):
        if tuple(tensor.shape) != (len(names),):
            raise OptionError(
                f"got {what} of shape {tuple(tensor.shape)}, expected one for each of {len(names)} pairs"
            )
