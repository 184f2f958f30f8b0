"""Bring UrbanSED's test set into the form of `urbansed`.

    python -m peaframe.recipes.prepare_urbansed SOURCE OUT

SOURCE is `URBAN-SED_v2.0.0` as unpacked, or the folder that holds it. The published form is the benchmark's own, so
this checks it and makes hard links of the test soundscapes and copies of their annotations. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence

from peaframe.eval.benchmarks import find
from peaframe.eval.benchmarks.urbansed import annotation_files, root_of
from peaframe.recipes import program
from peaframe.recipes.prepare_files import place_all, source_and_out, tell


def main(arguments: Sequence[str] | None = None) -> None:
    """Check, place, print what is there."""
    args = source_and_out(__doc__, arguments)
    soundscapes = find("urbansed").load(args.source).audio
    annotations = annotation_files(root_of(args.source))
    target = args.out / "annotations/test"
    place_all(((path, target / path.name) for path in annotations.values()), link=False)
    place_all((path, args.out / "audio/test" / path.name) for path in soundscapes.values())
    tell("urbansed", args.out)


if __name__ == "__main__":
    program.run(main)
