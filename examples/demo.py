"""Detect the events of the demo recording with the built-in model, beside the truth: `make demo`.

Prints a table and writes `demo_out/demo.csv` (the events) and `demo_out/demo.png` (the plot) to the working
directory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import peaframe
from peaframe import Event, formats
from peaframe.infer.plot import save_plot

HERE = Path(__file__).parent
RECORDING = HERE / "demo.flac"
OUT = Path("demo_out")
ROW = "{:<18} {:>8} {:>8}   {:>8} {:>8}  {:>5}"


def overlap(one: Event, other: Event) -> float:
    """Seconds that two events of one label share; 0 for different labels."""
    return (
        max(0.0, min(one.offset, other.offset) - max(one.onset, other.onset))
        if one.label == other.label
        else 0.0
    )


def row(label: str, truth: Event | None, found: Event | None) -> str:
    """One line of the table; None leaves its half blank."""
    cells = [f"{truth.onset:.2f}", f"{truth.offset:.2f}"] if truth is not None else ["-", "-"]
    if found is None:
        return ROW.format(label, *cells, "missed", "", "").rstrip()
    score = "" if found.score is None else f"{found.score:.2f}"
    return ROW.format(label, *cells, f"{found.onset:.2f}", f"{found.offset:.2f}", score)


def compare(truth: Sequence[Event], found: Sequence[Event]) -> list[str]:
    """The table: true events beside the detections that share most of them, false alarms, and the sum."""
    lines = [
        ROW.format("", "truth", "", "detected", "", ""),
        ROW.format("event", "from", "to", "from", "to", "score"),
    ]
    heard = 0
    for event in truth:
        best = max(found, key=lambda other: overlap(event, other), default=None)
        hit = best if best is not None and overlap(event, best) > 0 else None
        heard += hit is not None
        lines.append(row(event.label, event, hit))
    alarms = [event for event in found if not any(overlap(event, other) > 0 for other in truth)]
    lines += [row(event.label, None, event) for event in alarms]
    lines.append(f"\n{heard} of {len(truth)} events detected, false alarms: {len(alarms)}")
    return lines


def main() -> None:
    """Detect, print, and write."""
    truth = formats.load(HERE / "demo.tsv")[RECORDING.name]
    queries = sorted({event.label for event in truth})
    detection = peaframe.load().detect(RECORDING, queries)
    print("\n".join(compare(truth, detection.events)))
    OUT.mkdir(exist_ok=True)
    detection.save(OUT / "demo.csv")
    save_plot(detection, RECORDING, OUT / "demo.png")
    print(f"{OUT / 'demo.csv'}: the events; {OUT / 'demo.png'}: the plot")


if __name__ == "__main__":
    main()
