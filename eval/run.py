"""Hear a benchmark's recordings with a model, resumably, and score what was heard.

The folder it writes holds `scores/` (a score table for each recording, see `peaframe.eval.tables`), `run.json` (what
made them), `events.tsv`, and the report. What is scored is what lies in `scores/`: a run that was stopped goes on
behind the last whole table, and anybody may take the tables elsewhere.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from peaframe import formats
from peaframe.errors import AudioError, FormatError, OptionError
from peaframe.eval.benchmarks import Benchmark, Recordings
from peaframe.eval.benchmarks.audioset import NAMES, display_names, find_table
from peaframe.eval.benchmarks.definition import check_whole
from peaframe.eval.framed import FramedLabel, read_framed
from peaframe.eval.report import save_report
from peaframe.eval.store import ScoreStore
from peaframe.eval.suite import evaluate
from peaframe.eval.tables import SUFFIX, ScoreTable, read_table, write_table
from peaframe.events import Event, EventOptions, events_from_scores, filtered_scores
from peaframe.files import atomic_path, make_folder
from peaframe.scores import Scores
from peaframe.version import __version__

if TYPE_CHECKING:
    from peaframe.infer.detector import Detector

__all__ = ["run_benchmark"]


def run_benchmark(
    benchmark: Benchmark,
    data: Path,
    detector: Detector,
    output: Path,
    *,
    allow_missing: bool = False,
    overwrite: bool = False,
    resamples: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Run a benchmark and write its report.

    Args:
        benchmark: One of `peaframe.eval.benchmarks`.
        data: The corpus.
        detector: What hears it.
        output: The folder to write; one that holds the same run goes on where that stopped.
        allow_missing: Score what is there where recordings are missing; the report says PARTIAL.
        overwrite: Hear everything again, whatever the folder holds.
        resamples: As for `evaluate`.
        progress: Show bars on stderr if that is a terminal.

    Returns:
        The document that `metrics.json` holds.

    Raises:
        FormatError: The corpus cannot be read, or a file cannot be written.
        OptionError: Recordings are missing, or the folder holds another run.
        AudioError: A recording cannot be read.
    """
    if output.resolve() == data.resolve():
        raise OptionError(f"{output}: is the corpus itself; name another folder for results")
    recordings = benchmark.load(data)
    unnamed = check_whole(
        benchmark.name, benchmark.recordings, len(recordings.audio), recordings.missing, data, allow_missing
    )
    true = {event.label for own in recordings.truth.values() for event in own}
    if not true:
        raise FormatError(
            f"{data}: got {len(recordings.audio)} recordings without a true event; expected some"
        )
    labels = benchmark.labels or tuple(sorted(true))
    prompts = {label: benchmark.prompts(label) for label in labels}
    options = benchmark.events or detector.model.event_options
    paths = {name: output / "scores" / _below(name) for name in sorted(recordings.audio)}
    _claim(output, _made_by(benchmark, data, detector, prompts), overwrite)
    began = time.perf_counter()
    _hear(recordings, detector, prompts, paths, progress)
    heard = time.perf_counter() - began
    found: dict[str, list[Event]] = {}
    store = ScoreStore(_filtered(paths, options, found, progress))
    files = {name: name + path.suffix for name, path in recordings.audio.items()}
    formats.save(output / "events.tsv", {files[name]: own for name, own in found.items()})
    framed = _framed(recordings, data, labels)
    document = evaluate(
        recordings.truth,
        recordings.durations,
        found,
        store,
        labels=labels,
        metrics=benchmark.metrics,
        framed=framed,
        resamples=resamples,
        progress=progress,
    )
    document["notes"] = [*recordings.notes, *document["notes"]]
    document["settings"] |= {
        "event options": {k: v for k, v in dataclasses.asdict(options).items() if v is not None},
        "queries": {label: list(words) for label, words in prompts.items()},
        "several queries of a label": "mean of their probabilities",
        "device": str(detector.device),
        "window_frames": detector.window_frames,
        "overlap_frames": detector.overlap_frames,
        "products": str(detector.model.products).removeprefix("torch."),
        "versions": {name: version(name) for name in ("torch", "numpy", "soxr")}
        | {"python": platform.python_version()},
    }
    document |= {
        "peaframe": __version__,
        "title": f"{benchmark.name if benchmark.recordings else data.resolve().name}, "
        f"{len(recordings.audio)} recordings",
        "benchmark": benchmark.name,
        "complete": not recordings.missing and not unnamed,
        "missing": list(recordings.missing),
        "unnamed": unnamed,
        "model": detector.model.name,
        "seconds": {"listening": heard, "metrics": time.perf_counter() - began - heard},
    }
    save_report(document, output)
    return document


