import runpy
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from peaframe.data.epochs import epoch_batches
from peaframe.data.latent_augment import LatentAugment, blot, mix
from peaframe.data.latent_loader import LatentLoader
from peaframe.errors import OptionError

loading = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "loading.py")))
same, signs = loading.same, loading.signs


# ---- batches


FRAMES = (5, 30, 12, 8, 20, 3, 9, 40, 7, 11, 6)


def loader(cache, **options):
    options = {"batch_size": 3, "crop_seconds": 0.4, "seed": 1} | options
    keys = [f"key{i}" for i in range(len(FRAMES))]
    return LatentLoader(cache, keys, signs(FRAMES), **options)


def test_batches_are_crops_with_their_targets(stored):
    batches = list(loader(stored(*FRAMES)))
    assert sorted(i for batch in batches for i in batch.items.tolist()) == list(range(11))
    assert [len(batch.items) for batch in batches] == [3, 3, 3, 2]
    for batch in batches:
        frames = [min(10, FRAMES[i]) for i in batch.items.tolist()]
        assert batch.latents.shape == (len(frames), max(frames), 4)
        assert batch.latents.dtype == torch.float32
        assert batch.mask.sum(dim=1).tolist() == frames
        assert torch.equal(batch.counted, batch.mask)
        assert batch.partners.tolist() == [-1] * len(frames)
        for row, (item, start, length) in enumerate(
            zip(batch.items.tolist(), batch.starts.tolist(), frames, strict=True)
        ):
            own = batch.latents[row, :length]
            assert own[:, 0].tolist() == [item] * length
            assert own[:, 1].tolist() == list(range(start, start + length))
            assert not batch.latents[row, length:].any()
            assert not batch.targets[row, length:].any()
            expected = signs(FRAMES)(item)[start : start + length]
            np.testing.assert_array_equal(batch.targets[row, :length], expected)


def test_crops_and_order_are_new_in_every_epoch(stored):
    one = loader(stored(*FRAMES))
    first, second = list(one), list(one)
    assert one.epoch == 2
    assert [b.items.tolist() for b in first] != [b.items.tolist() for b in second]
    starts = [
        {int(i): int(s) for b in e for i, s in zip(b.items, b.starts, strict=True)} for e in (first, second)
    ]
    assert starts[0][7] != starts[1][7]
    again = loader(stored(*FRAMES))
    assert loading.all_same(first, again)
    plain = loader(stored(*FRAMES), shuffle=False)
    assert [i for b in plain for i in b.items.tolist()] == list(range(11))


EVERYTHING = LatentAugment(mixup=0.7, time_masks=2, time_seconds=0.2, channel_mask=0.5)


def test_workers_change_nothing(stored):
    loading.workers_change_nothing(partial(loader, stored(*FRAMES), augment=EVERYTHING))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("given", [1, 4, 6])
def test_a_run_goes_on_where_it_was(stored, given, workers):
    loading.goes_on(partial(loader, stored(*FRAMES), augment=EVERYTHING), given, workers)


def test_a_state_of_something_else_is_refused(stored, refusal):
    changes = ({"seed": 2}, {"batch_size": 4}, {"world_size": 2}, {"augment": EVERYTHING})
    loading.other_states_are_refused(partial(loader, stored(*FRAMES)), refusal, *changes)


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_an_epoch(stored, world_size):
    loading.ranks_share_an_epoch(partial(loader, stored(*FRAMES)), world_size)


def test_frames_of_a_batch_are_bounded(stored):
    assert epoch_batches([5, 3, 3, 9, 2], 0, 0, False, None, 10) == [[0, 1], [2], [3], [4]]
    assert epoch_batches([5, 5, 30, 5], 0, 0, False, None, 10) == [[0, 1], [2], [3]]
    batches = list(loader(stored(*FRAMES), batch_size=None, batch_frames=25, crop_seconds=None))
    assert sum(len(batch.items) for batch in batches) == 11
    assert all(batch.mask.numel() <= 25 or len(batch.items) == 1 for batch in batches)
    assert max(batch.mask.shape[1] for batch in batches) == 40


