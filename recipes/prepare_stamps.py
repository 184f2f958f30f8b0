"""Make short films of things with sound and words, and their tables for `peaframe shards`, of Tux Paint's stamps.

    python -m peaframe.recipes.prepare_stamps STAMPS OUT [--soundbank DIR] [--variants 6] [--parts 5]
    for name in things_0 things_1 things_2 things_3 things_4 sounds_train sounds_valid; do
      peaframe shards OUT/$name.jsonl shards/$name --model runs/first
    done

STAMPS is `usr/share/tuxpaint/stamps` of Debian's package tuxpaint-stamps-default. A thing is a picture (NAME.png) and
its name in English (the first line of NAME.txt); some have a sound (NAME.ogg), and some are spoken (NAME_desc.ogg),
which becomes a clip without pictures whose transcript is the name. Pictures that are drawn (NAME.svg) are left out.
The folders that a thing lies in tell its family: `a koala, marsupials, animals`.

A name decides which `things_K.jsonl` a thing is in, with all that bears this name, so whoever learns from all parts but
one has seen and heard nothing of what is named there; its family may be known. A camera moves over each picture, in
every variant another way, and the sound begins elsewhere. All films are of one length, and the ways of the camera and
the beginnings of the sound are drawn apart, so nothing but the thing itself joins sound and pictures.

Clips of the sound bank, which have no pictures, are in `sounds_train.jsonl` and `sounds_valid.jsonl`, as its manifest
says.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from peaframe import audio
from peaframe.clock import SAMPLE_RATE, samples_of_seconds
from peaframe.data.soundbank import read_manifest
from peaframe.errors import AudioError, FormatError, OptionError
from peaframe.files import atomic_path
from peaframe.recipes import program

RATE = 8  # pictures a second
SIDE = 96  # pixels
SECONDS = 3.0  # of a film
_KIND = ("cartoon", "toys")  # folders that tell how a thing is drawn
_Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Thing:
    """A stamp.

    Attributes:
        name: of its files, from the folder of stamps.
        words: what it is called, as in `a koala`.
        family: of what kind it is, from near to far, as in `marsupials, animals`.
        picture: a PNG.
        sound: an OGG, or None.
        spoken: an OGG of its name, or None.
    """

    name: str
    words: str
    family: str
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
                    _family(picture.relative_to(folder)),
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


def _family(path: Path) -> str:
    named = (re.sub(r"[\W\d_]+", " ", name).strip() for name in reversed(path.parts[:-1]))
    return ", ".join(name for name in named if name and name not in _KIND)


def part_of(words: str, parts: int) -> int:
    """Which of several parts the things of a name are in, from 0; the same always."""
    return _draw(words.casefold()) * parts >> 64


def _draw(text: str) -> int:
    """A number below 2**64 that only a text decides."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def rows_of(thing: Thing, clips: Path, variants: int) -> Iterator[dict[str, Any]]:
    """Write the films of a thing into a folder, and give their rows of a table that stands beside that folder."""
    pixels = _read(thing.picture)
    wave = None if thing.sound is None else audio.read(thing.sound)
    said = ", ".join(filter(None, (thing.words, thing.family)))
    for variant in range(variants):
        path = clips / f"{thing.name.replace('/', '_')}_{variant}.mkv"
        own = None if wave is None else _turn(wave, _draw(f"{path.stem} sound"))
        _write(path, pixels, own, _draw(path.stem))
        row: dict[str, Any] = {"media": f"{clips.name}/{path.name}", "source": "stamps", "thing": thing.words}
        row["visual_caption"] = [said, f"a picture of {said}"]
        if own is not None:
            row["audio_caption"] = [said, f"the sound of {said}"]
            row["audio_visual_caption"] = [said, f"{said}, seen and heard"]
        yield row
    if thing.spoken is not None:
        row = {"media": os.path.abspath(thing.spoken), "source": "stamps spoken"}
        yield row | {"thing": thing.words, "transcript": thing.words}


