import itertools
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from peaframe.data.augment import AugmentConfig
from peaframe.data.mix import ACTIVE, INACTIVE, UNKNOWN, MixConfig, Mixer, Scene, label_tracks
from peaframe.data.soundbank import Bank, Clip, read_manifest
from peaframe.errors import ManifestError
from peaframe.events import Event
from peaframe.train.scenes import SceneDataset, SceneSampler, scene_loader

RATE, HOP = 16_000, 640
STILL = AugmentConfig(cut=0, speed=0, filter=0, band_limit=0, room=0)
PLAIN = MixConfig(single=0, no_background=0, repeat=0, split=0, augment=STILL)


def tone(hertz, seconds, amplitude=0.5):
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(
        np.float32
    )


def noise(seconds, amplitude=0.1, seed=0):
    return np.random.default_rng(seed).normal(0, amplitude, round(seconds * RATE)).astype(np.float32)


def track(seconds, *parts):
    """Silence with sounds added at their seconds."""
    x = np.zeros(round(seconds * RATE), np.float32)
    for at, sound in parts:
        x[round(at * RATE) :][: len(sound)] += sound
    return x


@pytest.fixture(scope="module")
def bank(bank_folder):
    return Bank(read_manifest(bank_folder), RATE)


@pytest.fixture
def make_bank(tmp_path):
    """A bank of these sounds: (label, role, samples at 16 kHz)."""

    def make(*sounds):
        clips = []
        for i, (label, role, x) in enumerate(sounds):
            soundfile.write(tmp_path / f"{i}.wav", x, RATE)
            clips.append(Clip(tmp_path / f"{i}.wav", label, (), role, "", "", "train"))
        return Bank(clips, RATE)

    return make


def level(x, hertz):
    """Power of a tone in each frame, from its share of the spectrum."""
    frames = x.reshape(-1, HOP).astype(np.float64)
    wave = np.exp(-2j * np.pi * hertz * np.arange(HOP) / RATE)
    return 2 * np.abs(frames @ wave / HOP) ** 2


def same(a, b):
    return (
        np.array_equal(a.waveform, b.waveform) and np.array_equal(a.states, b.states) and a.labels == b.labels
    )


def test_a_scene_depends_on_seed_and_index_alone(bank):
    config = MixConfig()
    mixer, other, reseeded = Mixer(bank, config, 5), Mixer(bank, config, 5), Mixer(bank, config, 6)
    scenes = [mixer.scene(i, 2.56) for i in range(6)]
    assert all(same(other.scene(i, 2.56), scenes[i]) for i in (4, 0, 3))
    assert not any(same(reseeded.scene(i, 2.56), scenes[i]) for i in range(6))
    assert not any(same(a, b) for a, b in itertools.combinations(scenes, 2))


@pytest.mark.parametrize("seconds", [0.04, 1.28, 10.24])
def test_scenes_are_well_formed(bank, seconds):
    mixer, config = Mixer(bank, MixConfig(), 0), MixConfig()
    for i in range(15):
        scene = mixer.scene(i, seconds)
        assert scene.waveform.dtype == np.float32
        assert scene.waveform.shape == (round(seconds * RATE),)
        assert scene.states.shape == (round(seconds * 25), len(scene.labels))
        assert scene.states.dtype == np.int8
        assert set(np.unique(scene.states)) <= {ACTIVE, UNKNOWN, INACTIVE}
        peak_db = 20 * np.log10(np.abs(scene.waveform).max())
        assert config.level_db[0] - 0.01 <= peak_db <= config.level_db[1] + 0.01


def test_all_kinds_of_scenes_and_labels_come_up(bank):
    mixer = Mixer(bank, MixConfig(), 0)
    labels = [tuple(mixer.scene(i, 5.12).labels) for i in range(120)]
    assert {label for own in labels for label in own} == {"beep", "buzz", "rain"}
    assert {len(own) for own in labels} >= {1, 2, 3}
    assert any("rain" not in own and len(own) >= 2 for own in labels)  # without background
    assert ("rain",) in labels  # background alone


