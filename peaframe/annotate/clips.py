"""Sample clips for listening: short sounds of each query's events, and a table to say which are right.

A listener plays each clip and writes 1 into the column `correct` of `clips.csv` where the sound is there, 0 where it is
not. As the clips are spread evenly over the scores, and lie by lot within each part of them, the share of 1 among the
clips of a range of scores estimates the precision of all events in that range: with 20 clips and 15 right, about
0.75 ± 0.1. From these, and from how many events the summary counts in each bin, follow the precision of the whole table
and the score from which on it is good enough for its purpose (`--min-score`). The share of 1 over all clips says
neither, as clips are not drawn in proportion to the events. How many events were missed, no clip can tell.

| column of `clips.csv` | what |
|---|---|
| `clip` | the clip's file below `clips/`, with `/` |
| `query`, `score` | what was listened for, and how sure the model is |
| `name`, `onset`, `offset` | the recording, and where the event lies in it, in seconds |
| `start_in_clip` | where the event begins in the clip, in seconds |
| `time` | when the event begins, ISO 8601; blank where nobody knows |
| `correct` | for the listener; what stands here stays when the clips are cut anew |
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from peaframe import audio
from peaframe.annotate.annotated import Annotated
from peaframe.annotate.sampling import Sample, sample_events
from peaframe.annotate.summary import QuerySummary
from peaframe.audio.source import Samples
from peaframe.errors import FormatError, PeaframeError
from peaframe.files import atomic_path
from peaframe.formats.delimited import line

__all__ = ["COLUMNS", "Clips", "cut_clips", "safe_name", "span"]

COLUMNS = ("clip", "query", "score", "name", "onset", "offset", "start_in_clip", "time", "correct")
AROUND_SECONDS = 1.0
LONGEST_SECONDS = 10.0
_MOST_BYTES = 100
_RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10)),
}

Opened = Callable[[str], AbstractContextManager[Path]]


@dataclass(frozen=True)
class Clips:
    """What came of cutting clips.

    Attributes:
        files: The clips, as `clips.csv` lists them.
        gone: Recordings that could not be read any more, each with the reason; their clips are left out.
    """

    files: tuple[str, ...]
    gone: tuple[tuple[str, str], ...]


def cut_clips(
    folder: Path,
    annotated: Callable[[], Iterable[Annotated]],
    summaries: Sequence[QuerySummary],
    count: int,
    opened: Opened,
) -> Clips:
    """Cut at most `count` clips of each query: `<query>/<score>_<recording>_<onset>.wav`, and `clips.csv`.

    A clip holds the event with a second around it, at most ten seconds, at 48 kHz and 16 bit. Each recording is
    opened once. Every file appears whole or not at all, the table last. Lines that a listener has answered in the
    table of an earlier run are kept, at the end if they are not chosen now; its other clips stay, unlisted.

    Args:
        folder: Where to write; made if it is not there.
        annotated: Each call is one pass over the recordings.
        summaries: What `summarise` says of them.
        count: How many clips of a query at most.
        opened: From a recording's path or URL, a context with a local file.

    Raises:
        FormatError: a clip or the table cannot be written, or the table of an earlier run cannot be read.
        OptionError: `count` is negative.
    """
    samples = sample_events(annotated, summaries, count)
    table = folder / "clips.csv"
    answers = _answers(table)
    files = _files(samples, [one.query for one in summaries])
    gone: dict[str, str] = {}
    made: set[int] = set()
    _make(folder)
    order = sorted(range(len(samples)), key=lambda place: (samples[place].name, place))
    for name, group in groupby(order, key=lambda place: samples[place].name):
        places = list(group)
        try:
            with opened(samples[places[0]].path) as path:
                for place in places:
                    sound = _sound(path, samples[place])
                    target = folder / files[place]
                    _make(target.parent)
                    _write(target, sound)
                    made.add(place)
        except _NotWrittenError:
            raise
        except (PeaframeError, OSError) as error:
            gone[name] = " ".join(str(error).split())
    rows = [line(COLUMNS, ",")]
    for place, one in enumerate(samples):
        if place in made:
            start, _ = span(one.event.onset, one.event.offset, one.seconds)
            when = (f"{one.event.onset:.3f}", f"{one.event.offset:.3f}")
            answer = answers.pop(_key(one.query, one.name, *when), {}).get("correct", "")
            within = f"{one.event.onset - start:.3f}"
            cells = (files[place], one.query, f"{one.score:.4f}", one.name, *when, within, one.time, answer)
            rows.append(line(cells, ","))
    rows += [line([row[column] for column in COLUMNS], ",") for row in answers.values()]
    with atomic_path(table) as temp:
        temp.write_text("".join(rows), encoding="utf-8", newline="\n")
    return Clips(tuple(files[place] for place in sorted(made)), tuple(sorted(gone.items())))


def span(
    onset: float, offset: float, seconds: float, longest: float = LONGEST_SECONDS
) -> tuple[float, float]:
    """What part of a recording is a clip: the event with a second around it, of a long one the beginning.

    Args:
        onset: When the event begins, in seconds.
        offset: When it has ended.
        seconds: How long the recording is.
        longest: How long a clip may be.

    Returns:
        Start and end in seconds, inside the recording.
    """
    start = max(0.0, onset - AROUND_SECONDS)
    return start, min(seconds, offset + AROUND_SECONDS, start + longest)


def safe_name(text: str, instead: str = "unnamed") -> str:
    """A text as a part of a path that any system takes: letters, digits, `-`, `_` and inner dots; at most 100 bytes."""
    signs = (sign if sign.isalnum() or sign in "-." else "_" for sign in unicodedata.normalize("NFC", text))
    parts = [part for part in "".join(signs).split("_") if part]
    name = "_".join(parts).encode("utf-8", "ignore")[:_MOST_BYTES].decode("utf-8", "ignore").strip("._-")
    if name.split(".")[0].casefold() in _RESERVED:
        name = f"_{name}"
    return name or instead


class _NotWrittenError(FormatError):
    """A clip could not be written, so that this is no fault of the recording."""


def _sound(path: Path, sample: Sample) -> Samples:
    start, end = span(sample.event.onset, sample.event.offset, sample.seconds)
    return audio.read(path, start=start, end=end)


def _write(target: Path, sound: Samples) -> None:
    try:
        audio.write_wav(target, sound)
    except FormatError as error:
        raise _NotWrittenError(str(error)) from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _NotWrittenError(f"{folder}: cannot be made ({error.strerror or error})") from error


def _files(samples: Sequence[Sample], queries: Sequence[str]) -> list[str]:
    """Each sample's file, no two the same even where big and small letters are not told apart."""
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for query in queries:
        folders[query] = _unique(safe_name(query, "query"), "", taken)
    files, used = [], set[str]()
    for one in samples:
        recording = safe_name(one.name.rpartition(".")[0] or one.name, "recording")
        stem = f"{folders[one.query]}/{one.score:.2f}_{recording}_{one.event.onset:.2f}"
        files.append(_unique(stem, ".wav", used))
    return files


