"""What fine-tuning starts from: rows of the part that stands still, and embeddings made of them."""

import numpy as np
import pytest
import torch

from peaframe.clock import HOP_SAMPLES
from peaframe.models.frame import SHORTEST_SAMPLES
from peaframe.models.frontend import CHANNELS, MapStream, with_surroundings
from peaframe.models.load import load_model

RATE = 48_000


def noise(samples, seed=0):
    """Noise that grows louder and softer, so that neighbouring frames differ."""
    x = np.random.default_rng(seed).normal(0, 0.1, samples)
    loud = 1 + np.sin(np.arange(samples) * (2 * np.pi / RATE / 0.7))
    return torch.from_numpy((x * loud).astype(np.float32))


def rows_of(model, samples, portions=None):
    stream = model.open_features()
    parts = [stream.push(part) for part in (samples.split(portions) if portions else [samples])]
    return torch.cat((*parts, stream.finish()))


@pytest.fixture(params=["mini", "pe"])
def model(request, tiny_model, golden_folder):
    """PE-A-Frame in double: its codec is heard in two ways, whose rounding random weights magnify."""
    return (
        tiny_model if request.param == "mini" else load_model(golden_folder / "pe_a_frame_original").double()
    )


# ---- streams


@torch.no_grad()
@pytest.mark.parametrize("portions", [1, 777, 100_003], ids=["small", "odd", "large"])
def test_portions_do_not_matter(tiny_model, portions):
    samples = noise(900 if portions == 1 else 3 * RATE + 17)
    frames = -(-len(samples) // HOP_SAMPLES)
    expected = rows_of(tiny_model, samples)
    assert expected.shape == (frames, CHANNELS) == (frames, tiny_model.feature_channels)
    assert torch.equal(rows_of(tiny_model, samples, portions), expected)


@torch.no_grad()
def test_pieces_of_a_long_recording_are_those_of_the_whole(tiny_model, monkeypatch):
    """Cut into pieces of 100 frames with the true context, against all at once."""
    front, samples = tiny_model.front, noise(14 * RATE + 1000)
    whole = front.joined(front.log_mel(front.decimate(torch.nn.functional.pad(samples, (0, 920))[None])))[0]
    monkeypatch.setattr(MapStream, "PIECE", 100)
    stream = tiny_model.open_features()
    parts = [stream.push(part) for part in samples.split(33_333)]
    assert sum(len(part) for part in parts) == 200
    assert [len(part) for part in parts if len(part)] == [100, 100]
    torch.testing.assert_close(torch.cat((*parts, stream.finish())), whole, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_recording_over_a_minute(tiny_model):
    samples = noise(63 * RATE)
    stream = tiny_model.open_features()
    first = stream.push(samples)
    assert len(first) == MapStream.PIECE == 1500
    rows = torch.cat((first, stream.finish()))
    assert len(rows) == 1575
    around = samples[1380 * HOP_SAMPLES :]  # the seam is at frame 120 of this
    expected = rows_of(tiny_model, around)
    torch.testing.assert_close(rows[1440:], expected[60:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_lead_makes_rows_of_a_part_those_of_the_whole(tiny_model):
    samples = noise(6 * RATE)
    lead = tiny_model.feature_lead
    expected = rows_of(tiny_model, samples)
    part = rows_of(tiny_model, samples[(80 - lead) * HOP_SAMPLES :])
    torch.testing.assert_close(part[lead:], expected[80:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_no_sound_has_no_rows(tiny_model):
    assert rows_of(tiny_model, torch.zeros(0)).shape == (0, CHANNELS)


@torch.no_grad()
@pytest.mark.parametrize("samples", [1, 1920, 1921, 20_000])
def test_short_clips_are_heard_with_silence_behind_them(tiny_model, samples):
    short = noise(samples)
    rows = rows_of(tiny_model, short)
    padded = rows_of(tiny_model, torch.nn.functional.pad(short, (0, SHORTEST_SAMPLES - samples)))
    assert len(rows) == -(-samples // HOP_SAMPLES)
    assert torch.equal(rows, padded[: len(rows)])
    assert len(padded) == MapStream.SHORTEST


# ---- embeddings


@torch.no_grad()
@pytest.mark.parametrize(
    "samples", [SHORTEST_SAMPLES, 2 * RATE, 2 * RATE + 1001], ids=["shortest", "whole", "part"]
)
def test_rows_give_the_embeddings_of_the_sound(model, samples):
    waveform = noise(samples).to(model.logit_scale.dtype)
    expected = model.encode_audio(waveform[None])
    got = model.encode_features(rows_of(model, waveform)[None])
    assert got.shape == expected.shape
    assert (got - expected).abs().max() < 1e-5 * max(1.0, float(expected.abs().max()))


@torch.no_grad()
def test_a_padded_batch_is_its_clips(model):
    clips = [
        noise(samples, seed).to(model.logit_scale.dtype)
        for seed, samples in enumerate((48_000, 60_000, 48_000, 47_000))
    ]
    rows = [rows_of(model, clip) for clip in clips]
    features = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=3.0)
    mask = torch.arange(features.shape[1]) < torch.tensor([[len(own)] for own in rows])
    together = model.encode_features(features, mask)
    waveforms = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    expected = model.encode_audio(waveforms, torch.tensor([len(clip) for clip in clips]))
    assert (together - expected).abs().max() < 1e-5 * max(1.0, float(expected.abs().max()))
    assert not together[~mask].any()
    for own, embeddings in zip(rows, together, strict=True):
        alone = model.encode_features(own[None])[0]
        assert (embeddings[: len(own)] - alone).abs().max() < 1e-5 * max(1.0, float(alone.abs().max()))


def test_all_but_the_still_part_learns_from_rows(model):
    rows = rows_of(model, noise(RATE).to(model.logit_scale.dtype))
    assert not rows.requires_grad
    model.requires_grad_(True)
    mask = torch.ones(2, len(rows), dtype=torch.bool)
    mask[1, 20:] = False
    out = model.encode_features(torch.stack((rows, rows)), mask)
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    still = {tensor.data_ptr() for tensor in model.still_part()[1].values()}
    moved = {name: p.grad is not None and bool(p.grad.any()) for name, p in model.named_parameters()}
    assert len(still) > 3
    assert not any(moved[name] for name, p in model.named_parameters() if p.data_ptr() in still)
    heads = [name for name in moved if name.startswith(("audio_head", "front.merge", "audio.data_proj"))]
    assert len(heads) >= 4
    assert all(moved[name] for name in heads)


# ---- surroundings


def slow_surroundings(x, around):
    """Frame by frame in float64."""
    x = x.double().numpy()
    out = [x]
    for length in around:
        means, deviations = np.zeros_like(x), np.zeros_like(x)
        for t in range(x.shape[1]):
            near = x[:, max(0, t - length // 2) : t + length // 2 + 1]
            means[:, t], deviations[:, t] = near.mean(axis=1), near.std(axis=1)
        out += [means, np.maximum(deviations, 1e-4)]
    return torch.from_numpy(np.concatenate(out, axis=2))


def steps():
    """Channels with a mean far from 0, a jump, a small deviation, and none; (1, 60, 5)."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(1, 60, 5, generator=random)
    x[..., 0] += 300
    x[:, 30:, 1] += 8
    x[..., 2] = 5 + 0.01 * x[..., 2]
    x[:, 30:, 3] = 0.1 * x[:, 30:, 3] - 4
    x[..., 4] = 7
    return x


@pytest.mark.parametrize("around", [(25,), (5, 51), (151,)])
def test_surroundings_are_those_in_double(around):
    x = steps()
    got, expected = with_surroundings(x, around), slow_surroundings(x, around)
    assert got.dtype == torch.float32
    assert got.shape == (1, 60, 5 * (1 + 2 * len(around)))
    torch.testing.assert_close(got.double(), expected, atol=1e-4, rtol=1e-5)


def test_surroundings_know_nothing_of_other_clips():
    x = steps()
    both = with_surroundings(torch.cat((x, -x)), (25,))
    torch.testing.assert_close(both[:1], with_surroundings(x, (25,)), atol=1e-5, rtol=1e-6)


def test_half_precision_around_it_takes_nothing_from_surroundings():
    """As in training with `precision: bfloat16`; bfloat16 products would be off by a tenth of a deviation."""
    x = steps()
    with torch.autocast("cpu", torch.bfloat16):
        got = with_surroundings(x, (25,))
    assert torch.equal(got, with_surroundings(x, (25,)))
