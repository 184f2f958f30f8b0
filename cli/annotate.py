"""`peaframe annotate`: months of recordings, one command, nothing lost."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from peaframe import formats
from peaframe.calibration import Calibration
from peaframe.cli.options import add_event_arguments, add_model_arguments, event_options
from peaframe.cli.output import print_text
from peaframe.errors import OptionError
from peaframe.events import EventOptions
from peaframe.queries import QueryFile
from peaframe.workers.chosen import ENGINES, check, engine_of

if TYPE_CHECKING:
    from peaframe.annotate.job import Outcome
    from peaframe.annotate.work import Facts

HELP = "annotate folders of recordings of any size; go on where it was stopped"
_OVERWRITE = (
    "begin anew, whatever is there; embeddings of the same model that are kept are asked, not heard again"
)
EXAMPLES = """\
examples:
  peaframe annotate recordings/ --query "dog barking" --query siren --output out
  peaframe annotate recordings/ --query-file birds.txt --output out --format csv,raven --combined --clips 20
  peaframe annotate recordings/ --query-file birds.txt --output out --dry-run       # how long will it take?
  peaframe annotate "card*/**/*.WAV" @more.txt --query frog --output out --timezone Europe/Berlin
  peaframe annotate recordings/ --query frog --output out --embeddings              # later with other words ...
  peaframe annotate recordings/ --query toad --output out --embeddings --overwrite  # ... and no audio heard again
  peaframe annotate s3://bucket/night --query bat --output out --engine ray --ray-address auto

Stopped or killed at any moment, the same command goes on inside the recording it was in, and the tables are byte for
byte those of an undisturbed run. Recordings that cannot be read are in out/failed.csv, with the reason, and make the
exit code 1. Look at out/report.html.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `peaframe annotate` takes."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="IN",
        help="folders, files, globs in quotes, @LIST files of them, URLs such as s3://bucket/folder",
    )
    asked = parser.add_argument_group("what to listen for")
    asked.add_argument(
        "--query",
        action="append",
        default=[],
        dest="queries",
        metavar="WORDS",
        help="a sound in words; repeatable",
    )
    asked.add_argument(
        "--query-file",
        action="append",
        default=[],
        type=Path,
        dest="query_files",
        metavar="FILE",
        help="a text file with a query a line (# begins a comment), or query vectors (.json)",
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--calibration", type=Path, metavar="FILE.json", help="scores and settings fitted by `calibrate`"
    )
    add_event_arguments(parser.add_argument_group("how scores become events"))
    found = parser.add_argument_group("which recordings")
    found.add_argument(
        "--include", action="append", default=[], metavar="PATTERN", help='such as "*.wav"; repeatable'
    )
    found.add_argument(
        "--recursive",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="folders inside folders; default: yes",
    )
    found.add_argument(
        "--time-format", metavar="FORMAT", help="where names say when they were made: %%d%%m%%y-%%H%%M"
    )
    found.add_argument("--timezone", metavar="ZONE", help="of the recorder's clock: Europe/Berlin, +02:00")
    out = parser.add_argument_group("what to write")
    out.add_argument("--output", type=Path, required=True, metavar="DIR", help="the folder of this run")
    out.add_argument(
        "--format",
        default="csv",
        metavar="A,B",
        help=f"of the tables: {', '.join(formats.names())}; default: csv",
    )
    out.add_argument("--combined", action="store_true", help="write a table of all recordings, too")
    out.add_argument(
        "--min-score", type=float, default=0.0, metavar="P", help="leave out events with lower scores"
    )
    out.add_argument(
        "--clips", type=int, default=0, metavar="N", help="cut up to N clips of each query to listen to"
    )
    out.add_argument("--scores", action="store_true", help="keep scores, 25 a second for each query")
    out.add_argument(
        "--embeddings", action="store_true", help="keep embeddings, to be asked again without the audio"
    )
    run = parser.add_argument_group("how to run")
    run.add_argument("--jobs", type=int, metavar="N", help="workers; default: one a GPU, or one a processor")
    run.add_argument("--engine", choices=ENGINES, default="local", help="this machine, or a Ray cluster")
    run.add_argument(
        "--ray-address", metavar="ADDRESS", help="of a cluster; default: a Ray of this machine's own"
    )
    which = run.add_mutually_exclusive_group()
    which.add_argument(
        "--resume", action="store_true", help="only go on with a run (the default goes on, or begins)"
    )
    which.add_argument("--overwrite", action="store_true", help=_OVERWRITE)
    run.add_argument("--dry-run", action="store_true", help="plan, say what it will take, and stop")
    run.add_argument("--progress", choices=("auto", "bar", "json", "none"), default="auto")
    run.add_argument("--json", action="store_true", help="say at the end what was found, or planned, as JSON")


