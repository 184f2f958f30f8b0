"""Batches from real shards: of latents from a cache, and of sound that is heard."""

import io
import json
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from peaframe import audio
from peaframe.clock import frame_count
from peaframe.data import manifest
from peaframe.data.latent_augment import LatentAugment
from peaframe.data.latent_rows import AudioPart
from peaframe.data.latents import LatentCache, fill
from peaframe.data.manifest_item import Item
from peaframe.data.shard_batches import ShardBatches
from peaframe.data.shards import ShardReader, write_shards
from peaframe.data.sound_features import hear
from peaframe.errors import FormatError, OptionError
from peaframe.events import Event
from peaframe.models.load import load_model

LABELS = ("beep", "buzz", "rain")
SECONDS = (0.3, 1.2, 0.62, 0.5, 1.0, 0.45, 0.7, 1.4, 0.8)  # of nine recordings
EVERYTHING = LatentAugment(mixup=0.7, time_masks=2, time_seconds=0.2, channel_mask=0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Nine recordings of noise; recording i has an event of label i % 3 from 0.08 to 0.24 s, all else is silent."""
    folder = tmp_path_factory.mktemp("sounds")
    for i, seconds in enumerate(SECONDS):
        noise = np.random.default_rng(i).normal(0, 0.1, round(seconds * 48_000))
        soundfile.write(folder / f"{i}.wav", noise, 48_000)
    return folder


def recordings(folder):
    return [
        Item(
            folder / f"{i}.wav",
            duration=seconds,
            events=(Event(0.08, 0.24, LABELS[i % 3]),),
            exhaustive=True,
            source=f"recording {i}",
        )
        for i, seconds in enumerate(SECONDS)
    ]


@pytest.fixture(scope="module")
def sounds(folder, tmp_path_factory):
    """Their sound, in three shards."""
    out = tmp_path_factory.mktemp("sound_shards")
    assert len(write_shards(recordings(folder), out, shard_bytes=250_000).shards) == 3
    return out


@pytest.fixture(scope="module")
def codec():
    return load_model(Path(__file__).parents[1] / "golden" / "pe_a_frame_original")


@pytest.fixture(scope="module")
def cache(folder, codec, tmp_path_factory):
    cache = LatentCache(tmp_path_factory.mktemp("cache"))
    fill(cache, [AudioPart(item.audio, item.start, item.duration) for item in recordings(folder)], codec)
    return cache


@pytest.fixture(scope="module")
def latents(folder, cache, tmp_path_factory):
    """Their latents, in shards of three."""
    out = tmp_path_factory.mktemp("latent_shards")
    index = write_shards(recordings(folder), out, content="latents", cache=cache, shard_bytes=5000)
    assert len(index.shards) > 2
    return out


def batches_of(source, reader=None, **options):
    """Three batches an epoch on one rank."""
    options = {"batch_size": 4, "crop_seconds": 0.4, "seed": 1} | options
    reader = ShardReader(source, **({"seed": 2, "shuffle_buffer": 3} | (reader or {})))
    return ShardBatches(reader, options.pop("labels", LABELS), **options)


def same(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in vars(one))


def all_same(some, others):
    return all(same(*pair) for pair in zip(some, others, strict=True))


def numbers(batches):
    return [i for batch in batches for i in batch.items.tolist()]


# ---- batches


def test_batches_are_crops_of_latents_with_their_targets(latents, folder, cache):
    one = batches_of(latents)
    items = recordings(folder)
    starts = set()
    sizes = []
    for batch in one:
        sizes.append(len(batch.items))
        assert (batch.latents.dtype, batch.targets.dtype) == (torch.float32, torch.int8)
        assert torch.equal(batch.counted, batch.mask)
        assert batch.partners.tolist() == [-1] * len(batch.items)
        for row, (number, start) in enumerate(zip(batch.items.tolist(), batch.starts.tolist(), strict=True)):
            item = one.item(number)
            assert item.source == f"recording {number}"
            assert item.events == items[number].events
            rows = cache.get(cache.key(AudioPart(items[number].audio, 0.0, SECONDS[number])))
            length = min(10, len(rows))
            assert batch.mask[row].tolist() == [True] * length + [False] * (batch.mask.shape[1] - length)
            np.testing.assert_array_equal(
                batch.latents[row, :length], rows[start : start + length].astype(np.float32)
            )
            expected = manifest.targets(items[number], LABELS, len(rows))[start : start + length]
            np.testing.assert_array_equal(batch.targets[row, :length], expected)
            assert not batch.latents[row, length:].any()
            assert not batch.targets[row, length:].any()
            starts.add(start)
    assert sizes == [4, 4, 1] == [4] * (len(one) - 1) + [1]
    assert len(starts) > 3


def test_samples_of_sound_are_cut_and_heard(sounds, folder, tiny_model):
    one = batches_of(sounds, model=tiny_model)
    found = list(one)
    assert sorted(numbers(found)) == list(range(9))
    for batch in found:
        for row, (number, start) in enumerate(zip(batch.items.tolist(), batch.starts.tolist(), strict=True)):
            with torch.no_grad():
                waveform = audio.read(folder / f"{number}.wav")[start * 1920 : (start + 10) * 1920]
                wanted = hear(tiny_model, torch.from_numpy(waveform))
            length = int(batch.mask[row].sum())
            assert length == min(10, frame_count(round(SECONDS[number] * 48_000))) == len(wanted)
            torch.testing.assert_close(batch.latents[row, :length], wanted, atol=0.02, rtol=0.02)  # 16 bit
            whole = frame_count(round(SECONDS[number] * 48_000))
            expected = manifest.targets(recordings(folder)[number], LABELS, whole)[start : start + length]
            np.testing.assert_array_equal(batch.targets[row, :length], expected)


def test_sound_and_latents_of_one_codec_agree(sounds, latents, codec):
    heard = list(batches_of(sounds, crop_seconds=None, reader={"shuffle": False}, model=codec))
    kept = list(batches_of(latents, crop_seconds=None, reader={"shuffle": False}, model=codec))
    for one, other in zip(heard, kept, strict=True):
        assert torch.equal(one.targets, other.targets)
        assert torch.equal(one.items, other.items)
        assert float((one.latents - other.latents).abs().mean()) < 0.01 * float(other.latents.abs().mean())
    assert numbers(kept) == list(range(9))


def test_crops_are_new_in_every_epoch_and_hang_on_the_key_alone(latents):
    one = batches_of(latents)
    epochs = [{i: s for b in one for i, s in zip(b.items.tolist(), b.starts.tolist(), strict=True)}]
    epochs += [{i: s for b in one for i, s in zip(b.items.tolist(), b.starts.tolist(), strict=True)}]
    assert epochs[0] != epochs[1]
    other = batches_of(latents, batch_size=2, reader={"seed": 9, "shuffle_buffer": 100})
    assert epochs[0] == {
        i: s for b in other for i, s in zip(b.items.tolist(), b.starts.tolist(), strict=True)
    }
    reseeded = batches_of(latents, seed=3)
    assert epochs[0] != {
        i: s for b in reseeded for i, s in zip(b.items.tolist(), b.starts.tolist(), strict=True)
    }


def test_the_sample_before_is_mixed_in_and_labels_are_joined(latents):
    augment = LatentAugment(mixup=1.0, mixup_share=(0.25, 0.25))
    plain = list(batches_of(latents, crop_seconds=0.28))
    mixed = list(batches_of(latents, crop_seconds=0.28, augment=augment))
    assert numbers(plain) == numbers(mixed)
    for own, batch in zip(plain, mixed, strict=True):
        assert torch.equal(own.starts, batch.starts)
        assert batch.partners.tolist() == [-1, *batch.items.tolist()[:-1]]
        assert torch.equal(batch.latents[0], own.latents[0])
        for row in range(1, len(batch.items)):
            expected = 0.75 * own.latents[row] + 0.25 * own.latents[row - 1]
            torch.testing.assert_close(batch.latents[row], expected)
            assert torch.equal(batch.targets[row], torch.maximum(own.targets[row], own.targets[row - 1]))


def test_what_is_blotted_out_counts_no_more(latents):
    plain = batches_of(latents)
    blotted = batches_of(latents, augment=LatentAugment(time_masks=1, time_seconds=0.12))
    count = 0
    for own, batch in zip(plain, blotted, strict=True):
        gone = batch.mask & ~batch.counted
        assert set(gone.sum(dim=1).tolist()) <= {1, 2, 3}
        assert not batch.targets[gone].any()
        assert torch.equal(batch.targets[batch.counted], own.targets[batch.counted])
        assert torch.equal(batch.latents[batch.counted], own.latents[batch.counted])
        count += int(gone.sum())
    assert count >= 9


def test_items_are_those_of_the_batch_given_last(latents, refusal):
    one = batches_of(latents, augment=EVERYTHING)
    assert "one of the 0 of the batch" in refusal(OptionError, one.item, 0)
    before: list[int] = []
    for batch in one:
        for number in (*batch.items.tolist(), *batch.partners.tolist()):
            assert number < 0 or one.item(number).source == f"recording {number}"
        for number in before:
            message = f"got sample {number}, expected one of the {len(batch.items)} of the batch given last"
            assert message in refusal(OptionError, one.item, number)
        before = batch.items.tolist()


def test_samples_of_several_folders_with_one_key_are_told_apart(folder, cache, tmp_path):
    items = recordings(folder)[:2]
    others = [replace(item, source="other") for item in items]
    for name, own in (("one", items), ("two", others)):
        write_shards(own, tmp_path / name, content="latents", cache=cache)
    shards = [tmp_path / name / "shard-000000.tar" for name in ("one", "two")]
    one = batches_of(shards, reader={"shuffle": False})
    (batch,) = one
    assert batch.items.tolist() == [0, 1, 10**15, 10**15 + 1]
    told = [one.item(number).source for number in batch.items.tolist()]
    assert told == ["recording 0", "recording 1", "other", "other"]


def made_elsewhere(path, samples):
    """A tar file of latents by key, as other tools may write it."""
    with tarfile.open(path, "w") as tar:
        for key, rows in samples:
            file = io.BytesIO()
            np.save(file, rows)
            line = json.dumps({"audio": f"{key}.npy", "source": key}).encode()
            for name, data in ((f"{key}.json", line), (f"{key}.npy", file.getvalue())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return [path]


def test_keys_need_not_be_numbers(tmp_path):
    rows = np.ones((30, 4), np.float16)
    source = made_elsewhere(tmp_path / "a.tar", [("dog", rows), ("7", rows), ("²", rows), ("9" * 30, rows)])
    one = batches_of(source, reader={"shuffle": False})
    (batch,) = one
    found = batch.items.tolist()
    assert [one.item(number).source for number in found] == ["dog", "7", "²", "9" * 30]
    assert found[1] == 7
    assert len({*found}) == 4
    assert all(0 <= number < 10**15 for number in found)
    assert (batch.targets == 0).all()  # nothing is said of the labels
    assert numbers(batches_of(source, reader={"seed": 5})) != found
    assert sorted(numbers(batches_of(source, reader={"seed": 5}))) == sorted(found)


@pytest.mark.parametrize("shape", [(0, 4), (0,), (2, 3, 4), ()])
def test_what_is_neither_sound_nor_latents_is_refused(tmp_path, refusal, shape):
    source = made_elsewhere(tmp_path / "a.tar", [("dog", np.zeros(shape, np.float16))])
    message = refusal(FormatError, list, batches_of(source))
    assert f"dog.npy: holds an array of shape {shape}" in message


# ---- order


def test_threads_change_nothing(latents):
    alone = list(batches_of(latents, augment=EVERYTHING))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert all_same(alone, batches_of(latents, augment=EVERYTHING, reader={"workers": 2}))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("given", [1, 3, 5])
@pytest.mark.parametrize("kind", ["sounds", "latents"])
def test_a_run_goes_on_where_it_was(request, tiny_model, kind, given, workers):
    """Three batches an epoch: in the middle of one, at its end, and in the middle of the next."""
    source = request.getfixturevalue(kind)
    model = tiny_model if kind == "sounds" else None

    def make(threads):
        return batches_of(source, augment=EVERYTHING, model=model, reader={"workers": threads})

    def batches(one):
        while True:
            yield from one

    whole = [batch for batch, _ in zip(batches(make(0)), range(9), strict=False)]
    one = make(workers)
    running = batches(one)
    for _ in range(given):
        next(running)
    state = one.state_dict()
    running.close()
    other = make(workers)
    other.load_state_dict(state)
    rest = [batch for batch, _ in zip(batches(other), range(9 - given), strict=False)]
    assert all_same(whole[given:], rest)
    assert any(number >= 0 for batch in rest for number in batch.partners.tolist())


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_cover_everything_in_as_many_batches(latents, world_size):
    found = [
        list(batches_of(latents, batch_size=2, reader={"rank": rank, "world_size": world_size}))
        for rank in range(world_size)
    ]
    each = -(-9 // world_size)
    assert [len(own) for own in found] == [-(-each // 2)] * world_size
    assert len(batches_of(latents, batch_size=2, reader={"world_size": world_size})) == -(-each // 2)
    often = Counter(number for own in found for number in numbers(own))
    assert set(often) == set(range(9))
    assert sum(often.values()) == each * world_size < 9 + world_size


# ---- refusals


def test_a_state_of_something_else_is_refused(latents, refusal):
    state = batches_of(latents).state_dict()
    for options in ({"seed": 2}, {"batch_size": 3}, {"crop_seconds": None}, {"labels": LABELS[:2]}):
        assert "other options" in refusal(OptionError, batches_of(latents, **options).load_state_dict, state)
    other = batches_of(latents, augment=EVERYTHING)
    assert "other options" in refusal(OptionError, other.load_state_dict, state)
    other = batches_of(latents, reader={"seed": 3})
    assert "other shards or options" in refusal(OptionError, other.load_state_dict, state)


def test_bad_requests_are_refused(latents, sounds, tiny_model, refusal):
    for options in ({"batch_size": 0}, {"seed": -1}, {"crop_seconds": 0.01}, {"labels": ()}):
        assert "expected one label or more" in refusal(OptionError, batches_of, latents, **options)
    assert "labels name 'a' twice" in refusal(OptionError, batches_of, latents, labels=("a", "a"))
    assert "is sound; give a model" in refusal(OptionError, list, batches_of(sounds))
    message = refusal(OptionError, list, batches_of(latents, model=tiny_model))
    assert f"latents of 16 channels, the model takes {tiny_model.feature_channels}" in message
    one = batches_of([*sorted(sounds.glob("*.tar")), *sorted(latents.glob("*.tar"))], model=tiny_model)
    assert "the model takes" in refusal(OptionError, list, one)
