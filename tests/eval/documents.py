"""What the tests of somebody's output share: the golden tables, tables made up, numbers read out of documents."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peaframe.events import Event
from peaframe.scores import Scores

GOLDEN = Path(__file__).parent.parent / "golden"
TRUTH, DURATIONS = GOLDEN / "ground_truth.tsv", GOLDEN / "durations.tsv"
HEADER = "filename\tonset\toffset\tevent_label\n"


def values(document: Mapping[str, Any]) -> dict[str, float]:
    return {key: row["value"] for key, row in document["metrics"].items()}


def per_label(document: Mapping[str, Any], column: str) -> dict[str, float]:
    return {label: row[column] for label, row in document["per_label"].items()}


def close(expected: Any) -> Any:
    return pytest.approx(expected, abs=1e-9)


def written(path: Path, *lines: str, end: str = "\n") -> Path:
    """A table; blanks in a line part its cells."""
    path.write_bytes("".join("\t".join(line.split(" ")) + end for line in lines).encode("utf-8"))
    return path


def at_least(scores: Scores, threshold: float) -> list[Event]:
    """Events of psds_eval's golden run, where a score that is the threshold is enough."""
    events = []
    for label in scores.labels:
        active = np.concatenate(([False], scores[label].astype(np.float64) >= threshold, [False]))
        ends = np.flatnonzero(active[1:] != active[:-1]).tolist()
        events += [Event(a / 25, b / 25, label) for a, b in zip(ends[::2], ends[1::2], strict=True)]
    return events
