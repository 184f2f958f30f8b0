"""Event-based (collar) and segment-based scores, computed by sed_eval with the settings of DCASE task 4.

Mesaros, Heittola and Virtanen, "Metrics for polyphonic sound event detection", Applied Sciences 2016. The
default of sed_eval itself for `percentage_of_length` is 0.5; DCASE uses 0.2, and so does this module.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from peaframe.errors import MissingExtraError, OptionError
from peaframe.eval.counts import Counts, scored_labels, spans_by_label
from peaframe.eval.matching import candidates, matched
from peaframe.events import Event

__all__ = ["SedEvalResult", "collar_counts", "event_based", "segment_based"]

EventsByFile = Mapping[str, Sequence[Event]]
Entries = list[dict[str, str | float]]
T_COLLAR = 0.2  # seconds, DCASE task 4
ENOUGH_EVENTS = 40  # to compare all with all of


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
    t_collar: float = T_COLLAR,
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
    _check_collars(t_collar, percentage_of_length, onset, offset)
    if matching not in ("optimal", "greedy"):
        raise OptionError(f"got matching {matching!r}; expected 'optimal' or 'greedy'")
    scored, unscored = scored_labels(estimated, truth, labels)
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
        real, claimed = _entries(truth, file, scored), _entries(estimated, file, scored)
        for one, other in _apart(real, claimed, float(t_collar), float(percentage_of_length), onset):
            metrics.evaluate(one, other)
    return _result(metrics, unscored, len(files))


def collar_counts(
    estimated: EventsByFile,
    truth: EventsByFile,
    *,
    labels: Sequence[str] | None = None,
    t_collar: float = T_COLLAR,
    percentage_of_length: float = 0.2,
    onset: bool = True,
    offset: bool = True,
) -> Counts:
    """Count hits and false alarms by recording and label, paired as well as can be: what F-scores are made of.

    As `event_based` with optimal matching, without sed_eval, and quick on any number of events: in one recording
    of a day with 20 000 of them too.

    Args:
        estimated: Detected events by recording; a recording without a key has none.
        truth: True events by recording; a recording without a key has none.
        labels: Score these labels only; by default all that occur.
        t_collar: Seconds that an onset or offset may be off.
        percentage_of_length: Share of the event's length that its offset may be off, if that is more.
        onset: Whether onsets must agree.
        offset: Whether offsets must agree.

    Raises:
        OptionError: An option makes no sense, or no label has ground truth.
    """
    _check_collars(t_collar, percentage_of_length, onset, offset)
    scored, unscored = scored_labels(estimated, truth, labels)
    files = tuple(_files(estimated, truth))
    true, hit, found = np.zeros((3, len(files), len(scored)), dtype=np.int64)
    for row, file in enumerate(files):
        real = spans_by_label(truth.get(file, ()), merge=False)
        claimed = spans_by_label(estimated.get(file, ()), merge=False)
        for column, label in enumerate(scored):
            if label in real:
                true[row, column] = len(real[label])
            if label in claimed:
                found[row, column] = len(claimed[label])
            if label in real and label in claimed:
                pairs = candidates(
                    real[label], claimed[label], t_collar, percentage_of_length, onset=onset, offset=offset
                )
                hit[row, column] = matched(*pairs)
    return Counts(files, tuple(scored), unscored, true, hit, found, hit)


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
    scored, unscored = scored_labels(estimated, truth, labels)
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


def _check_collars(t_collar: float, percentage_of_length: float, onset: bool, offset: bool) -> None:
    if not (0 <= t_collar < math.inf and 0 <= percentage_of_length < math.inf):
        raise OptionError(
            f"got t_collar {t_collar:g} and percentage_of_length {percentage_of_length:g}; expected 0 or more"
        )
    if not (onset or offset):
        raise OptionError("got onset=False and offset=False; at least one of them must be compared")


def _files(estimated: EventsByFile, truth: EventsByFile) -> list[str]:
    return sorted(set(estimated) | set(truth))


def _entries(events: EventsByFile, file: str, scored: Sequence[str]) -> Entries:
    """A recording's events as sed_eval wants them; events of labels that are not scored would cost there."""
    return [
        {"filename": file, "onset": event.onset, "offset": event.offset, "event_label": event.label}
        for event in sorted(events.get(file, ()))
        if event.label in scored
    ]


def _apart(
    real: Entries, claimed: Entries, t_collar: float, percentage_of_length: float, onset: bool
) -> Iterator[tuple[Entries, Entries]]:
    """Cut a recording where nothing before can be matched with anything behind.

    sed_eval compares every event with every detection of a recording; its counts are sums over recordings, so
    they do not change where a recording is taken for several that have nothing to do with each other.
    """
    if len(real) + len(claimed) <= ENOUGH_EVENTS:
        yield real, claimed
        return
    reach: list[tuple[float, float, bool, dict[str, str | float]]] = []
    for entry in real:
        begin, end = float(entry["onset"]), float(entry["offset"])
        slack = t_collar if onset else max(t_collar, percentage_of_length * (end - begin))
        key = begin if onset else end
        reach.append((key - slack - 1e-6, key + slack + 1e-6, True, entry))
    for entry in claimed:
        key = float(entry["onset"] if onset else entry["offset"])
        reach.append((key, key, False, entry))
    parts: tuple[Entries, Entries] = [], []
    furthest = -math.inf
    for begin, end, is_real, entry in sorted(reach, key=lambda item: item[:3]):
        if begin > furthest and len(parts[0]) + len(parts[1]) >= ENOUGH_EVENTS:
            yield parts
            parts = [], []
        parts[0 if is_real else 1].append(entry)
        furthest = max(furthest, end)
    yield parts


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
