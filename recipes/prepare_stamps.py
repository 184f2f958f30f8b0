"""Make short films of things with sound and words, and their table for `peaframe shards`, of Tux Paint's stamps.

    python -m peaframe.recipes.prepare_stamps STAMPS OUT [--soundbank DIR] [--variants 4] [--held-out 0.2]
    peaframe shards OUT/train.jsonl shards/train --model runs/first
    peaframe shards OUT/valid.jsonl shards/valid --model runs/first

STAMPS is `usr/share/tuxpaint/stamps` of Debian's package tuxpaint-stamps-default. A thing is a picture (NAME.png) and
its name in English (the first line of NAME.txt); some have a sound (NAME.ogg), and some are spoken (NAME_desc.ogg),
which becomes a clip without pictures whose transcript is the name. Pictures that are drawn (NAME.svg) are left out.

A camera moves over each picture, in every variant another way, and the sound begins elsewhere. A thing of the held-out
share, which its name alone decides, is in `valid.jsonl` with all that belongs to it, so nothing of the same name is in
`train.jsonl`. Clips of the sound bank, which have no pictures, keep the split that its manifest gives them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from peaframe import audio
from peaframe.clock import SAMPLE_RATE
from peaframe.data.soundbank import read_manifest
from peaframe.errors import AudioError, FormatError, OptionError, PeaframeError
from peaframe.files import atomic_path

RATE = 8  # pictures a second
SIDE = 96  # pixels
SECONDS = 3.0  # the longest film, and one without sound
_SHORTEST = 0.5
_Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Thing:
    """A stamp.

    Attributes:
        name: of its files, from the folder of stamps.
        words: what it is called, as in `a koala`.
        picture: a PNG.
        sound: an OGG, or None.
        spoken: an OGG of its name, or None.
    """

    name: str
    words: str
    picture: Path
    sound: Path | None
    spoken: Path | None


def things(folder: Path) -> list[Thing]:
    """All stamps with a picture and a name, by the names of their files.

    Raises:
        FormatError: there are none.
    """
    found = []
    for picture in sorted(folder.rglob("*.png")):
        said = picture.with_suffix(".txt")
        words = _words(said) if said.is_file() else ""
        if words:
            sound, spoken = picture.with_suffix(".ogg"), picture.with_name(f"{picture.stem}_desc.ogg")
            found.append(
                Thing(
                    picture.relative_to(folder).with_suffix("").as_posix(),
                    words,
                    picture,
                    sound if sound.is_file() else None,
                    spoken if spoken.is_file() else None,
                )
            )
    if not found:
        raise FormatError(
            f"{folder}: got no NAME.png with a NAME.txt; give usr/share/tuxpaint/stamps of tuxpaint-stamps-default"
        )
    return found


def _words(path: Path) -> str:
    first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip().rstrip(".!")
    return first[:1].lower() + first[1:]


def held_out(words: str, share: float) -> bool:
    """Whether things of a name are held out; the same names always, and with a larger share all of these and more."""
    mark = int.from_bytes(hashlib.sha256(words.casefold().encode()).digest()[:8], "big")
    return mark < share * 2**64


def rows_of(thing: Thing, clips: Path, variants: int) -> Iterator[dict[str, Any]]:
    """Write the films of a thing into a folder, and give their rows of a table that stands beside that folder."""
    pixels = _read(thing.picture)
    wave = None if thing.sound is None else audio.read(thing.sound)
    for variant in range(variants):
        path = clips / f"{thing.name.replace('/', '_')}_{variant}.mkv"
        own = None if wave is None else _turn(wave, variant / variants)
        _write(path, pixels, own, variant)
        row: dict[str, Any] = {"media": f"{clips.name}/{path.name}", "source": "stamps", "thing": thing.words}
        row["visual_caption"] = [thing.words, f"a picture of {thing.words}"]
        if own is not None:
            row["audio_caption"] = [thing.words, f"the sound of {thing.words}"]
            row["audio_visual_caption"] = [thing.words, f"{thing.words}, seen and heard"]
        yield row
    if thing.spoken is not None:
        row = {"media": os.path.abspath(thing.spoken), "source": "stamps spoken"}
        yield row | {"thing": thing.words, "transcript": thing.words}


def _turn(wave: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """A sound that begins at a share of itself and goes on at its beginning, neither too short nor too long."""
    turned = np.roll(wave, -round(share * len(wave)))[: round(SECONDS * SAMPLE_RATE)]
    return np.pad(turned, (0, max(0, round(_SHORTEST * SAMPLE_RATE) - len(turned))))


def _read(path: Path) -> _Pixels:
    """(height, width, 4) of a picture, its longer side a little more than a film's."""
    try:
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
            longest = max(frame.width, frame.height)
            width, height = (max(2, round(1.5 * SIDE * n / longest)) for n in (frame.width, frame.height))
            small = frame.reformat(width=width, height=height, format="rgba")
            return np.ascontiguousarray(small.to_ndarray())
    except (av.FFmpegError, OSError, StopIteration) as error:
        raise FormatError(f"{path}: no picture that can be read ({error!r})") from error


def view(pixels: _Pixels, share: float, variant: int) -> _Pixels:
    """What the camera sees at a share of its way, (SIDE, SIDE, 3): it draws near and moves along a line."""
    random = np.random.default_rng(variant)
    angle, depth = 2 * np.pi * random.random(), 0.8 + 0.3 * random.random()
    grey = 255 - 25 * (variant % 4)
    height, width = pixels.shape[:2]
    zoom = max(height, width) / SIDE * (depth + 0.25 * (1 - share))
    way = (share - 0.5) * 0.2 * max(height, width)
    places = (np.arange(SIDE) + 0.5 - SIDE / 2) * zoom
    y, x = (
        places + middle / 2 + way * turn - 0.5
        for middle, turn in ((height, np.sin(angle)), (width, np.cos(angle)))
    )
    padded = np.full((height + 2, width + 2, 3), float(grey))
    cover = pixels[:, :, 3:].astype(np.float64) / 255
    padded[1:-1, 1:-1] = cover * pixels[:, :, :3] + (1 - cover) * grey
    y, x = np.clip(y + 1, 0, height + 1), np.clip(x + 1, 0, width + 1)
    top, left = np.minimum(y.astype(int), height), np.minimum(x.astype(int), width)
    down, right = (y - top)[:, None, None], (x - left)[None, :, None]
    rows = padded[top] * (1 - down) + padded[top + 1] * down
    seen = rows[:, left] * (1 - right) + rows[:, left + 1] * right
    return np.asarray(np.rint(seen), dtype=np.uint8)


def _write(path: Path, pixels: _Pixels, wave: NDArray[np.float32] | None, variant: int) -> None:
    """A film of a picture, with its sound if there is one."""
    seconds = SECONDS if wave is None else len(wave) / SAMPLE_RATE
    count = max(2, round(seconds * RATE))
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="matroska") as container:
        film = container.add_stream("mpeg4", rate=RATE)
        film.width, film.height, film.pix_fmt = SIDE, SIDE, "yuv420p"
        film.codec_context.qmin = film.codec_context.qmax = 3
        film.codec_context.thread_count = 1
        heard = None if wave is None else container.add_stream("flac", rate=SAMPLE_RATE, layout="mono")
        for number in range(count):
            seen = np.ascontiguousarray(view(pixels, number / (count - 1), variant))
            container.mux(film.encode(av.VideoFrame.from_ndarray(seen, format="rgb24")))
        container.mux(film.encode(None))
        if wave is not None and heard is not None:
            pcm = np.rint(np.clip(wave, -1, 1) * 32767).astype(np.int16)
            for first in range(0, len(pcm), 4096):
                frame = av.AudioFrame.from_ndarray(pcm[None, first : first + 4096], "s16", "mono")
                frame.sample_rate, frame.pts = SAMPLE_RATE, first
                container.mux(heard.encode(frame))
            container.mux(heard.encode(None))


def bank_rows(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Split and row of each clip of a sound bank."""
    for clip in read_manifest(folder):
        captions = list(dict.fromkeys((clip.label, *clip.captions)))
        row = {"media": os.path.abspath(clip.path), "audio_caption": captions, "source": "sound bank"}
        yield clip.split, row


def prepare(
    stamps: Path, out: Path, bank: Path | None = None, variants: int = 4, share: float = 0.2
) -> dict[str, int]:
    """Write films and tables.

    Args:
        stamps: folder of stamps.
        out: gets `clips/`, `train.jsonl` and `valid.jsonl`.
        bank: folder of a sound bank with its `manifest.csv`; None without one.
        variants: films of each thing.
        share: of things that are held out, from 0 to 1.

    Returns:
        Rows of each table.

    Raises:
        OptionError: a number makes no sense.
        FormatError: there are no stamps, or a picture cannot be read.
    """
    if variants < 1 or not 0 <= share <= 1:
        raise OptionError(f"got variants {variants}, held out {share}; expected 1 or more, and a share")
    clips = out / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    tables: dict[str, list[dict[str, Any]]] = {"train": [], "valid": []}
    for thing in things(stamps):
        try:
            rows = list(rows_of(thing, clips, variants))
        except AudioError as error:
            print(f"left out: {' '.join(str(error).split())}", file=sys.stderr)
            continue
        tables["valid" if held_out(thing.words, share) else "train"] += rows
    for split, row in [] if bank is None else bank_rows(bank):
        tables[split].append(row)
    for split, rows in tables.items():
        with atomic_path(out / f"{split}.jsonl") as path:
            path.write_text(
                "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
            )
    return {split: len(rows) for split, rows in tables.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, prepare, say what was made."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stamps", type=Path, help="folder of stamps")
    parser.add_argument("out", type=Path, help="folder for films and tables")
    parser.add_argument("--soundbank", type=Path, help="folder of labelled sounds with a manifest.csv")
    parser.add_argument("--variants", type=int, default=4, help="films of each thing; default: %(default)s")
    parser.add_argument("--held-out", type=float, default=0.2, help="share of things; default: %(default)s")
    args = parser.parse_args(arguments)
    counts = prepare(args.stamps, args.out, args.soundbank, args.variants, args.held_out)
    for split, count in counts.items():
        print(f"{args.out / split}.jsonl: {count} clips")


if __name__ == "__main__":
    try:
        main()
    except PeaframeError as error:
        print("peaframe: error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
