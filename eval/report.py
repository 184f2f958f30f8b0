"""An evaluation as people read it: Markdown for a repository, one page of HTML to look at and to send on.

Everything is drawn from the evaluation that `peaframe eval` writes to metrics.json, a plain object: `metrics`
(each with `value`, `low`, `high`), and, where there are any, `per_label`, `curves`, `confusion`, `worst`,
`missing`, `notes`, `unscored`, `settings`, `seconds` and the facts of the header.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from peaframe.errors import FormatError
from peaframe.eval import report_words as words
from peaframe.eval.report_html import html
from peaframe.eval.report_words import METRICS, metric_name
from peaframe.files import atomic_path, make_folder

__all__ = ["METRICS", "as_json", "html", "markdown", "metric_name", "save_report"]

_MOST = 50
_SPECIAL = re.compile(r"[\\`*\[\]|~#$]|(?<![^\W_])_|_(?![^\W_])|^(?:[-+](?=\s)|\d+(?=[.)]\s))")


def save_report(evaluation: Mapping[str, Any], folder: Path) -> None:
    """Write metrics.json, report.md and report.html, each whole or not at all.

    In metrics.json keys are sorted, and NaN and infinities, which JSON lacks, are null.

    Args:
        evaluation: What to write.
        folder: Where; it is made if it is not there.

    Raises:
        FormatError: It is no evaluation, or a file cannot be written.
    """
    texts = {
        "metrics.json": as_json(evaluation),
        "report.md": markdown(evaluation),
        "report.html": html(evaluation),
    }
    folder = Path(folder)
    make_folder(folder)
    for name, text in texts.items():
        with atomic_path(folder / name) as path:
            path.write_text(text, encoding="utf-8", newline="\n")


def as_json(evaluation: Mapping[str, Any]) -> str:
    """The evaluation as metrics.json holds it: keys sorted; NaN and infinities, which JSON lacks, are null."""
    return _json(_plain(evaluation)) + "\n"


def markdown(evaluation: Mapping[str, Any]) -> str:
    """The report as Markdown, with the tables GitHub knows.

    Raises:
        FormatError: It is not an evaluation.
    """
    words.check(evaluation)
    partial = words.partial(evaluation)
    title = words.clean(evaluation.get("title") or "Evaluation")
    metrics = [
        (_escaped(metric.name), words.decimals(metric.value), metric.interval)
        for metric in words.measured(evaluation)
    ]
    facts = [tuple(map(_escaped, pair)) for pair in words.facts(evaluation)]
    notes = [words.clean(note) for note in evaluation.get("notes") or ()]
    notes += _named("label", "without true events, in no score", evaluation.get("unscored") or ())
    notes += _named("recording", "missing", evaluation.get("missing") or ())
    columns, labels = words.label_table(evaluation)
    rows = [
        (
            _escaped(words.clean(label)),
            *(_escaped(words.cell(*pair)) for pair in zip(columns, values, strict=True)),
        )
        for label, values in labels
    ]
    parts = [
        f"# {_escaped(title)}",
        f"**{partial}**" if partial else "",
        _table(["Metric", "Value", "95 % interval"], metrics, texts=1),
        _section("What was scored", _table(["What", ""], facts, texts=2)),
        _section("Notes", "\n".join(f"- {_escaped(note)}" for note in notes)),
        _section("Labels", _table(["Label", *map(_column, columns)], rows, texts=1)),
        _section("Worst recordings", _worst(evaluation)),
        _section("Settings", _settings(evaluation)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _worst(evaluation: Mapping[str, Any]) -> str:
    columns, worst = words.worst_table(evaluation)
    rows = [
        (_escaped(name), *(_escaped(words.cell(*pair)) for pair in zip(columns, values, strict=True)))
        for name, values in worst[:_MOST]
    ]
    more = f"\n\nThe first {_MOST} of {len(worst)}." if len(worst) > _MOST else ""
    return _table(["Recording", *map(_column, columns)], rows, texts=1) + more


def _settings(evaluation: Mapping[str, Any]) -> str:
    pairs = words.settings(evaluation)
    more = f"\n\nAnd {len(pairs) - 2 * _MOST} more, in metrics.json." if len(pairs) > 2 * _MOST else ""
    rows = [tuple(map(_escaped, pair)) for pair in pairs[: 2 * _MOST]]
    return _table(["Setting", "Value"], rows, texts=2) + more


def _named(noun: str, what: str, names: Sequence[Any]) -> list[str]:
    """A note with the names it is about, the first of them if they are many."""
    if not names:
        return []
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return [
        f"{words.counted(names, noun)} {what}: {', '.join(words.clean(name) for name in names[:_MOST])}{more}"
    ]


def _section(head: str, text: str) -> str:
    return f"## {head}\n\n{text}" if text else ""


def _column(key: str) -> str:
    return _escaped(words.column(key))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], texts: int) -> str:
    """A table whose first `texts` columns are flush left and the others right; nothing without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    ruler = ["---"] * texts + ["---:"] * (len(heads) - texts)
    return "\n".join([f"| {' | '.join(heads)} |", f"| {' | '.join(ruler)} |", *lines]) if lines else ""


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(lambda found: _backslashed(found.group()), text)


def _backslashed(text: str) -> str:
    return f"{text}\\" if text.isdigit() else f"\\{text}"


def _plain(value: Any) -> Any:
    """What JSON holds: numpy's numbers and arrays as Python's, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    raise FormatError(
        f"the evaluation holds {value!r}, which JSON cannot; give numbers, text, lists, objects"
    )


def _json(value: Any, depth: int = 0) -> str:
    """JSON with sorted keys; objects down to the third level have a line for each key."""
    if not isinstance(value, dict) or not value or depth == 3:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    pad = " " * (depth + 1)
    lines = [f"{pad}{json.dumps(key)}: {_json(value[key], depth + 1)}" for key in sorted(value)]
    return "{\n" + ",\n".join(lines) + "\n" + pad[1:] + "}"
