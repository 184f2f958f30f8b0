"""Events from the golden scores, against what `sed_scores_eval` makes of the same scores."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from peaframe.events import Event, EventOptions, activity, events_from_scores
from peaframe.scores import Scores

FOLDER = Path(__file__).parent
CLIP_SECONDS = 10


def golden_scores() -> dict[str, Scores]:
    with np.load(FOLDER / "scores.npz") as stored:
        classes = tuple(stored["classes"].tolist())
        return {
            f"{name}.wav": Scores(values, classes)
            for name, values in zip(stored["files"].tolist(), stored["scores"], strict=True)
        }


def events_of(table: str) -> dict[str, list[Event]]:
    events: dict[str, list[Event]] = defaultdict(list)
    for line in (FOLDER / table).read_text().splitlines()[1:]:
        name, onset, offset, label = line.split("\t")
        events[name].append(Event(float(onset), float(offset), label))
    return events


def segments(events: list[Event], labels: tuple[str, ...]) -> np.ndarray:
    """Whether any part of an event falls into each whole second: booleans of shape (seconds, labels)."""
    active = np.zeros((CLIP_SECONDS, len(labels)), dtype=bool)
    for event in events:
        active[int(event.onset) : int(np.ceil(event.offset)), labels.index(event.label)] = True
    return active


def test_the_clips_are_as_long_as_said() -> None:
    durations = dict(line.split("\t") for line in (FOLDER / "durations.tsv").read_text().splitlines()[1:])
    assert {name: scores.end for name, scores in golden_scores().items()} == {
        name: float(duration) for name, duration in durations.items()
    }


def test_ten_frames_equal_the_threshold_and_are_not_active() -> None:
    not_strict = events_of("detections_th0.5.tsv")
    ties = 0
    for name, scores in golden_scores().items():
        strict = activity(events_from_scores(scores), scores.labels, scores.frames)
        loose = activity(not_strict[name], scores.labels, scores.frames)
        assert np.array_equal(loose & ~strict, scores.values == 0.5)
        assert not (strict & ~loose).any()
        ties += int((loose & ~strict).sum())
    assert ties == 10


def test_a_hair_under_the_threshold_gives_the_detections_of_the_table() -> None:
    expected = events_of("detections_th0.5.tsv")
    for name, scores in golden_scores().items():
        events = events_from_scores(scores, EventOptions(0.4999))
        assert [(e.onset, e.offset, e.label) for e in events] == [
            (e.onset, e.offset, e.label) for e in sorted(expected[name])
        ]


def test_segment_scores_equal_those_of_sed_scores_eval() -> None:
    golden = json.loads((FOLDER / "golden_sed_scores_eval.json").read_text())["segment_f_th0.5_1s"]
    truth = events_of("ground_truth.tsv")
    all_scores = golden_scores()
    labels = next(iter(all_scores.values())).labels
    found = np.stack([segments(events_from_scores(scores), labels) for scores in all_scores.values()])
    true = np.stack([segments(truth[name], labels) for name in all_scores])
    hits = (found & true).sum(axis=(0, 1))
    precision, recall = hits / found.sum(axis=(0, 1)), hits / true.sum(axis=(0, 1))
    f_scores = 2 * precision * recall / (precision + recall)
    assert dict(zip(labels, f_scores.tolist(), strict=True)) == pytest.approx(
        {label: golden["f"][label] for label in labels}, abs=1e-12
    )
    assert f_scores.mean() == pytest.approx(0.8928032644724645, abs=1e-12)
