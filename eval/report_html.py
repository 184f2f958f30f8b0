"""The report as one page that needs nothing else: no network, no fonts, no pictures from elsewhere.

It reads in light and dark, on paper and on a phone, and without its script, which only sorts the table of
labels and singles out one label's curves. All text of an evaluation is escaped; besides, the page's policy
lets a browser run this one script and no other.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from peaframe.eval import report_words as words
from peaframe.eval.report_confusion import FEW_LABELS, MOST_LABELS, Confusion, heat_map
from peaframe.eval.report_style import SCRIPT, STYLE
from peaframe.eval.report_svg import Curve, mean_precision, precision_recall, psd_roc

__all__ = ["html"]

CARDS = 6
_MOST_WORST = 50
_MOST_SETTINGS = 400
_FEW = 30


def html(evaluation: Mapping[str, Any]) -> str:
    """The page that shows an evaluation.

    Args:
        evaluation: As `peaframe eval` writes it to metrics.json; all parts but `metrics` may be absent.

    Raises:
        FormatError: It is not such an evaluation, or a curve or the confusion in it does not fit together.
    """
    words.check(evaluation)
    title = words.clean(evaluation.get("title") or "Evaluation")
    partial = words.partial(evaluation)
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    policy += "; base-uri 'none'; form-action 'none'"
    body = [
        f'<p class="partial" role="note">{escape(partial)}</p>' if partial else "",
        f"<header><h1>{escape(title)}</h1>{_facts(evaluation)}</header>",
        _cards(evaluation),
        _notes(evaluation),
        _metrics(evaluation),
        _curves(evaluation),
        _labels(evaluation),
        _confusion(evaluation),
        _worst(evaluation),
        _settings(evaluation),
        f"<footer>peaframe {escape(words.clean(evaluation.get('peaframe') or ''))} · report of an evaluation; "
        "the exact numbers are in metrics.json</footer>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{'PARTIAL: ' if partial else ''}{escape(words.short(title, 120))}</title>\n"
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + f"\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _facts(evaluation: Mapping[str, Any]) -> str:
    """What was scored by what, as headings over texts."""
    pairs = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in words.facts(evaluation)
    )
    return f'<dl class="facts">{"".join(pairs)}</dl>'


def _cards(evaluation: Mapping[str, Any]) -> str:
    """The first metrics, large, each with its interval on a scale where it has one."""
    tag = ' <b class="tag">partial</b>' if words.partial(evaluation) else ""
    cards = []
    for metric in words.measured(evaluation)[:CARDS]:
        scale, interval = "", ""
        if metric.value is not None and metric.share:
            low = metric.value if metric.low is None else metric.low
            high = metric.value if metric.high is None else metric.high
            style = f"--a:{low:.4f};--b:{high:.4f};--v:{metric.value:.4f}"
            band = "<i></i>" if high > low else ""
            scale = f'<span class="scale" style="{style}">{band}<b></b></span>'
        if metric.interval != "–":
            interval = f"<small>95 % {metric.interval}</small>"
        cards.append(
            f'<li><span class="name"><span>{_tight(words.short(metric.name, 60))}</span>{tag}</span>'
            f'<span class="value">{words.decimals(metric.value)}</span>{scale}{interval}</li>'
        )
    abreast = len(cards) if len(cards) in (4, 5) else 3
    return f'<ul class="cards" style="--n:{abreast}">{"".join(cards)}</ul>' if cards else ""


def _tight(text: str) -> str:
    """Escaped text that keeps a number and its unit on one line."""
    return re.sub(r"(\d) (?=(?:m?s|%)\b)", r"\1&nbsp;", escape(text))


def _notes(evaluation: Mapping[str, Any]) -> str:
    """What was handled on the way, which labels and which recordings were not scored."""
    notes = [f"<li>{escape(words.clean(note))}</li>" for note in evaluation.get("notes") or ()]
    parts = [f"<ul>{''.join(notes)}</ul>"] if notes else []
    for key, noun, what in (
        ("unscored", "label", "without true events, in no score"),
        ("missing", "recording", "missing"),
    ):
        names = [words.clean(name) for name in evaluation.get(key) or ()]
        if names:
            parts.append(_list(f"{words.counted(names, noun)} {what}", names))
    return f"<section><h2>Notes</h2>{''.join(parts)}</section>" if parts else ""


def _list(head: str, names: Sequence[str]) -> str:
    """Names after a heading; folded away if they are many."""
    listed = ", ".join(escape(name) for name in names[:1000])
    listed += f" and {len(names) - 1000} more" if len(names) > 1000 else ""
    if len(names) <= _FEW:
        return f"<p>{escape(head)}: {listed}</p>"
    return f"<details><summary>{escape(head)}</summary><p>{listed}</p></details>"


def _metrics(evaluation: Mapping[str, Any]) -> str:
    """All metrics with their meaning."""
    rows = [
        f'<tr><th scope="row"><span class="what"><span>{escape(metric.name)}</span>'
        f"<small>{escape(metric.explanation)}</small></span></th>"
        f'<td class="n">{words.decimals(metric.value)}</td><td class="n">{metric.interval}</td></tr>'
        for metric in words.measured(evaluation)
    ]
    heads = [("Metric", False), ("Value", True), ("95 % interval", True)]
    return f"<section><h2>Metrics</h2>{_table(heads, rows)}</section>" if rows else ""


def _curves(evaluation: Mapping[str, Any]) -> str:
    """PSD-ROC and precision over recall, side by side, and a choice of one label."""
    places = _places(evaluation)
    figures = [figure for figure in (_psd_roc(evaluation, places), _pr(evaluation, places)) if figure]
    if not figures:
        return ""
    pick = (
        '<p class="pick"><label><span class="key chosen"></span>One label:<select><option value="">none</option>'
        '</select></label> <output class="soft"></output></p>'
    )
    return f'<section><h2>Curves</h2>{pick}<div class="pair">{"".join(figures)}</div></section>'


def _psd_roc(evaluation: Mapping[str, Any], places: Mapping[str, int]) -> str:
    data = words.part(words.part(evaluation, "curves"), "psd_roc")
    mean = words.part(data, "mean")
    labels = _in_order(words.part(data, "labels"), ("efpr", "tpr"), True, places)
    bold = Curve.of(mean, ("efpr", "etpr"), True, "the mean") if mean else None
    if not labels and bold is None:
        return ""
    picture = psd_roc(bold, labels, places, words.number(data.get("max_efpr")) or 100.0)
    return _figure("PSD-ROC", picture, "effective, over all labels" if bold else "", len(labels))


def _pr(evaluation: Mapping[str, Any], places: Mapping[str, int]) -> str:
    data = words.part(words.part(evaluation, "curves"), "pr")
    labels = _in_order(data, ("recall", "precision"), False, places)
    if not labels:
        return ""
    picture = precision_recall(mean_precision(list(labels.values())), labels, places)
    return _figure("Precision and recall", picture, "mean of the labels", len(labels))


def _in_order(
    data: Mapping[str, Any], axes: tuple[str, str], forward: bool, places: Mapping[str, int]
) -> dict[str, Curve]:
    """The labels' curves, in the order of the table."""
    curves = {str(label): Curve.of(words.part(data, label), axes, forward, repr(label)) for label in data}
    return {label: curves[label] for label in sorted(curves, key=lambda label: places[label])}