def _unique(stem: str, suffix: str, taken: set[str]) -> str:
    name, number = stem + suffix, 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}_{number}{suffix}"
    taken.add(name.casefold())
    return name


def _answers(table: Path) -> dict[tuple[str, ...], dict[str, str]]:
    """The lines of an earlier run's table that a listener has answered, also as a spreadsheet saved them."""
    if not table.exists():
        return {}
    try:
        text = table.read_text(encoding="utf-8-sig")
        head = text.partition("\n")[0]
        delimiter = next((sign for sign in ",;\t" if sign in head), ",")
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        if missing := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
            raise ValueError(f"no column {', '.join(missing)}")
        rows = [{column: row[column] or "" for column in COLUMNS} for row in reader]
        rows = [row for row in rows if row["correct"].strip()]
        return {_key(*(row[column] for column in ("query", "name", "onset", "offset"))): row for row in rows}
    except (OSError, ValueError, csv.Error) as error:
        raise FormatError(
            f"{table}: the answers in it cannot be read ({error}); save it as CSV in UTF-8, or move it away"
        ) from error


def _key(query: str, name: str, onset: str, offset: str) -> tuple[str, ...]:
    """What an event is known by; the times to a hundredth, however they are written."""
    times = (f"{float(text.replace(',', '.')):.2f}" for text in (onset, offset))
    return query, name, *times