def run(args: argparse.Namespace) -> int:
    """Annotate, and say what was found; 1 if some recordings failed."""
    kinds = _formats(args.format)
    queries, vectors = _queries(args)
    calibration = None if args.calibration is None else Calibration.load(args.calibration)
    if vectors is not None and calibration is not None and (both := calibration.known(vectors.names)):
        raise OptionError(
            f"--calibration was fitted to the words {both[0]!r}, which --query-file replaces; leave out one of them"
        )
    check(args.engine, args.jobs, args.ray_address)
    from peaframe.annotate.job import Job
    from peaframe.annotate.planning import Times
    from peaframe.annotate.progress import Progress
    from peaframe.annotate.run import annotate
    from peaframe.annotate.work import Machine

    job = Job(
        inputs=args.inputs,
        output=args.output,
        queries=queries,
        vectors=vectors,
        calibration=calibration,
        options=lambda facts: _options(args, facts, queries, calibration),
        keep_scores=args.scores,
        keep_embeddings=args.embeddings,
        formats=kinds,
        combined=args.combined,
        include=args.include,
        recursive=args.recursive,
        min_score=args.min_score,
        clips=args.clips,
        times=Times(args.time_format, args.timezone),
        resume=args.resume,
        overwrite=args.overwrite,
        dry_run=args.dry_run,
    )
    machine = Machine(args.model, args.device, args.precision)
    engine = engine_of(machine, args.engine, args.jobs, args.ray_address)
    progress = Progress(args.progress)
    try:
        outcome = annotate(job, engine, progress)
        facts, jobs = engine.facts(), engine.jobs
    except KeyboardInterrupt:
        progress.stop()
        same = "the same command" + " without --overwrite" * args.overwrite
        print("stopped" + f"; {same} goes on where it was" * (not args.dry_run), file=sys.stderr)
        raise
    finally:
        engine.close()
    if args.dry_run:
        if args.json:
            print_text(json.dumps(dataclasses.asdict(outcome), ensure_ascii=False) + "\n")
        return 0
    return _say(args, outcome, facts, jobs)


def _formats(text: str) -> list[str]:
    kinds = list(dict.fromkeys(kind.strip() for kind in text.split(",") if kind.strip()))
    if not kinds:
        raise OptionError(f"--format: got {text!r}, expected some of {', '.join(formats.names())}")
    for kind in kinds:
        formats.suffix(kind)  # says so if there is no such format
    return kinds


def _queries(args: argparse.Namespace) -> tuple[list[str], QueryFile | None]:
    """All queries in order, each once, and the query vectors among them."""
    queries = [query.strip() for query in args.queries]
    vectors: QueryFile | None = None
    for path in args.query_files:
        if path.suffix.lower() == ".json":
            if vectors is not None:
                raise OptionError(f"--query-file {path}: got a second file of query vectors, expected one")
            vectors = QueryFile.load(path)
            queries += vectors.names
            continue
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise OptionError(f"--query-file {path}: cannot be read ({reason}); give a text file") from error
        own = [line.split("#", 1)[0].strip() for line in lines]
        if not any(own):
            raise OptionError(f"--query-file {path}: holds no query; write one on each line")
        queries += filter(None, own)
    if not queries:
        raise OptionError("got no query; give --query 'dog barking' or --query-file FILE")
    return list(dict.fromkeys(queries)), vectors


def _options(
    args: argparse.Namespace, facts: Facts, queries: list[str], calibration: Calibration | None
) -> EventOptions | dict[str, EventOptions]:
    """How scores become events."""
    base: EventOptions | Mapping[str, EventOptions] = facts.options
    if calibration is not None:
        base = calibration.options(queries, facts.options)
    return event_options(base, args, queries)


def _say(args: argparse.Namespace, outcome: Outcome, facts: Facts, jobs: int) -> int:
    """The summary on standard output, the rest on standard error."""
    from peaframe.annotate.amounts import clock, hours
    from peaframe.annotate.summary import summary_table

    if args.json:
        plain = dataclasses.asdict(outcome)
        plain.pop("estimate")
        print_text(
            json.dumps({"output": str(args.output), "model": facts.model, **plain}, ensure_ascii=False) + "\n"
        )
    else:
        print_text(summary_table(outcome.summaries))
    for remark in outcome.remarks:
        print(remark, file=sys.stderr)
    if outcome.asked_seconds:
        print(f"{hours(outcome.asked_seconds)} answered from embeddings, not heard again", file=sys.stderr)
    if outcome.heard_seconds:
        spent, wall = outcome.spent, outcome.wall_seconds
        total = wall * jobs
        rest = max(0.0, total - spent.get("hearing", 0) - spent.get("waiting", 0))
        print(
            f"{facts.model} on {facts.device}: heard {hours(outcome.heard_seconds)} in {clock(wall)}, "
            f"{outcome.heard_seconds / wall:.0f} times real time, {jobs} worker{'s' * (jobs != 1)}: "
            f"{spent.get('hearing', 0) / total:.0%} in the model, {spent.get('waiting', 0) / total:.0%} waiting for "
            f"decoding, {rest / total:.0%} starting and idle; beside it "
            f"{spent.get('decoding', 0) / total:.0%} decoding, {spent.get('writing', 0) / wall:.0%} writing",
            file=sys.stderr,
        )
    print(
        f"{args.output}: {outcome.recordings} recordings, {hours(outcome.seconds)}, {outcome.events} events; "
        "look at report.html",
        file=sys.stderr,
    )
    if outcome.failed:
        print(
            f"{outcome.failed} recording{'s' * (outcome.failed != 1)} could not be heard; see "
            f"{args.output / 'failed.csv'}",
            file=sys.stderr,
        )
        return 1
    return 0
