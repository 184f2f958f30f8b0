"""An index: arrays in half precision for each media file, known by the file's content.

A folder of three files. `index.json` says what made it. `rows.f16` holds all numbers one behind the other, as
little-endian float16, and is mapped, never loaded. `entries.jsonl` has a line for each content: its hash, its length,
where its arrays begin and their shapes; and a line for each path it was found at, with size and time, so that a file
that did not change is not read again. A line is written behind its numbers: after a stop at any moment the numbers
without a line are cut off, and everything else is as it was.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import FormatError, OptionError
from peaframe.json_files import load_json, save_json

__all__ = ["Entry", "MediaIndex"]

_FORMAT, _VERSION = "peaframe-index", 1
_ABOUT, _ROWS, _ENTRIES = "index.json", "rows.f16", "entries.jsonl"
_TYPE = np.dtype("<f2")
_BLOCK_BYTES = 1 << 20
_HINT = "expected a folder that `peaframe search --index` made, or one that is not there yet"


@dataclass(frozen=True)
class Entry:
    """What is kept of one content.

    Attributes:
        content: SHA-256 of the file, hexadecimal; of several, of theirs.
        seconds: Its length; 0 where it has no sound.
        places: Array name -> (where it begins, in numbers from the start of all; rows; columns).
    """

    content: str
    seconds: float
    places: Mapping[str, tuple[int, int, int]]


class MediaIndex:
    """An index on disk, of one writer at a time.

    Attributes:
        folder: Where it lies.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, Any]) -> None:
        """Open an index, or begin one.

        Args:
            folder: Made if it is not there.
            made_by: What the numbers hang on, such as the model and its fingerprint; plain JSON.

        Raises:
            OptionError: It was made by something else, or another process is writing it.
            FormatError: The folder holds other things, is damaged, or cannot be written.
        """
        self.folder = folder
        self._entries: dict[str, Entry] = {}
        self._paths: dict[str, tuple[int, int, str]] = {}
        self._map: NDArray[np.float16] = np.zeros(0, _TYPE)
        self._rows: IO[bytes]
        self._lines: IO[bytes]
        wanted = json.loads(json.dumps(dict(made_by)))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            about = folder / _ABOUT
            if not about.exists():
                if any(folder.iterdir()):
                    raise FormatError(f"{folder}: holds other files; {_HINT}")
                save_json(about, _FORMAT, _VERSION, {"made_by": wanted})
            found = load_json(about, _FORMAT, _VERSION, "an index", _HINT).get("made_by")
            if found != wanted:
                differ = [
                    key for key in wanted if not isinstance(found, dict) or found.get(key) != wanted[key]
                ]
                raise OptionError(
                    f"{folder}: was made by something else, which differs in {', '.join(differ) or 'more'}; "
                    "name another folder, or use what made it"
                )
            with ExitStack() as files:
                self._rows = files.enter_context((folder / _ROWS).open("a+b"))
                _lock(self._rows, folder)
                self._lines = files.enter_context((folder / _ENTRIES).open("a+b"))
                self._recover()
                files.pop_all()  # closed by close
        except OSError as error:
            raise FormatError(f"{folder}: cannot be used as an index ({error.strerror or error})") from error

    def __len__(self) -> int:
        """How many contents are kept."""
        return len(self._entries)

    def __enter__(self) -> MediaIndex:
        """Give the index itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the files."""
        self.close()

    @staticmethod
    def remove(folder: Path) -> None:
        """Remove an index, and nothing else that lies in its folder.

        Raises:
            FormatError: It cannot be removed.
        """
        try:
            for name in (_ENTRIES, _ROWS, _ABOUT):
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise FormatError(f"{folder}: cannot be removed ({error.strerror or error})") from error

    def close(self) -> None:
        """Close the files; arrays already given stay valid."""
        self._rows.close()
        self._lines.close()

    def find(self, *paths: Path) -> Entry | None:
        """What is kept of a file, or of some together, wherever and under whatever name the content was met before.

        Raises:
            FormatError: One cannot be read.
        """
        size, mtime, key = _identity(paths)
        if self._paths.get(key, (None, None))[:2] != (size, mtime):
            content = _content(paths)
            if content not in self._entries:
                return None
            self._place(key, size, mtime, content)
        return self._entries.get(self._paths[key][2])

    def add(self, paths: Sequence[Path], arrays: Mapping[str, NDArray[Any]], seconds: float) -> Entry:
        """Keep arrays of a file, or of some that make one thing.

        Args:
            paths: The files.
            arrays: Name -> (rows, columns) of finite numbers that half precision can hold.
            seconds: Their length.

        Raises:
            OptionError: An array has another shape, or numbers that are not finite in half precision.
            FormatError: The file cannot be read, or the index not written.
        """
        places: dict[str, tuple[int, int, int]] = {}
        halves = []
        at = self._rows.seek(0, os.SEEK_END) // _TYPE.itemsize
        for name, array in arrays.items():
            with np.errstate(over="ignore"):
                half = np.ascontiguousarray(array, dtype=_TYPE)
            if half.ndim != 2 or not np.isfinite(half).all():
                raise OptionError(
                    f"{paths[0]}: got {name} of shape {np.shape(array)}, expected (rows, columns) of finite "
                    "numbers that half precision holds"
                )
            places[name] = (at, *half.shape)
            at += half.size
            halves.append(half)
        size, mtime, key = _identity(paths)
        entry = Entry(_content(paths), seconds, places)
        try:
            for half in halves:
                self._rows.write(half.view(np.uint8).data)
            self._rows.flush()
        except OSError as error:
            raise FormatError(f"{self.folder}: cannot be written ({error.strerror or error})") from error
        self._write({"content": entry.content, "seconds": seconds, "arrays": places})
        self._entries[entry.content] = entry
        self._place(key, size, mtime, entry.content)
        return entry

    def read(self, entry: Entry, name: str) -> NDArray[np.float16]:
        """An array of an entry, (rows, columns): a map of the file, not to be written into.

        Raises:
            OptionError: The entry has none of this name.
        """
        if name not in entry.places:
            raise OptionError(f"got the array {name!r}, expected one of {', '.join(entry.places)}")
        at, rows, columns = entry.places[name]
        if at + rows * columns > len(self._map):
            self._map = np.memmap(self.folder / _ROWS, _TYPE, "r")
        values: NDArray[np.float16] = self._map[at : at + rows * columns].reshape(rows, columns)
        return values

    def _place(self, key: str, size: int, mtime: int, content: str) -> None:
        self._write({"path": key, "size": size, "mtime_ns": mtime, "content": content})
        self._paths[key] = (size, mtime, content)

    def _write(self, line: Mapping[str, Any]) -> None:
        try:
            self._lines.write(json.dumps(line).encode() + b"\n")
            self._lines.flush()
        except OSError as error:
            raise FormatError(f"{self.folder}: cannot be written ({error.strerror or error})") from error

    def _recover(self) -> None:
        """Read the lines, and cut off what a stopped writer left behind the last whole one."""
        self._lines.seek(0)
        whole = used = 0
        have = self._rows.seek(0, os.SEEK_END)
        for number, line in enumerate(self._lines, 1):
            if not line.endswith(b"\n"):
                break
            try:
                used = max(used, self._take(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise FormatError(
                    f"{self.folder / _ENTRIES}:{number}: is damaged; remove the folder"
                ) from error
            whole += len(line)
        if used > have:
            raise FormatError(f"{self.folder / _ROWS}: is cut short; remove the folder {self.folder}")
        self._lines.truncate(whole)
        self._rows.truncate(used)

    def _take(self, line: Mapping[str, Any]) -> int:
        """Understand a line; the byte behind its last number."""
        content = str(line["content"])
        if "path" in line:
            self._paths[str(line["path"])] = (int(line["size"]), int(line["mtime_ns"]), content)
            return 0
        places = {name: (int(at), int(n), int(dim)) for name, (at, n, dim) in line["arrays"].items()}
        self._entries[content] = Entry(content, float(line["seconds"]), places)
        return max((at + n * dim for at, n, dim in places.values()), default=0) * _TYPE.itemsize


def _identity(paths: Sequence[Path]) -> tuple[int, int, str]:
    """Bytes of all, time of the last change, and the paths as a key."""
    try:
        status = [path.stat() for path in paths]
    except OSError as error:
        raise FormatError(f"{error.filename}: cannot be read ({error.strerror}); check the name") from error
    size, mtime = sum(one.st_size for one in status), max(one.st_mtime_ns for one in status)
    return size, mtime, "\n".join(os.path.abspath(path) for path in paths)


def _content(paths: Sequence[Path]) -> str:
    digests = []
    for path in paths:
        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    digest.update(block)
        except OSError as error:
            raise FormatError(
                f"{path}: cannot be read ({error.strerror or error}); check its rights"
            ) from error
        digests.append(digest.hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _lock(file: IO[bytes], folder: Path) -> None:
    """Keep other processes out until the file is closed, where the system can.

    Raises:
        OptionError: Another process is in.
    """
    with suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OptionError(
                f"{folder}: another process is using this index; wait for it, or name another"
            ) from error
