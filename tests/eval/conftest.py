import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peaframe.events import Event
from peaframe.scores import Scores

FOLDER = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="session")
def golden_scores() -> dict[str, Scores]:
    """60 clips of 10 s, 6 labels, scores of 3 decimals: full of ties."""
    with np.load(FOLDER / "scores.npz") as stored:
        labels = tuple(stored["classes"].tolist())
        files = [f"{name}.wav" for name in stored["files"].tolist()]
        return {file: Scores(values, labels) for file, values in zip(files, stored["scores"], strict=True)}


@pytest.fixture(scope="session")
def golden_durations() -> dict[str, float]:
    return {row["filename"]: float(row["duration"]) for row in _rows("durations.tsv")}


@pytest.fixture(scope="session")
def golden_truth() -> dict[str, list[Event]]:
    return _events("ground_truth.tsv")


@pytest.fixture(scope="session")
def golden_detections() -> dict[str, list[Event]]:
    return _events("detections_th0.5.tsv")


@pytest.fixture(scope="session")
def sed_scores_eval_numbers() -> dict[str, Any]:
    return _numbers("golden_sed_scores_eval.json")


@pytest.fixture(scope="session")
def sed_eval_numbers() -> dict[str, Any]:
    return _numbers("golden_sed_eval.json")


@pytest.fixture(scope="session")
def psds_eval_numbers() -> dict[str, Any]:
    return _numbers("golden_psds_eval.json")


def _rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _events(name: str) -> dict[str, list[Event]]:
    events: dict[str, list[Event]] = {}
    for row in _rows(name):
        event = Event(float(row["onset"]), float(row["offset"]), row["event_label"])
        events.setdefault(row["filename"], []).append(event)
    return events


def _numbers(name: str) -> dict[str, Any]:
    numbers: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return numbers
