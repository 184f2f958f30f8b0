"""A cache of latents: the codec, which is frozen and most of the work, hears every recording once.

Training then reads rows of 128 numbers, 25 a second, instead of sound. Where a model has no codec, as peaframe-mini,
its "codec" is the part that stands still in fine-tuning: rows of 2 688 numbers, which its convolutions give.

A cache is a folder of shards (`peaframe.data.latent_shards`), all of one codec. Several processes may fill it at once,
each writes shards of its own. One that is killed leaves its finished shards, and what it was writing is removed
when the folder is next opened.
"""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from peaframe.clock import samples_of_seconds
from peaframe.data.latent_rows import AudioPart, front_fingerprint, latent_blocks
from peaframe.data.latent_shards import (
    SUFFIX,
    Claims,
    Entry,
    Latents,
    Shard,
    ShardWriter,
    damaged,
    read_shard,
    sweep,
)
from peaframe.errors import AudioError, FormatError, ModelError, OptionError
from peaframe.models.frame import FrameModel

SHARD_BYTES = 256 << 20  # 11 hours of sound
FLUSH_SECONDS = 300.0  # what `fill` may lose when it is killed
_MOST_MAPS = 64  # shards that are open at a time


class LatentCache:
    """A folder of latents.

    Attributes:
        folder: where it is; made when the first latents are added.
        shard_bytes: size of a shard from which on a new one is begun.
    """

    def __init__(self, folder: str | os.PathLike[str], shard_bytes: int = SHARD_BYTES) -> None:
        """Open a cache, or one to be.

        Raises:
            FormatError: a shard is damaged, or they are of two codecs.
        """
        self.folder = Path(folder)
        self.shard_bytes = shard_bytes
        self._shards: dict[Path, Shard] = {}
        self._found: dict[str, tuple[Path, Entry]] = {}
        self._digests: dict[tuple[str, int, int], str] = {}  # path, size, time of change
        self._gone: dict[str, tuple[int, str]] = {}  # path: time of change, digest
        self._maps: OrderedDict[Path, Latents] = OrderedDict()
        self._checked: set[str] = set()
        self._pending: set[str] = set()  # in the shard being written
        self._writer: ShardWriter | None = None
        self._claims: Claims | None = None
        self._told: tuple[Any, str] | None = None  # a codec's state, and its fingerprint
        if self.folder.is_dir():
            sweep(self.folder)
        self.refresh()

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes, which only read."""
        if self._writer is not None:
            raise OptionError(f"{self.folder}: is being filled; call flush() before others read from it")
        return {**self.__dict__, "_maps": OrderedDict(), "_claims": None, "_told": None}

    def __enter__(self) -> LatentCache:
        return self

    def __exit__(self, *error: object) -> None:
        self.flush()

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, key: str) -> bool:
        """Whether latents of this key can be read, or are being written here."""
        return key in self._found or key in self._pending

    @property
    def codec(self) -> str | None:
        """Fingerprint of the codec that made the latents; None in an empty cache."""
        return next((shard.codec for shard in self._shards.values()), None)

    @property
    def channels(self) -> int:
        """Channels of a latent; 0 in an empty cache."""
        return next((shard.channels for shard in self._shards.values()), 0)

    def refresh(self) -> None:
        """Take in the shards that other processes have finished. Raises FormatError as opening does."""
        paths = sorted(self.folder.glob(f"[!.]*{SUFFIX}")) if self.folder.is_dir() else []
        for path in paths:
            if path in self._shards:
                continue
            shard = read_shard(path)
            if self.codec not in (None, shard.codec):
                known = next(iter(self._shards.values()))
                raise FormatError(
                    f"{path}: latents of codec {shard.codec} ({shard.model}), but {known.path.name} beside it is of "
                    f"{known.codec} ({known.model}); keep each codec in a folder of its own"
                )
            self._shards[path] = shard
            for entry in shard.entries:
                self._found.setdefault(entry.key, (path, entry))
                self._remember(entry.path, entry.size, entry.changed_ns, entry.key.split(":")[0])

    def _remember(self, path: str, size: int, changed_ns: int, digest: str) -> None:
        self._digests[path, size, changed_ns] = digest
        self._gone[path] = max(self._gone.get(path, (0, "")), (changed_ns, digest))

    def key(self, part: AudioPart) -> str:
        """What latents are filed under: hash of the recording's bytes, first sample, number of samples or `end`.

        A recording is read once for its hash; from then on, also in later processes if its latents are there, it is
        known by path, size and time of change. One that is gone is known by its path.

        Raises:
            AudioError: the recording cannot be read and has never been cached.
        """
        count = "end" if part.duration is None else samples_of_seconds(part.duration)
        return f"{self._identify(part.path)[0]}:{samples_of_seconds(part.start)}:{count}"

    def _identify(self, given: str | os.PathLike[str]) -> tuple[str, str, int, int]:
        """A recording's hash, absolute path, bytes and time of change."""
        path = os.path.abspath(given)
        try:
            facts = os.stat(path)
            found = path, facts.st_size, facts.st_mtime_ns
            if found not in self._digests:
                digest = hashlib.sha256()
                with open(path, "rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
                self._remember(*found, digest.hexdigest())
            return self._digests[found], *found
        except OSError as error:
            if isinstance(error, FileNotFoundError) and path in self._gone:
                changed_ns, gone = self._gone[path]
                return gone, path, 0, changed_ns
            raise AudioError(f"{given}: cannot be read ({error.strerror}); check the name") from error

    def missing(self, parts: Sequence[AudioPart]) -> list[AudioPart]:
        """Those of the parts whose latents are not there. Raises AudioError as `key` does."""
        return [part for part in parts if self.key(part) not in self]

    def frames(self, key: str) -> int:
        """How many latents an item has. Raises OptionError if it is not there."""
        return self._find(key)[1].frames

    def _find(self, key: str) -> tuple[Path, Entry]:
        if key not in self._found:
            raise OptionError(f"{self.folder}: has no latents of {key}; fill the cache with this item first")
        return self._found[key]

    def get(self, key: str) -> Latents:
        """The latents of an item: float16 (frames, channels), read from the disk as they are looked at.

        The first time, they are compared with their checksum.

        Raises:
            OptionError: they are not there.
            FormatError: they are damaged.
        """
        path, entry = self._find(key)
        if path not in self._maps:
            self._maps[path] = self._shards[path].map()
            if len(self._maps) > _MOST_MAPS:
                self._maps.popitem(last=False)
        self._maps.move_to_end(path)
        rows = self._maps[path][entry.first : entry.first + entry.frames]
        if key not in self._checked:
            if zlib.crc32(rows.data) != entry.crc32:
                raise damaged(path, f"those of {entry.path} do not fit their checksum")
            self._checked.add(key)
        return rows

    def verify(self) -> None:
        """Read everything and compare it with its checksums. Raises FormatError for a damaged shard, by name."""
        for key in self._found:
            self.get(key)

    def check(self, model: FrameModel) -> str:
        """The fingerprint of a model's codec, if the latents here are, or may become, those of this codec.

        Raises:
            ModelError: the model has another one.
        """
        tensors = model.still_part()[1].values()
        state = [(p.data_ptr(), p.is_inference() or p._version) for p in tensors]
        if self._told is None or self._told[0] != state:
            self._told = state, front_fingerprint(model)
        own = self._told[1]
        if self.codec not in (None, own):
            known = next(iter(self._shards.values()))
            raise ModelError(
                f"{self.folder}: holds latents of codec {known.codec} ({known.model}), the codec of {model.name} is "
                f"{own}; use another folder"
            )
        return own

    def add(
        self, path: str | os.PathLike[str], start: float, duration: float | None, model: FrameModel
    ) -> str:
        """Compute the latents of a part and write them, if they are not there; they can be read after `flush`.

        Returns:
            Their key.

        Raises:
            AudioError: the recording cannot be read, or the part does not lie in it.
            ModelError: as `check` does, or a latent is beyond float16.
            FormatError: they cannot be written.
        """
        part = AudioPart(path, start, duration)
        own, key = self.check(model), self.key(part)
        if key in self:
            return key
        _, absolute, size, changed_ns = self._identify(path)
        if self._writer is None:
            self._make_folder()
            self._writer = ShardWriter(self.folder, own, model.name, model.feature_channels)
        try:
            for rows in latent_blocks(model, part):
                self._writer.write(rows)
        except BaseException:
            self._writer.forget()
            raise
        self._writer.keep(key, absolute, size, changed_ns)
        self._pending.add(key)
        if self._writer.size >= self.shard_bytes:
            self.flush()
        return key

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FormatError(
                f"{self.folder}: cannot be made ({error.strerror}); use another folder"
            ) from error

    def flush(self) -> None:
        """Finish the shard being written, if there is one. Raises FormatError if it cannot be written."""
        writer, self._writer = self._writer, None
        self._pending.clear()
        if writer is not None:
            writer.close()
            self.refresh()
        if self._claims is not None:
            self._claims.release()

    def claim(self, key: str) -> bool:
        """Say, until `flush`, that this process adds an item; false if it is there, or another process adds it."""
        if self._claims is None:
            self._make_folder()
            self._claims = Claims(self.folder)
        if key in self or not self._claims.take(key):
            return False
        self.refresh()  # it may have come since
        return key not in self


def fill(
    cache: LatentCache,
    parts: Sequence[AudioPart],
    model: FrameModel,
    progress: bool = True,
    flush_seconds: float = FLUSH_SECONDS,
) -> int:
    """Add all parts that a cache does not have; other processes may do the same at the same time and share the work.

    When it ends all latents are there. Interrupted, it keeps all it has made, killed, all that is older
    than `flush_seconds`; called again, it goes on.

    Args:
        cache: it stays open.
        parts: what to hear; the same one twice is heard once.
        model: its codec hears.
        progress: show a bar, if there is a terminal.
        flush_seconds: a shard is finished this often, even if it is small.

    Returns:
        How many this process has added.

    Raises:
        AudioError: recordings cannot be read; raised at the end, when all others have been added.
        ModelError: as `LatentCache.add` does.
        FormatError: as `LatentCache.add` does.
    """
    cache.check(model)
    todo = {key: part for part in parts if (key := cache.key(part)) not in cache}
    added, errors = 0, list[AudioError]()
    try:
        with tqdm(total=len(todo), desc="latents", unit="part", disable=None if progress else True) as bar:
            while todo:
                others: dict[str, AudioPart] = {}
                began = time.monotonic()
                for key, part in todo.items():
                    if not cache.claim(key):
                        others[key] = part
                        continue
                    try:
                        cache.add(part.path, part.start, part.duration, model)
                        added += 1
                    except AudioError as error:
                        errors.append(error)
                    bar.update()
                    if time.monotonic() - began > flush_seconds:
                        cache.flush()
                        began = time.monotonic()
                cache.flush()
                cache.refresh()
                todo = {key: part for key, part in others.items() if key not in cache}
                bar.update(len(others) - len(todo))
                if todo:  # another process is at it; if that one is killed, it is ours
                    time.sleep(0.2)
    finally:
        with suppress(FormatError):
            cache.flush()
    if errors:
        more = f" (and {len(errors) - 1} more like it)" if len(errors) > 1 else ""
        raise AudioError(
            f"{errors[0]}{more}; the other {len(parts) - len(errors)} parts are in {cache.folder}"
        )
    return added
