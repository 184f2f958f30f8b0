"""Bring MAESTRO Real's development set into the flat form of `maestro`.

    python -m peaframe.recipes.prepare_maestro SOURCE OUT

SOURCE holds `development_audio/<place>/*.wav` and `development_annotation/soft_labels_<place>/*.txt` as unpacked from
zenodo.org/record/7244360, or one of the other forms that peaframe.eval.benchmarks.maestro names. OUT gets
`audio/<recording>.wav` as hard links, `soft_labels/<recording>.txt` and the table of durations, if there is one. The
recordings stay whole: the benchmark scores them to their ends. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence

from peaframe.eval.benchmarks import find
from peaframe.eval.benchmarks.maestro import durations_of, find_tables, soft_label_files
from peaframe.recipes import program
from peaframe.recipes.prepare_files import place_all, source_and_out, tell


def main(arguments: Sequence[str] | None = None) -> None:
    """Check, place, print what is there."""
    args = source_and_out(__doc__, arguments)
    recordings = find("maestro").load(args.source).audio
    texts = [(path, args.out / "soft_labels" / path.name) for path in soft_label_files(args.source)]
    tables = [] if texts else [(path, args.out / path.name) for path in find_tables(args.source)]
    durations = durations_of(args.source)
    if durations is not None:
        tables.append((durations, args.out / durations.name))
    place_all((*texts, *tables), link=False)
    place_all((path, args.out / "audio" / path.name) for path in recordings.values())
    tell("maestro", args.out)


if __name__ == "__main__":
    program.run(main)
