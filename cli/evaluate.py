"""`peaframe eval`: how good is it, on a benchmark, on score tables or on lists of events of any system?"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from peaframe.cli.options import add_model_arguments
from peaframe.cli.output import print_text, table
from peaframe.errors import FormatError, OptionError

MANY = 20  # labels
HELP = "measure how good detections are: run a benchmark, or score any system's output"
EXAMPLES = """\
examples:
  peaframe eval run desed-validation --data DESED --model pe-a-frame-base --output runs/desed
  peaframe eval run folder --data my_recordings --output runs/mine
  peaframe eval scores scores/ ground_truth.tsv durations.tsv --report runs/theirs
  peaframe eval events ground_truth.tsv detections.tsv --durations durations.tsv --json
  peaframe eval compare runs/tuned/scores runs/mine/scores ground_truth.tsv durations.tsv
  peaframe eval run audiocaps --data AudioCaps --model pe-av-small --output runs/audiocaps
  peaframe eval list
  peaframe eval list --clips

`run` hears the recordings and writes scores, events, metrics.json, report.md and report.html; stopped, the same
command goes on where it was. `scores` takes one tab-separated table for each recording: onset, offset, a label a
column, as sed_scores_eval does. `events` takes DCASE's table: filename, onset, offset, event_label; or a folder of
such tables, one for each operating point, as psds_eval does. `compare` takes two folders of score tables of the same
recordings, and says how much better the first is, and how sure that is. Benchmarks of whole clips (`list --clips`)
measure retrieval and zero-shot classification, with PE-AV or with a frame model.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the five actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    hear = actions.add_parser("run", help="hear a benchmark's recordings and score them", allow_abbrev=False)
    hear.add_argument(
        "benchmark", help="a name that `peaframe eval list` shows; folder is any folder of yours"
    )
    hear.add_argument("--data", type=Path, required=True, metavar="DIR", help="where the corpus is")
    hear.add_argument("--output", type=Path, required=True, metavar="DIR", help="where results go")
    add_model_arguments(hear)
    hear.add_argument("--allow-missing", action="store_true", help="score what is there, as a partial result")
    hear.add_argument(
        "--overwrite", action="store_true", help="remove the scores that the folder holds, and hear all again"
    )
    hear.add_argument(
        "--pool",
        choices=("mean", "max"),
        help="how the frames of a frame model stand for a whole clip (list --clips); default: mean",
    )
    points = actions.add_parser("scores", help="score frame scores of any system", allow_abbrev=False)
    points.add_argument("scores", type=Path, help="folder of score tables")
    pair = actions.add_parser("compare", help="is one system better than another?", allow_abbrev=False)
    pair.add_argument("first", type=Path, help="folder of score tables")
    pair.add_argument("second", type=Path, help="the other system's")
    for action in (points, pair):
        action.add_argument("reference", type=Path, help="true events: filename, onset, offset, event_label")
        action.add_argument("durations", type=Path, help="filename, duration in seconds")
        action.add_argument(
            "--threshold",
            type=float,
            metavar="P",
            help="where events begin; default: 0.5, made for probabilities",
        )
    lists = actions.add_parser("events", help="score events of any system", allow_abbrev=False)
    lists.add_argument("reference", type=Path, help="true events: filename, onset, offset, event_label")
    lists.add_argument("estimated", type=Path, help="detected events, or a folder of such tables")
    lists.add_argument(
        "--durations", type=Path, metavar="TSV", help="filename, duration; default: up to the last event"
    )
    for action in (points, lists):
        action.add_argument("--report", type=Path, metavar="DIR", help="write metrics.json and reports")
    for action in (hear, points, lists, pair):
        action.add_argument(
            "--resamples",
            type=int,
            metavar="N",
            help="draws for 95 %% intervals; default: 200, or 0 where that takes hours",
        )
        action.add_argument("--json", action="store_true", help="print all metrics for machines")
    every = actions.add_parser("list", help="the benchmarks there are", allow_abbrev=False)
    every.add_argument(
        "--clips", action="store_true", help="those of whole clips: retrieval and classification"
    )
    every.add_argument("--json", action="store_true", help="print the list for machines")


def run(args: argparse.Namespace) -> None:
    """Run, score or list, and print."""
    if args.action == "list":
        return _list(args.clips, args.json)
    if args.resamples is not None and not 0 <= args.resamples <= 100_000:
        raise OptionError(f"argument --resamples: got {args.resamples}, expected 0 to 100000")
    if args.action == "compare":
        return _compare(args)
    folder = args.output if args.action == "run" else args.report
    if folder is not None and folder.exists() and not folder.is_dir():
        raise OptionError(f"{folder}: is a file; give a folder for results")
    document = {"run": _run, "scores": _scores, "events": _events}[args.action](args)
    if args.action != "run" and folder is not None:
        from peaframe.eval.report import save_report

        save_report(document, folder)
    if args.json:
        from peaframe.eval.report import as_json

        print_text(as_json(document))
    else:
        print_text((_clip_summary if "task" in document else _summary)(document, folder))


