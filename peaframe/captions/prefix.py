"""A captioning decoder on frozen sound embeddings: a few prefix tokens that a causal language model goes on from.

The paper's second stage captions sound with the PE-AV of the first stage and a Llama decoder, in three kinds: events,
full, environment. How the two are joined is not told; this is ours: learned queries of each kind attend to the frames
of the clip, and what they find stands before the caption as if it were words.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from peaframe.audio.source import Samples
from peaframe.captions.local_models import load_language_model
from peaframe.config import build
from peaframe.errors import CheckpointError, ConfigError, OptionError
from peaframe.infer.detector import Detector
from peaframe.models.audio_video import PEAudioVideoModel
from peaframe.models.checkpoint import write_tensors, write_text

EVENTS, FULL, ENVIRONMENT = "events", "full", "environment"
AUDIO_KINDS = (EVENTS, FULL, ENVIRONMENT)
_CONFIG, _WEIGHTS, _LANGUAGE = "prefix.json", "prefix.safetensors", "language_model"


@dataclass(frozen=True)
class PrefixConfig:
    """Sizes of what joins sound and language.

    Attributes:
        width: channels of the frames' embeddings.
        tokens: that stand before a caption.
        heads: of attention; they divide the language model's width.
        longest: tokens of a caption at most.
        kinds: of captions.
    """

    width: int
    tokens: int = 16
    heads: int = 4
    longest: int = 64
    kinds: tuple[str, ...] = AUDIO_KINDS

    def __post_init__(self) -> None:
        if min(self.width, self.tokens, self.heads, self.longest) < 1 or not self.kinds:
            raise OptionError(f"got {self}, expected sizes of 1 or more, and a kind")


class Rows(Protocol):
    """Turns sound into embeddings of its frames, and stands still."""

    width: int
    identity: str

    def rows(self, sound: Samples) -> Tensor:
        """(samples,) at 48 kHz to (frames, width) float32."""
        ...


class FrameRows:
    """Frames as a frame model, such as PE-A-Frame, embeds them."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.width = detector.model.embedding_dim
        self.identity = f"frames {detector.model.fingerprint()}"

    def rows(self, sound: Samples) -> Tensor:
        """(samples,) at 48 kHz to (frames, width) float32."""
        return torch.tensor(self._detector.embed(sound).values).float()


