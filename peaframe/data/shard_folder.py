"""A folder of shards while it is written: whole tar files one after the other, taken up again behind the last one.

What a sample is, is the business of those who make them (`peaframe.data.shards`, `peaframe.data.clip_shards`); here it
is a number, some files, or the reason why it is left out.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from peaframe.data.latent_shards import lock
from peaframe.data.shard_files import (
    BLOCK,
    FORMAT,
    INDEX,
    VERSION,
    ShardFile,
    ShardIndex,
    damaged,
    index_of,
    load_index,
    members,
)
from peaframe.errors import FormatError, OptionError
from peaframe.files import atomic_path
from peaframe.json_files import load_json, save_json

FAILED, DOUBLES, UNFINISHED = "failed.csv", "duplicates.csv", "unfinished.json"
_HEADERS = {FAILED: ("key", "path", "reason"), DOUBLES: ("key", "path", "same_as")}
_LEFT = re.compile(r"\.[0-9a-f]{12}\.(tar|json|csv)")  # what `atomic_path` leaves when it is killed
_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace"}
_Task = TypeVar("_Task")


@dataclass(frozen=True)
class Made:
    """A sample on its way into a shard; where `reason` says something, it does not get there.

    Attributes:
        number: of the item, from 0.
        origin: what it was made of, for lists of what is left out.
        files: what it consists of, by suffix without the dot; `json` is among them.
        reason: why it cannot be made.
        digest: of its content; of samples with the same one only the first gets there. Empty: each does.
    """

    number: int
    origin: str
    files: Mapping[str, bytes] | None = None
    reason: str = ""
    digest: str = ""


class ShardFolder:
    """A folder that shards are being written to."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Look at what is there.

        Args:
            folder: it exists, and nobody else writes to it (`held`).
            settings: what shards depend on beside the items, as JSON: `content`, `shard_bytes`, `prefix`; of clips
                `kind` and `made`, too.

        Raises:
            OptionError: it holds shards of other settings, or other tar files.
        """
        self._folder, self._bytes, self._prefix = folder, settings["shard_bytes"], settings["prefix"]
        self._shards: list[ShardFile] = []
        self._left: dict[str, list[tuple[str, str, str]]] = {name: [] for name in _HEADERS}
        self._digests: dict[str, str] = {}  # of the content: key of the first sample that has it
        self._settings = dict(settings)
        self._told: ShardIndex | None = None  # of a run that was finished
        begun = next((path for name in (INDEX, UNFINISHED) if (path := folder / name).exists()), None)
        if begun is None:
            if any(folder.glob("*.tar")):
                raise OptionError(f"{folder}: holds other tar files; give a new or empty folder")
            save_json(folder / UNFINISHED, FORMAT, VERSION, self._settings)
            return
        found = load_json(begun, FORMAT, VERSION, "an index of shards", "give a new folder")
        for name, value in self._settings.items():
            if found.get(name) != value:
                raise OptionError(
                    f"{folder}: holds shards of {name} {found.get(name)!r}, got {value!r}; give a new folder"
                )
        if begun.name == INDEX:
            self._told = load_index(folder)

    def _path(self) -> Path:
        return self._folder / f"{self._prefix}-{len(self._shards):06}.tar"

    def keep(
        self, tasks: Iterator[tuple[int, _Task]], fits: Callable[[int, _Task, dict[str, Any]], bool]
    ) -> None:
        """Take the items that are in whole shards from `tasks`, and check that they are these items.

        Args:
            tasks: numbered items; those that are not in whole shards are left in it.
            fits: whether a sample's `.json` is of an item.
        """
        before = {name: _read_left(self._folder / name) for name in _HEADERS}
        while (path := self._path()).exists():
            count = 0
            for _, files in members(str(path)):
                count += 1
                found = _found(path, files)
                for number, item in tasks:
                    name = key(number)
                    if name == found.get("key"):
                        if not fits(number, item, found):
                            raise self._others(path, name)
                        if "digest" in found:
                            self._digests[found["digest"]] = name
                        break
                    where = next((where for where in _HEADERS if name in before[where]), None)
                    if where is None:
                        raise self._others(path, name)
                    self._left[where].append((name, *before[where][name]))
                else:
                    raise self._others(path, str(found.get("key")))
            self._add(path, count)

    def _others(self, path: Path, key: str) -> OptionError:
        return OptionError(
            f"{path}: was made of other items (sample {key} is not the item of this number); give a new folder"
        )

    def write(self, made: Iterable[Made]) -> None:
        """Write the rest."""
        good = self._good(made)
        sample = next(good, None)
        while sample is not None:
            if self._told is not None and len(self._shards) >= len(self._told.shards):
                raise OptionError(
                    f"{self._folder}: holds finished shards of fewer items; give a new folder for more"
                )
            path, size, count = self._path(), 0, 0
            with atomic_path(path) as temp, temp.open("wb") as file:
                with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                    while sample is not None:
                        files = sample.files or {}
                        size += sum(BLOCK + -(-len(data) // BLOCK) * BLOCK for data in files.values())
                        if count and size > self._bytes:
                            break
                        for suffix, data in files.items():
                            # of no time and no owner, hence always the same
                            member = tarfile.TarInfo(f"{key(sample.number)}.{suffix}")
                            member.size = len(data)
                            tar.addfile(member, io.BytesIO(data))
                        count += 1
                        sample = next(good, None)
                self._save_left()  # before the shard, so that what is left out of a whole shard is known
                file.flush()
                os.fsync(file.fileno())
            self._add(path, count)

    def _good(self, made: Iterable[Made]) -> Iterator[Made]:
        for sample in made:
            name = key(sample.number)
            if sample.reason:
                self._left[FAILED].append((name, sample.origin, sample.reason))
            elif sample.digest and sample.digest in self._digests:
                self._left[DOUBLES].append((name, sample.origin, self._digests[sample.digest]))
            else:
                if sample.digest:
                    self._digests[sample.digest] = name
                yield sample

    def _add(self, path: Path, count: int) -> None:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        shard = ShardFile(path.name, count, path.stat().st_size, digest.hexdigest())
        place = len(self._shards)
        if self._told is not None and self._told.shards[place : place + 1] != (shard,):
            raise FormatError(f"{path}: is not as {INDEX} says; give a new folder, or a whole copy")
        self._shards.append(shard)

    def _save_left(self) -> None:
        for name, rows in self._left.items():
            path = self._folder / name
            if rows:
                with atomic_path(path) as temp, temp.open("w", newline="", **_TEXT) as file:
                    csv.writer(file, lineterminator="\n").writerows([_HEADERS[name], *rows])
            else:
                path.unlink(missing_ok=True)

    def finish(self) -> ShardIndex:
        """Write the index."""
        failed = self._left[FAILED]
        if not self._shards:
            self._save_left()
            if not failed:
                raise OptionError(f"{self._folder}: got no items to write, expected one or more")
            raise OptionError(
                f"{self._folder}: none of {len(failed)} items can be read, the first: {failed[0][2]}"
            )
        values = {
            **self._settings,
            "samples": sum(shard.samples for shard in self._shards),
            "failed": len(failed),
            **({"duplicates": len(self._left[DOUBLES])} if self._left[DOUBLES] else {}),
            "shards": [asdict(shard) for shard in self._shards],
        }
        index = index_of(values)
        if self._told is not None and self._told != index:
            raise OptionError(f"{self._folder}: holds finished shards of other items; give a new folder")
        self._save_left()
        save_json(self._folder / INDEX, FORMAT, VERSION, values)
        (self._folder / UNFINISHED).unlink(missing_ok=True)
        return index


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other writers away, and remove what a killed one left half-written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".writing").open("a+b") as file:
            try:
                lock(file)
            except BlockingIOError as error:
                raise OptionError(
                    f"{folder}: another process is writing to it; wait for it to end"
                ) from error
            except OSError:
                pass  # a file system without locks
            try:
                for path in folder.iterdir():
                    if _LEFT.fullmatch(path.name):
                        path.unlink()
                yield
            finally:
                with suppress(OSError):
                    (folder / ".writing").unlink()
    except OSError as error:
        raise FormatError(f"{folder}: cannot be written to ({error.strerror or error})") from error


def key(number: int) -> str:
    """A sample's key: its number in nine digits or more."""
    return f"{number:09}"


def _found(path: Path, files: dict[str, bytes]) -> dict[str, Any]:
    try:
        found = json.loads(files["json"])
    except (KeyError, ValueError) as error:
        raise damaged(str(path), "a sample has no .json that can be read") from error
    if not isinstance(found, dict):
        raise damaged(str(path), "a .json holds no object")
    return found


def _read_left(path: Path) -> dict[str, tuple[str, str]]:
    """Path and what is said of it by key."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row[0]: (row[1], row[2]) for row in list(csv.reader(file))[1:]}
