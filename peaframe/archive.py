"""Our own `.npz` files: named arrays with a format and a version, written whole or not at all, never executed."""

from __future__ import annotations

import zipfile
import zlib
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import FormatError, OptionError
from peaframe.files import atomic_path

# What numpy, zipfile and json raise when a file is no archive of ours or has flipped bits.
_DAMAGE = (KeyError, TypeError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
Arrays = Mapping[str, NDArray[Any]]
Kind = TypeVar("Kind")
_BLOCK_BYTES = 1 << 20
_LOCAL_HEADER_BYTES = 30  # before the name; see PKWARE's APPNOTE.TXT, 4.3.7


def save_arrays(path: str | Path, format: str, version: int, arrays: Arrays) -> None:
    """Write arrays to one file, with `format` and `version` beside them; `numpy.load` alone can read it too.

    Raises:
        FormatError: the file cannot be written there.
    """
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(file, format=np.array(format), version=np.array(version), **arrays)  # type: ignore[arg-type]


def load_arrays(
    path: str | Path,
    format: str,
    version: int,
    what: str,
    make: Callable[[Arrays], Kind],
    writer: str,
    mapped: Sequence[str] = (),
) -> Kind:
    """Read what `save_arrays` wrote.

    Args:
        path: the file.
        format: what it must be.
        version: the only one that is understood.
        what: the content in a word, for messages.
        make: builds the result from the arrays.
        writer: what writes such files, for messages.
        mapped: names of large arrays that `make` gets as a map of the file where it holds them as they are; what is
            written into one stays in memory. Compressed ones are loaded. The checksum is compared, for which the
            file is read once, block by block.

    Raises:
        FormatError: the file is missing, damaged, of another kind, or `make` could not use it.
    """
    hint = f"expected a file written by {writer}"
    try:
        with Path(path).open("rb") as file:
            if not zipfile.is_zipfile(file):  # numpy would also take a lone array
                raise FormatError(f"{path}: not {what}, or a damaged one; {hint}")
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                if str(stored["format"]) != format:
                    raise FormatError(f"{path}: holds {str(stored['format'])!r} and not {what}; {hint}")
                if int(stored["version"]) != version:
                    raise FormatError(
                        f"{path}: {str(stored['format'])!r} version {stored['version']}, "
                        f"expected {format!r} version {version}; use the peaframe that wrote it"
                    )
                maps = {name: _map(file, stored.zip, name) for name in mapped if name in stored}
                return make(
                    ChainMap({name: array for name, array in maps.items() if array is not None}, stored)
                )
    except OSError as error:
        raise FormatError(f"{path}: cannot read {what} ({error.strerror}); {hint}") from error
    except OptionError as error:
        raise FormatError(f"{path}: {error}") from error
    except _DAMAGE as error:
        raise FormatError(f"{path}: not {what}, or a damaged one; {hint}") from error


def _map(file: IO[bytes], archive: zipfile.ZipFile, name: str) -> NDArray[Any] | None:
    """An array of an archive, mapped; None where it cannot be, and has to be loaded.

    Raises:
        ValueError, zipfile.BadZipFile: the archive is damaged.
    """
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:  # compressed or encrypted
        return None
    with archive.open(member) as content:
        version = np.lib.format.read_magic(content)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            return None
        shape, columns_first, dtype = readers[version](content)
        begin = content.tell()
        while content.read(_BLOCK_BYTES):  # compares the checksum at the end
            pass
    count = int(np.prod(shape, dtype=object))
    if dtype.hasobject or not count:
        return None
    if begin + count * dtype.itemsize != member.file_size:
        raise ValueError(f"{name} has {member.file_size} bytes, not those of {shape} {dtype}")
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER_BYTES)
    before = sum(int.from_bytes(header[at : at + 2], "little") for at in (26, 28))  # its name and extra field
    offset = member.header_offset + _LOCAL_HEADER_BYTES + before + begin
    return np.memmap(file, dtype, "c", offset, shape, "F" if columns_first else "C")