def _turn(wave: NDArray[np.float32], draw: int) -> NDArray[np.float32]:
    """As much of a sound as a film lasts: a part of a long one; a short one somewhere in silence."""
    length = samples_of_seconds(SECONDS)
    begin = draw % (abs(len(wave) - length) + 1)
    if len(wave) >= length:
        return wave[begin : begin + length]
    return np.pad(wave, (begin, length - len(wave) - begin))


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


def view(pixels: _Pixels, share: float, draw: int) -> _Pixels:
    """What the camera sees at a share of its way, (SIDE, SIDE, 3): it draws near and moves along a line."""
    random = np.random.default_rng(draw)
    angle, depth = 2 * np.pi * random.random(), 0.8 + 0.3 * random.random()
    grey = 255 - 25 * int(random.integers(4))
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


def _write(path: Path, pixels: _Pixels, wave: NDArray[np.float32] | None, draw: int) -> None:
    """A film of a picture, with its sound if there is one."""
    count = round(SECONDS * RATE)
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="matroska") as container:
        film = container.add_stream("mpeg4", rate=RATE)
        film.width, film.height, film.pix_fmt = SIDE, SIDE, "yuv420p"
        film.codec_context.qmin = film.codec_context.qmax = 3
        film.codec_context.thread_count = 1
        heard = None if wave is None else container.add_stream("flac", rate=SAMPLE_RATE, layout="mono")
        for number in range(count):
            seen = np.ascontiguousarray(view(pixels, number / (count - 1), draw))
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
    stamps: Path, out: Path, bank: Path | None = None, variants: int = 6, parts: int = 5
) -> dict[str, int]:
    """Write films and tables.

    Args:
        stamps: folder of stamps.
        out: gets `clips/`, `things_K.jsonl`, and with a sound bank `sounds_train.jsonl` and `sounds_valid.jsonl`.
        bank: folder of a sound bank with its `manifest.csv`; None without one.
        variants: films of each thing.
        parts: that the things are shared out to.

    Returns:
        Rows of each table; one without any is not written.

    Raises:
        OptionError: a number makes no sense.
        FormatError: there are no stamps, or a picture cannot be read.
    """
    if variants < 1 or parts < 1:
        raise OptionError(f"got variants {variants}, parts {parts}; expected 1 or more")
    clips = out / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    tables: dict[str, list[dict[str, Any]]] = {f"things_{part}": [] for part in range(parts)}
    for thing in tqdm(things(stamps), disable=not sys.stderr.isatty(), unit="thing"):
        try:
            rows = list(rows_of(thing, clips, variants))
        except AudioError as error:
            print(f"left out: {' '.join(str(error).split())}", file=sys.stderr)
            continue
        tables[f"things_{part_of(thing.words, parts)}"] += rows
    for split, row in [] if bank is None else bank_rows(bank):
        tables.setdefault(f"sounds_{split}", []).append(row)
    tables = {name: rows for name, rows in tables.items() if rows}
    for name, rows in tables.items():
        with atomic_path(out / f"{name}.jsonl") as path:
            path.write_text(
                "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
            )
    return {name: len(rows) for name, rows in tables.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, prepare, say what was made."""
    parser = program.parser(__doc__)
    parser.add_argument("stamps", type=Path, help="folder of stamps")
    parser.add_argument("out", type=Path, help="folder for films and tables")
    parser.add_argument("--soundbank", type=Path, help="folder of labelled sounds with a manifest.csv")
    parser.add_argument("--variants", type=int, default=6, help="films of each thing; default: %(default)s")
    parser.add_argument(
        "--parts", type=int, default=5, help="that things are shared out to; default: %(default)s"
    )
    args = parser.parse_args(arguments)
    counts = prepare(args.stamps, args.out, args.soundbank, args.variants, args.parts)
    for name, count in counts.items():
        print(f"{args.out / name}.jsonl: {count} clips")


if __name__ == "__main__":
    program.run(main)
