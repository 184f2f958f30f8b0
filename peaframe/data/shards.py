"""Shards: items of manifests with their sound or their latents, many in one tar file, for what fits no folder.

    shard-000000.tar    000000000.json 000000000.flac 000000001.json 000000001.flac ...
    shard-000001.tar    ...
    failed.csv          key, path, reason: the recordings that were left out, if there are any
    shards.json         how many samples and bytes each shard has, and its sha256; written last

The names are WebDataset's (https://github.com/webdataset/webdataset): files of one sample stand together and share what
is before the first dot, their key; here it is the item's number in the order given. The `.json` is the item as a
line of a manifest (`peaframe.data.manifest`), its part cut out, so that it starts at 0 and has a duration, and

| key | what it is |
|---|---|
| audio | the file beside it |
| key | the sample's key |
| origin, origin_start | the recording it was cut from, and where it began in it, in seconds |
| crc32 | checksum of the file beside it |

One rule for sound: every item, whole files too, is decoded, cut, and written as FLAC, 48 kHz, mono, 16 bit (beyond ±1
it is clipped). So every sample is of one kind, and damage is found here and not in training. Latents are `.npy`,
float16 (frames, channels).

The same items give the same bytes. A shard appears whole or not at all: what was killed goes on behind its last
whole shard.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from peaframe import audio
from peaframe.clock import HOP_SAMPLES, SAMPLE_RATE, seconds_of_samples
from peaframe.data.latent_rows import AudioPart
from peaframe.data.latent_shards import lock
from peaframe.data.latents import LatentCache
from peaframe.data.manifest_item import Item, to_line
from peaframe.data.shard_files import (
    FORMAT,
    INDEX,
    VERSION,
    ShardFile,
    ShardIndex,
    damaged,
    load_index,
    members,
)
from peaframe.data.shard_reader import ShardReader, in_order
from peaframe.errors import FormatError, OptionError, PeaframeError
from peaframe.files import atomic_path
from peaframe.json_files import load_json, save_json

__all__ = ["FAILED", "INDEX", "ShardFile", "ShardIndex", "ShardReader", "load_index", "write_shards"]

FAILED, UNFINISHED = "failed.csv", "unfinished.json"
SUFFIXES = {"audio": ".flac", "latents": ".npy"}
SHARD_BYTES = 500_000_000
_BLOCK = 512  # bytes; tar files are made of such
_LEFT = re.compile(r"\.[0-9a-f]{12}\.(tar|json|csv)")  # what `atomic_path` leaves when it is killed

_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace"}


@dataclass(frozen=True)
class _Made:
    """An item on its way into a shard; where `reason` says something, it does not get there."""

    number: int
    origin: str
    line: bytes = b""
    data: bytes = b""
    reason: str = ""


def write_shards(
    items: Iterable[Item],
    folder: str | os.PathLike[str],
    *,
    content: str = "audio",
    cache: LatentCache | None = None,
    shard_bytes: int = SHARD_BYTES,
    prefix: str = "shard",
    base: str | os.PathLike[str] | None = None,
    jobs: int = 1,
) -> ShardIndex:
    """Write shards, or what a folder still lacks of them; an item is in memory as a whole, with 2 more for each job.

    Args:
        items: What to write, the same in the same order when it goes on.
        folder: Where the shards go; made if need be.
        content: `audio`, or `latents`.
        cache: Where latents are; only with them.
        shard_bytes: A sample that would make a shard larger begins the next one; a larger one stands alone.
        prefix: What names of shards begin with.
        base: Origins below it are named from there, others absolutely; the working directory if it is None.
        jobs: Threads that decode sound; the shards do not depend on it.

    Returns:
        What was written, now or before. Items that cannot be read are in `failed.csv` with the reason.

    Raises:
        OptionError: There are no items, none can be read, the folder holds shards of other items or options, another
            process is writing to it, or an option makes no sense.
        FormatError: A file cannot be written, or a finished shard is damaged.
    """
    if content not in SUFFIXES or (content == "latents") != (cache is not None):
        raise OptionError(
            f"got content {content!r} {'without' if cache is None else 'with'} a cache; give 'audio' alone, or "
            "'latents' and the cache that has them"
        )
    if shard_bytes < 1 or jobs < 1 or not re.fullmatch(r"\w[\w-]*", prefix):
        raise OptionError(
            f"got shard_bytes {shard_bytes}, jobs {jobs}, prefix {prefix!r}; give numbers of 1 or more, and a "
            "prefix of letters, digits, - and _"
        )
    origin = Path(os.path.abspath("." if base is None else base))

    def make(task: tuple[int, Item]) -> _Made:
        return _make(*task, origin, cache)

    with _held(Path(folder)):
        out = _Folder(Path(folder), content, shard_bytes, prefix)
        tasks = enumerate(items)
        out.keep(tasks, origin)
        out.write(in_order(make, tasks, jobs if jobs > 1 and content == "audio" else 0))
        return out.finish()


class _Folder:
    """A folder that shards are being written to."""

    def __init__(self, folder: Path, content: str, shard_bytes: int, prefix: str) -> None:
        self._folder, self._content, self._bytes, self._prefix = folder, content, shard_bytes, prefix
        self._shards: list[ShardFile] = []
        self._failed: list[tuple[str, str, str]] = []
        self._settings = {"content": content, "shard_bytes": shard_bytes, "prefix": prefix}
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

    def keep(self, tasks: Iterator[tuple[int, Item]], base: Path) -> None:
        """Take the items that are in whole shards from `tasks`, and check that they are these items."""
        before = _read_failed(self._folder / FAILED)
        while (path := self._path()).exists():
            count = 0
            for _, files in members(str(path)):
                count += 1
                found = _found(path, files)
                for number, item in tasks:
                    key = _key(number)
                    if key == found.get("key"):
                        wanted = _values(item, number, base, item.duration, self._content)
                        wanted.setdefault("duration", found.get("duration"))
                        if wanted != {name: found[name] for name in found if name != "crc32"}:
                            raise self._others(path, key)
                        break
                    if key not in before:
                        raise self._others(path, key)
                    self._failed.append((key, *before[key]))
                else:
                    raise self._others(path, str(found.get("key")))
            self._add(path, count)

    def _others(self, path: Path, key: str) -> OptionError:
        return OptionError(
            f"{path}: was made of other items (sample {key} is not the item of this number); give a new folder"
        )

    def write(self, made: Iterator[_Made]) -> None:
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
                        files = _files(sample, self._content)
                        size += sum(_BLOCK + -(-len(data) // _BLOCK) * _BLOCK for _, data in files)
                        if count and size > self._bytes:
                            break
                        for name, data in files:
                            member = tarfile.TarInfo(name)  # of no time and no owner, hence always the same
                            member.size = len(data)
                            tar.addfile(member, io.BytesIO(data))
                        count += 1
                        sample = next(good, None)
                self._save_failed()  # before the shard, so that what is left out of a whole shard is known
                file.flush()
                os.fsync(file.fileno())
            self._add(path, count)

    def _good(self, made: Iterator[_Made]) -> Iterator[_Made]:
        for sample in made:
            if sample.reason:
                self._failed.append((_key(sample.number), sample.origin, sample.reason))
            else:
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

    def _save_failed(self) -> None:
        path = self._folder / FAILED
        if self._failed:
            with atomic_path(path) as temp, temp.open("w", newline="", **_TEXT) as file:
                csv.writer(file, lineterminator="\n").writerows([("key", "path", "reason"), *self._failed])
        else:
            path.unlink(missing_ok=True)

    def finish(self) -> ShardIndex:
        """Write the index."""
        if not self._shards:
            self._save_failed()
            if not self._failed:
                raise OptionError(f"{self._folder}: got no items to write, expected one or more")
            raise OptionError(
                f"{self._folder}: none of {len(self._failed)} items can be read, the first: {self._failed[0][2]}"
            )
        index = ShardIndex(self._content, tuple(self._shards), len(self._failed))
        if self._told is not None and self._told != index:
            raise OptionError(f"{self._folder}: holds finished shards of other items; give a new folder")
        self._save_failed()
        shards = [asdict(shard) for shard in index.shards]
        values = {**self._settings, "samples": index.samples, "failed": index.failed, "shards": shards}
        save_json(self._folder / INDEX, FORMAT, VERSION, values)
        (self._folder / UNFINISHED).unlink(missing_ok=True)
        return index


@contextmanager
def _held(folder: Path) -> Iterator[None]:
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


def _key(number: int) -> str:
    return f"{number:09}"


def _files(sample: _Made, content: str) -> list[tuple[str, bytes]]:
    key = _key(sample.number)
    return [(f"{key}.json", sample.line), (f"{key}{SUFFIXES[content]}", sample.data)]


def _values(item: Item, number: int, base: Path, duration: float | None, content: str) -> dict[str, Any]:
    """What the sample's `.json` says, without the checksum."""
    values = json.loads(to_line(replace(item, start=0.0, duration=duration), base))
    values.update(origin=values["audio"], origin_start=float(item.start), key=_key(number))
    return {**values, "audio": f"{_key(number)}{SUFFIXES[content]}"}


