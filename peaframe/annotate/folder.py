"""The output folder of a run: what lies where."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from peaframe import formats
from peaframe.annotate.journal import NAME
from peaframe.annotate.records import Part
from peaframe.errors import FormatError, OptionError

_LEFT_OVER = re.compile(r"\.[0-9a-f]{12}(\..*)?")  # what atomic_path leaves behind where it was killed
_LONGEST = 255  # bytes of a file's name
_VIEWS = ("failed.csv", "summary.csv", "report.html", "run.json")


class Folder:
    """The folder that a run writes into; it never writes outside.

    journal.sqlite                what is done, and everything that was found
    <format>/<recording>.<suffix> a table for each recording
    events.<suffix>               all events in one table
    summary.csv report.html clips/ failed.csv run.json
    scores/<recording>.npz        scores, if they are kept
    embeddings/<recording>.npz    embeddings, if they are kept
    work/                         what is under way; gone at the end
    """

    def __init__(self, path: Path) -> None:
        """Take a folder; raises OptionError where it is none, or holds something else already."""
        self.path = path
        if path.exists() and not path.is_dir():
            raise OptionError(f"--output {path}: is a file; give a folder")
        if path.is_dir() and not (path / NAME).exists() and (there := sorted(os.listdir(path))):
            raise OptionError(
                f"--output {path}: holds {there[0]!r} and no run of peaframe annotate; give a new or empty folder"
            )

    @property
    def journal(self) -> Path:
        """Where the journal is."""
        return self.path / NAME

    @contextmanager
    def made(self) -> Iterator[None]:
        """Make the folder; where the block fails, it is gone again unless something is in it.

        Raises:
            FormatError: it cannot be made.
        """
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            with self._errors():
                self.path.mkdir(parents=True, exist_ok=True)
            yield
        except BaseException:
            with suppress(OSError):
                for folder in missing:
                    folder.rmdir()
            raise

    def take(self) -> None:
        """Remove what a killed run left half-written; the folder must be ours alone, so the journal is open."""
        with self._errors():
            for entry in os.listdir(self.path):
                if _LEFT_OVER.fullmatch(entry):
                    (self.path / entry).unlink()
            shutil.rmtree(self.path / "work" / "new", ignore_errors=True)
            (self.path / "work" / "new").mkdir(parents=True)

    def clear(self, names: Iterator[str], keep_embeddings: bool) -> None:
        """Remove all views of a run, and what was kept of these recordings."""
        for name in names:
            self.drop(name, keep_embeddings)
        for view in (*_VIEWS, *(self.combined(format).name for format in formats.names())):
            (self.path / view).unlink(missing_ok=True)
        for folder in ("clips", "work"):
            shutil.rmtree(self.path / folder, ignore_errors=True)
        for format in (*formats.names(), "scores", "embeddings"):
            _remove_empty(self.path / format)

    def drop(self, name: str, keep_embeddings: bool = False) -> None:
        """Remove the tables and all that was kept of one recording."""
        paths = [self.table(format, name) for format in formats.names()]
        paths += [self.scores(name), *([] if keep_embeddings else [self.embeddings(name)])]
        for path in paths:
            with suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()

    def table(self, format: str, name: str) -> Path:
        """The table of one recording."""
        return self._inside(format, name, formats.suffix(format))

    def combined(self, format: str) -> Path:
        """The table of all recordings."""
        suffix = formats.suffix(format)
        own = formats.for_path(f"events{suffix}") == format
        return self.path / (f"events{suffix}" if own else f"events.{format}{suffix}")

    def scores(self, name: str) -> Path:
        """The scores of one recording."""
        return self._inside("scores", name, ".npz")

    def embeddings(self, name: str) -> Path:
        """The embeddings of one recording."""
        return self._inside("embeddings", name, ".npz")

    @contextmanager
    def new(self, path: Path) -> Iterator[Path]:
        """A path to write to, which becomes `path` when the block ends well; folders are made as needed.

        Unlike `atomic_path` it lies apart, where what a killed run left is easily found.
        """
        temporary = self.path / "work" / "new" / path.name[-50:]  # 200 bytes at most
        try:
            yield temporary
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary, path)
        except OSError as error:
            raise FormatError(
                f"{path}: cannot be written ({error.strerror or error}); then give the same command again"
            ) from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def save_part(self, kind: str, part: Part, values: NDArray[np.floating]) -> None:
        """Keep scores (queries, frames) or embeddings (frames, dim) of a part until its recording is done."""
        with self.new(self._part(kind, part)) as temporary, temporary.open("wb") as file:
            np.save(file, values)
            file.flush()
            os.fsync(file.fileno())

    def load_part(self, kind: str, part: Part) -> NDArray[np.floating]:
        """What `save_part` kept, read as it is looked at; raises OSError or ValueError where it is not there."""
        values: NDArray[np.floating] = np.load(self._part(kind, part), mmap_mode="r", allow_pickle=False)
        return values

    def drop_parts(self, file: int) -> None:
        """A recording is done, its parts are not needed any more."""
        for kind in ("scores", "embeddings"):
            shutil.rmtree(self.path / "work" / kind / str(file), ignore_errors=True)

    def tidy(self) -> None:
        """Nothing is under way any more."""
        shutil.rmtree(self.path / "work", ignore_errors=True)

    def leave(self) -> None:
        """Leave it as it was found, with what is under way in it."""
        with suppress(OSError):
            (self.path / "work" / "new").rmdir()
            (self.path / "work").rmdir()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FormatError(
                f"--output {self.path}: cannot be written ({error.strerror}); give another folder"
            ) from error

    def _part(self, kind: str, part: Part) -> Path:
        return self.path / "work" / kind / str(part.file) / f"{part.first}.npy"

    def _inside(self, folder: str, name: str, suffix: str) -> Path:
        parts = PurePosixPath(name).parts
        if not parts or any(part in ("..", "/") for part in parts):
            raise FormatError(f"{name!r} is no name of a recording below a folder; rename it")
        # beside a.wav there may be a folder a.wav.csv, which would stand where the table of a.wav belongs
        above = [f"{part}~" if part.endswith(suffix) else part for part in parts[:-1]]
        return self.path.joinpath(folder, *above, _short(parts[-1], suffix))


def _short(name: str, suffix: str) -> str:
    """A name with a suffix; one that would be too long for a disk ends with `~` and a hash of it instead."""
    if len(os.fsencode(name + suffix)) <= _LONGEST:
        return name + suffix
    mark = "~" + hashlib.sha256(os.fsencode(name)).hexdigest()[:12] + suffix
    return name.encode()[: _LONGEST - len(mark.encode())].decode("utf-8", "ignore") + mark


def _remove_empty(folder: Path) -> None:
    for here, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(here)
