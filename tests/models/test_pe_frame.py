import json
import shutil

import numpy as np
import pytest
import torch

from peaframe.errors import CheckpointError, ModelError, OptionError
from peaframe.models.load import load_audio_video_model, load_model, save_pe
from peaframe.models.pe_frame import PEFrameModel, public_config

EMBEDDINGS = ["audio", "visual", "audio_visual", "audio_text", "visual_text", "audio_visual_text"]
EMBEDDINGS += ["audio_plus_text", "visual_plus_text"]


def tensor(values):
    return torch.from_numpy(values)


@pytest.fixture
def frame_golden(golden_folder):
    folder = golden_folder / "pe_a_frame_original"
    return folder, np.load(folder / "inputs.npz"), np.load(folder / "outputs.npz")


@pytest.fixture
def av_golden(golden_folder):
    folder = golden_folder / "pe_av_original"
    return folder, np.load(folder / "inputs.npz"), np.load(folder / "outputs.npz")


@pytest.fixture(params=["as it came", "through transformers' layout and back", "in transformers' layout"])
def reload(request, tmp_path):
    """A loaded model, converted or not."""

    def convert(model, load):
        if request.param == "as it came":
            return model
        save_pe(model, tmp_path / "b", "transformers")
        model = load(tmp_path / "b")
        if request.param == "in transformers' layout":
            return model
        save_pe(model, tmp_path / "c", "original")
        return load(tmp_path / "c")

    return convert


def frames_of(outputs, i):
    return tensor(outputs[f"single_{i}_audio_embeds"][0])


def assert_near(got, expected):
    """Agreement to 1e-4 of the spread; random weights magnify the rounding of the codec's convolutions."""
    assert (got - expected).abs().max() < 2e-4 * max(1.0, float(expected.std()))


@torch.no_grad()
def test_frames_and_logits_are_the_references_alone_and_in_a_batch(frame_golden, reload):
    folder, inputs, outputs = frame_golden
    model = reload(load_model(folder), load_model)
    waveform = tensor(inputs["input_values"][:, 0])
    lengths = tensor(inputs["padding_mask"].sum(axis=1))
    texts = model.encode_tokens(tensor(inputs["input_ids"]), tensor(inputs["attention_mask"]))
    together = model.encode_audio(waveform, lengths)
    for i, length in enumerate(lengths.tolist()):
        expected = frames_of(outputs, i)
        alone = model.encode_audio(waveform[i : i + 1, :length])[0]
        assert_near(alone, expected)
        assert_near(together[i, : len(expected)], expected)
        assert not together[i, len(expected) :].any()
        assert_near(model.score(alone[None], texts)[0], tensor(outputs[f"single_{i}_logits"]))
        assert_near(texts[i], tensor(outputs[f"single_{i}_text_embeds"][0]))


@torch.no_grad()
def test_the_references_own_padded_batch_agrees_on_its_longest_clip_alone(frame_golden):
    """The flaw that is not shared: zeros behind a clip enter its codec."""
    _, inputs, outputs = frame_golden
    lengths = inputs["padding_mask"].sum(axis=1)
    for i, length in enumerate(lengths):
        alone = frames_of(outputs, i)
        apart = (tensor(outputs["audio_embeds"][i, : len(alone)]) - alone).abs().max()
        assert (apart < 1e-3) == (length == lengths.max())


@torch.no_grad()
def test_batched_equals_alone_in_double(frame_golden):
    folder, inputs, _ = frame_golden
    model = load_model(folder).double()
    waveform = tensor(inputs["input_values"][:, 0]).double()[:, :60_000]
    lengths = torch.tensor([60_000, 20_001, 1])
    together = model.encode_audio(waveform, lengths)
    for i, length in enumerate(lengths.tolist()):
        alone = model.encode_audio(waveform[i : i + 1, :length])[0]
        torch.testing.assert_close(together[i, : len(alone)], alone, atol=1e-9, rtol=0)


@torch.no_grad()
def test_a_waveform_that_ends_inside_a_frame_is_reflected(frame_golden):
    folder, inputs, _ = frame_golden
    model = load_model(folder)
    waveform = tensor(inputs["input_values"][:1, 0, :20_000])
    reflected = torch.cat((waveform, waveform.flip(1)[:, 1 : 1 + -20_000 % 1920]), dim=1)
    assert reflected.shape[1] == 11 * 1920
    assert_near(model.encode_audio(waveform), model.encode_audio(reflected))


