"""What a run on whole clips found, as metrics.json and as report.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peaframe.eval.report import as_json
from peaframe.files import atomic_path, make_folder

__all__ = ["number", "save_clip_report", "state"]

_CONFUSED = 20


def number(value: float | None, key: str = "") -> str:
    """A metric as people read it: ranks with one decimal, all else with three."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.1f}" if "median_rank" in key else f"{value:.3f}"


def state(document: Mapping[str, Any]) -> list[str]:
    """One line on what was measured, and one that says so if that is not all."""
    lines = [
        f"{document['title']}: {document['hours']:.2f} h of sound, {document['task']}, {document['model']}"
    ]
    if not document["complete"]:
        missing = len(document["missing"]) + document["unnamed"]
        lines.append(f"PARTIAL: {missing} clips missing, so this is not the score of {document['benchmark']}")
    return lines


def save_clip_report(document: Mapping[str, Any], folder: Path) -> None:
    """Write metrics.json and report.md, each whole or not at all.

    Raises:
        FormatError: They cannot be written.
    """
    make_folder(folder)
    for name, text in (("metrics.json", as_json(document)), ("report.md", _markdown(document))):
        with atomic_path(folder / name) as path:
            path.write_text(text, encoding="utf-8", newline="\n")


def _markdown(document: Mapping[str, Any]) -> str:
    metrics = [
        (
            key,
            number(row["value"], key),
            "" if row["low"] is None else f"{number(row['low'])} to {number(row['high'])}",
        )
        for key, row in document["metrics"].items()
    ]
    lines = [f"# {document['title']}", "", *state(document), ""]
    lines += _table(("metric", "value", "95 % interval"), metrics)
    lines += [f"- {note}" for note in document["notes"]]
    if folds := document.get("folds"):
        lines += ["", "## Folds", "", *_table(("fold", "top-1"), [(k, number(v)) for k, v in folds.items()])]
    if rows := document.get("per_class"):
        cells = [
            (
                row["label"],
                str(row["clips"]),
                *(number(row[key]) for key in ("recall", "precision", "average_precision")),
            )
            for row in rows
        ]
        header = ("label", "clips", "recall", "precision", "average precision")
        lines += ["", f"## Labels ({document['of']})", "", *_table(header, cells)]
        lines += [
            "## Most often confused",
            "",
            *_table(("true", "said", "clips"), _confused(document["confusion"])),
        ]
    if sizes := document.get("sizes"):
        rows = [(name, str(queries), str(candidates)) for name, (queries, candidates) in sizes.items()]
        lines += ["", "## Sizes", "", *_table(("direction", "queries", "candidates"), rows)]
        lines += [f"`_dual`: with dual softmax, scale {document['dual_softmax_scale']:g}."]
    return "\n".join(lines) + "\n"


def _confused(confusion: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    labels, matrix = confusion["labels"], confusion["matrix"]
    wrong = [
        (count, labels[i], labels[j])
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if i != j and count
    ]
    wrong.sort(key=lambda one: -one[0])
    return [(true, said, str(count)) for count, true, said in wrong[:_CONFUSED]]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines] + [""]
