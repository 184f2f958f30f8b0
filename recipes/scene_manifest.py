"""Soundscapes as files, with all that is known of them: what `prepare_soundscapes` does for each scene.

Scenes are mixed by one or several processes; scene `i` is the same for any number of them. Until all are there,
`.scenes.jsonl` holds what is known of those that are, so that the same order goes on where it was stopped.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from peaframe.clock import frame_start_seconds, seconds_of_samples
from peaframe.data.manifest import Item, Unknown
from peaframe.data.manifest_item import to_line
from peaframe.data.mix import ACTIVE, INACTIVE, Mixer, Scene
from peaframe.data.mix_folder import write_flac
from peaframe.data.soundbank import Bank
from peaframe.errors import FormatError
from peaframe.events import Event

JOURNAL = ".scenes.jsonl"


class ListeningBank(Bank):
    """A bank that remembers which clips were asked for."""

    used: set[int]

    def waveform(self, index: int) -> NDArray[np.float32]:
        """Clip `index` as float32 (samples,), remembered."""
        self.used.add(index)
        return super().waveform(index)


def alike(groups: Iterable[Sequence[str]]) -> dict[str, set[str]]:
    """The other labels that may mean the same, for each label of a `same` group."""
    out: dict[str, set[str]] = {}
    for group in groups:
        for label in group:
            out.setdefault(label, set()).update(own for own in group if own != label)
    return out


def digits_of(scenes: int) -> int:
    """Of the numbers in the names of so many scenes: up to scene_999, or scene_99999."""
    return 3 if scenes <= 1000 else 5


def item_of(scene: Scene, others: Mapping[str, Collection[str]], path: Path, split: str) -> Item:
    """What is known of each label in a scene, so that `manifest.targets` gives what the trainer of scenes sees.

    Args:
        scene: the soundscape; each of its sources has a label.
        others: labels that may mean the same as a label (`alike`).
        path: its file.
        split: what it is for.

    Returns:
        An exhaustive item: events are the frames in which a source is active; unknown are those in which a label is
        only drowned out, or is not heard while one that may mean the same is there, drowned out or not.
    """
    frames = len(scene.states)
    active: dict[str, NDArray[np.bool_]] = {}
    unsure: dict[str, NDArray[np.bool_]] = {}
    for label, states in zip(scene.labels, scene.states.T, strict=True):
        active[label] = active.get(label, np.zeros(frames, np.bool_)) | (states == ACTIVE)
        for own in (label, *others.get(label, ())):
            unsure[own] = unsure.get(own, np.zeros(frames, np.bool_)) | (states != INACTIVE)
    events = [Event(on, off, label) for label, own in active.items() for on, off in _runs(own)]
    spans = [
        Unknown(on, off, label)
        for label, own in sorted(unsure.items())
        for on, off in _runs(own & ~active[label] if label in active else own)
    ]
    return Item(
        audio=path,
        duration=seconds_of_samples(len(scene.waveform)),
        events=tuple(sorted(events)),
        unknown=tuple(spans),
        exhaustive=True,
        split=split,
    )


@dataclass(frozen=True)
class Written:
    """What is known of a scene that is on disk.

    Attributes:
        index: its number.
        events: what a listener would mark, each (onset, offset, label) in seconds.
        used: the clips that were mixed in, by number.
        line: its line in the manifest, without the end of the line.
    """

    index: int
    events: Sequence[tuple[float, float, str]]
    used: Sequence[int]
    line: str


@dataclass(frozen=True)
class Writer:
    """Mixes scenes and writes them.

    Attributes:
        mixer: draws them from `bank`.
        bank: the clips.
        seconds: how long each is.
        out: the folder; they go to `audio/` in it.
        digits: of the numbers in their names.
        split: what they are for.
        others: labels that may mean the same as a label.
    """

    mixer: Mixer
    bank: ListeningBank
    seconds: float
    out: Path
    digits: int
    split: str
    others: Mapping[str, Collection[str]]

    def path(self, index: int) -> Path:
        """The file of scene `index`."""
        return self.out / "audio" / f"scene_{index:0{self.digits}}.flac"

    def write(self, index: int) -> Written:
        """Mix and write scene `index`.

        Raises:
            FormatError: it cannot be written.
        """
        self.bank.used = set()
        scene, path = self.mixer.scene(index, self.seconds), self.path(index)
        write_flac(path, scene.waveform)
        item = item_of(scene, self.others, path, self.split)
        events = [(e.onset, e.offset, e.label) for e in scene.events()]
        return Written(index, events, sorted(self.bank.used), to_line(item, self.out.absolute()).rstrip("\n"))


def write_scenes(writer: Writer, scenes: int, order: str, jobs: int = 1) -> list[Written]:
    """Write the scenes that are not there yet, with a progress bar.

    Args:
        writer: writes each.
        scenes: how many.
        order: names all that a scene depends on; what another order began is made anew.
        jobs: processes that mix.

    Returns:
        What is known of each, in their order. `.scenes.jsonl` is still there.

    Raises:
        FormatError: a file cannot be written, or a process was killed.
    """
    journal = writer.out / JOURNAL
    done, end = _begun(journal, order)
    known = {w.index: w for w in done if w.index < scenes and writer.path(w.index).is_file()}
    lacking = [i for i in range(scenes) if i not in known]
    try:
        with journal.open("r+b" if end else "wb") as file:
            file.truncate(end)
            file.seek(end)
            if not end:
                file.write(_json(order))
            bar = tqdm(total=scenes, initial=len(known), desc="mix", unit="scene", disable=None)
            with bar:
                for written in _made(writer, lacking, jobs):
                    known[written.index] = written
                    file.write(_json([written.index, written.events, written.used, written.line]))
                    file.flush()
                    bar.update()
    except OSError as error:
        raise FormatError(f"{journal}: cannot be written ({error.strerror or error})") from error
    except BrokenProcessPool as error:
        raise FormatError("a process that mixes was killed; run it again with fewer --jobs") from error
    return [known[i] for i in range(scenes)]


def _runs(here: NDArray[np.bool_]) -> Iterator[tuple[float, float]]:
    edges = np.flatnonzero(np.diff(np.pad(here, 1).astype(np.int8))).tolist()
    for on, off in zip(edges[::2], edges[1::2], strict=True):
        yield frame_start_seconds(on), frame_start_seconds(off)


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode("utf-8")


def _begun(journal: Path, order: str) -> tuple[list[Written], int]:
    """What a stopped run of this order has written, and the bytes that say so; a broken end is passed over."""
    done: list[Written] = []
    end = 0
    try:
        with journal.open("rb") as file:
            for line in file:
                value = json.loads(line)
                if not line.endswith(b"\n") or (not end and value != order):
                    break
                if end:
                    index, events, used, text = value
                    done.append(Written(index, [(on, off, label) for on, off, label in events], used, text))
                end += len(line)
    except (OSError, ValueError):
        pass  # not begun, or stopped in the middle of a line
    return done, end


def _made(writer: Writer, lacking: Sequence[int], jobs: int) -> Iterator[Written]:
    if jobs == 1:
        yield from map(writer.write, lacking)
        return
    # A fork shares the decoded clips; where there is none, every process gets its own.
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    with ProcessPoolExecutor(jobs, multiprocessing.get_context(method), _start, (writer,)) as pool:
        yield from pool.map(_write, lacking, chunksize=4)


_own: list[Writer] = []  # of a process that mixes


def _start(writer: Writer) -> None:
    _own[:] = [writer]


def _write(index: int) -> Written:
    return _own[0].write(index)
