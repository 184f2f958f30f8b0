"""The parts of the report's page: tables, maps and the events that can be heard. All text is escaped here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np

from peaframe.annotate.report_counts import Grid
from peaframe.annotate.report_media import Media
from peaframe.annotate.report_svg import Heat, heat_map, histogram, short
from peaframe.annotate.summary import QuerySummary, duration

__all__ = ["activity", "failed", "over_the_run", "queries_table", "query_part"]

_MOST_FAILURES = 200
_TALL = 30
_LONG = {
    "day": "days",
    "week": "weeks",
    "month": "months",
    "year": "years",
    "decade": "decades",
    "recording": "recordings",
}


def queries_table(summaries: Sequence[QuerySummary], links: Mapping[str, str]) -> str:
    """The table of queries; those with a part of their own lead to it."""
    rows = []
    for one in summaries:
        name = escape(short(one.query, 160))
        if one.query in links:
            name = f'<a href="#{links[one.query]}">{name}</a>'
        cells = [
            (f"{one.events:,}", one.events),
            (f"{one.recordings:,}", one.recordings),
            (duration(one.active), one.active),
            (_decimals(one.per_hour), one.per_hour),
            (_decimals(one.mean), one.mean),
            (_decimals(one.highest), one.highest),
        ]
        listed = "".join(
            f'<td class="n" data-v="{"" if value is None else f"{value:.6g}"}">{text}</td>'
            for text, value in cells
        )
        rows.append(
            f'<tr><th scope="row"><span class="query">{name}</span></th>{listed}'
            f"<td>{histogram(one.histogram)}</td></tr>"
        )
    heads = "".join(
        f'<th scope="col" class="n">{text}</th>'
        for text in ("Events", "Recordings", "Active", "Per hour", "Mean score", "Highest")
    )
    box = "scroll tall" if len(rows) > _TALL else "scroll"
    return (
        f'<section><h2>Queries</h2><div class="{box}" tabindex="0" role="region" aria-label="Queries">'
        f'<table class="sortable"><thead><tr><th scope="col">Query</th>{heads}'
        '<th scope="col" class="fixed">Scores 0 to 1</th></tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table></div></section>"
    )


def over_the_run(grid: Grid, shown: Sequence[QuerySummary]) -> str:
    """All queries below each other, the run across: by hour if it is short, else by the rows of the maps."""
    if not shown or not grid.rows:
        return ""
    hourly = grid.timed and len(grid.rows) <= 2
    if hourly:
        full = [f"{row} {hour:02}:00" for row in grid.rows for hour in range(24)]
        counts = np.stack([grid.counts[one.query].reshape(-1) for one in shown])
        heard = grid.heard.reshape(-1)
        marks = [name if place % 24 == 0 else "" for place, name in enumerate(full)]
    else:
        full = list(grid.rows)
        counts = np.stack([grid.totals[one.query] for one in shown])
        heard = grid.heard.sum(axis=1)
        marks = full
    wide = min(24, max(8, 600 // len(full)))
    if not hourly:
        names = [short(name, 18) for name in full]
        step = -(-(7 * max(map(len, names)) + 10) // wide)  # so that names do not touch
        marks = [name if place % step == 0 else "" for place, name in enumerate(names)]
    heat = Heat(
        [one.query for one in shown],
        marks,
        full,
        counts,
        np.repeat(heard[None], len(shown), axis=0),
        counts.sum(axis=1),
    )
    what = "hour" if hourly else grid.unit if grid.each == 1 else f"group of {grid.each} recordings"
    said = f"Events of each query in each {what}, from the first to the last. Shades compare within a row."
    drawn = heat_map(heat, f"Events of each query by {what}", (wide, 20), each_row=True)
    return (
        f'<section><h2>Over the run</h2><p class="soft">{said}</p><figure>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="Activity over the run">{drawn}</div>'
        "</figure></section>"
    )


def activity(one: QuerySummary, grid: Grid) -> str:
    """A query's heat map with its legend: rows down, hours (or parts of recordings) across."""
    counts = grid.counts[one.query]
    if not counts.size:
        return ""
    most = int(counts.max(initial=0))
    if grid.timed:
        marks = [str(hour) if hour % 3 == 0 else "" for hour in range(24)]
        full = [f"{hour:02}:00" for hour in range(24)]
        head = f"By {grid.unit} and hour"
    else:
        marks = ["begin", *[""] * 11, "middle", *[""] * 9, "end", ""]
        full = [f"part {part + 1} of 24" for part in range(24)]
        head = "By recording and place in it" + (f", {grid.each} recordings a row" if grid.each > 1 else "")
    gaps = _gaps(grid)
    heat = Heat(grid.rows, marks, full, counts, grid.heard, grid.totals[one.query], gaps)
    row, column = np.unravel_index(int(counts.argmax()), counts.shape)
    title = f"{one.query}: events {head.lower()}; most: {most}, {grid.rows[row]} {full[column]}"
    scale = '1 <i class="swatch"></i>' if most > 1 else '<i class="swatch one"></i>'
    legend = (
        f"<span>{scale} {most:,} event{'' if most == 1 else 's'}</span>"
        '<span><i class="swatch heard"></i>heard, no event</span>'
        '<span><i class="swatch none"></i>not recorded</span>'
    )
    legend += (
        f'<span class="wrap">dotted: {_LONG[grid.unit]} without recordings are left out</span>'
        if gaps
        else ""
    )
    return (
        f'<figure><h3>{head}</h3><div class="scroll" tabindex="0" role="region" aria-label="{head}">'
        f'{heat_map(heat, title)}</div><figcaption class="legend">{legend}</figcaption></figure>'
    )


