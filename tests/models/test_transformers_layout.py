"""Folders in the layout of transformers: what is refused in them, and transformers itself in the same process."""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from peaframe.errors import CheckpointError
from peaframe.models.load import load_model, save_pe
from peaframe.models.pe_frame import PEFrameModel


@pytest.fixture
def folder(golden_folder, tmp_path):
    save_pe(load_model(golden_folder / "pe_a_frame_original"), tmp_path / "saved", "transformers")
    return tmp_path / "saved"


def change_config(folder, part, **values):
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content[part].update(values)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("part", "values", "told"),
    [
        (
            "audio_config",
            {"rope_parameters": "x"},
            "audio_config.rope_parameters is 'x', expected keys and values",
        ),
        (
            "audio_config",
            {"rope_parameters": [1]},
            "audio_config.rope_parameters is [1], expected keys and values",
        ),
        (
            "audio_config",
            {"rope_parameters": {"rope_theta": "a"}},
            "audio_config.rope_parameters.rope_theta is 'a', expected a number above 0",
        ),
        (
            "audio_config",
            {"rope_parameters": {"rope_type": "yarn"}},
            "audio_config.rope_parameters.rope_type is 'yarn', expected 'default'",
        ),
        (
            "text_config",
            {"rope_parameters": [1]},
            "text_config.rope_parameters is [1], expected keys and values",
        ),
        ("text_config", {"num_attention_heads": 5}, "5 heads do not divide a width of 48 into even parts"),
        ("text_config", {"num_hidden_layers": 2}, "not expected ['text.layers.2.attn.Wo.weight'"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_by_key(folder, part, values, told, refusal):
    change_config(folder, part, **values)
    assert told in refusal(CheckpointError, load_model, folder)


def test_layers_behind_the_one_that_is_read_are_legal_in_the_original_layout(golden_folder):
    folder = golden_folder / "pe_a_frame_original"
    assert "text_model.layers.3.mlp.Wi.weight" in load_file(folder / "model.safetensors")
    assert len(load_model(folder).text.layers) == 3


def test_the_codecs_wrong_rate_is_passed_over(folder):
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["audio_config"]["dac_config"]["sampling_rate"] = 16_000
    path.write_text(json.dumps(content), encoding="utf-8")
    assert load_model(folder).config.audio.codec.sample_rate == 48_000


@pytest.mark.parametrize(
    ("name", "shape", "told"),
    [
        ("text_audio_logit_scale", (2,), "logit_scale has shape (2,), config.json expects ()"),
        (
            "audio_encoder.layers.0.self_attn.q_proj.weight",
            (63, 64),
            "has shape (63, 64), config.json expects (64, 64)",
        ),
        ("audio_encoder.layers.0.self_attn.q_norm.weight", (), "has shape (), config.json expects (16,)"),
    ],
)
def test_a_tensor_of_another_shape_is_named(folder, name, shape, told, refusal):
    tensors = load_file(folder / "model.safetensors")
    assert name in tensors
    save_file(tensors | {name: torch.ones(shape)}, folder / "model.safetensors")
    assert told in refusal(CheckpointError, load_model, folder)


@pytest.mark.slow
def test_all_is_loaded_after_transformers_has_loaded_something(golden_folder, tmp_path):
    """Its `from_pretrained` leaves torch with another list of what a context of a device makes on that device."""
    golden = load_model(golden_folder / "pe_a_frame_original")
    width = golden.config.text.width  # transformers knows only embeddings as wide as the text
    model = PEFrameModel(dataclasses.replace(golden.config, embedding_dim=width))
    save_pe(model, tmp_path / "tiny", "transformers")
    marks = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0)
    change_config(tmp_path / "tiny", "text_config", **marks)
    code = f"""
from transformers import PeAudioFrameLevelModel
theirs = PeAudioFrameLevelModel.from_pretrained({str(tmp_path / "tiny")!r})
import peaframe
from peaframe.models import load_model
print(peaframe.load().model.name, load_model({str(tmp_path / "tiny")!r}).embedding_dim, theirs.device)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["peaframe-mini", str(width), "cpu"]
