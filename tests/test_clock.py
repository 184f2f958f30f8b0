from __future__ import annotations

import pytest

from peaframe import clock


def test_the_grid_is_that_of_pe_a_frame() -> None:
    assert (clock.SAMPLE_RATE, clock.HOP_SAMPLES, clock.FRAME_RATE, clock.FRAME_SECONDS) == (
        48000,
        1920,
        25,
        0.04,
    )


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 0), (1, 1), (1919, 1), (1920, 1), (1921, 2), (480_000, 250), (480_001, 251)]
)
def test_every_sample_lies_in_a_frame(samples: int, frames: int) -> None:
    assert clock.frame_count(samples) == frames


@pytest.mark.parametrize(
    ("frame", "seconds"), [(0, 0.0), (1, 0.04), (3, 0.12), (7, 0.28), (900_000, 36_000.0)]
)
def test_frames_begin_at_exactly_rounded_seconds(frame: int, seconds: float) -> None:
    assert clock.frame_start_seconds(frame) == seconds


@pytest.mark.parametrize(
    ("seconds", "frames"),
    [(0.0, 0), (0.019, 0), (0.02, 1), (0.04, 1), (0.06, 2), (0.1, 3), (0.36, 9), (1.0, 25), (0.1 + 0.2, 8)],
)
def test_lengths_round_to_the_nearest_frame_halves_up(seconds: float, frames: int) -> None:
    assert clock.frames_of_seconds(seconds) == frames


def test_every_frame_holds_the_moment_it_begins_however_that_was_computed() -> None:
    for frame in range(0, 900_000, 7):
        assert clock.frame_at(frame * 0.04) == frame
        assert clock.frame_at(frame / 25) == frame
    assert clock.frame_at(0.1 + 0.2 - 0.02) == 7  # 0.28000000000000003
    assert clock.frame_at(sum([0.04] * 100)) == 100


@pytest.mark.parametrize(("seconds", "frame"), [(0.0, 0), (0.0399, 0), (0.04, 1), (0.0799, 1), (9.999, 249)])
def test_a_moment_lies_in_the_frame_that_began_last(seconds: float, frame: int) -> None:
    assert clock.frame_at(seconds) == frame


def test_a_sample_before_an_edge_is_not_taken_for_the_edge() -> None:
    assert clock.frame_at(clock.seconds_of_samples(1920 * 90_000 - 1)) == 89_999


@pytest.mark.parametrize("samples", [0, 1, 2, 44_101, 48_000, 1_728_000_001])
def test_samples_survive_the_way_through_seconds(samples: int) -> None:
    assert clock.samples_of_seconds(clock.seconds_of_samples(samples)) == samples


def test_seconds_round_to_the_nearest_sample_halves_up() -> None:
    assert clock.samples_of_seconds(1.4 / 48_000) == 1
    assert clock.samples_of_seconds(1.5 / 48_000) == 2
