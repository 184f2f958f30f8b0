"""Clips from shards (`peaframe.data.clip_shards`), of one folder or several; their order can be taken up anywhere."""

from __future__ import annotations

import io
import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
import soundfile
from numpy.typing import NDArray

from peaframe.clock import SAMPLE_RATE
from peaframe.data.clip_maker import VIDEO
from peaframe.data.clip_shards import KIND
from peaframe.data.shard_files import ShardIndex, damaged
from peaframe.data.shard_reader import Reader, listed
from peaframe.errors import FormatError, ModelError, OptionError

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ClipSample:
    """A clip as a shard holds it; what it does not have is None or empty.

    Attributes:
        key: of the sample in its folder.
        media: the file it was made of.
        start: where the clip began in it, in seconds.
        seconds: how long it is; 0 for a picture of which nobody says how long.
        still: its pictures are one that stands still.
        sound: latents, float16 (frames, channels), or sound, float32 (samples,) at 48 kHz.
        video: features of pictures, float16 (pictures, channels), of unit length.
        captions: texts by what they tell of.
        transcript: what is spoken in it.
        source: where it comes from.
        metadata: what else the table said.
    """

    key: str
    media: str
    start: float
    seconds: float
    still: bool
    sound: NDArray[Any] | None
    video: NDArray[np.float16] | None
    captions: Mapping[str, tuple[str, ...]]
    transcript: str
    source: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Drawn:
    """A clip and where it comes from: the number of the source, and the epoch of it."""

    source: int
    epoch: int
    clip: ClipSample


class ClipReader(Reader[ClipSample]):
    """Clips of a folder, or of several folders as if they were one; see `Reader`.

    Attributes:
        content: `latents` or `audio`.
        made: which model made `latents` and `video` (features), as the indices say.
        indices: of its folders.
    """

    content: str
    made: Mapping[str, Mapping[str, Any]]
    indices: Mapping[str, ShardIndex]

    def _find(
        self, source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    ) -> tuple[list[str], list[int]]:
        given = [source] if isinstance(source, (str, os.PathLike)) else list(source)
        found = [listed(os.fspath(folder), KIND) for folder in given]
        if not found:
            raise OptionError("got no folders of shards, expected one or more")
        self.indices = {os.fspath(folder): own[2] for folder, own in zip(given, found, strict=True)}
        self.content, self.made = joined(self.indices)
        return [shard for shards, _, _ in found for shard in shards], [
            n for _, counts, _ in found for n in counts
        ]

    def _described(self) -> list[Any]:
        return [shard.sha256 for index in self.indices.values() for shard in index.shards]

    def _decode(self, shard: str, files: dict[str, bytes]) -> ClipSample:
        return decode_clip(shard, files)

    def drawn(self) -> Iterator[Drawn]:
        """The clips of this epoch that have not been given."""
        epoch = self.epoch
        return (Drawn(0, epoch, clip) for clip in self)


