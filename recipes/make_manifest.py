"""Make a manifest of what there is to learn from: JSON lines that training reads (`peaframe.data.manifest`).

    python -m peaframe.recipes.make_manifest SOURCE --kind KIND --out manifest.jsonl [--part PART] [--split NAME]

| kind | SOURCE | parts, the first by default |
|---|---|---|
| desed | DESED as downloaded (`dataset/`) | train, synthetic, synthetic-validation, validation, public |
| desed-weak | the same | train |
| audioset-strong | Google's tables, and clips | train, eval |
| urbansed | `URBAN-SED_v2.0.0` as unpacked | train, validate, test |
| maestro | MAESTRO Real, development | |
| dcase | a folder with one table `filename onset offset event_label` | |
| jams, audacity, raven | a folder of such files beside their audio, or one of them | |
| folders | a folder for each label, with clips in it | |

Nothing is copied or downloaded. What was left out or mended is printed, then what the manifest has in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from peaframe.data import manifest
from peaframe.errors import OptionError
from peaframe.recipes import program
from peaframe.recipes.manifest_sources import SOURCES, Wanted
from peaframe.recipes.prepare_files import SHOWN


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, write, check what was written, print what it has.

    Raises:
        PeaframeError: SOURCE is not there, or is not what KIND says.
    """
    args = _arguments(arguments)
    if not args.source.exists() or (args.source.is_file() and args.kind not in ("jams", "audacity", "raven")):
        raise OptionError(f"got the source {args.source}, expected a folder for --kind {args.kind}")
    if not args.split.strip():
        raise OptionError(f"got the split {args.split!r}, expected a name such as train or valid")
    wanted = Wanted(args.part, args.split, args.exhaustive, args.whole, args.licence)
    found = SOURCES[args.kind](args.source, wanted)
    manifest.save(args.out, found.items)
    for note in found.notes:
        print(f"  {note}")
    if found.missing:
        rest = f", and {len(found.missing) - SHOWN} more" if len(found.missing) > SHOWN else ""
        print(f"  missing: {len(found.missing)} ({', '.join(found.missing[:SHOWN])}{rest})")
    print(f"{args.out}: {manifest.summary(manifest.load(args.out))}")


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = program.parser(__doc__)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="where the data are")
    parser.add_argument("--kind", choices=SOURCES, required=True, help="what they are")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl", help="the manifest to write")
    parser.add_argument("--part", help="which part of a corpus (see above)")
    parser.add_argument(
        "--split", default="train", metavar="NAME", help="what the items are for (default: train)"
    )
    parser.add_argument(
        "--exhaustive", action="store_true", help="every label that an item does not name is absent from it"
    )
    parser.add_argument(
        "--whole",
        action="store_true",
        help="folders: a clip is its sound from start to end, not somewhere in it",
    )
    parser.add_argument("--licence", help="what the items say of it (default: what the corpus says)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    program.run(main)
