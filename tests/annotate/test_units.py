"""How recordings are cut into units of work, and that a part hears what the whole does."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peaframe.annotate import units
from peaframe.annotate.records import File, Part
from peaframe.annotate.units import UNIT_PARTS, UNIT_WINDOWS, Windows, pack, split
from peaframe.annotate.work import Machine, Orders, Piece, Unit, Worker
from peaframe.clock import frame_count, samples_of_seconds
from peaframe.infer.windows import windows as cut

runs = runpy.run_path(str(Path(__file__).parent / "runs.py"))
write, QUERIES = runs["write"], runs["QUERIES"]

MINI = Windows(250, 50, 3)
SIZES = st.builds(Windows, st.integers(3, 300), st.just(1), st.integers(0, 20)) | st.just(MINI)


def file(seconds, id=1):
    return File(id, f"{id}.wav", f"/{id}.wav", 1, 1, "", seconds, "planned", False, False, None)


def frames_of(seconds):
    return frame_count(samples_of_seconds(seconds))


@given(st.floats(0, 20_000), SIZES)
def test_parts_cover_a_recording_once(seconds, sizes):
    parts = split(file(seconds), sizes)
    assert parts[0].first == 0
    assert parts[-1].stop is None
    assert [part.stop for part in parts[:-1]] == [part.first for part in parts[1:]]
    step = UNIT_WINDOWS * sizes.hop
    assert [part.first for part in parts] == [i * step for i in range(len(parts))]
    if len(parts) > 1:
        behind = frames_of(seconds) - parts[-1].first
        assert 2 * sizes.frames + sizes.lead < behind <= step + 2 * sizes.frames + sizes.lead
    assert (frames_of(seconds) <= step + 2 * sizes.frames + sizes.lead) == (len(parts) == 1)


@given(st.integers(1, 60), st.floats(0, 2000), SIZES)
def test_a_part_is_heard_in_the_windows_of_the_whole_that_touch_it(parts, more, sizes):
    seconds = (parts * UNIT_WINDOWS * sizes.hop) / 25 + more / 25
    total = frames_of(seconds)
    grid = [first for first, _ in cut([np.zeros((total, 1))], sizes.frames, sizes.overlap)]
    for part in split(file(seconds), sizes)[-3:]:
        begin, end = sizes.around(part)
        stop = total if part.stop is None else part.stop
        touching = [first for first in grid if first < stop and first + sizes.frames > part.first]
        length = (total if end is None else end) - begin
        own = [begin + first for first, _ in cut([np.zeros((length, 1))], sizes.frames, sizes.overlap)]
        assert own == touching
        assert end is None or end + sizes.lead <= total  # nothing is missing behind a cut


@settings(max_examples=60)
@given(st.lists(st.floats(0, 3000), max_size=40))
def test_units_hold_every_part_once_in_order_and_are_of_a_size(lengths):
    files = [file(seconds, id) for id, seconds in enumerate(lengths)]
    packed = list(pack(files, MINI))
    assert [part for unit in packed for part in unit] == [part for one in files for part in split(one, MINI)]
    step = UNIT_WINDOWS * MINI.hop
    for unit in packed:
        assert 1 <= len(unit) <= UNIT_PARTS
        size = sum(
            (frames_of(lengths[part.file]) if part.stop is None else part.stop) - part.first for part in unit
        )
        assert size <= step or len(unit) == 1
        assert size <= step + 2 * MINI.frames + MINI.lead


def test_short_recordings_are_heard_together_and_no_more_than_so_many():
    packed = list(pack([file(1.0, id) for id in range(700)], MINI))
    assert [len(unit) for unit in packed] == [256, 256, 188]
    assert [len(unit) for unit in pack([file(0.0, id) for id in range(257)], MINI)] == [256, 1]
    assert [len(unit) for unit in pack([file(60.0, id) for id in range(12)], MINI)] == [5, 5, 2]
    assert list(pack([], MINI)) == []


def test_known_cuts():
    assert split(file(340.0), MINI) == [Part(1)]
    assert split(file(340.2), MINI) == [Part(1, 0, 8000), Part(1, 8000, None)]
    assert MINI.around(Part(1, 8000, 16000)) == (7800, 16050)
    assert MINI.around(Part(1, 8000, None)) == (7800, None)
    assert MINI.around(Part(1)) == (0, None)
    assert (Part(1).whole, Part(1, 0, 8000).whole, Part(1, 8000).whole) == (True, False, False)


def orders(worker, keep_embeddings=False):
    options = dict.fromkeys(QUERIES, worker.facts().options)
    return Orders(QUERIES, options, keep_scores=True, keep_embeddings=keep_embeddings)


def joined(worker, path, seconds, together):
    """Scores (frames, queries) of a recording heard in parts, alone or all in one unit; and of the whole."""
    status = path.stat()
    parts = split(file(seconds), worker.facts().windows)
    pieces = [Piece(part, str(path), status.st_size, status.st_mtime_ns) for part in parts]
    groups = [pieces] if together else [[piece] for piece in pieces]
    results = [one for group in groups for one in worker.do(Unit(1, tuple(group))).pieces]
    assert [one.error for one in results] == [None] * len(parts)
    assert [one.seconds for one in results[:-1]] == [None] * (len(parts) - 1)
    for part, one in zip(parts[:-1], results, strict=False):
        assert one.scores.shape[1] == part.stop - part.first
    return parts, results[-1].seconds, np.concatenate([one.scores.T for one in results])


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    ("name", "seconds", "rate", "tolerance", "count"),
    [
        ("a.wav", 61.234, 48_000, 1e-6, 6),
        ("a.flac", 53.0, 44_100, 1e-4, 5),
        ("a.ogg", 47.77, 22_050, 1e-4, 4),
    ],
)
@pytest.mark.slow
def test_parts_score_as_the_whole_does(
    worker, tmp_path, monkeypatch, name, seconds, rate, tolerance, count, together
):
    monkeypatch.setattr(units, "UNIT_WINDOWS", 1)
    path = write(tmp_path / name, seconds, rate)
    worker.begin(orders(worker))
    parts, heard, values = joined(worker, path, seconds, together)
    whole = worker._detector.score(path, list(QUERIES))
    assert len(parts) == count
    assert values.shape == whole.values.shape
    assert heard == pytest.approx(whole.duration, abs=1e-9)
    np.testing.assert_allclose(values, whole.values, atol=tolerance)


@pytest.mark.slow
def test_embeddings_of_parts_are_those_of_the_whole(worker, tmp_path, monkeypatch):
    monkeypatch.setattr(units, "UNIT_WINDOWS", 1)
    path = write(tmp_path / "a.wav", 40.1)
    worker.begin(orders(worker, keep_embeddings=True))
    status = path.stat()
    parts = split(file(40.1), worker.facts().windows)
    assert len(parts) == 3
    pieces = tuple(Piece(part, str(path), status.st_size, status.st_mtime_ns) for part in parts)
    results = worker.do(Unit(1, pieces)).pieces
    values = np.concatenate([one.embeddings for one in results])
    whole = worker._detector.embed(path)
    np.testing.assert_allclose(values.astype("f4"), whole.values.astype("f4"), atol=2e-3)
    scores = worker._detector.score_embeddings(whole, list(QUERIES))
    np.testing.assert_allclose(np.concatenate([one.scores.T for one in results]), scores.values, atol=1e-3)


@pytest.mark.slow
def test_a_recording_a_little_shorter_than_it_says_is_heard_to_its_end(worker, tmp_path, monkeypatch):
    monkeypatch.setattr(units, "UNIT_WINDOWS", 1)
    path = write(tmp_path / "a.wav", 61.0)
    worker.begin(orders(worker))
    _, heard, values = joined(worker, path, 61.0 + 9.9, together=True)  # a window less than planned
    whole = worker._detector.score(path, list(QUERIES))
    assert (heard, len(values)) == (61.0, 1525)
    np.testing.assert_allclose(values, whole.values, atol=1e-6)


class Texts:
    """Stands in for a tokenizer.json, which the golden checkpoint does not have: two numbers for a word."""

    def __call__(self, texts):
        import torch

        ids = torch.tensor([[1, 2 + sum(map(ord, text)) % 50] for text in texts])
        return ids, torch.ones_like(ids)


@pytest.mark.slow
def test_parts_of_pe_a_frame_score_as_the_whole_does(golden_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PEAFRAME_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(units, "UNIT_WINDOWS", 1)
    worker = Worker(Machine(str(golden_folder / "pe_a_frame_original"), "cpu", "exact", 1))
    worker._detector.model.tokenizer = Texts()
    sizes = worker.facts().windows
    seconds = (5 * sizes.hop + 2 * sizes.frames + 13) / 25 + 0.017
    path = write(tmp_path / "a.wav", seconds)
    worker.begin(orders(worker))
    parts, _, values = joined(worker, path, seconds, together=True)
    whole = worker._detector.score(path, list(QUERIES))
    assert len(parts) >= 4
    assert values.shape == whole.values.shape
    assert np.ptp(whole.values) > 0.1  # it tells frames apart
    np.testing.assert_allclose(values, whole.values, atol=3e-4)  # random weights: latents of 500 in float32
