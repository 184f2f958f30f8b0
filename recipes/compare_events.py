"""What does each step from scores to events buy? Fitted on one half of a sound bank's valid clips, scored on the other.

    python -m peaframe.recipes.prepare_soundscapes --data SOUNDBANK --out runs/half0 --fold 0/2 --seed 7
    python -m peaframe.recipes.prepare_soundscapes --data SOUNDBANK --out runs/half1 --fold 1/2 --seed 7
    python -m peaframe.recipes.compare_events runs/half0 runs/half1 [--model FOLDER] [--out table.json]

Each way of making events is fitted on the first half and scored on the second, and the other way round; hits and false
alarms of both are counted together. Prints a Markdown table: event-based F1 (DCASE's collars), its difference to the
model's own event options on the same 1000 draws of recordings, and PSDS1_A of the filtered scores.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import peaframe
from peaframe.calibration import Calibration
from peaframe.errors import OptionError
from peaframe.eval import PSDS1, collar_counts, interval, paired, psds, resample
from peaframe.eval.benchmarks import find
from peaframe.eval.tuning import ENOUGH, TuningGrid, fit_calibration, tune_events
from peaframe.events import Event, EventOptions, events_from_scores, filtered_scores
from peaframe.models.checkpoint import write_text
from peaframe.recipes import program
from peaframe.scores import Scores

Options = EventOptions | Mapping[str, EventOptions]
PLAIN = TuningGrid(medians=(0.0,), lows=(1.0,), merge_gaps=(0.0,), min_durations=(0.0,), boxes=())
ALL = 1_000_000  # no label has so many events: all get the shared options
GRIDS = {
    "one for all: threshold, median, hysteresis, gaps, duration": dataclasses.replace(TuningGrid(), boxes=()),
    "one for all: change detection (cSEBB) too": TuningGrid(),
    "threshold by label": PLAIN,
    "+ median filter": dataclasses.replace(PLAIN, medians=TuningGrid().medians),
    "+ hysteresis, gaps, duration": dataclasses.replace(TuningGrid(), boxes=()),
    "+ change detection (cSEBB)": TuningGrid(),
}
OWN = "the model's own options"


@dataclass(frozen=True)
class Half:
    """Recordings heard: what is true, and what the model made of it."""

    truth: dict[str, list[Event]]
    scores: dict[str, Scores]


@dataclass(frozen=True)
class Way:
    """One way to make events: a calibration or none, and options."""

    options: Options
    calibration: Calibration | None = None

    def filtered(self, scores: Scores) -> tuple[list[Event], Scores]:
        """Events of a recording, and the scores behind them."""
        known = scores if self.calibration is None else self.calibration.apply(scores)
        return events_from_scores(known, self.options), filtered_scores(known, self.options)


def listen(detector: peaframe.Detector, folders: Sequence[Path]) -> list[Half]:
    """Hear the recordings of each folder with the labels of all as queries."""
    found = [find("folder").load(folder) for folder in folders]
    labels = sorted({event.label for part in found for own in part.truth.values() for event in own})
    halves = []
    for number, part in enumerate(found):
        bar = tqdm(part.audio.items(), desc=f"listen {number}", unit="recording", disable=None)
        scores = {f"{number} {name}": detector.score(path, labels) for name, path in bar}
        halves.append(Half({f"{number} {name}": own for name, own in part.truth.items()}, scores))
    return halves


def ways(half: Half, model: str, own: EventOptions) -> dict[str, Way]:
    """All ways to make events, fitted on one half."""
    labels = next(iter(half.scores.values())).labels
    made = {"threshold 0.5": Way(EventOptions()), OWN: Way(own)}
    for name, grid in GRIDS.items():
        fewest = ALL if name.startswith("one for all") else ENOUGH
        tuned = tune_events(half.scores, half.truth, labels=labels, grid=grid, enough=fewest, progress=True)
        made[name] = Way(tuned)
    for method in ("platt", "isotonic"):
        fitted = fit_calibration(
            half.scores, half.truth, model=model, method=method, labels=labels, progress=True
        )
        made[f"the same, {method}"] = Way(fitted.options(labels, own), fitted)
    return made


def compare(halves: Sequence[Half], fitted: Sequence[Mapping[str, Way]]) -> dict[str, Any]:
    """Score every way on the half it was not fitted on."""
    truth = {name: own for half in halves for name, own in half.truth.items()}
    weights = resample(truth, 1000)
    rows: dict[str, Any] = {}
    samples: dict[str, Any] = {}
    for name in tqdm(fitted[0], desc="score", unit="way", disable=None):
        found: dict[str, list[Event]] = {}
        behind: dict[str, Scores] = {}
        for half, other in zip(halves, reversed(fitted), strict=True):
            for recording, scores in half.scores.items():
                found[recording], behind[recording] = other[name].filtered(scores)
        counts = collar_counts(found, truth)
        area = psds(behind, truth, PSDS1, weights=weights[:200])
        value, samples[name] = counts.f_scores().macro["f_measure"], counts.macro_samples(weights)
        rows[name] = {
            "event_f1": dataclasses.asdict(interval(value, samples[name])),
            "psds1_a": dataclasses.asdict(interval(area.macro, area.macro_samples)),
        }
    base = rows[OWN]["event_f1"]["value"]
    for name, row in rows.items():
        gap = paired(row["event_f1"]["value"], base, samples[name], samples[OWN])
        row["gain"] = dataclasses.asdict(gap)
    return rows


def table(rows: Mapping[str, Any]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| from scores to events | event F1 | gain over the model's own | p | PSDS1_A |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        f1, gain, area = (
            f"{part['value']:{sign}.3f} [{part['low']:{sign}.3f}, {part['high']:{sign}.3f}]"
            for part, sign in ((row["event_f1"], ""), (row["gain"], "+"), (row["psds1_a"], ""))
        )
        lines.append(f"| {name} | {f1} | {gain} | {row['gain']['p_value']:.3f} | {area} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Listen, fit, score, print."""
    parser = program.parser(__doc__)
    parser.add_argument("halves", type=Path, nargs=2, help="two folders that prepare_soundscapes wrote")
    parser.add_argument("--model", default="peaframe-mini", help="name or checkpoint folder")
    parser.add_argument("--out", type=Path, help="write all numbers as JSON")
    args = parser.parse_args(arguments)
    if args.halves[0].resolve() == args.halves[1].resolve():
        raise OptionError(f"got {args.halves[0]} twice; expected two folders with different sounds")
    detector = peaframe.load(args.model)
    halves = listen(detector, args.halves)
    own = detector.model.event_options
    rows = compare(halves, [ways(half, detector.model.name, own) for half in halves])
    recordings = sum(len(half.truth) for half in halves)
    labels = len({event.label for half in halves for events in half.truth.values() for event in events})
    print(f"{detector.model.name}, {recordings} recordings, {labels} labels, numpy {np.__version__}\n")
    print(table(rows))
    if args.out is not None:
        write_text(args.out, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    program.run(main)
