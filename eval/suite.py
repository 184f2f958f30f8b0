"""All metrics of one system on one set of recordings, as one plain document: what `peaframe eval` writes and prints.

Metrics without a threshold are taken of scores, those with one of detected events; both of the same recordings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from peaframe.errors import MissingExtraError, OptionError
from peaframe.eval.bootstrap import interval, resample
from peaframe.eval.collar import collar_counts, event_based, segment_based
from peaframe.eval.collar_scores import collar_best
from peaframe.eval.confusion import confusion
from peaframe.eval.corpus import FrameScores
from peaframe.eval.counts import Counts
from peaframe.eval.framed import FramedLabel, FramedResult, framed_d_prime
from peaframe.eval.overlap import intersection_counts
from peaframe.eval.psds import PSDS1, PSDS2, PSDSResult, psds
from peaframe.eval.ranking import (
    RankingResult,
    frame_auroc,
    frame_average_precision,
    frame_precision_recall,
)
from peaframe.eval.scope import check_recordings, draws_of, labels_of, odd_lengths
from peaframe.eval.segments import (
    clip_auroc,
    clip_average_precision,
    segment_auroc,
    segment_average_precision,
    segment_counts,
    segment_f1,
)
from peaframe.events import Event, merge_events

__all__ = ["EVENT_METRICS", "SCORE_METRICS", "Case", "evaluate"]

SED_EVAL_CELLS = 500_000  # recordings times labels, over which sed_eval takes hours
WORST = 20
Found = Mapping[str, Sequence[Event]]


@dataclass(frozen=True)
class Case:
    """What is scored; results that several metrics share are computed once.

    Attributes:
        truth: True events of every recording, as given: metrics that want them merged merge them.
        durations: Seconds of every recording.
        found: Detected events of every recording.
        scores: Scores of every recording, or None.
        labels: The labels to score.
        weights: (resamples, recordings) for intervals.
        framed: Explicit positives and negatives of AudioSet.
    """

    truth: Found
    durations: Mapping[str, float]
    found: Found
    scores: Mapping[str, FrameScores] | None
    labels: tuple[str, ...]
    weights: NDArray[np.int64]
    framed: Sequence[FramedLabel] = field(default=())

    @property
    def given(self) -> Mapping[str, FrameScores]:
        """The scores.

        Raises:
            OptionError: There are none.
        """
        if self.scores is None:
            raise OptionError("got events only; this metric needs scores of every frame")
        return self.scores

    @cached_property
    def _whole(self) -> dict[str, Any]:
        return {"truth": self.truth, "labels": self.labels}

    @cached_property
    def psds1(self) -> PSDSResult:
        """PSDS of scenario 1."""
        return psds(self.given, settings=PSDS1, durations=self.durations, weights=self.weights, **self._whole)

    @cached_property
    def psds2(self) -> PSDSResult:
        """PSDS of scenario 2."""
        return psds(self.given, settings=PSDS2, durations=self.durations, weights=self.weights, **self._whole)

    @cached_property
    def psds1_t(self) -> PSDSResult:
        """PSDS of scenario 1 where absent labels are not scored."""
        return psds(
            self.given,
            settings=PSDS1,
            durations=self.durations,
            weights=self.weights,
            present_only=True,
            **self._whole,
        )

    @cached_property
    def events(self) -> Counts:
        """Events hit within collars."""
        return collar_counts(self.found, self.truth, labels=self.labels)

    @cached_property
    def overlaps(self) -> Counts:
        """Events and detections that cover half of each other."""
        return intersection_counts(self.found, self.truth, labels=self.labels)

    @cached_property
    def seconds(self) -> Counts:
        """Segments of one second."""
        return segment_counts(self.found, self.truth, labels=self.labels)

    @cached_property
    def d_prime(self) -> FramedResult:
        """D' on explicit negatives."""
        return framed_d_prime(self.given, self.framed, labels=self.labels)


Value = tuple[float, NDArray[np.float64] | None, str, Mapping[str, float]]
"""A metric, its samples, and under which name each label's own goes into the table."""


def _macro(key: str, counts: Counts, case: Case) -> Value:
    result = counts.f_scores()
    rows = {label: row["f_measure"] for label, row in result.per_label.items()}
    return result.macro["f_measure"], counts.macro_samples(case.weights), key, rows


def _micro(counts: Counts, case: Case) -> Value:
    return counts.f_scores().micro["f_measure"], counts.micro_samples(case.weights), "", {}


def _ranked(key: str, result: RankingResult) -> Value:
    return result.macro, result.samples, key, result.per_label


def _segments(metric: Callable[..., RankingResult], key: str, case: Case, **options: Any) -> Value:
    return _ranked(key, metric(case.given, case.truth, labels=case.labels, weights=case.weights, **options))


def _best(key: str, result: Any) -> Value:
    return result.macro["f_measure"], None, key, result.thresholds or {}


