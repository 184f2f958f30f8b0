"""What a report says, before it is laid out: names of metrics, numbers as text, rows of tables.

`peaframe.eval.report` (Markdown) and `peaframe.eval.report_html` (the page) draw on the same words, so that
they never disagree. Nothing here is escaped: whoever lays out escapes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from peaframe.errors import FormatError

__all__ = ["METRICS", "Measured", "check", "facts", "label_table", "measured", "metric_name", "partial"]

METRICS: dict[str, tuple[str, str]] = {
    "psds1": ("PSDS1", "Polyphonic sound detection score, scenario 1: react fast and bound events well."),
    "psds1_a": ("PSDS1_A", "PSDS1 without its variance penalty: the mean of the labels' own scores."),
    "psds1_t": ("PSDS1_T", "PSDS1_A where labels that a recording does not have score 0 in it."),
    "psds2": ("PSDS2", "Polyphonic sound detection score, scenario 2: do not confuse labels."),
    "psds2_a": ("PSDS2_A", "PSDS2 without its variance penalty: the mean of the labels' own scores."),
    "event_f1_macro": (
        "Event F1, collar 200 ms",
        "Onset within 200 ms, offset within 200 ms or 20 % of the event; mean of the labels.",
    ),
    "event_f1_micro": (
        "Event F1, collar 200 ms, micro",
        "The same with the events of all labels counted together.",
    ),
    "event_f1_best_macro": (
        "Event F1, best thresholds",
        "Collar F1 at each label's best threshold, found on this very data: an upper bound.",
    ),
    "segment_f1_macro": ("Segment F1, 1 s", "Which labels are heard in each second; mean of the labels."),
    "segment_f1_micro": ("Segment F1, 1 s, micro", "The same with all labels counted together."),
    "segment_f1_best_macro": (
        "Segment F1, best thresholds",
        "Segment F1 at each label's best threshold, found on this very data: an upper bound.",
    ),
    "intersection_f1_macro": (
        "Intersection F1",
        "Events and detections that cover half of each other; mean of the labels.",
    ),
    "intersection_f1_micro": (
        "Intersection F1, micro",
        "The same with the events of all labels counted together.",
    ),
    "segment_mpauc": (
        "mpAUC",
        "Area under the ROC of 1 s segments up to 10 % false positives; mean of labels.",
    ),
    "segment_auroc": (
        "Segment AUROC",
        "Area under the ROC of 1 s segments; mean of the labels; chance is 0.5.",
    ),
    "segment_ap": ("mAP", "Average precision of 1 s segments; mean of the labels."),
    "frame_auroc": ("Frame AUROC", "Area under the ROC of single frames; mean of the labels; chance is 0.5."),
    "frame_ap": ("Frame mAP", "Average precision of single frames; mean of the labels."),
    "clip_auroc": ("Clip AUROC", "Area under the ROC of recordings by their highest score; chance is 0.5."),
    "clip_ap": ("Clip mAP", "Average precision of recordings by their highest score; mean of the labels."),
    "d_prime": ("d′", "Separation of present from absent, in standard deviations; chance is 0."),
    "mean_iou": ("Mean IoU", "Heard time that is shared over heard time in all; mean of the queries."),
    "false_alarms_per_hour": ("False alarms per hour", "Detections without an event; lower is better."),
}
"""Each metric's key: its short name, and one line on what it says; in the order in which they are shown."""

