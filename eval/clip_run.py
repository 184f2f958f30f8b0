"""Measure a model on a benchmark of whole clips: retrieval or zero-shot classification.

The folder it writes holds `embeddings/` (an index, see `peaframe.index.store`), `metrics.json` and `report.md`. A run
that was stopped goes on behind the last clip; clips are known by their content, so the corpus may move.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from peaframe.errors import AudioError, FormatError, OptionError, VideoError
from peaframe.eval import classification, retrieval
from peaframe.eval.benchmarks.clip_sets import ClipBenchmark, Clips
from peaframe.eval.benchmarks.definition import check_whole
from peaframe.eval.clip_ears import MEDIA, POOLS, Ears
from peaframe.eval.clip_report import save_clip_report
from peaframe.eval.clip_tables import Joins, directions, frame_scores, text_table
from peaframe.version import __version__

if TYPE_CHECKING:
    from peaframe.index.store import Entry, MediaIndex

__all__ = ["run_clips"]

RESAMPLES = 200
Metrics = dict[str, dict[str, float | None]]
Heard = list[dict[str, NDArray[Any]]]


def run_clips(
    benchmark: ClipBenchmark,
    data: Path,
    ears: Ears,
    output: Path,
    *,
    pool: str = "mean",
    allow_missing: bool = False,
    overwrite: bool = False,
    resamples: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Run a benchmark and write its report.

    Args:
        benchmark: One of `peaframe.eval.benchmarks.CLIP_BENCHMARKS`.
        data: The corpus.
        ears: What hears it, from `load_ears`.
        output: The folder to write; one that holds the same run goes on where that stopped.
        pool: Of frame models: how a clip's frames become one score, see `frame_scores`.
        allow_missing: Measure what is there where clips are missing; the report says PARTIAL.
        overwrite: Hear everything again, whatever the folder holds.
        resamples: Draws for intervals; 0 leaves them out, None takes 200.
        progress: Show a bar on stderr if that is a terminal.

    Returns:
        The document that `metrics.json` holds.

    Raises:
        FormatError: The corpus cannot be read, or a file cannot be written.
        OptionError: Clips are missing, the folder holds another run, or the model cannot hear this corpus.
        AudioError, VideoError: A clip cannot be read at all.
    """
    from peaframe.index.store import MediaIndex

    if pool not in POOLS:
        raise OptionError(f"got the pool {pool!r}, expected one of {', '.join(POOLS)}")
    if output.resolve() == data.resolve():
        raise OptionError(f"{output}: is the corpus itself; name another folder for results")
    found = benchmark.load(data)
    unnamed = check_whole(
        benchmark.name, benchmark.recordings, len(found.ids), found.missing, data, allow_missing
    )
    draws = RESAMPLES if resamples is None else resamples
    began = time.perf_counter()
    made_by = {"benchmark": benchmark.name, "model": ears.name, "fingerprint": ears.fingerprint()}
    if overwrite:
        MediaIndex.remove(output / "embeddings")
    with MediaIndex(output / "embeddings", made_by) as index:
        entries = _hear(found, ears, index, progress)
        heard = time.perf_counter() - began
        clips: Heard = [{name: index.read(entry, name) for name in entry.places} for entry in entries]
        notes = [*found.notes, *_unheard(benchmark, clips)]
        if benchmark.task == "retrieval":
            metrics, more = _retrieval(benchmark, found, ears, clips, pool, draws)
        else:
            metrics, more = _classification(benchmark, found, ears, clips, pool, draws)
    first = [benchmark.headline] if benchmark.headline in metrics else []
    document = {
        "peaframe": __version__,
        "title": f"{benchmark.name}, {len(found.ids)} clips",
        "benchmark": benchmark.name,
        "task": benchmark.task,
        "model": ears.name,
        "clips": len(found.ids),
        "hours": sum(entry.seconds for entry in entries) / 3600,
        "complete": not found.missing and not unnamed,
        "missing": list(found.missing),
        "unnamed": unnamed,
        "notes": notes,
        "metrics": {key: metrics[key] for key in [*first, *(key for key in metrics if key not in first)]},
        "seconds": {"listening": heard, "metrics": time.perf_counter() - began - heard},
        "settings": {"resamples": draws, "ties": "against the system", "comparison": "cosine"}
        | _pooling(clips, pool),
    }
    document |= more
    save_clip_report(document, output)
    return document


def _hear(found: Clips, ears: Ears, index: MediaIndex, progress: bool) -> list[Entry]:
    """The entry of each clip, those that are not there yet made."""
    entries = []
    for clip in tqdm(found.ids, desc="listen", unit="clip", disable=None if progress else True):
        sound, pictures = found.sound.get(clip), found.pictures.get(clip)
        paths = list(dict.fromkeys(path for path in (sound, pictures) if path is not None))
        entry = index.find(*paths)
        if entry is None:
            try:
                arrays, seconds = ears.clip(sound, pictures)
            except (AudioError, VideoError) as error:
                raise type(error)(
                    f"{error} (clip {clip!r}; take it out of the folder and use --allow-missing to go on without)"
                ) from error
            entry = index.add(paths, arrays, seconds)
        entries.append(entry)
    return entries


