"""The quality report as one page that needs nothing else: no network, no scripts; all texts are escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

_STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1c2228;--soft:#5a646e;--rule:#dde1e5;--warn:#b34700}
@media (prefers-color-scheme:dark){:root{--paper:#13171a;--ink:#e4e7ea;--soft:#9aa5af;--rule:#2d343a;--warn:#f0a030}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1000px;margin:0 auto;padding:36px 24px 64px}
h1,h2{font-family:Charter,Georgia,serif;line-height:1.25}h2{margin-top:40px}
p,dd,td,th{overflow-wrap:anywhere}.soft{color:var(--soft)}.bad{color:var(--warn)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}
th,td{padding:5px 10px;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
th{font-weight:500}thead th{color:var(--soft)}
article{border-top:1px solid var(--rule);padding:10px 0}h3{font-size:15px;margin:6px 0}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:2px 18px;margin:6px 0}
dt{color:var(--soft)}dd{margin:0}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def quality_page(found: Mapping[str, Any], title: str = "Captions") -> str:
    """The page of what `peaframe.captions.quality.quality` found."""
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{found['clips']} clips have captions, {found['failed']} were left out.</p>",
        _kinds(found["kinds"]),
        _captioners(found["captioners"]),
        _agreement(found["agreement"]),
        _events(found["events"]),
        _failures(found["failures"], found["failed"]),
        "<h2>Samples</h2>",
        f'<p class="soft">{len(found["samples"])} clips drawn at random: listen to them, look at them, and read.</p>',
        *map(_sample, found["samples"]),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _kinds(kinds: Mapping[str, Any]) -> str:
    rows = [
        (
            name.replace("_", "-"),
            own["asked"],
            own["written"],
            _percent(own["share_refused"]),
            _counts(own["refused_by_reason"]),
            _counts(own["first_answers_by_reason"]),
            _words(own["words"]),
            _percent(own["share_different"]),
        )
        for name, own in kinds.items()
    ]
    heads = ("kind", "asked for", "written", "refused", "why", "why asked twice", "words", "different")
    return "<h2>What the language model wrote</h2>" + _table(heads, rows)


def _captioners(captioners: Mapping[str, Any]) -> str:
    rows = [
        (
            name,
            own["captions"],
            own["empty"],
            _counts(own["levels"]),
            _words(own["words"]),
            _percent(own["share_commonest"]),
            own["commonest"],
        )
        for name, own in captioners.items()
    ]
    heads = ("captioner", "clips", "empty", "trust", "words", "commonest", "which is")
    return "<h2>What captioners said</h2>" + _table(heads, rows)


def _agreement(pairs: Sequence[Mapping[str, Any]]) -> str:
    if not pairs:
        return ""
    rows = [
        (
            " and ".join(own["captioners"]),
            own["clips"],
            _number(own["token_f1"]),
            _number(own["token_f1_by_chance"]),
            _number(own.get("cosine")),
            _number(own.get("cosine_by_chance")),
        )
        for own in pairs
    ]
    heads = ("captioners of sound", "clips", "token F1", "by chance", "cosine", "by chance")
    return "<h2>Agreement</h2>" + _table(heads, rows)


def _events(events: Mapping[str, Any] | None) -> str:
    if events is None:
        return ""
    text = (
        f"peaframe heard {events['events']} events in {events['clips_with_events']} of {events['clips']} clips; the "
        f"audio caption mentions {_percent(events['share_mentioned'])} of them, that of the next clip "
        f"{_percent(events['share_by_chance'])}."
    )
    rows = [(label, count, named) for label, (named, count) in list(events["labels"].items())[:50]]
    return f"<h2>Events</h2><p>{escape(text)}</p>" + _table(("event", "heard", "mentioned"), rows)


def _failures(failures: Sequence[Sequence[str]], count: int) -> str:
    if not failures:
        return ""
    more = f'<p class="soft">and {count - len(failures)} more</p>' if count > len(failures) else ""
    return "<h2>Left out</h2>" + _table(("media", "why"), failures) + more


def _sample(sample: Mapping[str, Any]) -> str:
    end = "the end" if sample["end"] is None else f"{sample['end']:g} s"
    pairs = [(f"{name.replace('_', '-')} caption", text or "–") for name, text in sample["written"].items()]
    if sample["refused"]:
        pairs.append(("refused", sample["refused"]))
    pairs += [(f"heard by {by} ({level})", caption or "–") for by, caption, level in sample["heard"]]
    if sample["seen"] is not None:
        pairs.append(("seen", sample["seen"]))
    if sample["events"] is not None:
        pairs.append(("events", ", ".join(sample["events"]) or "none"))
    if sample["transcript"]:
        pairs.append(("transcript", sample["transcript"]))
    lines = "".join(
        f"<dt>{escape(name)}</dt><dd{' class=bad' if name == 'refused' else ''}>{escape(text)}</dd>"
        for name, text in pairs
    )
    head = f"{escape(sample['media'])}, {sample['start']:g} s to {end}"
    return f"<article><h3>{head}</h3><dl>{lines}</dl></article>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(str(value))}</td>" for value in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "–"


def _words(words: Mapping[str, float] | None) -> str:
    return "–" if words is None else f"{words['least']:g} to {words['most']:g}, median {words['median']:g}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
