"""Frame scores of another model, on disk: what a model that is trained learns from it (distillation).

A teacher is a folder that says all about itself and holds what was heard:

    teacher.json                what it is: labels, 25 frames a second, the model's name, where the scores are from,
                                and for each shard the recordings in it with their frames
    00000.safetensors ...       shards: by recording, logits (frames, labels) as float16

A recording is called after its file, without folders and without the suffix of an audio file: `sub/Yab-cd.mp3` is
`Yab-cd`, and `-ab_30000.flac` is `-ab_30000`. Dots of other kinds stay (`Yab_61.000_71.000`). Two recordings of
one name are refused, since nobody could tell whose scores are meant.

Shards are mapped into memory: a reader takes the rows it is asked for, and a teacher of 23 GB (PretrainedSED's for
AudioSet-Strong) is opened at once. `1 / (1 + exp(-logits))` is what `peaframe.losses.distillation` takes.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from peaframe.clock import FRAME_RATE
from peaframe.errors import FormatError, OptionError
from peaframe.files import to_disk
from peaframe.json_files import load_json, save_json

__all__ = ["TeacherScores", "open_teacher", "recording_name", "write_teacher"]

TEACHER = "teacher.json"
SHARD_BYTES = 128 << 20  # 600 clips of 10 s and 447 labels
_FORMAT, _VERSION, _KIND = "peaframe-teacher", 1, "logits"
_MOST_OPEN = 16  # shards that are open at a time
_HINT = "expected a folder written by peaframe.recipes.prepare_teacher"
_AUDIO = re.compile(r"\.(wav|flac|aiff?|ogg|opus|mp3|m4a|aac|mp4|webm|mkv)$", re.IGNORECASE)

Logits = NDArray[np.float16]


def recording_name(path: str | os.PathLike[str]) -> str:
    """What a teacher calls a recording: its file's name without folders and audio suffix.

    Raises:
        OptionError: Nothing is left.
    """
    name = _AUDIO.sub("", re.split(r"[/\\]", os.fspath(path))[-1])
    if not name.strip() or name == "__metadata__":  # what safetensors calls its own notes
        raise OptionError(f"got {os.fspath(path)!r}, expected a recording's file such as Yabc.wav")
    return name


class TeacherScores:
    """A teacher's folder, open for reading; worker processes may be given it.

    Attributes:
        folder: Where it is.
        labels: What the columns stand for.
        model: The name of the model whose scores they are.
        source: Where they are from.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read `teacher.json`; shards are opened when they are needed.

        Raises:
            FormatError: It is missing or damaged, or a shard is missing.
        """
        self.folder = Path(path)
        file = self.folder / TEACHER
        content = load_json(file, _FORMAT, _VERSION, "a teacher", _HINT)
        try:
            self.labels, self.model, self.source = _facts(content)
            self._places = _places(content["shards"])
        except (AttributeError, KeyError, TypeError, ValueError, OptionError) as error:
            raise FormatError(f"{file}: makes no sense ({error}); {_HINT}") from error
        if content.get("kind") != _KIND or content.get("rate") != FRAME_RATE:
            got = f"{content.get('kind')!r} at {content.get('rate')!r} frames a second"
            raise FormatError(
                f"{file}: got {got}, expected {_KIND!r} at {FRAME_RATE}; make the teacher again"
            )
        self._open: OrderedDict[str, Any] = OrderedDict()
        for shard in {shard for shard, _ in self._places.values()}:
            if not (self.folder / shard).is_file():
                raise FormatError(f"{self.folder / shard}: is missing; copy the whole folder of the teacher")

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes, which open shards of their own."""
        return {**self.__dict__, "_open": OrderedDict()}

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        """The names of the recordings, in the order they were written."""
        return iter(self._places)

    def __contains__(self, name: object) -> bool:
        """Whether the teacher has heard the recording of this name (see `recording_name`)."""
        return name in self._places

    def frames(self, name: str) -> int:
        """How many frames of a recording there are. Raises OptionError if it was not heard."""
        return self._find(name)[1]

    def get(self, name: str) -> Logits:
        """All logits of a recording: float16 (frames, labels).

        Raises:
            OptionError: It was not heard.
            FormatError: Its shard is damaged.
        """
        return self._read(name, 0, self.frames(name))

    def rows(self, name: str, start_frame: int, frames: int) -> tuple[Logits, NDArray[np.bool_]]:
        """The logits of a part of a recording; beyond the teacher's last frame they are 0 and not valid.

        Args:
            name: The recording.
            start_frame: The first frame of the part, counted from the recording's start.
            frames: How many.

        Returns:
            float16 (frames, labels), and bool (frames,), true where the teacher says something.

        Raises:
            OptionError: The recording was not heard, or the part begins before 0 or has no frames.
            FormatError: Its shard is damaged.
        """
        if start_frame < 0 or frames < 1:
            raise OptionError(
                f"got {frames} frames from frame {start_frame} on, expected 1 or more from 0 on"
            )
        there = max(0, min(frames, self.frames(name) - start_frame))
        logits, valid = np.zeros((frames, len(self.labels)), np.float16), np.arange(frames) < there
        if there:
            logits[:there] = self._read(name, start_frame, start_frame + there)
        return logits, valid

    def _find(self, name: str) -> tuple[str, int]:
        if name not in self._places:
            raise OptionError(
                f"{self.folder}: has no scores of {name!r}; it has {len(self)} recordings such as "
                f"{next(iter(self), None)!r}, called after their files"
            )
        return self._places[name]

    def _read(self, name: str, first: int, end: int) -> Logits:
        shard, frames = self._find(name)
        path = self.folder / shard
        try:
            if shard not in self._open:
                self._open[shard] = safe_open(path, framework="numpy")
                if len(self._open) > _MOST_OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(shard)
            part = self._open[shard].get_slice(name)
            found = part.get_dtype(), list(part.get_shape())
            if found != ("F16", [frames, len(self.labels)]):
                raise FormatError(
                    f"{path}: {name!r} is {found[0]} {found[1]}, expected F16 {[frames, len(self.labels)]} as "
                    f"{TEACHER} says; make the teacher again"
                )
            logits: Logits = part[first:end]
        except (OSError, SafetensorError) as error:
            raise FormatError(f"{path}: cannot be read ({error}); make the teacher again") from error
        return logits


