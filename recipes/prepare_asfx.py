"""Bring a sound-effects set with described events, such as FLAM's ASFX-SED, into the form of `asfx-sed`.

    python -m peaframe.recipes.prepare_asfx SOURCE OUT

ASFX-SED is made of Adobe Audition's sound effects; its authors have not published its files as far as is known, so
there is no form of theirs to read. SOURCE may therefore hold any one table (.csv with commas, .tsv with tabs) with
an event a line, whose header names, under one of the usual names each,

    the file        filename, file, file_name, audio, audio_path, path
    its onset       onset, start, start_time, begin (seconds)
    its offset      offset, end, end_time, stop (seconds)
    the phrase      event_label, label, caption, text, description

and the audio anywhere below it. A line with a file and nothing else is a recording without events. OUT gets
`ground_truth.tsv` in DCASE's form and `audio/` with hard links. Nothing is downloaded.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from peaframe.errors import FormatError
from peaframe.eval.benchmarks.audio_files import audio_below, recording_id
from peaframe.eval.benchmarks.folder import TRUTH
from peaframe.files import atomic_path
from peaframe.formats import delimited
from peaframe.recipes import program
from peaframe.recipes.prepare_files import folder_at, place_all, source_and_out, tell

USUAL = (
    ("filename", "file", "file_name", "audio", "audio_path", "path"),
    ("onset", "start", "start_time", "begin"),
    ("offset", "end", "end_time", "stop"),
    ("event_label", "label", "caption", "text", "description"),
)


def columns_of(path: Path) -> list[int]:
    """Which cells hold file, onset, offset and phrase, by the header; fewer than four where some are not named."""
    try:
        names = [cell.strip().lower() for cell in next(_lines(path))[1]]
    except (StopIteration, FormatError):
        return []
    places = [[names.index(name) for name in usual if name in names] for usual in USUAL]
    return [found[0] for found in places if found]


def table_of(source: Path) -> Path:
    """The only table of a folder that has the four columns.

    Raises:
        FormatError: There is none, or there are several.
    """
    tables = sorted(path for path in source.iterdir() if path.suffix.lower() in (".csv", ".tsv"))
    fit = [path for path in tables if len(columns_of(path)) == len(USUAL)]
    if len(fit) != 1:
        got = ", ".join(path.name for path in fit) or f"none among {len(tables)} tables"
        raise FormatError(
            f"{source}: got {got}, expected one .csv or .tsv with file, onset, offset and label"
        )
    return fit[0]


def events_of(table: Path) -> Iterator[tuple[str, ...]]:
    """Bare file name, onset, offset and phrase of each line, white space made single spaces.

    Raises:
        FormatError: A line has fewer cells than the header; with file and line.
    """
    places, lines = columns_of(table), _lines(table)
    _, header = next(lines)
    for number, cells in lines:
        if len(cells) != len(header):
            raise FormatError(
                f"{table}:{number}: got {len(cells)} cells, expected {len(header)} as in the header"
            )
        file, onset, offset, phrase = (" ".join(cells[place].split()) for place in places)
        yield file.replace("\\", "/").rpartition("/")[2], onset, offset, phrase


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines that hold something, with their numbers."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            yield from ((reader.line_num, cells) for cells in reader if any(map(str.strip, cells)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path}: cannot be read as a table in UTF-8 ({error}); repair it") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert the table, place the audio, print what is there."""
    args = source_and_out(__doc__, arguments)
    rows = list(events_of(table_of(args.source)))
    named = {recording_id(file) for file, *_ in rows}
    audio = [path for path in sorted(audio_below(args.source)) if recording_id(path.name) in named]
    place_all((path, args.out / "audio" / path.name) for path in audio)
    folder_at(args.out)
    lines = [delimited.line(row, "\t") for row in (delimited.COLUMNS, *rows)]
    with atomic_path(args.out / TRUTH) as temp:
        temp.write_text("".join(lines), encoding="utf-8", newline="\n")
    tell("asfx-sed", args.out)


if __name__ == "__main__":
    program.run(main)
