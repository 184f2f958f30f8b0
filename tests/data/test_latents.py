import os
import pickle
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import torch

from peaframe.data.latent_augment import LatentAugment, blot, mix
from peaframe.data.latent_loader import LatentLoader, epoch_batches
from peaframe.data.latent_rows import AudioPart, codec_fingerprint, codec_of, latent_blocks
from peaframe.data.latent_shards import ShardWriter
from peaframe.data.latents import LatentCache, fill
from peaframe.errors import AudioError, FormatError, ModelError, OptionError
from peaframe.models.load import load_model, save_pe

RATE, HOP = 48_000, 1920


@pytest.fixture
def model(golden_folder):
    return load_model(golden_folder / "pe_a_frame_original")


@pytest.fixture
def sounds(tmp_path):
    """Writes noises of these lengths in seconds; gives the parts."""

    def write(*seconds, first=0):
        parts = []
        for i, length in enumerate(seconds):
            x = np.random.default_rng(first + i).normal(0, 0.1, round(length * RATE)).astype(np.float32)
            soundfile.write(tmp_path / f"{first + i}.wav", x, RATE, subtype="FLOAT")
            parts.append(AudioPart(tmp_path / f"{first + i}.wav"))
        return parts

    return write


@pytest.fixture
def stored(tmp_path):
    """A cache of made-up latents, 4 channels, of these lengths; latent t of item i is (i, t, channel, 0)."""

    def write(*frames):
        folder = tmp_path / "made"
        folder.mkdir(exist_ok=True)
        writer = ShardWriter(folder, "codec", "made up", 4)
        for i, count in enumerate(frames):
            rows = np.zeros((count, 4), np.float16)
            rows[:, 0], rows[:, 1], rows[:, 2] = i, np.arange(count), 7
            writer.write(rows)
            writer.keep(f"key{i}", f"/sounds/{i}.wav", 1, 1)
        writer.close()
        return LatentCache(folder)

    return write


def rows_of(model, path):
    stream = model.open_stream()
    samples = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
    return torch.cat((stream.push(samples), stream.finish())).numpy()


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def parts_left(folder):
    return sorted(path.name for path in folder.glob(".*.part"))


def same(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in vars(one))


# ---- the cache


def test_what_is_stored_is_what_the_model_hears(model, sounds, tmp_path):
    parts = sounds(1.0, 0.7301)
    with LatentCache(tmp_path / "cache") as cache:
        keys = [cache.add(part.path, part.start, part.duration, model) for part in parts]
        assert keys[0] in cache
        assert len(cache) == 0  # nothing is there before it is there for good
    assert len(cache) == 2
    assert cache.channels == 16
    assert cache.codec == codec_fingerprint(codec_of(model))
    for key, part, frames in zip(keys, parts, (25, 19), strict=True):
        rows = cache.get(key)
        assert isinstance(rows, np.memmap)
        assert rows.dtype == np.float16
        assert cache.frames(key) == frames
        np.testing.assert_array_equal(rows, rows_of(model, part.path).astype(np.float16))
    (shard,) = visible(tmp_path / "cache")
    assert np.load(tmp_path / "cache" / shard, mmap_mode="r").shape == (44, 16)  # numpy alone reads it, too


def test_scores_from_the_cache_are_those_of_the_sound(model, sounds, tmp_path):
    (part,) = sounds(2.0)
    with LatentCache(tmp_path / "cache") as cache:
        key = cache.add(part.path, 0.0, None, model)
    wave = torch.from_numpy(soundfile.read(part.path, dtype="float32")[0])[None]
    with torch.no_grad():
        expected = model.encode_audio(wave)
        got = model.encode_latents(torch.from_numpy(cache.get(key).astype(np.float32))[None])
    assert float((got - expected).abs().max()) < 0.01 * float(expected.std())


def test_a_part_is_a_piece_of_the_whole(model, sounds, tmp_path):
    (whole,) = sounds(3.0)
    expected = rows_of(model, whole.path)
    for start, duration, frames in ((0.0, 1.0, 25), (0.08, 1.0, 25), (1.2, 0.79, 20), (1.2, None, 45)):
        rows = np.concatenate(list(latent_blocks(model, AudioPart(whole.path, start, duration))))
        first = round(start * 25)
        assert rows.shape == (frames, 16)
        difference = np.abs(rows - expected[first : first + frames]).max()
        assert difference < 2e-3 * np.abs(expected).max()


def test_a_long_recording_is_heard_block_by_block(model, sounds):
    (whole,) = sounds(25.0)
    counts = [len(rows) for rows in latent_blocks(model, AudioPart(whole.path, 0.4, 24.0))]
    assert sum(counts) == 600
    assert len(counts) > 2
    assert max(counts) <= 250


