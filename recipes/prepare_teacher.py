"""Bring another model's frame scores into the form a model here can learn from (distillation).

    python -m peaframe.recipes.prepare_teacher h5 as_strong.hdf5 --names AUDIOSET_STRONG --out DIR
    python -m peaframe.recipes.prepare_teacher scores FOLDER --out DIR

`h5`: the ensemble logits that PretrainedSED's authors publish for AudioSet-Strong (zenodo.org/records/14626113;
Schmid et al., ICASSP 2025). The layout is the one that the README and the loader of github.com/fschmid56/PretrainedSED
name: `filenames` (clips), such as `Y<YouTube id>.mp3`, and `strong_logits` (clips, classes, frames) float16, 447
classes and 250 frames of 40 ms. The file itself was not seen when this was written; what does not fit is refused by
name. It does not hold the classes' names, which is why --names gives them, in the order of the classes:

    a folder    AudioSet-Strong's with `audioset_train_strong.tsv` and `mid_to_display_name.tsv`: the display names of
                all labels of the training table, sorted, which is PretrainedSED's order
    a file      a class a line: its name, or its id, a tab, and its name

Clips keep their names (`Y<YouTube id>`). If your files are called after their segments, as prepare_audioset_strong
makes them (`<YouTube id>_<start in ms>`), --segments names the scores so; this needs the folder.

`scores`: what a model here, such as a large PE-A-Frame, has said: score tables (.tsv) as `peaframe eval run` leaves
them, or files of `peaframe detect --scores` (.npz), in FOLDER and those inside it. Probabilities become logits, at
most 16 from 0; on another grid they are first averaged over frames of 40 ms. All must have the same labels.

DIR must be new, and is there when all is done; a run that was killed may leave a hidden folder `.DIR.*` beside it. See
peaframe.data.teacher_scores for what is in it. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from peaframe.clock import FRAME_RATE, frame_count, frame_start_seconds, samples_of_seconds
from peaframe.data.teacher_scores import TEACHER, TeacherScores, recording_name, write_teacher
from peaframe.errors import FormatError, MissingExtraError, OptionError
from peaframe.eval.benchmarks.audioset import COLUMNS, NAMES, TRAIN, Segments, display_names, find_table
from peaframe.eval.benchmarks.rows import read_rows
from peaframe.eval.tables import SUFFIX, ScoreTable, read_table
from peaframe.recipes import program
from peaframe.scores import Scores

if TYPE_CHECKING:
    import h5py

LIMIT = 16.0  # of logits made from probabilities: 1e-7, what float32 still tells from 1
_BLOCK = 64  # clips read at a time
_FILENAMES, _LOGITS = "filenames", "strong_logits"

Named = tuple[str, NDArray[np.float16]]


def class_names(path: Path) -> tuple[tuple[str, ...], Segments | None]:
    """The classes in the teacher's order, and the training segments if `path` is AudioSet-Strong's folder.

    Raises:
        FormatError: A file is missing or malformed, or a label of the training table has no name.
    """
    if not path.is_dir():
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise FormatError(f"{path}: cannot be read ({error}); expected a class a line") from error
        return tuple(line.rpartition("\t")[2].strip() for line in lines if line.strip()), None
    table, known = find_table(path, TRAIN), find_table(path, NAMES)
    if table is None or known is None:
        raise FormatError(
            f"{path}: got no {TRAIN if table is None else NAMES} in it; get it from AudioSet's page on strong labels"
        )
    names, segments, found = display_names(known), Segments(), set[str]()
    for where, row in read_rows(table, COLUMNS):
        if row["label"] not in names:
            raise FormatError(
                f"{where}: got the label {row['label']!r}, expected one that {known.name} names"
            )
        found.add(names[row["label"]])
        segments.add(row["segment_id"], where)
    return tuple(sorted(found)), segments


def h5_items(path: Path, labels: int, segments: Segments | None) -> Iterator[Named]:
    """The clips of one of PretrainedSED's files: name and logits (frames, labels).

    Args:
        path: The file.
        labels: How many classes there must be.
        segments: Clips are called after these, and left out if they are none of them; None keeps their names.

    Raises:
        FormatError: The file cannot be read, or has another layout.
        MissingExtraError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "train", "reading HDF5 files") from error
    try:
        with h5py.File(path, "r") as file:
            names, logits = _datasets(file, path, labels)
            for first in tqdm(range(0, len(names), _BLOCK), desc=path.name, unit="block", disable=None):
                block = np.asarray(logits[first : first + _BLOCK])
                for raw, values in zip(names[first : first + _BLOCK], block, strict=True):
                    name = recording_name(raw.decode("utf-8") if isinstance(raw, bytes) else str(raw))
                    own = name if segments is None else segments.named(name)
                    if own is not None:
                        yield own, values.T
    except (OSError, KeyError, RuntimeError, UnicodeDecodeError) as error:
        raise FormatError(
            f"{path}: cannot be read as HDF5 ({error}); check the name, or get it again"
        ) from error


