"""Boxes: events with one confidence each, cut out of scores where these change; the threshold moves no edge.

With a plain threshold, how long an event is hangs on how sure it must be. Change detection settles first from when
to when something is heard, then how sure that is: Ebbers, Germain, Wichern and Le Roux, "Sound Event Bounding
Boxes", Interspeech 2024 (arXiv 2406.04212), whose cSEBBs these are. Written from the paper's idea alone; what
follows is our own exact definition of it.

1. The step filter: at each frame edge, the mean of the scores in half a filter's length after it, less the mean in
   as much before it. Outside the recording the scores are 0.
2. Each stretch in which the filter is nowhere negative holds one onset, where it is highest, and each in which it is
   nowhere positive one offset, where it is lowest. Where several edges are equal, the one between the two most
   different frames counts, then the outermost. Onsets and offsets alternate: boxes, and gaps between them.
3. A gap is closed if its mean score is less than `merge_absolute` under the higher mean of its two neighbours, or if
   that is less than `merge_relative` times the gap's. All such gaps close at once, and so on until none is left.
4. A box's confidence is the mean of its scores.

A curve that is c everywhere is one box of confidence c; one that is 0 everywhere has none. A recording heard
backwards has the same boxes. To rank edges exactly, scores are rounded to 2 ** -24: what is less counts as 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peaframe import clock
from peaframe.errors import OptionError
from peaframe.scores import Scores

__all__ = ["BoxOptions", "boxed_curve", "boxed_scores", "find_boxes"]

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]

_LONGEST = 60  # seconds, as for the median filter
_ONE = 1 << 24  # a score of 1; what float32 holds between 1/2 and 1 exactly


@dataclass(frozen=True, slots=True)
class BoxOptions:
    """How scores are cut into boxes.

    Attributes:
        step: Length of the step filter in seconds, half of it on each side of an edge; each half is rounded to whole
            frames, at least one.
        merge_absolute: A gap is closed if its mean score lies less than this under its higher neighbour's; 0 closes
            none but those that are no lower.
        merge_relative: A gap is closed if the higher neighbour's mean score is less than this many times the gap's;
            1 closes none but those that are no lower.

    Raises:
        OptionError: A step that is not over 0 and at most a minute, `merge_absolute` outside [0, 1], or
            `merge_relative` under 1.
    """

    step: float = 0.48
    merge_absolute: float = 0.0
    merge_relative: float = 8.0

    def __post_init__(self) -> None:
        if not 0 < self.step <= _LONGEST:
            raise OptionError(f"step is {self.step}; give a length in seconds, over 0 and at most {_LONGEST}")
        if not 0 <= self.merge_absolute <= 1:
            raise OptionError(
                f"merge_absolute is {self.merge_absolute}; give a difference of scores from 0 to 1"
            )
        if not 1 <= self.merge_relative < math.inf:
            raise OptionError(f"merge_relative is {self.merge_relative}; give a ratio of scores, 1 or more")


def boxed_scores(scores: Scores, options: BoxOptions | Mapping[str, BoxOptions]) -> Scores:
    """The scores of the boxes alone: each frame holds its box's confidence, or 0 outside any box.

    Events of these scores at any threshold are the boxes with a greater confidence; so metrics over all
    thresholds, such as PSDS, judge boxes by them.

    Args:
        scores: Scores of shape (frames, labels).
        options: One set for all labels, or one for each label; a mapping may hold more labels than that.

    Raises:
        OptionError: The mapping lacks a label of the scores.
    """
    values = np.zeros_like(scores.values)
    for column, label in enumerate(scores.labels):
        if isinstance(options, BoxOptions):
            chosen = options
        elif label in options:
            chosen = options[label]
        else:
            raise OptionError(f"no box options for {label!r}; give one set for all labels, or one for each")
        values[:, column] = boxed_curve(scores.values[:, column], chosen)
    return Scores(values, scores.labels, scores.start, scores.duration, scores.meta)


def boxed_curve(curve: Floats, options: BoxOptions) -> Floats:
    """One label's curve, (frames,), with each frame at its box's confidence, or 0 outside any box."""
    onsets, stops, confidences = find_boxes(curve, options)
    boxed = np.zeros(len(curve), dtype=np.float32)
    boxed[np.repeat(onsets, stops - onsets) + _counts(stops - onsets)] = np.repeat(
        confidences, stops - onsets
    )
    return boxed


def find_boxes(curve: Floats, options: BoxOptions, starts: Ints | None = None) -> tuple[Ints, Ints, Floats]:
    """Cut one label's scores into boxes.

    Args:
        curve: Scores from 0 to 1, (frames,): of one recording, or of several end to end.
        options: How to cut.
        starts: Where each recording begins, (recordings,), in order; by default there is one. No box reaches from
            one recording into another.

    Returns:
        First frames, stops (exclusive) and confidences of the boxes, each (boxes,); boxes are in order, with at
        least one frame between any two of one recording.
    """
    firsts = np.zeros(1, dtype=np.intp) if starts is None else starts
    half = max(1, clock.frames_of_seconds(options.step / 2))
    recording = np.searchsorted(firsts, np.arange(len(curve)), side="right")
    place = np.arange(len(curve)) + 2 * half * recording  # with silence before, between and after recordings
    laid = np.zeros(len(curve) + 2 * half * (len(firsts) + 1), dtype=np.int64)
    laid[place] = np.rint(curve.astype(np.float64) * _ONE)
    onsets, stops = _edges(laid, half)
    owner = recording[np.searchsorted(place, onsets)]
    onsets, stops = _closed(laid, onsets, stops, owner, options)
    onsets, stops = np.searchsorted(place, onsets), np.searchsorted(place, stops - 1) + 1
    return onsets, stops, _means(curve, onsets, stops)


def _edges(laid: NDArray[np.int64], half: int) -> tuple[Ints, Ints]:
    """Onsets and offsets, which alternate, as edges: edge e is the beginning of place e."""
    sums = np.concatenate(([0], np.cumsum(laid)))
    rise = np.zeros(len(laid) + 1, dtype=np.int64)
    rise[half:-half] = sums[2 * half :] - 2 * sums[half:-half] + sums[: -2 * half]
    step = np.diff(laid, prepend=0, append=0)
    edges = np.flatnonzero(rise)
    if not len(edges):
        return edges, edges
    up = rise[edges] > 0
    # The rise in the upper bits (at most 750 frames x 2 ** 24), the step between two frames below it for ties.
    strength = np.where(up, 1, -1) * (rise[edges] * (4 * _ONE) + step[edges])
    begins = np.flatnonzero(np.diff(up, prepend=not up[0]))
    lengths = np.diff(begins, append=len(edges))
    strongest = np.flatnonzero(strength == np.repeat(np.maximum.reduceat(strength, begins), lengths))
    outer_onsets = strongest[np.searchsorted(strongest, begins[::2])]
    outer_stops = strongest[np.searchsorted(strongest, (begins + lengths)[1::2]) - 1]
    return edges[outer_onsets], edges[outer_stops]


def _closed(
    laid: NDArray[np.int64], onsets: Ints, stops: Ints, recording: Ints, options: BoxOptions
) -> tuple[Ints, Ints]:
    """The boxes after every gap that is hardly one was closed."""
    sums = np.concatenate(([0], np.cumsum(laid)))
    while len(onsets) > 1:
        inside = (sums[stops] - sums[onsets]) / (stops - onsets) / _ONE
        between = (sums[onsets[1:]] - sums[stops[:-1]]) / (onsets[1:] - stops[:-1]) / _ONE
        higher = np.maximum(inside[:-1], inside[1:])
        close = (higher - between < options.merge_absolute) | (higher < options.merge_relative * between)
        close &= recording[1:] == recording[:-1]
        if not close.any():
            break
        kept = np.append(True, ~close)
        onsets, stops, recording = onsets[kept], stops[np.append(~close, True)], recording[kept]
    return onsets, stops


def _means(curve: Floats, onsets: Ints, stops: Ints) -> Floats:
    """The mean of each span, never outside what it holds."""
    if not len(onsets):
        return np.zeros(0, dtype=np.float32)
    bounds = np.column_stack([onsets, stops]).ravel()
    padded = np.append(
        curve, np.float32(0)
    )  # a span may stop at the very end, and `reduceat` wants indices that exist
    means = np.add.reduceat(padded.astype(np.float64), bounds)[::2] / (stops - onsets)
    low, high = np.minimum.reduceat(padded, bounds)[::2], np.maximum.reduceat(padded, bounds)[::2]
    clipped: Floats = np.clip(means.astype(np.float32), low, high)
    return clipped


def _counts(lengths: Ints) -> Ints:
    """0, 1, 2 ... for each length, end to end."""
    counts: Ints = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return counts
