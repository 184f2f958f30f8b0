"""MAESTRO Real, development: 49 recordings of 3 to 5 minutes in five places, soft labels each second.

Three forms of the annotations are understood, the first found is read:

- as published (zenodo.org/record/7244360): `development_annotation/soft_labels_<place>/<recording>.txt`
- the same files in one folder, `soft_labels/<recording>.txt`
- tables `filename onset offset event_label confidence` with a header, called `maestro_real*.tsv`, in the folder or
  in `metadata/`; without the column `confidence` (`gt_dev.csv` of DCASE 2023) every row counts

The txt files have start, end, label and soft label with tabs between them, and no header. Audio lies in
`development_audio/<place>/` or anywhere below `audio/`. Durations come from `development_metadata.csv`, or
`maestro_real_durations.tsv`, where there is one.

A label is true in a segment if its soft label is over 0.5; true segments in a row are one event. Of the 17 labels,
the 11 that DCASE evaluates are scored: the headline is the mean over them of the partial AUROC (false positive rates
up to 0.1) of segments of 1 s. The DCASE 2024 baseline validates on 16 of the 49 recordings (its split file),
and takes a recording to end with its last true event; here all 49 count, to their ends. The median filter is that
of the DCASE baselines, 7 frames of 64 ms. Sources: Martín-Morató and Mesaros, TASLP 31, 2023;
github.com/DCASE-REPO/DESED_task (2024), whose table of classes names the 11.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from peaframe.errors import FormatError
from peaframe.eval.benchmarks.annotations import Annotations, read_durations
from peaframe.eval.benchmarks.audio_files import AudioFiles, first_there, recording_id
from peaframe.eval.benchmarks.definition import Benchmark, Recordings
from peaframe.eval.benchmarks.prompts import MAESTRO as LABELS
from peaframe.eval.benchmarks.prompts import from_table
from peaframe.eval.benchmarks.rows import read_rows, seconds_of
from peaframe.events import EventOptions
from peaframe.formats.delimited import COLUMNS as DCASE_COLUMNS

__all__ = ["MAESTRO", "SCORED", "durations_of", "find_tables", "soft_label_files"]

RECORDINGS, CONFIDENT = 49, 0.5
SCORED = (
    "birds_singing",
    "brakes_squeaking",
    "car",
    "children voices",
    "cutlery and dishes",
    "footsteps",
    "large_vehicle",
    "metro approaching",
    "metro leaving",
    "people talking",
    "wind_blowing",
)
"""The labels that DCASE 2023 and 2024 evaluate."""
_SPELLINGS = {label.replace("_", " "): label for label in LABELS}
_PIECE = re.compile(r"-\d{6}-\d{6}$", re.ASCII)


def soft_label_files(data: Path) -> list[Path]:
    """The txt files of the published form, or of the flat one."""
    folder = first_there(data, "development_annotation", "soft_labels")
    return [] if folder is None else sorted(p for p in folder.rglob("*.txt") if not p.name.startswith("."))


def find_tables(data: Path) -> list[Path]:
    """The tables of all recordings, in the folder or in `metadata/`; DCASE 2023's only where there is no other."""
    for folder in (data, data / "metadata"):
        found = sorted(path for path in folder.glob("maestro_real*.tsv") if "durations" not in path.name)
        found += [] if found else [path for path in [folder / "gt_dev.csv"] if path.is_file()]
        if found:
            return found
    return []


def durations_of(data: Path) -> Path | None:
    """The table of durations, as DCASE 2023 or 2024 calls it."""
    names = ("development_metadata.csv", "maestro_real_durations.tsv")
    return first_there(data, *names, *(f"metadata/{name}" for name in names))


def load(data: Path) -> Recordings:
    """Find the recordings and their events.

    Raises:
        FormatError: No annotations, a malformed one, pieces instead of recordings, or no recording is there.
    """
    annotations = Annotations(LABELS)
    files, tables = soft_label_files(data), find_tables(data)
    for path in files:
        annotations.name(path.stem)
        columns = ("start", "end", "label", "confidence")
        for where, row in read_rows(path, columns, header=False):
            _add(annotations, path.stem, tuple(row.values()), where)
    for table in [] if files else tables:
        _add_table(annotations, table)
    if not annotations.recordings:
        raise FormatError(
            f"{data}: got no development_annotation, soft_labels or maestro_real.tsv in it; "
            "expected MAESTRO Real's development set as unpacked"
        )
    out, labels = annotations.relabel({label: label for label in SCORED})
    notes = [f"true segments left out whose label DCASE does not evaluate: {out}, of {labels} labels"]
    folder = first_there(data, "development_audio", "audio") or data
    return annotations.recordings_of(
        AudioFiles([folder], deep=True),
        folder,
        durations=read_durations(durations_of(data)),
        expected=RECORDINGS,
        merge="true segments joined with the one of their label before them",
        notes=notes if out else (),
    )


def _add_table(annotations: Annotations, table: Path) -> None:
    """Add all segments of a table with a header."""
    for where, row in read_rows(table, DCASE_COLUMNS):
        name = recording_id(row["filename"])
        if _PIECE.search(name):
            raise FormatError(
                f"{where}: got {row['filename']!r}, a piece of a recording that overlaps the next one; "
                "expected whole recordings, as MAESTRO's authors publish them"
            )
        values = (row["onset"], row["offset"], row["event_label"], row.get("confidence", "1"))
        _add(annotations, name, values, where)


def _add(annotations: Annotations, recording: str, row: tuple[str, ...], where: str) -> None:
    """Add a segment if its soft label says so; it is checked in any case."""
    onset, offset, label, confidence = row
    known = _SPELLINGS.get(label.replace("_", " "), label)
    try:
        sure = seconds_of(confidence, "confidence", where) > CONFIDENT
    except FormatError as error:
        raise FormatError(f"{where}: got the soft label {confidence!r}, expected a number from 0") from error
    if sure:
        annotations.add(recording, onset, offset, known, where)
    else:
        annotations.check(onset, offset, known, where)
        annotations.name(recording)


MAESTRO = Benchmark(
    name="maestro",
    description="MAESTRO Real, development: 11 sounds in five places, 49 recordings of 3 to 5 min",
    source="https://zenodo.org/record/7244360",
    licence="academic use only, no commercial use",
    recordings=RECORDINGS,
    load=load,
    prompts=partial(from_table, LABELS),
    labels=SCORED,
    metrics=("segment_mpauc", "segment_auroc", "segment_f1_macro", "segment_f1_micro"),
    events=EventOptions(threshold=0.5, median=7 * 0.064),
)
