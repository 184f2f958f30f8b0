"""`peaframe detect`: when is each described sound heard in a recording?"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from peaframe import formats
from peaframe.calibration import Calibration
from peaframe.cli.options import (
    add_event_arguments,
    add_listening_arguments,
    add_query_arguments,
    all_queries,
    check_inputs,
    event_options,
    event_summary,
)
from peaframe.cli.output import check_destinations, print_text, table
from peaframe.errors import OptionError
from peaframe.events import EventOptions
from peaframe.files import atomic_path
from peaframe.queries import QueryFile

if TYPE_CHECKING:
    from peaframe.infer.detector import Detection

HELP = "find when each described sound is heard in a recording"
EXAMPLES = """\
examples:
  peaframe detect street.wav "dog barking" "a siren"
  peaframe detect film.mkv speech music --start 60 --end 120 --format csv --output film.csv
  peaframe detect street.wav "dog barking" siren --threshold 0.5 --threshold "dog barking=0.7"
  peaframe detect street.wav siren --scores street.npz --plot street.png
  peaframe detect street.wav "dog barking" siren --calibration mine.json
  peaframe detect street.wav --queries tuned.json

Results go to standard output (or to --output), one line about model, settings and speed to standard error.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `peaframe detect` takes."""
    parser.add_argument(
        "recording", help="an audio or video file, of any length, or what `embed` kept (.npz)"
    )
    add_query_arguments(parser)
    add_listening_arguments(parser)
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE.json",
        help="scores and settings fitted by `calibrate`, for the queries it knows",
    )
    add_event_arguments(
        parser.add_argument_group(
            "how scores become events (default: the calibration's, or else the model's own settings)"
        )
    )
    results = parser.add_argument_group("results")
    kinds = ("table", *formats.names())
    results.add_argument(
        "--format",
        choices=kinds,
        metavar="FORMAT",
        help=f"{', '.join(kinds)}; default: by --output's suffix, else table",
    )
    results.add_argument(
        "--json", action="store_const", const="json", dest="format", help="the same as --format json"
    )
    results.add_argument("--output", type=Path, metavar="FILE", help="write the events to a file")
    results.add_argument(
        "--scores", type=Path, metavar="FILE.npz", help="write the scores, 25 a second for each query"
    )
    results.add_argument(
        "--plot", type=_png, metavar="FILE.png", help="draw the sound, the scores and the events"
    )


def _png(text: str) -> Path:
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a name that ends in .png")
    return Path(text)


def run(args: argparse.Namespace) -> None:
    """Detect, write, and say on standard error how it went."""
    chosen = args.format
    if chosen is None:
        chosen = "table" if args.output is None else formats.for_path(args.output)
    if args.output is None and chosen != "table" and not formats.is_text(chosen):
        raise OptionError(f"--format {chosen} is not text; give --output FILE, too")
    read = {"calibration": args.calibration, "queries": args.query_file}
    check_inputs(read, output=args.output, scores=args.scores, plot=args.plot)
    check_destinations(args.recording, output=args.output, scores=args.scores, plot=args.plot)
    _check_recording(args)
    vectors = None if args.query_file is None else QueryFile.load(args.query_file)
    queries = all_queries(args, [] if vectors is None else vectors.names)
    calibration = None if args.calibration is None else Calibration.load(args.calibration)
    if vectors is not None and calibration is not None and (both := calibration.known(vectors.names)):
        raise OptionError(
            f"--calibration was fitted to the words {both[0]!r}, which --queries replaces; leave out one of them"
        )
    if args.plot is not None:
        from peaframe.infer.plot import save_plot  # says so if matplotlib is missing
    from peaframe.infer.detector import load

    detector = load(args.model, args.device, args.precision)
    if vectors is not None:
        detector.use_queries(vectors)
    base: EventOptions | Mapping[str, EventOptions] = detector.model.event_options
    if calibration is not None:
        calibration.check_model(detector.model.name, detector.model.fingerprint())
        base = calibration.options(queries, detector.model.event_options)
    options = event_options(base, args, queries)
    began = time.perf_counter()
    found = detector.detect(
        args.recording,
        queries,
        options,
        calibration=calibration,
        start=args.start,
        end=args.end,
        progress=True,
    )
    seconds = time.perf_counter() - began
    if args.scores is not None:
        found.scores.save(args.scores)
    if args.plot is not None:
        save_plot(found, args.recording, args.plot)
    _write_events(found, chosen, args.output)
    how = event_summary(options)
    if vectors is not None:
        how += f", {len(found.settings['tuned'])} of {len(queries)} queries tuned"
    if calibration is not None:
        how += f", {len(found.settings['calibrated'])} of {len(queries)} queries calibrated"
    print(_summary(found, how, seconds), file=sys.stderr)


def _check_recording(args: argparse.Namespace) -> None:
    """Refuse a wrong name at once; it should not have to wait for the model."""
    from peaframe import audio
    from peaframe.infer.embeddings import SUFFIX

    if not args.recording.lower().endswith(SUFFIX):
        audio.probe(args.recording)
    elif args.plot is not None:
        raise OptionError(f"--plot draws the sound, which {args.recording} does not hold; give the recording")


def _write_events(found: Detection, format: str, output: Path | None) -> None:
    by_file = {found.source: found.events}
    if output is not None and format != "table" and not formats.is_text(format):
        return formats.save(output, by_file, format, found.settings)
    text = _table(found) if format == "table" else formats.dumps(by_file, format, found.settings)
    if output is None:
        return print_text(text)
    with atomic_path(output) as temp:
        temp.write_bytes(text.encode("utf-8", "backslashreplace"))


def _table(found: Detection) -> str:
    rows = [(f"{e.onset:.3f}", f"{e.offset:.3f}", e.label, f"{e.score:.4f}") for e in found.events]
    return table(("onset", "offset", "event_label", "score"), rows, right={"onset", "offset", "score"})


def _summary(found: Detection, options: str, seconds: float) -> str:
    heard = found.scores.end - found.scores.start
    count = len(found.events)
    how = found.settings
    return (
        f"{how['model']} on {how['device']} in {how['products']}, {options}: heard {heard:.2f} s "
        f"in {seconds:.2f} s, {heard / seconds:.1f} times real time; "
        f"{count or 'no'} event{'' if count == 1 else 's'}{'' if count else _nearest(found)}"
    )


def _nearest(found: Detection) -> str:
    """Where there are no events: the highest score, and of what and when."""
    scores = found.scores
    frame, column = divmod(int(scores.values.argmax()), len(scores.labels))
    best, label = scores.values[frame, column], scores.labels[column]
    return f", highest score {best:.2f} ({label} at {scores.edges[frame]:.2f} s)"
