"""DESED: ten domestic sounds in real clips of 10 s; DCASE task 4's development test set and public evaluation.

Two parts, each a folder of audio and a table `filename onset offset event_label`:

| part | table | audio | clips |
|---|---|---|---|
| validation | `metadata/validation/validation.tsv` | `audio/validation/validation/` or `audio/validation/` | 1168 |
| public | `metadata/eval/public.tsv` | `audio/eval/public/` | 692 |

Both lie in the data folder itself, or in the `dataset/` or `real/` that DESED's downloads make in it. Durations
come from `validation_durations.tsv` or `public_durations.tsv` beside the table where there is one.

Settings are those of the DCASE 2021-2023 baselines: threshold 0.5, a median filter of 7 frames of 64 ms. Sources:
Turpault et al., DCASE workshop 2019; github.com/turpaultn/DESED; github.com/DCASE-REPO/DESED_task.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from peaframe.errors import FormatError
from peaframe.eval.benchmarks.annotations import Annotations, read_durations, read_events
from peaframe.eval.benchmarks.audio_files import AudioFiles, first_there
from peaframe.eval.benchmarks.definition import Benchmark, Recordings
from peaframe.eval.benchmarks.prompts import DESED, from_table
from peaframe.events import EventOptions

__all__ = ["PARTS", "PUBLIC", "VALIDATION", "table_of"]

ROOTS = (".", "dataset", "real", "real/dataset")
METRICS = (
    "psds1",
    "psds2",
    "psds1_a",
    "event_f1_macro",
    "intersection_f1_macro",
    "segment_f1_macro",
    "frame_auroc",
)
PARTS = {
    "validation": (
        "metadata/validation/validation",
        ("audio/validation/validation", "audio/validation"),
        1168,
    ),
    "public": ("metadata/eval/public", ("audio/eval/public",), 692),
}
"""Part -> (its table without suffix, its audio folders, how many clips it has), below the root."""


def table_of(data: Path, part: str) -> Path | None:
    """The table of a part in a folder, or None; older downloads call it .csv, with tabs in it all the same."""
    stem = PARTS[part][0]
    return first_there(data, *(f"{root}/{stem}{suffix}" for root in ROOTS for suffix in (".tsv", ".csv")))


def load(data: Path, part: str) -> Recordings:
    """Find a part's clips and events.

    Raises:
        FormatError: The table is missing or malformed, or none of its clips is there.
    """
    stem, audio, clips = PARTS[part]
    table = table_of(data, part)
    if table is None:
        raise FormatError(f"{data}: got no {stem}.tsv in it; expected DESED's folder (or its dataset/)")
    annotations = Annotations(DESED)
    read_events(table, annotations)
    durations = read_durations(first_there(table.parent, f"{table.stem}_durations.tsv"))
    for recording in durations:
        annotations.name(recording)
    root = table.parent.parent.parent
    files = AudioFiles([root / folder for folder in audio])
    return annotations.recordings_of(files, root / audio[-1], durations=durations, expected=clips)


def _benchmark(name: str, part: str, description: str) -> Benchmark:
    return Benchmark(
        name=name,
        description=description,
        source="https://github.com/turpaultn/DESED",
        licence="audio: of its YouTube uploaders; annotations: as the DESED page says",
        recordings=PARTS[part][2],
        load=partial(load, part=part),
        prompts=partial(from_table, DESED),
        labels=tuple(DESED),
        metrics=METRICS,
        events=EventOptions(threshold=0.5, median=7 * 0.064),
    )


VALIDATION = _benchmark(
    "desed-validation", "validation", "DESED, DCASE development test: 10 domestic sounds, 1168 clips"
)
PUBLIC = _benchmark("desed-public", "public", "DESED, public evaluation: 10 domestic sounds, 692 clips")
