"""What was found of each query over a whole run: a table for people, one for programs, and the numbers behind both.

| column of `summary.csv` | what |
|---|---|
| `query` | what was listened for |
| `events`, `recordings` | how many events, and how many recordings with any |
| `seconds_heard` | how long all recordings are together |
| `seconds_active` | how long the sound was heard; where events of a recording overlap, that time counts once |
| `events_per_hour` | events over the hours heard; blank where nothing was heard |
| `mean_score`, `lowest_score`, `highest_score` | over the events that have a score; blank where none has |
| `scores_0.0` ... `scores_0.9` | events with a score from this number on and below the next; 1 counts in the last |
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from peaframe.annotate.annotated import Annotated
from peaframe.events import Event
from peaframe.formats.delimited import line

__all__ = ["BARS", "COLUMNS", "QuerySummary", "score_bars", "summarise", "summary_csv", "summary_table"]

BINS = 10
BARS = "·▁▂▃▅▇"
COLUMNS = (
    "query",
    "events",
    "recordings",
    "seconds_heard",
    "seconds_active",
    "events_per_hour",
    "mean_score",
    "lowest_score",
    "highest_score",
    *(f"scores_{place / BINS:.1f}" for place in range(BINS)),
)
_MOST_COLUMNS = 40
_UNSHOWN = {"Cc", "Cf", "Cs", "Co", "Cn"}  # control, direction, halves, private, unassigned
_JOINERS = "\u200c\u200d"  # Persian and emoji need them


@dataclass(frozen=True)
class QuerySummary:
    """What was found of one query.

    Attributes:
        query: What was listened for.
        events: How many events.
        recordings: How many recordings with any.
        heard: Seconds of all recordings.
        active: Seconds in which it was heard; what events of a recording share counts once.
        per_hour: Events over hours heard; None where nothing was heard.
        mean: The mean score of the events that have one; None where none has.
        lowest: The lowest score, as above.
        highest: The highest score, as above.
        histogram: Events by score, (10,) bins over [0, 1]; a score outside counts in the nearest bin.
    """

    query: str
    events: int
    recordings: int
    heard: float
    active: float
    per_hour: float | None
    mean: float | None
    lowest: float | None
    highest: float | None
    histogram: tuple[int, ...]


@dataclass
class _Tally:
    events: int = 0
    recordings: int = 0
    active: float = 0.0
    scored: int = 0
    total: float = 0.0
    lowest: float | None = None
    highest: float | None = None
    histogram: list[int] = field(default_factory=lambda: [0] * BINS)

    def add(self, events: Sequence[Event]) -> None:
        """Count one recording's events of the query, sorted by onset."""
        self.recordings += 1
        self.events += len(events)
        end = 0.0
        for event in events:
            self.active += max(0.0, event.offset - max(event.onset, end))
            end = max(end, event.offset)
            score = event.score
            if score is None:
                continue
            self.scored += 1
            self.total += score
            self.lowest = score if self.lowest is None else min(score, self.lowest)
            self.highest = score if self.highest is None else max(score, self.highest)
            self.histogram[min(BINS - 1, max(0, int(score * BINS + 1e-9)))] += 1


def summarise(annotated: Callable[[], Iterable[Annotated]], queries: Sequence[str]) -> list[QuerySummary]:
    """Count a run in one pass; memory grows with the queries alone.

    Args:
        annotated: Each call is one pass over the recordings.
        queries: What to count; events of other labels are passed over, a query given twice counts once.

    Returns:
        A summary for each query, in their order.
    """
    tallies = {query: _Tally() for query in queries}
    heard = 0.0
    for recording in annotated():
        heard += recording.seconds
        for query, events in by_query(recording.events, tallies).items():
            tallies[query].add(events)
    return [
        QuerySummary(
            query,
            tally.events,
            tally.recordings,
            heard,
            tally.active,
            tally.events / heard * 3600 if heard else None,
            tally.total / tally.scored if tally.scored else None,
            tally.lowest,
            tally.highest,
            tuple(tally.histogram),
        )
        for query, tally in tallies.items()
    ]


def by_query(events: Iterable[Event], queries: Iterable[str]) -> dict[str, list[Event]]:
    """Events of the queries, by query; only queries that have any."""
    wanted = set(queries)
    found: dict[str, list[Event]] = {}
    for event in events:
        if event.label in wanted:
            found.setdefault(event.label, []).append(event)
    return found


def summary_csv(summaries: Iterable[QuerySummary]) -> str:
    """The table of `summary.csv`: a header, then a query a line, quoted as RFC 4180 says.

    Raises:
        FormatError: a query holds a null character.
    """
    lines = [line(COLUMNS, ",")]
    for one in summaries:
        cells = [one.query, str(one.events), str(one.recordings), f"{one.heard:.3f}", f"{one.active:.3f}"]
        cells += [_number(value, 4) for value in (one.per_hour, one.mean, one.lowest, one.highest)]
        lines.append(line([*cells, *map(str, one.histogram)], ","))
    return "".join(lines)


def summary_table(summaries: Sequence[QuerySummary], bars: str = BARS) -> str:
    """The table for a terminal: a query a line, with a small picture of its scores from 0 to 1.

    Args:
        summaries: The queries.
        bars: What the pictures are drawn with: a sign for no event, then five or so from few to many.

    Returns:
        Lines of text, ended by a line feed; columns stand below each other in letters of one width. Control signs in
        queries are replaced, long queries cut.
    """
    heads = ("query", "events", "recordings", "active", "per hour", "mean", "highest", "scores 0 to 1")
    rows = [heads]
    rows += [
        (
            _cut(one.query),
            f"{one.events:,}",
            f"{one.recordings:,}",
            duration(one.active),
            _number(one.per_hour, 2),
            _number(one.mean, 2),
            _number(one.highest, 2),
            score_bars(one.histogram, bars),
        )
        for one in summaries
    ]
    widths = [max(_width(row[column]) for row in rows) for column in range(len(heads))]
    lines = []
    for row in rows:
        cells = []
        for column, (text, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - _width(text))
            cells.append(text + space if column in (0, len(heads) - 1) else space + text)
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)


def score_bars(histogram: Sequence[int], bars: str = BARS) -> str:
    """A histogram as a line of signs, one a bin: the first of `bars` for none, the last for the fullest bin."""
    top, levels = max(histogram, default=0), len(bars) - 1
    return "".join(bars[-(-count * levels // top)] if count else bars[0] for count in histogram)


def duration(seconds: float) -> str:
    """A length for people: `12.3 s`, `4:05 min`, `31:07 h` (hours and minutes)."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,}:{minutes % 60:02} h"


def clean(text: object) -> str:
    """Text on one line; signs that no page, terminal or file can show stand as U+FFFD."""
    one = " ".join(str(text).split())
    return "".join(
        "\ufffd" if unicodedata.category(sign) in _UNSHOWN and sign not in _JOINERS else sign for sign in one
    )


def _number(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"


def _cut(text: str) -> str:
    kept = clean(text)
    if _width(kept) <= _MOST_COLUMNS:
        return kept
    while _width(kept) > _MOST_COLUMNS - 1:
        kept = kept[:-1]
    return kept.rstrip() + "…"


def _width(text: str) -> int:
    """How many columns of a terminal a text takes: East Asian wide signs take two, accents by themselves none."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        for sign in text
    )