def _datasets(file: h5py.File, path: Path, labels: int) -> tuple[Any, Any]:
    """The names (clips,) and the logits (clips, classes, frames) of an open file."""
    lacking = [key for key in (_FILENAMES, _LOGITS) if not hasattr(file.get(key), "shape")]
    if lacking:
        raise FormatError(
            f"{path}: got no dataset {lacking[0]!r} but {', '.join(sorted(file)) or 'nothing'}; expected "
            f"PretrainedSED's {_FILENAMES} and {_LOGITS}"
        )
    names, logits = file[_FILENAMES], file[_LOGITS]
    if names.ndim != 1 or logits.ndim != 3 or len(logits) != len(names) or logits.dtype.kind != "f":
        raise FormatError(
            f"{path}: got {_FILENAMES} {names.shape} and {_LOGITS} {logits.shape} {logits.dtype}, expected (clips,) "
            "and floats (clips, classes, frames)"
        )
    if logits.shape[1] != labels:
        raise FormatError(
            f"{path}: got {logits.shape[1]} classes of {logits.shape[2]} frames, and --names gives {labels}; give a "
            "name for each class, in their order"
        )
    return names[:], logits


def score_files(folder: Path) -> list[Path]:
    """Score tables and `.npz` files of a folder and those inside it, in the order of their paths.

    Raises:
        FormatError: No such folder, or none in it.
    """
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix in (SUFFIX, ".npz") and not path.name.startswith(".") and path.is_file()
    ]
    if not files:
        raise FormatError(f"{folder}: got no scores in it; expected tables (.tsv) or files of detect (.npz)")
    return files


def read_scores(path: Path) -> ScoreTable:
    """The probabilities of one recording, from its start on.

    Raises:
        FormatError: The file cannot be read, its scores are no probabilities, or they begin later than 0 s.
    """
    if path.suffix == ".npz":
        scores = Scores.load(path)
        if not scores.frames:
            raise FormatError(f"{path}: got no frames; expected one or more")
        table = ScoreTable(scores.values, scores.labels, scores.edges)
    else:
        table = read_table(path)
    if not (table.values.min() >= 0 and table.values.max() <= 1):
        got = f"{table.values.min():g} to {table.values.max():g}"
        raise FormatError(f"{path}: got scores from {got}, expected probabilities from 0 to 1")
    if table.edges[0] > 0:
        raise FormatError(
            f"{path}: got scores from {table.edges[0]:g} s on; hear the recording from its start"
        )
    return table