@pytest.fixture
def dataset(bank):
    overlap = np.zeros((3, 3), bool)
    return SceneDataset(Mixer(bank, MixConfig(), 9), ["beep", "buzz", "rain"], overlap)


def test_batches_do_not_depend_on_the_number_of_workers(dataset):
    sampler = SceneSampler(9, 3, 6, (1.28, 2.56), 5.12)
    here, there = (list(scene_loader(dataset, sampler, workers)) for workers in (0, 1))
    assert len(here) == len(there) == 3
    for (waveform, targets), (waveform_there, targets_there) in zip(here, there, strict=True):
        assert torch.equal(waveform, waveform_there)
        assert torch.equal(targets, targets_there)
        assert waveform.shape[0] * waveform.shape[1] == 5.12 * RATE
        assert targets.shape == (waveform.shape[0], waveform.shape[1] // HOP, 3)


def test_a_sampler_goes_on_where_another_stopped():
    whole, rest = SceneSampler(1, 0, 6, (1.28, 2.56), 8.0), SceneSampler(1, 4, 6, (1.28, 2.56), 8.0)
    batches = list(whole)
    assert list(rest) == batches[4:]
    assert (len(whole), len(rest)) == (6, 2)
    keys = [key for batch in batches for key in batch]
    assert len(set(keys)) == len(keys)
    assert {seconds for _, seconds in keys} == {1.28, 2.56}


def test_targets_join_sources_and_leave_overlapping_labels_unknown(bank):
    overlap = np.zeros((3, 3), bool)
    overlap[0, 1] = overlap[1, 0] = True
    dataset = SceneDataset(Mixer(bank, MixConfig(), 0), ["beep", "buzz", "rain"], overlap)
    states = np.array([[1, 0, -1], [0, -1, -1], [-1, 1, -1], [-1, -1, 1], [-1, -1, 0]], np.int8)
    scene = Scene(np.zeros(5 * HOP, np.float32), ["beep", "beep", "rain"], states)
    expected = [[1, 0, -1], [0, 0, -1], [1, 0, -1], [-1, -1, 1], [-1, -1, 0]]
    np.testing.assert_array_equal(dataset.targets(scene), expected)
    heard_both = Scene(np.zeros(HOP, np.float32), ["beep", "buzz"], np.array([[1, 1]], np.int8))
    np.testing.assert_array_equal(dataset.targets(heard_both), [[1, 1, -1]])


def test_events_stand_over_the_background_as_asked(make_bank):
    bank = make_bank(("beep", "event", tone(1000, 1.0)), ("hiss", "background", noise(12)))
    for snr_db in (-5.0, 10.0, 25.0):
        config = replace(PLAIN, max_events=1, snr_db=(snr_db, snr_db))
        mixer = Mixer(bank, config, 0)
        scenes = [mixer.scene(i, 10.0) for i in range(20)]
        found = [scene for scene in scenes if scene.labels == ["hiss", "beep"]]
        assert len(found) >= 5
        for scene in found:
            x = scene.waveform.reshape(-1, HOP).astype(np.float64)
            heard = scene.states[:, 1] == ACTIVE
            inner = heard & np.roll(heard, 1) & np.roll(heard, -1)  # frames that the tone fills
            measured = 10 * np.log10(level(scene.waveform, 1000)[inner].mean() / (x[~heard] ** 2).mean())
            assert measured == pytest.approx(snr_db, abs=1.0)


def test_mixed_events_are_labelled_to_the_frame(make_bank):
    bank = make_bank(("beep", "event", tone(1000, 0.7)), ("hiss", "background", noise(12, 0.01)))
    config = replace(PLAIN, max_events=1, snr_db=(25, 25), repeat=0.3, split=0.3)
    mixer = Mixer(bank, config, 1)
    counted = 0
    for i in range(30):
        scene = mixer.scene(i, 10.0)
        if scene.labels != ["hiss", "beep"]:
            continue
        power = level(scene.waveform, 1000)
        heard = np.flatnonzero(power > 0.1 * power.max())
        for event in (e for e in scene.events() if e.label == "beep"):
            near = heard[(heard >= event.onset * 25 - 2) & (heard < event.offset * 25 + 2)]
            assert abs(near[0] - event.onset * 25) <= 1
            assert abs(near[-1] + 1 - event.offset * 25) <= 1
            counted += 1
        active = (scene.states[:, 1] == ACTIVE).nonzero()[0]
        assert set(heard) <= set(active)
    assert counted >= 5


@pytest.mark.parametrize(
    ("onset", "offset"), [(0.4, 1.2), (0.41, 1.19), (0.0, 0.04), (1.99, 2.0), (0.439, 0.481)]
)
def test_tone_bursts_are_labelled_exactly(onset, offset):
    burst = track(2.0, (onset, tone(1000, offset - onset)))
    scene = label_tracks([burst, noise(2.0, 0.001)], ["beep"], HOP, MixConfig())
    (event,) = scene.events()
    assert event.label == "beep"
    assert abs(event.onset - onset) <= 0.04
    assert abs(event.offset - offset) <= 0.04
    on, off = int(np.ceil(onset * 25 - 1e-9)), int(offset * 25 + 1e-9)  # frames that the burst fills
    assert (scene.states[on:off, 0] == ACTIVE).all()
    outside = np.delete(scene.states[:, 0], np.arange(max(on - 1, 0), min(off + 1, 50)))
    assert (outside == INACTIVE).all()
    np.testing.assert_allclose(scene.waveform, burst + noise(2.0, 0.001), atol=1e-6)


def test_pauses_are_bridged_up_to_their_length():
    burst = tone(1000, 0.2)
    x = track(3.0, (0.0, burst), (0.4, burst), (0.84, burst), (2.0, burst))  # pauses of 5, 6 and 24 frames
    states = label_tracks([x], ["beep"], HOP, MixConfig()).states[:, 0]
    assert (states[:15] == ACTIVE).all()
    assert (states[15:21] == INACTIVE).all()
    assert (states[21:26] == ACTIVE).all()
    assert (states[26:50] == INACTIVE).all()


def test_quiet_parts_are_inactive_under_the_floor():
    x = track(3.0, (0, tone(1000, 1.0)), (1.0, tone(1000, 1.0, 0.5 / 50)), (2.0, tone(1000, 1.0, 0.5 / 63)))
    states = label_tracks([x], ["beep"], HOP, MixConfig(floor_db=35)).states[:, 0]  # 0, -34 and -36 dB
    assert (states[:50] == ACTIVE).all()
    assert (states[50:] == INACTIVE).all()


def test_a_drowned_source_is_unknown():
    beep = tone(1000, 4.0, 0.05)
    roar = track(4.0, (1.0, tone(200, 1.0, 0.5)), (2.0, tone(200, 1.0, 0.35)))  # 20 and 16.9 dB over the beep
    scene = label_tracks([beep, roar], ["beep", "roar"], HOP, MixConfig(masked_db=18))
    expected = np.full(100, ACTIVE)
    expected[25:50] = UNKNOWN
    np.testing.assert_array_equal(scene.states[:, 0], expected)
    np.testing.assert_array_equal(
        scene.states[:, 1] == ACTIVE, (np.arange(100) >= 25) & (np.arange(100) < 75)
    )


def test_unlabelled_noise_drowns_as_well():
    scene = label_tracks([tone(1000, 1.0, 0.01), noise(1.0, 0.5)], ["beep"], HOP, MixConfig())
    assert scene.labels == ["beep"]
    assert (scene.states == UNKNOWN).all()


def test_silence_is_inactive():
    assert (label_tracks([track(1.0)], ["beep"], HOP, MixConfig()).states == INACTIVE).all()


def events(states, labels):
    states = np.array(states, np.int8)
    return Scene(np.zeros(len(states) * HOP, np.float32), labels, states).events()


def test_events_of_one_label_are_joined_where_they_touch():
    states = [[1, -1, 1], [1, -1, -1], [-1, 1, 1], [-1, -1, -1], [1, -1, -1]]
    assert events(states, ["beep", "beep", "buzz"]) == [
        Event(0.0, 0.04, "buzz"),
        Event(0.0, 0.12, "beep"),
        Event(0.08, 0.12, "buzz"),
        Event(0.16, 0.2, "beep"),
    ]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([1, 0, 0, 1], [Event(0.0, 0.16, "beep")]),  # drowned for a while: goes on; half of the time will do
        ([1, 0, 0, 0], []),  # drowned most of the time: left out
        ([0, 0], []),
        ([-1, -1], []),
        ([0, 1, -1, 0, 0, 1], [Event(0.0, 0.08, "beep")]),  # each stretch by itself
    ],
)
def test_events_that_are_drowned_out(states, expected):
    assert events([[s] for s in states], ["beep"]) == expected


