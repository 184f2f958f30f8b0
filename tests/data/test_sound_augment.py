import numpy as np
import pytest

from peaframe.clock import HOP_SAMPLES, frame_count
from peaframe.data.sound_augment import SoundAugment, augment_sound, code
from peaframe.errors import OptionError

CODECS = ("mp3", "opus", "vorbis", "gsm", "ulaw")


def click(samples, at):
    """A short 900 Hz burst in whispering noise, and targets of two labels: the click, and one never heard."""
    x = np.random.default_rng(5).normal(0, 1e-4, samples).astype(np.float32)
    burst = 0.8 * np.hanning(96) * np.sin(2 * np.pi * 900 * np.arange(96) / 48_000)
    x[at - 48 : at + 48] += burst[: len(x[at - 48 : at + 48])].astype(np.float32)
    targets = np.full((frame_count(samples), 2), -1, np.int8)
    targets[at // HOP_SAMPLES, 0] = 1
    return x, targets


def loudest(x):
    """The middle of the loudest 4 ms, in samples."""
    return int(np.convolve(x.astype(np.float64) ** 2, np.hanning(192), mode="same").argmax())


def rng(seed=0):
    return np.random.default_rng(seed)


# ---- nothing, gain, what was given


def test_nothing_happens_unless_asked_for():
    x, targets = click(100_001, 30_000)
    y, new = augment_sound(x, targets, SoundAugment(), rng())
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(new, targets)
    y[:], new[:] = 9, 1  # not the same arrays
    assert x.max() < 1
    assert (targets == 1).sum() == 1


def test_everything_at_once_is_drawn_from_the_generator_alone():
    x, targets = click(96_000, 30_000)
    given = x.copy(), targets.copy()
    every = SoundAugment(
        speed=1, shift=1, filter=1, band_limit=1, room=1, noise=1, gain=1, codec=1, codecs=("opus",)
    )
    (one, said), (same, again), (other, _) = (augment_sound(x, targets, every, rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    np.testing.assert_array_equal(said, again)
    assert one.dtype == np.float32
    assert said.dtype == np.int8
    assert said.shape == (frame_count(len(one)), 2)
    assert len(one) != len(other)
    np.testing.assert_array_equal(x, given[0])
    np.testing.assert_array_equal(targets, given[1])


def test_gain_lies_in_its_range():
    x, targets = click(9_600, 5_000)
    gains = []
    for seed in range(40):
        y, new = augment_sound(x, targets, SoundAugment(gain=1, gain_db=(-20, -6)), rng(seed))
        gains.append(20 * np.log10(np.abs(y).max() / np.abs(x).max()))
        np.testing.assert_allclose(y / x, 10 ** (gains[-1] / 20), rtol=1e-4)
        np.testing.assert_array_equal(new, targets)
    assert -20 <= min(gains) < -18
    assert -8 < max(gains) <= -6


def test_probabilities_are_kept():
    x, targets = click(3_840, 2_000)
    done = [
        not np.array_equal(augment_sound(x, targets, SoundAugment(gain=0.25), rng(seed))[0], x)
        for seed in range(400)
    ]
    assert 70 <= sum(done) <= 130


# ---- time


@pytest.mark.parametrize("samples", [96_000, 100_001])
def test_a_shift_takes_the_label_along(samples):
    x, targets = click(samples, 30_300)  # frame 15
    seen = set()
    for seed in range(60):
        y, new = augment_sound(x, targets, SoundAugment(shift=1, shift_seconds=1.0), rng(seed))
        np.testing.assert_array_equal(np.sort(y), np.sort(x))
        at = loudest(y)
        heard = np.flatnonzero(new[:, 0] == 1)
        if samples == 96_000:
            assert heard.tolist() == [at // HOP_SAMPLES]
        else:  # the grid is broken where the circle closes
            assert np.abs((heard + 0.5) * HOP_SAMPLES - at).min() <= HOP_SAMPLES
            assert 1 <= len(heard) <= 2
        assert (new[:, 1] == -1).all()
        moved = (at - 30_300 + samples // 2) % samples - samples // 2
        assert abs(moved - round(moved / HOP_SAMPLES) * HOP_SAMPLES) <= 48
        seen.add(round(moved / HOP_SAMPLES))
    assert min(seen) < -12
    assert max(seen) > 12
    assert -25 <= min(seen) <= max(seen) <= 25


def test_what_leaves_at_the_end_comes_in_at_the_start():
    x = np.repeat(np.arange(10, dtype=np.float32), HOP_SAMPLES)
    targets = np.zeros((10, 10), np.int8) - 1 + 2 * np.eye(10, dtype=np.int8)
    augment = SoundAugment(shift=1, shift_seconds=0.2)
    orders = set()
    for seed in range(50):
        y, new = augment_sound(x, targets, augment, rng(seed))
        order = y[HOP_SAMPLES // 2 :: HOP_SAMPLES].astype(int).tolist()
        assert new.argmax(axis=1).tolist() == order
        orders.add(order[0])
    assert orders == {5, 6, 7, 8, 9, 0, 1, 2, 3, 4}


def test_speed_takes_length_and_label_along():
    x, targets = click(240_000, 150_500)
    ratios = []
    for seed in range(40):
        y, new = augment_sound(x, targets, SoundAugment(speed=1, semitones=6), rng(seed))
        ratios.append(len(y) / len(x))
        assert new.shape == (frame_count(len(y)), 2)
        at = loudest(y)
        assert abs(at - 150_500 * ratios[-1]) < 48  # 1 ms
        heard = np.flatnonzero(new[:, 0] == 1)
        assert 1 <= len(heard) <= 2  # a click is never lost to the labels
        assert np.abs((heard + 0.5) * HOP_SAMPLES - at).min() <= HOP_SAMPLES
        assert (new[:, 1] == -1).all()
    assert 2**-0.5 <= min(ratios) < 0.8
    assert 1.25 < max(ratios) <= 2**0.5


def test_an_octave_faster_has_every_second_frame(monkeypatch):
    x = np.zeros(10 * HOP_SAMPLES, np.float32)
    targets = np.array([[-1, 1, 1, 1, 0, -1, -1, 0, -1, -1]], np.int8).T
    monkeypatch.setattr("peaframe.data.sound_augment.change_speed", lambda x, rate, semitones: x[::2])
    y, new = augment_sound(x, targets, SoundAugment(speed=1), rng())
    assert len(y) == 5 * HOP_SAMPLES
    # Middles lie on the edges before frames 1, 3, 5, 7, 9; frames 0, 2, 4, 6, 8 are joined to the nearest.
    assert new[:, 0].tolist() == [1, 1, 0, 0, -1]


# ---- what sound lasts, and what it hides


def test_after_an_offset_a_room_leaves_it_unknown():
    samples = 75 * HOP_SAMPLES
    x = rng(3).normal(0, 0.1, samples).astype(np.float32)
    x[20 * HOP_SAMPLES :] = 0
    targets = np.full((75, 3), -1, np.int8)
    targets[10:20, 0] = 1
    targets[10:20, 1] = 0
    tails = []
    for seed in range(20):
        y, new = augment_sound(x, targets, SoundAugment(room=1), rng(seed))
        energy = (y.astype(np.float64) ** 2).reshape(75, -1).sum(axis=1)
        unknown = np.flatnonzero(new[20:, 0] == 0)
        tails.append(len(unknown))
        assert unknown.tolist() == list(range(len(unknown)))
        assert (new[10:20, 0] == 1).all()
        assert (new[:10, 0] == -1).all()
        np.testing.assert_array_equal(new[20:, 1], new[20:, 0])
        assert (new[:, 2] == -1).all()
        assert (energy[20 + tails[-1] :] < 1e-9 * energy.max()).all()  # no tail where it counts
        assert energy[20] > 1e-7 * energy.max()
        assert len(y) == samples
        assert np.abs(y).max() == pytest.approx(np.abs(x).max(), rel=1e-5)
    assert 3 <= min(tails) < max(tails) <= 25


def test_filters_leave_labels_alone():
    x, targets = click(96_000, 30_300)
    y, new = augment_sound(x, targets, SoundAugment(filter=1, band_limit=1), rng(1))
    np.testing.assert_array_equal(new, targets)
    assert loudest(y) // HOP_SAMPLES == 15
    assert np.abs(y - x).max() > 0.01


def test_noise_has_its_level_and_its_colour():
    x = (0.3 * np.sin(2 * np.pi * 440 * np.arange(96_000) / 48_000)).astype(np.float32)
    targets = np.ones((50, 1), np.int8)
    slopes = []
    for seed in range(20):
        y, new = augment_sound(x, targets, SoundAugment(noise=1, snr_db=(6, 9)), rng(seed))
        noise = (y - x).astype(np.float64)
        assert 6 - 0.01 <= 20 * np.log10(x.std() / noise.std()) <= 9 + 0.01
        assert (new == 1).all()
        power = np.abs(np.fft.rfft(noise)) ** 2
        low, high = power[200:400].mean(), power[20_000:40_000].mean()  # 150 Hz and 15 kHz on average
        slopes.append(np.log10(low / high) / 2)
    assert -0.1 < min(slopes) < 0.6
    assert 1.4 < max(slopes) < 2.2


def test_what_noise_drowns_is_unknown():
    x = np.zeros(50 * HOP_SAMPLES, np.float32)
    x[: 10 * HOP_SAMPLES] = 0.3
    x[20 * HOP_SAMPLES : 30 * HOP_SAMPLES] = 0.0003
    targets = np.full((50, 2), -1, np.int8)
    targets[:30, 0] = 1
    _, new = augment_sound(x, targets, SoundAugment(noise=1, snr_db=(10, 10)), rng())
    assert (new[:11, 0] == 1).all()  # the frame beside it may hold some of what is heard
    assert (new[11:30, 0] == 0).all()
    assert (new[30:, 0] == -1).all()
    assert (new[:, 1] == -1).all()


# ---- codecs


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("level", [0.0, 0.5, 0.95, 1.0])
def test_codecs_keep_a_click_where_it_is(codec, level):
    for samples, at in ((96_000, 30_300), (50_123, 49_000), (20_000, 5_000)):
        x, _ = click(samples, at)
        y = code(x, codec, level)
        assert y.shape == x.shape
        assert y.dtype == np.float32
        assert abs(loudest(y) - loudest(x)) < 48  # 1 ms
        assert np.abs(y - x).max() > 1e-4  # it was really coded


def likeness(x, y):
    """Correlation, and at which shift of up to 20 ms it is greatest."""
    lags = range(-960, 961)
    inner = x[960:-960]
    scores = [float(np.dot(inner, y[960 + lag : len(y) - 960 + lag])) for lag in lags]
    best = int(np.argmax(scores))
    lag = lags[best]
    return np.corrcoef(inner, y[960 + lag : len(y) - 960 + lag])[0, 1], lag


@pytest.mark.parametrize("codec", CODECS)
def test_codecs_keep_sound_aligned_and_alike(codec):
    noise = np.convolve(rng(1).normal(0, 0.2, 60_000), np.hanning(60) / 30, mode="same").astype(np.float32)
    alike, lag = likeness(noise, code(noise, codec, 0.5))
    assert abs(lag) <= 5
    assert alike > {"gsm": 0.75}.get(codec, 0.95)


def test_a_codec_that_is_late_is_set_right(monkeypatch):
    from peaframe.data import sound_augment

    real = sound_augment._decoded
    x = click(96_000, 30_300)[0]
    for late in (1_105, -700):
        sound_augment._delay.cache_clear()
        monkeypatch.setattr(sound_augment, "_decoded", lambda *a, late=late: np.roll(real(*a), late))
        assert abs(loudest(code(x, "mp3")) - loudest(x)) < 48
        assert abs(sound_augment._delay("mp3") - late) <= 2
    sound_augment._delay.cache_clear()


@pytest.mark.parametrize("codec", CODECS)
def test_codecs_take_silence_single_samples_and_loud_sound(codec):
    assert np.abs(code(np.zeros(5_000, np.float32), codec)).max() < 2e-3
    assert code(np.ones(1, np.float32), codec).shape == (1,)
    loud = (4 * np.sin(2 * np.pi * 500 * np.arange(48_000) / 48_000)).astype(np.float32)
    assert np.abs(code(loud, codec, 0.2)).max() > 3.5


def test_telephones_end_at_4_khz():
    x = rng(2).normal(0, 0.1, 48_000).astype(np.float32)
    for codec in ("gsm", "ulaw"):
        power = np.abs(np.fft.rfft(code(x, codec))) ** 2
        assert power[4_300:].sum() < 1e-3 * power[300:3_400].sum()


def test_codecs_are_drawn_and_labels_stay():
    x, targets = click(48_000, 20_000)
    found = []
    for seed in range(12):
        y, new = augment_sound(x, targets, SoundAugment(codec=1, codecs=("mp3", "ulaw")), rng(seed))
        np.testing.assert_array_equal(new, targets)
        power = np.abs(np.fft.rfft(y)) ** 2
        found.append(bool(power[5_000:].sum() < 1e-6 * power.sum()))
    assert {True, False} == set(found)


# ---- refusals


def test_impossible_augmentation_is_refused(refusal):
    for options in ({"speed": 1.5}, {"codec": -0.1}, {"room": float("nan")}):
        assert "expected a probability in [0, 1]" in refusal(OptionError, SoundAugment, **options)
    for options in ({"semitones": -1}, {"shift_seconds": float("inf")}):
        assert "0 or more" in refusal(OptionError, SoundAugment, **options)
    for options in ({"snr_db": (3, 2)}, {"gain_db": (0, float("inf"))}):
        assert "the smaller one first" in refusal(OptionError, SoundAugment, **options)
    assert "codec_level (0.5, 1.5)" in refusal(OptionError, SoundAugment, codec_level=(0.5, 1.5))
    assert "['aac'], expected some of mp3, opus" in refusal(OptionError, SoundAugment, codecs=("aac",))
    assert "expected some of mp3" in refusal(OptionError, SoundAugment, codec=0.5, codecs=())
    assert "got codec 'aac'" in refusal(OptionError, code, np.zeros(9, np.float32), "aac")


def test_a_codec_that_is_not_there_is_refused(refusal, monkeypatch):
    monkeypatch.setattr("soundfile.available_subtypes", lambda container: {"VORBIS": "", "ULAW": ""})
    message = refusal(OptionError, SoundAugment, codec=0.5, codecs=("vorbis", "mp3"))
    assert message.startswith("codecs mp3 are not in libsndfile")
    assert SoundAugment(codec=0.5, codecs=("vorbis", "ulaw")).codecs == ("vorbis", "ulaw")


def test_shapes_that_do_not_fit_are_refused(refusal):
    for x, rows in ((np.zeros(1_921), 1), (np.zeros((2, 1_920)), 1), (np.zeros(0), 0)):
        message = refusal(
            OptionError, augment_sound, x.astype(np.float32), np.zeros((rows, 2)), SoundAugment(), rng()
        )
        assert "a row of targets for each 1920" in message
