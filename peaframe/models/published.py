"""`config.json` of published PE checkpoints, in either layout, to and from peaframe's configurations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peaframe.codec.dac_vae import CodecConfig
from peaframe.errors import CheckpointError
from peaframe.models import video_processor
from peaframe.models.audio_video import PEAudioVideoConfig, PEVideoConfig
from peaframe.models.config_values import Values
from peaframe.models.image import PUBLIC, ImageConfig
from peaframe.models.modernbert import ModernBertConfig
from peaframe.models.pe_frame import PEAudioConfig, PEFrameConfig
from peaframe.models.tower import TowerConfig

PEConfig = PEFrameConfig | PEAudioVideoConfig
ROPE_THETA = 20_000.0
_PM_NAMES = {"vit_pe_core_large_patch14_336": "PE-Core-L14-336"}
PE_CORE_LARGE = "vit_pe_core_large_patch14_336"  # timm's name of the image encoder of all public PE-AV models


def layout_of(values: Mapping[str, Any]) -> str | None:
    """`original` or `transformers`, or None where a config.json is of neither."""
    if values.get("model_type") in ("pe_audio", "pe_audio_video"):
        return "transformers"
    if "model_type" not in values and ("audio_model" in values or "audio_visual_model" in values):
        return "original"
    return None


def read_published(file: Path, values: Mapping[str, Any]) -> PEConfig:
    """The configuration of a published checkpoint.

    Args:
        file: named in error messages.
        values: the content of its config.json.

    Raises:
        CheckpointError: a key is missing, of the wrong kind, or asks for something PE models do not do.
    """
    read = _read_original if layout_of(values) == "original" else _read_transformers
    config = read(Values(file, values))
    towers = [config.audio.tower]
    if isinstance(config, PEAudioVideoConfig):
        towers += [config.video.tower, config.fusion]
    text = config.text.width, config.text.heads
    for width, heads in (text, *((tower.width, tower.heads) for tower in towers)):
        if width % (2 * heads):
            raise CheckpointError(f"{file}: {heads} heads do not divide a width of {width} into even parts")
    return config


def _read_original(root: Values) -> PEConfig:
    layers = root.integer("nth_text_layer")
    text = root.part("text_model")
    if layers > text.integer("num_hidden_layers"):
        raise CheckpointError(
            f"{root.file}: nth_text_layer is {layers}, more than text_model.num_hidden_layers"
        )
    dim = root.integer("output_dim")
    if "audio_model" in root.values:
        return PEFrameConfig(_original_audio(root.part("audio_model")), _text(text, layers), dim)
    both = root.part("audio_visual_model")
    visual = both.part("visual_model")
    name = visual.get("pe_encoder")
    features = {"PE-Core-L14-336": 1024}.get(name, visual.values.get("pe_features"))
    return PEAudioVideoConfig(
        _original_audio(both.part("audio_model")),
        PEVideoConfig(
            features,
            _original_tower(visual.part("visual_transformer")),
            name,
            16 if visual.values.get("fixed_len_video") else None,
            PUBLIC.get(name),
        ),
        _original_tower(both.part("audio_visual_transformer")),
        _text(text, layers),
        dim,
    )


def _original_audio(values: Values) -> PEAudioConfig:
    codec = values.part("dac_vae_encoder")
    codec.must_be("sampling_rate", 48_000)
    return PEAudioConfig(
        CodecConfig(
            codec.integer("encoder_hidden_size"),
            codec.integers("downsampling_ratios"),
            codec.integer("codebook_size"),
            codec.integer("codebook_dim"),
        ),
        _original_tower(values.part("audio_transformer")),
    )


def _original_tower(values: Values) -> TowerConfig:
    return TowerConfig(
        values.integer("hidden_size"),
        values.integer("num_hidden_layers"),
        values.integer("num_attention_heads"),
        values.integer("intermediate_size"),
        rope_theta=max(10_000.0, 2 * values.number("max_position_embeddings", 10_000)),
        norm_eps=values.number("rms_norm_eps", 1e-5),
    )


def _text(values: Values, layers: int) -> ModernBertConfig:
    values.must_be("model_type", "modernbert")
    for key in ("attention_bias", "mlp_bias", "norm_bias"):
        values.must_be(key, False)
    values.must_be("hidden_activation", "gelu")
    ropes = values.part_if_any("rope_parameters")  # transformers 5; before, two numbers
    return ModernBertConfig(
        values.integer("vocab_size", 50_368),
        values.integer("hidden_size"),
        layers,
        values.integer("num_attention_heads"),
        values.integer("intermediate_size"),
        values.integer("global_attn_every_n_layers", 3),
        values.integer("local_attention", 128),
        _theta(ropes.part_if_any("full_attention"), values.number("global_rope_theta", 160_000.0)),
        _theta(ropes.part_if_any("sliding_attention"), values.number("local_rope_theta", 10_000.0)),
        values.number("norm_eps", values.number("layer_norm_eps", 1e-5)),
        min(512, values.integer("max_position_embeddings", 8192)),
    )


def _theta(rope: Values, default: float) -> float:
    rope.must_be("rope_type", "default")
    return rope.number("rope_theta", default)


def _read_transformers(root: Values) -> PEConfig:
    text_values = root.part("text_config")
    text = _text(text_values, text_values.integer("num_hidden_layers", 22))
    dim = root.integer("output_dim", text.width)
    if root.values["model_type"] == "pe_audio":
        return PEFrameConfig(_transformers_audio(root.part("audio_config")), text, dim)
    both = root.part("audio_video_config")
    video = both.part("video_config")
    vision = video.part("vision_config")
    said = root.values.get("num_frames") is not None  # no key of transformers' own
    return PEAudioVideoConfig(
        _transformers_audio(both.part("audio_config")),
        PEVideoConfig(
            vision.integer("num_classes", vision.values.get("num_labels")),
            _transformers_tower(video),
            vision.get("architecture", PE_CORE_LARGE),
            root.integer("num_frames") if said else video_processor.read_frames(root.file.parent),
            _image(vision),
        ),
        _transformers_tower(both),
        text,
        dim,
    )


# What timm calls the sizes of an image encoder, in `model_args` of a vision_config.
_IMAGE_KEYS = {
    "img_size": "size",
    "patch_size": "patch",
    "embed_dim": "width",
    "depth": "layers",
    "num_heads": "heads",
    "attn_pool_num_heads": "pool_heads",
}


def _image(vision: Values) -> ImageConfig | None:
    base = PUBLIC.get(vision.get("architecture", PE_CORE_LARGE))
    sizes = vision.part_if_any("model_args")
    if base is None or not set(sizes.values) <= set(_IMAGE_KEYS):
        return None
    return dataclasses.replace(base, **{_IMAGE_KEYS[key]: sizes.integer(key) for key in sizes.values})


def _transformers_audio(values: Values) -> PEAudioConfig:
    codec = values.part("dac_config")
    return PEAudioConfig(
        CodecConfig(
            codec.integer("encoder_hidden_size", 64),
            codec.integers("downsampling_ratios", [2, 8, 10, 12]),
            codec.integer("hidden_size", 1024),
            codec.integer(
                "codebook_dim", 128
            ),  # its sampling_rate is wrong there (16 000); the processor's is right
        ),
        _transformers_tower(values),
    )


def _transformers_tower(values: Values) -> TowerConfig:
    width, heads = values.integer("hidden_size"), values.integer("num_attention_heads")
    values.must_be("head_dim", width // heads)
    values.must_be("num_key_value_heads", heads, None)
    values.must_be("attention_bias", False)
    values.must_be("hidden_act", "silu")
    return TowerConfig(
        width,
        values.integer("num_hidden_layers"),
        heads,
        values.integer("intermediate_size"),
        rope_theta=_theta(values.part_if_any("rope_parameters"), ROPE_THETA),
        norm_eps=values.number("rms_norm_eps", 1e-5),
    )


def write_published(config: PEConfig, layout: str) -> dict[str, Any]:
    """The content of config.json in `original` or `transformers` layout; `read_published` gives `config` again."""
    return _write_original(config) if layout == "original" else _write_transformers(config)


def _write_original(config: PEConfig) -> dict[str, Any]:
    tail = {
        "text_model": _write_text(config.text),
        "output_dim": config.embedding_dim,
        "nth_text_layer": config.text.layers,
    }
    audio = {
        "dac_vae_encoder": {
            "encoder_hidden_size": config.audio.codec.width,
            "downsampling_ratios": list(config.audio.codec.strides),
            "codebook_size": config.audio.codec.hidden,
            "codebook_dim": config.audio.codec.latent,
            "sampling_rate": config.audio.codec.sample_rate,
        },
        "audio_transformer": _write_original_tower(config.audio.tower),
    }
    if isinstance(config, PEFrameConfig):
        return {"audio_model": audio, **tail}
    visual = {
        "pe_encoder": _PM_NAMES.get(config.video.image_encoder, config.video.image_encoder),
        "pe_features": config.video.features,
        "visual_transformer": _write_original_tower(config.video.tower),
        "fixed_len_video": config.video.frames is not None,
    }
    both = {
        "audio_visual_transformer": _write_original_tower(config.fusion),
        "visual_model": visual,
        "audio_model": audio,
    }
    return {"audio_visual_model": both, **tail}


def _write_original_tower(tower: TowerConfig) -> dict[str, Any]:
    return {
        "hidden_size": tower.width,
        "intermediate_size": tower.mlp_width,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "max_position_embeddings": round(tower.rope_theta / 2),
        "rms_norm_eps": tower.norm_eps,
    }


def _write_text(text: ModernBertConfig) -> dict[str, Any]:
    return {
        "model_type": "modernbert",
        "vocab_size": text.vocabulary,
        "hidden_size": text.width,
        "intermediate_size": text.mlp_width,
        "num_hidden_layers": text.layers,
        "num_attention_heads": text.heads,
        "global_attn_every_n_layers": text.global_every,
        "local_attention": text.window,
        "global_rope_theta": text.global_theta,
        "local_rope_theta": text.local_theta,
        "norm_eps": text.norm_eps,
        "layer_norm_eps": text.norm_eps,
        "max_position_embeddings": text.max_tokens,
    }


def _write_transformers(config: PEConfig) -> dict[str, Any]:
    codec = config.audio.codec
    audio = {
        "model_type": "pe_audio_encoder",
        "dac_config": {
            "model_type": "dac",
            "encoder_hidden_size": codec.width,
            "downsampling_ratios": list(codec.strides),
            "hidden_size": codec.hidden,
            "codebook_dim": codec.latent,
            "sampling_rate": codec.sample_rate,
        },
        **_write_transformers_tower(config.audio.tower),
    }
    text: dict[str, Any] = {"text_config": _write_text(config.text)}
    if (
        config.embedding_dim != config.text.width
    ):  # transformers knows only equal ones, as all public models have
        text["output_dim"] = config.embedding_dim
    if isinstance(config, PEFrameConfig):
        return {
            "model_type": "pe_audio",
            "architectures": ["PeAudioFrameLevelModel"],
            "audio_config": audio,
            **text,
        }
    vision: dict[str, Any] = {
        "model_type": "timm_wrapper",
        "architecture": config.video.image_encoder,
        "num_classes": config.video.features,
        "do_pooling": True,
        "global_pool": "map",
    }
    if config.video.image is not None:
        public = PUBLIC.get(config.video.image_encoder, ImageConfig())
        sizes = {key: getattr(config.video.image, own) for key, own in _IMAGE_KEYS.items()}
        odd = {key: size for key, size in sizes.items() if size != getattr(public, _IMAGE_KEYS[key])}
        vision |= {"architecture": PE_CORE_LARGE} | ({"model_args": odd} if odd else {})
    video = {
        "model_type": "pe_video_encoder",
        "vision_config": vision,
        **_write_transformers_tower(config.video.tower),
    }
    both = {
        "model_type": "pe_audio_video_encoder",
        "audio_config": audio,
        "video_config": video,
        **_write_transformers_tower(config.fusion),
    }
    frames = {} if config.video.frames is None else {"num_frames": config.video.frames}
    return {
        "model_type": "pe_audio_video",
        "architectures": ["PeAudioVideoModel"],
        "audio_video_config": both,
        **frames,
        **text,
    }


def _write_transformers_tower(tower: TowerConfig) -> dict[str, Any]:
    return {
        "hidden_size": tower.width,
        "intermediate_size": tower.mlp_width,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "num_key_value_heads": tower.heads,
        "head_dim": tower.width // tower.heads,
        "rope_parameters": {"rope_type": "default", "rope_theta": tower.rope_theta},
        "rms_norm_eps": tower.norm_eps,
    }
