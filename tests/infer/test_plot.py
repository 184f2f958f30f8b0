"""The picture of a detection, and the spectrogram in it."""

import tracemalloc

import numpy as np
import pytest

from peaframe.clock import SAMPLE_RATE
from peaframe.errors import OptionError
from peaframe.events import EventOptions, events_from_scores
from peaframe.infer.detector import Detection
from peaframe.infer.plot import plot, save_plot
from peaframe.infer.spectrogram import BANDS, HIGHEST_HERTZ, LOWEST_HERTZ, mel, spectrogram
from peaframe.scores import Scores


def tone(hertz, seconds):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE)).astype(
        np.float32
    )


def detection(seconds, labels, start=0.0):
    """Each query is heard in its own share of the time."""
    frames = round(seconds * 25)
    values = np.zeros((frames, len(labels)), dtype=np.float32)
    for i in range(len(labels)):
        values[frames * i // len(labels) : frames * (i + 1) // len(labels), i] = 0.9
    scores = Scores(values, tuple(labels), start)
    settings = {"model": "peaframe-mini", "options": {"threshold": 0.5}}
    return Detection("street.wav", events_from_scores(scores, EventOptions()), scores, settings)


@pytest.mark.parametrize("hertz", [100, 440, 1_000, 5_000, 15_000])
def test_a_tone_is_drawn_at_its_pitch_and_in_its_time(hertz):
    sound = np.concatenate([tone(hertz, 2.0), np.zeros(2 * SAMPLE_RATE, dtype=np.float32)])
    levels = spectrogram([sound], len(sound), columns=100)
    assert levels.shape == (100, BANDS)
    place = (mel(hertz) - mel(LOWEST_HERTZ)) / (mel(HIGHEST_HERTZ) - mel(LOWEST_HERTZ)) * BANDS
    assert abs(levels[:48].mean(axis=0).argmax() + 0.5 - place) <= 1
    assert (levels[:48].max(axis=1) > levels[52:].max() + 60).all()


def test_the_size_of_the_blocks_does_not_matter():
    sound = np.random.default_rng(0).standard_normal(7 * SAMPLE_RATE + 123).astype(np.float32)
    whole = spectrogram([sound], len(sound))
    for size in (1_000, 2_047, 48_000):
        parts = spectrogram((sound[i : i + size] for i in range(0, len(sound), size)), len(sound))
        np.testing.assert_allclose(parts, whole, atol=1e-3)


@pytest.mark.parametrize("samples", [1, 100, 2_047, 2_048, 2_049, 96_000])
def test_short_sounds_have_a_picture(samples):
    levels = spectrogram([np.ones(samples, dtype=np.float32)], samples)
    assert levels.shape[1] == BANDS
    assert np.isfinite(levels).all()


def test_hours_are_drawn_in_the_memory_of_minutes():
    block = np.random.default_rng(0).standard_normal(30 * SAMPLE_RATE).astype(np.float32)
    tracemalloc.start()
    try:
        levels = spectrogram((block for _ in range(240)), 240 * len(block), columns=200)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert levels.shape == (200, BANDS)
    assert peak < 100_000_000


def test_scores_thresholds_and_events_are_all_there():
    figure = plot(detection(8.0, ["dog barking", "a siren"]), tone(440, 8.0))
    sound, scores, events = figure.axes
    assert len(sound.images) == 1
    assert len(scores.lines) == 2 + 2
    bars = [path.get_extents() for collection in events.collections for path in collection.get_paths()]
    assert [(bar.x0, bar.x1) for bar in bars] == [(0, 4), (4, 8)]
    assert [label.get_text() for label in events.get_yticklabels()] == ["dog barking", "a siren"]
    assert all(axes.get_xlim() == (0, 8) for axes in figure.axes)


def test_a_part_keeps_its_place_in_time():
    figure = plot(detection(2.0, ["siren"], start=5.0), tone(440, 10.0))
    assert all(axes.get_xlim() == (5, 7) for axes in figure.axes)


def test_odd_labels_and_many_of_them_can_be_drawn(tmp_path):
    labels = ["costs $5 & $6", "犬が吠える", "x" * 500, "two\nlines", *(f"sound {i}" for i in range(20))]
    save_plot(detection(3.0, labels), tone(440, 3.0), tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20], "big") == 1_200


def test_only_png_is_written(tmp_path):
    with pytest.raises(OptionError, match=r"a\.jpg"):
        save_plot(detection(1.0, ["siren"]), tone(440, 1.0), tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []
