"""AudioSet's frames with explicit negatives: sounds that somebody listened for and did not hear.

Source of the labels and of d' as their metric: Hershey et al., "The benefit of temporally-strong labels in audio
event classification", ICASSP 2021; the file is `audioset_eval_strong_framed_posneg.tsv`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import FormatError, OptionError
from peaframe.eval.corpus import FrameScores
from peaframe.eval.ranking import auroc, d_prime
from peaframe.eval.tables import read_text

__all__ = ["FramedLabel", "FramedResult", "framed_d_prime", "read_framed"]

COLUMNS = ("segment_id", "start_time_seconds", "end_time_seconds", "label", "present")
_DECIMALS = 6  # of seconds, so that frames that only touch do not overlap
_PRESENT = {"PRESENT": True, "NOT_PRESENT": False}


@dataclass(frozen=True, slots=True)
class FramedLabel:
    """One frame and one label, listened for.

    Attributes:
        segment_id: The recording; in AudioSet's file `<YouTube id>_<start in milliseconds>`.
        onset: When the frame begins, in seconds from the start of the recording.
        offset: When it ends; in AudioSet's file 0.96 s later.
        label: What was listened for; in AudioSet's file an identifier such as "/m/09x0r".
        present: Whether it was heard.
    """

    segment_id: str
    onset: float
    offset: float
    label: str
    present: bool


@dataclass(frozen=True, slots=True)
class FramedResult:
    """How well scores tell frames with a sound from frames surely without it.

    Attributes:
        macro: d' of `macro_auroc`, as is usual on AudioSet: the mean of `per_label`
            is infinite as soon as one label's AUROC is 1.
        macro_auroc: Mean of `auroc`.
        per_label: d' of each label with positives and negatives.
        auroc: Its AUROC.
        positives: Of each of these labels, how many frames have it.
        negatives: How many surely have not.
        unscored: The other labels.
        without_scores: Recordings that were left out because they have no scores.
        outside: Labelled frames that were left out because no scored frame overlaps them.
    """

    macro: float
    macro_auroc: float
    per_label: dict[str, float]
    auroc: dict[str, float]
    positives: dict[str, int]
    negatives: dict[str, int]
    unscored: tuple[str, ...]
    without_scores: tuple[str, ...]
    outside: int


def read_framed(path: str | Path) -> list[FramedLabel]:
    """Read labelled frames: a tab-separated table with the columns `COLUMNS`, `present` PRESENT or NOT_PRESENT.

    Columns may stand in any order, and others are ignored. A line that says the same as an earlier one is left
    out.

    Raises:
        FormatError: The file cannot be read, is no such table, or contradicts itself; with file and line.
    """
    text = read_text(path)
    places: list[int] | None = None
    width = 0
    seen: dict[tuple[str, float, float, str], tuple[int, bool]] = {}
    rows: list[FramedLabel] = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if not line.strip():
            continue
        cells, where = line.split("\t"), f"{path}:{number}"
        if places is None:
            places, width = _header(cells, where), len(cells)
            continue
        if len(cells) != width:
            raise FormatError(
                f"{where}: got {len(cells)} cells, expected {width} with tabs between, as in the header"
            )
        row = _row([cells[place] for place in places], where)
        key = (row.segment_id, row.onset, row.offset, row.label)
        earlier, present = seen.setdefault(key, (number, row.present))
        if present != row.present:
            raise FormatError(
                f"{where}: {row.label!r} is {cells[places[4]]} in a frame where line {earlier} says otherwise; "
                "keep one of the two lines"
            )
        if earlier == number:
            rows.append(row)
    if places is None:
        raise FormatError(f"{path}:1: got an empty file, expected a header {', '.join(COLUMNS)}")
    return rows


def framed_d_prime(
    scores: Mapping[str, FrameScores],
    framed: Iterable[FramedLabel],
    labels: Sequence[str] | None = None,
) -> FramedResult:
    """AUROC and d' of each label over the frames where it was listened for.

    A labelled frame's score is the mean of the scores of the frames that overlap it, weighted by the overlap:
    our choice, since the paper's model has one output for each 0.96 s.

    Args:
        scores: Scores by recording, named as in `framed` (`dataclasses.replace` renames), and with its labels.
        framed: Labelled frames.
        labels: Score these labels only; by default all labels of `framed`.

    Raises:
        OptionError: Nothing to score, or a recording's scores lack a label.
    """
    wanted = None if labels is None else frozenset(labels)
    by_file: dict[str, list[FramedLabel]] = {}
    named: set[str] = set()
    for row in framed:
        if wanted is None or row.label in wanted:
            by_file.setdefault(row.segment_id, []).append(row)
            named.add(row.label)
    found: dict[str, list[tuple[float, bool]]] = {
        label: [] for label in sorted(named if wanted is None else wanted)
    }
    outside = 0
    for file in sorted(set(by_file).intersection(scores)):
        means = _means(file, scores[file], by_file[file])
        outside += int(np.isnan(means).sum())
        for row, mean in zip(by_file[file], means.tolist(), strict=True):
            if not math.isnan(mean):
                found[row.label].append((mean, row.present))
    if not any(found.values()):
        raise OptionError(
            f"none of the {len(by_file)} recordings with labelled frames has scores that overlap them; "
            "name recordings and labels alike in both"
        )
    without = tuple(sorted(set(by_file).difference(scores)))
    return _result(found, without, outside)


def _result(
    found: Mapping[str, list[tuple[float, bool]]], without: tuple[str, ...], outside: int
) -> FramedResult:
    areas: dict[str, float] = {}
    positives: dict[str, int] = {}
    for label, pairs in found.items():
        area = auroc([mean for mean, _ in pairs], [present for _, present in pairs])
        if not math.isnan(area):
            areas[label], positives[label] = area, sum(present for _, present in pairs)
    primes = {label: d_prime(area) for label, area in areas.items()}
    mean = sum(areas.values()) / len(areas) if areas else math.nan
    return FramedResult(
        macro=d_prime(mean),
        macro_auroc=mean,
        per_label=primes,
        auroc=areas,
        positives=positives,
        negatives={label: len(found[label]) - number for label, number in positives.items()},
        unscored=tuple(label for label in found if label not in areas),
        without_scores=without,
        outside=outside,
    )


def _means(file: str, scores: FrameScores, rows: Sequence[FramedLabel]) -> NDArray[np.float32]:
    """Each row's mean score, (rows,); NaN where no frame overlaps it. float32, so that equal scores stay equal."""
    labels = sorted({row.label for row in rows})
    lacking = sorted(set(labels) - set(scores.labels))
    if lacking:
        raise OptionError(
            f"{file!r} has no scores for {lacking[0]!r}; score it too, or name the labels to evaluate"
        )
    windows = sorted({(row.onset, row.offset) for row in rows})
    onsets, offsets = np.round(np.array(windows), _DECIMALS).T
    edges = np.round(scores.edges, _DECIMALS)
    first = np.maximum(np.searchsorted(edges, onsets, side="right") - 1, 0)
    stop = np.minimum(np.searchsorted(edges, offsets), scores.frames)
    sizes = np.maximum(stop - first, 0)
    begins = np.cumsum(sizes) - sizes
    window = np.repeat(np.arange(len(windows)), sizes)
    frame = np.arange(len(window)) - begins[window] + first[window]
    overlap = np.minimum(edges[frame + 1], offsets[window]) - np.maximum(edges[frame], onsets[window])
    covered = np.bincount(window, weights=overlap, minlength=len(windows))
    table = np.full((len(windows), len(labels)), np.nan)
    for column, label in enumerate(labels):
        summed = np.bincount(window, weights=overlap * scores[label][frame], minlength=len(windows))
        np.divide(summed, covered, out=table[:, column], where=covered > 0)
    row_of, column_of = ({key: i for i, key in enumerate(keys)} for keys in (windows, labels))
    picked = table[[row_of[row.onset, row.offset] for row in rows], [column_of[row.label] for row in rows]]
    return picked.astype(np.float32)


