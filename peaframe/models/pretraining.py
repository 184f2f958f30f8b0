"""A PE-AV to pre-train: sizes, first weights, and the PE-A-Frame that comes of one.

What is published of sizes (arXiv 2512.19687): the audio towers of small and large, 4 layers of video and 6 of fusion,
and the millions of parameters of those. That video and fusion towers are as wide as the audio tower fits these numbers
and is not stated; the base size follows from the rule that the width is 64 times the layers; `tiny` is ours, for trying
things out. All towers start at random, but for the codec, which stands still and must come from a published model, and
ModernBERT, which comes trained on text.
"""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from peaframe.codec.dac_vae import CodecConfig
from peaframe.errors import CheckpointError, ModelError, OptionError
from peaframe.models import checkpoint
from peaframe.models.audio_video import PEAudioVideoConfig, PEAudioVideoModel, PEVideoConfig
from peaframe.models.modernbert import ModernBertConfig
from peaframe.models.pe_frame import SIZES, PEAudioConfig, PEFrameConfig, PEFrameModel
from peaframe.models.text import QueryTokenizer
from peaframe.models.tower import ContrastiveHead, TowerConfig

VIDEO_LAYERS, FUSION_LAYERS = 4, 6
SAMPLED_FRAMES = 16  # of a clip's pictures, in the 16-frame models
FRAME_FEATURES = 1024  # channels of PE-Core-L14-336
TINY = "tiny"
_TINY_FOLDER = Path(__file__).parent / "tiny"
_TINY_TOWER = TowerConfig(width=64, layers=2, heads=2, mlp_width=96)


def av_config(size: str, frames: int | None = None, vocabulary: int | None = None) -> PEAudioVideoConfig:
    """The configuration of a PE-AV to train.

    Args:
        size: `small`, `base`, `large`, or `tiny`.
        frames: pictures, evenly spread, that stand for a clip: 16, or None for all of them.
        vocabulary: word pieces of the tokenizer; None for ModernBERT's.

    Raises:
        OptionError: no such size, or frames that no published model has.
    """
    if frames not in (None, SAMPLED_FRAMES):
        raise OptionError(f"got {frames} frames, expected {SAMPLED_FRAMES}, or None for all of them")
    text = ModernBertConfig()
    if size == TINY:
        codec = CodecConfig(width=8, hidden=128, latent=64)
        text = ModernBertConfig(
            vocabulary=512, width=48, layers=3, heads=4, mlp_width=96, window=32, max_tokens=128
        )
        video = PEVideoConfig(128, replace(_TINY_TOWER, layers=1), TINY, frames)
        config = PEAudioVideoConfig(
            PEAudioConfig(codec, _TINY_TOWER), video, replace(_TINY_TOWER, layers=1), text, 32
        )
    elif size in SIZES:
        tower = SIZES[size]
        video = PEVideoConfig(FRAME_FEATURES, replace(tower, layers=VIDEO_LAYERS), frames=frames)
        fusion = replace(tower, layers=FUSION_LAYERS)
        config = PEAudioVideoConfig(PEAudioConfig(CodecConfig(), tower), video, fusion, text)
    else:
        raise OptionError(f"got size {size!r}, expected {TINY}, {', '.join(SIZES)}")
    return config if vocabulary is None else replace(config, text=replace(text, vocabulary=vocabulary))


