"""Any folder of recordings with a DCASE table of true events: one's own benchmark, or a made one.

- `ground_truth.tsv` (filename onset offset event_label), or the only .tsv of the folder with these columns. A line
  with a filename and nothing else is a recording in which nothing is heard.
- `durations.tsv` (filename duration), if there is one; it may name further recordings without events. Others are
  asked how long they are.
- audio in `audio/`, or in the folder itself, or in folders inside. A filename is the path below one of the two, or
  the bare name if it is in one place only; its audio suffix may be another one, or missing.

ASFX-SED, the sound-effects set of FLAM's paper (Wu et al., ICML 2025, arXiv 2505.05335), is read in this form, too.
Its authors print results and, as far as is known, have not published its files; `recipes/prepare_asfx.py` makes this
form of what one has. Its labels are free phrases, and the paper's metric is the frame AUROC.

Queries are the labels themselves, underscores as spaces. `folder` takes the model's own event options, as `peaframe
detect` does; `asfx-sed` a threshold of 0.5 and no filter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from peaframe.errors import FormatError
from peaframe.eval.benchmarks.annotations import Annotations, read_durations, read_events
from peaframe.eval.benchmarks.audio_files import AudioFiles, audio_below, first_there, recording_id
from peaframe.eval.benchmarks.definition import Benchmark, Recordings
from peaframe.eval.benchmarks.prompts import as_words
from peaframe.eval.benchmarks.rows import header_of
from peaframe.events import EventOptions
from peaframe.formats.delimited import COLUMNS

__all__ = ["ASFX_SED", "DURATIONS", "FOLDER", "TRUTH", "recordings_of"]

TRUTH, DURATIONS = "ground_truth.tsv", "durations.tsv"


def load(data: Path) -> Recordings:
    """Find the recordings and their events.

    Raises:
        FormatError: No table or several, a malformed one, or none of its recordings is there.
    """
    return recordings_of(data, _truth(data), read_durations(first_there(data, DURATIONS)))


def recordings_of(data: Path, table: Path, durations: Mapping[str, float] | None = None) -> Recordings:
    """The recordings of a folder that a table of true events names, and those with `durations`.

    Args:
        data: The folder.
        table: True events, DCASE's columns.
        durations: Seconds by recording; others are asked how long they are.

    Raises:
        FormatError: A malformed table, or none of its recordings is there.
    """
    annotations = Annotations()
    read_events(table, annotations)
    for recording in durations or ():
        annotations.name(recording)
    if not annotations.recordings:
        raise FormatError(f"{table}: names no recording; expected the true events of some")
    folder = first_there(data, "audio") or data
    names = _Names(data, folder, annotations.recordings)
    return annotations.recordings_of(
        AudioFiles([data], deep=True, identify=names.of), folder, durations=durations
    )


def _truth(data: Path) -> Path:
    """The table of true events.

    Raises:
        FormatError: There is none, or it is not clear which.
    """
    usual = first_there(data, TRUTH)
    found = [] if usual is None else [usual]
    if not found:
        tables = sorted(path for path in data.glob("*.tsv") if not path.name.startswith("."))
        found = [path for path in tables if set(COLUMNS) <= set(header_of(path))]
    if len(found) != 1:
        got = ", ".join(path.name for path in found) or "no table"
        raise FormatError(f"{data}: got {got}, expected {TRUTH} with the columns {' '.join(COLUMNS)}")
    return found[0]


class _Names:
    """Which of the table's recordings a file is."""

    def __init__(self, data: Path, folder: Path, recordings: Sequence[str]) -> None:
        self._roots = (folder, data)
        self._recordings = frozenset(recordings)
        paths = list(audio_below(data))
        found = {self._by_path(path) for path in paths}
        self._places: dict[str, set[Path]] = {name: set() for name in recordings if name not in found}
        for path in paths:
            self._places.get(recording_id(path.name), set()).add(path.parent)

    def of(self, path: Path) -> str | None:
        """The recording, by the path below the audio or data folder, else by a bare name that is in one place."""
        name = recording_id(path.name)
        return self._by_path(path) or (name if len(self._places.get(name, ())) == 1 else None)

    def _by_path(self, path: Path) -> str | None:
        for root in self._roots:
            if path.is_relative_to(root):
                name = recording_id(path.relative_to(root).as_posix())
                if name in self._recordings:
                    return name
        return None


FOLDER = Benchmark(
    name="folder",
    description="any folder of recordings with a DCASE table of true events",
    source="yours",
    licence="as the folder's owner says",
    recordings=None,
    load=load,
    prompts=as_words,
    labels=None,
    metrics=(
        "psds1",
        "psds2",
        "psds1_a",
        "event_f1_macro",
        "event_f1_micro",
        "intersection_f1_macro",
        "segment_f1_macro",
        "frame_auroc",
        "segment_ap",
        "clip_auroc",
    ),
    events=None,
)
ASFX_SED = Benchmark(
    name="asfx-sed",
    description="ASFX-SED, sound effects with free descriptions, in the form prepare_asfx makes",
    source="FLAM, https://arxiv.org/abs/2505.05335",
    licence="the audio is licensed with Adobe Audition's sound effects",
    recordings=None,
    load=load,
    prompts=as_words,
    labels=None,
    metrics=("frame_auroc", "segment_auroc", "clip_auroc", "segment_ap"),
    events=EventOptions(threshold=0.5),
)
