"""Measure peaframe-mini on a sound bank's valid split: real clips alone, and 300 seeded soundscapes mixed from them.

    python -m peaframe.recipes.evaluate_mini --data SOUNDBANK [--model FOLDER] [--out metrics.json] [--tune]

Prints a table; --out writes everything, per label, as JSON. --tune first finds the event options (threshold, median
filter, gap) with the best macro event-based F1 on the soundscapes and writes them to FOLDER/events.json. Paraphrases
are the `held_out` phrases of the prompts file, which training never saw.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import peaframe
from peaframe.errors import OptionError
from peaframe.eval.bank import SCENES, measure, report, tune
from peaframe.models.checkpoint import write_text
from peaframe.recipes import program
from peaframe.recipes.mini import PROMPTS


def table(results: Mapping[str, Any]) -> str:
    """The headline numbers as a Markdown table."""
    lines = [
        "| queries | clips top-1 | top-1 or same | top-5 | frame AUROC, clips | frame AUROC, soundscapes "
        "| PSDS1 | PSDS1_A | event F1 macro | micro | false alarms/h/query |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, alone in results["alone"].items():
        mixed, alarms = results["soundscapes"][name], results["false_alarms"][name]
        values = [alone[key] for key in ("top1", "top1_or_same", "top5", "frame_auroc")]
        values += [
            mixed[key] for key in ("frame_auroc", "psds1", "psds1_a", "event_f1_macro", "event_f1_micro")
        ]
        row = " | ".join(f"{value:.3f}" for value in values)
        lines.append(f"| {name} | {row} | {alarms['per_hour_and_query']:.2f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = program.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="sound bank folder")
    parser.add_argument("--model", default="peaframe-mini", help="name or checkpoint folder")
    parser.add_argument("--prompts", type=Path, default=PROMPTS, help="paraphrases of the labels")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="where decoded audio is kept")
    parser.add_argument("--scenes", type=int, default=SCENES, help="number of soundscapes")
    parser.add_argument("--tune", action="store_true", help="find event options, write FOLDER/events.json")
    parser.add_argument("--out", type=Path, help="write all results as JSON")
    args = parser.parse_args(arguments)
    if args.tune and not Path(args.model).is_dir():
        raise OptionError(f"got --tune with --model {args.model!r}; expected a checkpoint folder to write to")
    detector = peaframe.load(args.model)
    measured = measure(detector, args.data, args.prompts, args.cache, args.scenes)
    options = detector.model.event_options
    if args.tune:
        options = tune(measured.mixed)
        write_text(Path(args.model) / "events.json", json.dumps(dataclasses.asdict(options), indent=2) + "\n")
    results = report(measured, options)
    print(
        f"model {detector.model.name}, {results['clips']} clips, {results['scenes']} soundscapes, {options}\n"
    )
    print(table(results))
    if args.out is not None:
        write_text(args.out, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    program.run(main)