def test_the_key_is_the_content_and_the_part(sounds, tmp_path):
    one, other = sounds(0.1, 0.1)
    cache = LatentCache(tmp_path / "cache")
    copy = tmp_path / "copy.wav"
    copy.write_bytes(one.path.read_bytes())
    assert cache.key(AudioPart(copy)) == cache.key(one)
    assert cache.key(one) != cache.key(other)
    assert cache.key(AudioPart(copy, 0.04)).endswith(":1920:end")
    assert cache.key(AudioPart(copy, 0.0, 0.05)).endswith(":0:2400")
    before = cache.key(AudioPart(copy))
    copy.write_bytes(other.path.read_bytes())
    os.utime(copy, ns=(1, 1))
    assert before != cache.key(AudioPart(copy)) == cache.key(other)


def test_a_recording_that_is_gone_is_known_by_its_path(model, sounds, tmp_path, refusal):
    (part,) = sounds(0.5)
    with LatentCache(tmp_path / "cache") as cache:
        key = cache.add(part.path, 0.0, None, model)
    part.path.unlink()
    again = LatentCache(tmp_path / "cache")
    assert again.key(part) == key
    assert again.missing([part]) == []
    assert "No such file" in refusal(AudioError, again.key, AudioPart(tmp_path / "never.wav"))


def test_fill_adds_what_is_missing_once(model, sounds, tmp_path):
    parts = sounds(0.3, 0.2, 0.4)
    cache = LatentCache(tmp_path / "cache", shard_bytes=8 * 16 * 2)
    assert fill(cache, [parts[0], parts[1], parts[0]], model, progress=False) == 2
    assert len(visible(cache.folder)) == 2  # 8 frames fill a shard, and the last 5 are one
    assert cache.missing(parts) == [parts[2]]
    assert fill(cache, parts, model, progress=False) == 1
    assert fill(cache, parts, model, progress=False) == 0
    again = LatentCache(tmp_path / "cache")
    assert [again.frames(again.key(part)) for part in parts] == [8, 5, 10]
    again.verify()


def test_recordings_that_cannot_be_read_do_not_stop_the_others(model, sounds, tmp_path, refusal):
    good = sounds(0.3, 0.2)
    (tmp_path / "bad.wav").write_text("no sound")
    cache = LatentCache(tmp_path / "cache")
    parts = [good[0], AudioPart(tmp_path / "bad.wav"), AudioPart(good[1].path, 0.1, 5.0), good[1]]
    message = refusal(AudioError, fill, cache, parts, model, False)
    assert "bad.wav" in message
    assert "1 more like it" in message
    assert cache.missing(good) == []
    np.testing.assert_array_equal(
        cache.get(cache.key(good[1])), rows_of(model, good[1].path).astype(np.float16)
    )


def test_an_item_that_breaks_off_leaves_no_rows(model, sounds, tmp_path, monkeypatch):
    one, other = sounds(0.4, 0.3)
    cache = LatentCache(tmp_path / "cache")
    with soundfile.SoundFile(one.path) as file:
        whole = file.read(dtype="float32")
    whole[-1] = np.nan
    soundfile.write(one.path, np.concatenate((np.zeros(12 * RATE, np.float32), whole)), RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN"):
        cache.add(one.path, 0.0, None, model)
    key = cache.add(other.path, 0.0, None, model)
    cache.flush()
    assert len(cache) == 1
    np.testing.assert_array_equal(cache.get(key), rows_of(model, other.path).astype(np.float16))


def test_a_model_without_a_codec_has_nothing_to_cache(tiny_model, sounds, tmp_path, refusal):
    parts = sounds(0.2)
    message = refusal(ModelError, fill, LatentCache(tmp_path / "cache"), parts, tiny_model)
    assert "no codec" in message
    assert not (tmp_path / "cache").exists()


def test_another_codec_is_refused_by_name(model, sounds, tmp_path, refusal):
    parts = sounds(0.2, 0.2)
    cache = LatentCache(tmp_path / "cache")
    fill(cache, parts[:1], model, progress=False)
    own = cache.codec
    with torch.no_grad():
        model.audio.tower.norm.weight.mul_(2)
    assert cache.check(model) == own  # what is trained may change
    with torch.no_grad():
        model.audio.codec.mean.bias.add_(0.1)
    message = refusal(ModelError, fill, cache, parts, model)
    assert own in message
    assert codec_fingerprint(codec_of(model)) in message
    other = LatentCache(tmp_path / "other")
    fill(other, parts[1:], model, progress=False)
    (name,) = visible(other.folder)
    (other.folder / name).rename(cache.folder / f"z{name}")
    message = refusal(FormatError, LatentCache, cache.folder)
    assert f"z{name}" in message
    assert own in message


def test_the_fingerprint_outlives_a_change_of_layout(model, tmp_path):
    save_pe(model, tmp_path / "a", "transformers")
    assert codec_fingerprint(codec_of(load_model(tmp_path / "a"))) == codec_fingerprint(codec_of(model))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda x: x[:-1], "its end is missing"),
        (lambda x: x[:40], "its end is missing"),
        (lambda x: x[:-60] + b"?" + x[-59:], "its index"),
        (lambda x: x[:128] + x[130:], "bytes do not fit"),
    ],
)
def test_a_damaged_shard_is_refused_by_name(stored, refusal, damage, said):
    cache = stored(3, 2)
    (path,) = cache.folder.glob("*.npy")
    path.write_bytes(damage(path.read_bytes()))
    message = refusal(FormatError, LatentCache, cache.folder)
    assert str(path) in message
    assert said in message