def open_teacher(path: str | os.PathLike[str]) -> TeacherScores:
    """Open a teacher's folder. Raises FormatError if it is none, or not whole."""
    return TeacherScores(path)


def write_teacher(
    folder: str | os.PathLike[str],
    labels: Sequence[str],
    items: Iterable[tuple[str, ArrayLike]],
    *,
    source: str,
    model: str,
    shard_bytes: int = SHARD_BYTES,
) -> TeacherScores:
    """Write a teacher's folder; it appears when it is whole, or not at all.

    Args:
        folder: Where it goes; must not be there yet, or be empty.
        labels: What the columns stand for; no two alike.
        items: Recordings by name (see `recording_name`) and their logits (frames, labels), 25 frames a second from
            the recording's start; kept as float16. They are taken one at a time.
        source: Where they are from, in words.
        model: The name of the model whose scores they are.
        shard_bytes: A shard is closed when it has this many bytes; they are held in memory until then.

    Returns:
        The teacher, open.

    Raises:
        OptionError: The folder has something in it; labels repeat; a recording comes twice or is not called by its
            name; logits have another shape or are not finite in float16; there are no items.
        FormatError: It cannot be written.
    """
    target = Path(os.path.realpath(folder))
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise OptionError(f"{folder}: is there already; give a new folder, or remove this one first")
    content: dict[str, Any] = {"kind": _KIND, "rate": FRAME_RATE, "model": model, "source": source}
    content["labels"] = list(labels)
    names = _facts(content)[0]
    part = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
        content["shards"] = _write_shards(part, _checked(items, len(names)), shard_bytes)
        if not content["shards"]:
            raise OptionError(f"{folder}: got no recordings; expected scores of one or more")
        save_json(part / TEACHER, _FORMAT, _VERSION, content)
        if target.exists():
            target.rmdir()
        part.rename(target)
    except (OSError, SafetensorError) as error:
        raise FormatError(f"{folder}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return TeacherScores(folder)


def _facts(content: Mapping[str, Any]) -> tuple[tuple[str, ...], str, str]:
    """Labels, model and source. Raises OptionError if they are not texts, or a label repeats."""
    labels, notes = content["labels"], (content["model"], content["source"])
    blank = [text for text in (*labels, *notes) if not isinstance(text, str) or not text.strip()]
    if not labels or blank:
        raise OptionError(f"got {blank[0]!r} as a label, model or source" if blank else "got no labels")
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise OptionError(f"the label {twice!r} comes twice; give every label once")
    return tuple(labels), *notes


def _places(shards: Mapping[str, Mapping[str, int]]) -> dict[str, tuple[str, int]]:
    """The shard and the frames of each recording, from what `teacher.json` says."""
    places: dict[str, tuple[str, int]] = {}
    for shard, recordings in shards.items():
        if Path(shard).name != shard:
            raise ValueError(f"the shard {shard!r} is not beside it")
        for name, frames in recordings.items():
            if name in places or not isinstance(frames, int) or frames < 1:
                raise ValueError(f"{name!r} comes twice or has {frames!r} frames")
            places[name] = shard, frames
    return places


def _checked(items: Iterable[tuple[str, ArrayLike]], labels: int) -> Iterator[tuple[str, Logits]]:
    seen: set[str] = set()
    for name, values in items:
        if name != recording_name(name):
            raise OptionError(f"got the recording {name!r}, expected its name {recording_name(name)!r}")
        if name in seen:
            raise OptionError(
                f"got the recording {name!r} twice; give each one once, names are without folders"
            )
        seen.add(name)
        given = np.asarray(values)
        if given.ndim != 2 or given.shape[1] != labels or not len(given):
            raise OptionError(f"{name}: got logits of shape {given.shape}, expected (frames, {labels})")
        with np.errstate(over="ignore"):
            logits = np.ascontiguousarray(given, dtype=np.float16)
        if not np.isfinite(logits).all():
            raise OptionError(f"{name}: got a logit that is no number in float16; expected -65504 to 65504")
        yield name, logits


def _write_shards(
    folder: Path, items: Iterable[tuple[str, Logits]], shard_bytes: int
) -> dict[str, dict[str, int]]:
    """Write items to shards; gives the frames of each recording, by shard."""
    shards: dict[str, dict[str, int]] = {}
    held: dict[str, Logits] = {}

    def close() -> None:
        path = folder / f"{len(shards):05}.safetensors"
        path.touch(exist_ok=False)
        mode = path.stat().st_mode
        save_file(held, path)
        path.chmod(mode)  # the library makes its own file, for its owner alone
        to_disk(path)
        shards[path.name] = {name: len(logits) for name, logits in held.items()}
        held.clear()

    size = 0
    for name, logits in items:
        held[name] = logits
        size += logits.nbytes
        if size >= shard_bytes:
            close()
            size = 0
    if held:
        close()
    return shards
