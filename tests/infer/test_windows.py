"""Windows cover every sample, and stitching them leaves no seam."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peaframe.clock import HOP_SAMPLES
from peaframe.infer.windows import OVERLAP_FRAMES, WINDOW_FRAMES, Stitcher, window_count, windows

WINDOW, OVERLAP = 10, 3


def rows(frames):
    """A recording of that many frames, two columns, no value twice."""
    return np.arange(2 * frames, dtype=np.float32).reshape(frames, 2)


def cut(recording, sizes, window=WINDOW, overlap=OVERLAP):
    """The windows of a recording that arrives in blocks of these sizes, over and over."""

    def blocks():
        at, i = 0, 0
        while at < len(recording):
            yield recording[at : at + sizes[i % len(sizes)]]
            at, i = at + sizes[i % len(sizes)], i + 1

    return list(windows(blocks(), window, overlap))


lengths = st.integers(1, 60)
block_sizes = st.lists(st.integers(1, 15), min_size=1, max_size=4)


@settings(deadline=None)
@given(lengths, block_sizes)
def test_windows_hold_every_frame_in_its_place(frames, sizes):
    recording = rows(frames)
    cuts = cut(recording, sizes)
    seen = np.zeros(frames, dtype=bool)
    for first, window in cuts:
        np.testing.assert_array_equal(window, recording[first : first + len(window)])
        seen[first : first + len(window)] = True
    assert seen.all()
    assert len(cuts) == window_count(frames * HOP_SAMPLES, WINDOW, OVERLAP)


@settings(deadline=None)
@given(lengths)
def test_windows_are_whole_and_share_the_overlap(frames):
    cuts = cut(rows(frames), [7])
    firsts = [first for first, _ in cuts]
    assert firsts == sorted(set(firsts))
    assert all(len(window) == min(WINDOW, frames) for _, window in cuts)
    for (earlier, window), (later, _) in itertools.pairwise(cuts):
        assert earlier + len(window) - later >= OVERLAP


@settings(deadline=None)
@given(lengths, block_sizes)
def test_block_sizes_do_not_matter(frames, sizes):
    recording = rows(frames)
    whole, parts = cut(recording, [frames]), cut(recording, sizes)
    assert [first for first, _ in whole] == [first for first, _ in parts]
    for (_, one), (_, other) in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)


@settings(deadline=None)
@given(lengths)
def test_what_all_windows_agree_on_is_stitched_unchanged(frames):
    truth = np.random.default_rng(frames).random((frames, 2), dtype=np.float32)
    stitcher = Stitcher(2, OVERLAP)
    for first, window in cut(truth, [frames]):
        stitcher.add(first, window)
    result = stitcher.result()
    assert result.shape == truth.shape
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, truth, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 9, 10, 11, 17, 18, 100])
def test_a_constant_stays_constant(frames):
    stitcher = Stitcher(1, OVERLAP)
    for first, window in cut(rows(frames), [1]):
        stitcher.add(first, np.full((len(window), 1), 0.7, dtype=np.float32))
    np.testing.assert_allclose(stitcher.result(), 0.7, atol=1e-6)


def test_where_windows_differ_one_fades_into_the_other():
    stitcher = Stitcher(1, OVERLAP)
    stitcher.add(0, np.zeros((WINDOW, 1), dtype=np.float32))
    stitcher.add(WINDOW - OVERLAP, np.ones((WINDOW, 1), dtype=np.float32))
    curve = stitcher.result()[:, 0]
    assert (curve[: WINDOW - OVERLAP] == 0).all()
    assert (curve[WINDOW:] == 1).all()
    np.testing.assert_allclose(curve[WINDOW - OVERLAP : WINDOW], [0.25, 0.5, 0.75], atol=1e-6)


def test_no_audio_gives_no_windows():
    assert list(windows([])) == []
    assert window_count(0) == 0


def test_an_hour_is_cut_in_the_memory_of_a_few_windows():
    block = np.zeros((750, HOP_SAMPLES), dtype=np.float32)
    tracemalloc.start()
    try:
        count = sum(1 for _ in windows(block for _ in range(120)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == window_count(120 * block.size)
    assert peak < 4 * block.nbytes


def test_the_defaults_are_ten_seconds_with_two_shared():
    assert (WINDOW_FRAMES, OVERLAP_FRAMES) == (250, 50)


@pytest.mark.parametrize("frames", [1, 10, 11, 500])
def test_a_file_keeps_what_memory_would(tmp_path, frames):
    recording = rows(frames)
    with (tmp_path / "kept").open("w+b") as file:
        in_memory, on_disk = Stitcher(2, OVERLAP, np.float16), Stitcher(2, OVERLAP, np.float16, file)
        for first, window in cut(recording, [7]):
            in_memory.add(first, window)
            on_disk.add(first, window)
        np.testing.assert_array_equal(on_disk.result(), in_memory.result())
        assert on_disk.result().dtype == np.float16
    assert (tmp_path / "kept").stat().st_size == frames * 2 * 2