SCORE_METRICS: dict[str, Callable[[Case], Value]] = {
    "psds1": lambda case: (case.psds1.value, case.psds1.samples, "psds1", case.psds1.per_label),
    "psds1_a": lambda case: (case.psds1.macro, case.psds1.macro_samples, "", {}),
    "psds1_t": lambda case: (case.psds1_t.macro, case.psds1_t.macro_samples, "", {}),
    "psds2": lambda case: (case.psds2.value, case.psds2.samples, "psds2", case.psds2.per_label),
    "psds2_a": lambda case: (case.psds2.macro, case.psds2.macro_samples, "", {}),
    "event_f1_best_macro": lambda case: _best(
        "threshold", collar_best(case.given, case.truth, labels=case.labels).f_scores()
    ),
    "segment_f1_best_macro": lambda case: _best(
        "", segment_f1(case.given, case.truth, "best", durations=case.durations, labels=case.labels)
    ),
    "frame_auroc": lambda case: _segments(frame_auroc, "auroc", case),
    "frame_ap": lambda case: _segments(frame_average_precision, "ap", case),
    "segment_auroc": lambda case: _segments(segment_auroc, "", case, durations=case.durations),
    "segment_mpauc": lambda case: _segments(
        segment_auroc, "mpauc", case, durations=case.durations, max_fpr=0.1
    ),
    "segment_ap": lambda case: _segments(segment_average_precision, "", case, durations=case.durations),
    "clip_auroc": lambda case: _segments(clip_auroc, "", case),
    "clip_ap": lambda case: _segments(clip_average_precision, "", case),
    "d_prime": lambda case: (case.d_prime.macro, None, "d_prime", case.d_prime.per_label),
}
"""Metrics of scores, by key."""

EVENT_METRICS: dict[str, Callable[[Case], Value]] = {
    "event_f1_macro": lambda case: _macro("event_f1", case.events, case),
    "event_f1_micro": lambda case: _micro(case.events, case),
    "segment_f1_macro": lambda case: _macro("segment_f1", case.seconds, case),
    "segment_f1_micro": lambda case: _micro(case.seconds, case),
    "intersection_f1_macro": lambda case: _macro("intersection_f1", case.overlaps, case),
    "intersection_f1_micro": lambda case: _micro(case.overlaps, case),
}
"""Metrics of detected events, by key."""