LABEL_COLUMNS = {
    "events": "Events",
    "psds1": "PSDS1",
    "psds2": "PSDS2",
    "event_f1": "Event F1",
    "event_precision": "Event P",
    "event_recall": "Event R",
    "intersection_f1": "Inters. F1",
    "segment_f1": "Segment F1",
    "auroc": "AUROC",
    "mpauc": "mpAUC",
    "ap": "AP",
    "d_prime": "d′",
    "threshold": "Threshold",
}
_FIRST = {"audioset-strong": "psds1_a", "maestro": "segment_mpauc"}
"""What a benchmark ranks by, where that is not the first of METRICS."""
_WORST_COLUMNS = {"f1": "Event F1", "missed": "Missed", "false": "False"}
_COUNTS = ("events", "missed", "false")
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_KINDS = {
    "metrics": Mapping,
    "per_label": Mapping,
    "curves": Mapping,
    "confusion": Mapping,
    "settings": Mapping,
    "seconds": Mapping,
    "worst": Sequence,
    "notes": Sequence,
    "missing": Sequence,
    "unscored": Sequence,
}


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric and its value.

    Attributes:
        key: Its key in the evaluation.
        name: Its name for people.
        explanation: One line on what it says; empty for a metric that is not in METRICS.
        value: None where it could not be taken.
        low: Lower end of its 95 % interval, or None.
        high: Upper end, or None.
    """

    key: str
    name: str
    explanation: str
    value: float | None
    low: float | None
    high: float | None

    @property
    def share(self) -> bool:
        """Whether it runs from 0 to 1, so that a scale can be drawn."""
        numbers = [number for number in (self.value, self.low, self.high) if number is not None]
        return self.key not in ("d_prime", "false_alarms_per_hour") and all(0 <= x <= 1 for x in numbers)

    @property
    def interval(self) -> str:
        """The 95 % interval as text."""
        if self.low is None or self.high is None:
            return "–"
        return f"[{decimals(self.low)}, {decimals(self.high)}]"


def check(evaluation: Mapping[str, Any]) -> None:
    """Refuse what is not an evaluation.

    Raises:
        FormatError: A part is of another kind than it should be; the message names it.
    """
    if not isinstance(evaluation, Mapping) or not isinstance(evaluation.get("metrics"), Mapping):
        raise FormatError("got no evaluation; expected an object with 'metrics', as peaframe eval writes it")
    for key, kind in _KINDS.items():
        value = evaluation.get(key)
        if value is not None and (not isinstance(value, kind) or isinstance(value, str)):
            wanted = "an object" if kind is Mapping else "a list"
            raise FormatError(f"the evaluation's {key!r} is {type(value).__name__}; expected {wanted}")
    for key in ("per_label", "worst"):
        value = evaluation.get(key) or {}
        for entry in value.values() if isinstance(value, Mapping) else value:
            if not isinstance(entry, Mapping):
                raise FormatError(f"the evaluation's {key!r} holds {entry!r}; expected objects only")


def part(of: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object inside an object; an empty one if it is not there.

    Raises:
        FormatError: Something else is there.
    """
    value = of.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise FormatError(f"the evaluation's {key!r} is {type(value).__name__}; expected an object")
    return value or {}


def metric_name(key: str) -> str:
    """The name for people; of a metric that has none, its key."""
    return METRICS[key][0] if key in METRICS else key


def measured(evaluation: Mapping[str, Any]) -> list[Measured]:
    """All metrics: the benchmark's own first, then in the order of METRICS, then the unknown ones."""
    first = _FIRST.get(str(evaluation.get("benchmark")))
    places = {key: place for place, key in enumerate(METRICS)}
    keys = sorted(evaluation["metrics"], key=lambda key: (key != first, places.get(key, len(places))))
    return [_measured(key, evaluation["metrics"][key]) for key in keys]


def partial(evaluation: Mapping[str, Any]) -> str:
    """The line that says that recordings are missing; empty if none is."""
    missing = _missing(evaluation)
    if evaluation.get("complete", not missing):
        return ""
    count = "recordings"
    if missing:
        count = f"{missing} of {missing + int(evaluation.get('recordings') or 0)} recordings"
    return f"PARTIAL: {count} missing, this is not the benchmark's score"


def _missing(evaluation: Mapping[str, Any]) -> int:
    """How many recordings are missing, with those that the metadata does not even name."""
    return len(evaluation.get("missing") or ()) + int(evaluation.get("unnamed") or 0)