def test_another_source_of_the_label_makes_up_for_a_drowned_one():
    assert events([[0, 1], [0, 1], [0, -1]], ["beep", "beep"]) == [Event(0.0, 0.12, "beep")]


def test_short_backgrounds_loop_without_seams(make_bank):
    hum = tone(123, 0.5)
    bank = make_bank(("hum", "background", hum), ("beep", "event", np.zeros(RATE, np.float32)))
    mixer = Mixer(bank, PLAIN, 0)
    for i in range(5):
        scene = mixer.scene(i, 5.12)
        assert scene.labels[0] == "hum"
        assert (scene.states[:, 0] == ACTIVE).all()
        steps = np.abs(np.diff(scene.waveform)) / np.abs(scene.waveform).max()
        assert steps.max() < 1.3 * np.abs(np.diff(hum)).max() / np.abs(hum).max()


def test_looped_backgrounds_keep_their_level(make_bank):
    bank = make_bank(("hiss", "background", noise(0.6)), ("beep", "event", np.zeros(RATE, np.float32)))
    x = Mixer(bank, PLAIN, 0).scene(0, 10.24).waveform.astype(np.float64)
    levels = 10 * np.log10((x.reshape(-1, 4 * HOP) ** 2).mean(axis=1))
    assert np.ptp(levels) < 5  # a linear cross-fade of noise dips by 3 dB


def test_a_bank_without_events_or_backgrounds_is_refused(make_bank, refusal):
    for role in ("event", "background"):
        bank = make_bank(("only", role, noise(1)))
        assert "events and backgrounds" in refusal(ManifestError, Mixer, bank, PLAIN, 0)


def test_a_crop_that_holds_only_a_pause_is_not_heard(make_bank):
    """A bark, five quiet seconds, a bark: scenes of the pause alone must not teach that silence barks."""
    bark = tone(500, 0.3)
    clip = np.concatenate((bark, noise(5.0, 1e-4), bark))
    bank = make_bank(("bark", "event", clip), ("hiss", "background", noise(2)))
    mixer = Mixer(bank, replace(PLAIN, single=1), 0)
    scenes = [scene for scene in (mixer.scene(i, 1.0) for i in range(40)) if scene.labels == ["bark"]]
    assert len(scenes) >= 10
    for scene in scenes:
        barks = level(scene.waveform, 500) > 0.1 * (scene.waveform.reshape(-1, HOP) ** 2).mean(axis=1)
        near = barks | np.roll(barks, 1) | np.roll(barks, -1)
        assert not (scene.states[~near, 0] == ACTIVE).any()