def evaluate(
    truth: Found,
    durations: Mapping[str, float],
    found: Found,
    scores: Mapping[str, FrameScores] | None = None,
    *,
    labels: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    framed: Sequence[FramedLabel] = (),
    resamples: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Take all metrics and make the document; see `peaframe.eval.report` for what it becomes.

    Args:
        truth: True events by recording. For all but event F1 and sed_eval's own figures, which take them as they are,
            those of one label that overlap or touch are merged, and that is noted.
        durations: Seconds of every recording; names exactly the recordings that are scored.
        found: Detected events by recording.
        scores: Scores by recording, for the metrics that need them.
        labels: Score these labels only; by default all of the scores, and true events of another are an error; or
            else all that occur.
        metrics: Keys of `SCORE_METRICS` and `EVENT_METRICS`, the headline first; by default all that can be taken.
        framed: AudioSet's explicit positives and negatives, for `d_prime`.
        resamples: Draws of recordings for 95 % intervals; by default 200, or none where that would take hours.
        seed: Of these draws.
        progress: Show a bar on stderr if that is a terminal.

    Returns:
        Keys `recordings hours events metrics per_label unscored curves confusion worst sed_eval notes settings`.

    Raises:
        OptionError: Recordings or labels do not fit each other, an unknown metric, or nothing to score.
    """
    check_recordings(truth, durations, found, scores)
    chosen, notes = _chosen(metrics, scores is not None, bool(framed))
    names = sorted(durations)
    wanted = labels_of(labels, scores, truth, found)
    among = frozenset(wanted)
    real = {name: [event for event in truth.get(name, ()) if event.label in among] for name in names}
    merged = {name: merge_events(own) for name, own in real.items()}
    heard = {name: [event for event in found.get(name, ()) if event.label in among] for name in names}
    draws, said = draws_of(resamples, names, len(wanted), scores)
    case = Case(real, durations, heard, scores, wanted, resample(len(names), draws, seed), framed)
    if lost := sum(len(real[name]) - len(merged[name]) for name in names):
        notes.append(
            f"true events that overlap or touch another of their label: {lost}; merged for all but event F1"
        )
    notes += said + ([] if scores is None else odd_lengths(scores, durations))
    counts = case.events
    never = frozenset(counts.unscored)
    if strange := sum(event.label in never for own in heard.values() for event in own):
        notes.append(f"detections of labels without true events, which count nowhere: {strange}")
    document: dict[str, Any] = {
        "recordings": len(names),
        "hours": sum(durations.values()) / 3600,
        "events": sum(map(len, real.values())),
        "metrics": {},
        "per_label": _rows(counts),
        "settings": {"resamples": draws, "seed": seed, "level": 0.95},
    }
    for key in tqdm(chosen, desc="metrics", unit="metric", disable=None if progress else True):
        value, samples, column, rows = {**SCORE_METRICS, **EVENT_METRICS}[key](case)
        document["metrics"][key] = _with_interval(value, samples)
        for label, own in rows.items() if column else ():
            document["per_label"].setdefault(label, {"events": 0})[column] = own
    if "d_prime" in chosen and case.d_prime.outside:
        notes.append(f"labelled frames left out that no scored frame overlaps: {case.d_prime.outside}")
    document["unscored"] = [label for label in counts.unscored if label not in document["per_label"]]
    document["curves"] = {} if scores is None else _curves(case, chosen)
    document["confusion"] = confusion(heard, merged, counts.labels)
    document["worst"] = _worst(counts)
    document["sed_eval"], more = _second_opinion(case)
    document["notes"] = notes + more
    return document


def _chosen(metrics: Sequence[str] | None, scored: bool, framed: bool) -> tuple[list[str], list[str]]:
    """The metrics that are taken, and what to say of those that cannot be."""
    can = [key for key in SCORE_METRICS if key != "d_prime" or framed] if scored else []
    can += EVENT_METRICS
    if metrics is None:
        return can, []
    if unknown := [key for key in metrics if key not in SCORE_METRICS and key not in EVENT_METRICS]:
        raise OptionError(
            f"got the metric {unknown[0]!r}; expected some of {', '.join([*SCORE_METRICS, *EVENT_METRICS])}"
        )
    chosen = [key for key in dict.fromkeys(metrics) if key in can]
    wants = {True: "explicit negatives", False: "scores"}
    left = [
        f"{key} is left out for want of {wants[scored]}" for key in dict.fromkeys(metrics) if key not in can
    ]
    if not chosen:
        raise OptionError(f"got no metric that can be taken; {'; '.join(left) or 'name one or more'}")
    return chosen, left


def _rows(counts: Counts) -> dict[str, dict[str, float]]:
    return {
        label: {
            "events": int(row["reference"]),
            "event_f1": row["f_measure"],
            "event_precision": row["precision"],
            "event_recall": row["recall"],
        }
        for label, row in counts.f_scores().per_label.items()
    }


def _with_interval(value: float, samples: NDArray[np.float64] | None) -> dict[str, float | None]:
    if samples is None or not len(samples) or np.isnan(samples).all():
        return {"value": value, "low": None, "high": None}
    found = interval(value, samples)  # of a share; where nearly all samples are alike, beside its value
    low, high = max(found.low, 0.0), min(found.high, 1.0)
    return {"value": value, "low": min(low, value), "high": max(high, value)}


def _curves(case: Case, chosen: Sequence[str]) -> dict[str, Any]:
    curves: dict[str, Any] = {
        "pr": {
            label: {"recall": recall.tolist(), "precision": precision.tolist()}
            for label, (recall, precision) in frame_precision_recall(
                case.given, case.truth, labels=case.labels, points=200
            ).items()
        }
    }
    if any(key.startswith("psds1") for key in chosen):
        result, limit = case.psds1, PSDS1.max_efpr
        curves["psd_roc"] = {
            "max_efpr": limit,
            "mean": {"efpr": result.curve.rate.tolist(), "etpr": result.curve.hits.tolist()},
            "labels": {
                label: {
                    "efpr": roc.rate[roc.rate <= limit].tolist(),
                    "tpr": roc.hits[roc.rate <= limit].tolist(),
                }
                for label, roc in result.curves.items()
            },
        }
    return curves


def _worst(counts: Counts) -> list[dict[str, Any]]:
    bad = [row for row in counts.by_file() if row[2] or row[3]]
    bad.sort(key=lambda row: (row[1], -row[2] - row[3], row[0]))
    return [
        {"recording": name, "f1": f1, "missed": missed, "false": false}
        for name, f1, missed, false in bad[:WORST]
    ]


def _second_opinion(case: Case) -> tuple[dict[str, Any], list[str]]:
    """All outputs of sed_eval, error rates among them, if it is installed."""
    if len(case.durations) * len(case.labels) > SED_EVAL_CELLS:
        return {}, [
            "sed_eval's error rates are left out: it would need hours for so many recordings and labels"
        ]
    try:
        return {
            "event_based": dataclasses.asdict(event_based(case.found, case.truth, labels=case.labels)),
            "segment_based": dataclasses.asdict(segment_based(case.found, case.truth, labels=case.labels)),
        }, []
    except MissingExtraError:
        return {}, [
            "sed_eval is not installed, so its error rates are left out: pip install 'peaframe[eval]'"
        ]