def _figure(head: str, picture: str, bold: str, labels: int) -> str:
    keys = [f'<span class="key"></span>{bold}'] if bold else []
    keys += [f'<span class="key one"></span>each of the {labels} labels'] if labels else []
    faint = f"--faint:{max(0.12, min(0.75, 12 / max(labels, 1))):.2f}"
    caption = "&emsp;".join(keys)
    return f'<figure style="{faint}"><h3>{head}</h3>{picture}<figcaption>{caption}</figcaption></figure>'


def _places(evaluation: Mapping[str, Any]) -> dict[str, int]:
    """Each label's number on the page, in the order of the table."""
    curves = words.part(evaluation, "curves")
    names = [label for label, _ in words.label_table(evaluation)[1]]
    names += map(str, words.part(words.part(curves, "psd_roc"), "labels"))
    names += map(str, words.part(curves, "pr"))
    return {label: place for place, label in enumerate(dict.fromkeys(names))}


def _labels(evaluation: Mapping[str, Any]) -> str:
    """The table of labels; shares from 0 to 1 and counts have a bar under their number."""
    columns, entries = words.label_table(evaluation)
    if not entries:
        return ""
    tops = []
    for column, key in enumerate(columns):
        values = [words.number(values[column]) for _, values in entries]
        real = [value for value in values if value is not None]
        shares = bool(real) and min(real) >= 0 and (max(real) <= 1 or key == "events")
        tops.append(max(1.0, max(real)) if shares and key != "threshold" else None)
    rows = []
    for place, (label, values) in enumerate(entries):
        cells = [
            _bar(words.cell(key, value), words.number(value), top)
            for key, value, top in zip(columns, values, tops, strict=True)
        ]
        name = f'<th scope="row"><span class="labels">{escape(words.clean(label))}</span></th>'
        rows.append(f'<tr data-label="{place}">{name}{"".join(cells)}</tr>')
    heads = [("Label", False), *((words.column(key), True) for key in columns)]
    table = _table(heads, rows, "sortable", tall=len(rows) > _FEW)
    return f"<section><h2>Labels</h2>{table}</section>"


