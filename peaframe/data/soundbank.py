"""A folder of labelled single sounds with a `manifest.csv`, and their waveforms in memory.

The manifest's columns are path, label, captions (joined by `|`), parent, role (event or background), source, license,
origin_id, duration_s, split. Paths are relative to the manifest's folder.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from tqdm import tqdm

from peaframe.errors import ManifestError

COLUMNS = ("path", "label", "captions", "role", "source", "license", "split")


@dataclass(frozen=True)
class Clip:
    """One labelled sound.

    Attributes:
        path: the audio file.
        label: what is heard.
        captions: other words for it.
        role: `event`, or `background` for ambiences that fill a scene.
        source: the package or repository it came from, and the file in it.
        license: the licence its source states.
        split: `train` or `valid`.
    """

    path: Path
    label: str
    captions: tuple[str, ...]
    role: str
    source: str
    license: str
    split: str


def read_manifest(folder: Path, exclude_sources: Iterable[str] = ()) -> list[Clip]:
    """Read `folder/manifest.csv`.

    Args:
        folder: the sound bank.
        exclude_sources: clips whose source begins with one of these are left out (licences that forbid a use).

    Returns:
        The clips, in the manifest's order.

    Raises:
        ManifestError: no manifest, a column is missing, or a row has an unknown role or split.
    """
    path = Path(folder) / "manifest.csv"
    if not path.is_file():
        raise ManifestError(f"{path}: not found; expected a sound bank folder with a manifest.csv")
    excluded = tuple(exclude_sources)
    clips = []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ManifestError(f"{path}: columns {missing} are missing; expected {', '.join(COLUMNS)}")
        for number, row in enumerate(reader, start=2):
            if row["role"] not in ("event", "background") or row["split"] not in ("train", "valid"):
                raise ManifestError(
                    f"{path}:{number}: got role {row['role']!r} and split {row['split']!r}, "
                    "expected event or background, train or valid"
                )
            if not row["source"].startswith(excluded):
                captions = tuple(caption for caption in row["captions"].split("|") if caption)
                clips.append(
                    Clip(
                        path.parent / row["path"],
                        row["label"],
                        captions,
                        row["role"],
                        row["source"],
                        row["license"],
                        row["split"],
                    )
                )
    return clips


class Bank:
    """Clips and their waveforms, decoded once to 16-bit samples at one rate and kept in memory."""

    def __init__(self, clips: Sequence[Clip], rate: int, cache: Path | None = None) -> None:
        """Decode `clips` at `rate` samples a second.

        Args:
            clips: what to hold.
            rate: samples a second.
            cache: folder where the decoded samples are kept for the next time; None keeps nothing.

        Raises:
            ManifestError: there are no clips, or one cannot be read.
        """
        if not clips:
            raise ManifestError(
                "got no clips, expected one or more; see the manifest's split and excluded sources"
            )
        self.clips = list(clips)
        self.rate = rate
        self._edges, self._samples = _decoded(self.clips, rate, cache)

    def __len__(self) -> int:
        return len(self.clips)

    def waveform(self, index: int) -> NDArray[np.float32]:
        """Clip `index` as float32 (samples,) in [-1, 1]."""
        part = self._samples[self._edges[index] : self._edges[index + 1]]
        waveform: NDArray[np.float32] = part.astype(np.float32) / np.float32(32768)
        return waveform


def _decoded(
    clips: Sequence[Clip], rate: int, cache: Path | None
) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    try:
        stats = [clip.path.stat() for clip in clips]
    except OSError as error:
        raise ManifestError(
            f"{error.filename}: not readable ({error.strerror}); named in the manifest"
        ) from error
    stem: Path | None = None
    if cache is not None:
        lines = [f"{c.path.resolve()} {s.st_size} {s.st_mtime_ns}" for c, s in zip(clips, stats, strict=True)]
        key = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
        stem = Path(cache) / f"bank_{rate}_{key}"
        if stem.with_suffix(".edges.npy").is_file():
            return np.load(stem.with_suffix(".edges.npy")), np.load(stem.with_suffix(".npy"), mmap_mode="r")
    parts = []
    for clip in tqdm(clips, desc=f"decode at {rate} Hz", unit="clip", disable=None):
        try:
            x, own = soundfile.read(clip.path, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise ManifestError(f"{clip.path}: not a readable sound ({error})") from error
        y = soxr.resample(x.mean(axis=1), own, rate)
        parts.append(np.clip(np.rint(y * 32767), -32768, 32767).astype(np.int16))
    edges = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)
    samples = np.concatenate(parts)
    if stem is not None:
        stem.parent.mkdir(parents=True, exist_ok=True)
        np.save(stem.with_suffix(".npy"), samples)
        np.save(stem.with_suffix(".edges.npy"), edges)
    return edges, samples