def query_part(one: QuerySummary, link: str, heat: str, sounds: Sequence[Media]) -> str:
    """One query: its map, and its surest events to look at and listen to."""
    said = (
        f"{one.events:,} event{'' if one.events == 1 else 's'} in {one.recordings:,} "
        f"recording{'' if one.recordings == 1 else 's'}, {duration(one.active)} in all."
    )
    clips = "".join(_clip(one.query, seen) for seen in sounds)
    heard = f'<figure><h3>Highest scores</h3><ul class="clips">{clips}</ul></figure>' if clips else ""
    return (
        f'<section id="{link}"><h2>{escape(short(one.query, 160))}</h2><p class="soft">{said}</p>'
        f"{heat}{heard}</section>"
    )


def _clip(query: str, seen: Media) -> str:
    one, length = seen.sample, max(seen.end - seen.start, 1e-9)
    event = one.event
    first = min(1.0, max(0.0, (event.onset - seen.start) / length))
    last = min(1.0, max(first, (event.offset - seen.start) / length))
    span = f"{_clock(event.onset)} to {_clock(event.offset)}"
    score = "" if event.score is None else f"<strong>{event.score:.2f}</strong> "
    time = f"<br>{escape(one.time)}" if one.time else ""
    alt = escape(f"spectrogram of {short(query, 80)}, {span}")
    return (
        f'<li><div class="shown" style="--a:{first:.4f};--b:{last:.4f}"><img alt="{alt}" width="320" height="128" '
        f'src="{seen.picture}"><b></b><i></i></div>'
        f'<div class="ends"><span>{_clock(seen.start)}</span><span>{_clock(seen.end)}</span></div>'
        f'<p>{score}{span}<br><span class="soft">{escape(short(one.name, 120))}{time}</span></p>'
        f'<audio controls preload="none" src="{seen.sound}"></audio></li>'
    )


def failed(failures: Iterable[tuple[str, str]]) -> tuple[str, int]:
    """The table of recordings that could not be heard, and how many they are."""
    rows: list[str] = []
    count = 0
    for name, reason in failures:
        count += 1
        if count <= _MOST_FAILURES:
            rows.append(
                f'<tr><th scope="row" class="long">{escape(short(name, 300))}</th>'
                f'<td class="long">{escape(short(reason, 500))}</td></tr>'
            )
    if not rows:
        return "", 0
    more = ""
    if count > _MOST_FAILURES:
        more = f'<p class="soft">The first {_MOST_FAILURES} of {count:,}; failed.csv has all.</p>'
    box = "scroll tall" if len(rows) > _TALL else "scroll"
    text = (
        f'<section id="failed"><h2>Not heard</h2><div class="{box}" tabindex="0" role="region" '
        'aria-label="Recordings not heard"><table><thead><tr><th scope="col">Recording</th>'
        '<th scope="col">Reason</th></tr></thead>\n<tbody>\n' + "\n".join(rows) + "\n</tbody></table></div>"
    )
    return f"{text}{more}</section>", count


def _gaps(grid: Grid) -> frozenset[int]:
    """Rows that do not follow on the one before; of days and weeks only."""
    each = {"day": 1, "week": 7}.get(grid.unit)
    if not grid.timed or each is None:
        return frozenset()
    days = [dt.date.fromisoformat(row[:10]).toordinal() for row in grid.rows]
    return frozenset(place for place in range(1, len(days)) if days[place] - days[place - 1] > each)


def _clock(seconds: float) -> str:
    """A place in a recording: 0:03.4, 1:02:03.4."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    text = f"{rest // 10:02}.{rest % 10}"
    return f"{minutes // 60}:{minutes % 60:02}:{text}" if minutes >= 60 else f"{minutes}:{text}"


def _decimals(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"