def new_model(
    config: PEAudioVideoConfig,
    seed: int = 0,
    codec_from: PEFrameModel | PEAudioVideoModel | None = None,
    tokenizer: QueryTokenizer | None = None,
) -> PEAudioVideoModel:
    """A PE-AV with its first weights; the same for the same seed.

    Heads start so that embeddings have lengths of about 1, and with that the scale and bias that SigLIP starts from
    fit, though nothing is normed; how the paper starts is not known.

    Args:
        config: its sizes.
        seed: of the random weights.
        codec_from: a model whose codec made the latents to train on; None leaves a random one.
        tokenizer: of its text tower.

    Raises:
        ModelError: that codec is of other sizes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PEAudioVideoModel(config, tokenizer)
        for head in model.heads.values():
            assert isinstance(head, ContrastiveHead)
            nn.init.normal_(head.proj.weight, std=(head.proj.in_features * head.proj.out_features) ** -0.5)
        for module in model.text.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)  # as BERT's
    if codec_from is not None:
        theirs = codec_from.config.audio.codec
        if theirs != config.audio.codec:
            raise ModelError(
                f"got a codec of {theirs}, expected {config.audio.codec}; take a size that fits it"
            )
        model.audio.codec.load_state_dict(codec_from.audio.codec.state_dict())
    return model


def read_text_tower(model: PEAudioVideoModel, folder: Path) -> None:
    """Give a model's text tower the weights of a ModernBERT in the layout of transformers.

    Layers behind the last one kept, the final norm and the head are left out: PE-AV reads a hidden state before them.

    Args:
        model: changed in place.
        folder: holds `model.safetensors`, of `answerdotai/ModernBERT-large` for the public sizes.

    Raises:
        CheckpointError: weights are missing or do not fit.
    """
    found = {
        match[1]: tensor.float()
        for name, tensor in checkpoint.read_weights(folder).items()
        if (match := re.fullmatch(r"(?:model\.)?((?:embeddings|layers)\..*)", name))
    }
    own = {name: tensor.shape for name, tensor in model.text.state_dict().items()}
    beyond = [name for name in found if name not in own and name.startswith("layers.")]
    checkpoint.check_fit(folder, found, own, beyond)
    model.text.load_state_dict({name: found[name] for name in own})


def read_tiny_codec(model: PEAudioVideoModel) -> None:
    """Give a model of the size `tiny` the codec that comes with peaframe, whose latents are bands of what is heard.

    `peaframe.recipes.tiny_codec` makes it.

    Args:
        model: changed in place.

    Raises:
        CheckpointError: the model's codec has other sizes.
    """
    found = {name: tensor.float() for name, tensor in checkpoint.read_weights(_TINY_FOLDER).items()}
    own = model.audio.codec.state_dict()
    checkpoint.check_fit(_TINY_FOLDER, found, {name: tensor.shape for name, tensor in own.items()})
    model.audio.codec.load_state_dict(found)


def frame_model_from(
    model: PEAudioVideoModel, scale: float | None = None, bias: float | None = None
) -> PEFrameModel:
    """A PE-A-Frame to fine-tune, from a PE-AV: its audio tower, its text tower, and their heads.

    The head of the clip token becomes the head of every frame, and captions of sounds become queries. Save it with
    `peaframe.models.load.save_pe` and it is a checkpoint that `peaframe train` starts from.

    Args:
        model: it keeps its weights; the frame model has copies.
        scale: what dot products are multiplied with at first; the one that audio and its captions learnt fits. None
            for that of a new PE-A-Frame.
        bias: what is added then, likewise.

    Raises:
        CheckpointError: the weights of one do not fit the other, which they always should.
    """
    config = PEFrameConfig(model.config.audio, model.config.text, model.config.embedding_dim)
    with checkpoint.shapes_only():
        frames = PEFrameModel(config, model.tokenizer)
    tensors = {
        name.replace("heads.audio.", "audio_head.").replace("heads.audio_text.", "text_head."): tensor
        for name, tensor in model.state_dict().items()
        if name.startswith(("audio.", "text.", "heads.audio.", "heads.audio_text."))
    }
    for name, value in (("logit_scale", scale), ("logit_bias", bias)):
        start = {"logit_scale": 10.0, "logit_bias": -10.0}[name] if value is None else value
        tensors[name] = torch.tensor(float(start))
    own = frames.state_dict().keys()
    if own != tensors.keys():
        raise CheckpointError(f"got other weights than a PE-A-Frame has: {sorted(own ^ tensors.keys())[:3]}")
    frames.load_state_dict(
        {name: copy.deepcopy(tensor.detach()) for name, tensor in tensors.items()}, assign=True
    )
    return frames.requires_grad_(True).eval()
