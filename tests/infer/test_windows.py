"""Windows cover every sample, and stitching them leaves no seam."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peaframe.clock import HOP_SAMPLES, frame_count
from peaframe.infer.windows import OVERLAP_FRAMES, WINDOW_FRAMES, Stitcher, window_count, windows

WINDOW, OVERLAP = 10, 3


def cut(recording, sizes, window=WINDOW, overlap=OVERLAP):
    """The windows of a recording that arrives in blocks of these sizes, over and over."""

    def blocks():
        at, i = 0, 0
        while at < len(recording):
            yield recording[at : at + sizes[i % len(sizes)]]
            at, i = at + sizes[i % len(sizes)], i + 1

    return list(windows(blocks(), window, overlap))


lengths = st.one_of(
    st.integers(1, 40 * HOP_SAMPLES),
    st.builds(lambda frames, off: frames * HOP_SAMPLES + off, st.integers(1, 40), st.integers(-1, 1)),
)
block_sizes = st.lists(st.integers(1, 15 * HOP_SAMPLES), min_size=1, max_size=4)


@settings(deadline=None)
@given(lengths, block_sizes)
def test_windows_hold_every_sample_in_its_place(samples, sizes):
    recording = np.arange(samples, dtype=np.float32)
    cuts = cut(recording, [max(size, samples // 50 + 1) for size in sizes])
    seen = np.zeros(samples, dtype=bool)
    for first, clip in cuts:
        at = first * HOP_SAMPLES
        np.testing.assert_array_equal(clip, recording[at : at + len(clip)])
        seen[at : at + len(clip)] = True
    assert seen.all()
    assert len(cuts) == window_count(samples, WINDOW, OVERLAP)


@settings(deadline=None)
@given(lengths)
def test_windows_are_whole_and_share_the_overlap(samples):
    cuts = cut(np.zeros(samples, dtype=np.float32), [HOP_SAMPLES * 7 + 11])
    firsts = [first for first, _ in cuts]
    assert firsts == sorted(set(firsts))
    assert all(len(clip) == WINDOW * HOP_SAMPLES for _, clip in cuts[:-1])
    last = cuts[-1][1]
    assert len(last) <= WINDOW * HOP_SAMPLES
    assert len(last) > (WINDOW - 1) * HOP_SAMPLES or len(last) == samples
    for (earlier, clip), (later, _) in itertools.pairwise(cuts):
        assert earlier + frame_count(len(clip)) - later >= OVERLAP


@settings(deadline=None)
@given(lengths, block_sizes)
def test_block_sizes_do_not_matter(samples, sizes):
    recording = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    whole = cut(recording, [samples])
    parts = cut(recording, [max(size, samples // 50 + 1) for size in sizes])
    assert [first for first, _ in whole] == [first for first, _ in parts]
    for (_, one), (_, other) in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)


@settings(deadline=None)
@given(lengths)
def test_what_all_windows_agree_on_is_stitched_unchanged(samples):
    frames = frame_count(samples)
    truth = np.random.default_rng(samples).random((frames, 2), dtype=np.float32)
    stitcher = Stitcher(2, OVERLAP)
    for first, clip in cut(np.zeros(samples, dtype=np.float32), [samples]):
        stitcher.add(first, truth[first : first + frame_count(len(clip))])
    result = stitcher.result()
    assert result.shape == truth.shape
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, truth, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 9, 10, 11, 17, 18, 100])
def test_a_constant_stays_constant(frames):
    stitcher = Stitcher(1, OVERLAP)
    for first, clip in cut(np.zeros(frames * HOP_SAMPLES, dtype=np.float32), [HOP_SAMPLES]):
        stitcher.add(first, np.full((frame_count(len(clip)), 1), 0.7, dtype=np.float32))
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
    block = np.zeros(30 * 48_000, dtype=np.float32)
    tracemalloc.start()
    try:
        count = sum(1 for _ in windows(block for _ in range(120)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == window_count(120 * len(block))
    assert peak < 4 * block.nbytes


def test_the_defaults_are_ten_seconds_with_two_shared():
    assert (WINDOW_FRAMES, OVERLAP_FRAMES) == (250, 50)
