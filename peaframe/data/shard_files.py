"""What shards (`peaframe.data.shards`) hold: their index, the samples of a tar file, and what a sample says.

Shards are read as streams, from a disk or from an address.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import tarfile
import urllib.request
import zlib
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from peaframe.clock import SAMPLE_RATE
from peaframe.data.manifest_item import Item, from_line
from peaframe.errors import FormatError, ManifestError, OptionError

INDEX = "shards.json"
FORMAT, VERSION = "peaframe-shards", 1
EXTRA_KEYS = ("key", "origin", "origin_start", "crc32")
BLOCK = 512  # bytes; tar files are made of such
_TIMEOUT_SECONDS = 60.0

Sample = tuple[Item, NDArray[Any]]


@dataclass(frozen=True)
class ShardFile:
    """A finished shard: its name in the folder, how many samples and bytes it has, and its sha256 in hex digits."""

    name: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardIndex:
    """What `shards.json` says.

    Attributes:
        content: `audio` or `latents`.
        shards: In their order.
        failed: How many items were left out.
        kind: `items` of manifests, or `clips` (`peaframe.data.clip_shards`).
        made: Of clips, which model made `latents` and `video` (features); None where there are none.
        duplicates: How many items were left out since another one has the same content.
    """

    content: str
    shards: tuple[ShardFile, ...]
    failed: int
    kind: str = "items"
    made: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    duplicates: int = 0

    @property
    def samples(self) -> int:
        """Of all shards."""
        return sum(shard.samples for shard in self.shards)

    @property
    def bytes(self) -> int:
        """Of all shards."""
        return sum(shard.bytes for shard in self.shards)


def load_index(folder: str | os.PathLike[str]) -> ShardIndex:
    """What a folder of finished shards holds; a path or an address.

    Raises:
        FormatError: It is not finished, or its index makes no sense.
    """
    path = f"{os.fspath(folder).rstrip('/')}/{INDEX}"
    try:
        with open_file(path) as file:
            values = json.load(file)
        if (values["format"], values["version"]) != (FORMAT, VERSION):
            raise FormatError(f"{path}: not {FORMAT!r} version {VERSION}; use the peaframe that wrote it")
        return index_of(values)
    except OSError as error:
        raise FormatError(
            f"{path}: cannot be read ({error.strerror or error}); finish writing the shards, or name the tar files"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path}: no index of shards ({error!r}); write the shards again") from error


def index_of(values: Mapping[str, Any]) -> ShardIndex:
    """The index that a `shards.json` holds; KeyError or TypeError where it makes no sense."""
    return ShardIndex(
        values["content"],
        tuple(ShardFile(**shard) for shard in values["shards"]),
        values["failed"],
        values.get("kind", "items"),
        values.get("made", {}),
        values.get("duplicates", 0),
    )


def flac_bytes(waveform: NDArray[np.float32]) -> bytes:
    """Sound (samples,) at 48 kHz as FLAC of 16 bit; beyond ±1 it is clipped."""
    file = io.BytesIO()
    soundfile.write(file, pcm16(waveform), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def pcm16(waveform: NDArray[np.float32]) -> NDArray[np.int16]:
    """Sound (samples,) in steps of 1 / 32768; beyond ±1 it is clipped."""
    pcm: NDArray[np.int16] = np.clip(np.rint(waveform * 32768.0), -32768, 32767).astype(np.int16)
    return pcm


def npy_bytes(rows: NDArray[Any]) -> bytes:
    """Rows (frames, channels) as `.npy` of float16."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(rows, dtype="<f2"), version=(1, 0))
    return file.getvalue()


def json_line(values: Mapping[str, Any]) -> bytes:
    """A sample's `.json`."""
    return (json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def damaged(shard: str, what: object) -> FormatError:
    """The error for a shard that is not as it was written."""
    return FormatError(f"{shard}: damaged shard ({what}); get a whole copy, or write it again")


def open_file(path: str) -> IO[bytes]:
    """Open a file for reading; an http address as a stream, another one (`s3://` ...) through fsspec.

    Raises:
        OSError: it cannot be opened.
        OptionError: something that is needed for such an address is not installed.
    """
    if "://" not in path:
        return open(path, "rb")
    if path.startswith(("http://", "https://")):
        stream: IO[bytes] = urllib.request.urlopen(path, timeout=_TIMEOUT_SECONDS)
        return stream
    try:
        file: IO[bytes] = importlib.import_module("fsspec").open(path, "rb").open()
    except ImportError as error:
        raise OptionError(
            f"{path}: such an address cannot be read ({error}); install what is named"
        ) from error
    return file


def members(shard: str, wanted: Container[int] | None = None) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Samples of a tar file from its beginning on: (number, what its files hold, by suffix without the dot).

    Args:
        shard: Path or address.
        wanted: Numbers of samples; others have no files here, and are not read. None for all.

    Raises:
        FormatError: It cannot be read, is cut short, or is no tar file.
    """
    try:
        with open_file(shard) as file, tarfile.open(fileobj=file, mode=_mode(file)) as tar:
            number, key, files = -1, "", dict[str, bytes]()
            for member in tar:
                if not member.isfile():
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                if f"{folder}/{stem}" != key:
                    if number >= 0:
                        yield number, files
                    number, key, files = number + 1, f"{folder}/{stem}", {}
                if wanted is None or number in wanted:
                    content = tar.extractfile(member)
                    files[suffix] = content.read() if content else b""
            if file.seekable():
                file.seek(tar.offset)
                if file.read(BLOCK) != bytes(BLOCK):
                    raise damaged(shard, "its end is missing")
            if number >= 0:
                yield number, files
    except OSError as error:
        raise FormatError(
            f"{shard}: cannot be read ({error.strerror or error}); check the name and permissions"
        ) from error
    except (tarfile.TarError, EOFError, ValueError, HTTPException) as error:
        raise damaged(shard, error) from error


def _mode(file: IO[bytes]) -> Any:
    return "r:" if file.seekable() else "r|"


def decode(shard: str, files: dict[str, bytes]) -> Sample:
    """The item of a sample, and its sound, float32 (samples,) at 48 kHz, or latents, float16 (frames, channels).

    The item's audio is the file's name inside the shard.

    Raises:
        FormatError: A file is missing or damaged.
    """
    suffix = next((suffix for suffix in ("flac", "npy") if suffix in files), None)
    if suffix is None or "json" not in files:
        raise damaged(shard, f"a sample of {sorted(files)}, expected .json and .flac or .npy")
    data = files[suffix]
    try:
        values = json.loads(files["json"])
        key, _, _, crc32 = (values.pop(name, None) for name in EXTRA_KEYS)
        if crc32 is not None and crc32 != zlib.crc32(data):
            raise damaged(shard, f"sample {key} does not fit its checksum")
        item = from_line(json.dumps(values).encode(), Path(shard), f"{shard}, sample {key}")
        if suffix == "npy":
            return item, np.load(io.BytesIO(data), allow_pickle=False)
        waveform, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    except ManifestError as error:
        raise FormatError(str(error)) from error
    except (AttributeError, EOFError, ValueError, soundfile.LibsndfileError) as error:
        raise damaged(shard, f"a sample cannot be read: {error}") from error
    if rate != SAMPLE_RATE or waveform.ndim != 1:
        raise FormatError(
            f"{shard}: sample {key} has {rate} samples a second and shape {waveform.shape}, expected 48 kHz mono; "
            "write it with peaframe"
        )
    return item, waveform
