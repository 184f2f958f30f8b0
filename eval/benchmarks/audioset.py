"""AudioSet-Strong: AudioSet's evaluation clips with events in time; 16 996 clips of 10 s.

The folder, or `metadata/` or `strong/` in it, holds Google's tables as they are published:

- `audioset_eval_strong.tsv`: segment_id start_time_seconds end_time_seconds label (an id such as `/m/09x0r`)
- `mid_to_display_name.tsv`: id and name, no header
- `audioset_train_strong.tsv`, for its labels: what counts is the 407 that occur in both (447 and 416)
- `audioset_eval_strong_framed_posneg.tsv`, if explicit negatives are to be scored
- `audioset_eval_strong_durations.tsv` (filename duration), if there is one

Audio lies in `audio/` or anywhere below the folder. A segment id is `<YouTube id>_<start in ms>`, and the YouTube id
may begin with '-' and contain '_'. These names of files are understood, each with or without a 'Y' in front:
`<segment id>`, `<YouTube id>_<start>_<end>` in seconds or ms, and `<YouTube id>` if it has one segment.

Labels are display names. Published numbers merge events of one label that overlap; PSDS1_A is PSDS1 without its
variance penalty. The median filter has 9 frames of 40 ms (PretrainedSED, FlexSED). Sources: Hershey et al., ICASSP
2021; research.google.com/audioset/download_strong.html; Schmid et al., ICASSP 2025.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from peaframe.errors import FormatError
from peaframe.eval.benchmarks.annotations import OVERLAPPING, Annotations, read_durations
from peaframe.eval.benchmarks.audio_files import AudioFiles, first_there, recording_id
from peaframe.eval.benchmarks.definition import Benchmark, Recordings
from peaframe.eval.benchmarks.prompts import from_display_name
from peaframe.eval.benchmarks.rows import read_rows
from peaframe.events import EventOptions

__all__ = [
    "AUDIOSET_STRONG",
    "CLIP_SECONDS",
    "TABLES",
    "Segments",
    "display_names",
    "find_table",
    "read_segments",
]

CLIPS, CLIP_SECONDS, LONGEST = 16_996, 10.0, 11.0
COLUMNS = ("segment_id", "start_time_seconds", "end_time_seconds", "label")
EVAL, NAMES, TRAIN, FRAMED, DURATIONS = TABLES = (
    "audioset_eval_strong.tsv",
    "mid_to_display_name.tsv",
    "audioset_train_strong.tsv",
    "audioset_eval_strong_framed_posneg.tsv",
    "audioset_eval_strong_durations.tsv",
)
"""The tables, the first two of which must be there."""


def find_table(data: Path, name: str) -> Path | None:
    """A table in the folder, or in the folders its kind is kept in."""
    return first_there(data, name, f"metadata/{name}", f"strong/{name}", f"metadata/strong/{name}")


def display_names(path: Path) -> dict[str, str]:
    """Label id -> display name, from `mid_to_display_name.tsv`.

    Raises:
        FormatError: A line is not an id and a name, or two ids have one name; with file and line.
    """
    names: dict[str, str] = {}
    ids: dict[str, str] = {}
    for where, row in read_rows(path, ("id", "name"), header=False):
        if not row["id"].startswith("/") or not row["name"]:
            raise FormatError(f"{where}: got {row['id']!r} and {row['name']!r}, expected /m/... and a name")
        if ids.setdefault(row["name"], row["id"]) != row["id"]:
            raise FormatError(f"{where}: got the name {row['name']!r} twice, expected one for each id")
        names[row["id"]] = row["name"]
    return names


class Segments:
    """The segments of the evaluation set, to be found by what files are called."""

    def __init__(self) -> None:
        self.starts: dict[str, list[int]] = {}

    def add(self, segment: str, where: str) -> None:
        """Take a segment id apart.

        Raises:
            FormatError: It is not `<YouTube id>_<start in ms>`.
        """
        video, _, start = segment.rpartition("_")
        if not video or not (start.isascii() and start.isdigit()):
            raise FormatError(f"{where}: got the segment {segment!r}, expected <YouTube id>_<start in ms>")
        known = self.starts.setdefault(video, [])
        if int(start) not in known:
            known.append(int(start))

    def named(self, stem: str) -> str | None:
        """The segment that a file name without suffix stands for, or None."""
        for name in (stem, stem.removeprefix("Y")):
            for parts in (1, 2, 0):
                video, *times = name.rsplit("_", parts)
                if video in self.starts and len(times) == parts and all(map(_NUMBER.fullmatch, times)):
                    start = self._start(video, times)
                    if start is not None:
                        return f"{video}_{start}"
        return None

    def _start(self, video: str, times: list[str]) -> int | None:
        known = self.starts[video]
        if not times:
            return known[0] if len(known) == 1 else None
        fits = [round(float(times[0]) * unit) for unit in (1, 1000)[: 1 + (len(times) == 2)]]
        return next((start for start in fits if start in known), None)


_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)


def read_segments(data: Path) -> tuple[Annotations, Segments]:
    """All segments and events of the evaluation table, labels as ids.

    Raises:
        FormatError: The table is missing or malformed.
    """
    annotations, segments = Annotations(), Segments()
    for where, row in read_rows(_must(data, EVAL), COLUMNS):
        segment, onset, offset, label = (row[column] for column in COLUMNS)
        segments.add(segment, where)
        annotations.add(segment, onset, offset, label, where)
    return annotations, segments


def load(data: Path) -> Recordings:
    """Find the clips and the events of the labels that are scored.

    Raises:
        FormatError: A table is missing or malformed, it has an id without a display name, or no clip is there.
    """
    names = display_names(_must(data, NAMES))
    annotations, segments = read_segments(data)
    scored, notes = _scored(data, annotations, names)
    count, labels = annotations.relabel(scored)
    if count:
        notes.append(f"true events left out whose label has no training clip: {count}, of {labels} labels")
    folder = first_there(data, "audio") or data
    files = AudioFiles([folder], deep=True, identify=lambda path: segments.named(recording_id(path.name)))
    durations = read_durations(find_table(data, DURATIONS))
    return annotations.recordings_of(
        files,
        folder,
        durations={segments.named(name) or name: seconds for name, seconds in durations.items()},
        expected=CLIPS,
        merge=OVERLAPPING,
        clip=CLIP_SECONDS,
        longest=LONGEST,
        notes=notes,
        framed=find_table(data, FRAMED),
    )


def _must(data: Path, name: str) -> Path:
    path = find_table(data, name)
    if path is None:
        raise FormatError(f"{data}: got no {name} in it; get it from AudioSet's page on strong labels")
    return path


def _scored(
    data: Path, annotations: Annotations, names: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """The labels that are scored, id -> name: those of both tables."""
    heard = annotations.heard
    for label, where in heard.items():
        if label not in names:
            raise FormatError(f"{where}: got the label {label!r}, which {NAMES} does not name")
    train = find_table(data, TRAIN)
    if train is None:
        text = f"{TRAIN} is not there, so all {len(heard)} labels of the evaluation table are scored"
        return {label: names[label] for label in heard}, [f"{text}; published numbers are of 407"]
    known = {row["label"] for _, row in read_rows(train, COLUMNS)}
    return {label: names[label] for label in heard if label in known}, []


AUDIOSET_STRONG = Benchmark(
    name="audioset-strong",
    description="AudioSet-Strong, evaluation: 407 labels, 16 996 clips",
    source="https://research.google.com/audioset/download_strong.html",
    licence="audio: of its YouTube uploaders; annotations: CC BY 4.0",
    recordings=CLIPS,
    load=load,
    prompts=from_display_name,
    labels=None,
    metrics=("psds1_a", "psds1_t", "psds1", "d_prime", "frame_auroc", "segment_ap", "clip_ap"),
    events=EventOptions(threshold=0.5, median=9 * 0.04),
)
