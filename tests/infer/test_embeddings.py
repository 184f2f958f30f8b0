"""What was heard once can be asked later, without the audio."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from peaframe.errors import FormatError, OptionError
from peaframe.events import EventOptions
from peaframe.infer.detector import Detector
from peaframe.infer.embeddings import Embeddings

RATE = 48_000
QUERIES = ["dog barking", "a siren", "rain"]


@pytest.fixture(scope="module")
def sound():
    random = np.random.default_rng(0)
    time = np.arange(23 * RATE + 700) / RATE
    return (0.2 * np.sin(500 * time**1.5) * random.standard_normal(len(time))).astype(np.float32)


@pytest.fixture(scope="module")
def heard(detector, sound):
    return detector.embed(sound)


def test_scores_from_embeddings_are_those_from_the_audio(detector, sound, heard):
    """Averaging embeddings where windows overlap averages logits, so only half precision lies between them."""
    direct, later = detector.score(sound, QUERIES), detector.score_embeddings(heard, QUERIES)
    assert heard.values.dtype == np.float16
    assert later.values.shape == direct.values.shape == (576, 3)
    assert (later.start, later.end) == (direct.start, direct.end)
    np.testing.assert_allclose(later.values, direct.values, atol=5e-3)


def test_a_file_keeps_everything(detector, sound, heard, tmp_path):
    path = tmp_path / "sound.npz"
    heard.save(path)
    again = Embeddings.load(path)
    assert np.array_equal(again.values, heard.values)
    assert (again.model, again.fingerprint) == ("peaframe-mini", detector.model.fingerprint())
    assert (again.start, again.duration, again.source) == (0.0, len(sound) / RATE, "array")
    with np.load(path, allow_pickle=False) as stored:
        assert int(stored["frame_rate"]) == 25
    options = EventOptions(threshold=0.0)
    assert detector.detect(path, QUERIES, options).events == detector.detect(path, QUERIES, options).events


def test_a_part_may_be_asked_for(detector, sound, heard):
    whole = detector.score_embeddings(heard, QUERIES)
    part = detector.score_embeddings(heard, QUERIES, start=2.0, end=5.02)
    assert (part.start, part.end) == (2.0, 5.02)
    np.testing.assert_allclose(part.values, whole.values[50:126], atol=1e-6)
    later = detector.embed(sound, start=4.0, end=9.0)
    assert (later.start, later.duration, len(later.values)) == (4.0, 5.0, 125)
    assert detector.score_embeddings(later, QUERIES, start=6.0).start == 6.0
    assert detector.score_embeddings(later, QUERIES, end=9.02).end == 9.0


@pytest.mark.parametrize(("start", "end"), [(24.0, None), (None, 0.0), (None, 23.1), (5.0, 5.0), (-1.0, 2.0)])
def test_a_part_that_was_not_heard_is_refused(detector, heard, refusal, start, end):
    message = refusal(OptionError, detector.score_embeddings, heard, QUERIES, start=start, end=end)
    assert "the embeddings reach from 0 to 23.0146 s" in message


def test_another_model_is_refused(heard, tiny_model, refusal):
    tiny_model.name = "tiny"
    message = refusal(OptionError, Detector(tiny_model, "cpu").score_embeddings, heard, ["beep"])
    assert "made by peaframe-mini" in message
    assert "use --model peaframe-mini" in message


def test_fingerprints_tell_models_apart(tiny_model):
    before = tiny_model.fingerprint()
    assert before == tiny_model.fingerprint()
    assert len(before) == 16
    with torch.no_grad():
        tiny_model.logit_bias += 1
    assert tiny_model.fingerprint() != before


@pytest.mark.parametrize(
    ("values", "duration"),
    [
        (np.zeros((25, 4), np.float32), 1.0),
        (np.zeros(25, np.float16), 1.0),
        (np.full((25, 4), np.nan, np.float16), 1.0),
        (np.zeros((24, 4), np.float16), 1.0),
    ],
)
def test_what_does_not_fit_together_is_refused(refusal, values, duration):
    refusal(OptionError, Embeddings, values, "m", "f", 0.0, duration)


def test_files_that_are_no_embeddings_are_refused(detector, sound, tmp_path, refusal):
    scores = tmp_path / "scores.npz"
    detector.score(sound[:RATE], QUERIES).save(scores)
    message = refusal(FormatError, Embeddings.load, scores)
    assert "holds 'peaframe-scores' and not an embeddings file; expected a file written by" in message
    text = tmp_path / "text.npz"
    text.write_text("no archive")
    assert "not an embeddings file" in refusal(FormatError, Embeddings.load, text)
    assert "cannot read an embeddings file" in refusal(FormatError, Embeddings.load, tmp_path / "missing.npz")


def heard_long(folder, megabytes, fingerprint="f"):
    """A file of embeddings of 256 numbers a frame."""
    frames = megabytes * (1 << 20) // 512
    values = np.random.default_rng(0).standard_normal((frames, 256), np.float32).astype(np.float16)
    path = folder / "long.npz"
    Embeddings(values, "peaframe-mini", fingerprint, 0.0, frames / 25).save(path)
    return path, values


def test_embeddings_are_mapped_and_stay_what_they_are(tmp_path):
    path, values = heard_long(tmp_path, 3)
    before = path.read_bytes()
    loaded = Embeddings.load(path)
    assert isinstance(loaded.values, np.memmap)
    np.testing.assert_array_equal(loaded.values, values)
    loaded.values[0] = 0
    assert (loaded.values[0] == 0).all()
    assert path.read_bytes() == before
    path.unlink()
    np.testing.assert_array_equal(loaded.values[1:], values[1:])


def test_compressed_embeddings_are_loaded(heard, tmp_path):
    heard.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as stored:
        np.savez_compressed(tmp_path / "b.npz", **stored)
    loaded = Embeddings.load(tmp_path / "b.npz")
    assert not isinstance(loaded.values, np.memmap)
    assert np.array_equal(loaded.values, heard.values)
    assert (loaded.fingerprint, loaded.duration) == (heard.fingerprint, heard.duration)


@pytest.mark.parametrize("place", [0.002, 0.3, 0.6, 0.9, 0.995])
def test_a_flipped_bit_is_found_though_nothing_is_loaded(tmp_path, refusal, place):
    path, _ = heard_long(tmp_path, 2)
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 0x04
    path.write_bytes(data)
    assert "not an embeddings file, or a damaged one" in refusal(FormatError, Embeddings.load, path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.999])
def test_a_cut_file_is_refused(tmp_path, refusal, kept):
    path, _ = heard_long(tmp_path, 2)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    assert "not an embeddings file, or a damaged one" in refusal(FormatError, Embeddings.load, path)


def test_a_length_that_is_not_there_is_refused(tmp_path, refusal):
    """A header that promises more rows than the file has, with a checksum that fits."""
    path, values = heard_long(tmp_path, 1)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "more.npz", "w") as changed:
        for name in whole.namelist():
            data = whole.read(name)
            changed.writestr(name, data.replace(b"(%d, 256)" % len(values), b"(%d, 256)" % (len(values) + 1)))
    assert "a damaged one" in refusal(FormatError, Embeddings.load, tmp_path / "more.npz")


def test_mapped_embeddings_score_as_those_in_memory(detector, heard, tmp_path):
    heard.save(tmp_path / "a.npz")
    mapped = detector.score_embeddings(Embeddings.load(tmp_path / "a.npz"), QUERIES)
    assert np.array_equal(mapped.values, detector.score_embeddings(heard, QUERIES).values)


@pytest.mark.slow
def test_hours_are_scored_in_little_memory(detector, tmp_path):
    """200 MB of embeddings, more than four hours, loaded and scored by a fresh process."""
    path, values = heard_long(tmp_path, 200, detector.model.fingerprint())
    code = f"""
import tracemalloc
import peaframe
from peaframe.infer.embeddings import Embeddings
detector = peaframe.load(device="cpu")
tracemalloc.start()
loaded = Embeddings.load({str(path)!r})
_, loading = tracemalloc.get_traced_memory()
scores = detector.score_embeddings(loaded, ["dog barking"])
_, scoring = tracemalloc.get_traced_memory()
print(loading, scoring, len(scores.values), scores.values[::50_000, 0].tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loading, scoring, frames, rest = done.stdout.split(maxsplit=3)
    assert int(loading) < 20_000_000
    assert int(scoring) < 40_000_000
    assert int(frames) == len(values)
    assert len(json.loads(rest)) == -(-len(values) // 50_000)
    assert done.stderr == ""