class AudioVideoRows:
    """Frames as the audio tower of PE-AV leaves them."""

    def __init__(self, model: PEAudioVideoModel) -> None:
        self._model = model.eval()
        self.width = model.config.audio.tower.width
        digest = hashlib.sha256()
        for name, tensor in sorted(model.audio.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {float(tensor.double().sum())!r}".encode())
        self.identity = f"audio tower {digest.hexdigest()[:16]}"

    @torch.no_grad()
    def rows(self, sound: Samples) -> Tensor:
        """(samples,) at 48 kHz to (frames, width) float32."""
        device = next(self._model.parameters()).device
        waveform = torch.tensor(sound)[None].to(device)
        latents, mask = self._model.audio.latents(waveform, [len(sound)])
        frames: Tensor = self._model.audio(latents, mask)[0]
        return frames[0].float().cpu()


class PrefixDecoder(nn.Module):
    """Frames of a clip and a kind to a caption."""

    def __init__(self, config: PrefixConfig, language: Any, tokenizer: Any) -> None:
        """Join sound to a language model.

        Args:
            config: sizes.
            language: a causal language model of transformers.
            tokenizer: its tokenizer.

        Raises:
            OptionError: the heads do not divide the language model's width.
        """
        super().__init__()
        wide = language.get_input_embeddings().embedding_dim
        if wide % config.heads:
            raise OptionError(f"got {config.heads} heads, expected a number that divides the width {wide}")
        self.config, self.tokenizer = config, tokenizer
        self.language: Any = language
        self.norm = nn.LayerNorm(config.width)
        self.enter = nn.Linear(config.width, wide)
        self.queries = nn.Parameter(torch.randn(len(config.kinds), config.tokens, wide) * wide**-0.5)
        self.attend = nn.MultiheadAttention(wide, config.heads, batch_first=True)
        self.mix = nn.Sequential(
            nn.LayerNorm(wide), nn.Linear(wide, 2 * wide), nn.GELU(), nn.Linear(2 * wide, wide)
        )

    def prefix(self, rows: Tensor, mask: Tensor, kinds: Tensor) -> Tensor:
        """Frames (batch, frames, width), their mask, and numbers of kinds (batch,) to (batch, tokens, wide)."""
        keys = self.enter(self.norm(rows))
        asked = self.queries[kinds]
        found, _ = self.attend(asked, keys, keys, key_padding_mask=~mask, need_weights=False)
        whole = asked + found
        out: Tensor = whole + self.mix(whole)
        return out

    def forward(self, rows: Tensor, mask: Tensor, kinds: Tensor, captions: list[str]) -> Tensor:
        """The mean cross-entropy of the captions' tokens, each with the end behind it."""
        end, longest = self.tokenizer.eos_token_id, self.config.longest
        ids = [self.tokenizer(text, add_special_tokens=False)["input_ids"][:longest] for text in captions]
        targets = [torch.tensor([*own, end]) for own in ids]
        padded = nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=-100).to(rows.device)
        prefix = self.prefix(rows, mask, kinds)
        words = self.language.get_input_embeddings()(padded.clamp_min(0)[:, :-1])
        whole = torch.cat((prefix, words), 1)
        seen = torch.ones(
            whole.shape[:2], dtype=torch.long, device=whole.device
        )  # what fills up stands behind
        logits: Tensor = self.language(inputs_embeds=whole, attention_mask=seen).logits
        logits = logits[:, self.config.tokens - 1 :].float()
        return F.cross_entropy(logits.flatten(0, 1), padded.flatten(), ignore_index=-100)

    @torch.inference_mode()
    def write(self, rows: list[Tensor], kind: str) -> list[str]:
        """Captions of a kind for clips (frames, width), the likeliest words each time.

        Raises:
            OptionError: no such kind.
        """
        if kind not in self.config.kinds:
            raise OptionError(f"got kind {kind!r}, expected one of {', '.join(self.config.kinds)}")
        batch, mask = padded_rows(rows)
        batch, mask = batch.to(self.queries.device), mask.to(self.queries.device)
        kinds = torch.full((len(rows),), self.config.kinds.index(kind), device=batch.device)
        prefix = self.prefix(batch, mask, kinds)
        made = self.language.generate(
            inputs_embeds=prefix,
            attention_mask=torch.ones(prefix.shape[:2], dtype=torch.long, device=prefix.device),
            max_new_tokens=self.config.longest,
            do_sample=False,
            num_beams=1,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        return [
            " ".join(text.split()) for text in self.tokenizer.batch_decode(made, skip_special_tokens=True)
        ]

    def save(self, folder: Path) -> None:
        """Write a folder with everything that `load_prefix` needs, the language model too."""
        folder.mkdir(parents=True, exist_ok=True)
        own = {
            n: t.detach().contiguous() for n, t in self.state_dict().items() if not n.startswith("language.")
        }
        self.language.save_pretrained(folder / _LANGUAGE)
        self.tokenizer.save_pretrained(folder / _LANGUAGE)
        write_tensors(folder / _WEIGHTS, own)
        write_text(folder / _CONFIG, json.dumps(asdict(self.config), indent=2) + "\n")


def load_prefix(folder: Path) -> PrefixDecoder:
    """Read what `PrefixDecoder.save` wrote, ready to write captions.

    Raises:
        CheckpointError: the folder is incomplete, or its weights do not fit.
        ModelError: its language model cannot be loaded.
    """
    try:
        config = build(PrefixConfig, json.loads((folder / _CONFIG).read_text(encoding="utf-8")))
        tensors = load_file(folder / _WEIGHTS)
    except (OSError, ValueError, ConfigError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: no captioning decoder ({error}); give a folder that one was saved to"
        ) from error
    decoder = PrefixDecoder(config, *load_language_model(folder / _LANGUAGE))
    expected = {n: tuple(t.shape) for n, t in decoder.state_dict().items() if not n.startswith("language.")}
    got = {n: tuple(t.shape) for n, t in tensors.items()}
    if got != expected:
        name = min(n for n in {*got, *expected} if got.get(n) != expected.get(n))
        raise CheckpointError(f"{folder}: got {name} of shape {got.get(name)}, expected {expected.get(name)}")
    decoder.load_state_dict(tensors, strict=False)
    return decoder.eval()


def padded_rows(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Clips (frames, width) as one batch (clips, frames, width), and the mask (clips, frames) of what is theirs."""
    lengths = torch.tensor([len(own) for own in rows])
    mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), mask
