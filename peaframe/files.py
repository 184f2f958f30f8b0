"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from peaframe.errors import FormatError


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a path to write to that becomes `path` only if the block ends well.

    The path given is an empty new file in the folder of `path`, with the same suffix and the permissions any
    new file gets. After the block it replaces `path`, once it is on the disk: a power cut leaves the one or the other.
    After an error it is removed and `path` is as before.
    Where `path` is a link, the file it points to is replaced.

    Raises:
        FormatError: `path` is a folder or a device, its folder is missing, or writing fails.
    """
    target = Path(os.path.realpath(path))
    if os.path.isdir(target):
        raise FormatError(f"{path}: is a folder; give the name of a file to write")
    if os.path.exists(target) and not os.path.isfile(target):
        raise FormatError(f"{path}: is not a regular file; give the name of a file to write")
    temp = target.with_name(f".{secrets.token_hex(6)}{target.suffix}")
    try:
        os.close(os.open(temp, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temp
        to_disk(temp)
        os.replace(temp, target)
    except OSError as error:
        raise FormatError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            temp.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Wait until what a file holds is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def make_folder(folder: Path, instead: str = "give another folder") -> None:
    """Make a folder and those it lies in, if they are not there.

    Args:
        folder: which.
        instead: what to do where that cannot be done, for the message.

    Raises:
        FormatError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FormatError(f"{folder}: cannot be made ({error.strerror or error}); {instead}") from error
