import csv
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import peaframe
from peaframe.eval.benchmarks import find
from peaframe.eval.run import run_benchmark
from peaframe.events import Event
from peaframe.scores import Scores

FOLDER = Path(__file__).parent.parent / "golden"
clips = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "clips.py")))
corpora = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "corpora.py")))


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


@pytest.fixture(scope="module")
def detector(one_thread: None) -> peaframe.Detector:
    """The built-in model."""
    return peaframe.load(device="cpu")


@pytest.fixture(scope="session")
def pe_av(tokenizer_content: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a PE-AV of random weights; read it only."""
    folder: Path = clips.tiny_pe_av(tmp_path_factory.mktemp("pe_av"), tokenizer_content)
    return folder


@pytest.fixture(scope="module")
def run(detector: peaframe.Detector) -> Callable[..., dict[str, Any]]:
    """Run a benchmark by its name with the built-in model, without resampling."""

    def run(name: str, data: Path, output: Path, **options: Any) -> dict[str, Any]:
        return run_benchmark(find(name), data, detector, output, **{"resamples": 0, **options})

    return run


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Four recordings of a second or two of one's own."""
    data = tmp_path / "mine"
    rows = ("one.wav | 0.2 | 0.8 | beep", "two.wav | 0.5 | 1.0 | rain", "-three.flac |  |  | ")
    corpora.text(
        data / "ground_truth.tsv", *corpora.tabs(corpora.DCASE, *rows, "deep/two.wav | 0 | 1 | rain")
    )
    corpora.sound(data / "one.wav", 1.0)
    corpora.sound(data / "two.wav", 1.5)
    corpora.sound(data / "-three.flac", 1.02)
    corpora.sound(data / "deep/two.wav", 2.0)
    return data


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