def facts(evaluation: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was scored by what, and how long that took: pairs of a heading and a text."""
    found = [
        ("Model", evaluation.get("model")),
        ("Benchmark", evaluation.get("benchmark")),
        ("Recordings", _count(evaluation.get("recordings"))),
        ("Missing", _count(_missing(evaluation)) if partial(evaluation) else None),
        ("Audio", _hours(evaluation.get("hours"))),
        ("True events", _count(evaluation.get("events"))),
        ("Labels scored", _count(len(evaluation.get("per_label") or ()) or None)),
        ("Time", ", ".join(f"{name} {_seconds(s)}" for name, s in part(evaluation, "seconds").items())),
        ("peaframe", evaluation.get("peaframe")),
    ]
    return [(name, clean(text)) for name, text in found if text not in (None, "")]


def settings(evaluation: Mapping[str, Any]) -> list[tuple[str, str]]:
    """All settings, nested ones as `outer.inner`."""
    flat = _flat(evaluation.get("settings"), "") if part(evaluation, "settings") else ()
    return [(clean(name), clean(text)) for name, text in flat]


def label_table(evaluation: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[Any]]]]:
    """The keys of the columns, and each label with its values, sorted by label (big letters as small ones)."""
    per_label = part(evaluation, "per_label")
    seen = dict.fromkeys(key for entry in per_label.values() for key in entry)
    columns = [key for key in LABEL_COLUMNS if key in seen] + [
        key for key in seen if key not in LABEL_COLUMNS
    ]
    order = sorted(per_label, key=lambda label: (str(label).casefold(), str(label)))
    return columns, [(str(label), [per_label[label].get(key) for key in columns]) for label in order]


def worst_table(evaluation: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[Any]]]]:
    """The keys of the columns, and each recording with its values, in the evaluation's order."""
    worst = evaluation.get("worst") or ()
    seen = dict.fromkeys(key for entry in worst for key in entry if key != "recording")
    columns = [key for key in _WORST_COLUMNS if key in seen] + [
        key for key in seen if key not in _WORST_COLUMNS
    ]
    return columns, [
        (clean(entry.get("recording", "")), [entry.get(key) for key in columns]) for entry in worst
    ]


def number(value: object) -> float | None:
    """The value if it is a number, not NaN; else None."""
    if isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value):
        return None
    return float(value)


def decimals(value: object) -> str:
    """A measured number with three decimals; a dash where there is none."""
    real = number(value)
    if real is None:
        return "–"
    return f"{real:.3f}".replace("inf", "∞").replace("-", "−")


def column(key: str) -> str:
    """The heading over a table's values."""
    return LABEL_COLUMNS.get(key) or _WORST_COLUMNS.get(key) or clean(key)


def cell(key: str, value: object) -> str:
    """A table's value: counts as whole numbers, others with three decimals, text as it is."""
    if isinstance(value, Integral) and (key in _COUNTS or key not in LABEL_COLUMNS):
        return str(int(value))
    return clean(value) if isinstance(value, str) else decimals(value)


def clean(text: object) -> str:
    """Text on one line, without what no page or file can hold."""
    return _ODD.sub("\ufffd", re.sub(r"\s+", " ", str(text)).strip())


def counted(names: Sequence[Any], noun: str) -> str:
    """How many there are: 1 label, 2 labels."""
    return f"{len(names)} {noun}{'' if len(names) == 1 else 's'}"


def short(text: object, most: int) -> str:
    """Clean text of at most `most` characters; what was cut shows as an ellipsis."""
    text = clean(text)
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _measured(key: str, entry: object) -> Measured:
    entry = entry if isinstance(entry, Mapping) else {"value": entry}
    explanation = METRICS[key][1] if key in METRICS else ""
    value, low, high = (number(entry.get(end)) for end in ("value", "low", "high"))
    return Measured(key, clean(metric_name(key)), explanation, value, low, high)


def _count(value: object) -> str | None:
    return None if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _hours(value: object) -> str | None:
    hours = number(value)
    return None if hours is None else f"{hours:.2f} hours" if hours < 100 else f"{hours:,.0f} hours"


def _seconds(value: object) -> str:
    seconds = number(value)
    if seconds is None:
        return "–"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _flat(value: object, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)) and value:
        yield name, ", ".join(text for _, text in (pair for inner in value for pair in _flat(inner, "")))
    elif isinstance(value, bool):
        yield name, "yes" if value else "no"
    else:
        empty = value is None or value in ("", [], (), {})
        yield name, "none" if empty else f"{value:.10g}" if isinstance(value, float) else str(value)
