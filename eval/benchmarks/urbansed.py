"""UrbanSED 2.0, test set: 2000 soundscapes of 10 s, mixed by Scaper from ten urban sounds of UrbanSound8K.

The folder is `URBAN-SED_v2.0.0` as unpacked, or the one that holds it: `audio/test/*.wav` and, for each of them,
`annotations/test/*.txt` (onset, offset, label with tabs between them and no header) or `*.jams` (the observations
whose role is foreground). Where both are there, the txt counts. A file is one recording, also an empty one.

Events of one label overlap at times and are merged, since PSDS needs that. The median filter has 9 frames of 40 ms
(FlexSED). Sources: Salamon et al., WASPAA 2017; zenodo.org/record/1324404; segments of 1 s are that paper's.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from peaframe.errors import FormatError
from peaframe.eval.benchmarks.annotations import OVERLAPPING, Annotations
from peaframe.eval.benchmarks.audio_files import AudioFiles, first_there
from peaframe.eval.benchmarks.definition import Benchmark, Recordings
from peaframe.eval.benchmarks.prompts import URBANSED as LABELS
from peaframe.eval.benchmarks.prompts import from_table
from peaframe.eval.benchmarks.rows import read_rows
from peaframe.events import EventOptions

__all__ = ["URBANSED", "annotation_files", "root_of"]

SOUNDSCAPES = 2000


def root_of(data: Path) -> Path:
    """The folder that holds `annotations/test`.

    Raises:
        FormatError: There is none.
    """
    found = first_there(data, "annotations/test", "URBAN-SED_v2.0.0/annotations/test")
    if found is None:
        raise FormatError(f"{data}: got no annotations/test in it; expected URBAN-SED_v2.0.0 as unpacked")
    return found.parent.parent


def annotation_files(root: Path) -> dict[str, Path]:
    """Recording id -> its annotation file, txt before jams, sorted by id."""
    found: dict[str, Path] = {}
    for path in sorted((root / "annotations/test").iterdir(), key=lambda path: path.suffix, reverse=True):
        if path.suffix in (".txt", ".jams") and not path.name.startswith("."):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def load(data: Path) -> Recordings:
    """Find the soundscapes and their events.

    Raises:
        FormatError: No annotations, one of them is malformed, or none of the soundscapes is there.
    """
    root = root_of(data)
    annotations = Annotations(LABELS)
    for recording, path in annotation_files(root).items():
        annotations.name(recording)
        if path.suffix == ".jams":
            _add_jams(annotations, recording, path)
            continue
        for where, row in read_rows(path, ("onset", "offset", "label"), header=False):
            annotations.add(recording, row["onset"], row["offset"], row["label"], where)
    folder = root / "audio/test"
    return annotations.recordings_of(AudioFiles([folder]), folder, expected=SOUNDSCAPES, merge=OVERLAPPING)


def _add_jams(annotations: Annotations, recording: str, path: Path) -> None:
    """Add the foreground events of a JAMS file; its observation is where something stands."""
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8-sig"))
        observations = [item for part in document["annotations"] for item in part["data"]]
        events = [(item["time"], item["duration"], item["value"]) for item in observations]
        foreground = [
            (number, float(onset), float(lasts), str(value["label"]))
            for number, (onset, lasts, value) in enumerate(events, start=1)
            if value["role"] != "background"
        ]
    except json.JSONDecodeError as error:
        raise FormatError(f"{path}:{error.lineno}: not JSON ({error.msg}); get the file again") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read ({error}); get the file again") from error
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{path}: got no Scaper annotation ({error!r}); expected time, duration, and label and role as value"
        ) from error
    for number, onset, lasts, label in foreground:
        where = f"{path}: observation {number}"
        annotations.add(recording, repr(onset), repr(onset + lasts), label, where)


URBANSED = Benchmark(
    name="urbansed",
    description="UrbanSED 2.0, test set: 10 urban sounds, 2000 soundscapes",
    source="https://zenodo.org/record/1324404",
    licence="CC BY 4.0",
    recordings=SOUNDSCAPES,
    load=load,
    prompts=partial(from_table, LABELS),
    labels=tuple(LABELS),
    metrics=(
        "psds1",
        "psds2",
        "psds1_a",
        "event_f1_macro",
        "segment_f1_macro",
        "segment_f1_micro",
        "frame_auroc",
    ),
    events=EventOptions(threshold=0.5, median=9 * 0.04),
)
