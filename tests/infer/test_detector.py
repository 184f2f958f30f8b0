"""The main job as a library: what holds whatever the model has learnt."""

import numpy as np
import pytest
import soundfile

import peaframe
from peaframe.clock import HOP_SAMPLES, SAMPLE_RATE
from peaframe.errors import AudioError, ModelError, OptionError
from peaframe.events import EventOptions, events_from_scores
from peaframe.infer.windows import OVERLAP_FRAMES, WINDOW_FRAMES

QUERIES = ["dog barking", "a siren"]
EVERYTHING = EventOptions(threshold=0.0)
NOTHING = EventOptions(threshold=1.0)


def sounds(seconds, seed=0):
    """Noise with clicks, swells and tones in it, (samples,) at 48 kHz."""
    random = np.random.default_rng(seed)
    samples = round(seconds * SAMPLE_RATE)
    time = np.arange(samples) / SAMPLE_RATE
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * (0.3 * time + 0.05 * time**2))
    tone = np.sin(2 * np.pi * 700 * time * (1 + 0.1 * np.sin(3 * time)))
    noise = random.standard_normal(samples)
    return (0.1 * swell * noise + 0.2 * (1 - swell) * tone).astype(np.float32)


@pytest.fixture(scope="module")
def long_sound():
    return sounds(25.0)


@pytest.fixture
def street(tmp_path, long_sound):
    path = tmp_path / "street.wav"
    soundfile.write(path, long_sound, SAMPLE_RATE, subtype="FLOAT")
    return path


def test_a_detection_holds_events_scores_and_settings(detector, street):
    found = detector.detect(street, QUERIES, EVERYTHING)
    assert found.source == str(street)
    assert found.scores.labels == ("dog barking", "a siren")
    assert found.scores.values.shape == (625, 2)
    assert found.scores.end == 25.0
    assert [(e.onset, e.offset, e.label) for e in found.events] == [
        (0, 25, "a siren"),
        (0, 25, "dog barking"),
    ]
    assert found.events[1].score == found.scores["dog barking"].max()
    assert found.settings["model"] == "peaframe-mini"
    assert found.settings["queries"] == QUERIES
    assert found.settings["options"]["threshold"] == 0.0


def test_events_are_those_of_the_scores(detector, long_sound):
    scores = detector.score(long_sound, QUERIES)
    options = EventOptions(threshold=float(np.median(scores.values)), median=0.2)
    found = detector.detect(long_sound, QUERIES, options)
    assert found.events == events_from_scores(scores, options)
    assert found.events


def test_without_options_the_models_own_are_used(detector, long_sound):
    found = detector.detect(long_sound, QUERIES)
    assert found.events == events_from_scores(found.scores, detector.model.event_options)
    assert found.settings["options"]["threshold"] == detector.model.event_options.threshold


def test_each_query_can_have_its_own_options(detector, long_sound):
    found = detector.detect(long_sound, QUERIES, {"dog barking": NOTHING, "a siren": EVERYTHING})
    assert [event.label for event in found.events] == ["a siren"]


def test_a_file_and_its_samples_give_the_same_scores(detector, street, long_sound):
    from_file, from_array = detector.score(street, QUERIES), detector.score(long_sound, QUERIES)
    np.testing.assert_array_equal(from_file.values, from_array.values)
    assert detector.detect(long_sound, QUERIES).source == "array"


def test_a_part_is_what_is_heard_when_only_the_part_is_there(detector, street, long_sound):
    part = detector.score(street, QUERIES, start=4.2, end=17.5)
    alone = detector.score(long_sound[round(4.2 * SAMPLE_RATE) : round(17.5 * SAMPLE_RATE)], QUERIES)
    np.testing.assert_allclose(part.values, alone.values, atol=1e-6)
    assert part.start == 4.2
    assert part.end == pytest.approx(17.5)


def test_times_of_a_part_count_from_the_recordings_start(detector, street, long_sound):
    for source in (street, long_sound):
        found = detector.detect(source, ["siren"], EVERYTHING, start=3.0, end=5.5)
        (event,) = found.events
        assert (event.onset, event.offset) == (3.0, 5.5)


def test_scores_do_not_depend_on_the_other_queries(detector, long_sound):
    both = detector.score(long_sound[: 5 * SAMPLE_RATE], QUERIES)
    one = detector.score(long_sound[: 5 * SAMPLE_RATE], ["a siren"])
    np.testing.assert_allclose(both["a siren"], one["a siren"], atol=1e-5)


def test_a_query_given_twice_counts_once(detector, long_sound):
    found = detector.detect(long_sound[:SAMPLE_RATE], ["siren", " siren ", "dog", "siren"], EVERYTHING)
    assert found.scores.labels == ("siren", "dog")
    assert len(found.events) == 2


def test_a_long_recording_scores_like_its_windows_where_only_one_is_heard(detector, long_sound):
    whole = detector.score(long_sound, QUERIES).values
    hop = WINDOW_FRAMES - OVERLAP_FRAMES
    for first, begin, stop in [(0, 0, hop), (hop, WINDOW_FRAMES, 2 * hop - 25)]:
        clip = long_sound[first * HOP_SAMPLES : (first + WINDOW_FRAMES) * HOP_SAMPLES]
        alone = detector.score(clip, QUERIES).values
        np.testing.assert_allclose(whole[begin:stop], alone[begin - first : stop - first], atol=2e-5)


