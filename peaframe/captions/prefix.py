"""A captioning decoder on frozen sound embeddings: a few prefix tokens that a causal language model goes on from.

The paper's second stage captions sound with the PE-AV of the first stage and a Llama decoder, in three kinds: events,
full, environment. How the two are joined is not told; this is ours: learned queries of each kind attend to the frames
of the clip, and what they find stands before the caption as if it were words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from peaframe.captions.local_models import load_language_model
from peaframe.captions.prefix_examples import padded_rows
from peaframe.captions.prefix_rows import fingerprint
from peaframe.config import build
from peaframe.errors import CheckpointError, ConfigError, FormatError, OptionError
from peaframe.json_files import load_json, save_json
from peaframe.models.checkpoint import write_tensors, write_text

EVENTS, FULL, ENVIRONMENT = "events", "full", "environment"
AUDIO_KINDS = (EVENTS, FULL, ENVIRONMENT)
CONFIG = "prefix.json"
_WEIGHTS, _LANGUAGE, _ELSEWHERE = "prefix.safetensors", "language_model", "language_model.json"
_FORMAT = "peaframe-captioner-language"


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


class PrefixDecoder(nn.Module):
    """Frames of a clip and a kind to a caption."""

    def __init__(self, config: PrefixConfig, language: Any, tokenizer: Any) -> None:
        """Join sound to a language model.

        Args:
            config: sizes.
            language: a causal language model of transformers.
            tokenizer: its tokenizer.

        Raises:
            OptionError: the heads do not divide the language model's width, or captions are too long for it.
        """
        super().__init__()
        wide = language.get_input_embeddings().embedding_dim
        if wide % config.heads:
            raise OptionError(f"got {config.heads} heads, expected a number that divides the width {wide}")
        if tokenizer.eos_token_id is None:
            raise OptionError(
                "got a language model whose tokenizer has no token for the end, expected one that has"
            )
        places = getattr(language.config, "max_position_embeddings", None)
        if places is not None and config.tokens + config.longest > places:
            raise OptionError(
                f"got {config.tokens} tokens before a caption of up to {config.longest}, expected {places} in all at "
                "most for this language model"
            )
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

    def losses(
        self, rows: Tensor, mask: Tensor, kinds: Tensor, captions: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """The cross-entropy of each caption's tokens, the end behind them too: sums (batch,) and counts (batch,)."""
        end, longest = self.tokenizer.eos_token_id, self.config.longest
        ids = [
            self.tokenizer(text, add_special_tokens=False)["input_ids"][: longest - 1] for text in captions
        ]
        targets = [torch.tensor([*own, end]) for own in ids]
        padded = nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=-100).to(rows.device)
        prefix = self.prefix(rows, mask, kinds)
        words = self.language.get_input_embeddings()(padded.clamp_min(0)[:, :-1])
        whole = torch.cat((prefix, words), 1)
        seen = whole.new_ones(whole.shape[:2], dtype=torch.long)  # what fills up stands behind
        logits: Tensor = self.language(inputs_embeds=whole, attention_mask=seen).logits
        logits = logits[:, self.config.tokens - 1 :].float()
        each = F.cross_entropy(logits.transpose(1, 2), padded, ignore_index=-100, reduction="none")
        return each.sum(1), (padded != -100).sum(1)

    def forward(self, rows: Tensor, mask: Tensor, kinds: Tensor, captions: Sequence[str]) -> Tensor:
        """The mean cross-entropy of all tokens of the captions, each with the end behind it."""
        sums, counts = self.losses(rows, mask, kinds, captions)
        return sums.sum() / counts.sum()

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

    def save(self, folder: Path, language: str | None = None) -> None:
        """Write a folder with everything that `load_prefix` needs.

        Args:
            folder: made if it does not exist.
            language: folder or hub id of the language model, if it is as it lies there: it is named, not copied.
        """
        folder.mkdir(parents=True, exist_ok=True)
        own = {
            n: t.detach().cpu().contiguous()
            for n, t in self.state_dict().items()
            if not n.startswith("language.")
        }
        if language is None:
            self.language.save_pretrained(folder / _LANGUAGE)
            self.tokenizer.save_pretrained(folder / _LANGUAGE)
        else:
            told = {"source": language, "fingerprint": fingerprint(self.language)}
            save_json(folder / _ELSEWHERE, _FORMAT, 1, told)
        write_tensors(folder / _WEIGHTS, own)
        write_text(folder / CONFIG, json.dumps(asdict(self.config), indent=2) + "\n")


def load_prefix(folder: Path) -> PrefixDecoder:
    """Read what `PrefixDecoder.save` wrote, ready to write captions.

    Raises:
        CheckpointError: the folder is incomplete, its weights do not fit, or its language model is another one now.
        ModelError: its language model cannot be loaded.
    """
    try:
        config = build(PrefixConfig, json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        tensors = load_file(folder / _WEIGHTS)
    except (OSError, ValueError, ConfigError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: no captioning decoder ({error}); give a folder that one was saved to"
        ) from error
    decoder = PrefixDecoder(config, *_language(folder))
    expected = {n: tuple(t.shape) for n, t in decoder.state_dict().items() if not n.startswith("language.")}
    got = {n: tuple(t.shape) for n, t in tensors.items()}
    if got != expected:
        name = min(n for n in {*got, *expected} if got.get(n) != expected.get(n))
        raise CheckpointError(f"{folder}: got {name} of shape {got.get(name)}, expected {expected.get(name)}")
    decoder.load_state_dict(tensors, strict=False)
    return decoder.eval()


def _language(folder: Path) -> tuple[Any, Any]:
    if (folder / _LANGUAGE).is_dir():
        return load_language_model(folder / _LANGUAGE)
    path = folder / _ELSEWHERE
    try:
        told = load_json(path, _FORMAT, 1, "a language model's name", "expected one beside prefix.json")
        source, wanted = str(told["source"]), told["fingerprint"]
    except (FormatError, KeyError) as error:
        raise CheckpointError(
            f"{path}: does not name a language model ({error}); get a whole copy"
        ) from error
    model, tokenizer = load_language_model(source)
    if (got := fingerprint(model)) != wanted:
        raise CheckpointError(
            f"{path}: names {source}, which has fingerprint {got}, expected {wanted}; write there where the "
            "language model of the training lies"
        )
    return model, tokenizer
