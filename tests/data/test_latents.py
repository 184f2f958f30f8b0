import os
import resource
import signal
import subprocess
import sys
import time
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import soundfile
import torch

from peaframe.data.latent_rows import AudioPart, front_fingerprint, latent_blocks
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


def rows_of(model, path):
    stream = model.open_stream()
    samples = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
    return torch.cat((stream.push(samples), stream.finish())).numpy()


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def parts_left(folder):
    return sorted(path.name for path in folder.glob(".*.part"))


# ---- the cache


def test_what_is_stored_is_what_the_model_hears(model, sounds, tmp_path):
    parts = sounds(1.0, 0.7301)
    with LatentCache(tmp_path / "cache") as cache:
        keys = [cache.add(part.path, part.start, part.duration, model) for part in parts]
        assert keys[0] in cache
        assert len(cache) == 0  # nothing is there before it is there for good
    assert len(cache) == 2
    assert cache.channels == 16
    assert cache.codec == front_fingerprint(model)
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


def test_rows_of_a_model_without_a_codec_are_cached_likewise(tiny_model, model, sounds, tmp_path, refusal):
    """peaframe-mini: what its convolutions give; and it is another codec than PE-A-Frame's."""
    parts = sounds(1.5, 0.7301)
    parts.append(AudioPart(parts[0].path, 0.4, 1.0))
    cache = LatentCache(tmp_path / "cache")
    assert fill(cache, parts, tiny_model, progress=False) == 3
    assert cache.channels == tiny_model.feature_channels == 2688
    assert cache.codec == front_fingerprint(tiny_model)
    stored = [cache.get(cache.key(part)) for part in parts]
    assert [(rows.shape, rows.dtype) for rows in stored] == [((n, 2688), np.float16) for n in (38, 19, 25)]
    for part, rows in zip(parts[:2], stored, strict=False):
        samples = torch.from_numpy(soundfile.read(part.path, dtype="float32")[0])
        stream = tiny_model.open_features()
        expected = torch.cat((stream.push(samples), stream.finish())).numpy()
        np.testing.assert_allclose(rows, expected, atol=1e-4, rtol=2e-3)
    np.testing.assert_allclose(
        stored[2], stored[0][10:35], atol=1e-4, rtol=2e-3
    )  # a part is a piece of the whole
    with torch.no_grad():
        got = tiny_model.encode_features(torch.from_numpy(stored[0].astype(np.float32))[None])
        heard = tiny_model.encode_audio(
            torch.from_numpy(soundfile.read(parts[0].path, dtype="float32")[0])[None]
        )
    assert float((got - heard).abs().max()) < 0.02 * float(heard.abs().max())
    assert front_fingerprint(model) in refusal(ModelError, fill, cache, sounds(0.2, first=9), model)


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
    assert front_fingerprint(model) in message
    other = LatentCache(tmp_path / "other")
    fill(other, parts[1:], model, progress=False)
    (name,) = visible(other.folder)
    (other.folder / name).rename(cache.folder / f"z{name}")
    message = refusal(FormatError, LatentCache, cache.folder)
    assert f"z{name}" in message
    assert own in message


def test_the_fingerprint_outlives_a_change_of_layout(model, tmp_path):
    save_pe(model, tmp_path / "a", "transformers")
    assert front_fingerprint(load_model(tmp_path / "a")) == front_fingerprint(model)


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


def test_a_cache_goes_to_other_processes_unless_it_is_being_filled(
    stored, model, sounds, tmp_path, refusal, elsewhere
):
    cache = stored(3, 2)
    cache.get("key0")
    assert len(ForkingPickler.dumps(cache)) < 2000  # what is sent: without the latents
    assert elsewhere(cache.get, "key1")[:, 0].tolist() == [1, 1]
    cache = LatentCache(tmp_path / "cache")
    cache.add(sounds(0.2)[0].path, 0.0, None, model)
    assert "is being filled" in refusal(OptionError, elsewhere, cache.get, "key1")
    cache.flush()
    assert elsewhere(len, cache) == 1


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


@pytest.mark.slow
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


@pytest.mark.slow
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
