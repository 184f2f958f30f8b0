"""Scores of many recordings, on disk, read a label or a recording at a time.

407 labels of 17 000 recordings are 7 GB of scores; whoever counts one label at a time needs 17 MB of them. So
scores are kept label after label in blocks of some recordings, in one file that vanishes with the store.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import OptionError
from peaframe.eval.corpus import FrameScores
from peaframe.eval.tables import ScoreTable, read_table, table_paths
from peaframe.scores import column_of

__all__ = ["ScoreStore"]

BLOCK_BYTES = 1 << 26
BYTES = 4  # of a float32


class ScoreStore(Mapping[str, ScoreTable]):
    """Scores by recording, in the order of the recordings' names, in bounded memory.

    Metrics take it like any mapping, and read it label by label.
    """

    def __init__(
        self, recordings: Iterable[tuple[str, FrameScores]], folder: str | Path | None = None
    ) -> None:
        """Keep scores.

        Args:
            recordings: Names and scores, all with the same labels; names must rise.
            folder: Where the file lies, as big as all scores; by default where the system keeps such files.

        Raises:
            OptionError: No recordings, names that do not rise, or labels that differ.
        """
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (it lives as long as the store)
        self._edges: dict[str, NDArray[np.float64]] = {}
        self._place: dict[str, tuple[int, int]] = {}  # recording -> block, first frame in it
        self._blocks: list[tuple[int, int]] = []  # where a block begins in the file, its frames
        self._labels: tuple[str, ...] = ()
        self._latest: tuple[int, NDArray[np.float32]] | None = None
        self._fill(recordings)

    @classmethod
    def read(cls, folder: str | Path, names: Iterable[str] | None = None) -> ScoreStore:
        """Keep the score tables of a folder, or those of some recordings of it.

        Raises:
            FormatError: A table cannot be read; with file and line.
            OptionError: A named recording has no table.
        """
        paths = table_paths(folder)
        wanted = list(paths) if names is None else sorted(names)
        missing = [name for name in wanted if name not in paths]
        if missing:
            raise OptionError(
                f"{folder}: no score table for {missing[0]!r} and {len(missing) - 1} more of {len(wanted)} recordings"
            )
        return cls((name, read_table(paths[name])) for name in wanted)

    @property
    def labels(self) -> tuple[str, ...]:
        """What is scored, in the order of the first recording."""
        return self._labels

    @property
    def frames(self) -> int:
        """How many frames all recordings have together."""
        return sum(frames for _, frames in self._blocks)

    def edges(self, name: str) -> NDArray[np.float64]:
        """Frame edges of a recording in seconds, (frames + 1,)."""
        return self._edges[name]

    def column(self, label: str) -> NDArray[np.float32]:
        """One label's scores in all recordings, in the order of their names, end to end.

        Raises:
            OptionError: There is no such label.
        """
        row = column_of(label, self._labels)
        out = np.empty(sum(frames for _, frames in self._blocks), dtype=np.float32)
        at = 0
        for begin, frames in self._blocks:
            self._file.seek(begin + row * frames * BYTES)
            self._file.readinto(out[at : at + frames])  # type: ignore[attr-defined]
            at += frames
        return out

    def __getitem__(self, name: str) -> ScoreTable:
        if name not in self._place:
            raise KeyError(name)
        number, first = self._place[name]
        edges = self._edges[name]
        values = self._block(number)[:, first : first + len(edges) - 1].T
        return ScoreTable(values, self._labels, edges)

    def __iter__(self) -> Iterator[str]:
        return iter(self._place)

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, name: object) -> bool:
        return name in self._place

    def _block(self, number: int) -> NDArray[np.float32]:
        """(labels, frames) of one block; the latest one stays in memory, so reading in order is quick."""
        if self._latest is None or self._latest[0] != number:
            begin, frames = self._blocks[number]
            self._file.seek(begin)
            content = self._file.read(len(self._labels) * frames * BYTES)
            self._latest = number, np.frombuffer(content, np.float32).reshape(len(self._labels), frames)
        return self._latest[1]

    def _fill(self, recordings: Iterable[tuple[str, FrameScores]]) -> None:
        waiting: list[NDArray[np.float32]] = []
        frames = 0
        latest = ""
        for name, item in recordings:
            if not self._place:
                self._labels = item.labels
            if set(item.labels) != set(self._labels):
                odd = min(set(item.labels) ^ set(self._labels))
                raise OptionError(
                    f"{name!r} and others differ in the label {odd!r}; give all the same labels"
                )
            if self._place and name <= latest:
                raise OptionError(
                    f"got {name!r} after {latest!r}; give recordings in the order of their names"
                )
            values = np.stack([item[label] for label in self._labels])
            self._place[name], latest = (len(self._blocks), frames), name
            self._edges[name] = self._shared(item.edges)
            waiting.append(values)
            frames += item.frames
            if frames * len(self._labels) * BYTES >= BLOCK_BYTES:
                self._write(waiting)
                waiting, frames = [], 0
        if not self._place:
            raise OptionError("got scores of no recordings; expected one or more to evaluate")
        if waiting:
            self._write(waiting)

    def _write(self, waiting: list[NDArray[np.float32]]) -> None:
        block = np.concatenate(waiting, axis=1)
        self._blocks.append((self._file.seek(0, 2), block.shape[1]))
        self._file.write(np.ascontiguousarray(block).data)

    def _shared(self, edges: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same array for recordings with the same frames, of which there are many."""
        latest = next(reversed(self._edges.values()), None)
        return latest if latest is not None and np.array_equal(latest, edges) else edges