def logits_of(table: ScoreTable) -> NDArray[np.float16]:
    """Logits on our grid: each frame's is that of the mean probability over the part of its 40 ms that was heard.

    Returns:
        (frames, labels), within ±16.
    """
    end = float(table.edges[-1])
    edges = np.arange(max(1, frame_count(samples_of_seconds(end))) + 1) / FRAME_RATE
    edges[-1] = end
    values = table.values.astype(np.float64)
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values * np.diff(table.edges)[:, None], axis=0, out=sums[1:])
    at = np.clip(np.searchsorted(table.edges, edges, side="right") - 1, 0, len(values) - 1)
    until = sums[at] + values[at] * (edges - table.edges[at])[:, None]
    mean = np.clip(np.diff(until, axis=0) / np.diff(edges)[:, None], 0, 1)
    with np.errstate(divide="ignore"):
        logits = np.log(mean) - np.log1p(-mean)
    clipped: NDArray[np.float16] = np.clip(logits, -LIMIT, LIMIT).astype(np.float16)
    return clipped


def score_items(files: Sequence[Path], labels: tuple[str, ...]) -> Iterator[Named]:
    """Recordings of score files: name and logits, columns in the order of `labels`.

    Raises:
        FormatError: As `read_scores` does, or a file has other labels.
    """
    for path in tqdm(files, desc="scores", unit="file", disable=None):
        table = read_scores(path)
        if set(table.labels) != set(labels):
            odd = min(set(table.labels) ^ set(labels))
            raise FormatError(
                f"{path}: has other labels than {files[0].name} ({odd!r}); expected the same in all"
            )
        order = [table.labels.index(label) for label in labels]
        yield recording_name(path.name.removesuffix(path.suffix)), logits_of(table)[:, order]


def _from_h5(args: argparse.Namespace) -> TeacherScores:
    labels, segments = class_names(args.names)
    if args.segments and segments is None:
        raise OptionError(
            f"got --segments and --names {args.names}, expected AudioSet-Strong's folder as --names"
        )
    items = (h5_items(path, len(labels), segments if args.segments else None) for path in args.files)
    source = args.source or f"{', '.join(path.name for path in args.files)} (PretrainedSED's HDF5 layout)"
    model = args.model or "PretrainedSED ensemble"
    return write_teacher(args.out, labels, chain.from_iterable(items), source=source, model=model)


def _from_scores(args: argparse.Namespace) -> TeacherScores:
    files = score_files(args.folder)
    labels = read_scores(files[0]).labels
    source, model = args.source or f"scores in {args.folder}", args.model or args.folder.resolve().name
    return write_teacher(args.out, labels, score_items(files, labels), source=source, model=model)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, convert, write, print what is there."""
    parser = program.parser(__doc__)
    kinds = parser.add_subparsers(required=True, metavar="h5|scores")
    h5 = kinds.add_parser("h5", help="PretrainedSED's ensemble logits")
    h5.add_argument("files", type=Path, nargs="+", metavar="FILE", help="HDF5 files")
    h5.add_argument("--names", type=Path, required=True, help="AudioSet-Strong's folder, or a class a line")
    h5.add_argument("--segments", action="store_true", help="call clips after their segments")
    h5.set_defaults(make=_from_h5)
    scores = kinds.add_parser("scores", help="scores of a model here")
    scores.add_argument("folder", type=Path, metavar="FOLDER", help="with .tsv tables or .npz files")
    scores.set_defaults(make=_from_scores)
    for kind in (h5, scores):
        kind.add_argument("--out", type=Path, required=True, help="folder to make")
        kind.add_argument("--model", help="the teacher's name, to be kept with the scores")
        kind.add_argument("--source", help="where the scores are from, to be kept with them")
    args = parser.parse_args(arguments)
    teacher = args.make(args)
    hours = frame_start_seconds(sum(teacher.frames(name) for name in teacher)) / 3600
    print(
        f"{teacher.model} in {args.out / TEACHER}: {len(teacher)} recordings, {hours:.2f} h, "
        f"{len(teacher.labels)} labels"
    )


if __name__ == "__main__":
    program.run(main)
