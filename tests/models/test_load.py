import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from peaframe.errors import CheckpointError, ModelError
from peaframe.events import EventOptions
from peaframe.models import FrameModel, load_model
from peaframe.models.load import save_model
from peaframe.models.names import MODELS


@pytest.fixture
def folder(tiny_model, tokenizer_content, tmp_path):
    """A whole checkpoint."""
    save_model(tiny_model, tmp_path / "model", tokenizer_content)
    return tmp_path / "model"


@pytest.fixture
def change_config(folder):
    """Change the checkpoint's configuration as a function says."""

    def change(edit):
        path = folder / "config.json"
        values = json.loads(path.read_text(encoding="utf-8"))
        edit(values)
        path.write_text(json.dumps(values), encoding="utf-8")

    return change


@pytest.fixture
def change_tensors(folder):
    """Change the checkpoint's tensors as a function says."""

    def change(edit):
        tensors = load_file(folder / "model.safetensors")
        edit(tensors)
        save_file(tensors, folder / "model.safetensors")

    return change


@torch.no_grad()
def test_float32_comes_back_bit_for_bit(tiny_model, folder):
    model = load_model(folder)
    assert isinstance(model, FrameModel)
    assert not model.training
    assert model.name == str(folder)
    assert model.event_options == EventOptions()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, tiny_model.state_dict()[name]), name
    waveform = torch.randn(1, 60_000) * 0.1
    assert torch.equal(model.encode_audio(waveform), tiny_model.encode_audio(waveform))
    assert torch.equal(model.encode_text(["dog barking"]), tiny_model.encode_text(["dog barking"]))


@torch.no_grad()
def test_float16_is_half_the_size_and_near(tiny_model, tokenizer_content, folder, tmp_path):
    save_model(tiny_model, tmp_path / "half", tokenizer_content, torch.float16)
    sizes = [(where / "model.safetensors").stat().st_size for where in (tmp_path / "half", folder)]
    assert sizes[0] < 0.52 * sizes[1]
    model = load_model(tmp_path / "half")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    waveform = torch.randn(1, 60_000) * 0.1
    np.testing.assert_allclose(model.encode_audio(waveform), tiny_model.encode_audio(waveform), atol=0.02)
    np.testing.assert_allclose(model.encode_text(["dog"]), tiny_model.encode_text(["dog"]), atol=5e-3)


def test_a_checkpoint_is_three_files_and_nothing_else(folder):
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert (values["model_type"], values["format"]) == ("peaframe_mini", 1)


def test_saving_over_a_checkpoint_replaces_it(tiny_model, tokenizer_content, folder):
    with torch.no_grad():
        tiny_model.logit_bias.fill_(-3)
    save_model(tiny_model, folder, tokenizer_content)
    assert load_model(folder).logit_bias == -3


def test_event_options_are_read(folder):
    (folder / "events.json").write_text('{"threshold": 0.35, "median": 0.2}', encoding="utf-8")
    assert load_model(folder).event_options == EventOptions(threshold=0.35, median=0.2)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "5",
        pytest.param("[" * 100_000, id="deep"),
        '{"treshold": 0.3}',
        '{"threshold": 7}',
        '{"threshold": NaN}',
        '{"low": []}',
    ],
)
def test_other_event_options_are_refused(folder, refusal, content):
    (folder / "events.json").write_text(content, encoding="utf-8")
    assert f"{folder / 'events.json'}: no event options" in refusal(CheckpointError, load_model, folder)


def test_an_unknown_name_is_told_the_nearest(refusal):
    message = refusal(ModelError, load_model, "peaframe-mimi")
    assert "unknown model 'peaframe-mimi'; did you mean 'peaframe-mini'?" in message
    assert all(name in message for name in MODELS)


@pytest.mark.parametrize("name", ["qqq", "./missing/folder", "tests/missing", "x" * 300])
def test_an_unknown_name_is_told_what_there_is(refusal, name, tmp_path, monkeypatch):
    """A folder's name with a slip in it is no hub id where the folder above is there."""
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    message = refusal(ModelError, load_model, name)
    assert f"unknown model '{name}'; expected peaframe-mini" in message
    assert "a checkpoint folder, or a hub id" in message


def test_a_file_is_no_checkpoint(folder, refusal):
    for name in ("config.json", "model.safetensors"):
        message = refusal(ModelError, load_model, folder / name)
        assert (
            message == f"{folder / name} is a file, expected the folder that holds the checkpoint: {folder}"
        )


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(folder, refusal, name):
    (folder / name).unlink()
    message = refusal(CheckpointError, load_model, folder)
    assert f"{folder / name}: not found; a checkpoint folder holds config.json, model.safetensors" in message


def test_a_missing_tensor_is_named(folder, refusal, change_tensors):
    change_tensors(lambda tensors: tensors.pop("tower.norm.weight"))
    assert "missing ['tower.norm.weight'], not expected []" in refusal(CheckpointError, load_model, folder)