def test_bad_requests_are_refused(stored, refusal):
    cache = stored(*FRAMES)
    for options in ({"batch_size": None}, {"batch_frames": 100}, {"batch_size": 0}):
        assert "batch_frames" in refusal(OptionError, loader, cache, **options)
    for options in ({"rank": 1}, {"seed": -1}):
        assert "rank from 0" in refusal(OptionError, loader, cache, **options)
    for option, value in (("crop_seconds", 0.0), ("workers", -1)):
        assert f"got {option} {value}" in refusal(OptionError, loader, cache, **{option: value})
    assert "no items" in refusal(OptionError, LatentLoader, cache, [], signs(FRAMES), batch_size=1)
    message = refusal(OptionError, LatentLoader, cache, ["key0", "key77"], signs(FRAMES), batch_size=1)
    assert "1 of 2 items, the first is key77" in message


@pytest.mark.parametrize("workers", [0, 1])
def test_targets_that_do_not_fit_are_refused_in_one_line(stored, refusal, workers):
    cache = stored(5, 6)
    one = LatentLoader(cache, ["key0", "key1"], signs((5, 7)), batch_size=2, workers=workers)
    assert "shape (7, 3) for item 1, expected (6 frames, labels)" in refusal(OptionError, list, one)


# ---- augmentation


def test_mixup_mixes_latents_and_joins_labels(stored):
    augment = LatentAugment(mixup=1.0, mixup_share=(0.25, 0.25))
    for batch in loader(stored(*FRAMES), augment=augment, crop_seconds=0.12, batch_size=11):
        for row, (item, partner) in enumerate(
            zip(batch.items.tolist(), batch.partners.tolist(), strict=True)
        ):
            assert item != partner
            assert batch.latents[row, :, 0].tolist() == [0.75 * item + 0.25 * partner] * 3
            assert (batch.targets[row].amax(dim=0) == 1).nonzero().flatten().tolist() == sorted(
                {item % 3, partner % 3}
            )


def test_a_shorter_item_is_mixed_in_somewhere():
    rows, more = np.zeros((6, 2), np.float32), np.ones((2, 2), np.float32)
    targets, theirs = np.full((6, 2), -1, np.int8), np.array([[1, 0], [1, 0]], np.int8)
    places = set()
    for seed in range(60):
        mixed, joined = mix((rows, targets), (more, theirs), 0.5, np.random.default_rng(seed))
        at = int(mixed[:, 0].argmax())
        places.add(at)
        expected = np.zeros((6, 2))
        expected[at : at + 2] = 0.5
        np.testing.assert_array_equal(mixed, expected)
        np.testing.assert_array_equal(joined[at : at + 2], [[1, 0], [1, 0]])
        assert (np.delete(joined, [at, at + 1], axis=0) == -1).all()
    assert places == {0, 1, 2, 3, 4}
    assert not rows.any()


def test_what_is_blotted_out_counts_no_more(stored):
    augment = LatentAugment(time_masks=1, time_seconds=0.12)
    blotted = 0
    for batch in loader(stored(*FRAMES), augment=augment, batch_size=11):
        gone = batch.mask & ~batch.counted
        assert not batch.targets[gone].any()
        assert batch.targets[batch.counted].abs().eq(1).all()
        assert 1 <= int(gone.sum(dim=1).max()) <= 3
        plain = {int(i): s for i, s in zip(batch.items, batch.starts, strict=True)}
        for row, item in enumerate(batch.items.tolist()):
            frames = int(batch.mask[row].sum())
            mean = float(plain[item]) + (frames - 1) / 2
            assert batch.latents[row, :frames][gone[row, :frames], 1].tolist() == [mean] * int(
                gone[row].sum()
            )
        blotted += int(gone.sum())
    assert blotted >= 10


def test_channels_are_blotted_out_as_a_whole():
    rows = np.random.default_rng(0).normal(size=(9, 8)).astype(np.float32)
    counts = set()
    for seed in range(40):
        out, kept = blot(rows, LatentAugment(channel_mask=0.5), np.random.default_rng(seed))
        assert kept.all()
        changed = (out != rows).any(axis=0)
        np.testing.assert_array_equal(out[:, changed], np.broadcast_to(rows.mean(axis=0), (9, 8))[:, changed])
        counts.add(int(changed.sum()))
    assert counts == {0, 1, 2, 3, 4}
    out, kept = blot(rows, LatentAugment(), np.random.default_rng(0))
    np.testing.assert_array_equal(out, rows)


def test_impossible_augmentation_is_refused(refusal):
    for options in ({"mixup": 1.5}, {"mixup_share": (0.6, 0.5)}, {"channel_mask": -0.1}):
        assert "expected numbers in [0, 1]" in refusal(OptionError, LatentAugment, **options)
    for options in ({"time_masks": -1}, {"time_seconds": -0.5}):
        assert "0 or more" in refusal(OptionError, LatentAugment, **options)
