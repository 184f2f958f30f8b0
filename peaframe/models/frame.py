"""The surface that every frame model has, and peaframe-mini behind it.

A frame model gives one embedding per 40 ms of audio and one per text query; their dot product, scaled and biased,
is the logit of "this sound is heard now" (PE-A-Frame, arXiv 2512.19687).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peaframe.clock import HOP_SAMPLES, frame_count
from peaframe.errors import ModelError
from peaframe.events import EventOptions
from peaframe.models.frontend import CHANNELS, ConvFrontEnd, FrontEndConfig, MapStream
from peaframe.models.inputs import check_tokens, clip_lengths
from peaframe.models.precision import EXACT, check_precision
from peaframe.models.text import Adapter, QueryTokenizer, SentenceEncoder, TextConfig
from peaframe.models.text_prior import TextPrior
from peaframe.models.tower import ContrastiveHead, Tower, TowerConfig

_HASHED = 256  # values of each tensor that a fingerprint takes
SHORTEST_SAMPLES = 24 * HOP_SAMPLES  # 0.96 s: shorter clips are heard with silence behind them


class FrameStream(Protocol):
    """A recording on its way into a model, in portions of any length, as one row for each 40 ms frame."""

    def push(self, samples: Tensor) -> Tensor:
        """Hear the next samples (samples,) at 48 kHz and give the rows (frames, channels) that are ready."""
        ...

    def finish(self) -> Tensor:
        """The rows still to come."""
        ...


class SampleStream:
    """Rows that are the samples of their frame, for models that work on windows from the first layer on."""

    def __init__(self) -> None:
        self._waiting = torch.zeros(0)

    def push(self, samples: Tensor) -> Tensor:
        """Hear the next samples."""
        samples = torch.cat((self._waiting, samples))
        whole = len(samples) // HOP_SAMPLES * HOP_SAMPLES
        self._waiting = samples[whole:].clone()
        return samples[:whole].view(-1, HOP_SAMPLES)

    def finish(self) -> Tensor:
        """A last frame that is not whole, with silence behind it."""
        missing = -len(self._waiting) % HOP_SAMPLES
        return F.pad(self._waiting, (0, missing)).view(-1, HOP_SAMPLES)


class FrameModel(nn.Module, ABC):
    """What PE-A-Frame checkpoints and peaframe-mini have in common.

    A long recording goes through in two stages: `open_stream` turns all of it into rows, the part of the work that
    needs no window, and `encode_latents` turns windows of rows into embeddings. `encode_audio` is both, for clips.

    Fine-tuning has two stages of its own: `open_features` gives what stands still, once for each recording, and
    `encode_features` is what learns. Likewise `text` stands still unless it is set free, and `project_text` learns.

    Attributes:
        name: the name it was loaded by.
        precision: `exact` or `fast`, see `peaframe.models.precision`.
        products: the type of matrix products that follows from it; float32 stands for the type of the weights.
        lead_frames: frames that a stream should hear before the first one wanted, so that this one's row is that of
            the whole recording.
        feature_channels: channels of the rows that fine-tuning starts from.
        feature_lead: as `lead_frames`, of the streams of `open_features`.
        feature_grid: frames that the coarsest layer of those streams steps by.
        slow_text: whether embeddings of queries are worth keeping on disk.
        text: the text tower: token ids and their mask, both (texts, tokens), to (texts, width).
        text_prior: corrects scores for how rare a query is, if the model was trained with that.
        logit_scale: what the dot product is multiplied with, shape ().
        logit_bias: what is added then, shape ().
        tokenizer: turns queries into token ids; None in a checkpoint without one.
        event_options: how its scores best become events, found on development data.
    """

    name: str = ""
    precision: str = EXACT
    products: torch.dtype = torch.float32
    lead_frames: int = 0
    feature_channels: int
    feature_lead: int = 0
    feature_grid: int = 1
    slow_text: bool = False
    event_options: EventOptions = EventOptions()
    tokenizer: QueryTokenizer | None
    text: nn.Module
    text_prior: TextPrior | None
    logit_scale: Tensor
    logit_bias: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.text_prior = None

    @abstractmethod
    def encode_audio(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embed audio, 25 frames a second.

        Args:
            waveform: (batch, samples) float, mono, 48 kHz.
            lengths: (batch,) samples that belong to each clip; None when all do. A clip's frames are the same
                whatever it is batched with.

        Returns:
            (batch, frames, dim) with frames = ceil(samples / 1920); zeros behind a clip's end.

        Raises:
            OptionError: the waveform is no (batch, samples) tensor of finite floats, is empty, or lengths do not fit.
        """

    def open_stream(self) -> FrameStream:
        """A stream for one recording, whose rows are what `encode_latents` takes."""
        return SampleStream()

    @abstractmethod
    def encode_latents(self, latents: Tensor, mask: Tensor | None = None) -> Tensor:
        """Embed windows of rows.

        Args:
            latents: (batch, frames, channels) from the streams of `open_stream`.
            mask: (batch, frames), true where a frame belongs to its window; None when all do.

        Returns:
            (batch, frames, dim), zeros behind a window's end.
        """

    @abstractmethod
    def still_part(self) -> tuple[str, Mapping[str, Tensor]]:
        """What stands still in fine-tuning: its name with its sizes, and its tensors by name."""

    @abstractmethod
    def open_features(self) -> FrameStream:
        """A stream for one recording, whose rows (frames, feature_channels) are what `encode_features` takes."""

    @abstractmethod
    def encode_features(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Embed rows of the streams of `open_features`; arguments and result as for `encode_latents`."""

    @abstractmethod
    def project_text(self, states: Tensor) -> Tensor:
        """Map what `text` gives, (texts, width), into the shared space: (texts, dim)."""

    @abstractmethod
    def encode_tokens(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Embed token ids (texts, tokens) with their attention mask: (texts, dim); refuses others."""

    def encode_text(self, texts: list[str]) -> Tensor:
        """Embed queries: (texts, dim). Raises ModelError for a query that is empty or far too long."""
        if self.tokenizer is None:
            raise ModelError(
                "this model has no tokenizer; put a tokenizer.json into its folder, or use encode_tokens"
            )
        ids, mask = self.tokenizer(texts)
        return self.encode_tokens(ids.to(self.device), mask.to(self.device))

    def score(self, frames: Tensor, texts: Tensor) -> Tensor:
        """Logits of every query in every frame.

        Args:
            frames: (batch, frames, dim) from `encode_audio`.
            texts: (texts, dim) from `encode_text`.

        Returns:
            (batch, frames, texts): dot product * scale + bias; its sigmoid is a probability. With a `text_prior`,
            the logits that it makes of them.
        """
        if self.text_prior is not None:
            return self.text_prior.score(frames @ texts.T, texts)
        return frames @ texts.T * self.logit_scale + self.logit_bias

    def fingerprint(self) -> str:
        """Sixteen hex digits that tell models apart: a hash of every tensor's name, shape and first values."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            some = tensor.detach().flatten()[
                :_HASHED
            ]  # those behind may still lie on the disk, and may stay there
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(some.float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def embedding_dim(self) -> int:
        """Channels of the embeddings that audio and text share."""
        head = self.get_submodule("text_head.proj")
        assert isinstance(head, nn.Linear)
        return head.out_features

    def set_precision(self, precision: str) -> None:
        """Compute `exact` or `fast` from now on; raises OptionError for anything else. peaframe-mini knows one way."""
        self.precision = check_precision(precision)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.logit_scale.device


@dataclass(frozen=True)
class MiniConfig:
    """Sizes of a mini model.

    Attributes:
        embedding_dim: channels of the embeddings that audio and text share.
        front: the convolutional front end.
        tower: the transformer.
        text: the sentence encoder.
        text_hidden: hidden channels of the adapter between sentence encoder and head; 0 for none.
    """

    embedding_dim: int
    front: FrontEndConfig
    tower: TowerConfig
    text: TextConfig
    text_hidden: int = 0


class MiniFrameModel(FrameModel):
    """PE-A-Frame in small: a convolutional front end, its tower, a sentence encoder; embeddings of unit length."""

    def __init__(self, config: MiniConfig, tokenizer: QueryTokenizer | None = None) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.front = ConvFrontEnd(config.front)
        self.tower = Tower(config.tower)
        self.audio_head = ContrastiveHead(config.tower.width, config.embedding_dim)
        self.text = SentenceEncoder(config.text)
        self.text_adapter = Adapter(config.text.width, config.text_hidden) if config.text_hidden else None
        self.text_head = ContrastiveHead(config.text.width, config.embedding_dim)
        self.logit_scale = nn.Parameter(torch.tensor(14.0))
        self.logit_bias = nn.Parameter(torch.tensor(-9.0))
        self.feature_channels = CHANNELS
        self.feature_lead, self.feature_grid = MapStream.CONTEXT, MapStream.GRID

    def still_part(self) -> tuple[str, Mapping[str, Tensor]]:
        """See `FrameModel.still_part`: the front end's convolutions."""
        names = ("conv1.", "depthwise.", "pointwise.")
        tensors = self.front.state_dict()
        return "peaframe-mini's convolutions", {n: tensors[n] for n in tensors if n.startswith(names)}

    def open_features(self) -> MapStream:
        """See `FrameModel.open_features`; rows are the maps of the front end."""
        return MapStream(self.front)

    def encode_features(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `FrameModel.encode_features`. Clips of one length run as one batch, so padding enters nothing."""
        if mask is None or bool(mask.all()):
            return self.encode_projected(self.front.project(self.front.surround(features)))
        counts = mask.sum(dim=1).tolist()
        out = features.new_zeros(*features.shape[:2], self.embedding_dim)
        for count in sorted(set(counts) - {0}):
            rows = [i for i, own in enumerate(counts) if own == count]
            out[rows, :count] = self.encode_features(features[rows, :count]).to(out.dtype)
        return out

    def encode_audio(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See `FrameModel.encode_audio`. Clips of one length run as one batch, so padding enters nothing."""
        counts = clip_lengths(waveform, lengths)
        waveform = waveform.to(self.logit_scale.dtype)
        frames = frame_count(waveform.shape[1])
        out = waveform.new_zeros(len(counts), frames, self.config.embedding_dim)
        for length in sorted(set(counts)):
            rows = [i for i, count in enumerate(counts) if count == length]
            clips = waveform[rows, :length]
            clips = F.pad(clips, (0, max(0, SHORTEST_SAMPLES - length)))
            clips = F.pad(clips, (0, -clips.shape[1] % HOP_SAMPLES))
            embeddings = self.encode_decimated(self.front.decimate(clips))
            own = frame_count(length)
            out[rows, :own] = embeddings[:, :own].to(out.dtype)
        return out

    def encode_latents(self, latents: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `FrameModel.encode_latents`; rows are samples."""
        return self.encode_audio(latents.flatten(1), None if mask is None else mask.sum(dim=1) * HOP_SAMPLES)

    def encode_decimated(self, waveform: Tensor) -> Tensor:
        """Embed clips of one length already at 16 kHz, (batch, samples): (batch, ceil(samples / 640), dim)."""
        return self.encode_projected(self.front(waveform)[0])

    def encode_projected(self, features: Tensor) -> Tensor:
        """Embed what the front end gives, (batch, frames, width): (batch, frames, dim) of unit length."""
        frames, _ = self.tower(features)
        return self.embed(frames)

    def embed(self, frames: Tensor) -> Tensor:
        """Map what the tower gives, (batch, frames, width), into the shared space, at unit length."""
        return F.normalize(self.audio_head(frames), dim=-1)

    def encode_tokens(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """See `FrameModel.encode_tokens`."""
        check_tokens(input_ids, attention_mask, self.config.text.vocabulary, self.config.text.max_tokens)
        return self.project_text(self.text(input_ids, attention_mask))

    def project_text(self, states: Tensor) -> Tensor:
        """See `FrameModel.project_text`; embeddings have unit length."""
        sentences = states
        if self.text_adapter is not None:
            sentences = self.text_adapter(sentences)
        return F.normalize(self.text_head(sentences), dim=-1)
