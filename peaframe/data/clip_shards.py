"""Shards of clips, which PE-AV is pre-trained on: sound or its latents, features of pictures, and what is said of them.

    shard-000000.tar    000000000.json 000000000.npy 000000000.video.npy 000000001.json ...
    failed.csv          key, path, reason: clips that cannot be read, if there are any
    duplicates.csv      key, path, same_as: clips whose content an earlier one has, and the key of that one
    shards.json         the shards, and which model made latents and features; written last

The names are WebDataset's, as those of `peaframe.data.shards`. `.npy` are latents, float16 (frames, channels), of the
clip heard alone; `.flac` is its sound, where that is kept; `.video.npy` are features of its pictures, float16
(pictures, channels), of unit length. A file that is not there is something that the clip does not have. The `.json`:

| key | what it is |
|---|---|
| key, media, start, end, captions, transcript, source, metadata | the row of the table (`peaframe.data.clips_table`) |
| seconds, still, digest | see `ClipMedia` |
| crc32 | checksums of the other files, by suffix |

The same table and model give the same bytes, by however many workers wherever they are, and after having been killed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from peaframe.data.clip_maker import ClipContent, ClipMaker, said_of
from peaframe.data.clip_processes import ClipEngine, ClipMachine, by_workers
from peaframe.data.clips_table import ClipRow
from peaframe.data.shard_files import ShardIndex
from peaframe.data.shard_folder import Made, ShardFolder, held
from peaframe.data.shards import SHARD_BYTES
from peaframe.errors import OptionError
from peaframe.workers.local import LocalEngine
from peaframe.workers.threads import one_thread

__all__ = ["KIND", "ClipContent", "write_clip_shards"]

KIND = "clips"


def write_clip_shards(
    rows: Iterable[ClipRow],
    folder: str | os.PathLike[str],
    wanted: ClipContent,
    *,
    shard_bytes: int = SHARD_BYTES,
    prefix: str = "shard",
    jobs: int = 1,
    engine: ClipEngine | None = None,
) -> ShardIndex:
    """Write shards of clips, or what a folder still lacks of them; torch computes with one thread for each process.

    Args:
        rows: what to write, the same in the same order when it goes on.
        folder: where the shards go; made if need be.
        wanted: what is kept of each.
        shard_bytes: a sample that would make a shard larger begins the next one; a larger one stands alone.
        prefix: what names of shards begin with.
        jobs: processes that decode and compute, each with a model of its own; the shards do not depend on it. One
            that dies takes nothing along but a clip that two others die of, too.
        engine: what decodes and computes instead of them, of a `ClipMachine` with what is wanted; it is not closed.

    Returns:
        What was written, now or before.

    Raises:
        OptionError: there are no clips, none can be read, the folder holds shards of others or by another model,
            another process is writing to it, or an option makes no sense.
        ModelError: the model cannot be loaded, or lacks what is wanted.
        FormatError: a file cannot be written, or a finished shard is damaged.
    """
    if shard_bytes < 1 or jobs < 1 or not re.fullmatch(r"\w[\w-]*", prefix):
        raise OptionError(
            f"got shard_bytes {shard_bytes}, jobs {jobs}, prefix {prefix!r}; give numbers of 1 or more, and a "
            "prefix of letters, digits, - and _"
        )
    settings = {"kind": KIND, "content": wanted.content, "shard_bytes": shard_bytes, "prefix": prefix}
    if engine is None and jobs == 1:
        maker = ClipMaker(wanted)
        with one_thread():
            return _write(rows, Path(folder), {**settings, "made": maker.made}, partial(map, maker))
    workers: ClipEngine = engine or LocalEngine(ClipMachine(wanted), jobs)
    try:
        made = workers.facts().made
        return _write(rows, Path(folder), {**settings, "made": made}, partial(by_workers, workers))
    finally:
        if engine is None:
            workers.close()


def _write(
    rows: Iterable[ClipRow],
    folder: Path,
    settings: dict[str, Any],
    make: Callable[[Iterator[tuple[int, ClipRow]]], Iterator[Made]],
) -> ShardIndex:
    with held(folder):
        out = ShardFolder(folder, settings)
        tasks = enumerate(rows)
        out.keep(tasks, _fits)
        out.write(make(tasks))
        return out.finish()


def _fits(number: int, row: ClipRow, found: dict[str, Any]) -> bool:
    wanted = said_of(number, row)
    return wanted == {name: found.get(name) for name in wanted}