def test_how_many_windows_run_at_once_does_not_matter(detector, long_sound, monkeypatch):
    together = detector.score(long_sound, QUERIES).values
    monkeypatch.setattr("peaframe.infer.listening.BATCH_WINDOWS", 1)
    np.testing.assert_allclose(detector.score(long_sound, QUERIES).values, together, atol=2e-5)


def test_in_one_window_a_file_scores_as_the_model_says(detector, long_sound):
    import torch

    clip = torch.from_numpy(long_sound[: 3 * SAMPLE_RATE])[None]
    model = detector.model
    with torch.inference_mode():
        logits = model.score(model.encode_audio(clip), model.encode_text(QUERIES))
    expected = torch.sigmoid(logits)[0].numpy()
    np.testing.assert_allclose(detector.score(clip[0].numpy(), QUERIES).values, expected, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 1_919, 1_920, 1_921, 12_345])
def test_very_short_sounds_are_heard(detector, samples):
    found = detector.detect(sounds(1.0)[:samples], QUERIES, EVERYTHING)
    assert found.scores.frames == -(-samples // HOP_SAMPLES)
    assert {event.offset for event in found.events} == {samples / SAMPLE_RATE}


@pytest.mark.parametrize("samples", [1, SAMPLE_RATE, 12 * SAMPLE_RATE])
def test_silence_has_no_events(detector, samples):
    found = detector.detect(np.zeros(samples, dtype=np.float32), ["dog barking", "a siren", "speech", "rain"])
    assert found.events == []
    assert len(found.to_dataframe()) == 0


def test_the_table_has_one_row_per_event(detector, long_sound):
    table = detector.detect(long_sound, QUERIES, EVERYTHING).to_dataframe()
    assert list(table.columns) == ["filename", "onset", "offset", "event_label", "score"]
    assert table[["filename", "onset", "offset", "event_label"]].values.tolist() == [
        ["array", 0.0, 25.0, "a siren"],
        ["array", 0.0, 25.0, "dog barking"],
    ]
    assert table["score"].between(0, 1).all()


def test_what_is_saved_can_be_read_again(detector, street, tmp_path):
    from peaframe import formats

    found = detector.detect(street, QUERIES, EVERYTHING)
    found.save(tmp_path / "found.csv")
    (events,) = formats.load(tmp_path / "found.csv").values()
    assert [(e.onset, e.offset, e.label) for e in events] == [
        (e.onset, e.offset, e.label) for e in found.events
    ]


@pytest.mark.parametrize(
    ("queries", "error"),
    [
        ([], OptionError),
        ("dog barking", OptionError),
        ([""], ModelError),
        (["dog", "  "], ModelError),
        ([1], OptionError),
        ([b"dog"], OptionError),
        (["dog \udcff"], OptionError),
    ],
)
def test_queries_that_make_no_sense_are_refused(detector, long_sound, queries, error):
    with pytest.raises(error):
        detector.detect(long_sound, queries)


def test_a_query_of_ten_thousand_words_is_refused(detector, long_sound):
    with pytest.raises(ModelError, match=r"expected at most \d+ word pieces"):
        detector.detect(long_sound, ["dog " * 10_000])


@pytest.mark.parametrize(
    "samples",
    [np.zeros(0), np.zeros((2, 100)), np.array([0.0, np.nan]), np.array([np.inf])],
    ids=["none", "stereo", "nan", "inf"],
)
def test_arrays_that_are_no_recording_are_refused(detector, samples):
    with pytest.raises(AudioError):
        detector.detect(samples, QUERIES)


@pytest.mark.parametrize(
    ("start", "end"),
    [(25.0, None), (-1.0, None), (5.0, 5.0), (6.0, 5.0), (None, 0.0), (99.0, 100.0), (float("nan"), None)],
)
def test_ranges_outside_the_recording_are_refused(detector, street, long_sound, start, end):
    for source in (street, long_sound):
        with pytest.raises(AudioError):
            detector.detect(source, QUERIES, start=start, end=end)


def test_options_must_cover_every_query(detector, long_sound):
    with pytest.raises(OptionError, match="a siren"):
        detector.detect(long_sound, QUERIES, {"dog barking": EVERYTHING})


def test_options_of_another_kind_are_refused(detector, long_sound, refusal):
    message = refusal(OptionError, detector.detect, long_sound, QUERIES, 0.5)
    assert message == "got the options 0.5, expected EventOptions, or a mapping from queries to them"


def test_samples_of_a_wav_file_as_it_holds_them_are_the_same_sound(detector, tmp_path, long_sound):
    soundfile.write(tmp_path / "a.wav", long_sound, SAMPLE_RATE, subtype="PCM_16")
    whole_numbers, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")

    assert whole_numbers.dtype == np.int16
    of_array, of_file = detector.score(whole_numbers, QUERIES), detector.score(tmp_path / "a.wav", QUERIES)
    np.testing.assert_array_equal(of_array.values, of_file.values)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(OptionError, match="device 'toaster'"):
        peaframe.load(device="toaster")
