"""What a benchmark of whole clips fixes, and what all its loaders share: finding media."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from peaframe.errors import FormatError

__all__ = ["ClipBenchmark", "Clips", "Finding", "gather", "templates"]

SOUND = (".wav", ".flac", ".aif", ".aiff", ".ogg", ".opus", ".mp3", ".m4a", ".aac")
PICTURES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".3gp", ".flv", ".wmv")
"""Sound alone, and files with pictures that may have sound; of two files of a clip, the one that comes first here."""
_TEMPLATES = Path(__file__).parent / "templates.json"


@dataclass(frozen=True)
class Clips:
    """What a loader found.

    Attributes:
        sound: Clip id -> the file to hear, for those that have one; sorted.
        pictures: Clip id -> the file to see, for those that have one; sorted.
        texts: Clip id -> its captions, or its labels.
        folds: Fold -> the clips in it, where the corpus has folds.
        missing: Ids that the metadata names and the folder lacks, sorted.
        notes: What was handled on the way, one line each.
    """

    sound: dict[str, Path]
    pictures: dict[str, Path]
    texts: dict[str, tuple[str, ...]]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    folds: dict[str, frozenset[str]] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        """The clips that are there, sorted."""
        return sorted(self.sound.keys() | self.pictures.keys())


@dataclass(frozen=True)
class ClipBenchmark:
    """Everything that must not change between two systems that are compared.

    Attributes:
        name: What it is called on the command line.
        description: One line on what is in it.
        source: Where its authors publish it.
        licence: What they say about its use.
        recordings: How many clips it has; None where what circulates differs, or could not be verified.
        load: Finds clips and their texts in a folder.
        media: Which of `audio` and `video` its clips have.
        headline: The metric reported first; `<query>_to_<candidate>_r1` or `<medium>_top1`.
        labels: Of classification: a label as the words that stand in a template; None for retrieval.
        templates: Of classification: the texts that a label's words are put into, at `{}`.
        same_text: Of retrieval: texts that are equal are one candidate, and belong to all clips that have them.
    """

    name: str
    description: str
    source: str
    licence: str
    recordings: int | None
    load: Callable[[Path], Clips]
    media: tuple[str, ...]
    headline: str
    labels: Callable[[str], str] | None = None
    templates: tuple[str, ...] = ()
    same_text: bool = False

    @property
    def task(self) -> str:
        """`retrieval` or `classification`."""
        return "retrieval" if self.labels is None else "classification"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The headline, as the list of benchmarks shows it."""
        return (self.headline,)


def templates(name: str) -> tuple[str, ...]:
    """A corpus' templates, from `templates.json`; frozen, and fitted to no score."""
    return tuple(json.loads(_TEMPLATES.read_text(encoding="utf-8"))[name])


@dataclass
class Finding:
    """Clips as metadata names them, before files are looked for.

    Attributes:
        texts: Clip id -> its texts.
        stems: Clip id -> what its file may be called, without suffix, the likeliest first.
        folds: Fold -> clips.
    """

    texts: dict[str, list[str]] = field(default_factory=dict)
    stems: dict[str, tuple[str, ...]] = field(default_factory=dict)
    folds: dict[str, set[str]] = field(default_factory=dict)

    def add(
        self, clip: str, text: str, where: str, stems: Sequence[str] = (), fold: str | None = None
    ) -> None:
        """Take a row.

        Raises:
            FormatError: An id or a text is empty; with file and line.
        """
        if not clip or not text.strip():
            raise FormatError(f"{where}: got the clip {clip!r} and the text {text!r}, expected both")
        self.texts.setdefault(clip, []).append(" ".join(text.split()))
        self.stems.setdefault(clip, tuple(stems) or (clip,))
        if fold is not None:
            self.folds.setdefault(fold, set()).add(clip)


def gather(
    data: Path, named: Finding, media: Sequence[str], expected: int | None, *, wanted: str | None = None
) -> Clips:
    """Find the files of clips, anywhere below a folder, by their names without suffix.

    Args:
        data: The folder.
        named: What the metadata says.
        media: Which of `audio` and `video` to look for; a clip is there if it has one file of either.
        expected: How many clips the metadata should name; None where that is open.
        wanted: A part of the path, such as `audio`, that a file should have if several have the same name.

    Raises:
        FormatError: The metadata names none, or none of them is there.
    """
    files, empty = _media_below(data, wanted)
    sound: dict[str, Path] = {}
    pictures: dict[str, Path] = {}
    for clip in sorted(named.texts):
        kinds = [files[stem] for stem in named.stems[clip] if stem in files]
        if "audio" in media and (heard := _first(kinds, SOUND) or _first(kinds, PICTURES)) is not None:
            sound[clip] = heard
        if "video" in media and (seen := _first(kinds, PICTURES)) is not None:
            pictures[clip] = seen
    missing = tuple(sorted(named.texts.keys() - sound.keys() - pictures.keys()))
    if len(missing) == len(named.texts):
        raise FormatError(
            f"{data}: none of the {len(missing)} clips in the metadata is there; check the folder"
        )
    notes = []
    if expected is not None and len(named.texts) > expected:
        notes.append(f"clips in the metadata: {len(named.texts)}, where the benchmark has {expected}")
    if empty:
        notes.append(f"media files passed over because they are empty: {empty}")
    repeated = sum(n - 1 for n in Counter(text for own in named.texts.values() for text in set(own)).values())
    if repeated and not named.folds and max(map(len, named.texts.values())) > 1:
        notes.append(
            f"captions that further clips have word for word (ties, which count against): {repeated}"
        )
    texts = {clip: tuple(named.texts[clip]) for clip in sorted(named.texts) if clip not in missing}
    folds = {name: frozenset(own - set(missing)) for name, own in sorted(named.folds.items())}
    return Clips(sound, pictures, texts, missing, tuple(notes), {n: own for n, own in folds.items() if own})


def _media_below(data: Path, wanted: str | None) -> tuple[dict[str, dict[str, Path]], int]:
    """Name without suffix -> suffix -> file, of all media; and how many were empty."""
    files: dict[str, dict[str, Path]] = {}
    empty = 0
    for here, folders, names in os.walk(data):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            if name.startswith(".") or suffix.lower() not in (*SOUND, *PICTURES):
                continue
            path = Path(here) / name
            if not path.stat().st_size:
                empty += 1
                continue
            own = files.setdefault(stem, {})
            if wanted is not None and wanted in Path(here).relative_to(data).parts:
                own[suffix.lower()] = path
            else:
                own.setdefault(suffix.lower(), path)
    return files, empty


def _first(kinds: Sequence[Mapping[str, Path]], suffixes: Sequence[str]) -> Path | None:
    return next((own[suffix] for own in kinds for suffix in suffixes if suffix in own), None)
