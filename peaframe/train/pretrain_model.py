"""PE-AV in training: all embeddings of a batch that some pairs ask for, and the BEST-RQ loss beside them.

Towers see only what is there: clips without sound do not enter the audio tower, and so on. Where no clip of a batch has
something, the tower runs on one frame of zeros whose result counts nothing, so that every process calls the same
parts in the same order and every weight has a gradient, as DistributedDataParallel and FSDP want it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from peaframe.errors import OptionError
from peaframe.losses.best_rq import BestRq, BestRqOptions, Hidden
from peaframe.losses.pairs import SIDES, STAGE_1, PairOptions, PairScales, check_pairs
from peaframe.models.audio_video import PEAudioVideoModel
from peaframe.models.pe_frame import PEFrameModel
from peaframe.models.pretraining import frame_model_from
from peaframe.train.layers import recompute_layers
from peaframe.train.pretrain_batch import CAPTIONS, PretrainBatch, spread_frames

Found = tuple[Tensor, Tensor]  # rows of the clips that have something, and (rows, width) of it


@dataclass(frozen=True)
class PretrainOptions:
    """What is asked of the model; of these the paper gives only the pairs and that there is BEST-RQ.

    Attributes:
        pairs: names of `peaframe.losses.pairs`.
        scale: where the scales of all pairs start.
        bias: where their biases start.
        pair: what counts how much in them.
        best_rq: how it is done; None leaves it out.
        best_rq_weight: of it beside the pairs.
        one_pass: whether embeddings come of latents with something hidden, in the same pass as BEST-RQ. If not, the
            audio tower runs twice, and embeddings come of what it will hear when it is used.
        text_with_video: the kind of caption that pictures are joined with, to look for sound.
        text_with_audio: the kind of caption that sound is joined with, to look for pictures.
        recompute: whether layers are computed again for their gradients instead of kept (activation checkpointing).
    """

    pairs: tuple[str, ...] = STAGE_1
    scale: float = 10.0
    bias: float = -10.0
    pair: PairOptions = field(default_factory=PairOptions)
    best_rq: BestRqOptions | None = field(default_factory=BestRqOptions)
    best_rq_weight: float = 1.0
    one_pass: bool = False
    text_with_video: str = "audio"
    text_with_audio: str = "visual"
    recompute: bool = False

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        check_pairs(self.pairs)
        for name in ("text_with_video", "text_with_audio"):
            if getattr(self, name) not in CAPTIONS:
                raise OptionError(f"got {name} {getattr(self, name)!r}, expected {', '.join(CAPTIONS)}")
        if not 0 <= self.best_rq_weight < float("inf"):
            raise OptionError(f"got best_rq_weight {self.best_rq_weight}, expected 0 or more")


class Embedded(NamedTuple):
    """What a model in training makes of a batch.

    Attributes:
        embeddings: (clips, dim) by the names of PE-AV's heads, float32 or more; zeros where there is nothing.
        present: (clips,) bool by the same names.
        scales: (pairs,).
        biases: (pairs,).
        best_rq: this batch's share of the loss; None where it was not asked for.
        told: what it says of itself.
    """

    embeddings: dict[str, Tensor]
    present: dict[str, Tensor]
    scales: Tensor
    biases: Tensor
    best_rq: Tensor | None
    told: dict[str, float]


class _Part(NamedTuple):
    """What a tower makes of the clips that have something for it; of one frame of zeros where none has.

    Attributes:
        rows: (rows,) of these clips in the batch.
        mask: (rows, frames) bool.
        frames: (rows, frames, width).
        token: (rows, width).
    """

    rows: Tensor
    mask: Tensor
    frames: Tensor
    token: Tensor


class PretrainModel(nn.Module):
    """A PE-AV whose towers and heads learn, as far as the pairs need them; codec and image encoder stand still.

    Attributes:
        model: it; `peaframe.models.load.save_pe` writes it.
        scales: of the pairs.
        best_rq: the quantiser and its layer, or None.
    """

    def __init__(self, model: PEAudioVideoModel, options: PretrainOptions | None = None) -> None:
        """Free and freeze the model's parts in place."""
        super().__init__()
        o = self.options = options or PretrainOptions()
        self.model = model
        self.scales = PairScales(o.pairs, o.scale, o.bias)
        self.best_rq: BestRq | None = None
        if o.best_rq is not None:
            audio = model.config.audio
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(o.best_rq.seed)
                self.best_rq = BestRq(audio.codec.latent, audio.tower.width, o.best_rq)
        self.sides = tuple(dict.fromkeys(side for name in o.pairs for side in SIDES[name]))
        model.requires_grad_(False)
        for part in self._learning():
            part.requires_grad_(True)
        if o.recompute:
            recompute_layers(model)

    def _learning(self) -> list[nn.Module]:
        m, sides = self.model, " ".join(self.sides)
        audio = (
            any(side in self.sides for side in ("audio", "audio_visual", "audio_plus_text")) or self.best_rq
        )
        video = any(side in self.sides for side in ("visual", "audio_visual", "visual_plus_text"))
        parts = [m.heads[side] for side in self.sides]
        parts += [m.audio.data_proj, m.audio.tower] if audio else []
        parts += [m.video] if video else []
        parts += [m.fusion] if "audio_visual" in self.sides else []
        return parts + ([m.text] if "_text" in sides else [])

    def hide(self, batch: PretrainBatch, generator: torch.Generator) -> Hidden | None:
        """Draw what BEST-RQ hides of a batch; None without it."""
        return None if self.best_rq is None else self.best_rq.hide(batch.latents, batch.audio_mask, generator)

    def forward(
        self, batch: PretrainBatch, hidden: Hidden | None = None, counts: dict[str, Tensor] | None = None
    ) -> Embedded:
        """Embed a batch.

        Args:
            batch: clips; of a model on 16 pictures, so many are taken of those that are there.
            hidden: from `hide`.
            counts: what the BEST-RQ loss is divided by, see `peaframe.losses.best_rq`; None leaves that loss out.

        Returns:
            Embeddings of what the pairs ask for. A clip's do not depend on what it is batched with.
        """
        m, o = self.model, self.options
        batch = spread_frames(batch, m.config.video.frames)
        tokens: dict[str, Found] = {}
        shared = hidden if o.one_pass else None
        if self._needs("audio", "audio_visual", "audio_plus_text"):
            audio = self._hear(batch, shared)
            tokens["audio"] = audio.rows, audio.token
        if self._needs("visual", "audio_visual", "visual_plus_text"):
            video = self._see(batch)
            tokens["visual"] = video.rows, video.token
        if self._needs("audio_visual"):
            both = _common(audio.rows, video.rows)
            inputs = []
            for part in (audio, video):
                chosen = _chosen(part.rows, both)
                inputs += [part.frames[chosen], part.mask[chosen]]
            tokens["audio_visual"] = both, m.fusion(*inputs)[1]
        states = {kind: self._read(batch, kind) for kind in CAPTIONS if self._needs_text(kind)}
        for kind, text in (("audio", o.text_with_audio), ("visual", o.text_with_video)):
            if self._needs(f"{kind}_plus_text"):
                sides = tokens[kind], states[text]
                both = _common(sides[0][0], sides[1][0])
                found = [x[_chosen(rows, both)] for rows, x in sides]
                found = [x.to(torch.promote_types(found[0].dtype, found[1].dtype)) for x in found]
                tokens[f"{kind}_plus_text"] = both, torch.cat(found, dim=-1)
        tokens |= {f"{kind}_text": state for kind, state in states.items()}
        embeddings, present = {}, {}
        for side in self.sides:
            rows, token = tokens[side]
            out = m.heads[side](token)
            out = out.to(torch.promote_types(out.dtype, torch.float32))
            empty = out.new_zeros(len(batch), out.shape[1])
            embeddings[side] = empty.index_copy(0, rows, out) if len(rows) else empty + 0 * out.sum()
            present[side] = torch.zeros_like(batch.audio_frames, dtype=torch.bool).index_fill(0, rows, True)
        term, told = None, {}
        if self.best_rq is not None and hidden is not None and counts is not None:
            # last, so that random numbers before it are the same without it
            heard = audio if o.one_pass and "audio" in tokens else self._hear(batch, hidden)
            if len(heard.rows):
                latents, own = batch.latents[heard.rows], hidden.part(heard.rows)
            else:
                latents = batch.latents.new_zeros(1, 1, batch.latents.shape[2])
                own = Hidden(torch.zeros_like(heard.mask), None)
            term, told = self.best_rq(latents, heard.frames, own, counts)
        scales, biases = self.scales()
        return Embedded(embeddings, present, scales, biases, term, told)

    def frame_model(self) -> PEFrameModel:
        """The PE-A-Frame to fine-tune, its scale and bias those of sounds and their captions if that is a pair."""
        start = self.scales.values()
        return frame_model_from(self.model, start.get("A-AC/scale"), start.get("A-AC/bias"))

    def _needs(self, *sides: str) -> bool:
        return any(side in self.sides for side in sides)

    def _needs_text(self, kind: str) -> bool:
        joined = {
            "audio_plus_text": self.options.text_with_audio,
            "visual_plus_text": self.options.text_with_video,
        }
        return f"{kind}_text" in self.sides or any(joined.get(side) == kind for side in self.sides)

    def _hear(self, batch: PretrainBatch, hidden: Hidden | None) -> _Part:
        """What the audio tower makes of clips with sound."""
        latents = batch.latents
        if hidden is not None:
            assert self.best_rq is not None
            latents = self.best_rq.hidden_latents(latents, hidden)
        rows, latents, mask = _there(latents, batch.audio_mask)
        return _Part(rows, mask, *self.model.audio(latents, mask))

    def _see(self, batch: PretrainBatch) -> _Part:
        """What the video tower makes of clips with pictures."""
        rows, features, mask = _there(batch.video, batch.video_mask)
        return _Part(rows, mask, *self.model.video(features, mask))

    def _read(self, batch: PretrainBatch, kind: str) -> Found:
        """Rows with a caption, and what the text tower makes of them."""
        text = batch.caption(kind)
        rows, ids, mask = _there(text.ids, text.mask.bool())
        return rows, self.model.text(ids, mask)


def _there(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of clips that have something, what they have and its mask; one place of zeros where none has."""
    rows = mask.any(dim=1).nonzero()[:, 0]
    if len(rows):
        return rows, x[rows], mask[rows]
    return rows, x.new_zeros(1, 1, *x.shape[2:]), mask.new_ones(1, 1)


def _common(one: Tensor, other: Tensor) -> Tensor:
    """Rows in both of two ascending lists."""
    return one[torch.isin(one, other)]


def _chosen(rows: Tensor, some: Tensor) -> Tensor:
    """Where `some` of the ascending `rows` stand in what was made of them; the first place where there are none."""
    return torch.searchsorted(rows, some) if len(some) else some.new_zeros(1)
