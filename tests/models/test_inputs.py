"""What the embedding functions refuse, by name of the argument, and what they take."""

import numpy as np
import pytest
import torch

from peaframe.errors import OptionError
from peaframe.models.load import load_audio_video_model, load_model

AUDIO = torch.zeros(2, 1920)
FEATURES, IDS = torch.ones(2, 5, 24), torch.ones(2, 4, dtype=torch.int64)
TRUE = torch.ones(2, 5, dtype=torch.bool)


@pytest.fixture(scope="module")
def av_model(request):
    return load_audio_video_model(request.config.rootpath / "tests/golden/pe_av_original")


@pytest.fixture(scope="module")
def frame_model(request):
    return load_model(request.config.rootpath / "tests/golden/pe_a_frame_original")


def changed(tensor, place, value):
    tensor = tensor.clone()
    tensor[place] = value
    return tensor


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"waveform": np.zeros((1, 1920))}, ["waveform of type numpy.ndarray", "expected a torch.Tensor"]),
        ({"waveform": "dog.wav"}, ["waveform of type str", "expected a torch.Tensor"]),
        ({"waveform": AUDIO[0]}, ["a waveform of shape (1920,), expected (batch, samples)"]),
        ({"waveform": AUDIO.to(torch.int16)}, ["waveform of torch.int16, expected floating point"]),
        ({"waveform": changed(AUDIO, (1, 7), torch.nan)}, ["waveform with NaN or infinite values"]),
        ({"waveform": changed(AUDIO, (0, 7), -torch.inf)}, ["waveform with NaN or infinite values"]),
        ({"waveform": AUDIO, "lengths": AUDIO}, ["lengths that are no whole numbers"]),
        ({"waveform": AUDIO, "lengths": torch.tensor([7])}, ["lengths [7]", "between 1 and 1920"]),
    ],
)
def test_audio_is_checked(av_model, frame_model, given, words, refusal):
    told = refusal(OptionError, av_model.encode_av, **given)
    assert all(word in told for word in words), told
    assert refusal(OptionError, frame_model.encode_audio, *given.values()) == told


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"frame_features": FEATURES.numpy()}, ["frame_features of type numpy.ndarray"]),
        (
            {"frame_features": FEATURES[0]},
            ["frame_features of shape (5, 24), expected (batch, video frames, 24)"],
        ),
        (
            {"frame_features": FEATURES[..., :23]},
            ["frame_features of shape (2, 5, 23)", "(batch, video frames, 24)"],
        ),
        ({"frame_features": FEATURES[:, :0]}, ["frame_features of shape (2, 0, 24)", "none 0"]),
        ({"frame_features": FEATURES.double()}, ["frame_features of torch.float64, expected torch.float32"]),
        ({"frame_features": FEATURES * torch.nan}, ["frame_features with NaN"]),
        (
            {"frame_features": FEATURES, "frame_mask": TRUE[:1]},
            ["frame_mask of shape (1, 5) and torch.bool, expected (2, 5) of torch.bool"],
        ),
        (
            {"frame_features": FEATURES, "frame_mask": TRUE.long()},
            ["frame_mask of shape (2, 5) and torch.int64, expected (2, 5) of torch.bool"],
        ),
        (
            {"frame_features": FEATURES, "frame_mask": changed(TRUE, 1, False)},
            ["frame_mask without anything true in row 1"],
        ),
    ],
)
def test_video_is_checked(av_model, given, words, refusal):
    told = refusal(OptionError, av_model.encode_av, **given)
    assert all(word in told for word in words), told


@pytest.mark.parametrize(
    ("ids", "mask", "words"),
    [
        (IDS.numpy(), None, ["input_ids of type numpy.ndarray"]),
        (IDS[0], IDS[0], ["input_ids of shape (4,), expected (texts, up to 512 tokens)"]),
        (torch.ones(1, 513).long(), None, ["input_ids of shape (1, 513)", "up to 512 tokens"]),
        (torch.ones(2, 0).long(), None, ["input_ids of shape (2, 0)", "none 0"]),
        (IDS.float(), None, ["input_ids of torch.float32, expected torch.int64"]),
        (IDS * 512, None, ["input_ids from 512 to 512, expected ids from 0 to 511"]),
        (IDS * -1, None, ["input_ids from -1 to -1"]),
        (IDS, [[1] * 4] * 2, ["attention_mask of type list"]),
        (IDS, IDS[:, :3], ["attention_mask of shape (2, 3), expected that of input_ids, (2, 4)"]),
        (IDS, IDS[:1], ["attention_mask of shape (1, 4)"]),
        (IDS, changed(IDS, 0, 0), ["attention_mask without anything true in row 0"]),
    ],
)
def test_tokens_are_checked(av_model, frame_model, ids, mask, words, refusal):
    told = refusal(OptionError, av_model.encode_av, input_ids=ids, attention_mask=mask)
    assert all(word in told for word in words), told
    assert refusal(OptionError, frame_model.encode_tokens, ids, mask) == told


def test_the_mini_model_checks_tokens_too(tiny_model, refusal):
    most = tiny_model.config.text.vocabulary - 1
    told = refusal(OptionError, tiny_model.encode_tokens, IDS + most, IDS)
    assert told == f"got input_ids from {most + 1} to {most + 1}, expected ids from 0 to {most}"
    assert "up to 16 tokens" in refusal(OptionError, tiny_model.encode_tokens, torch.ones(1, 17).long(), None)


@torch.no_grad()
def test_audio_of_any_floating_type_is_taken(av_model, frame_model):
    sound = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (1, 3840)))
    for embed in (frame_model.encode_audio, lambda x: av_model.encode_av(x)["audio_embeds"]):
        assert torch.equal(embed(sound), embed(sound.float()))
        assert embed(sound).dtype == torch.float32


@torch.no_grad()
def test_masks_of_either_type_are_taken(frame_model):
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    assert torch.equal(frame_model.encode_tokens(IDS, mask), frame_model.encode_tokens(IDS, mask.bool()))
