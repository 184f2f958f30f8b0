"""Event-based (collar) and segment-based scores, computed by sed_eval with the settings of DCASE task 4.

Mesaros, Heittola and Virtanen, "Metrics for polyphonic sound event detection", Applied Sciences 2016. The
default of sed_eval itself for `percentage_of_length` is 0.5; DCASE uses 0.2, and so does this module.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from peaframe.errors import MissingExtraError, OptionError
from peaframe.events import Event

__all__ = ["SedEvalResult", "event_based", "segment_based"]

EventsByFile = Mapping[str, Sequence[Event]]


@dataclass(frozen=True, slots=True)
class SedEvalResult:
    """All that sed_eval computes, by its own names.

    Every mapping has `f_measure`, `precision`, `recall`, `error_rate`, `deletion_rate` and `insertion_rate`;
    segment-based ones also `sensitivity`, `specificity`, `balanced_accuracy` and `accuracy`.

    Attributes:
        micro: Over all events or segments together; also has `substitution_rate`.
        macro: Means over labels: the headline of DCASE.
        per_label: Of each label; also has `reference` and `estimated`, how many events or segments there are.
        unscored: Labels without ground truth; detections of them count nowhere.
        recordings: How many recordings were scored.
    """

    micro: dict[str, float]
    macro: dict[str, float]
    per_label: dict[str, dict[str, float]]
    unscored: tuple[str, ...]
    recordings: int


def event_based(
    estimated: EventsByFile,
    truth: EventsByFile,
    *,
    labels: Sequence[str] | None = None,
    t_collar: float = 0.2,
    percentage_of_length: float = 0.2,
    onset: bool = True,
    offset: bool = True,
    matching: Literal["optimal", "greedy"] = "optimal",
) -> SedEvalResult:
    """Score detections that must begin and end when a true event does.

    Args:
        estimated: Detected events by recording; a recording without a key has none.
        truth: True events by recording; a recording without a key has none.
        labels: Score these labels only; by default all that occur.
        t_collar: Seconds that an onset or offset may be off.
        percentage_of_length: Share of the event's length that its offset may be off, if that is more.
        onset: Whether onsets must agree.
        offset: Whether offsets must agree.
        matching: How detections are paired with events: as many pairs as can be, or first come.

    Raises:
        MissingExtraError: sed_eval is not installed.
        OptionError: An option makes no sense, or no label has ground truth.
    """
    if not (0 <= t_collar < math.inf and 0 <= percentage_of_length < math.inf):
        raise OptionError(
            f"got t_collar {t_collar:g} and percentage_of_length {percentage_of_length:g}; expected 0 or more"
        )
    if not (onset or offset):
        raise OptionError("got onset=False and offset=False; at least one of them must be compared")
    if matching not in ("optimal", "greedy"):
        raise OptionError(f"got matching {matching!r}; expected 'optimal' or 'greedy'")
    scored, unscored = _labels(estimated, truth, labels)
    metrics = _sed_eval().EventBasedMetrics(
        event_label_list=scored,
        t_collar=float(t_collar),
        percentage_of_length=float(percentage_of_length),
        evaluate_onset=onset,
        evaluate_offset=offset,
        event_matching_type=matching,
        empty_system_output_handling="zero_score",
    )
    files = _files(estimated, truth)
    for file in files:
        metrics.evaluate(_entries(truth, file, scored), _entries(estimated, file, scored))
    return _result(metrics, unscored, len(files))


def segment_based(
    estimated: EventsByFile,
    truth: EventsByFile,
    *,
    labels: Sequence[str] | None = None,
    segment: float = 1.0,
    durations: Mapping[str, float] | None = None,
) -> SedEvalResult:
    """Score which labels are active in each segment.

    A label that is never detected has precision and F-measure 0, as in `event_based`; sed_eval left to itself
    says NaN there and leaves the label out of the macro mean.

    Args:
        estimated: Detected events by recording; a recording without a key has none.
        truth: True events by recording; a recording without a key has none.
        labels: Score these labels only; by default all that occur.
        segment: Length of a segment in seconds.
        durations: Seconds of each recording, to count quiet segments at its end as well; by default each
            counts up to its last event, as DCASE's baselines do.

    Raises:
        MissingExtraError: sed_eval is not installed.
        OptionError: An option makes no sense, or no label has ground truth.
    """
    if not 0 < segment < math.inf:
        raise OptionError(f"got segments of {segment:g} seconds; expected more than 0")
    scored, unscored = _labels(estimated, truth, labels)
    files = _files(estimated, truth)
    if durations is not None:
        unknown = sorted(set(files) - set(durations))
        if unknown:
            raise OptionError(
                f"no duration for {unknown[0]!r} and {len(unknown) - 1} more recordings; give all, or none"
            )
        files = sorted(durations)
    metrics = _sed_eval().SegmentBasedMetrics(event_label_list=scored, time_resolution=float(segment))
    metrics.empty_system_output_handling = "zero_score"  # honoured, but its constructor does not take it
    for file in files:
        length = None if durations is None else durations[file]
        metrics.evaluate(
            _entries(truth, file, scored),
            _entries(estimated, file, scored),
            evaluated_length_seconds=length,
        )
    return _result(metrics, unscored, len(files))


def _sed_eval() -> Any:
    """sed_eval's module of metrics; it imports pkg_resources, which setuptools 81 no longer has."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("sed_eval.sound_event")
    except ImportError as error:
        raise MissingExtraError("sed_eval", "eval", "scoring events with collars or segments") from error


def _labels(
    estimated: EventsByFile, truth: EventsByFile, labels: Sequence[str] | None
) -> tuple[list[str], tuple[str, ...]]:
    """Labels to score, and those that cannot be."""
    real = {event.label for events in truth.values() for event in events}
    claimed = {event.label for events in estimated.values() for event in events}
    wanted = real | claimed if labels is None else set(labels)
    if not wanted & real:
        raise OptionError(
            f"none of the {len(wanted)} labels has an event in the ground truth of {len(truth)} recordings; "
            "expected at least one to score"
        )
    return sorted(wanted & real), tuple(sorted(wanted - real))


def _files(estimated: EventsByFile, truth: EventsByFile) -> list[str]:
    return sorted(set(estimated) | set(truth))


def _entries(events: EventsByFile, file: str, scored: Sequence[str]) -> list[dict[str, str | float]]:
    """A recording's events as sed_eval wants them; events of labels that are not scored would cost there."""
    return [
        {"filename": file, "onset": event.onset, "offset": event.offset, "event_label": event.label}
        for event in sorted(events.get(file, ()))
        if event.label in scored
    ]


def _result(metrics: Any, unscored: tuple[str, ...], recordings: int) -> SedEvalResult:
    per_label: dict[str, dict[str, float]] = {}
    for label, parts in metrics.results_class_wise_metrics().items():
        per_label[label] = {
            **_flat(parts),
            "reference": float(parts["count"]["Nref"]),
            "estimated": float(parts["count"]["Nsys"]),
        }
    return SedEvalResult(
        micro=_flat(metrics.results_overall_metrics()),
        macro=_flat(metrics.results_class_wise_average_metrics()),
        per_label=per_label,
        unscored=unscored,
        recordings=recordings,
    )


def _flat(parts: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    sections = ("f_measure", "error_rate", "accuracy")
    return {name: float(value) for section in sections for name, value in parts.get(section, {}).items()}