def _run(args: argparse.Namespace) -> dict[str, Any]:
    from peaframe.eval.benchmarks import BENCHMARKS, CLIP_BENCHMARKS, find
    from peaframe.eval.run import run_benchmark

    if args.benchmark in CLIP_BENCHMARKS:
        return _run_clips(args)
    if args.benchmark not in BENCHMARKS:
        expected = ", ".join((*BENCHMARKS, *CLIP_BENCHMARKS))
        raise OptionError(f"got the benchmark {args.benchmark!r}, expected one of {expected}")
    benchmark = find(args.benchmark)
    if args.pool is not None:
        raise OptionError(f"--pool is for whole clips, {args.benchmark} has events in time; leave it out")
    if not args.data.is_dir():
        raise FormatError(f"{args.data}: no such folder; give the corpus' own")
    from peaframe.infer.detector import load

    return run_benchmark(
        benchmark,
        args.data,
        load(args.model, args.device, args.precision),
        args.output,
        allow_missing=args.allow_missing,
        overwrite=args.overwrite,
        resamples=args.resamples,
        progress=True,
    )


def _run_clips(args: argparse.Namespace) -> dict[str, Any]:
    from peaframe.eval.benchmarks import CLIP_BENCHMARKS
    from peaframe.eval.clip_ears import load_ears
    from peaframe.eval.clip_run import run_clips

    if not args.data.is_dir():
        raise FormatError(f"{args.data}: no such folder; give the corpus' own")
    return run_clips(
        CLIP_BENCHMARKS[args.benchmark],
        args.data,
        load_ears(args.model, args.device, args.precision),
        args.output,
        pool=args.pool or "mean",
        allow_missing=args.allow_missing,
        overwrite=args.overwrite,
        resamples=args.resamples,
        progress=True,
    )


def _scores(args: argparse.Namespace) -> dict[str, Any]:
    from peaframe.eval.given import score_tables

    return score_tables(
        args.scores, args.reference, args.durations, args.threshold, resamples=args.resamples, progress=True
    )


def _events(args: argparse.Namespace) -> dict[str, Any]:
    from peaframe.eval.given import score_events

    return score_events(
        args.reference, args.estimated, args.durations, resamples=args.resamples, progress=True
    )


def _compare(args: argparse.Namespace) -> None:
    from peaframe.eval.compare import compare_tables
    from peaframe.eval.report import as_json, metric_name

    document = compare_tables(
        args.first,
        args.second,
        args.reference,
        args.durations,
        args.threshold,
        resamples=args.resamples,
        progress=True,
    )
    if args.json:
        return print_text(as_json(document))
    rows = [
        (
            metric_name(key),
            *("-" if math.isnan(value) else f"{value:.3f}" for value in row["values"]),
            "-" if math.isnan(row["difference"]) else f"{row['difference']:+.3f}",
            "" if row["low"] is None else f"{row['low']:+.3f} to {row['high']:+.3f}",
            "" if row["p_value"] is None else f"{row['p_value']:.3f}",
        )
        for key, row in document["metrics"].items()
    ]
    header = ("metric", "first", "second", "difference", "95 % interval", "p")
    lines = [
        f"first: {args.first}, second: {args.second}; {document['recordings']} recordings",
        "",
        table(header, rows, right={"first", "second", "difference", "p"}),
        *(f"note: {note}" for note in document["notes"]),
    ]
    print_text("\n".join(lines) + "\n")


def _list(clips: bool, as_json: bool) -> None:
    from peaframe.eval.benchmarks import BENCHMARKS, CLIP_BENCHMARKS, Benchmark, ClipBenchmark

    benchmarks: list[Benchmark | ClipBenchmark] = [*(CLIP_BENCHMARKS if clips else BENCHMARKS).values()]
    if as_json:
        keys = ("name", "recordings", "metrics", "source", "licence")
        rows = [{key: getattr(benchmark, key) for key in keys} for benchmark in benchmarks]
        return print_text(json.dumps(rows, indent=2) + "\n")
    print_text(
        table(
            ("name", "recordings", "headline", "description"),
            [(b.name, str(b.recordings or ""), b.metrics[0], b.description) for b in benchmarks],
            right={"recordings"},
        )
    )


def _summary(document: dict[str, Any], folder: Path | None) -> str:
    """The metrics as people read them, and where the rest is."""
    from peaframe.eval.report import metric_name

    rows = [
        (
            metric_name(key),
            "-" if math.isnan(row["value"]) else f"{row['value']:.3f}",
            "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}",
        )
        for key, row in document["metrics"].items()
    ]
    lines = [
        f"{document['title']}: {document['hours']:.2f} h, {document['events']} true events, "
        f"{len(document['per_label'])} labels"
    ]
    if not document["complete"]:
        missing, name = len(document["missing"]) + document["unnamed"], document["benchmark"]
        lines.append(f"PARTIAL: {missing} recordings missing, so this is not the score of {name}")
    lines += ["", table(("metric", "value", "95 % interval"), rows, right={"value"})]
    lines += [f"note: {note}" for note in document["notes"]]
    if unscored := document["unscored"]:
        more = f" and {len(unscored) - MANY} more" if unscored[MANY:] else ""
        lines.append(f"note: labels without true events, in no score: {', '.join(unscored[:MANY])}{more}")
    lines += [] if folder is None else [f"report: {folder / 'report.html'}"]
    return "\n".join(lines) + "\n"


def _clip_summary(document: dict[str, Any], folder: Path | None) -> str:
    """The same for whole clips."""
    from peaframe.eval.clip_report import number, state

    rows = [
        (
            key,
            number(row["value"], key),
            "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}",
        )
        for key, row in document["metrics"].items()
    ]
    lines = [*state(document), "", table(("metric", "value", "95 % interval"), rows, right={"value"})]
    lines += [f"note: {note}" for note in document["notes"]]
    lines += [] if folder is None else [f"report: {folder / 'report.md'}"]
    return "\n".join(lines) + "\n"
