"""Scores and ground truth of the same recordings, checked against each other and put in one order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import OptionError
from peaframe.events import Event, merge_events
from peaframe.scores import Scores

__all__ = ["Corpus", "Spans", "align"]

Spans = NDArray[np.float64]
"""Ground truth of one label in one recording: (events, 2) onsets and offsets in seconds, sorted, disjoint."""


@dataclass(frozen=True)
class Corpus:
    """What is scored: recordings in the order of their names, labels, and disjoint ground truth.

    Attributes:
        files: Recording names, sorted, so that no result hangs on the order they came in.
        scores: Each recording's scores, in that order.
        labels: The labels to score, sorted.
        truth: For each recording, its labels' events.
        merged: How many true events vanished into another of their label that they overlap or touch.
    """

    files: tuple[str, ...]
    scores: tuple[Scores, ...]
    labels: tuple[str, ...]
    truth: tuple[dict[str, Spans], ...]
    merged: int

    @cached_property
    def files_with(self) -> dict[str, list[int]]:
        """For each label that has ground truth, the positions of its recordings."""
        places: dict[str, list[int]] = {}
        for file, spans in enumerate(self.truth):
            for label in spans:
                places.setdefault(label, []).append(file)
        return {label: places[label] for label in self.labels if label in places}

    @property
    def without_truth(self) -> tuple[str, ...]:
        """The labels that never happen, which recall-like metrics cannot score."""
        return tuple(label for label in self.labels if label not in self.files_with)


def align(
    scores: Mapping[str, Scores],
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
    wanted = _labels(files, scores, truth, labels)
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
        files, tuple(scores[file] for file in files), tuple(sorted(wanted)), tuple(spans), given - kept
    )


def _check_files(files: tuple[str, ...], truth: Mapping[str, Sequence[Event]]) -> None:
    missing = sorted(set(truth).difference(files))
    if missing:
        raise OptionError(
            f"ground truth names {len(missing)} of {len(truth)} recordings that have no scores, first "
            f"{missing[0]!r}; score them too, or leave them out of the ground truth"
        )


def _labels(
    files: tuple[str, ...],
    scores: Mapping[str, Scores],
    truth: Mapping[str, Sequence[Event]],
    labels: Sequence[str] | None,
) -> frozenset[str]:
    wanted = frozenset(scores[files[0]].labels if labels is None else labels)
    if not wanted:
        raise OptionError("got no labels to evaluate; expected one or more")
    for file in files:
        got = frozenset(scores[file].labels)
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
