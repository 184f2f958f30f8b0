"""What the recipes that prepare a corpus share: placing files, and saying what is there and what is not."""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from peaframe.errors import OptionError
from peaframe.eval.benchmarks import find
from peaframe.files import atomic_path, make_folder
from peaframe.recipes import program

SHOWN = 10


def source_and_out(description: str | None, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read SOURCE and OUT from the command line; SOURCE must be a folder.

    Raises:
        OptionError: SOURCE is no folder.
    """
    parser = program.parser(description)
    parser.add_argument("source", type=Path, help="the corpus as its authors give it, archives unpacked")
    parser.add_argument("out", type=Path, help="folder to make; the same one again goes on where it stopped")
    args = parser.parse_args(arguments)
    if not args.source.is_dir():
        raise OptionError(f"got the source {args.source}, expected a folder with the unpacked corpus")
    return args


def folder_at(path: Path) -> Path:
    """A folder, made if need be.

    Raises:
        FormatError: It cannot be made.
    """
    make_folder(path)
    return path


def place(source: Path, target: Path, *, link: bool = True) -> bool:
    """Put a file where it belongs: as a hard link, or as a copy where that cannot be; nothing is ever moved.

    Args:
        source: The file as it is.
        target: Where it goes; folders on the way are made.
        link: False always copies, so that one can be edited without the other.

    Returns:
        False if the target was there already: a link of the source's length, or a copy with its content.

    Raises:
        FormatError: The target cannot be written.
    """
    alike = target.is_file() and target.stat().st_size == source.stat().st_size
    if alike and (link or filecmp.cmp(source, target, shallow=False)):
        return False
    folder_at(target.parent)
    if link and not target.exists():
        with suppress(OSError):
            os.link(source.resolve(), target)
            return True
    with atomic_path(target) as temp:
        shutil.copyfile(source, temp)
    return True


def place_all(pairs: Iterable[tuple[Path, Path]], *, link: bool = True) -> None:
    """Place (source, target) pairs and print how many were new."""
    done = [place(source, target, link=link) for source, target in pairs]
    print(f"{sum(done)} files placed, {len(done) - sum(done)} were there already")


def tell(name: str, out: Path) -> None:
    """Load what was made as the benchmark does, and print what it has and lacks.

    Raises:
        FormatError: The benchmark cannot read it.
    """
    benchmark = find(name)
    found = benchmark.load(out)
    events = [event for own in found.truth.values() for event in own]
    whole = "" if benchmark.recordings is None else f" of {benchmark.recordings}"
    print(
        f"{name} in {out}: {len(found.audio)}{whole} recordings, {sum(found.durations.values()) / 3600:.2f} h, "
        f"{len(events)} events of {len({event.label for event in events})} labels"
    )
    for note in found.notes:
        print(f"  {note}")
    if found.missing:
        rest = f", and {len(found.missing) - SHOWN} more" if len(found.missing) > SHOWN else ""
        print(f"  missing: {len(found.missing)} ({', '.join(found.missing[:SHOWN])}{rest})")
