"""`peaframe shards`: clips with sound, pictures and captions as the shards that PE-AV is pre-trained on."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import closing, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from peaframe.cli.output import print_text
from peaframe.errors import OptionError
from peaframe.workers.chosen import ENGINES, check, engine_of

if TYPE_CHECKING:
    from peaframe.data.clips_table import ClipRow

_MB = 1_000_000
HELP = "write a table of clips as shards to pre-train PE-AV on"
EXAMPLES = """\
examples:
  peaframe shards clips.csv shards --model pe-av-small --jobs 8
  peaframe shards clips.parquet shards --model my_pe_av --frames 16 --source vggsound
  peaframe shards clips.csv shards/3 --model pe-av-small --part 3/16
  peaframe shards sounds.jsonl shards --content audio --video none
  peaframe shards clips.parquet shards --model pe-av-small --engine ray --ray-address auto

TABLE (.csv, .tsv, .jsonl or .parquet) has a clip a row: media (a path from the table's folder, or an address), start
and end in seconds, audio_caption, visual_caption, audio_visual_caption (a text or a JSON list of texts), transcript,
source; any other column is kept. Only media is needed. A picture is a video that stands still.

OUT gets WebDataset tar files and shards.json; clips that cannot be read are in failed.csv, clips whose content an
earlier one has in duplicates.csv. Stopped, the same command goes on where it was. The same table and model give the
same files, byte for byte, with any --jobs and --engine. Without Ray, machines share a table by --part, each into a
folder of its own; duplicates are then found within a part.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `peaframe shards` takes."""
    parser.add_argument("table", type=Path, metavar="TABLE", help="the clips")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make; new, or begun by this command")
    parser.add_argument(
        "--content", choices=("latents", "audio"), default="latents", help="of sound; default: %(default)s"
    )
    parser.add_argument("--model", metavar="NAME|FOLDER", help="a PE-AV, which makes latents and features")
    parser.add_argument(
        "--video", choices=("features", "none"), default="features", help="of pictures; default: %(default)s"
    )
    parser.add_argument(
        "--frames",
        type=_frames,
        metavar="N|all",
        help="features of this many pictures, evenly spread; default: as many as the model takes",
    )
    parser.add_argument("--source", metavar="NAME", help="only clips of this source")
    parser.add_argument(
        "--part", type=_part, default=(1, 1), metavar="K/N", help="only every Nth clip, from the Kth on"
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="workers; default: 1, or all that a Ray cluster has room for"
    )
    parser.add_argument("--engine", choices=ENGINES, default="local", help="this machine, or a Ray cluster")
    parser.add_argument(
        "--ray-address", metavar="ADDRESS", help="of a cluster; default: a Ray of this machine's own"
    )
    parser.add_argument("--device", default="cpu", help="where the model runs; default: %(default)s")
    parser.add_argument(
        "--shard-mb",
        type=float,
        default=500,
        metavar="N",
        help="size of a shard, million bytes; default: %(default)g",
    )


def _frames(text: str) -> int | str:
    if text == "all" or (text.isdecimal() and int(text) >= 1):
        return text if text == "all" else int(text)
    raise argparse.ArgumentTypeError(f"got {text!r}, expected 1 or more, or all")


def _part(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected K/N such as 3/16")
    return int(match[1]), int(match[2])


def run(args: argparse.Namespace) -> None:
    """Check the whole table, write, say what was made."""
    check(args.engine, args.jobs, args.ray_address)
    if not 0 < args.shard_mb < 1e9:
        raise OptionError(f"got --shard-mb {args.shard_mb:g}; expected more than 0, less than 1e9")
    from tqdm import tqdm

    from peaframe.data.clip_shards import ClipContent, write_clip_shards
    from peaframe.data.shard_folder import DOUBLES, FAILED

    wanted = ClipContent(args.content, args.model, args.video == "features", args.frames, args.device)
    count = sum(1 for _ in _rows(args))
    if not count:
        raise OptionError(f"{args.table}: no clip is of --source {args.source} and --part; give others")
    engine = None
    if args.engine == "ray":
        from peaframe.data.clip_processes import ClipMachine

        engine = engine_of(ClipMachine(wanted), args.engine, args.jobs, args.ray_address)
    with (
        closing(engine) if engine else nullcontext(),
        tqdm(total=count, desc="shards", unit="clip", disable=None) as bar,
    ):

        def counted() -> Iterator[ClipRow]:
            for row in _rows(args):
                yield row
                bar.update()

        size = max(1, round(args.shard_mb * _MB))
        jobs = args.jobs or 1
        index = write_clip_shards(counted(), args.out, wanted, shard_bytes=size, jobs=jobs, engine=engine)
    said = f"{args.out}: {index.samples} of {count} clips ({args.content}"
    said += ", features of pictures" if wanted.video else ""
    said += f") in {len(index.shards)} shards, {index.bytes / _MB:.1f} MB\n"
    if index.failed:
        said += f"  {index.failed} cannot be read, see {args.out / FAILED}\n"
    if index.duplicates:
        said += f"  {index.duplicates} have the content of an earlier one, see {args.out / DOUBLES}\n"
    print_text(said)


def _rows(args: argparse.Namespace) -> Iterator[ClipRow]:
    from peaframe.data.clips_table import stream

    rows = (row for row in stream(args.table) if args.source is None or row.source == args.source)
    return islice(rows, args.part[0] - 1, None, args.part[1])
