"""`peaframe calibrate`: fit probabilities and event settings to recordings of your own whose events are known."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from peaframe.calibration import Calibration
from peaframe.cli.options import add_model_arguments, check_inputs
from peaframe.cli.output import check_destinations, print_text, table
from peaframe.errors import FormatError
from peaframe.events import Event, EventOptions, events_from_scores
from peaframe.scores import Scores

if TYPE_CHECKING:
    from peaframe.infer.detector import Detector

HELP = "fit scores and event settings to recordings whose events are known"
EXAMPLES = """\
examples:
  peaframe calibrate --data recordings --truth truth.tsv --output mine.json
  peaframe calibrate --data recordings --truth truth.tsv --output mine.json --method isotonic --model pe-a-frame-small
  peaframe detect street.wav "dog barking" --calibration mine.json

The truth is a table `filename onset offset event_label`, tab-separated; its labels are the queries, and its file names
are looked up in the folder (in its audio/ too, and below), as `peaframe eval run folder` does. A table of what was
fitted for each query goes to standard output, a summary to standard error. What it says was gained is measured on the
same recordings, so expect less on others.
"""

Truth = dict[str, list[Event]]
Options = EventOptions | Mapping[str, EventOptions]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `peaframe calibrate` takes."""
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="where the recordings are")
    parser.add_argument(
        "--truth", type=Path, required=True, metavar="FILE.tsv", help="which events they really hold"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE.json", help="where to put the calibration"
    )
    parser.add_argument(
        "--method",
        choices=("platt", "isotonic"),
        default="platt",
        help="the curve from score to probability: logistic, or any that rises; default: platt",
    )
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Listen, fit, write, and say what it brought."""
    check_inputs({"truth": args.truth}, output=args.output)
    check_destinations(str(args.data), output=args.output)
    files, truth = _named(args.truth, args.data)
    queries = sorted({event.label for events in truth.values() for event in events})
    from peaframe.infer.detector import load

    detector = load(args.model, args.device, args.precision)
    began = time.perf_counter()
    scores = _listen(detector, files, queries)
    from peaframe.eval.tuning import ENOUGH, fit_calibration

    fitted = fit_calibration(
        scores, truth, model=detector.model.name, method=args.method, enough=ENOUGH, progress=True
    )
    fitted = dataclasses.replace(fitted, fingerprint=detector.model.fingerprint())
    seconds = time.perf_counter() - began
    fitted.save(args.output)
    calibrated = {name: fitted.apply(own) for name, own in scores.items()}
    before = _f1(scores, truth, detector.model.event_options)
    after = _f1(calibrated, truth, fitted.options(queries, detector.model.event_options))
    print_text(_table(fitted, before, after))
    print(_summary(args, detector, fitted, seconds), file=sys.stderr)
    print(_gain(scores, calibrated, truth, before, after), file=sys.stderr)
    if few := [query for query, fit in fitted.queries.items() if fit.true_events < ENOUGH]:
        print(
            f"fewer than {ENOUGH} events, so fitted together with all others: {', '.join(map(repr, few))}",
            file=sys.stderr,
        )


def _named(table: Path, folder: Path) -> tuple[dict[str, Path], Truth]:
    """Each recording's file and its events; refuses what is missing before the model is waited for."""
    from peaframe.eval.benchmarks.folder import recordings_of

    if not folder.is_dir():
        raise FormatError(f"{folder}: no such folder; give the one that holds the recordings")
    named = recordings_of(folder, table)
    truth = {
        name: [Event(event.onset, event.offset, event.label.strip()) for event in events]
        for name, events in named.truth.items()
    }
    if named.missing:
        raise FormatError(
            f"{table}: names {len(named.missing)} of {len(named.missing) + len(truth)} recordings that are not in "
            f"{folder}, or cannot be read, first {named.missing[0]!r}; put them there, or leave them out of the table"
        )
    if not any(truth.values()):
        raise FormatError(f"{table}: holds no event; expected some for each query to be calibrated")
    for note in named.notes:
        print(f"{table}: {note}", file=sys.stderr)
    return dict(named.audio), truth


def _listen(detector: Detector, files: Mapping[str, Path], queries: list[str]) -> dict[str, Scores]:
    from tqdm import tqdm

    bar = tqdm(files.items(), desc="listen", unit="recording", disable=None)
    return {name: detector.score(path, queries) for name, path in bar}


def _f1(scores: Mapping[str, Scores], truth: Truth, options: Options) -> dict[str, float]:
    """Event-based F1 of each query, with the collars of DCASE task 4."""
    from peaframe.eval import collar_counts

    found = {name: events_from_scores(own, options) for name, own in scores.items()}
    return {
        label: own["f_measure"] for label, own in collar_counts(found, truth).f_scores().per_label.items()
    }


def _table(fitted: Calibration, before: Mapping[str, float], after: Mapping[str, float]) -> str:
    header = ("query", "events", "active", "threshold", "F1 before", "F1 after")
    rows = [
        (
            query,
            f"{fit.true_events}",
            f"{100 * fit.prior:.2g} %",
            f"{fit.events.threshold:g}",
            f"{before[query]:.3f}",
            f"{after[query]:.3f}",
        )
        for query, fit in fitted.queries.items()
    ]
    return table(header, rows, right=header[1:])


def _summary(args: argparse.Namespace, detector: Detector, fitted: Calibration, seconds: float) -> str:
    count = len(fitted.queries)
    return (
        f"{detector.model.name} on {detector.device}: {args.method} curves and event settings for {count} "
        f"quer{'y' if count == 1 else 'ies'} in {args.output}, after {seconds:.1f} s"
    )


def _gain(
    scores: Mapping[str, Scores],
    calibrated: Mapping[str, Scores],
    truth: Truth,
    before: Mapping[str, float],
    after: Mapping[str, float],
) -> str:
    from peaframe.eval.tuning import cross_entropy

    mean = [sum(f1.values()) / len(f1) for f1 in (before, after)]
    return (
        f"on the {len(scores)} recordings it was fitted on: frame cross-entropy {cross_entropy(scores, truth):.4f} -> "
        f"{cross_entropy(calibrated, truth):.4f}, mean event F1 {mean[0]:.3f} -> {mean[1]:.3f}; expect less on others"
    )