def _unheard(benchmark: ClipBenchmark, clips: Heard) -> list[str]:
    """What some clips lack that others have."""
    notes = []
    for medium, kind in (("audio", "audio"), ("video", "visual")):
        have = sum(kind in clip for clip in clips)
        if medium in benchmark.media and 0 < have < len(clips):
            notes.append(
                f"clips without {medium} that can be read, left out where it is needed: {len(clips) - have}"
            )
        elif medium in benchmark.media and not have and "frames" not in clips[0]:
            notes.append(f"no clip has {medium}, so what needs it was not measured")
    if "frames" in clips[0] and "video" in benchmark.media:
        notes.append("the model hears only; what needs pictures was not measured")
    return notes


def _pooling(clips: Heard, pool: str) -> dict[str, str]:
    return {"frames of a clip": pool} if "frames" in clips[0] else {}


def _retrieval(
    benchmark: ClipBenchmark, found: Clips, ears: Ears, clips: Heard, pool: str, draws: int
) -> tuple[Metrics, dict[str, Any]]:
    texts, pairs = text_table([found.texts[clip] for clip in found.ids], benchmark.same_text)
    said = ears.texts(texts)
    metrics: Metrics = {}
    sizes: dict[str, list[int]] = {}
    find: list[tuple[str, Callable[..., retrieval.Retrieval]]] = []
    if "frames" in clips[0]:
        scores = frame_scores([clip["frames"] for clip in clips], said["audio_text"], pool)
        find.append(("text_to_audio", partial(retrieval.retrieve_scores, scores.T, pairs)))
        find.append(("audio_to_text", partial(retrieval.retrieve_scores, scores, pairs[:, ::-1])))
    else:
        joins = cast(Joins, ears) if hasattr(ears, "joined") else None
        find += [
            (one.name, partial(retrieval.retrieve, one.queries, one.candidates, one.pairs))
            for one in directions(clips, said, pairs, joins)
        ]
    for scale, suffix in ((None, ""), (retrieval.SCALE, "_dual")):
        for name, retrieved in find:
            result = retrieved(scale=scale)
            sizes[name] = [result.queries, result.candidates]
            metrics |= _measured(result, name, suffix, draws)
    return metrics, {"texts": len(texts), "sizes": sizes, "dual_softmax_scale": retrieval.SCALE}


def _measured(result: retrieval.Retrieval, name: str, suffix: str, draws: int) -> Metrics:
    values = {f"r{cut}": share for cut, share in result.recall.items()}
    values |= {"median_rank": result.median_rank, "map10": result.map10}
    bounds = retrieval.intervals(result, draws) if draws else {}
    return {
        f"{name}_{key}{suffix}": {
            "value": value,
            "low": bounds[key].low if draws else None,
            "high": bounds[key].high if draws else None,
        }
        for key, value in values.items()
    }


def _classification(
    benchmark: ClipBenchmark, found: Clips, ears: Ears, clips: Heard, pool: str, draws: int
) -> tuple[Metrics, dict[str, Any]]:
    labels = sorted({label for own in found.texts.values() for label in own})
    place = {label: number for number, label in enumerate(labels)}
    truth = np.zeros((len(clips), len(labels)), np.bool_)
    for row, clip in zip(truth, found.ids, strict=True):
        row[[place[label] for label in found.texts[clip]]] = True
    words = [_words(benchmark, label) for label in labels]
    owners = np.repeat(np.arange(len(labels)), [len(own) for own in words])
    said = ears.texts([text for own in words for text in own])
    metrics: Metrics = {}
    details: dict[str, Any] = {}
    for kind, medium in MEDIA.items():
        have = [i for i, clip in enumerate(clips) if kind in clip or ("frames" in clip and kind == "audio")]
        if not have:
            continue
        vectors = classification.class_vectors(said[f"{kind}_text"], owners, len(labels)).astype(np.float32)
        if "frames" in clips[0]:
            scores = frame_scores([clips[i]["frames"] for i in have], vectors, pool)
        else:
            scores = frame_scores([clips[i][kind] for i in have], vectors, "mean")
        names = [found.ids[i] for i in have]
        folds = {fold: np.isin(names, sorted(own)) for fold, own in found.folds.items()}
        folds = {fold: own for fold, own in folds.items() if own.any()}
        result = classification.classify(scores, truth[have], labels, folds)
        bounds = classification.intervals(result, draws) if draws else {}
        values = {
            "top1": result.top1,
            "top5": result.top5,
            "mean_recall": result.mean_recall,
            "map": result.mean_ap,
        }
        for key, value in values.items():
            own = bounds.get(key)
            metrics[f"{medium}_{key}"] = {
                "value": value,
                "low": None if own is None else own.low,
                "high": None if own is None else own.high,
            }
        if not details or benchmark.headline.startswith(medium):
            details = {"of": medium, **_details(result, labels)}
    if not metrics:
        raise FormatError(f"{benchmark.name}: no clip could be heard or seen; check the corpus")
    queries = {label: list(own) for label, own in zip(labels, words, strict=True)}
    return metrics, {"labels": labels, "queries": queries, "templates": "mean of embeddings", **details}


def _words(benchmark: ClipBenchmark, label: str) -> list[str]:
    words = label if benchmark.labels is None else benchmark.labels(label)
    return [template.replace("{}", words) for template in benchmark.templates]


def _details(result: classification.Classification, labels: Sequence[str]) -> dict[str, Any]:
    rows: list[Mapping[str, Any]] = [
        {
            "label": row.label,
            "clips": row.clips,
            "recall": row.recall,
            "precision": row.precision,
            "average_precision": row.average_precision,
        }
        for row in result.per_class
    ]
    confusion = {"labels": list(labels), "matrix": result.confusion.tolist()}
    return {"per_class": rows, "folds": result.folds, "confusion": confusion}
