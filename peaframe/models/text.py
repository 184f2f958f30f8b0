"""peaframe-mini's text side: free words -> one embedding per query.

A BERT encoder with the layout of all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0): word pieces, learnt positions,
six post-norm layers, the mean over tokens. Its vocabulary is pruned to pieces that English queries use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from peaframe.errors import CheckpointError, ModelError

MAX_CHARACTERS = 10_000


@dataclass(frozen=True)
class TextConfig:
    """Sizes of the sentence encoder.

    Attributes:
        vocabulary: number of word pieces.
        width: channels of every token.
        layers: number of transformer layers.
        heads: attention heads.
        mlp_width: hidden channels of the feed-forward part.
        max_tokens: pieces a query may have, the two marks at its ends counted in.
    """

    vocabulary: int
    width: int = 384
    layers: int = 6
    heads: int = 12
    mlp_width: int = 1536
    max_tokens: int = 64


class SentenceEncoder(nn.Module):
    """BERT with mean pooling and unit length, as all-MiniLM-L6-v2 does it."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.max_tokens, config.width)
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, config.mlp_width, 0.0, "gelu", 1e-12, batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode token ids (texts, tokens) with their mask into sentence vectors (texts, width) of unit length."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.norm(self.words(input_ids) + self.positions(places))
        mask = attention_mask.bool()
        x = self.layers(x, src_key_padding_mask=~mask)
        keep = mask[:, :, None].to(x.dtype)
        return F.normalize((x * keep).sum(1) / keep.sum(1), dim=-1)


class Adapter(nn.Module):
    """What sounds make of sentences: a residual layer that adds nothing until training moves it.

    A linear head on a sentence encoder that is kept as it is cannot bring all wordings of a sound together; with one
    hidden layer, phrases never trained on land nearer to their sound.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (texts, width) to the same shape."""
        x = self.norm(x)
        out: Tensor = x + self.down(F.gelu(self.up(x)))
        return out


class QueryTokenizer:
    """Queries -> padded token ids; refuses what no text encoder can make sense of.

    Args:
        path: a `tokenizer.json`.
        max_tokens: pieces a query may have, the two marks at its ends counted in.
        vocabulary: pieces that the text encoder knows, to refuse a tokenizer with more; None where it is not known.
    """

    def __init__(self, path: Path, max_tokens: int, vocabulary: int | None = None) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises a bare Exception
            raise CheckpointError(
                f"{path}: not a tokenizer file ({error}); expected the tokenizer.json of the checkpoint"
            ) from error
        pieces = self._tokenizer.get_vocab() if vocabulary is not None else {}
        if vocabulary is not None and pieces and (most := max(pieces.values())) >= vocabulary:
            raise CheckpointError(
                f"{path}: holds token ids up to {most}, but config.json says a vocabulary of {vocabulary}; "
                "expected the tokenizer.json of the checkpoint"
            )
        self.max_tokens = max_tokens
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def __call__(self, texts: Sequence[str], cut: bool = False) -> tuple[Tensor, Tensor]:
        """Tokenise queries.

        Args:
            texts: one or more queries.
            cut: longer ones, such as captions and transcripts may be, lose their end in place of being refused.

        Returns:
            Token ids and attention mask, both (texts, tokens) int64, padded to the longest query.

        Raises:
            ModelError: no queries, or a query that is empty or longer than `max_tokens` pieces.
        """
        if isinstance(texts, str) or not texts:
            raise ModelError(f"got {texts!r}, expected a list of one or more texts such as ['dog barking']")
        rows = [self._encode(text, cut) for text in texts]
        tokens = max(len(row) for row in rows)
        ids = torch.zeros(len(rows), tokens, dtype=torch.int64)
        mask = torch.zeros(len(rows), tokens, dtype=torch.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        return ids, mask

    def _encode(self, text: str, cut: bool = False) -> list[int]:
        if not text.strip():
            raise ModelError("got an empty query, expected a few words such as 'dog barking'")
        limit = f"expected at most {self.max_tokens - 2} word pieces; describe one sound in a few words"
        if cut:
            text = text.strip()[:MAX_CHARACTERS]
        if len(text) > MAX_CHARACTERS:
            raise ModelError(f"got a query of {len(text)} characters, {limit}")
        ids: list[int] = self._tokenizer.encode(text.strip()).ids
        if all(self._tokenizer.id_to_token(i) in ("[CLS]", "[UNK]", "[SEP]") for i in ids):
            raise ModelError(
                f"got a query without a known word ({text[:30]!r}), expected a few English words"
            )
        if cut and len(ids) > self.max_tokens:
            ids = [*ids[: self.max_tokens - 1], ids[-1]]  # the last one ends a text
        if len(ids) > self.max_tokens:
            raise ModelError(f"got a query of {len(ids) - 2} word pieces ({text[:30]!r} ...), {limit}")
        return ids
