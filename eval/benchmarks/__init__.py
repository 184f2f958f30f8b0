"""Benchmarks: which recordings, which query texts, which metrics, which settings. All of it frozen.

A benchmark's loader reads the corpus in the forms it circulates in, checks files against metadata first and decodes
nothing. What it mends it says, in `Recordings.notes`; what it cannot understand it refuses, with file and line.
"""

from __future__ import annotations

from peaframe.errors import OptionError
from peaframe.eval.benchmarks.audioset import AUDIOSET_STRONG
from peaframe.eval.benchmarks.classification_sets import CLASSIFICATION
from peaframe.eval.benchmarks.clip_sets import ClipBenchmark, Clips
from peaframe.eval.benchmarks.definition import Benchmark, Recordings
from peaframe.eval.benchmarks.desed import PUBLIC, VALIDATION
from peaframe.eval.benchmarks.folder import ASFX_SED, FOLDER
from peaframe.eval.benchmarks.maestro import MAESTRO
from peaframe.eval.benchmarks.retrieval_sets import RETRIEVAL
from peaframe.eval.benchmarks.urbansed import URBANSED

__all__ = ["BENCHMARKS", "CLIP_BENCHMARKS", "Benchmark", "ClipBenchmark", "Clips", "Recordings", "find"]

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (VALIDATION, PUBLIC, AUDIOSET_STRONG, URBANSED, MAESTRO, ASFX_SED, FOLDER)
}
"""The benchmarks there are for events in time, by name."""
CLIP_BENCHMARKS: dict[str, ClipBenchmark] = {
    benchmark.name: benchmark for benchmark in (*RETRIEVAL, *CLASSIFICATION)
}
"""Those of whole clips: retrieval, then classification."""


def find(name: str) -> Benchmark:
    """A benchmark of events by its name.

    Raises:
        OptionError: There is none of this name.
    """
    if name not in BENCHMARKS:
        raise OptionError(f"got the benchmark {name!r}, expected one of {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
