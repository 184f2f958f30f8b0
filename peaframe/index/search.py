"""Search: which files of an index fit a query best, and where in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import PeaframeError
from peaframe.index.moments import best_moment, unit
from peaframe.index.store import Entry, MediaIndex

__all__ = ["Filled", "Hit", "fill", "hits_in_frames", "hits_in_pieces"]

Arrays = Mapping[str, NDArray[Any]]
Media = Callable[[Path], tuple[Arrays, float]]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Hit:
    """A file, and where in it the query fits best.

    Attributes:
        path: The file.
        score: The higher, the better; a probability or a cosine, by the model and the query.
        start: Where the moment begins, in seconds; None for pictures, which are searched as a whole.
        end: Where it ends.
        by: `sound` or `pictures`: what fits.
    """

    path: Path
    score: float
    start: float | None
    end: float | None
    by: str = "sound"


@dataclass(frozen=True)
class Filled:
    """What an index holds of some files.

    Attributes:
        entries: File -> its entry, in the order given.
        unreadable: File -> why it could not be heard.
        heard: How many files were heard or seen just now; the others were known.
        seconds: Length of all sound.
    """

    entries: dict[Path, Entry]
    unreadable: dict[Path, str]
    heard: int
    seconds: float


def fill(index: MediaIndex, paths: Iterable[Path], media: Media) -> Filled:
    """Bring an index up to date with files; what it knows is not heard again.

    Args:
        index: Where it is kept, file by file: a stop loses no more than the file it came in.
        paths: The files.
        media: Gives the arrays of a file by name, and its seconds of sound.
    """
    entries: dict[Path, Entry] = {}
    unreadable: dict[Path, str] = {}
    heard = 0
    for path in paths:
        try:
            entry = index.find(path)
            if entry is None:
                arrays, seconds = media(path)
                entry = index.add([path], arrays, seconds)
                heard += 1
        except PeaframeError as error:
            unreadable[path] = str(error)
            continue
        entries[path] = entry
    return Filled(entries, unreadable, heard, sum(entry.seconds for entry in entries.values()))


def hits_in_frames(
    index: MediaIndex, filled: Filled, rate: Callable[[NDArray[np.float16]], Floats]
) -> list[Hit]:
    """The best moment of every file by its frames, best file first.

    Args:
        index: Holds `frames` (frames, dim) of every entry.
        filled: The files.
        rate: Frames -> scores (frames,) of 0 or more.
    """
    hits = []
    for path, entry in filled.entries.items():
        scores = rate(index.read(entry, "frames"))
        start, end, score = best_moment(scores, entry.seconds)
        hits.append(Hit(path, score, start, end))
    return sorted(hits, key=lambda hit: -hit.score)


def hits_in_pieces(
    index: MediaIndex, filled: Filled, queries: Mapping[str, Sequence[Floats]], piece: float
) -> list[Hit]:
    """The best piece of every file's sound, or its pictures if they fit better, best file first.

    Args:
        index: Holds `audio` (pieces, dim) and `visual` (1, dim) of entries, as far as they have them.
        filled: The files.
        queries: For either of these, query embeddings (1, dim); the score is the mean of the cosines with them.
        piece: Seconds of a piece of sound.
    """
    hits = []
    for path, entry in filled.entries.items():
        found = []
        for kind, vectors in queries.items():
            if kind not in entry.places:
                continue
            rows = unit(index.read(entry, kind))
            scores = np.mean([rows @ unit(vector)[0] for vector in vectors], axis=0)
            best = int(scores.argmax())
            if kind == "audio":
                start, end = best * piece, min((best + 1) * piece, entry.seconds)
                found.append(Hit(path, float(scores[best]), start, end))
            else:
                found.append(Hit(path, float(scores[best]), None, None, "pictures"))
        if found:
            hits.append(max(found, key=lambda hit: hit.score))
    return sorted(hits, key=lambda hit: -hit.score)
