"""PE-AV: one embedding each for a clip's sound, its pictures, both together, and what is said of them.

Class PEAudioVisual in `core/audio_visual_encoder/pe.py` of facebookresearch/perception_models (arXiv 2512.19687): an
audio tower on codec latents, a video tower on the frame features of a PE image encoder, a fusion tower on both (video
brought to the audio's frames by nearest neighbour), ModernBERT with one head for each kind of caption.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peaframe.errors import ModelError, OptionError
from peaframe.models.image import ImageConfig, ImageEncoder
from peaframe.models.inputs import check_frames, check_tokens, clip_lengths
from peaframe.models.modernbert import ModernBert, ModernBertConfig
from peaframe.models.pe_frame import PEAudioConfig, PEAudioTower
from peaframe.models.text import QueryTokenizer
from peaframe.models.tower import ContrastiveHead, Tower, TowerConfig
from peaframe.video import blocks as video_blocks


@dataclass(frozen=True)
class PEVideoConfig:
    """Sizes of the video side.

    Attributes:
        features: channels of a frame feature, as the image encoder gives it; None where only the weights tell.
        tower: the transformer on them.
        image_encoder: name of the image encoder.
        image: its sizes; None where the checkpoint does not hold it.
        frames: how many frames, evenly spread, stand for a clip; None for all of them.
    """

    features: int | None
    tower: TowerConfig
    image_encoder: str = "PE-Core-L14-336"
    frames: int | None = None
    image: ImageConfig | None = None


@dataclass(frozen=True)
class PEAudioVideoConfig:
    """Sizes of a PE-AV model.

    Attributes:
        audio: codec and audio tower.
        video: video tower.
        fusion: the tower on both.
        text: the text tower.
        embedding_dim: channels of all embeddings.
    """

    audio: PEAudioConfig
    video: PEVideoConfig
    fusion: TowerConfig
    text: ModernBertConfig
    embedding_dim: int = 1024


class VideoTower(nn.Module):
    """Frame features -> contextual frames and a clip token."""

    def __init__(self, config: PEVideoConfig) -> None:
        super().__init__()
        self.proj = nn.Linear(config.features or 0, config.tower.width, bias=False)
        self.data_proj = nn.Linear(config.tower.width, config.tower.width)
        self.tower = Tower(config.tower)

    def forward(self, features: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map (batch, frames, features) of unit length to (batch, frames, width) and (batch, width)."""
        out: tuple[Tensor, Tensor] = self.tower(self.data_proj(self.proj(features)), mask)
        return out