def _header(cells: Sequence[str], where: str) -> list[int]:
    names = [cell.strip() for cell in cells]
    if missing := [column for column in COLUMNS if column not in names]:
        raise FormatError(
            f"{where}: the header has no column {', '.join(missing)}; expected {', '.join(COLUMNS)}"
        )
    if twice := [name for name in COLUMNS if names.count(name) > 1]:
        raise FormatError(f"{where}: the header has the column {twice[0]!r} more than once; name it once")
    return [names.index(column) for column in COLUMNS]


def _row(cells: Sequence[str], where: str) -> FramedLabel:
    segment_id, start, end, label, present = (cell.strip() for cell in cells)
    if not segment_id or not label:
        raise FormatError(f"{where}: the {'label' if segment_id else 'segment_id'} is blank; name it")
    try:
        onset, offset = float(start), float(end)
    except ValueError as error:
        raise FormatError(f"{where}: got {start!r} to {end!r}, expected seconds as numbers") from error
    if not 0 <= onset < offset < math.inf:
        raise FormatError(f"{where}: a frame from {start} s to {end} s; expected 0 <= start < end")
    if present not in _PRESENT:
        raise FormatError(f"{where}: got {present!r} for present, expected {' or '.join(_PRESENT)}")
    return FramedLabel(segment_id, onset, offset, label, _PRESENT[present])
