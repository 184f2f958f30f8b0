"""Scores and ground truth of the same recordings, checked against each other and put in one order."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import OptionError
from peaframe.events import Event, merge_events

__all__ = ["Corpus", "FrameScores", "ScoresByLabel", "Spans", "align"]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Spans = NDArray[np.float64]
"""Ground truth of one label in one recording: (events, 2) onsets and offsets in seconds, sorted, disjoint."""


class FrameScores(Protocol):
    """Scores of one recording, frame by frame: `peaframe.Scores`, or a `ScoreTable` on any other grid."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What is scored."""

    @property
    def frames(self) -> int:
        """How many frames there are."""

    @property
    def edges(self) -> Floats:
        """Where frames begin and end, in seconds: (frames + 1,)."""

    def __getitem__(self, label: str) -> NDArray[np.float32]:
        """Scores of one label, (frames,)."""


@runtime_checkable
class ScoresByLabel(Protocol):
    """A mapping from recordings to scores that holds too many to be asked for each; names rise."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What is scored in every recording."""

    def edges(self, name: str) -> Floats:
        """Frame edges of a recording in seconds, (frames + 1,)."""

    def column(self, label: str) -> NDArray[np.float32]:
        """One label's scores in all recordings."""


@dataclass(frozen=True)
class Corpus:
    """What is scored: recordings in the order of their names, labels, and disjoint ground truth.

    Attributes:
        files: Recording names, sorted, so that no result hangs on the order they came in.
        labels: The labels to score, sorted.
        truth: For each recording, its labels' events.
        merged: How many true events vanished into another of their label that they overlap or touch.
        frames: (recordings,) how many frames each recording has.
        edges: (frames + recordings,) frame edges in seconds, recording after recording.
        column: Reads one label's scores in all recordings.
    """

    files: tuple[str, ...]
    labels: tuple[str, ...]
    truth: tuple[dict[str, Spans], ...]
    merged: int
    frames: Ints
    edges: Floats
    column: Callable[[str], NDArray[np.float32]]

    @cached_property
    def first(self) -> Ints:
        """(recordings + 1,) where each recording's edges begin in `edges`, and where the last one's end."""
        return np.concatenate(([0], np.cumsum(self.frames + 1))).astype(np.intp)

    def edges_of(self, file: int) -> Floats:
        """Frame edges of one recording in seconds, (frames + 1,)."""
        return self.edges[self.first[file] : self.first[file + 1]]

    @cached_property
    def files_with(self) -> dict[str, list[int]]:
        """For each label that has ground truth, the positions of its recordings."""
        places: dict[str, list[int]] = {}
        for file, spans in enumerate(self.truth):
            for label in spans:
                places.setdefault(label, []).append(file)
        return {label: places[label] for label in self.labels if label in places}

    def check_files(self, durations: Mapping[str, float]) -> None:
        """Raise OptionError unless durations are those of its recordings."""
        odd = sorted(set(self.files) ^ set(durations))
        if odd:
            has, lacks = ("scores", "duration") if odd[0] in self.files else ("a duration", "scores")
            raise OptionError(
                f"{odd[0]!r} has {has} and no {lacks}, like {len(odd) - 1} more recordings in one only; "
                "give both for the same recordings"
            )

    @property
    def without_truth(self) -> tuple[str, ...]:
        """The labels that never happen, which recall-like metrics cannot score."""
        return tuple(label for label in self.labels if label not in self.files_with)


def align(
    scores: Mapping[str, FrameScores],
    truth: Mapping[str, Sequence[Event]],
    labels: Sequence[str] | None = None,
) -> Corpus:
    """Bring scores and ground truth together.

    Args:
        scores: Scores by recording. A recording that `truth` does not name has no events.
        truth: True events by recording; those of one label may overlap and are then merged.
        labels: Score these labels only, and leave out ground truth of others; by default all labels of the
            scores, and ground truth of any other label is an error.

    Raises:
        OptionError: No recordings; ground truth for a recording without scores; labels that do not match; or
            no ground truth for any label.
    """
    if not scores:
        raise OptionError("got scores of no recordings; expected one or more to evaluate")
    files = tuple(sorted(scores))
    _check_files(files, truth)
    if isinstance(scores, ScoresByLabel):
        have = [frozenset(scores.labels)] * len(files)
        edges, column = [scores.edges(file) for file in files], scores.column
    else:
        items = [scores[file] for file in files]
        have = [frozenset(item.labels) for item in items]
        edges, column = [item.edges for item in items], functools.partial(_gathered, items)
    wanted = _labels(files, have, truth, labels)
    given, kept, spans = 0, 0, []
    for file in files:
        events = [event for event in truth.get(file, ()) if event.label in wanted]
        merged = merge_events(events)
        given, kept = given + len(events), kept + len(merged)
        spans.append(_by_label(merged))
    if not kept:
        raise OptionError(
            f"none of the {len(wanted)} labels has an event in the ground truth of {len(files)} recordings; "
            "expected at least one to score"
        )
    return Corpus(
        files,
        tuple(sorted(wanted)),
        tuple(spans),
        given - kept,
        np.array([len(own) - 1 for own in edges], dtype=np.intp),
        np.concatenate(edges),
        column,
    )


def _gathered(items: Sequence[FrameScores], label: str) -> NDArray[np.float32]:
    return np.concatenate([item[label] for item in items])


def _check_files(files: tuple[str, ...], truth: Mapping[str, Sequence[Event]]) -> None:
    missing = sorted(set(truth).difference(files))
    if missing:
        raise OptionError(
            f"ground truth names {len(missing)} of {len(truth)} recordings that have no scores, first "
            f"{missing[0]!r}; score them too, or leave them out of the ground truth"
        )


def _labels(
    files: tuple[str, ...],
    have: Sequence[frozenset[str]],
    truth: Mapping[str, Sequence[Event]],
    labels: Sequence[str] | None,
) -> frozenset[str]:
    wanted = have[0] if labels is None else frozenset(labels)
    if not wanted:
        raise OptionError("got no labels to evaluate; expected one or more")
    for file, got in zip(files, have, strict=True):
        odd = wanted - got if labels is not None else wanted ^ got
        if odd:
            whose = "does not have" if min(odd) in wanted else "has, unlike others,"
            raise OptionError(
                f"{file!r} {whose} scores for {min(odd)!r}; give every recording the same labels, "
                "or name the ones to evaluate"
            )
    if labels is None:
        heard = {event.label for events in truth.values() for event in events}
        if heard - wanted:
            raise OptionError(
                f"ground truth has {len(heard - wanted)} labels without scores, first "
                f"{min(heard - wanted)!r}; score them too, or name the labels to evaluate"
            )
    return wanted


def _by_label(events: Sequence[Event]) -> dict[str, Spans]:
    spans: dict[str, list[tuple[float, float]]] = {}
    for event in sorted(events):
        spans.setdefault(event.label, []).append((event.onset, event.offset))
    return {label: np.array(spans[label], dtype=np.float64) for label in sorted(spans)}