def _bar(text: str, value: float | None, top: float | None) -> str:
    if value is None or top is None:
        return f'<td class="n">{escape(text)}</td>'
    return f'<td class="n bar" style="--v:{value / top:.3f}">{escape(text)}</td>'


def _confusion(evaluation: Mapping[str, Any]) -> str:
    """The heat map, and the pairs that are confused most often."""
    data = evaluation.get("confusion") or {}
    if not data.get("labels"):
        return ""
    confusion = Confusion.of(data["labels"], data.get("matrix") or ())
    said = (
        "Rows are true labels, columns what detections that overlap them said; a row's shades are shares of "
        "its sum, on a square-root scale so that small ones show."
    )
    if len(confusion.labels) > MOST_LABELS:
        said += (
            f" Shown are the {MOST_LABELS} of {len(confusion.labels)} labels most often confused with another; "
            "the others count in the sums."
        )
    legend = 'right <span class="swatch right"></span>wrong <span class="swatch wrong"></span> 0 to 100 %'
    rows = [
        f'<tr><td><span class="labels">{escape(words.clean(true))}</span></td>'
        f'<td><span class="labels">{escape(words.clean(other))}</span></td>'
        f'<td class="n">{count:g}</td><td class="n">{100 * share:.1f} %</td></tr>'
        for true, other, count, share in confusion.worst_pairs()
    ]
    heads = [("True", False), ("Said", False), ("Times", True), ("Of row", True)]
    pairs = f"<div><h3>Most frequent</h3>{_table(heads, rows, 'narrow')}</div>" if rows else ""
    figure = (
        f'<figure><div class="scroll">{heat_map(confusion)}</div><figcaption>{legend}</figcaption></figure>'
    )
    kind = "pair lean" if len(confusion.labels) <= FEW_LABELS else "stack"
    return (
        f'<section><h2>Confusion of labels</h2><p class="soft">{said}</p>'
        f'<div class="{kind}">{figure}{pairs}</div></section>'
    )


def _worst(evaluation: Mapping[str, Any]) -> str:
    columns, worst = words.worst_table(evaluation)
    if not worst:
        return ""
    rows = []
    for name, values in worst[:_MOST_WORST]:
        pairs = zip(columns, values, strict=True)
        cells = (f'<td class="n">{escape(words.cell(key, value))}</td>' for key, value in pairs)
        rows.append(f'<tr><th scope="row" class="long">{escape(name)}</th>{"".join(cells)}</tr>')
    heads = [("Recording", False), *((words.column(key), True) for key in columns)]
    more = f'<p class="soft">The first {_MOST_WORST} of {len(worst)}.</p>' if len(worst) > _MOST_WORST else ""
    return f"<section><h2>Worst recordings</h2>{_table(heads, rows, 'narrow')}{more}</section>"


def _settings(evaluation: Mapping[str, Any]) -> str:
    pairs = words.settings(evaluation)
    if not pairs:
        return ""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in pairs[:_MOST_SETTINGS])
    listed = f'<dl class="rows">{rows}</dl>'
    if len(pairs) > _MOST_SETTINGS:
        listed += f'<p class="soft">And {len(pairs) - _MOST_SETTINGS} more, in metrics.json.</p>'
    if len(pairs) > 2 * _FEW:
        listed = f"<details><summary>All {len(pairs)} settings</summary>{listed}</details>"
    return f"<section><h2>Settings</h2>{listed}</section>"


def _table(
    heads: Sequence[tuple[str, bool]], rows: Iterable[str], kind: str = "", *, tall: bool = False
) -> str:
    """A table that scrolls by itself where it is too wide; `heads` are texts, and whether numbers stand below."""
    cells = "".join(
        f'<th scope="col" class="n">{escape(text)}</th>'
        if numbers
        else f'<th scope="col">{escape(text)}</th>'
        for text, numbers in heads
    )
    named = f' class="{kind}"' if kind else ""
    box = "scroll tall" if tall else "scroll"
    return (
        f'<div class="{box}" tabindex="0"><table{named}><thead><tr>{cells}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )
