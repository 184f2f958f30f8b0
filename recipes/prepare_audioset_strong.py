"""Bring AudioSet-Strong's evaluation clips and tables into the form of `audioset-strong`.

    python -m peaframe.recipes.prepare_audioset_strong SOURCE OUT

SOURCE holds Google's tables (itself, or `metadata/` or `strong/` in it) and, anywhere below it, the audio one has, as
clips of 10 s or as the sound of whole videos (`<YouTube id>.m4a`). Clips become hard links called after their
segment; from whole videos the segments are cut, as 48 kHz WAV. Names that are understood: see
peaframe.eval.benchmarks.audioset. The same command again goes on where it stopped. Nothing is downloaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from peaframe import audio
from peaframe.errors import AudioError
from peaframe.eval.benchmarks.audio_files import audio_below, recording_id
from peaframe.eval.benchmarks.audioset import (
    CLIP_SECONDS,
    LONGEST,
    TABLES,
    Segments,
    find_table,
    read_segments,
)
from peaframe.recipes import program
from peaframe.recipes.prepare_files import folder_at, place, source_and_out, tell


def segments_in(path: Path, segments: Segments) -> dict[str, float | None]:
    """The segments a file has: id -> where it begins in the file, or None where the file is the clip itself.

    Raises:
        AudioError: The file cannot be read.
    """
    stem = recording_id(path.name)
    video = next((name for name in (stem, stem.removeprefix("Y")) if name in segments.starts), None)
    clip = segments.named(stem)
    if video is None and clip is None:
        return {}
    duration = audio.probe(path).duration
    if duration <= LONGEST:
        return {} if clip is None else {clip: None}
    starts = [] if video is None else segments.starts[video]
    return {f"{video}_{start}": start / 1000 for start in starts if start / 1000 < duration}


def put(path: Path, segment: str, start: float | None, folder: Path) -> str:
    """Place one segment's clip; says what was done: linked, cut, or already there."""
    if start is None:
        return "linked" if place(path, folder / f"{segment}{path.suffix.lower()}") else "already there"
    target = folder / f"{segment}.wav"
    if target.is_file():
        return "already there"
    end = min(start + CLIP_SECONDS, audio.probe(path).duration)
    audio.write_wav(target, audio.read(path, start, end))
    return "cut"


def prepare(path: Path, segments: Segments, folder: Path, done: Counter[str]) -> str | None:
    """Place all segments of a file, counting how; gives the reason if the file cannot be read."""
    try:
        for segment, start in segments_in(path, segments).items():
            done[put(path, segment, start, folder)] += 1
    except AudioError as error:
        return str(error)
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    """Copy the tables, place or cut the clips, print what is there."""
    args = source_and_out(__doc__, arguments)
    _, segments = read_segments(args.source)
    for name in TABLES:
        table = find_table(args.source, name)
        if table is not None:
            place(table, args.out / name, link=False)
    folder = folder_at(args.out / "audio")
    done = Counter({"linked": 0, "cut": 0, "already there": 0})
    inside = folder.resolve()
    paths = [path for path in sorted(audio_below(args.source)) if inside not in path.resolve().parents]
    files = tqdm(paths, desc="prepare", unit="file", disable=None)
    broken = [prepare(path, segments, folder, done) for path in files]
    print(", ".join(f"{count} clips {how}" for how, count in done.items()))
    for reason in filter(None, broken):
        print(f"  left out: {reason}")
    tell("audioset-strong", args.out)


if __name__ == "__main__":
    program.run(main)
