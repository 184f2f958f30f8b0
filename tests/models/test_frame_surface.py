import numpy as np
import pytest
import torch

from peaframe.clock import HOP_SAMPLES
from peaframe.errors import ModelError, OptionError
from peaframe.models.frame import MiniFrameModel

ODD = (48_001, 1, 1_919, 1_920, 1_921, 100_003, 48_001)


@pytest.fixture
def clips():
    random = np.random.default_rng(0)
    return [torch.from_numpy(random.normal(0, 0.2, samples).astype(np.float32)) for samples in ODD]


@pytest.fixture
def batch(clips):
    """All clips in one array, with loud noise behind their ends, and their lengths."""
    waveform = torch.randn(len(clips), max(ODD))
    for row, clip in zip(waveform, clips, strict=True):
        row[: len(clip)] = clip
    return waveform, torch.tensor(ODD)


@torch.no_grad()
def test_a_clip_is_the_same_alone_and_in_a_batch(tiny_model, clips, batch):
    together = tiny_model.encode_audio(*batch)
    assert together.shape == (len(ODD), -(-max(ODD) // HOP_SAMPLES), 16)
    for row, clip in zip(together, clips, strict=True):
        frames = -(-len(clip) // HOP_SAMPLES)
        np.testing.assert_allclose(row[:frames], tiny_model.encode_audio(clip[None])[0], atol=1e-5)
        assert torch.equal(row[frames:], torch.zeros_like(row[frames:]))


@torch.no_grad()
@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (1_920, 1), (1_921, 2), (46_079, 24), (96_001, 51)])
def test_frames_hold_every_sample(tiny_model, samples, frames):
    embeddings = tiny_model.encode_audio(torch.zeros(1, samples))
    assert embeddings.shape == (1, frames, 16)
    np.testing.assert_allclose(embeddings.norm(dim=-1), 1, atol=1e-5)


@torch.no_grad()
def test_a_short_clip_is_heard_with_silence_behind_it(tiny_model, clips):
    clip = clips[4]
    longer = torch.nn.functional.pad(clip, (0, 24 * HOP_SAMPLES - len(clip)))
    np.testing.assert_allclose(
        tiny_model.encode_audio(clip[None])[0], tiny_model.encode_audio(longer[None])[0, :2], atol=1e-5
    )


@torch.no_grad()
def test_lengths_may_be_left_out_where_all_samples_count(tiny_model, clips):
    waveform = torch.stack((clips[0], clips[6]))
    assert torch.equal(
        tiny_model.encode_audio(waveform), tiny_model.encode_audio(waveform, torch.tensor([48_001, 48_001]))
    )


@torch.no_grad()
def test_audio_at_48_khz_and_decimated_are_the_same_to_the_model(tiny_model, clips):
    waveform = clips[5][None, : 50 * HOP_SAMPLES]
    direct = tiny_model.encode_decimated(tiny_model.front.decimate(waveform))
    np.testing.assert_allclose(tiny_model.encode_audio(waveform), direct, atol=1e-6)


@torch.no_grad()
def test_different_sounds_have_different_frames(tiny_model, clips):
    noise, silence = tiny_model.encode_audio(torch.stack((clips[0], torch.zeros_like(clips[0]))))
    assert (noise - silence).abs().max() > 0.01


@torch.no_grad()
def test_tokens_and_text_are_the_same(tiny_model):
    texts = ["dog barking", "a siren in the distance"]
    embeddings = tiny_model.encode_text(texts)
    assert embeddings.shape == (2, 16)
    assert torch.equal(embeddings, tiny_model.encode_tokens(*tiny_model.tokenizer(texts)))
    np.testing.assert_allclose(embeddings.norm(dim=-1), 1, atol=1e-6)
    alone = torch.cat([tiny_model.encode_text([text]) for text in texts])
    np.testing.assert_allclose(embeddings, alone, atol=1e-5)


@torch.no_grad()
def test_score_is_the_scaled_and_biased_dot_product(tiny_model):
    tiny_model.logit_scale.fill_(3.5)
    tiny_model.logit_bias.fill_(-1.25)
    frames, texts = torch.randn(2, 5, 16), torch.randn(3, 16)
    logits = tiny_model.score(frames, texts)
    assert logits.shape == (2, 5, 3)
    expected = np.einsum("btd,nd->btn", frames.double().numpy(), texts.double().numpy()) * 3.5 - 1.25
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_gradients_reach_every_trained_weight(tiny_model):
    waveform, texts = torch.randn(1, 48_000) * 0.1, ["beep"]
    frames = tiny_model.encode_audio(waveform)
    tiny_model.score(frames, tiny_model.encode_text(texts)).square().sum().backward()
    without = [name for name, p in tiny_model.named_parameters() if p.grad is None]
    assert without == []


def test_held_convolutions_get_no_gradient(tiny_model):
    tiny_model.front.hold(True)
    tiny_model.encode_audio(torch.randn(1, 48_000) * 0.1).sum().backward()
    without = {name.split(".")[0] for name, p in tiny_model.front.named_parameters() if p.grad is None}
    assert without == {"conv1", "depthwise", "pointwise"}


@pytest.mark.parametrize("shape", [(5,), (1, 2, 3), (0, 5), (2, 0)])
def test_other_shapes_are_refused(tiny_model, refusal, shape):
    message = refusal(OptionError, tiny_model.encode_audio, torch.zeros(shape))
    assert f"got a waveform of shape {shape}, expected (batch, samples)" in message


@pytest.mark.parametrize("lengths", [[5], [5, 5, 5], [0, 5], [5, 11], [-1, 5]])
def test_lengths_that_do_not_fit_are_refused(tiny_model, refusal, lengths):
    message = refusal(OptionError, tiny_model.encode_audio, torch.zeros(2, 10), torch.tensor(lengths))
    assert f"got lengths {lengths} for a waveform of shape (2, 10)" in message
    assert "between 1 and 10" in message


def test_without_a_tokenizer_there_is_no_text(tiny_model, refusal):
    model = MiniFrameModel(tiny_model.config)
    assert "no tokenizer; put a tokenizer.json into its folder, or use encode_tokens" in refusal(
        ModelError, model.encode_text, ["dog"]
    )


def test_queries_are_checked(tiny_model, refusal):
    assert "empty query" in refusal(ModelError, tiny_model.encode_text, ["dog", " "])
    assert "expected at most 14 word pieces" in refusal(ModelError, tiny_model.encode_text, ["dog " * 10_000])
