"""Files of latents: many items in one file, written in one go, mapped into memory, never executed.

A shard is a `.npy` file, (frames, channels) float16, that `numpy.load(path, mmap_mode="r")` opens; behind the array
stand the index as JSON, its length, its checksum and eight letters, so a file that was cut is known as such.
"""

from __future__ import annotations

import json
import os
import secrets
import struct
import sys
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import FormatError
from peaframe.version import __version__

SUFFIX = ".npy"
_UNFINISHED = ".part"
_FORMAT, _VERSION = "peaframe-latents", 1
_HEADER_BYTES = 128
_END = struct.Struct("<QI8s")  # bytes of the index, its crc32, the letters
_LETTERS = b"pfLATENT"

Latents = NDArray[np.float16]


@dataclass(frozen=True)
class Entry:
    """One item of a shard.

    Attributes:
        key: see `LatentCache.key`.
        first: its first row in the shard.
        frames: how many rows it has.
        crc32: checksum of these rows.
        path: where the recording was, absolute.
        size: bytes of the recording.
        changed_ns: when the recording was last written, nanoseconds of the system's clock.
    """

    key: str
    first: int
    frames: int
    crc32: int
    path: str
    size: int
    changed_ns: int


@dataclass(frozen=True)
class Shard:
    """What a finished file says about itself.

    Attributes:
        path: where it is.
        codec: fingerprint of the codec that made its latents.
        model: name of the model that codec came from.
        channels: of a latent.
        entries: its items.
    """

    path: Path
    codec: str
    model: str
    channels: int
    entries: tuple[Entry, ...]

    def map(self) -> Latents:
        """All rows (frames, channels), read from the disk as they are looked at. Raises FormatError if they cannot."""
        frames = sum(entry.frames for entry in self.entries)
        try:
            return np.memmap(self.path, np.float16, "r", _HEADER_BYTES, (frames, self.channels))
        except (OSError, ValueError) as error:
            raise FormatError(f"{self.path}: cannot be read ({error}); fill the cache again") from error


def damaged(path: Path, what: str) -> FormatError:
    """The error for a shard that is not as it was written."""
    return FormatError(f"{path}: damaged latents ({what}); delete this file and fill the cache again")


