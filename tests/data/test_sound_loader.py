import runpy
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from peaframe import audio
from peaframe.clock import HOP_SAMPLES, frame_count
from peaframe.data.latent_rows import AudioPart
from peaframe.data.sound_augment import SoundAugment
from peaframe.data.sound_loader import SoundLoader
from peaframe.errors import AudioError, OptionError

loading = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "loading.py")))

SAMPLES = (9_600, 57_600, 23_041, 15_000, 38_400, 4_000, 19_199, 60_500, 13_440, 21_120, 11_520)


def sound(item, samples):
    x = np.random.default_rng(item).normal(0, 0.1, samples)
    return np.convolve(x, np.hanning(30) / 10, mode="same").astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings of other lengths each, of noise whose samples tell what and when it is."""
    folder = tmp_path_factory.mktemp("recordings")
    for item, samples in enumerate(SAMPLES):
        soundfile.write(folder / f"{item}.wav", sound(item, samples), 48_000, subtype="FLOAT")
    return folder


def signs(samples=SAMPLES, labels=3):
    """Targets of items of so many samples, by frame."""
    return loading.signs([frame_count(count) for count in samples], labels)


def loader(folder, **options):
    options = {"batch_size": 3, "crop_seconds": 0.4, "seed": 1} | options
    return SoundLoader([AudioPart(folder / f"{i}.wav") for i in range(len(SAMPLES))], signs(), **options)


# ---- batches


def test_batches_are_crops_with_their_targets(folder):
    batches = list(loader(folder))
    assert sorted(i for batch in batches for i in batch.items.tolist()) == list(range(11))
    assert [len(batch.items) for batch in batches] == [3, 3, 3, 2]
    for batch in batches:
        assert batch.waveform.dtype == torch.float32
        assert batch.lengths.dtype == torch.int64
        assert batch.targets.dtype == torch.int8
        assert batch.waveform.shape == (len(batch.items), int(batch.lengths.max()))
        assert batch.mask.shape == (len(batch.items), frame_count(int(batch.lengths.max())))
        assert torch.equal(batch.counted, batch.mask)
        assert batch.partners.tolist() == [-1] * len(batch.items)
        for row, (item, start, length) in enumerate(
            zip(batch.items.tolist(), batch.starts.tolist(), batch.lengths.tolist(), strict=True)
        ):
            first, frames = start * HOP_SAMPLES, frame_count(length)
            assert length == min(10 * HOP_SAMPLES, SAMPLES[item] - first)
            assert length > 9 * HOP_SAMPLES or length == SAMPLES[item]
            expected = sound(item, SAMPLES[item])[first : first + length]
            np.testing.assert_array_equal(batch.waveform[row, :length], expected)
            assert not batch.waveform[row, length:].any()
            assert batch.mask[row].tolist() == [True] * frames + [False] * (batch.mask.shape[1] - frames)
            expected = signs()(item)[start : start + frames]
            np.testing.assert_array_equal(batch.targets[row, :frames], expected)
            assert not batch.targets[row, frames:].any()


def test_crops_and_order_are_new_in_every_epoch(folder):
    one = loader(folder)
    first, second = list(one), list(one)
    assert one.epoch == 2
    assert len(one) == 4
    assert [b.items.tolist() for b in first] != [b.items.tolist() for b in second]
    starts = [
        {int(i): int(s) for b in e for i, s in zip(b.items, b.starts, strict=True)} for e in (first, second)
    ]
    assert [starts[0][i] != starts[1][i] for i in (1, 7)] == [True, True]
    again = loader(folder)
    assert loading.all_same(first, again)
    plain = loader(folder, shuffle=False, crop_seconds=None)
    for batch in plain:
        assert batch.lengths.tolist() == [SAMPLES[i] for i in batch.items.tolist()]
        assert not batch.starts.any()


def test_crops_reach_from_the_first_frame_to_the_last(tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(0, 9_700), 48_000, subtype="FLOAT")  # 6 frames, the last short
    one = SoundLoader([AudioPart(tmp_path / "a.wav")], signs((9_700,)), batch_size=1, crop_seconds=0.12)
    found = {(int(b.starts), int(b.lengths)) for _ in range(60) for b in one}
    assert found == {(0, 5_760), (1, 5_760), (2, 5_760), (3, 3_940)}


# ---- files


@pytest.mark.parametrize(
    ("name", "rate", "options", "tolerance"),
    [
        ("a.flac", 48_000, {"subtype": "PCM_24"}, 1e-6),
        ("a.wav", 44_100, {"subtype": "FLOAT"}, 1e-4),
        ("a.mp3", 48_000, {}, 2e-3),
        ("a.ogg", 48_000, {}, 2e-3),
    ],
)
def test_parts_of_files_of_many_kinds(tmp_path, name, rate, options, tolerance):
    path = tmp_path / name
    soundfile.write(path, sound(3, 6 * rate), rate, **options)
    whole = audio.read(path)
    assert len(whole) == 288_000
    part = AudioPart(path, start=1.5, duration=4.03)  # 100.75 frames
    one = SoundLoader([part], signs((193_440,)), batch_size=1, crop_seconds=0.4, seed=3)
    for batch in [b for _ in range(5) for b in one]:
        first = 72_000 + int(batch.starts) * HOP_SAMPLES
        own = batch.waveform[0].numpy()
        assert len(own) == 19_200
        np.testing.assert_allclose(own, whole[first : first + 19_200], atol=tolerance)
    to_the_end = SoundLoader([AudioPart(path, start=5.5)], signs((24_000,)), batch_size=1)
    (batch,) = list(to_the_end)
    np.testing.assert_allclose(batch.waveform[0], whole[264_000:], atol=tolerance)
    assert batch.mask.shape == (1, 13)


def test_only_what_is_needed_is_read(tmp_path, refusal):
    """The end of the file is gone; a part that lies before it can be read, one that does not cannot."""
    path = tmp_path / "cut.flac"
    soundfile.write(path, sound(0, 480_000), 48_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    early = SoundLoader([AudioPart(path, 1.0, 3.0)], signs((144_000,)), batch_size=1)
    (batch,) = list(early)
    np.testing.assert_allclose(batch.waveform[0], sound(0, 480_000)[48_000:192_000], atol=1e-4)
    crop = SoundLoader([AudioPart(path)], signs((480_000,)), batch_size=1, crop_seconds=1.0, seed=2)
    (batch,) = list(crop)
    first = int(batch.starts) * HOP_SAMPLES
    assert first < 200_000
    np.testing.assert_allclose(batch.waveform[0], sound(0, 480_000)[first : first + 48_000], atol=1e-4)
    late = SoundLoader([AudioPart(path, 5.0)], signs((240_000,)), batch_size=1)
    assert "cut short or damaged" in refusal(AudioError, list, late)


# ---- the same data whatever happens


EVERYTHING = SoundAugment(
    **dict.fromkeys(("speed", "shift", "filter", "band_limit", "room", "noise", "gain", "codec"), 0.6),
    shift_seconds=0.2,
)


def test_workers_change_nothing(folder):
    alone = loading.workers_change_nothing(partial(loader, folder, augment=EVERYTHING))
    assert not any(loading.same(*pair) for pair in zip(alone, loader(folder), strict=True))


def test_what_an_item_becomes_does_not_hang_on_its_batch(folder):
    def by_item(one):
        return {
            int(item): (row[: int(length)], targets[: frame_count(int(length))])
            for b in one
            for item, row, length, targets in zip(b.items, b.waveform, b.lengths, b.targets, strict=True)
        }

    one = by_item(loader(folder, augment=EVERYTHING))
    other = by_item(loader(folder, augment=EVERYTHING, batch_size=5, shuffle=False))
    assert len(one) == 11
    for item, (row, targets) in one.items():
        assert torch.equal(row, other[item][0])
        assert torch.equal(targets, other[item][1])


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("given", [1, 4, 6])
def test_a_run_goes_on_where_it_was(folder, given, workers):
    loading.goes_on(partial(loader, folder, augment=EVERYTHING), given, workers)


def test_a_state_of_something_else_is_refused(folder, refusal):
    changes = ({"seed": 2}, {"batch_size": 4}, {"world_size": 2}, {"augment": EVERYTHING})
    loading.other_states_are_refused(partial(loader, folder), refusal, *changes)


def test_ranks_share_an_epoch(folder):
    loading.ranks_share_an_epoch(partial(loader, folder), 2)


# ---- labels follow


def test_slower_items_are_no_longer_than_a_crop(folder):
    augment = SoundAugment(speed=1, semitones=12)
    lengths = []
    for _ in range(3):
        for batch in loader(folder, augment=augment):
            assert batch.waveform.shape[1] <= 10 * HOP_SAMPLES
            assert batch.mask.sum(dim=1).tolist() == [frame_count(n) for n in batch.lengths.tolist()]
            assert not batch.targets[~batch.mask].any()
            lengths += [
                n / min(19_200, SAMPLES[i])
                for i, n in zip(batch.items.tolist(), batch.lengths.tolist(), strict=True)
            ]
    assert min(lengths) < 0.7
    assert max(lengths) > 1.3


def test_a_click_is_heard_where_its_label_says(tmp_path):
    parts, frames = [], []
    for item in range(6):
        x = sound(item, 96_000) * np.float32(1e-3)
        at = 20_000 + 9_000 * item
        x[at : at + 96] += np.hanning(96).astype(np.float32) * np.sin(np.arange(96) / 8).astype(np.float32)
        path = tmp_path / f"{item}.flac"
        soundfile.write(path, x, 48_000)
        parts.append(AudioPart(path))
        frames.append((at + 48) // HOP_SAMPLES)

    def targets(item):
        out = np.full((50, 1), -1, np.int8)
        out[frames[item]] = 1
        return out

    augment = SoundAugment(shift=0.8, speed=0.8, codec=0.8, gain=0.8, noise=0.8, snr_db=(20, 30))
    one = SoundLoader(parts, targets, batch_size=3, crop_seconds=1.0, augment=augment)
    heard = absent = 0
    for batch in [b for _ in range(8) for b in one]:
        for row, labels in zip(batch.waveform.numpy(), batch.targets[:, :, 0].numpy(), strict=True):
            there = np.flatnonzero(labels == 1)
            at = int(np.convolve(row.astype(np.float64) ** 2, np.hanning(192), mode="same").argmax())
            clicks = np.abs(row).max() > 0.15  # at -12 dB and through a telephone it is louder
            if 24 in there or (clicks and at // HOP_SAMPLES == 24):
                continue  # where a slowed item is cut, one of them may be gone
            assert clicks == (len(there) > 0)
            if clicks:
                heard += 1
                assert len(there) <= 2
                assert np.abs((there + 0.5) * HOP_SAMPLES - at).min() <= HOP_SAMPLES + 48
            absent += not clicks
    assert heard >= 25
    assert absent >= 2


# ---- refusals


def test_bad_requests_are_refused(folder, refusal):
    assert "got batch_size 0" in refusal(OptionError, loader, folder, batch_size=0)
    for options in ({"rank": 1}, {"seed": -1}):
        assert "rank from 0" in refusal(OptionError, loader, folder, **options)
    for option, value in (("crop_seconds", 0.0), ("workers", -1)):
        assert f"got {option} {value}" in refusal(OptionError, loader, folder, **{option: value})
    assert "no items" in refusal(OptionError, SoundLoader, [], signs(), batch_size=1)
    parts = [AudioPart(folder / "0.wav"), AudioPart(Path("nowhere.wav"))]
    message = refusal(OptionError, SoundLoader, parts, signs(), batch_size=1)
    assert "1 of 2 items are missing, the first is nowhere.wav" in message


@pytest.mark.parametrize("workers", [0, 1])
def test_what_goes_wrong_is_told_in_one_line(folder, tmp_path, refusal, workers):
    def first(items, targets):
        return lambda: list(SoundLoader(items, targets, batch_size=2, workers=workers, shuffle=False))

    good = AudioPart(folder / "0.wav")
    message = refusal(OptionError, first([good, AudioPart(folder / "1.wav")], signs((9_600, 9_600))))
    assert "shape (5, 3) for item 1, expected (30 frames, labels)" in message
    widths = [np.zeros((5, 2), np.int8), np.zeros((5, 3), np.int8)]
    assert "[2, 3] labels" in refusal(OptionError, first([good, good], widths.__getitem__))
    (tmp_path / "noise.wav").write_bytes(b"this is no sound")
    bad = AudioPart(tmp_path / "noise.wav")
    assert "noise.wav" in refusal(AudioError, first([good, bad], signs((9_600, 9_600))))
    late = AudioPart(folder / "0.wav", start=0.5)
    assert "start 0.5 s is not before" in refusal(AudioError, first([late], signs()))
    long = AudioPart(folder / "0.wav", duration=1.0)
    assert "beyond the recording's end" in refusal(AudioError, first([long], signs((48_000,))))
