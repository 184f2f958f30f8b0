"""Options that several commands share: what listens and to what, and how scores become events."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peaframe.boxes import BoxOptions
from peaframe.errors import OptionError
from peaframe.events import EventOptions
from peaframe.models.names import BUILT_IN

_LENGTHS = {
    "median": "smooth the scores with a median filter of this length",
    "min_duration": "drop events shorter than this",
    "merge_gap": "join events of one query this far apart or less",
}


def add_listening_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --model, --device, --precision, --start and --end."""
    add_model_arguments(parser)
    parser.add_argument("--start", type=float, metavar="S", help="where to begin to listen, in seconds")
    parser.add_argument("--end", type=float, metavar="S", help="where to stop, in seconds")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --model, --device and --precision."""
    parser.add_argument("--model", default=BUILT_IN, metavar="NAME|FOLDER", help="default: %(default)s")
    parser.add_argument(
        "--device", default="auto", help="auto (a GPU if there is one), cpu or cuda; default: auto"
    )
    parser.add_argument(
        "--precision",
        default="exact",
        choices=("exact", "fast"),
        help="exact: float32; fast: half precision where the processor gains by it; default: exact",
    )


def add_query_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare QUERY and --queries, either of which is enough; see `all_queries`."""
    words = parser.add_argument(
        "queries", nargs="+", metavar="QUERY", default=[], help='a sound in words, such as "dog barking"'
    )
    words.required = False  # with "*" in place of "+" no option may stand between the recording and the words
    parser.add_argument(
        "--queries",
        type=Path,
        dest="query_file",
        metavar="FILE.json",
        help="query vectors tuned for this model: their names are queries too, and QUERY may be left out",
    )


def all_queries(args: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """The queries in words and the names of query vectors, each once.

    Raises:
        OptionError: there are none.
    """
    queries = list(dict.fromkeys([*(query.strip() for query in args.queries), *names]))
    if not queries:
        raise OptionError(
            "got no QUERY; give a sound in words, such as 'dog barking', or --queries FILE.json"
        )
    return queries


def check_inputs(read: Mapping[str, Path | None], **written: Path | None) -> None:
    """Refuse to write over a file that is read.

    Args:
        read: the file each option reads, if it was given.
        written: the file each option writes, if it was given.

    Raises:
        OptionError: a file is both.
    """
    for name, path in written.items():
        for other, source in read.items():
            if path is not None and source is not None and path.resolve() == source.resolve():
                raise OptionError(f"--{name} {path} is --{other} too; give another file")


def add_event_arguments(group: argparse._ArgumentGroup) -> None:
    """Declare --threshold, --low, --median, --min-duration, --merge-gap and --boxes."""
    group.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="P|QUERY=P",
        help="an event begins where the score is above this probability; for all queries or one; repeatable",
    )
    group.add_argument(
        "--low", type=float, metavar="P", help="an event goes on until the score falls to this"
    )
    for name, text in _LENGTHS.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="S", help=f"{text}, in seconds")
    group.add_argument(
        "--boxes",
        type=float,
        metavar="S",
        help="cut events out where the scores change, with a step filter of this length, in seconds; 0: do not",
    )


def event_options(
    base: EventOptions | Mapping[str, EventOptions], args: argparse.Namespace, queries: Sequence[str]
) -> EventOptions | dict[str, EventOptions]:
    """The options there are, with what the user gave in their place.

    Args:
        base: the model's own options, or some for each query.
        args: parsed arguments of `add_event_arguments`; what is None was not given.
        queries: all queries.

    Returns:
        One set for all queries, or one for each if `base` is so or any has a threshold of its own.

    Raises:
        OptionError: a value that makes no sense, or a threshold for something that is not a query.
    """
    given: dict[str, Any] = {
        name: getattr(args, name) for name in ("low", *_LENGTHS) if getattr(args, name) is not None
    }
    common, own = _thresholds(args.threshold, queries)

    def options(base: EventOptions, threshold: float | None) -> EventOptions:
        changes = dict(given)
        if threshold is not None:
            changes["threshold"] = threshold
            if base.low is not None and base.low > threshold:  # a low of the model's own gives way
                changes.setdefault("low", threshold)
        if args.boxes is not None:
            boxes = base.boxes or BoxOptions()
            changes["boxes"] = dataclasses.replace(boxes, step=args.boxes) if args.boxes else None
        return dataclasses.replace(base, **changes)

    if isinstance(base, EventOptions) and not own:
        return options(base, common)
    bases = dict.fromkeys(queries, base) if isinstance(base, EventOptions) else base
    return {query: options(bases[query], own.get(query, common)) for query in queries}


def _thresholds(values: Sequence[str], queries: Sequence[str]) -> tuple[float | None, dict[str, float]]:
    """Thresholds for all queries and for single ones; the last one given wins."""
    common: float | None = None
    own: dict[str, float] = {}
    for value in values:
        query, equals, number = value.rpartition("=")
        try:
            threshold = float(number)
        except ValueError as error:
            raise OptionError(f"argument --threshold: got {value!r}, expected 0.5 or QUERY=0.5") from error
        if not equals:
            common = threshold
        elif query.strip() in queries:
            own[query.strip()] = threshold
        else:
            raise OptionError(
                f"argument --threshold: {query.strip()!r} is none of {', '.join(map(repr, queries))}"
            )
    return common, own


def event_summary(options: EventOptions | Mapping[str, EventOptions]) -> str:
    """The options in a few words; lengths that do nothing are left out."""
    if isinstance(options, EventOptions):
        return f"threshold {options.threshold:g}" + _rest(options)
    words = "thresholds " + ", ".join(f"{query}={own.threshold:g}" for query, own in options.items())
    rests = list(dict.fromkeys(_rest(own) for own in options.values()))
    return words + (rests[0] if len(rests) == 1 else ", other options by query")


def _rest(options: EventOptions) -> str:
    """All but the threshold, each behind a comma."""
    words = "" if options.low is None else f", low {options.low:g}"
    lengths = [(name.replace("_", " "), getattr(options, name)) for name in _LENGTHS]
    if options.boxes is not None:
        lengths.append(("boxes", options.boxes.step))
    return words + "".join(f", {name} {seconds:g} s" for name, seconds in lengths if seconds)
