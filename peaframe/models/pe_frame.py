"""PE-A-Frame: Meta's public frame models (arXiv 2512.19687), one embedding per 40 ms and one per query.

Class PEAudioFrame in `core/audio_visual_encoder/pe.py` of facebookresearch/perception_models: codec latents, a linear
layer, the tower, and a head on every frame; ModernBERT's first token and a head for the query. Embeddings are not
normed; one scale and one bias serve all queries.

Unlike there, and in transformers, a clip's embeddings do not depend on what it is batched with: each clip goes through
the codec alone, so no padding enters it, and the tower masks the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from peaframe.clock import HOP_SAMPLES
from peaframe.codec.dac_vae import Codec, CodecConfig
from peaframe.codec.encode import ChunkStream, LatentStream, encode
from peaframe.codec.stream import CodecStream, StreamEncoder
from peaframe.errors import ModelError
from peaframe.models.frame import FrameModel
from peaframe.models.inputs import check_tokens, clip_lengths
from peaframe.models.modernbert import ModernBert, ModernBertConfig
from peaframe.models.precision import product_type
from peaframe.models.text import QueryTokenizer
from peaframe.models.tower import ContrastiveHead, Tower, TowerConfig


@dataclass(frozen=True)
class PEAudioConfig:
    """Sizes of the audio side.

    Attributes:
        codec: DAC-VAE's encoder.
        tower: the transformer on its latents.
    """

    codec: CodecConfig
    tower: TowerConfig


@dataclass(frozen=True)
class PEFrameConfig:
    """Sizes of a PE-A-Frame model.

    Attributes:
        audio: codec and tower.
        text: the text tower.
        embedding_dim: channels of the embeddings that audio and text share.
    """

    audio: PEAudioConfig
    text: ModernBertConfig
    embedding_dim: int = 1024


SIZES = {
    "small": TowerConfig(768, 12, 6, 2048),
    "base": TowerConfig(1024, 16, 8, 2752),
    "large": TowerConfig(1792, 28, 14, 4800),
}


def public_config(size: str) -> PEFrameConfig:
    """The configuration of `pe-a-frame-small`, `-base` or `-large`."""
    return PEFrameConfig(PEAudioConfig(CodecConfig(), SIZES[size]), ModernBertConfig())


class PEAudioTower(nn.Module):
    """Waveform -> codec latents -> contextual frames and a clip token.

    Attributes:
        products: type of the matrix products; float32 stands for the type of the weights.
    """

    def __init__(self, config: PEAudioConfig) -> None:
        super().__init__()
        self.codec = Codec(config.codec)
        self.data_proj = nn.Linear(config.codec.latent, config.tower.width)
        self.tower = Tower(config.tower)
        self.products = torch.float32
        self._ready: tuple[Any, StreamEncoder] | None = None  # the codec prepared, and for what

    def open_stream(self) -> LatentStream:
        """A stream of latents for one recording, as quick as the device allows."""
        weight = self.codec.mean.weight
        if weight.device.type != "cpu":
            return self._plain_stream()
        products = weight.dtype if self.products == torch.float32 else self.products
        state = products, [(p.data_ptr(), p.is_inference() or p._version) for p in self.codec.parameters()]
        if self._ready is None or self._ready[0] != state:
            self._ready = state, StreamEncoder(self.codec, products)
        return LatentStream(CodecStream(self._ready[1]), self.codec)

    def _plain_stream(self) -> LatentStream:
        return LatentStream(ChunkStream(self.codec, products=self.products), self.codec)

    @torch.no_grad()
    def latents(self, waveform: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Encode a batch of clips with the codec, which is frozen, one by one, so that no padding enters it.

        With exact products it sums in the order of the reference, so that its numbers are the reference's.

        Args:
            waveform: (batch, samples) at 48 kHz.
            counts: samples that belong to each clip.

        Returns:
            Latents (batch, frames, latent), zeros behind a clip's end, and the mask (batch, frames).
        """
        fresh = self._plain_stream if self.products == torch.float32 else self.open_stream
        clips = [encode(fresh(), x[:count]) for x, count in zip(waveform, counts, strict=True)]
        mask = torch.arange(max(map(len, clips))) < torch.tensor([[len(clip)] for clip in clips])
        return nn.utils.rnn.pad_sequence(clips, batch_first=True), mask.to(waveform.device)

    def forward(self, latents: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Contextualise latents (batch, frames, latent): frames (batch, frames, width), clip token (batch, width)."""
        mask = None if mask is None or mask.all() else mask
        half = self.products != torch.float32
        with torch.autocast(latents.device.type, self.products) if half else nullcontext():
            frames, clip = self.tower(self.data_proj(latents), mask)
        return frames.to(latents.dtype), clip.to(latents.dtype)


class PEFrameModel(FrameModel):
    """PE-A-Frame of any size."""

    slow_text = True

    def __init__(self, config: PEFrameConfig, tokenizer: QueryTokenizer | None = None) -> None:
        super().__init__()
        if config.audio.codec.hop != HOP_SAMPLES:
            raise ModelError(f"got a codec with a hop of {config.audio.codec.hop}, expected {HOP_SAMPLES}")
        self.config = config
        self.tokenizer = tokenizer
        self.audio = PEAudioTower(config.audio)
        self.lead_frames = self.feature_lead = self.audio.codec.context
        self.feature_channels = config.audio.codec.latent
        self.audio_head = ContrastiveHead(config.audio.tower.width, config.embedding_dim)
        self.text = ModernBert(config.text)
        self.text_head = ContrastiveHead(config.text.width, config.embedding_dim)
        self.logit_scale = nn.Parameter(torch.tensor(10.0))
        self.logit_bias = nn.Parameter(torch.tensor(-10.0))

    def set_precision(self, precision: str) -> None:
        """See `FrameModel.set_precision`; what it means depends on the device, so move the model there first."""
        super().set_precision(precision)
        self.products = self.audio.products = product_type(precision, self.device)

    def open_stream(self) -> LatentStream:
        """See `FrameModel.open_stream`; rows are codec latents, exact wherever windows are cut."""
        return self.audio.open_stream()

    def encode_audio(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See `FrameModel.encode_audio`. A clip that ends inside a frame is continued by its reflection."""
        counts = clip_lengths(waveform, lengths)
        return self.encode_latents(*self.audio.latents(waveform.to(self.logit_scale.dtype), counts))

    def encode_latents(self, latents: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `FrameModel.encode_latents`; rows are codec latents."""
        frames, _ = self.audio(latents, mask)
        embeddings: Tensor = self.audio_head(frames)
        return embeddings if mask is None else embeddings * mask[:, :, None].to(embeddings.dtype)

    def still_part(self) -> tuple[str, Mapping[str, Tensor]]:
        """See `FrameModel.still_part`: the codec."""
        sizes = json.dumps(asdict(self.config.audio.codec), sort_keys=True)
        return sizes, self.audio.codec.state_dict()

    def open_features(self) -> LatentStream:
        """See `FrameModel.open_features`: the same as `open_stream`."""
        return self.open_stream()

    def encode_features(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `FrameModel.encode_features`: the same as `encode_latents`."""
        return self.encode_latents(features, mask)

    def project_text(self, states: Tensor) -> Tensor:
        """See `FrameModel.project_text`."""
        out: Tensor = self.text_head(states)
        return out

    def encode_tokens(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """See `FrameModel.encode_tokens`."""
        check_tokens(input_ids, attention_mask, self.config.text.vocabulary, self.config.text.max_tokens)
        return self.project_text(self.text(input_ids, attention_mask))