def read_shard(path: Path) -> Shard:
    """Read the index of a shard; its rows are not looked at. Raises FormatError for a damaged one, by name."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _END.size))
            end = file.read()
            if len(end) < _END.size or end[-len(_LETTERS) :] != _LETTERS:
                raise damaged(path, "its end is missing")
            length, checksum, _ = _END.unpack(end)
            file.seek(max(0, size - _END.size - length))
            content = file.read(length)
        if zlib.crc32(content) != checksum:
            raise damaged(path, "its index does not fit its checksum")
        index = json.loads(content)
        if index["format"] != _FORMAT or index["version"] != _VERSION:
            raise FormatError(
                f"{path}: {index['format']!r} version {index['version']}, expected {_FORMAT!r} version {_VERSION}; "
                "use the peaframe that wrote it"
            )
        entries = tuple(Entry(**entry) for entry in index["entries"])
        shard = Shard(path, index["codec"], index["model"], index["channels"], entries)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, "its index makes no sense") from error
    rows = sum(entry.frames for entry in entries)
    if size != _HEADER_BYTES + rows * shard.channels * 2 + length + _END.size:
        raise damaged(path, f"{size} bytes do not fit {rows} latents")
    return shard


class ShardWriter:
    """A shard being written, under another name until it is whole; only the process that writes it may remove it."""

    def __init__(self, folder: Path, codec: str, model: str, channels: int) -> None:
        """Begin. Raises FormatError if the folder cannot be written to."""
        self._folder, self._codec, self._model, self._channels = folder, codec, model, channels
        self.entries: list[Entry] = []
        self._rows = self._kept = 0  # rows written, and those of whole items
        self._crc = 0
        try:
            self._name, self._part, self._file = _open_part(folder)
            self._put(bytes(_HEADER_BYTES))
        except OSError as error:
            raise FormatError(f"{folder}: cannot be written to ({error.strerror})") from error

    @property
    def size(self) -> int:
        """Bytes of the rows that whole items have."""
        return self._kept * self._channels * 2

    def write(self, rows: Latents) -> None:
        """Add rows (frames, channels) to the item being written. Raises FormatError, on a full disk for one."""
        content = np.ascontiguousarray(rows, dtype="<f2").tobytes()
        try:
            self._put(content)
        except OSError as error:
            raise FormatError(f"{self._folder}: cannot be written ({error.strerror})") from error
        self._crc = zlib.crc32(content, self._crc)
        self._rows += len(rows)

    def keep(self, key: str, path: str, size: int, changed_ns: int) -> None:
        """End the item; see `Entry`."""
        frames = self._rows - self._kept
        self.entries.append(Entry(key, self._kept, frames, self._crc, path, size, changed_ns))
        self._kept, self._crc = self._rows, 0

    def forget(self) -> None:
        """Drop the rows of the item being written."""
        self._rows, self._crc = self._kept, 0
        self._file.seek(_HEADER_BYTES + self.size)  # what is behind is overwritten, or cut off at the end

    def close(self) -> Path | None:
        """Make the shard appear, with all its whole items; None, and nothing on the disk, if there are none.

        Raises:
            FormatError: it cannot be written; then nothing of it is left.
        """
        path = self._folder / f"{self._name}{SUFFIX}"
        try:
            if not self.entries:
                return None
            self._finish()
            if sys.platform == "win32":
                self._file.close()
            os.replace(self._part, path)
        except OSError as error:
            raise FormatError(f"{path}: cannot be written ({error.strerror})") from error
        finally:
            with suppress(OSError):
                self._file.close()
            with suppress(OSError):
                self._part.unlink(missing_ok=True)
        return path

    def _put(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]

    def _finish(self) -> None:
        index: dict[str, Any] = {"format": _FORMAT, "version": _VERSION, "peaframe": __version__}
        index |= {"codec": self._codec, "model": self._model, "channels": self._channels}
        index["entries"] = [asdict(entry) for entry in self.entries]
        content = json.dumps(index).encode()
        shape = f"{{'descr': '<f2', 'fortran_order': False, 'shape': ({self._kept}, {self._channels}), }}"
        header = b"\x93NUMPY\x01\x00" + struct.pack("<H", _HEADER_BYTES - 10)
        self._file.seek(_HEADER_BYTES + self.size)
        self._file.truncate()
        self._put(content + _END.pack(len(content), zlib.crc32(content), _LETTERS))
        self._file.seek(0)
        self._put(header + shape.encode().ljust(_HEADER_BYTES - 11) + b"\n")
        os.fsync(self._file.fileno())


def _open_part(folder: Path) -> tuple[str, Path, FileIO]:
    """A new file that is ours: (name of the shard to be, path, file without a buffer)."""
    while True:
        name = secrets.token_hex(8)
        path = folder / f".{name}{_UNFINISHED}"
        file = FileIO(path, "x+")
        try:
            lock(file)
            if path.exists():
                return name, path, file
        except BlockingIOError:
            pass
        except OSError:  # a file system without locks; there, nobody can remove it either
            return name, path, file
        file.close()  # somebody who sweeps was quicker than our lock


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written; what a living one is writing stays."""
    for part in folder.glob(f".*{_UNFINISHED}"):
        with suppress(OSError), part.open("r+b") as file:
            lock(file)
            if sys.platform != "win32":
                part.unlink()
        if sys.platform == "win32":
            with suppress(OSError):  # Windows itself refuses while the file is open
                part.unlink()


def lock(file: IO[bytes] | FileIO) -> None:
    """Hold a file until it is closed or its process ends; raises OSError if somebody else holds it."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Claims:
    """Which keys this process is working on, known to others on the same folder, and gone when the process is.

    Each key is one byte of a file that is locked, never written. Where there are no such locks, all claims are
    granted: then some work is done twice, and nothing else happens.
    """

    def __init__(self, folder: Path) -> None:
        """Prepare. Raises FormatError if the folder cannot be written to."""
        path = folder / ".claims"
        try:
            self._file = path.open("a+b")
        except OSError as error:
            raise FormatError(f"{path}: cannot be opened ({error.strerror})") from error

    def take(self, key: str) -> bool:
        """Claim a key; false if another process has it."""
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.lockf(
                    self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, zlib.crc32(key.encode()), os.SEEK_SET
                )
            except (BlockingIOError, PermissionError):
                return False
            except OSError:
                return True
        return True

    def release(self) -> None:
        """Give all keys back."""
        if sys.platform != "win32":
            import fcntl

            with suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_UN, 0, 0, os.SEEK_SET)

    def close(self) -> None:
        """Give all keys back, for good."""
        self._file.close()