def _make(number: int, item: Item, base: Path, cache: LatentCache | None) -> _Made:
    try:
        data, duration = _sound(item) if cache is None else _latents(item, cache)
        values = _values(
            item, number, base, item.duration or duration, "audio" if cache is None else "latents"
        )
        values["crc32"] = zlib.crc32(data)
        line = json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n"
        return _Made(number, values["origin"], line.encode("utf-8"), data)
    except UnicodeEncodeError:
        return _Made(number, str(item.audio), reason="a name or label is not valid Unicode; rename it")
    except PeaframeError as error:
        return _Made(number, str(item.audio), reason=str(error))


def _sound(item: Item) -> tuple[bytes, float]:
    end = None if item.duration is None else item.start + item.duration
    waveform = audio.read(item.audio, item.start or None, end)
    pcm = np.clip(np.rint(waveform * 32768.0), -32768, 32767).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, pcm, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue(), seconds_of_samples(len(pcm))


def _latents(item: Item, cache: LatentCache) -> tuple[bytes, float]:
    rows = cache.get(cache.key(AudioPart(item.audio, item.start, item.duration)))
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(rows, dtype="<f2"), version=(1, 0))
    return file.getvalue(), seconds_of_samples(len(rows) * HOP_SAMPLES)


def _found(path: Path, files: dict[str, bytes]) -> dict[str, Any]:
    try:
        found = json.loads(files["json"])
    except (KeyError, ValueError) as error:
        raise damaged(str(path), "a sample has no .json that can be read") from error
    if not isinstance(found, dict):
        raise damaged(str(path), "a .json holds no object")
    return found


def _read_failed(path: Path) -> dict[str, tuple[str, str]]:
    """Path and reason by key."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["key"]: (row["path"], row["reason"]) for row in csv.DictReader(file)}
