"""All recordings of a corpus end to end, so that one label's detections in them are found and counted at once.

It gives what `events_from_scores` and event-based scores of each recording would, many times as fast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from peaframe import clock, spans
from peaframe.boxes import BoxOptions, find_boxes
from peaframe.eval.corpus import Corpus
from peaframe.eval.matching import candidates, matched

__all__ = ["COLLAR", "SHARE", "Laid"]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

COLLAR, SHARE = 0.2, 0.2  # seconds, and of the event's length: DCASE task 4
_APART = 10.0  # seconds between recordings on one time axis: far over any collar


class Laid:
    """A corpus's recordings end to end, with one frame of silence behind each.

    So frame f of recording r has the place f + r, and edge p of `corpus.edges` is where place p begins.
    """

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self.starts = corpus.first[:-1] - np.arange(len(corpus.files))
        self._recording = np.repeat(np.arange(len(corpus.files)), corpus.frames + 1)
        self._place = np.delete(np.arange(len(corpus.edges)), corpus.first[1:] - 1)
        ends = np.array([corpus.edges_of(file)[-1] for file in range(len(corpus.files))])
        self._shift = np.concatenate(([0.0], np.cumsum(ends + _APART)))[:-1]
        self._known: dict[str, tuple[Floats, Floats]] = {}
        self._mirrors: dict[int, tuple[Ints, Ints]] = {}

    def smooth(self, values: NDArray[np.float32], median: float) -> NDArray[np.float32]:
        """The median-filtered curves of all recordings, laid; as `events_from_scores` filters each."""
        frames = clock.frames_of_seconds(median)
        half = frames // 2
        laid = np.zeros(len(self._corpus.edges), dtype=np.float32)
        if half == 0:
            laid[self._place] = values
            return laid
        if half not in self._mirrors:
            self._mirrors[half] = self._mirrored(half)
        mirrored, kept = self._mirrors[half]
        laid[self._place] = spans.median_filter(values[mirrored], 2 * half + 1)[kept]
        return laid

    def _mirrored(self, half: int) -> tuple[Ints, Ints]:
        """Frames of all recordings, each with `half` mirrored ones at both ends; and which of them are its own."""
        order, kept, length = [np.zeros(0, dtype=np.intp)], [np.zeros(0, dtype=np.intp)], 0
        for start, frames in zip(self.starts.tolist(), self._corpus.frames.tolist(), strict=True):
            if frames:
                order.append(start + np.pad(np.arange(frames), half, mode="symmetric"))
                kept.append(length + half + np.arange(frames))
                length += frames + 2 * half
        return np.concatenate(order), np.concatenate(kept)

    def merged(self, onsets: Ints, stops: Ints, gap: float) -> tuple[Ints, Ints]:
        """Spans with gaps of at most `gap` seconds closed, inside recordings."""
        if len(onsets) < 2:
            return onsets, stops
        apart = onsets[1:] - stops[:-1] > clock.frames_of_seconds(gap)
        apart |= self._recording[onsets[1:]] != self._recording[onsets[:-1]]
        return onsets[np.append(True, apart)], stops[np.append(apart, True)]

    def boxes(
        self, values: NDArray[np.float32], options: BoxOptions
    ) -> tuple[Ints, Ints, NDArray[np.float32]]:
        """Boxes of all recordings, as places, and their confidences."""
        onsets, stops, confidences = find_boxes(values, options, self.starts)
        return self._place[onsets], self._place[stops - 1] + 1, confidences

    def true(self, label: str) -> tuple[Floats, Floats]:
        """True events of a label, (events, 2): their times, and the times when recordings follow each other."""
        if label not in self._known:
            files = self._corpus.files_with.get(label, [])
            times = [self._corpus.truth[file][label] for file in files]
            laid = [own + self._shift[file] for own, file in zip(times, files, strict=True)]
            empty = np.zeros((0, 2))
            self._known[label] = np.concatenate([empty, *times]), np.concatenate([empty, *laid])
        return self._known[label]

    def hits(self, label: str, onsets: Ints, stops: Ints) -> int:
        """How many true events are found by detections, given as places."""
        true, true_laid = self.true(label)
        found = self._corpus.edges[np.column_stack([onsets, stops])]
        found_laid = found + self._shift[self._recording[onsets]][:, None]
        event, detection = candidates(true_laid, found_laid, COLLAR + 1e-6, 0.0, onset=True, offset=False)
        # Decided on the times themselves, which the shift may have rounded.
        off = np.abs(true[event] - found[detection])
        slack = np.maximum(COLLAR, SHARE * (true[event, 1] - true[event, 0]))
        fits = (off[:, 0] <= COLLAR) & (off[:, 1] <= slack)
        return matched(event[fits], detection[fits])
