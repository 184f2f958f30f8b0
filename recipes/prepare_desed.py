"""Bring DESED's validation and public evaluation clips together for `desed-validation` and `desed-public`.

    python -m peaframe.recipes.prepare_desed SOURCE OUT

SOURCE is what DESED's download or DCASE's baseline made (a `dataset/` with `audio/` and `metadata/`, or that folder
itself); either part may be missing. The published form is the benchmarks' own, so this checks it and makes hard links
of the clips that the tables name, under one name for each folder and table. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence

from peaframe.errors import FormatError
from peaframe.eval.benchmarks import find
from peaframe.eval.benchmarks.audio_files import first_there
from peaframe.eval.benchmarks.desed import PARTS, table_of
from peaframe.recipes import program
from peaframe.recipes.prepare_files import place, place_all, source_and_out, tell


def main(arguments: Sequence[str] | None = None) -> None:
    """Find the parts, place their files, print what is there."""
    args = source_and_out(__doc__, arguments)
    found = 0
    for part, (stem, audio, _) in PARTS.items():
        table = table_of(args.source, part)
        if table is None:
            print(f"desed-{part}: no {stem}.tsv in {args.source}, left out")
            continue
        found += 1
        clips = find(f"desed-{part}").load(args.source).audio
        place(table, args.out / f"{stem}.tsv", link=False)
        durations = first_there(table.parent, f"{table.stem}_durations.tsv")
        if durations is not None:
            place(durations, args.out / f"{stem}_durations.tsv", link=False)
        place_all((path, args.out / audio[-1] / path.name) for path in clips.values())
        tell(f"desed-{part}", args.out)
    if not found:
        raise FormatError(f"{args.source}: holds no part of DESED; expected metadata/ and audio/ in it")


if __name__ == "__main__":
    program.run(main)