def _made_by(
    benchmark: Benchmark, data: Path, detector: Detector, prompts: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """What scores hang on; two runs that agree in it may share their tables."""
    return {
        "peaframe": __version__,
        "benchmark": benchmark.name,
        "data": str(data.resolve()),
        "model": detector.model.name,
        "fingerprint": detector.model.fingerprint(),
        "products": str(detector.model.products).removeprefix("torch."),
        "windows": [detector.window_frames, detector.overlap_frames],
        "queries": {label: list(words) for label, words in sorted(prompts.items())},
    }


def _claim(output: Path, made_by: Mapping[str, Any], overwrite: bool) -> None:
    """Say in the folder what it is for, or refuse one that is for something else.

    With `overwrite` its tables go at once: those that are left when a run is stopped are all of the same run.
    """
    path, scores = output / "run.json", output / "scores"
    try:
        scores.mkdir(parents=True, exist_ok=True)
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    except (OSError, ValueError) as error:
        raise FormatError(f"{output}: cannot be used for results ({error}); name another folder") from error
    tables = [table for table in scores.rglob(f"*{SUFFIX}") if table.is_file()]
    if before is None and tables and not overwrite:
        raise OptionError(
            f"{output}: holds scores that no run.json explains; name another folder, or --overwrite"
        )
    if before not in (None, made_by) and not overwrite:
        differ = [key for key in made_by if not isinstance(before, dict) or before.get(key) != made_by[key]]
        raise OptionError(
            f"{output}: holds scores of another run, which differs in {', '.join(differ) or 'more'}; name another "
            "folder, or --overwrite"
        )
    try:
        for table in tables if overwrite else filter(_unfinished, tables):
            table.unlink()
    except OSError as error:
        raise FormatError(f"{table}: cannot be removed ({error.strerror or error})") from error
    with atomic_path(path) as temp:
        temp.write_text(json.dumps(made_by, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _unfinished(table: Path) -> bool:
    """Whether this is what a run left of a table when it was stopped while writing (see `atomic_path`)."""
    return re.fullmatch(r"\.[0-9a-f]+", table.stem) is not None


def _hear(
    recordings: Recordings,
    detector: Detector,
    prompts: Mapping[str, Sequence[str]],
    paths: Mapping[str, Path],
    progress: bool,
) -> None:
    """Make the score tables that are not there yet, or older than their recording."""
    queries = list(dict.fromkeys(word for words in prompts.values() for word in words))
    column = {word: index for index, word in enumerate(queries)}
    todo = [name for name, path in paths.items() if not _newer(path, recordings.audio[name])]
    with tqdm(total=len(paths), desc="listen", unit="recording", disable=None if progress else True) as bar:
        bar.update(len(paths) - len(todo))
        for name in todo:
            try:
                scores = detector.score(recordings.audio[name], queries)
            except AudioError as error:
                raise AudioError(
                    f"{error} (recording {name!r}; take it out of the folder and use --allow-missing to go on without)"
                ) from error
            values = np.stack(
                [
                    scores.values[:, [column[word] for word in words]].mean(axis=1)
                    for words in prompts.values()
                ],
                axis=1,
            )
            make_folder(paths[name].parent)
            write_table(paths[name], Scores(values, tuple(prompts), scores.start, scores.duration))
            bar.update()


def _newer(table: Path, audio: Path) -> bool:
    """Whether there is a table, and its recording was not written again since."""
    return table.is_file() and table.stat().st_mtime_ns >= audio.stat().st_mtime_ns


def _below(name: str) -> Path:
    """Where a recording's table goes, which is never outside the folder.

    Raises:
        OptionError: The id leads out of it.
    """
    place = PurePosixPath(name + SUFFIX)
    if place.is_absolute() or ".." in place.parts or "\\" in name or "\0" in name:
        raise OptionError(f"got the recording {name!r}, whose scores would lie outside the folder; rename it")
    return Path(place)


def _filtered(
    paths: Mapping[str, Path], options: EventOptions, found: dict[str, list[Event]], progress: bool
) -> Iterator[tuple[str, Scores]]:
    """Each recording's scores after the filters of `options`; its events go into `found` on the way."""
    for name, path in tqdm(
        paths.items(), desc="filter", unit="recording", disable=None if progress else True
    ):
        scores = _on_our_grid(read_table(path), path)
        found[name] = events_from_scores(scores, options)
        yield name, filtered_scores(scores, options)


def _on_our_grid(table: ScoreTable, path: Path) -> Scores:
    """The table as `Scores`.

    Raises:
        FormatError: Its frames are not 40 ms long, or its scores are no probabilities.
    """
    start, end = float(table.edges[0]), float(table.edges[-1])
    try:
        scores = Scores(table.values, table.labels, start, end - start)
    except OptionError as error:
        raise FormatError(f"{path}: not one of our score tables ({error}); remove it") from error
    if np.abs(scores.edges - table.edges).max() > 1e-6:
        raise FormatError(f"{path}: not one of our score tables (frames are not 40 ms long); remove it")
    return scores


def _framed(recordings: Recordings, data: Path, labels: Sequence[str]) -> list[FramedLabel]:
    """AudioSet's explicit negatives of the recordings that are there and the labels that are scored, by name."""
    if recordings.framed is None:
        return []
    table = find_table(data, NAMES)
    names = {} if table is None else display_names(table)
    return [
        dataclasses.replace(row, label=names[row.label])
        for row in read_framed(recordings.framed)
        if row.segment_id in recordings.audio and names.get(row.label) in labels
    ]