def test_a_surplus_tensor_is_named(folder, refusal, change_tensors):
    change_tensors(lambda tensors: tensors.update({"tower.extra": torch.zeros(2)}))
    assert "missing [], not expected ['tower.extra']" in refusal(CheckpointError, load_model, folder)


def test_a_tensor_of_another_shape_is_named(folder, refusal, change_tensors):
    change_tensors(lambda tensors: tensors.update({"tower.norm.weight": torch.zeros(31)}))
    message = refusal(CheckpointError, load_model, folder)
    assert "tower.norm.weight has shape (31,), config.json expects (32,)" in message


def test_other_sizes_in_the_configuration_are_refused(folder, refusal, change_config):
    change_config(lambda values: values["tower"].update(layers=3))
    message = refusal(CheckpointError, load_model, folder)
    assert "does not fit config.json; missing ['tower.layers.2." in message


@pytest.mark.parametrize(("key", "value"), [("model_type", "bert"), ("format", 2), ("format", "1")])
def test_other_kinds_and_formats_are_refused(folder, refusal, change_config, key, value):
    change_config(lambda values: values.update({key: value}))
    message = refusal(CheckpointError, load_model, folder)
    assert repr(value) in message
    assert "expected 'peaframe_mini' of format 1" in message


@pytest.mark.parametrize("key", ["model_type", "format"])
def test_the_kind_and_format_must_be_said(folder, refusal, change_config, key):
    change_config(lambda values: values.pop(key))
    assert "expected 'peaframe_mini' of format 1" in refusal(CheckpointError, load_model, folder)


def test_unknown_keys_are_refused_with_the_nearest(folder, refusal, change_config):
    change_config(lambda values: values["tower"].update(widht=32))
    message = refusal(CheckpointError, load_model, folder)
    assert f"{folder / 'config.json'}: unknown key 'tower.widht'; did you mean 'width'?" in message


def test_missing_keys_are_refused(folder, refusal, change_config):
    change_config(lambda values: values["front"].pop("width"))
    assert "key 'front.width' is missing" in refusal(CheckpointError, load_model, folder)


@pytest.mark.parametrize("value", ["32", 32.0, None, True, [32]])
def test_values_of_another_kind_are_refused(folder, refusal, change_config, value):
    change_config(lambda values: values["tower"].update(width=value))
    message = refusal(CheckpointError, load_model, folder)
    assert f"key 'tower.width': got {value!r}, expected int" in message


@pytest.mark.parametrize(
    "content", ["", "{", "5", '"text"', "[]", "null", pytest.param("[" * 100_000, id="deep")]
)
def test_a_configuration_that_is_none_is_refused(folder, refusal, content):
    (folder / "config.json").write_text(content, encoding="utf-8")
    message = refusal(CheckpointError, load_model, folder)
    assert f"{folder / 'config.json'}: no model configuration" in message


def test_a_pickled_file_is_refused(folder, refusal):
    weights = folder / "model.safetensors"
    torch.save({"tower.norm.weight": [1.0] * 32}, weights, _use_new_zipfile_serialization=False)
    assert weights.read_bytes()[0] == 0x80  # as every pickle begins
    message = refusal(CheckpointError, load_model, folder)
    assert f"{weights}: not a readable safetensors file" in message


def test_a_torch_file_is_refused(tiny_model, folder, refusal):
    torch.save(tiny_model.state_dict(), folder / "model.safetensors")
    assert "not a readable safetensors file" in refusal(CheckpointError, load_model, folder)


def test_a_cut_file_is_refused(folder, refusal):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "not a readable safetensors file" in refusal(CheckpointError, load_model, folder)


def test_a_broken_tokenizer_is_refused(folder, refusal):
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert "not a tokenizer file" in refusal(CheckpointError, load_model, folder)


def test_a_tokenizer_of_more_pieces_than_the_model_knows_is_refused(folder, tokenizer_content, refusal):
    more = json.loads(json.dumps(tokenizer_content))
    size = len(more["model"]["vocab"])
    more["model"]["vocab"]["cathedral"] = size + 3
    (folder / "tokenizer.json").write_text(json.dumps(more), encoding="utf-8")
    message = refusal(CheckpointError, load_model, folder)
    assert f"tokenizer.json: holds token ids up to {size + 3}" in message
    assert f"a vocabulary of {size}" in message


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_weights_that_are_no_floats_are_refused(folder, refusal, change_tensors, dtype):
    change_tensors(lambda tensors: tensors.update({"tower.norm.weight": torch.ones(32, dtype=dtype)}))
    message = refusal(CheckpointError, load_model, folder)
    assert f"tower.norm.weight is {dtype}, expected float32, float16, bfloat16 or float64" in message


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_of_a_training_that_diverged_are_refused(folder, refusal, change_tensors, value):
    change_tensors(lambda tensors: tensors.update({"tower.norm.weight": torch.full((32,), value)}))
    message = refusal(CheckpointError, load_model, folder)
    assert "tower.norm.weight holds NaN or infinite values, expected finite weights" in message