def test_a_flipped_bit_is_refused_when_it_is_read(stored, refusal):
    cache = stored(3, 2)
    (path,) = cache.folder.glob("*.npy")
    content = bytearray(path.read_bytes())
    content[128 + 3 * 8 + 1] ^= 4  # in item 1
    path.write_bytes(content)
    again = LatentCache(cache.folder)
    assert again.get("key0").shape == (3, 4)
    message = refusal(FormatError, again.get, "key1")
    assert str(path) in message
    assert "/sounds/1.wav" in message
    assert message == refusal(FormatError, again.verify)


def test_what_is_not_there_is_said(stored, refusal):
    cache = stored(3)
    assert "no latents of key9" in refusal(OptionError, cache.get, "key9")
    for start, duration in ((-1.0, None), (0.0, 0.0), (float("nan"), 1.0)):
        assert "x.wav" in refusal(OptionError, AudioPart, "x.wav", start, duration)


def test_a_folder_that_cannot_be_written(model, sounds, tmp_path, refusal):
    (tmp_path / "file").write_text("")
    cache = LatentCache(tmp_path / "file")
    assert "cannot be made" in refusal(FormatError, fill, cache, sounds(0.2), model)


def test_a_full_disk_leaves_whole_items(stored, refusal, tmp_path):
    (tmp_path / "small").mkdir()
    writer = ShardWriter(tmp_path / "small", "codec", "made up", 4)
    writer.write(np.ones((10, 4), np.float16))
    writer.keep("whole", "/a.wav", 1, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        assert "cannot be written" in refusal(FormatError, writer.write, np.ones((1000, 4), np.float16))
        writer.forget()
        writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    cache = LatentCache(tmp_path / "small")
    np.testing.assert_array_equal(cache.get("whole"), np.ones((10, 4)))
    assert len(cache) == 1


def test_a_cache_goes_to_other_processes_unless_it_is_being_filled(stored, model, sounds, tmp_path, refusal):
    cache = stored(3, 2)
    cache.get("key0")
    sent = pickle.dumps(cache)
    assert len(sent) < 2000  # without the latents
    assert pickle.loads(sent).get("key1")[:, 0].tolist() == [1, 1]
    cache = LatentCache(tmp_path / "cache")
    cache.add(sounds(0.2)[0].path, 0.0, None, model)
    assert "is being filled" in refusal(OptionError, pickle.dumps, cache)
    cache.flush()
    assert len(pickle.loads(pickle.dumps(cache))) == 1


# ---- processes

FILLER = """
import sys, time
from pathlib import Path
import torch
from peaframe.data.latents import LatentCache, fill
from peaframe.data.latent_rows import AudioPart
from peaframe.models.load import load_model
torch.set_num_threads(1)
golden, folder, mine, others, *paths = sys.argv[1:]
model = load_model(Path(golden))
Path(mine).touch()
while not Path(others).exists():
    time.sleep(0.01)
cache = LatentCache(folder, shard_bytes=4 * 10 * 32)
print(fill(cache, [AudioPart(path) for path in paths], model, progress=False))
"""


def filler(golden_folder, folder, mine, others, parts):
    command = [sys.executable, "-c", FILLER, golden_folder / "pe_a_frame_original", folder, mine, others]
    return subprocess.Popen(
        [*map(str, command), *(str(part.path) for part in parts)], stdout=subprocess.PIPE, text=True
    )


def same_but_rounding(one, other):
    """Equal up to half precision: another process may add up with another number of threads."""
    np.testing.assert_allclose(one.astype(np.float32), other.astype(np.float32), rtol=2e-3, atol=0.1)


def test_a_killed_process_leaves_whole_shards_and_is_taken_up(model, golden_folder, sounds, tmp_path):
    parts = [*sounds(0.4, 0.4, 0.4, 0.4, 0.4), *sounds(60.0, first=5)]
    folder, ready = tmp_path / "cache", tmp_path / "ready"
    process = filler(golden_folder, folder, ready, ready, parts)
    try:
        until = time.monotonic() + 25
        while not any(part.stat().st_size > 5000 for part in folder.glob(".*.part")):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        assert LatentCache(folder).missing(parts[:4]) == []  # others may look, and harm nothing
        assert len(parts_left(folder)) == 1
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert len(parts_left(folder)) == 1
    cache = LatentCache(folder)
    assert parts_left(folder) == []
    assert cache.missing(parts[:4]) == []
    cache.verify()
    short = [*parts[:5], AudioPart(parts[5].path, 0.0, 0.5)]
    assert fill(cache, short, model, progress=False) == 2
    whole = LatentCache(tmp_path / "whole")
    fill(whole, short, model, progress=False)
    for part in short:
        same_but_rounding(cache.get(cache.key(part)), whole.get(whole.key(part)))


def test_two_processes_share_the_work(model, golden_folder, sounds, tmp_path):
    parts = sounds(*[0.5] * 24)
    folder, a, b = tmp_path / "cache", tmp_path / "a", tmp_path / "b"
    processes = [
        filler(golden_folder, folder, a, b, parts),
        filler(golden_folder, folder, b, a, parts),
    ]
    added = [int(process.communicate(timeout=25)[0]) for process in processes]
    assert sum(added) == 24  # none twice
    assert min(added) > 0
    cache = LatentCache(folder)
    assert cache.missing(parts) == []
    assert len(cache) == sum(len(np.load(path)) for path in folder.glob("*.npy")) // 13
    cache.verify()
    same_but_rounding(cache.get(cache.key(parts[7])), rows_of(model, parts[7].path).astype(np.float16))


# ---- batches


def signs(frames, labels=3):
    """Targets of items: -1, but +1 in column i % labels from frame 1 on."""

    def targets(item):
        out = np.full((frames[item], labels), -1, np.int8)
        out[1:, item % labels] = 1
        return out

    return targets


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
    assert all(same(*pair) for pair in zip(first, again, strict=True))
    plain = loader(stored(*FRAMES), shuffle=False)
    assert [i for b in plain for i in b.items.tolist()] == list(range(11))


EVERYTHING = LatentAugment(mixup=0.7, time_masks=2, time_seconds=0.2, channel_mask=0.5)


def test_workers_change_nothing(stored):
    cache = stored(*FRAMES)
    alone = list(loader(cache, augment=EVERYTHING))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    shared = list(loader(cache, augment=EVERYTHING, workers=2))
    assert torch.equal(torch.get_rng_state(), before)  # nor anybody else's random numbers
    assert all(same(*pair) for pair in zip(alone, shared, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("given", [1, 4, 6])
def test_a_run_goes_on_where_it_was(stored, given, workers):
    """Four batches an epoch: in the middle of one, at its end, and in the middle of the next."""
    cache = stored(*FRAMES)

    def batches(one):
        for _ in range(3):
            yield from one

    whole = list(batches(loader(cache, augment=EVERYTHING)))
    one = loader(cache, augment=EVERYTHING, workers=workers)
    running = batches(one)
    for _ in range(given):
        next(running)
    state = one.state_dict()
    running.close()
    other = loader(cache, augment=EVERYTHING, workers=workers)
    other.load_state_dict(state)
    rest = []
    while other.epoch < 3:
        rest += list(other)
    assert len(rest) == 12 - given
    assert all(same(*pair) for pair in zip(whole[given:], rest, strict=True))


def test_a_state_of_something_else_is_refused(stored, refusal):
    cache = stored(*FRAMES)
    state = loader(cache).state_dict()
    for options in ({"seed": 2}, {"batch_size": 4}, {"world_size": 2}, {"augment": EVERYTHING}):
        message = refusal(OptionError, loader(cache, **options).load_state_dict, state)
        assert "other items or options" in message
    other = loader(cache, workers=1)  # how it is computed does not matter
    other.load_state_dict({**state, "batch": 2})
    assert len(list(other)) == 2


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_an_epoch(stored, world_size):
    cache = stored(*FRAMES)
    whole = [batch.items.tolist() for batch in loader(cache)]
    ranks = [
        [batch.items.tolist() for batch in loader(cache, rank=rank, world_size=world_size)]
        for rank in range(world_size)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    dealt = [batch for turn in zip(*ranks, strict=True) for batch in turn]
    assert dealt == (whole + whole)[: len(dealt)]
    assert len(dealt) < len(whole) + world_size


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
    for options in ({"rank": 1}, {"crop_seconds": 0.0}, {"seed": -1}, {"workers": -1}):
        assert "rank from 0" in refusal(OptionError, loader, cache, **options)
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
