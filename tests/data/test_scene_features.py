import itertools
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from peaframe.data.mix import MixConfig, Mixer
from peaframe.data.scene_features import SceneFeatures
from peaframe.data.sound_features import hear
from peaframe.data.soundbank import Bank, read_manifest
from peaframe.errors import OptionError
from peaframe.train.scenes import SceneDataset

loading = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "loading.py")))
all_same, numbers = loading.all_same, loading.numbers

LABELS = ["beep", "buzz", "rain"]
SECONDS, FRAMES = 0.6, 15


@pytest.fixture(scope="module")
def bank(bank_folder):
    return Bank(read_manifest(bank_folder), 48_000)


@pytest.fixture
def scenes(bank, tiny_model):
    """Eleven scenes an epoch, in four batches."""

    def make(**options):
        mixer = Mixer(bank, options.pop("config", MixConfig()), options.pop("mixer_seed", 5))
        targets = SceneDataset(mixer, LABELS, np.zeros((3, 3), bool)).targets
        options = {"scenes_per_epoch": 11, "batch_size": 3, "seconds": SECONDS, "seed": 1} | options
        return SceneFeatures(mixer, tiny_model, LABELS, targets, **options)

    return make


def test_batches_are_the_mixers_scenes_as_the_model_hears_them(scenes, bank, tiny_model):
    one = scenes()
    mixer = Mixer(bank, MixConfig(), 5)
    truth = SceneDataset(mixer, LABELS, np.zeros((3, 3), bool))
    assert len(one) == 4
    for epoch in range(2):
        assert (one.epoch, one.batch) == (epoch, 0)
        batches = list(one)
        assert [len(own) for own in numbers(batches)] == [3, 3, 3, 2]
        assert sorted(itertools.chain(*numbers(batches))) == list(range(11))
        for batch in batches:
            size = len(batch.items)
            assert batch.latents.shape == (size, FRAMES, tiny_model.feature_channels)
            assert (batch.latents.dtype, batch.targets.dtype) == (torch.float32, torch.int8)
            assert batch.mask.shape == (size, FRAMES)
            assert batch.mask.all()
            assert torch.equal(batch.counted, batch.mask)
            assert batch.partners.tolist() == [-1] * size
            assert batch.starts.tolist() == [0] * size
            for row, item in enumerate(batch.items.tolist()):
                scene = mixer.scene(epoch * 11 + item, SECONDS)
                np.testing.assert_array_equal(batch.targets[row], truth.targets(scene))
                heard = hear(tiny_model, torch.from_numpy(scene.waveform))
                assert torch.equal(batch.latents[row], heard)
    assert torch.cat([batch.targets for batch in batches]).unique().tolist()[-1] == 1


def test_order_and_scenes_are_new_in_every_epoch(scenes):
    one = scenes()
    first, second = list(one), list(one)
    assert numbers(first) != numbers(second)
    rows = [{i: b.latents[r] for b in e for r, i in enumerate(b.items.tolist())} for e in (first, second)]
    assert not any(torch.equal(rows[0][i], rows[1][i]) for i in range(11))
    assert all_same(first, scenes())
    assert numbers(scenes(seed=2)) != numbers(first)
    other = {i: b.latents[r] for b in scenes(seed=2) for r, i in enumerate(b.items.tolist())}
    assert all(torch.equal(rows[0][i], other[i]) for i in range(11))  # the mixer's seed says what is in them
    other = {i: b.latents[r] for b in scenes(mixer_seed=6) for r, i in enumerate(b.items.tolist())}
    assert not any(torch.equal(rows[0][i], other[i]) for i in range(11))


def test_workers_change_nothing(scenes):
    loading.workers_change_nothing(scenes)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("given", [1, 4, 6])
def test_a_run_goes_on_where_it_was(scenes, given, workers):
    state = loading.goes_on(scenes, given, workers, epochs=2)
    assert (state["epoch"], state["batch"]) == divmod(given, 4)


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_an_epoch(scenes, world_size):
    ranks = loading.ranks_share_an_epoch(scenes, world_size)
    assert len(ranks[0]) == len(scenes(world_size=world_size))
    assert {item for own in ranks for items in numbers(own) for item in items} == set(range(11))


def test_a_state_of_something_else_is_refused(scenes, refusal):
    changes = (
        *({"seed": 2}, {"mixer_seed": 6}, {"batch_size": 4}, {"seconds": 0.64}, {"scenes_per_epoch": 12}),
        *({"world_size": 2}, {"config": MixConfig(single=0.5)}),
    )
    loading.other_states_are_refused(scenes, refusal, *changes)


def test_bad_requests_are_refused(scenes, bank_folder, tiny_model, refusal):
    slow = Mixer(Bank(read_manifest(bank_folder), 16_000), MixConfig(), 0)
    options = {"scenes_per_epoch": 1, "batch_size": 1, "seconds": 1.0}
    message = refusal(OptionError, SceneFeatures, slow, tiny_model, LABELS, np.zeros, **options)
    assert "at 16000 Hz, expected 48000 Hz" in message
    for options in ({"scenes_per_epoch": 0}, {"batch_size": 0}, {"seconds": 0.01}):
        assert "expected 1 or more of each" in refusal(OptionError, scenes, **options)
    for options in ({"rank": 1}, {"seed": -1}):
        assert "rank from 0" in refusal(OptionError, scenes, **options)
    assert "got workers -1" in refusal(OptionError, scenes, workers=-1)


class Narrow:
    """Targets that do not fit; picklable, as workers need it."""

    def __call__(self, scene):
        return np.zeros((len(scene.states), 2), np.int8)


@pytest.mark.parametrize("workers", [0, 1])
def test_targets_that_do_not_fit_are_refused_in_one_line(bank, tiny_model, refusal, workers):
    mixer = Mixer(bank, MixConfig(), 0)
    options = {"scenes_per_epoch": 1, "batch_size": 1, "seconds": SECONDS, "workers": workers}
    one = SceneFeatures(mixer, tiny_model, LABELS, Narrow(), **options)
    message = refusal(OptionError, list, one)
    assert "shape (15, 2) for scene 0 of epoch 0, expected (15 frames, 3 labels)" in message
