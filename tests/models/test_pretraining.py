from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from peaframe.errors import CheckpointError, ModelError, OptionError
from peaframe.models.audio_video import PEAudioVideoModel
from peaframe.models.load import load_audio_video_model, load_model
from peaframe.models.pe_frame import public_config
from peaframe.models.pretraining import (
    av_config,
    frame_model_from,
    new_model,
    read_text_tower,
    read_tiny_codec,
)
from peaframe.models.published import read_published, write_published


def millions(module):
    return sum(p.numel() for p in module.parameters()) / 1e6


@pytest.mark.parametrize(
    ("size", "audio", "fusion"), [("small", 89.2, 50), ("base", 209.9, None), ("large", 1105, 250)]
)
def test_sizes_are_those_that_are_published(size, audio, fusion):
    with torch.device("meta"):
        model = PEAudioVideoModel(av_config(size, 16))
    assert millions(model.audio.tower) + millions(model.audio.data_proj) == pytest.approx(audio, rel=0.002)
    if fusion is not None:
        assert millions(model.fusion) == pytest.approx(fusion, rel=0.1)
    assert len(model.video.tower.layers) == 4
    assert model.config.audio == public_config(size).audio
    assert model.config.text.layers == 22
    assert model.config.video.frames == 16


@pytest.mark.parametrize("size", ["tiny", "small", "base", "large"])
@pytest.mark.parametrize("layout", ["original", "transformers"])
@pytest.mark.parametrize("frames", [None, 16])
def test_configurations_survive_both_layouts(size, layout, frames, tmp_path):
    config = av_config(size, frames)
    again = read_published(tmp_path / "config.json", write_published(config, layout))
    assert (again.audio, again.fusion, again.text) == (config.audio, config.fusion, config.text)
    assert (again.video.tower, again.video.frames) == (config.video.tower, frames)
    assert again.embedding_dim == config.embedding_dim


@torch.no_grad()
def test_first_weights_are_the_seeds_and_embeddings_have_lengths_of_about_one():
    first, same, other = (new_model(av_config("tiny"), seed) for seed in (0, 0, 1))
    states = [model.state_dict() for model in (first, same, other)]
    assert all(torch.equal(states[0][name], tensor) for name, tensor in states[1].items())
    differ = [not torch.equal(states[0][name], tensor) for name, tensor in states[2].items()]
    assert sum(differ) > 50
    ids = torch.randint(0, 500, (40, 6), generator=torch.Generator().manual_seed(0))
    pictures = torch.nn.functional.normalize(torch.randn(40, 5, av_config("tiny").video.features), dim=-1)
    found = first.encode_av(torch.randn(40, 4000), frame_features=pictures, input_ids=ids)
    assert len(found) == 8
    for embeddings in found.values():
        assert embeddings.norm(dim=-1).mean().item() == pytest.approx(1, abs=0.35)


def test_making_a_model_leaves_the_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    new_model(av_config("tiny"))
    assert torch.equal(torch.rand(3), expected)


def test_the_codec_comes_of_another_model(golden_folder, refusal):
    theirs = load_model(golden_folder / "pe_a_frame_original")
    config = av_config("tiny")
    config = replace(config, audio=replace(config.audio, codec=theirs.config.audio.codec))
    model = new_model(config, codec_from=theirs)
    state = theirs.audio.codec.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.audio.codec.state_dict().items())
    random = new_model(config).audio.codec.state_dict()
    assert not torch.equal(random["mean.weight"], state["mean.weight"])
    with torch.device("meta"):
        large = PEAudioVideoModel(av_config("small"))
    assert "got a codec of CodecConfig(width=64" in refusal(
        ModelError, new_model, av_config("tiny"), 0, large
    )


@torch.no_grad()
def test_latents_of_the_tiny_codec_are_bands_of_what_is_heard(refusal):
    model = new_model(av_config("tiny"))
    random = model.audio.codec(torch.zeros(1, 1920))
    read_tiny_codec(model)
    at = torch.arange(48_000) / 48_000
    low, high = 0.3 * torch.sin(200 * torch.pi * at), 0.3 * torch.sin(9000 * torch.pi * at)
    both = low + high
    told = model.audio.codec(torch.stack((low, high, both, 0 * at)))[:, 6:-6].mean(dim=1)
    assert random.shape == (1, 1, 64)
    assert told[0, :8].mean() > told[1, :8].mean() + 0.5
    assert told[1, 44:56].mean() > told[0, 44:56].mean() + 0.5
    assert told[3].mean() < told[:3].mean() - 0.5
    with torch.device("meta"):
        large = PEAudioVideoModel(av_config("small"))
    assert "encoder.conv1.weight has shape (8, 1, 7)" in refusal(CheckpointError, read_tiny_codec, large)


@torch.no_grad()
def test_the_text_tower_comes_of_modernbert(tmp_path, refusal):
    source = new_model(av_config("tiny"), seed=1).text
    own = {f"model.{name}": tensor for name, tensor in source.state_dict().items()}
    beyond = {
        "model.layers.3.mlp.Wo.weight": torch.ones(2, 2),
        "model.final_norm.weight": torch.ones(48),
        "head.dense.weight": torch.ones(48, 48),
    }
    save_file({**own, **beyond}, tmp_path / "model.safetensors")
    model = new_model(av_config("tiny"), seed=2)
    ids = torch.tensor([[1, 17, 250, 2]])
    assert not torch.equal(model.text(ids, torch.ones_like(ids)), source(ids, torch.ones_like(ids)))
    read_text_tower(model, tmp_path)
    assert torch.equal(model.text(ids, torch.ones_like(ids)), source(ids, torch.ones_like(ids)))
    own.pop("model.layers.2.attn.Wo.weight")
    save_file(own, tmp_path / "model.safetensors")
    message = refusal(CheckpointError, read_text_tower, model, tmp_path)
    assert "missing ['layers.2.attn.Wo.weight']" in message


@torch.no_grad()
def test_the_frame_model_has_the_towers_of_the_golden_one(golden_folder):
    """Its clip token and its frames come of one tower, and its queries of the head for captions of sound."""
    source = load_audio_video_model(golden_folder / "pe_av_original")
    model = frame_model_from(source, 3.5, -2.0)
    assert (model.logit_scale.item(), model.logit_bias.item()) == (3.5, -2.0)
    waveform, ids = torch.randn(1, 9600), torch.tensor([[1, 30, 31, 2]])
    frames = model.encode_audio(waveform)
    assert frames.shape == (1, 5, 32)
    latents, mask = source.audio.latents(waveform, [9600])
    torch.testing.assert_close(frames, source.heads["audio"](source.audio(latents, mask)[0]))
    expected = source.encode_av(input_ids=ids)["audio_text_embeds"]
    torch.testing.assert_close(model.encode_tokens(ids, torch.ones_like(ids)), expected)
    assert all(p.requires_grad for p in model.parameters())
    plain = frame_model_from(source)
    assert (plain.logit_scale.item(), plain.logit_bias.item()) == (10, -10)


def test_sizes_and_frames_that_are_not_are_refused(refusal):
    assert "got size 'huge', expected tiny, small, base, large" in refusal(OptionError, av_config, "huge")
    assert "got 8 frames, expected 16" in refusal(OptionError, av_config, "tiny", 8)
    assert av_config("tiny", None, 99).text.vocabulary == 99
