"""The audio files of a corpus by recording id, whatever suffix they came with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from peaframe.errors import FormatError

__all__ = ["SUFFIXES", "AudioFiles", "audio_below", "first_there", "recording_id"]

SUFFIXES = (
    ".wav",
    ".flac",
    ".aif",
    ".aiff",
    ".ogg",
    ".opus",
    ".mp3",
    ".m4a",
    ".aac",
    ".mp4",
    ".webm",
    ".mkv",
)
"""What counts as audio; of two files of one recording, the one whose suffix comes first here is taken."""


def recording_id(name: str) -> str:
    """A file name without its audio suffix, if it has one: dots of other kinds stay."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name


def first_there(data: Path, *places: str) -> Path | None:
    """The first of some relative paths that exists.

    Raises:
        FormatError: `data` is no folder.
    """
    if not data.is_dir():
        raise FormatError(f"{data}: is not a folder; give the one that holds the corpus")
    return next((data / place for place in places if (data / place).exists()), None)


class AudioFiles:
    """Files by id, and a tally of those that could not be used.

    Attributes:
        by_id: Recording id -> file.
        notes: What was left out, one sentence each.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        deep: bool = False,
        identify: Callable[[Path], str | None] = lambda path: recording_id(path.name),
    ) -> None:
        """Look through folders; empty files and hidden ones (`._a.wav`, `.ipynb_checkpoints`) do not count.

        Args:
            folders: Where to look; those that are not there are passed over.
            deep: Whether to look into the folders inside them, too.
            identify: A file's id; None leaves it out, as one that no metadata names.
        """
        self.by_id: dict[str, Path] = {}
        empty = doubled = self._strangers = 0
        files = {file for folder in folders for file in audio_below(folder, deep)}
        for path in sorted(files, key=lambda path: (SUFFIXES.index(path.suffix.lower()), path)):
            if not path.stat().st_size:
                empty += 1
                continue
            name = identify(path)
            if name is None:
                self._strangers += 1
            elif self.by_id.setdefault(name, path) != path:
                doubled += 1
        self.notes: list[str] = []
        if empty:
            self.notes.append(f"audio files passed over because they are empty: {empty}")
        if doubled:
            self.notes.append(f"audio files left out that are further copies of a recording: {doubled}")

    def take(self, names: Iterable[str], wanted: str) -> tuple[dict[str, Path], tuple[str, ...]]:
        """Split ids into those that are there, sorted, with their files, and those that are missing.

        Raises:
            FormatError: None is there; `wanted` says where they were looked for.
        """
        names = sorted(names)
        there = {name: self.by_id[name] for name in names if name in self.by_id}
        if not there:
            raise FormatError(f"{wanted}: none of the {len(names)} recordings in the metadata is there")
        strangers = len(self.by_id) - len(there) + self._strangers
        if strangers:
            self.notes.append(f"audio files left out that the metadata does not name: {strangers}")
        return there, tuple(name for name in names if name not in there)


def audio_below(folder: Path, deep: bool = True) -> Iterator[Path]:
    """The audio files of a folder, and of the folders inside it; hidden ones do not count."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if deep else []
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(here) / name