@torch.no_grad()
def test_clips_are_the_references_alone_and_in_a_batch(av_golden, reload):
    folder, inputs, outputs = av_golden
    model = reload(load_audio_video_model(folder), load_audio_video_model)
    waveform, features = tensor(inputs["input_values"][:, 0]), tensor(inputs["pe_features"])
    lengths, frame_mask = tensor(inputs["padding_mask"].sum(axis=1)), tensor(inputs["padding_mask_videos"])
    words = tensor(inputs["input_ids"]), tensor(inputs["attention_mask"])
    together = model.encode_av(waveform, lengths, features, frame_mask, *words)
    assert sorted(together) == sorted(f"{name}_embeds" for name in EMBEDDINGS)
    for i, length in enumerate(lengths.tolist()):
        frames, tokens = int(frame_mask[i].sum()), int(words[1][i].sum())
        alone = model.encode_av(
            waveform[i : i + 1, :length],
            frame_features=features[i : i + 1, :frames],
            input_ids=words[0][i : i + 1, :tokens],
        )
        for name, embedding in alone.items():
            expected = tensor(outputs[f"single_{i}_{name}"][0])
            assert_near(embedding[0], expected)
            assert_near(together[name][i], expected)


@torch.no_grad()
def test_any_subset_may_be_given(av_golden):
    folder, inputs, outputs = av_golden
    model = load_audio_video_model(folder)
    waveform, features = tensor(inputs["input_values"][:1, 0]), tensor(inputs["pe_features"][:1])
    ids = tensor(inputs["input_ids"][:1, :5])
    assert list(model.encode_av(waveform)) == ["audio_embeds"]
    assert list(model.encode_av(frame_features=features)) == ["visual_embeds"]
    texts = ["audio_text_embeds", "visual_text_embeds", "audio_visual_text_embeds"]
    assert list(model.encode_av(input_ids=ids)) == texts
    sound = model.encode_av(waveform, input_ids=ids)
    assert list(sound) == ["audio_embeds", "audio_plus_text_embeds", *texts]
    assert_near(sound["audio_plus_text_embeds"][0], tensor(outputs["single_0_audio_plus_text_embeds"][0]))


def test_nothing_or_unequal_batches_are_refused(av_golden, refusal):
    model = load_audio_video_model(av_golden[0])
    assert "got batches of []" in refusal(OptionError, model.encode_av)
    message = refusal(OptionError, model.encode_av, torch.zeros(2, 1920), input_ids=torch.ones(3, 4).long())
    assert "got batches of [2, 3]" in message


def test_each_kind_is_loaded_by_its_own_function(frame_golden, av_golden, refusal):
    assert "use load_audio_video_model" in refusal(ModelError, load_model, av_golden[0])
    assert "use load_model" in refusal(ModelError, load_audio_video_model, frame_golden[0])
    assert "use load_model" in refusal(ModelError, load_audio_video_model, "peaframe-mini")


def test_converting_there_and_back_keeps_every_bit(frame_golden, tmp_path):
    model = load_model(frame_golden[0])
    save_pe(model, tmp_path / "a", "transformers")
    save_pe(load_model(tmp_path / "a"), tmp_path / "b", "original")
    again = load_model(tmp_path / "b")
    assert again.config == model.config
    state = model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())


@pytest.fixture
def copy(frame_golden, tmp_path):
    """A copy of the golden checkpoint whose configuration can be changed."""
    folder = tmp_path / "copy"
    shutil.copytree(frame_golden[0], folder)

    def change(edit):
        path = folder / "config.json"
        values = json.loads(path.read_text())
        edit(values)
        path.write_text(json.dumps(values))
        return folder

    return change


def codec(**values):
    return lambda v: v["audio_model"]["dac_vae_encoder"].update(values)