class FusionTower(nn.Module):
    """Audio and video frames -> joint frames at the audio's rate and a clip token."""

    def __init__(self, audio_width: int, video_width: int, config: TowerConfig) -> None:
        super().__init__()
        self.align = nn.Conv1d(video_width, audio_width, 1)
        self.align_norm = nn.LayerNorm(audio_width)
        self.concat_proj = nn.Linear(2 * audio_width, config.width)
        self.data_proj = nn.Linear(config.width, config.width)
        self.tower = Tower(config)

    def forward(
        self, audio: Tensor, audio_mask: Tensor | None, video: Tensor, video_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Fuse.

        Args:
            audio: (batch, audio frames, audio width).
            audio_mask: (batch, audio frames); None when all belong to their clips.
            video: (batch, video frames, video width).
            video_mask: (batch, video frames); None when all belong to their clips.

        Returns:
            Frames (batch, audio frames, width) and clip tokens (batch, width).
        """
        video = self.align(video.transpose(1, 2))
        aligned = video.new_zeros(audio.shape[0], video.shape[1], audio.shape[1])
        for i in range(len(audio)):
            length = audio.shape[1] if audio_mask is None else int(audio_mask[i].sum())
            own = video[i : i + 1] if video_mask is None else video[i : i + 1, :, video_mask[i]]
            aligned[i : i + 1, :, :length] = F.interpolate(own, size=length, mode="nearest")
        joint = torch.cat((audio, self.align_norm(aligned.transpose(1, 2))), dim=-1)
        out: tuple[Tensor, Tensor] = self.tower(self.data_proj(self.concat_proj(joint)), audio_mask)
        return out


class PEAudioVideoModel(nn.Module):
    """PE-AV of any size, on whole clips.

    Attributes:
        name: the name it was loaded by.
    """

    name: str = ""

    def __init__(self, config: PEAudioVideoConfig, tokenizer: QueryTokenizer | None = None) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.audio = PEAudioTower(config.audio)
        self.video = VideoTower(config.video)
        self.image: ImageEncoder | None = None
        if config.video.image is not None:
            self.image = ImageEncoder(config.video.image, config.video.features or 0)
        widths = config.audio.tower.width, config.video.tower.width
        self.fusion = FusionTower(*widths, config.fusion)
        self.text = ModernBert(config.text)
        self.heads = nn.ModuleDict(
            {
                name: ContrastiveHead(width, config.embedding_dim)
                for name, width in {
                    "audio": widths[0],
                    "visual": widths[1],
                    "audio_visual": config.fusion.width,
                    "audio_text": config.text.width,
                    "visual_text": config.text.width,
                    "audio_visual_text": config.text.width,
                    "audio_plus_text": widths[0] + config.text.width,
                    "visual_plus_text": widths[1] + config.text.width,
                }.items()
            }
        )

    def video_features(self, path: str | os.PathLike[str]) -> Tensor:
        """What the video tower takes, from the pictures of a file.

        Args:
            path: the video; 16-frame models take 16 frames, evenly spread, the others all of them.

        Returns:
            (frames, features) of unit length. Memory does not grow with the video but for them.

        Raises:
            ModelError: the checkpoint holds no image encoder.
            VideoError: the file cannot be read.
        """
        if self.image is None:
            raise ModelError(
                f"{self.name or 'this model'} came without its image encoder; convert it from the layout of "
                "transformers, or give frame_features"
            )
        parts = [
            self.image.frame_features(torch.from_numpy(np.ascontiguousarray(block)))
            for block in video_blocks(path, self.config.video.frames)
        ]
        return torch.cat(parts)

    def encode_av(
        self,
        waveform: Tensor | None = None,
        lengths: Tensor | None = None,
        frame_features: Tensor | None = None,
        frame_mask: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Embed whole clips by whatever is given of them.

        Args:
            waveform: (batch, samples) at 48 kHz.
            lengths: (batch,) samples that belong to each clip; None when all do.
            frame_features: (batch, video frames, features) of the image encoder, of unit length.
            frame_mask: (batch, video frames), true where a frame belongs to its clip; None when all do.
            input_ids: (batch, tokens) of a text for each clip.
            attention_mask: (batch, tokens) of them; None when all are words.

        Returns:
            Embeddings (batch, dim) by name: `audio_embeds`, `visual_embeds`, `audio_visual_embeds`, the text as a
            description of each (`audio_text_embeds`, `visual_text_embeds`, `audio_visual_text_embeds`), and text joined
            with sound or pictures (`audio_plus_text_embeds`, `visual_plus_text_embeds`). What was not given is
            left out. A clip's embeddings do not depend on what it is batched with.

        Raises:
            OptionError: nothing was given, the batches differ, or one of these is of another shape or type.
        """
        dtype = self.video.proj.weight.dtype
        counts: list[int] = []
        if waveform is not None:
            counts = clip_lengths(waveform, lengths)
        if frame_features is not None:
            check_frames(frame_features, frame_mask, self.video.proj.in_features, dtype)
        if input_ids is not None:
            check_tokens(input_ids, attention_mask, self.config.text.vocabulary, self.config.text.max_tokens)
        sizes = [len(x) for x in (waveform, frame_features, input_ids) if x is not None]
        if not sizes or len(set(sizes)) > 1:
            raise OptionError(f"got batches of {sizes}, expected audio, video or text of equally many clips")
        clips: dict[str, Tensor] = {}
        if waveform is not None:
            latents, audio_mask = self.audio.latents(waveform.to(dtype), counts)
            audio, clips["audio"] = self.audio(latents, audio_mask)
        if frame_features is not None:
            video, clips["visual"] = self.video(frame_features, frame_mask)
        if waveform is not None and frame_features is not None:
            _, clips["audio_visual"] = self.fusion(audio, audio_mask, video, frame_mask)
        if input_ids is not None:
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            text = self.text(input_ids, mask)
            for kind in ("audio", "visual"):
                if kind in clips:
                    clips[f"{kind}_plus_text"] = torch.cat((clips[kind], text), dim=-1)
            clips |= {f"{kind}_text": text for kind in ("audio", "visual", "audio_visual")}
        return {f"{name}_embeds": self.heads[name](clip) for name, clip in clips.items()}
