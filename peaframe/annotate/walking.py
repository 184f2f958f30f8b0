"""Walks through folders, on disk or by URL, that meet every file in the order of whole names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from peaframe.annotate import remote
from peaframe.errors import OptionError

HIDDEN = (".", "$RECYCLE.BIN")
_DEEPEST = 100  # folders of a server that link to one another have no end
Entry = tuple[str, str, bool]  # name, path, whether it is a folder


def walk(top: str, enters: Callable[[str], bool], skip: str | None = None) -> Iterator[Entry]:
    """Walk through a folder.

    Memory grows with the files of single folders only.

    Args:
        top: the folder, a path or a URL.
        enters: whether to look into a folder, by its name below `top`.
        skip: a folder to leave out.

    Yields:
        (name below `top` with `/`, path or URL, False) of every file, sorted by name; with True, a folder that
        cannot be looked into. Hidden files and folders are left out, and links to a folder that they lie in.

    Raises:
        OptionError: `top` cannot be listed.
    """
    leave = None if skip is None else _identity(skip)
    above = [_identity(top)]
    levels = [_entries(top, "")]
    while levels:
        entry = next(levels[-1], None)
        if entry is None:
            levels.pop()
            above.pop()
            continue
        name, path, folder = entry
        if not folder:
            yield entry
        elif enters(name):
            identity = _identity(path)
            if identity is not None and (identity == leave or identity in above):
                continue
            try:
                inner = None if len(levels) > _DEEPEST else _entries(path, f"{name}/")
            except OptionError:
                inner = None
            if inner is None:
                yield entry
            else:
                levels.append(inner)
                above.append(identity)


def _entries(folder: str, prefix: str) -> Iterator[Entry]:
    """What lies in a folder, sorted so that a walk meets whole names in order.

    Raises:
        OptionError: it cannot be listed.
    """
    listing = remote.listing(folder) if remote.is_url(folder) else _local_listing(folder)
    seen = [(prefix + name, path, deep) for name, path, deep in listing if not name.startswith(HIDDEN)]
    seen.sort(key=lambda entry: entry[0] + "/" * entry[2])
    return iter(seen)


def _local_listing(folder: str) -> Iterator[Entry]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink() and not os.path.exists(entry.path):
                    yield entry.name, entry.path, False
                elif entry.is_dir():
                    yield entry.name, entry.path, True
                elif entry.is_file():
                    yield entry.name, entry.path, False
    except OSError as error:
        raise OptionError(f"{folder}: cannot be listed ({error.strerror}); check your rights") from error


def _identity(path: str) -> tuple[int, int] | None:
    """What tells that two paths are one folder; None for URLs and for what is not there."""
    try:
        status = None if remote.is_url(path) else os.stat(path)
    except OSError:
        return None
    return None if status is None else (status.st_dev, status.st_ino)
