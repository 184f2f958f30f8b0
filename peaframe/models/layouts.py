"""The two weight layouts of PE checkpoints, and peaframe's own names for the same tensors.

`original` is what facebookresearch/perception_models writes (the hub's revision `perception_models`), `transformers`
what the hub's main revision holds (model_type `pe_audio` and `pe_audio_video`). Both name the same numbers; what models
compute with goes from one to the other bit for bit. Parts that no PE model computes with exist in the original layout
only: text layers behind the one that is read out are left out, the codec's variance and way back written as zeros.

Rotary positions turn neighbouring channels there and the two halves of a head here, so the rows of the query and key
projections change places; the products, and so all results, are the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from peaframe.errors import CheckpointError
from peaframe.models.image_layout import from_timm, to_timm

Tensors = dict[str, Tensor]

# Prefixes here -> prefixes there. The longest that fits is taken.
_CODEC = "audio_model.dac_vae_encoder"
_AUDIO_ORIGINAL = {
    "audio.codec.encoder.": f"{_CODEC}.encoder.",
    "audio.codec.mean.": f"{_CODEC}.bottleneck.in_proj.",
    "audio.data_proj.": "audio_model.data_proj.",
    "audio.tower.": "audio_model.audio_transformer.",
}
_TOWER_ORIGINAL = {"class_embedding": "embeddings.cls_token", "resnet.": "embeddings.resnet_block."}
_AUDIO_TRANSFORMERS = {
    "audio.codec.encoder.": "audio_encoder.embedder.dac_encoder.",
    "audio.codec.mean.": "audio_encoder.embedder.bottleneck.",
    "audio.data_proj.": "audio_encoder.embedder.data_proj.",
    "audio.tower.": "audio_encoder.",
}
_TOWER_TRANSFORMERS = {
    "class_embedding": "patch_embedder.class_embedding",
    "resnet.": "patch_embedder.resnet_block.",
}
_TOWERS = ("audio.tower.", "video.tower.", "fusion.tower.")


def _with_towers(prefixes: Mapping[str, str], inner: Mapping[str, str]) -> dict[str, str]:
    """Add the longer prefixes inside every tower."""
    out = dict(prefixes)
    for tower in _TOWERS:
        if tower in prefixes:
            out |= {tower + ours: prefixes[tower] + theirs for ours, theirs in inner.items()}
    return out


_AV_AUDIO = {ours: f"audio_visual_model.{theirs}" for ours, theirs in _AUDIO_ORIGINAL.items()}
_VISUAL, _FUSION = "audio_visual_model.visual_model", "audio_visual_model.audio_visual_transformer"
FRAME_ORIGINAL = _with_towers(
    {
        **_AUDIO_ORIGINAL,
        "audio_head.": "audio_head.",
        "text.": "text_model.",
        "text_head.": "text_head.",
        "logit_scale": "logit_scale",
        "logit_bias": "logit_bias",
    },
    _TOWER_ORIGINAL,
)
FRAME_TRANSFORMERS = _with_towers(
    {
        **_AUDIO_TRANSFORMERS,
        "audio_head.": "audio_head.",
        "text.": "text_model.",
        "text_head.": "text_audio_head.",
        "logit_scale": "text_audio_logit_scale",
        "logit_bias": "text_audio_logit_bias",
    },
    _TOWER_TRANSFORMERS,
)
AV_ORIGINAL = _with_towers(
    {
        **_AV_AUDIO,
        "image.": f"{_VISUAL}.pe_encoder.",
        "video.proj.": f"{_VISUAL}.proj.",
        "video.data_proj.": f"{_VISUAL}.data_proj.",
        "video.tower.": f"{_VISUAL}.visual_transformer.",
        "fusion.align.": f"{_FUSION}.modality_aligner.conv.",
        "fusion.align_norm.": f"{_FUSION}.modality_aligner.layer_norm.",
        "fusion.concat_proj.": f"{_FUSION}.concat_modality_proj.",
        "fusion.data_proj.": f"{_FUSION}.data_proj.",
        "fusion.tower.": f"{_FUSION}.",
        "heads.audio.": "audio_head.",
        "heads.visual.": "visual_head.",
        "heads.audio_visual.": "audio_visual_head.",
        "heads.audio_text.": "audio_text_head.",
        "heads.visual_text.": "visual_text_head.",
        "heads.audio_visual_text.": "audio_visual_text_head.",
        "heads.audio_plus_text.": "audio_plus_text_head.",
        "heads.visual_plus_text.": "visual_plus_text_head.",
        "text.": "text_model.",
    },
    _TOWER_ORIGINAL,
)
_AV = "audio_video_encoder"
AV_TRANSFORMERS = _with_towers(
    {
        **{ours: f"audio_model.{theirs}" for ours, theirs in _AUDIO_TRANSFORMERS.items()},
        "image.": "video_model.video_encoder.embedder.vision_model.timm_model.",
        "video.proj.": "video_model.video_encoder.embedder.proj.",
        "video.data_proj.": "video_model.video_encoder.embedder.data_proj.",
        "video.tower.": "video_model.video_encoder.",
        "fusion.align.": f"{_AV}.embedder.video_proj.",
        "fusion.align_norm.": f"{_AV}.embedder.video_norm.",
        "fusion.concat_proj.": f"{_AV}.embedder.concat_modality_proj.",
        "fusion.data_proj.": f"{_AV}.embedder.data_proj.",
        "fusion.tower.": f"{_AV}.",
        "heads.audio.": "audio_model.audio_head.",
        "heads.visual.": "video_model.video_head.",
        "heads.audio_visual.": "audio_video_head.",
        "heads.audio_text.": "audio_model.text_audio_head.",
        "heads.visual_text.": "video_model.text_video_head.",
        "heads.audio_visual_text.": "text_audio_video_head.",
        "heads.audio_plus_text.": "audio_plus_text_head.",
        "heads.visual_plus_text.": "video_plus_text_head.",
        "text.": "text_model.",
    },
    _TOWER_TRANSFORMERS,
)


def read_layout(tensors: Tensors, prefixes: Mapping[str, str], heads: Mapping[str, int]) -> Tensors:
    """Rename the tensors of a published checkpoint to peaframe's names.

    Args:
        tensors: as read from the file.
        prefixes: one of the tables above.
        heads: tower prefix (`audio.tower.` ...) -> number of attention heads.

    Returns:
        The tensors by peaframe's names; those that no prefix fits keep theirs behind `unknown.`.
    """
    back = {theirs: ours for ours, theirs in prefixes.items()}
    out = {}
    for name, tensor in fold_weight_norm(tensors).items():
        theirs = max((p for p in back if name.startswith(p)), key=len, default=None)
        ours = f"unknown.{name}" if theirs is None else back[theirs] + name.removeprefix(theirs)
        if ours.startswith("audio.codec.mean.") and ".in_proj." in name:
            tensor = tensor[: tensor.shape[0] // 2]  # the mean; the other half is the variance
        if ours in ("logit_scale", "logit_bias") and tensor.numel() == 1:
            tensor = tensor.reshape(())
        out[ours] = tensor
    return to_timm(_turn_rotary(out, heads, to_halves))


def write_layout(tensors: Tensors, prefixes: Mapping[str, str], heads: Mapping[str, int]) -> Tensors:
    """Rename peaframe's tensors to those of a published layout; see `read_layout`."""
    out = {}
    if prefixes.get("image.", "").endswith("pe_encoder."):
        tensors = from_timm(tensors)
    for name, tensor in _turn_rotary(tensors, heads, to_neighbours).items():
        ours = max((p for p in prefixes if name.startswith(p)), key=len, default=None)
        if ours is None:
            raise CheckpointError(f"got a tensor {name!r}, which the layout has no name for")
        theirs = prefixes[ours] + name.removeprefix(ours)
        if ".in_proj." in theirs:
            tensor = torch.cat((tensor, torch.zeros_like(tensor)))
        if ours in ("logit_scale", "logit_bias"):
            tensor = tensor.reshape(1)
        out[theirs] = tensor
    for theirs, tensor in list(out.items()):  # the codec's way back: not computed with, but expected there
        if theirs.endswith("bottleneck.in_proj.weight"):
            twice, hidden, _ = tensor.shape
            out[theirs.replace("in_proj", "out_proj")] = tensor.new_zeros(hidden, twice // 2, 1)
            out[theirs.replace("in_proj.weight", "out_proj.bias")] = tensor.new_zeros(hidden)
    return {name: tensor.contiguous() for name, tensor in out.items()}


def fold_weight_norm(tensors: Tensors) -> Tensors:
    """Multiply weight-normed convolutions out: weight = g * v / |v|, over all but the first dimension."""
    out = dict(tensors)
    endings = (
        (".weight_g", ".weight_v"),
        (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
    )
    for g_ending, v_ending in endings:
        for name in [name for name in out if name.endswith(g_ending)]:
            base = name.removesuffix(g_ending)
            if base + v_ending not in out:
                raise CheckpointError(f"got {name} without {base}{v_ending}")
            g, v = out.pop(name), out.pop(base + v_ending)
            if g.shape != (*v.shape[:1], *[1] * (v.ndim - 1)):
                raise CheckpointError(
                    f"got {name} of shape {tuple(g.shape)} for {base}{v_ending} of shape {tuple(v.shape)}"
                )
            out[base + ".weight"] = torch._weight_norm(v, g, 0)
    return out


def to_halves(x: Tensor, heads: int) -> Tensor:
    """Reorder rows (heads * head_dim, ...) from rotary pairs of neighbours to pairs across the halves of a head."""
    half = x.shape[0] // heads // 2
    return x.reshape(heads, half, 2, *x.shape[1:]).transpose(1, 2).reshape(x.shape)


def to_neighbours(x: Tensor, heads: int) -> Tensor:
    """The inverse of `to_halves`."""
    half = x.shape[0] // heads // 2
    return x.reshape(heads, 2, half, *x.shape[1:]).transpose(1, 2).reshape(x.shape)


def _turn_rotary(
    tensors: Tensors, heads: Mapping[str, int], turn: Callable[[Tensor, int], Tensor]
) -> Tensors:
    out = dict(tensors)
    for name, tensor in tensors.items():
        match = re.match(r"(\w+\.tower\.)layers\.\d+\.self_attn\.[qk]_(proj|norm)\.weight$", name)
        parts = (heads[match[1]] if match[2] == "proj" else 1) if match else 0
        if parts and tensor.ndim and tensor.shape[0] % (2 * parts) == 0:  # others are refused by their shape
            out[name] = turn(tensor, parts)
    return out
