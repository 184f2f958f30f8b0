import numpy as np
import pytest

from peaframe.data.augment import (
    AugmentConfig,
    augment,
    change_speed,
    cut,
    fade,
    filter_and_room,
    room_impulse,
)

RATE = 16_000
STILL = AugmentConfig(cut=0, speed=0, filter=0, band_limit=0, room=0)
EVERYTHING = AugmentConfig(cut=1, speed=1, filter=1, band_limit=1, room=1)


def tone(hertz, samples=RATE):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE)).astype(np.float32)


def pitch(x):
    """The strongest frequency, in hertz."""
    return np.abs(np.fft.rfft(x * np.hanning(len(x)), 1 << 17)).argmax() * RATE / (1 << 17)


def noise(samples=RATE):
    return np.random.default_rng(7).normal(0, 0.1, samples).astype(np.float32)


def test_fade_is_a_ramp_at_both_ends():
    x = fade(np.ones(RATE, np.float32), RATE, seconds=0.01)
    np.testing.assert_allclose(x[:160], np.linspace(0, 1, 160), atol=1e-6)
    np.testing.assert_allclose(x[-160:], np.linspace(1, 0, 160), atol=1e-6)
    assert (x[160:-160] == 1).all()


@pytest.mark.parametrize("samples", [0, 1, 2, 7])
def test_the_shortest_sounds_can_be_faded(samples):
    given = np.ones(samples, np.float32)
    assert len(fade(given, RATE)) == samples
    assert (given == 1).all()  # what was given stays as it was


def test_cut_keeps_a_part_in_order():
    x = np.arange(RATE, dtype=np.float32)
    for seed in range(20):
        part = cut(x, RATE, np.random.default_rng(seed))
        assert 0.4 * RATE <= len(part) < len(x)
        inner = part[80:-80]
        np.testing.assert_array_equal(inner, np.arange(inner[0], inner[0] + len(inner)))


def test_short_sounds_are_not_cut():
    x = noise(int(0.4 * RATE))
    np.testing.assert_array_equal(cut(x, RATE, np.random.default_rng(0)), x)


@pytest.mark.parametrize("semitones", [-3.0, 0.0, 2.5, 12.0])
def test_speed_changes_pitch_and_length_together(semitones):
    factor = 2 ** (semitones / 12)
    faster = change_speed(tone(440), RATE, semitones)
    assert faster.dtype == np.float32
    assert len(faster) == pytest.approx(RATE / factor, abs=2)
    assert pitch(faster) == pytest.approx(440 * factor, rel=2e-3)


def test_one_sample_survives_a_speed_change():
    assert len(change_speed(np.ones(1, np.float32), RATE, 12.0)) == 1


def test_nothing_chosen_changes_nothing():
    x = noise()
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(filter_and_room(x, RATE, STILL, rng), x)
    np.testing.assert_allclose(augment(x, RATE, STILL, rng), x, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_a_filter_stays_within_its_gain_and_keeps_the_length(seed):
    config = AugmentConfig(filter=1, filter_db=9, band_limit=0, room=0)
    x = np.pad(noise(), 4_000)
    y = filter_and_room(x, RATE, config, np.random.default_rng(seed))
    assert len(y) == len(x)
    # Over bands of 40 Hz, so that the cut ends matter little.
    levels = [np.sqrt((np.abs(np.fft.rfft(z))[61:] ** 2).reshape(-1, 60).mean(axis=1)) for z in (x, y)]
    gains = 20 * np.log10(levels[1] / levels[0])
    assert np.abs(gains).max() < 9.3
    assert gains.std() > 0.3


def test_a_band_limit_takes_treble_or_bass():
    config = AugmentConfig(filter=0, band_limit=1, room=0)
    x = noise()
    softer = set()
    for seed in range(12):
        y = filter_and_room(x, RATE, config, np.random.default_rng(seed))
        levels = np.abs(np.fft.rfft(y[:RATE])) / np.abs(np.fft.rfft(x))
        assert np.median(levels) < 1.05
        softer |= {
            name
            for name, level in (("bass", levels[20:40]), ("treble", levels[7_800:]))
            if level.mean() < 0.7
        }
    assert softer == {"bass", "treble"}


def test_a_room_adds_a_tail_behind_the_direct_sound():
    config = AugmentConfig(filter=0, band_limit=0, room=1)
    x = np.zeros(RATE, np.float32)
    x[2_000] = 1
    y = filter_and_room(x, RATE, config, np.random.default_rng(1))
    impulse = room_impulse_of(config, 1)
    assert len(y) == len(x) + len(impulse) - 1
    np.testing.assert_allclose(y[2_000 : 2_000 + len(impulse)], impulse, atol=1e-5)
    np.testing.assert_allclose(y[:2_000], 0, atol=1e-5)


def room_impulse_of(config, seed):
    rng = np.random.default_rng(seed)
    rng.random(3)  # the three choices come first
    return room_impulse(RATE, rng)


@pytest.mark.parametrize("seed", range(8))
def test_a_room_decays(seed):
    impulse = room_impulse(RATE, np.random.default_rng(seed))
    assert impulse.dtype == np.float32
    assert 0.1 * RATE - 1 <= len(impulse) <= RATE
    assert impulse[0] == 1
    tail = impulse[1:]
    ratio_db = -10 * np.log10((tail**2).sum())
    assert -3.01 <= ratio_db <= 15.01
    parts = [float((part**2).mean()) for part in np.array_split(tail[int(0.02 * RATE) :], 4)]
    assert parts[0] > parts[1] > parts[2] > parts[3]
    assert 10 * np.log10(parts[0] / parts[3]) > 25


@pytest.mark.parametrize("seed", range(6))
def test_the_peak_stays_where_it_was(seed):
    x = noise(12_345)
    y = augment(x, RATE, EVERYTHING, np.random.default_rng(seed))
    assert y.dtype == np.float32
    assert np.abs(y).max() == pytest.approx(np.abs(x).max(), rel=1e-5)


def test_the_same_draws_give_the_same_sound():
    results = [augment(noise(), RATE, EVERYTHING, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(results[0], results[1])
    assert len(results[0]) != len(results[2]) or (results[0] != results[2]).any()


@pytest.mark.parametrize("samples", [1, 2, 100])
@pytest.mark.parametrize("seed", range(3))
def test_the_shortest_sounds_and_silence_survive(samples, seed):
    for x in (np.full(samples, 0.5, np.float32), np.zeros(samples, np.float32)):
        y = augment(x, RATE, EVERYTHING, np.random.default_rng(seed))
        assert len(y) >= 1
        assert np.isfinite(y).all()


def test_what_is_given_is_left_alone():
    x = noise()
    augment(x, RATE, EVERYTHING, np.random.default_rng(0))
    np.testing.assert_array_equal(x, noise())
