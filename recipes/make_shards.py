"""Write what manifests name as tar files that WebDataset reads, too (`peaframe.data.shards`).

    python -m peaframe.recipes.make_shards MANIFEST... --out DIR [--split train] [--shard-mb 500] [--jobs N]
    python -m peaframe.recipes.make_shards MANIFEST... --out DIR --content latents --cache DIR

Sound becomes 48 kHz mono FLAC of 16 bit, one file for each item; latents are taken from a cache that has been filled.
Run again after it was stopped, it goes on behind the last whole shard. What cannot be read is left out, and told
in `failed.csv`. `peaframe.data.shards.ShardReader` reads what was written.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from peaframe.data import manifest
from peaframe.data.latents import LatentCache
from peaframe.data.manifest_item import Item
from peaframe.data.shards import FAILED, SUFFIXES, write_shards
from peaframe.errors import OptionError
from peaframe.recipes import program

_MB = 1_000_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Check the manifests, write, print what is there.

    Raises:
        PeaframeError: a manifest is malformed, an option makes no sense, or a file cannot be written.
    """
    args = _arguments(arguments)
    if (args.cache is not None) != (args.content == "latents"):
        raise OptionError(
            f"got --content {args.content} and --cache {args.cache}; --content latents needs --cache"
        )
    if args.cache is not None and not args.cache.is_dir():
        raise OptionError(f"got --cache {args.cache}, expected a folder of latents; fill it first")
    loaded = [manifest.load(path) for path in args.manifests]
    count = sum(1 for _ in _items(loaded, args.split))
    if not count:
        raise OptionError(f"no item is of --split {args.split}; expected a split that the manifests name")
    base = os.path.commonpath([own.path.parent for own in loaded])
    with tqdm(total=count, desc="shards", unit="item", disable=None) as bar:

        def counted() -> Iterator[Item]:
            for item in _items(loaded, args.split):
                yield item
                bar.update()

        index = write_shards(
            counted(),
            args.out,
            content=args.content,
            cache=None if args.cache is None else LatentCache(args.cache),
            shard_bytes=round(args.shard_mb * _MB),
            prefix=args.prefix,
            base=base,
            jobs=args.jobs,
        )
    print(
        f"{args.out}: {index.samples} of {count} items ({args.content}) in {len(index.shards)} shards, "
        f"{index.bytes / _MB:.1f} MB"
    )
    if index.failed:
        print(f"  {index.failed} left out, see {args.out / FAILED}")


def _items(loaded: Sequence[manifest.Manifest], split: str | None) -> Iterator[Item]:
    return (item for item in chain.from_iterable(loaded) if split is None or item.split == split)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = program.parser(__doc__)
    parser.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST", help="JSON lines")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to write, or to go on with"
    )
    parser.add_argument("--content", choices=SUFFIXES, default="audio", help="what to write (default: audio)")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where the latents are")
    parser.add_argument("--split", metavar="NAME", help="only items that are for this (default: all)")
    parser.add_argument(
        "--shard-mb",
        type=float,
        default=500,
        metavar="N",
        help="size of a shard, million bytes (default: 500)",
    )
    parser.add_argument("--prefix", default="shard", help="what names of shards begin with (default: shard)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="threads that decode (default: 1)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    program.run(main)
