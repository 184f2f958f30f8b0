"""Frame embeddings of a recording, kept to be scored against any query later, without the audio."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peaframe import clock
from peaframe.archive import Arrays, load_arrays, save_arrays
from peaframe.errors import OptionError
from peaframe.version import __version__

SUFFIX = ".npz"
_FORMAT = "peaframe-embeddings"
_VERSION = 1
_BLOCK_FRAMES = 1 << 12


@dataclass(frozen=True, eq=False)
class Embeddings:
    """What a model heard in one recording, or in a part of it, 25 times a second.

    Attributes:
        values: float16 of shape (frames, dim); times a query's embedding, the model's scale and bias they are logits.
        model: the name of the model that made them.
        fingerprint: of that model's weights; see `FrameModel.fingerprint`.
        start: when the first frame begins in the recording, in seconds.
        duration: seconds that were heard; they end inside the last frame.
        source: the recording's path, as it was given.

    Raises:
        OptionError: shapes, numbers or times do not fit together.
    """

    values: NDArray[np.float16]
    model: str
    fingerprint: str
    start: float
    duration: float
    source: str = ""

    def __post_init__(self) -> None:
        values: NDArray[Any] = np.asarray(self.values)
        if values.ndim != 2 or values.dtype != np.float16 or not _finite(values):
            raise OptionError(
                f"got embeddings of shape {values.shape} and type {values.dtype}, "
                "expected (frames, dim) of finite float16"
            )
        if not (math.isfinite(self.start) and self.start >= 0):
            raise OptionError(f"embeddings start at {self.start} s; give a time of 0 s or later")
        if clock.frame_count(clock.samples_of_seconds(self.duration)) != len(values):
            raise OptionError(f"got {len(values)} embeddings for {self.duration} s, expected 25 a second")

    def save(self, path: str | Path) -> None:
        """Write everything to one `.npz` file, at once or not at all.

        The arrays are `values`, `start`, `duration`, `frame_rate` (25), `model`, `fingerprint`, `source`, `peaframe`
        (its version), `format` and `version`.

        Raises:
            FormatError: the file cannot be written there.
        """
        arrays = {
            "values": self.values,
            "start": np.array(self.start),
            "duration": np.array(self.duration),
            "frame_rate": np.array(clock.FRAME_RATE),
            "model": np.array(self.model),
            "fingerprint": np.array(self.fingerprint),
            "source": np.array(self.source),
            "peaframe": np.array(__version__),
        }
        save_arrays(path, _FORMAT, _VERSION, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Embeddings:
        """Read what `save` wrote; nothing in the file is ever executed.

        The values are a map of the file, which takes hardly any memory however long the recording is; what is written
        into them stays in memory. The file may be replaced or deleted meanwhile, but must not be written into.

        Raises:
            FormatError: the file is missing, damaged, or holds no embeddings.
        """

        def make(stored: Arrays) -> Embeddings:
            return cls(
                stored["values"],
                str(stored["model"]),
                str(stored["fingerprint"]),
                float(stored["start"]),
                float(stored["duration"]),
                str(stored["source"]),
            )

        return load_arrays(
            path, _FORMAT, _VERSION, "an embeddings file", make, "peaframe embed", mapped=("values",)
        )


def _finite(values: NDArray[Any]) -> bool:
    """Whether all are numbers, looked at block by block: a day's embeddings are gigabytes."""
    blocks = (values[first : first + _BLOCK_FRAMES] for first in range(0, len(values), _BLOCK_FRAMES))
    return all(bool(np.isfinite(block).all()) for block in blocks)
