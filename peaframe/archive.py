"""Our own `.npz` files: named arrays with a format and a version, written whole or not at all, never executed."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import FormatError, OptionError
from peaframe.files import atomic_path

# What numpy, zipfile and json raise when a file is no archive of ours or has flipped bits.
_DAMAGE = (KeyError, TypeError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
Arrays = Mapping[str, NDArray[Any]]
Kind = TypeVar("Kind")


def save_arrays(path: str | Path, format: str, version: int, arrays: Arrays) -> None:
    """Write arrays to one file, with `format` and `version` beside them; `numpy.load` alone can read it too.

    Raises:
        FormatError: the file cannot be written there.
    """
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(file, format=np.array(format), version=np.array(version), **arrays)  # type: ignore[arg-type]


def load_arrays(
    path: str | Path, format: str, version: int, what: str, make: Callable[[Arrays], Kind], writer: str
) -> Kind:
    """Read what `save_arrays` wrote.

    Args:
        path: the file.
        format: what it must be.
        version: the only one that is understood.
        what: the content in a word, for messages.
        make: builds the result from the arrays.
        writer: what writes such files, for messages.

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
                if str(stored["format"]) != format or int(stored["version"]) != version:
                    raise FormatError(
                        f"{path}: {str(stored['format'])!r} version {stored['version']}, "
                        f"expected {format!r} version {version}; use the peaframe that wrote it"
                    )
                return make(stored)
    except OSError as error:
        raise FormatError(f"{path}: cannot read {what} ({error.strerror}); {hint}") from error
    except OptionError as error:
        raise FormatError(f"{path}: {error}") from error
    except _DAMAGE as error:
        raise FormatError(f"{path}: not {what}, or a damaged one; {hint}") from error
