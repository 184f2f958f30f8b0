"""Several recordings through the model at once."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from peaframe import audio
from peaframe.errors import AudioError
from peaframe.infer.listening import BATCH_WINDOWS, Stretch

runs = runpy.run_path(str(Path(__file__).parent / "runs.py"))
demo, QUERIES = runs["demo"], runs["QUERIES"]
LENGTHS = (3.0, 12.0, 0.02, 31.7, 10.0, 0.0, 26.04)


def blocks(sound, size=480_000):
    return [sound[at : at + size] for at in range(0, len(sound), size)]


def broken(sound, reason):
    yield sound[:96_000]
    raise AudioError(reason)


def hear(worker, stretches, told=lambda windows: None):
    detector = worker._detector
    stitcher, use = detector.scoring(detector.ask(QUERIES))
    return list(detector.listener().hear(stretches, use, stitcher, told))


@pytest.fixture(scope="module")
def sounds():
    return [demo(seconds, begin=2.0 * i) for i, seconds in enumerate(LENGTHS)]


@pytest.mark.slow
def test_each_of_several_is_heard_as_alone(worker, sounds):
    windows = []
    together = hear(worker, [Stretch(blocks(sound)) for sound in sounds], windows.append)
    assert [one.index for one in together] == list(range(len(sounds)))
    assert [one.samples for one in together] == [len(sound) for sound in sounds]
    assert [one.error for one in together] == [None] * len(sounds)
    assert [len(one.values) for one in together] == [75, 300, 1, 793, 250, 0, 651]
    for sound, one in zip(sounds, together, strict=True):
        (alone,) = hear(worker, [Stretch(blocks(sound, 31_000))])
        np.testing.assert_allclose(one.values, alone.values, atol=2e-5)
    assert sum(windows) == 1 + 2 + 1 + 4 + 1 + 0 + 4
    # batches are of several recordings
    assert max(windows) >= BATCH_WINDOWS > sum(windows) / len(windows) > 2


@pytest.mark.slow
def test_an_error_in_one_leaves_the_others_as_they_are(worker, sounds):
    good = [0, 1, 3, 4]
    stretches = [Stretch(blocks(sounds[i])) for i in good]
    expected = hear(worker, stretches)
    stretches.insert(2, Stretch(broken(sounds[3], "half of it is missing")))
    stretches.insert(0, Stretch(broken(sounds[0][:0], "there is nothing")))
    heard = hear(worker, stretches)
    assert [str(one.error) if one.error else None for one in heard] == [
        *("there is nothing", None, None, "half of it is missing", None, None)
    ]
    for one, alone in zip([heard[i] for i in (1, 2, 4, 5)], expected, strict=True):
        assert one.samples == alone.samples
        np.testing.assert_allclose(one.values, alone.values, atol=2e-5)


def test_a_stretch_inside_a_recording_is_what_the_whole_has_there(worker):
    sound, lead = demo(40.0), worker.facts().windows.lead
    (whole,) = hear(worker, [Stretch(blocks(sound))])
    begin, end, hop = 200, 650, 1920  # the bounds of windows 2 and 3
    inner = sound[(begin - lead) * hop : (end + lead) * hop]
    (part,) = hear(worker, [Stretch(blocks(inner), lead, end - begin)])
    assert part.values.shape == (450, 2)
    np.testing.assert_allclose(part.values[50:-50], whole.values[begin + 50 : end - 50], atol=2e-5)


def test_time_is_accounted_for(worker, sounds):
    detector = worker._detector
    stitcher, use = detector.scoring(detector.ask(QUERIES))
    listener = detector.listener()
    path = runs["DEMO"]
    list(listener.hear([Stretch(audio.blocks(path, 10.0))], use, stitcher))
    spent = listener.spent
    assert spent.decoding > 0.001
    assert spent.hearing > spent.waiting >= 0
