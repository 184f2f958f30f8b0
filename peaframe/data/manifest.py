"""Manifests: what there is to learn from, one item a line, as JSON.

    {"audio": "yard/07.flac", "start": 20, "duration": 10, "events": [{"onset": 1.2, "offset": 2.04, "label": "dog"}],
     "weak": ["wind"], "unknown": [[8, 10], [0, 1, "dog"]], "negatives": ["siren"], "exhaustive": false,
     "split": "train", "licence": "CC BY 4.0", "source": "yard recordings 2025"}

in one line. `audio` is a path from the manifest's folder, or an absolute one; all else may be missing. All times are
seconds from the item's own start. What is said of a label, frame by frame (`targets`):

| the label | its frames |
|---|---|
| has events | 1 where they are, -1 elsewhere |
| is among `negatives`, or is not named and the item is `exhaustive` | -1 |
| is `weak` (heard, nobody knows when), or is not named | 0 |
| has an `unknown` span, or all labels have one | 0 there, whatever else is said |

Reading takes little memory: `stream` gives item after item, `load` checks all of them and keeps two numbers a line.
"""

from __future__ import annotations

import hashlib
import operator
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from peaframe.data.manifest_item import Item, Unknown, from_line, to_line
from peaframe.data.manifest_summary import Summary, summary
from peaframe.data.manifest_targets import targets, weak_targets
from peaframe.errors import ManifestError
from peaframe.files import atomic_path

__all__ = [
    "Item",
    "Manifest",
    "Summary",
    "Unknown",
    "load",
    "save",
    "stream",
    "summary",
    "targets",
    "weak_targets",
]


class Manifest(Sequence[Item]):
    """The items of a checked file, read from it whenever they are asked for; `load` makes it.

    It may be sent to other processes. Where the file has changed since it was checked, it is refused.
    """

    def __init__(
        self, path: Path, offsets: NDArray[np.int64], numbers: NDArray[np.int64], mark: tuple[int, int]
    ):
        """Use `load`."""
        self.path = path
        self._offsets, self._numbers, self._mark = offsets, numbers, mark

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        """Item `index`, or a list of items.

        Raises:
            IndexError: There is no such item.
            ManifestError: The file has changed, or cannot be read any more.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = operator.index(index)
        at += len(self) if at < 0 else 0
        if not 0 <= at < len(self):
            raise IndexError(f"got item {index} of {self.path}, expected one of {len(self)}")
        try:
            with self.path.open("rb") as file:
                self._check(os.fstat(file.fileno()))
                file.seek(int(self._offsets[at]))
                line = file.readline()
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return _item(line, self.path, int(self._numbers[at]))

    def __iter__(self) -> Iterator[Item]:
        """All items in their order."""
        try:
            self._check(self.path.stat())
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return stream(self.path)

    def _check(self, found: os.stat_result) -> None:
        if (found.st_size, found.st_mtime_ns) != self._mark:
            raise ManifestError(f"{self.path}: has changed since it was checked; load it again")


def stream(path: str | os.PathLike[str]) -> Iterator[Item]:
    """The items of a manifest, one after the other.

    Raises:
        ManifestError: While iterating: the file cannot be read, or a line is no item; with file and line.
    """
    for _, number, line in _lines(Path(path)):
        yield _item(line, Path(path), number)


def load(path: str | os.PathLike[str]) -> Manifest:
    """Check a whole manifest, and give its items by number.

    Raises:
        ManifestError: The file cannot be read or has no items, a line is no item, or two are of the same audio, start
            and duration; with file and line.
    """
    path = Path(os.path.abspath(path))
    offsets, numbers, doubles = array("q"), array("q"), _Doubles()
    try:
        before = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    for offset, number, line in _lines(path):
        doubles.add(_item(line, path, number))
        offsets.append(offset)
        numbers.append(number)
    if not offsets:
        raise ManifestError(f"{path}: has no items, expected one a line")
    doubles.refuse(path, numbers)
    mark = (before.st_size, before.st_mtime_ns)
    return Manifest(path, np.array(offsets, np.int64), np.array(numbers, np.int64), mark)


def save(path: str | os.PathLike[str], items: Iterable[Item]) -> int:
    """Write a manifest, whole or not at all; audio below its folder is named from there, other audio absolutely.

    Args:
        path: The file, usually `.jsonl`.
        items: What to write; relative paths in it start from the working directory, as everywhere.

    Returns:
        How many items were written.

    Raises:
        ManifestError: There are no items, two are of the same audio, start and duration, or a name is no Unicode.
        FormatError: The file cannot be written.
    """
    folder = Path(os.path.abspath(path)).parent
    count, doubles = 0, _Doubles()
    with atomic_path(path) as temp, temp.open("wb") as file:
        for count, item in enumerate(items, start=1):
            doubles.add(item, Path(os.path.abspath(item.audio)))
            line = to_line(item, folder)
            try:
                file.write(line.encode("utf-8"))
            except UnicodeEncodeError as error:
                raise ManifestError(
                    f"{path}:{count}: {line[error.start : error.end]!r} is not valid Unicode; rename it"
                ) from error
        if not count:
            raise ManifestError(f"{path}: got no items to write, expected one or more")
        doubles.refuse(Path(path), range(1, count + 1))
    return count


class _Doubles:
    """Finds items of the same audio, start and duration, by 16 bytes of each."""

    def __init__(self) -> None:
        self._marks = bytearray()

    def add(self, item: Item, audio: Path | None = None) -> None:
        text = f"{audio or item.audio}\0{float(item.start)!r}\0{item.duration and float(item.duration)!r}"
        self._marks += hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def refuse(self, path: Path, numbers: Sequence[int]) -> None:
        """Raise ManifestError with the lines of the first pair; `numbers` are all lines."""
        marks = np.frombuffer(self._marks, dtype=np.uint64).reshape(-1, 2)
        order = np.lexsort((marks[:, 1], marks[:, 0]))  # stable: of equals, the earlier line comes first
        same = (marks[order[1:]] == marks[order[:-1]]).all(axis=1)
        if same.any():
            at = int(np.flatnonzero(same)[np.argmin(order[1:][same])])
            first, second = numbers[int(order[at])], numbers[int(order[at + 1])]
            raise ManifestError(
                f"{path}:{second}: the same audio, start and duration as in line {first}; expected each part once"
            )


def _unreadable(path: Path, error: OSError) -> ManifestError:
    return ManifestError(f"{path}: cannot be read ({error.strerror or error}); check the name")


def _item(line: bytes, path: Path, number: int) -> Item:
    return from_line(line, path.parent, f"{path}:{number}")


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Where each line begins, in bytes, its number from 1, and the line; blank ones are passed over."""
    offset = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield offset, number, line
                offset += len(line)
    except OSError as error:
        raise _unreadable(path, error) from error