def words(**values):
    return lambda v: v["text_model"].update(values)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda v: v.pop("output_dim"), ["output_dim", "is missing"]),
        (lambda v: v.update(output_dim=31), ["audio_head.proj.weight", "(32, 64)", "(31, 64)"]),
        (lambda v: v.update(nth_text_layer=9), ["nth_text_layer is 9"]),
        (lambda v: v["text_model"].update(model_type="bert"), ["'bert'", "'modernbert'"]),
        (lambda v: v["text_model"].update(mlp_bias=True), ["text_model.mlp_bias is True"]),
        (lambda v: v["audio_model"].pop("audio_transformer"), ["audio_model.audio_transformer", "missing"]),
        (
            lambda v: v["audio_model"]["audio_transformer"].update(num_hidden_layers=3),
            ["missing", "layers.2"],
        ),
        (
            lambda v: v["audio_model"]["audio_transformer"].update(num_hidden_layers=1),
            ["not expected", "layers.1"],
        ),
        (lambda v: v["audio_model"]["audio_transformer"].update(num_attention_heads=5), ["5 heads", "64"]),
        (lambda v: v["audio_model"]["audio_transformer"].update(hidden_size="x"), ["'x'", "whole number"]),
        (lambda v: v["audio_model"]["dac_vae_encoder"].update(downsampling_ratios=[2, 8]), ["hop of 16"]),
        (codec(downsampling_ratios=7), ["downsampling_ratios is 7, expected a list of whole numbers"]),
        (codec(downsampling_ratios="abc"), ["downsampling_ratios is 'abc', expected a list"]),
        (
            codec(downsampling_ratios=[2, 8, 10, "x"]),
            ["downsampling_ratios is [2, 8, 10, 'x'], expected a list"],
        ),
        (codec(downsampling_ratios=[2, 8, 10, -12]), ["downsampling_ratios is [2, 8, 10, -12]"]),
        (codec(sampling_rate=44_100), ["sampling_rate is 44100, expected 48000"]),
        (words(num_attention_heads=5), ["5 heads do not divide a width of 48"]),
        (words(rope_parameters=[1]), ["text_model.rope_parameters is [1], expected keys and values"]),
        (words(rope_parameters={"full_attention": "x"}), ["rope_parameters.full_attention is 'x'"]),
        (words(global_rope_theta="a"), ["text_model.global_rope_theta is 'a', expected a number"]),
        (words(norm_eps=float("nan")), ["text_model.norm_eps is nan, expected a number above 0"]),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_by_name(copy, edit, told, refusal):
    folder = copy(edit)
    message = refusal((CheckpointError, ModelError), load_model, folder)
    assert all(word in message for word in told), message


def test_pickled_weights_are_never_read(copy, refusal):
    folder = copy(lambda values: None)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = refusal(CheckpointError, load_model, folder)
    assert "pytorch_model.bin may hold a pickle, which is never read" in message


@torch.no_grad()
def test_weights_in_shards_are_joined(copy, frame_golden):
    from safetensors.torch import load_file, save_file

    folder = copy(lambda values: None)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for i, part in enumerate((names[:80], names[80:])):
        shard = f"model-0000{i + 1}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / shard)
        weight_map |= dict.fromkeys(part, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    whole = load_model(frame_golden[0]).state_dict()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in load_model(folder).state_dict().items())


@pytest.mark.parametrize("shard", ["../model.safetensors", "/etc/passwd", "weights.bin", 3, None])
def test_an_index_names_files_of_its_folder_alone(copy, refusal, shard):
    folder = copy(lambda values: None)
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": shard}}))
    assert f"names {shard!r}" in refusal(CheckpointError, load_model, folder)


def test_weight_norm_is_folded(copy, frame_golden):
    from safetensors.torch import load_file, save_file

    folder = copy(lambda values: None)
    tensors = load_file(folder / "model.safetensors")
    base = "audio_model.dac_vae_encoder.encoder.block.1.res_unit2.conv1"
    weight = tensors.pop(f"{base}.weight")
    g = weight.norm(dim=(1, 2), keepdim=True)
    tensors |= {f"{base}.weight_g": g, f"{base}.weight_v": weight * 3}
    save_file(tensors, folder / "model.safetensors")
    name = "audio.codec.encoder.block.1.res_unit2.conv1.weight"
    folded = load_model(folder).state_dict()[name]
    torch.testing.assert_close(folded, load_model(frame_golden[0]).state_dict()[name], atol=1e-6, rtol=1e-6)


def test_queries_need_a_tokenizer(frame_golden, refusal):
    assert "no tokenizer" in refusal(ModelError, load_model(frame_golden[0]).encode_text, ["a dog"])


@pytest.mark.parametrize(("size", "millions"), [("small", 440), ("base", 561), ("large", 1457)])
def test_the_public_sizes(size, millions):
    """Model cards: 450 M, 560 M and 1.4 B in all; counted elsewhere: towers of 89.2, 209.9 and 1105 M, text 321 M."""
    with torch.device("meta"):
        model = PEFrameModel(public_config(size))
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == millions
