"""Scores: how likely each label is heard in each frame, with its own clock and labels.

A bare array plus a hop length forgets where it began, when the recording ended and what its columns mean;
`Scores` keeps them together from the model to the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from peaframe import clock
from peaframe.archive import Arrays, load_arrays, save_arrays
from peaframe.errors import OptionError

if TYPE_CHECKING:
    import pandas as pd

_FORMAT = "peaframe-scores"
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of one recording, or of a part of it, on the grid of 25 frames a second.

    Attributes:
        values: float32 of shape (frames, labels), probabilities in [0, 1]; read-only.
        labels: What the columns stand for; no two alike.
        start: When the first frame begins in the recording, in seconds.
        duration: Seconds that were really heard; they end inside the last frame. Left out (None), every
            frame was heard whole, and the attribute holds frames / 25.
        meta: Free notes that travel with the file, such as the model's name; texts.

    Raises:
        OptionError: Shapes, labels, probabilities or times do not fit together.
    """

    values: NDArray[np.float32]
    labels: tuple[str, ...]
    start: float = 0.0
    duration: float | None = None
    meta: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        labels = _checked_labels(self.labels)
        values = _checked_values(self.values, len(labels))
        if not (math.isfinite(self.start) and self.start >= 0):
            raise OptionError(f"scores start at {self.start} s; give a time of 0 s or later")
        duration = _checked_duration(self.duration, len(values))
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "start", float(self.start))
        object.__setattr__(self, "duration", duration)
        object.__setattr__(self, "meta", _checked_meta(self.meta))

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self.values)

    @property
    def end(self) -> float:
        """When the part that was heard ends in the recording, in seconds."""
        heard = clock.frame_start_seconds(self.frames) if self.duration is None else self.duration
        return self.start + heard

    @property
    def times(self) -> NDArray[np.float64]:
        """The centres of the frames in the recording, in seconds: shape (frames,)."""
        return self.start + (np.arange(self.frames) + 0.5) / clock.FRAME_RATE

    @property
    def edges(self) -> NDArray[np.float64]:
        """Where frames begin and end, in seconds: shape (frames + 1,); the last edge is `end`."""
        edges = self.start + np.arange(self.frames + 1) / clock.FRAME_RATE
        edges[-1] = self.end
        return edges

    def __getitem__(self, label: str) -> NDArray[np.float32]:
        """The scores of one label: shape (frames,).

        Raises:
            OptionError: There is no such label.
        """
        return self.values[:, column_of(label, self.labels)]

    def save(self, path: str | Path) -> None:
        """Write everything to one `.npz` file, at once or not at all.

        The arrays are `values`, `labels`, `start`, `duration`, `meta` (JSON), `format` and `version`, so that
        `numpy.load` alone can read them too.

        Raises:
            FormatError: The file cannot be written there.
        """
        arrays = {
            "values": self.values,
            "labels": np.array(self.labels, dtype=np.str_),
            "start": np.array(self.start),
            "duration": np.array(self.duration),
            "meta": np.array(json.dumps(dict(self.meta))),
        }
        save_arrays(path, _FORMAT, _VERSION, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Scores:
        """Read what `save` wrote; nothing in the file is ever executed.

        Raises:
            FormatError: The file is missing, damaged, or no scores.
        """

        def make(stored: Arrays) -> Scores:
            return cls(
                values=stored["values"],
                labels=tuple(stored["labels"].tolist()),
                start=float(stored["start"]),
                duration=float(stored["duration"]),
                meta=json.loads(str(stored["meta"])),
            )

        return load_arrays(path, _FORMAT, _VERSION, "a scores file", make, "Scores.save")

    def to_table(self) -> pd.DataFrame:
        """The scores as a table of `sed_scores_eval`: columns onset, offset, then one for each label.

        One row a frame, float64, without gaps: each offset is the next row's onset; the last one is `end`.
        Source of the layout: https://github.com/fgnt/sed_scores_eval.

        Raises:
            OptionError: A label is called "onset" or "offset".
        """
        import pandas as pd

        if taken := {"onset", "offset"}.intersection(self.labels):
            raise OptionError(f"the label {min(taken)!r} is the name of a time column; rename the label")
        edges = self.edges
        columns = np.column_stack([edges[:-1], edges[1:], self.values.astype(np.float64)])
        return pd.DataFrame(columns, columns=["onset", "offset", *self.labels])


def column_of(label: str, labels: Sequence[str]) -> int:
    """Where a label stands among those of scores; raises OptionError if it does not."""
    if label not in labels:
        raise OptionError(f"no scores for {label!r}; the labels are {', '.join(map(repr, labels))}")
    return labels.index(label)


def _checked_labels(labels: Iterable[str]) -> tuple[str, ...]:
    if isinstance(labels, str):
        raise OptionError(f"labels are the single text {labels!r}; give a tuple, such as ({labels!r},)")
    labels = tuple(labels)
    for label in labels:
        if not isinstance(label, str) or not label.strip():
            raise OptionError(f"{label!r} is no label; every label must be a text that is not blank")
    if repeated := [label for i, label in enumerate(labels) if label in labels[:i]]:
        raise OptionError(f"the label {repeated[0]!r} comes twice; give every label once")
    return labels


def _checked_values(values: NDArray[np.float32], labels: int) -> NDArray[np.float32]:
    try:
        array = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise OptionError(f"scores are not numbers ({error}); give an array of (frames, labels)") from error
    if array.ndim != 2 or array.shape[1] != labels:
        raise OptionError(f"scores have the shape {array.shape}; {labels} labels need (frames, {labels})")
    if array.size and not (array.min() >= 0 and array.max() <= 1):  # NaN fails both comparisons
        raise OptionError(
            f"scores lie between {array.min()} and {array.max()}; give probabilities from 0 to 1, without NaN"
        )
    frozen: NDArray[np.float32] = array.view()  # the caller's own array stays writable
    frozen.flags.writeable = False
    return frozen


def _checked_meta(meta: Mapping[str, str]) -> dict[str, str]:
    for name, note in meta.items():
        if not (isinstance(name, str) and isinstance(note, str)):
            raise OptionError(f"the note {name!r} is {note!r}; give texts only, such as str(...)")
    return dict(meta)


def _checked_duration(duration: float | None, frames: int) -> float:
    if duration is None:
        return clock.frame_start_seconds(frames)
    fits = math.isfinite(duration) and clock.frame_count(clock.samples_of_seconds(duration)) == frames
    if not fits:
        raise OptionError(
            f"{duration} s were heard, and there are {frames} frames; a recording has one frame for every "
            f"{clock.FRAME_SECONDS} s, the last one perhaps in part"
        )
    return float(duration)