class ClipMixture:
    """Clips of several readers without end, drawn by weights; each reader is gone through epoch by epoch.

    Which reader the n-th clip of a rank comes from depends on the seed, the rank and n alone.
    """

    def __init__(
        self, readers: Sequence[ClipReader], weights: Sequence[float], *, seed: int = 0, rank: int = 0
    ) -> None:
        """Prepare.

        Args:
            readers: of this rank, one for each source; nobody else may take any of theirs.
            weights: how often each is drawn, in proportion.
            seed: of what is drawn.
            rank: of this process.

        Raises:
            OptionError: numbers make no sense, or the sources are of two contents.
            FormatError: their latents or features are of two models.
        """
        good = all(math.isfinite(weight) and weight > 0 for weight in weights)
        if not readers or len(readers) != len(weights) or not good or seed < 0 or rank < 0:
            raise OptionError(
                f"got {len(readers)} sources with weights {list(weights)}, seed {seed}, rank {rank}; expected a weight "
                "above 0 for each, and a seed and a rank of 0 or more"
            )
        self.content, self.made = joined({k: v for reader in readers for k, v in reader.indices.items()})
        self._readers, self._seed, self._rank = list(readers), seed, rank
        self._weights = [float(weight) for weight in weights]
        self._ends = np.array(list(accumulate(self._weights))) / sum(self._weights)
        self._count = 0

    def drawn(self) -> Iterator[Drawn]:
        """Clips without end, from where it stands."""
        running: dict[int, Iterator[Drawn]] = {}
        try:
            while True:
                value = np.random.default_rng((self._seed, self._rank, self._count)).random()
                source = min(int(np.searchsorted(self._ends, value, side="right")), len(self._ends) - 1)
                found = next(running[source], None) if source in running else None
                if found is None:
                    running[source] = self._readers[source].drawn()
                    found = next(running[source])
                self._count += 1
                yield Drawn(source, found.epoch, found.clip)
        finally:
            running.clear()

    def state_dict(self) -> dict[str, Any]:
        """Where it is: how many were drawn, and where each reader is."""
        readers = [reader.state_dict() for reader in self._readers]
        return {"drawn": self._count, "weights": self._weights, "seed": self._seed, "readers": readers}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another one of the same rank was.

        Raises:
            OptionError: it had other sources, weights or seeds.
        """
        if (state.get("weights"), state.get("seed")) != (self._weights, self._seed):
            raise OptionError(
                f"got the state of weights {state.get('weights')} and seed {state.get('seed')}, expected "
                f"{self._weights} and {self._seed}; resume with those of the run that is resumed"
            )
        for reader, own in zip(self._readers, state["readers"], strict=True):
            reader.load_state_dict(own)
        self._count = int(state["drawn"])


def decode_clip(shard: str, files: Mapping[str, bytes]) -> ClipSample:
    """A clip from its files.

    Raises:
        FormatError: a file is missing or damaged.
    """
    try:
        values = json.loads(files["json"])
        key, marks = values["key"], values["crc32"]
        data = {suffix: content for suffix, content in files.items() if suffix != "json"}
        if marks != {suffix: zlib.crc32(content) for suffix, content in data.items()}:
            raise damaged(shard, f"sample {key} does not fit its checksums")
        sound: NDArray[Any] | None = None
        if "npy" in data:
            sound = _rows(data["npy"])
        elif "flac" in data:
            sound, rate = soundfile.read(io.BytesIO(data["flac"]), dtype="float32")
            if rate != SAMPLE_RATE or sound.ndim != 1:
                raise ValueError(f"sound of {rate} samples a second and shape {sound.shape}")
        return ClipSample(
            key=key,
            media=values["media"],
            start=float(values["start"]),
            seconds=float(values["seconds"]),
            still=bool(values["still"]),
            sound=sound,
            video=_rows(data[VIDEO]) if VIDEO in data else None,
            captions={kind: tuple(texts) for kind, texts in values["captions"].items()},
            transcript=values["transcript"],
            source=values["source"],
            metadata=values["metadata"],
        )
    except (AttributeError, EOFError, KeyError, TypeError, ValueError, soundfile.LibsndfileError) as error:
        raise damaged(shard, f"a sample cannot be read: {error!r}") from error


def _rows(data: bytes) -> NDArray[np.float16]:
    rows: NDArray[np.float16] = np.load(io.BytesIO(data), allow_pickle=False)
    if rows.ndim != 2 or rows.dtype != np.float16 or not rows.size:
        raise ValueError(f"an array of shape {rows.shape} and type {rows.dtype}")
    return rows


def joined(indices: Mapping[str, ShardIndex]) -> tuple[str, dict[str, Mapping[str, Any]]]:
    """Content of folders of shards that go together, and which model made their latents and features.

    Raises:
        FormatError: they do not go together.
    """
    content = next(iter(indices.values())).content
    made: dict[str, Mapping[str, Any]] = {}
    for folder, index in indices.items():
        if index.content != content:
            raise FormatError(f"{folder}: shards of {index.content}, others are of {content}; give one kind")
        for name, own in index.made.items():
            if own is None:
                continue
            first = made.setdefault(name, own)
            marks = [[one.get(key) for key in ("fingerprint", "channels", "frames")] for one in (own, first)]
            if marks[0] != marks[1]:
                raise FormatError(
                    f"{folder}: {name} made otherwise ({own['model']} {marks[0]}) than in other shards "
                    f"({first['model']} {marks[1]}); write all with one model and one number of frames"
                )
    return content, made


def refuse_others(
    made: Mapping[str, Mapping[str, Any]], latents: Mapping[str, Any], video: Mapping[str, Any] | None
) -> None:
    """Refuse shards that another model made.

    Args:
        made: what the shards say, see `ClipReader`.
        latents: what a model says of its codec (`codec_facts`).
        video: what it says of its image encoder (`video_facts`); None if it has none.

    Raises:
        ModelError: latents or features are of another one.
    """
    for name, own in (("latents", latents), ("video", video)):
        found = made.get(name)
        if own is not None and found is not None and found["fingerprint"] != own["fingerprint"]:
            raise ModelError(
                f"got shards whose {name} were made by {found['model']} ({found['fingerprint']}), the model is "
                f"{own['model']} ({own['fingerprint']}); write shards with this model"
            )
