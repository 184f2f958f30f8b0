"""Options that several commands share: what listens and to what, and how scores become events."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence

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
    parser.add_argument("--start", type=float, metavar="S", help="where to begin to listen, in seconds")
    parser.add_argument("--end", type=float, metavar="S", help="where to stop, in seconds")


def add_event_arguments(group: argparse._ArgumentGroup) -> None:
    """Declare --threshold, --low, --median, --min-duration and --merge-gap."""
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


def event_options(
    base: EventOptions, args: argparse.Namespace, queries: Sequence[str]
) -> EventOptions | dict[str, EventOptions]:
    """The model's own options with what the user gave in their place.

    Args:
        base: the model's own options.
        args: parsed arguments of `add_event_arguments`; what is None was not given.
        queries: all queries.

    Returns:
        One set for all queries, or one for each if any has a threshold of its own.

    Raises:
        OptionError: a value that makes no sense, or a threshold for something that is not a query.
    """
    given = {name: getattr(args, name) for name in ("low", *_LENGTHS) if getattr(args, name) is not None}
    common, own = _thresholds(args.threshold, queries)

    def options(threshold: float | None) -> EventOptions:
        changes = dict(given)
        if threshold is not None:
            changes["threshold"] = threshold
            if base.low is not None and base.low > threshold:  # a low of the model's own gives way
                changes.setdefault("low", threshold)
        return dataclasses.replace(base, **changes)

    if not own:
        return options(common)
    return {query: options(own.get(query, common)) for query in queries}


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
        words, some = f"threshold {options.threshold:g}", options
    else:
        words = "thresholds " + ", ".join(f"{query}={own.threshold:g}" for query, own in options.items())
        some = next(iter(options.values()))
    if some.low is not None:
        words += f", low {some.low:g}"
    lengths = [(name.replace("_", " "), getattr(some, name)) for name in _LENGTHS]
    return words + "".join(f", {name} {seconds:g} s" for name, seconds in lengths if seconds)
