"""Score tables: one tab-separated file for each recording, as sed_scores_eval reads and writes them.

A table begins with a line `onset offset label label ...`; every further line is a frame, each offset the next
line's onset. The file's path in its folder, without `.tsv`, is the recording's name. Source: https://github.com/fgnt/sed_scores_eval.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import FormatError, OptionError
from peaframe.eval.corpus import FrameScores
from peaframe.files import atomic_path
from peaframe.scores import column_of

__all__ = ["ScoreTable", "read_table", "read_text", "table_paths", "write_table"]

SUFFIX = ".tsv"
_JOIN = 1e-6  # seconds: frames this far apart touch; times are often written with few digits


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of one recording on any grid of frames, from any system.

    Attributes:
        values: (frames, labels) float32; any finite numbers. Scores that only float64 tells apart are ties.
        labels: What the columns stand for; no two alike.
        edges: (frames + 1,) where frames begin and end, in seconds, rising.

    Raises:
        OptionError: The shapes do not fit, labels repeat, a number is not finite, or edges do not rise.
    """

    values: NDArray[np.float32]
    labels: tuple[str, ...]
    edges: NDArray[np.float64]

    def __post_init__(self) -> None:
        values = np.asarray(self.values).astype(np.float32, copy=False)
        edges = np.asarray(self.edges, dtype=np.float64)
        labels = tuple(self.labels)
        if len(set(labels)) < len(labels):
            raise OptionError(
                f"got {len(labels)} labels, {len(set(labels))} of them different; name each once"
            )
        if values.ndim != 2 or values.shape[1] != len(labels) or edges.shape != (len(values) + 1,):
            raise OptionError(
                f"got scores of shape {values.shape}, {len(labels)} labels and {len(edges)} edges; expected "
                "(frames, labels) and one edge more than frames"
            )
        if not np.isfinite(values).all() or not np.isfinite(edges).all():
            raise OptionError("got a score or time that is not finite; expected numbers only")
        if edges[0] < 0 or (np.diff(edges) <= 0).any():
            raise OptionError("frames must begin at 0 s or later and last longer than nothing")
        for name, value in (("values", values), ("labels", labels), ("edges", edges)):
            object.__setattr__(self, name, value)

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self.values)

    def __getitem__(self, label: str) -> NDArray[np.float32]:
        """Scores of one label, (frames,).

        Raises:
            OptionError: There is no such label.
        """
        return self.values[:, column_of(label, self.labels)]


def table_paths(folder: str | Path) -> dict[str, Path]:
    """The score tables of a folder and of those inside it, by recording, in the order of their names.

    Raises:
        FormatError: No such folder, or no table in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FormatError(
            f"{root}: no such folder; expected one with a score table (.tsv) for each recording"
        )
    paths = {
        path.relative_to(root).as_posix().removesuffix(SUFFIX): path for path in root.rglob(f"*{SUFFIX}")
    }
    if not paths:
        raise FormatError(f"{root}: holds no .tsv files; expected a score table for each recording")
    return {name: paths[name] for name in sorted(paths)}


def read_table(path: str | Path) -> ScoreTable:
    """Read one score table.

    Raises:
        FormatError: The file cannot be read or is no score table; with the line where one can be named.
    """
    text = read_text(path)
    head, _, body = text.partition("\n")
    labels = _header(head.rstrip("\r"), path)
    rows = _numbers(body, len(labels) + 2, path)
    edges = _edges(rows[:, 0], rows[:, 1], path)
    return ScoreTable(rows[:, 2:].astype(np.float32), labels, edges)


def read_text(path: str | Path) -> str:
    """A file of UTF-8 text; raises FormatError if it is none."""
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror or error}); check the name") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error


def write_table(path: str | Path, scores: FrameScores) -> None:
    """Write one score table, whole or not at all; scores with nine digits, which float32 survives.

    Raises:
        FormatError: A label is the name of a time column or holds a tab or line break; the file cannot be
            written.
    """
    for label in scores.labels:
        if label in ("onset", "offset") or not label.strip() or any(c in label for c in "\t\r\n\0"):
            raise FormatError(f"{path}: a score table cannot have a column {label!r}; rename the label")
    head = io.StringIO()
    csv.writer(head, delimiter="\t", lineterminator="\n").writerow(["onset", "offset", *scores.labels])
    edges = scores.edges
    columns = [scores[label] for label in scores.labels]
    values = np.column_stack([edges[:-1], edges[1:], *columns]) if columns else np.empty((0, 2))
    line = "\t".join(["%.12g"] * 2 + ["%.9g"] * len(columns)) + "\n"
    with atomic_path(path) as temp:
        temp.write_bytes(
            (head.getvalue() + line * len(values) % tuple(values.ravel().tolist())).encode("utf-8")
        )


def _header(line: str, path: str | Path) -> tuple[str, ...]:
    names = next(csv.reader([line], delimiter="\t"), [])
    if names[:2] != ["onset", "offset"] or len(names) < 3:
        got = ", ".join(names[:3]) or "nothing"
        raise FormatError(
            f"{path}:1: the header begins with {got}; expected onset, offset, then a label a column"
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise FormatError(f"{path}:1: the column {twice!r} is there twice; name each label once")
    return tuple(names[2:])


def _numbers(body: str, columns: int, path: str | Path) -> NDArray[np.float64]:
    if not body.strip():
        raise FormatError(f"{path}:2: no frames; expected a line for each")
    try:
        rows = np.loadtxt(io.StringIO(body), delimiter="\t", ndmin=2, comments=None, dtype=np.float64)
    except ValueError:
        rows = None
    if rows is None or rows.shape[1] != columns or not np.isfinite(rows).all():
        raise FormatError(_complaint(body, columns, path))
    return rows


def _complaint(body: str, columns: int, path: str | Path) -> str:
    """What is wrong with the first line that is no frame."""
    for number, cells in _lines(body):
        if len(cells) != columns:
            return (
                f"{path}:{number}: got {len(cells)} cells, expected {columns} as in the header, tabs between"
            )
        for cell in cells:
            try:
                fine = math.isfinite(float(cell))
            except ValueError:
                fine = False
            if not fine:
                return f"{path}:{number}: got {cell!r}, expected a finite number"
    return f"{path}: not a score table; expected tab-separated numbers"


def _lines(body: str) -> Iterator[tuple[int, Sequence[str]]]:
    for number, line in enumerate(body.splitlines(), start=2):
        if line.strip():
            yield number, line.split("\t")


def _edges(
    onsets: NDArray[np.float64], offsets: NDArray[np.float64], path: str | Path
) -> NDArray[np.float64]:
    gaps = np.flatnonzero(np.abs(onsets[1:] - offsets[:-1]) > _JOIN)
    if len(gaps):
        at = int(gaps[0])
        raise FormatError(
            f"{path}:{at + 3}: the frame begins at {onsets[at + 1]:g} s, the one before ends at {offsets[at]:g} s; "
            "expected frames in order, without gaps or overlaps"
        )
    edges = np.append(onsets, offsets[-1])
    bad = np.flatnonzero(np.diff(edges) <= 0)
    if edges[0] < 0 or len(bad):
        line = 2 if edges[0] < 0 else int(bad[0]) + 2
        raise FormatError(f"{path}:{line}: expected 0 <= onset < offset in seconds")
    return edges
