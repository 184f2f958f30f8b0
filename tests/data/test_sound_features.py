"""Batches of sound as batches of what a model's still part makes of them."""

import numpy as np
import pytest
import soundfile
import torch

from peaframe.clock import frame_count
from peaframe.data.latent_rows import AudioPart
from peaframe.data.sound_augment import SoundAugment
from peaframe.data.sound_features import SoundFeatures, hear
from peaframe.data.sound_loader import SoundLoader
from peaframe.models.load import load_model

SAMPLES = (48_000, 49_600, 50_041, 60_000, 52_500)


@pytest.fixture
def loader(tmp_path):
    """Recordings of noise in batches of two."""
    for item, samples in enumerate(SAMPLES):
        x = np.random.default_rng(item).normal(0, 0.1, samples).astype(np.float32)
        soundfile.write(tmp_path / f"{item}.wav", x, 48_000, subtype="FLOAT")

    def targets(item):
        out = np.full((frame_count(SAMPLES[item]), 3), -1, np.int8)
        out[1:, item % 3] = 1
        return out

    parts = [AudioPart(tmp_path / f"{item}.wav") for item in range(len(SAMPLES))]
    return lambda: SoundLoader(
        parts, targets, batch_size=2, crop_seconds=1.2, seed=3, augment=SoundAugment(gain_db=(-6.0, 6.0))
    )


def same(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in vars(one))


def test_batches_are_those_of_the_sound_heard(loader, tiny_model):
    batches = list(SoundFeatures(loader(), tiny_model))
    sounds = list(loader())
    assert len(batches) == len(sounds) == 3
    assert len({length for sound in sounds for length in sound.lengths.tolist()}) > 2
    for batch, sound in zip(batches, sounds, strict=True):
        assert batch.latents.shape == (*sound.mask.shape, tiny_model.feature_channels)
        assert batch.latents.dtype == torch.float32
        assert not batch.latents[~batch.mask].any()
        for name in ("mask", "targets", "counted", "items", "partners", "starts"):
            assert torch.equal(getattr(batch, name), getattr(sound, name))
        with torch.no_grad():
            expected = tiny_model.encode_audio(sound.waveform, sound.lengths)
            got = tiny_model.encode_features(batch.latents, batch.mask)
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_it_goes_on_where_the_sound_does(loader, tiny_model):
    uninterrupted = SoundFeatures(loader(), tiny_model)
    expected = [*uninterrupted, *uninterrupted]
    first = SoundFeatures(loader(), tiny_model)
    begun = [next(iter(first))]
    state = first.state_dict()
    again = SoundFeatures(loader(), tiny_model)
    again.load_state_dict(state)
    went_on = [*begun, *again, *again]
    assert len(went_on) == 6
    assert all(same(one, other) for one, other in zip(went_on, expected, strict=True))
    assert not torch.equal(expected[0].items, expected[3].items)  # another epoch


def test_what_is_heard_is_single_precision_of_any_model(golden_folder):
    """PE-A-Frame's codec: latents of its stream, without gradients."""
    model = load_model(golden_folder / "pe_a_frame_original")
    waveform = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, 30_000).astype(np.float32))
    stream = model.open_stream()
    expected = torch.cat((stream.push(waveform), stream.finish()))
    rows = hear(model, waveform)
    assert rows.shape == (16, model.feature_channels)
    assert torch.equal(rows, expected)
    double = hear(model.double(), waveform)
    assert double.dtype == torch.float32
    assert not double.requires_grad
    assert (double - rows).abs().max() < 1e-3 * rows.abs().max()
