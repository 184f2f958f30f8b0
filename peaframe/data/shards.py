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

import json
import os
import re
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from peaframe import audio
from peaframe.clock import HOP_SAMPLES, seconds_of_samples
from peaframe.data.latent_rows import AudioPart
from peaframe.data.latents import LatentCache
from peaframe.data.manifest_item import Item, to_line
from peaframe.data.shard_files import (
    INDEX,
    ShardFile,
    ShardIndex,
    flac_bytes,
    json_line,
    load_index,
    npy_bytes,
)
from peaframe.data.shard_folder import FAILED, Made, ShardFolder, held, key
from peaframe.data.shard_reader import ShardReader, in_order
from peaframe.errors import OptionError, PeaframeError

__all__ = ["FAILED", "INDEX", "ShardFile", "ShardIndex", "ShardReader", "load_index", "write_shards"]

SUFFIXES = {"audio": ".flac", "latents": ".npy"}
SHARD_BYTES = 500_000_000


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

    def make(task: tuple[int, Item]) -> Made:
        return _make(*task, origin, cache)

    def fits(number: int, item: Item, found: dict[str, Any]) -> bool:
        wanted = _values(item, number, origin, item.duration, content)
        wanted.setdefault("duration", found.get("duration"))
        return wanted == {name: found[name] for name in found if name != "crc32"}

    with held(Path(folder)):
        out = ShardFolder(Path(folder), {"content": content, "shard_bytes": shard_bytes, "prefix": prefix})
        tasks = enumerate(items)
        out.keep(tasks, fits)
        out.write(in_order(make, tasks, jobs if jobs > 1 and content == "audio" else 0))
        return out.finish()


def _values(item: Item, number: int, base: Path, duration: float | None, content: str) -> dict[str, Any]:
    """What the sample's `.json` says, without the checksum."""
    values = json.loads(to_line(replace(item, start=0.0, duration=duration), base))
    values.update(origin=values["audio"], origin_start=float(item.start), key=key(number))
    return {**values, "audio": f"{key(number)}{SUFFIXES[content]}"}


def _make(number: int, item: Item, base: Path, cache: LatentCache | None) -> Made:
    try:
        data, duration = _sound(item) if cache is None else _latents(item, cache)
        values = _values(
            item, number, base, item.duration or duration, "audio" if cache is None else "latents"
        )
        values["crc32"] = zlib.crc32(data)
        suffix = SUFFIXES["audio" if cache is None else "latents"].removeprefix(".")
        return Made(number, values["origin"], {"json": json_line(values), suffix: data})
    except UnicodeEncodeError:
        return Made(number, str(item.audio), reason="a name or label is not valid Unicode; rename it")
    except PeaframeError as error:
        return Made(number, str(item.audio), reason=str(error))


def _sound(item: Item) -> tuple[bytes, float]:
    end = None if item.duration is None else item.start + item.duration
    waveform = audio.read(item.audio, item.start or None, end)
    return flac_bytes(waveform), seconds_of_samples(len(waveform))


def _latents(item: Item, cache: LatentCache) -> tuple[bytes, float]:
    rows = cache.get(cache.key(AudioPart(item.audio, item.start, item.duration)))
    return npy_bytes(rows), seconds_of_samples(len(rows) * HOP_SAMPLES)
