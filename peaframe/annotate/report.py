"""report.html: what a run heard, as one page that needs nothing else, no network, no other file.

It reads in light and dark, on paper and on a phone, and without its script. All text is escaped; besides, the page's
policy lets a browser run this one script, show pictures and play sounds that are inside the page, and nothing else.
Its size is bounded whatever the run: maps and sounds of the queries with the most events, sounds as long as there is
room; what is left out is said. The same run gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from html import escape
from pathlib import Path
from typing import Any

from peaframe.annotate.annotated import Annotated
from peaframe.annotate.report_counts import Collected, collect
from peaframe.annotate.report_media import Media, media
from peaframe.annotate.report_parts import activity, failed, over_the_run, queries_table, query_part
from peaframe.annotate.report_style import SCRIPT, STYLE
from peaframe.annotate.report_svg import short
from peaframe.annotate.summary import QuerySummary, clean
from peaframe.files import atomic_path
from peaframe.version import __version__

__all__ = ["report", "write_report"]

MOST_QUERIES = 40
TOP_EVENTS = 5
MOST_MEDIA_BYTES = 3_500_000
_MOST_SETTINGS = 200

Opened = Callable[[str], AbstractContextManager[Path]]


def write_report(
    path: str | os.PathLike[str],
    annotated: Callable[[], Iterable[Annotated]],
    summaries: Sequence[QuerySummary],
    settings: Mapping[str, Any],
    failures: Iterable[tuple[str, str]],
    opened: Opened,
) -> dict[str, str]:
    """Write the page, whole or not at all; the arguments are those of `report`.

    Returns:
        Recordings that could not be read any more for their sounds, each with the reason.

    Raises:
        FormatError: the file cannot be written.
    """
    text, gone = report(annotated, summaries, settings, failures, opened)
    with atomic_path(path) as temp:
        temp.write_text(text, encoding="utf-8", errors="replace", newline="\n")
    return gone


def report(
    annotated: Callable[[], Iterable[Annotated]],
    summaries: Sequence[QuerySummary],
    settings: Mapping[str, Any],
    failures: Iterable[tuple[str, str]],
    opened: Opened,
) -> tuple[str, dict[str, str]]:
    """Make the page, in one pass over the run and bounded memory.

    Args:
        annotated: Each call is one pass over the recordings, in order of names.
        summaries: What `summarise` says of them, by query.
        settings: What to say of the run: `model`, `version`, options; mappings inside are shown as `outer.inner`.
        failures: Recordings that could not be heard, each with the reason.
        opened: From a recording's path or URL, a context with a local file.

    Returns:
        The page, and the recordings that could not be read any more for their sounds, each with the reason.
    """
    most = sorted(summaries, key=lambda one: -one.events)[:MOST_QUERIES]
    names = {one.query for one in most if one.events}
    shown = [one for one in summaries if one.query in names]
    most_rows = 62 if len(shown) <= 10 else 31
    seen = collect(annotated, [one.query for one in shown], TOP_EVENTS, most_rows)
    sounds, gone, left_out = media(seen.top, opened, MOST_MEDIA_BYTES)
    failures_part, failed_count = failed(failures)
    links = {one.query: f"q{place}" for place, one in enumerate(shown)}
    body = [
        f'<p class="failed" role="note">{_counted(failed_count, "recording")} could not be heard; '
        '<a href="#failed">which and why</a></p>'
        if failed_count
        else "",
        f"<header><h1>What was heard</h1>{_facts(seen, summaries, settings, failed_count)}</header>",
        _notes(_remarks(seen, summaries, shown, gone, left_out)),
        queries_table(summaries, links),
        over_the_run(seen.grid, shown),
        *(_query(one, links[one.query], seen, sounds) for one in shown),
        failures_part,
        _settings(settings),
        f"<footer>peaframe {escape(clean(settings.get('version') or __version__))} · report of a run; the events "
        "themselves are in the tables beside it</footer>",
    ]
    return _page("\n".join(part for part in body if part)), gone


def _page(body: str) -> str:
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    policy += "; img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<title>What was heard</title>\n<link rel="icon" href="data:,">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _facts(
    seen: Collected, summaries: Sequence[QuerySummary], settings: Mapping[str, Any], failed_count: int
) -> str:
    """The run in a few numbers, as headings over texts."""
    hours = seen.seconds / 3600
    found = [
        ("Recordings", f"{seen.recordings:,}"),
        ("Heard", f"{hours:,.2f} hours" if hours < 100 else f"{hours:,.0f} hours"),
        ("Queries", f"{len(summaries):,}"),
        ("Events", f"{sum(one.events for one in summaries):,}"),
        ("Failed", f"{failed_count:,}"),
        ("Model", short(settings.get("model") or "", 120)),
    ]
    if seen.first is not None and seen.last is not None:
        found.insert(2, ("From", f"{seen.first:%Y-%m-%d %H:%M}"))
        found.insert(3, ("To", f"{seen.last:%Y-%m-%d %H:%M}"))
    pairs = (f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>" for name, text in found if text)
    return f'<dl class="facts">{"".join(pairs)}</dl>'


def _remarks(
    seen: Collected,
    summaries: Sequence[QuerySummary],
    shown: Sequence[QuerySummary],
    gone: Mapping[str, str],
    left_out: int,
) -> Iterator[str]:
    """What a reader should know: what is left out, and what the times are worth."""
    silent = sum(not one.events for one in summaries)
    if not seen.recordings:
        yield "No recording was heard."
    elif silent == len(summaries):
        yield "No event was found."
    if len(shown) + silent < len(summaries):
        yield f"Maps and sounds are of the {len(shown)} queries with the most events; the table has all."
    if left_out:
        yield f"Sounds of {_counted(left_out, 'event')} are left out for lack of room."
    if seen.recordings and seen.timeless == seen.recordings:
        yield (
            "No recording says when it was made: maps show the recordings in the order of their names, from "
            "the begin of each to its end."
        )
    elif seen.timeless:
        yield f"{_counted(seen.timeless, 'recording')} of {seen.recordings:,}: not in the maps, no time is known."
    if seen.zoneless:
        yield (
            f"{_counted(seen.zoneless, 'recording')} of {seen.recordings:,}: no time zone is known, hours are "
            "what the recorder's clock showed."
        )
    for name, reason in list(gone.items())[:10]:
        yield f"Cannot be read any more, so its sounds are left out: {short(name, 200)} ({short(reason, 300)})"
    if len(gone) > 10:
        yield f"And {len(gone) - 10} more that cannot be read any more."


def _notes(remarks: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in remarks)
    return f'<section><h2>Notes</h2><ul class="notes">{items}</ul></section>' if items else ""


def _query(one: QuerySummary, link: str, seen: Collected, sounds: Mapping[str, Sequence[Media]]) -> str:
    return query_part(one, link, activity(one, seen.grid), sounds.get(one.query, ()))


def _settings(settings: Mapping[str, Any]) -> str:
    pairs = list(_flat(settings))
    if not pairs:
        return ""
    rows = "".join(
        f"<dt>{escape(short(name, 120))}</dt><dd>{escape(short(text, 600))}</dd>"
        for name, text in pairs[:_MOST_SETTINGS]
    )
    more = (
        f'<p class="soft">And {len(pairs) - _MOST_SETTINGS} more.</p>' if len(pairs) > _MOST_SETTINGS else ""
    )
    listed = f'<dl class="rows">{rows}</dl>{more}'
    if len(pairs) > 30:
        listed = f"<details><summary>All {len(pairs)} settings</summary>{listed}</details>"
    return f"<section><h2>Settings</h2>{listed}</section>"


def _flat(settings: Mapping[str, Any], outer: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{outer}{name}.")
        elif isinstance(value, str):
            yield f"{outer}{name}", value
        else:
            yield f"{outer}{name}", json.dumps(value, ensure_ascii=False, default=str)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
