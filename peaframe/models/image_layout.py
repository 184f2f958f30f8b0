"""The image encoder's tensors by perception_models' names, to and from timm's, which peaframe uses.

The pairs of names are those by which timm reads PE-Core's own files. A head's bias, which only timm knows, is zero in
every PE-Core file; one that is not cannot be written by these names.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from peaframe.errors import CheckpointError

Tensors = dict[str, Tensor]
_PREFIX = "image."
_NAMES = {
    "class_embedding": "cls_token",
    "positional_embedding": "pos_embed",
    "conv1.weight": "patch_embed.proj.weight",
    "ln_pre.": "norm_pre.",
    "ln_post.": "norm.",
    "proj": "head.weight",
    "attn_pool.probe": "attn_pool.latent",
    "attn_pool.layernorm.": "attn_pool.norm.",
    "attn_pool.attn.out_proj.": "attn_pool.proj.",
    "attn_pool.mlp.c_fc.": "attn_pool.mlp.fc1.",
    "attn_pool.mlp.c_proj.": "attn_pool.mlp.fc2.",
}
_IN_A_LAYER = {
    "ln_1.": "norm1.",
    "ln_2.": "norm2.",
    "attn.in_proj_": "attn.qkv.",
    "attn.out_proj.": "attn.proj.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}


def to_timm(tensors: Tensors) -> Tensors:
    """Rename what stands behind `image.`, if it bears perception_models' names; leave all else."""
    if f"{_PREFIX}conv1.weight" not in tensors:
        return tensors
    out = {}
    for name, tensor in tensors.items():
        own = name.removeprefix(_PREFIX)
        if own == name:
            out[name] = tensor
        elif own.startswith("attn_pool.attn.in_proj_"):
            kind, width = own.removeprefix("attn_pool.attn.in_proj_"), len(tensor) // 3
            out[f"{_PREFIX}attn_pool.q.{kind}"] = tensor[:width]
            out[f"{_PREFIX}attn_pool.kv.{kind}"] = tensor[width:]
        elif own == "proj":
            out[f"{_PREFIX}head.weight"] = tensor.T.contiguous()
            out[f"{_PREFIX}head.bias"] = tensor.new_zeros(tensor.shape[1])
        else:
            new = _renamed(own, "transformer.resblocks.", "blocks.", _NAMES, _IN_A_LAYER)
            shape = {"cls_token": (1, 1, -1), "pos_embed": (1, *tensor.shape)}.get(new, tensor.shape)
            out[_PREFIX + new] = tensor.reshape(shape)
    return out


def from_timm(tensors: Tensors) -> Tensors:
    """The inverse of `to_timm`."""
    out = {}
    names = {theirs: ours for ours, theirs in _NAMES.items()}
    inner = {theirs: ours for ours, theirs in _IN_A_LAYER.items()}
    for name, tensor in tensors.items():
        own = name.removeprefix(_PREFIX)
        if own == name:
            out[name] = tensor
        elif own == "head.bias":
            if tensor.any():
                raise CheckpointError(
                    "the image encoder's head has a bias, which the original layout cannot hold"
                )
        elif own.startswith("attn_pool.q."):
            kind = own.removeprefix("attn_pool.q.")
            both = torch.cat((tensor, tensors[f"{_PREFIX}attn_pool.kv.{kind}"]))
            out[f"{_PREFIX}attn_pool.attn.in_proj_{kind}"] = both
        elif own == "head.weight":
            out[f"{_PREFIX}proj"] = tensor.T.contiguous()
        elif not own.startswith("attn_pool.kv."):
            new = _renamed(own, "blocks.", "transformer.resblocks.", names, inner)
            drop = {"class_embedding": 2, "positional_embedding": 1}.get(new, 0)
            out[_PREFIX + new] = tensor.reshape(tensor.shape[drop:])
    return out


def _renamed(name: str, layer: str, new_layer: str, names: dict[str, str], inner: dict[str, str]) -> str:
    if match := re.match(rf"{re.escape(layer)}(\d+)\.(.*)", name):
        return f"{new_layer}{match[1]}.{_renamed(match[2], layer, new_layer, inner, {})}"
    found = next((old for old in names if name.startswith(old)), None)
    return name if found is None else names[found] + name.removeprefix(found)
