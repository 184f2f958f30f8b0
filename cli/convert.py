"""`peaframe convert`: files of events from any format into any other."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from peaframe import formats
from peaframe.cli.output import print_text
from peaframe.errors import FormatError, OptionError
from peaframe.events import Event
from peaframe.files import atomic_path, make_folder
from peaframe.formats import EventsByFile

HELP = "convert files of events into another format"
EXAMPLES = f"""\
examples:
  peaframe convert found.csv found.tsv
  peaframe convert found.json labels --to audacity            # a file for each recording: labels/street.txt
  peaframe convert labels truth.tsv --from audacity           # a folder of such files, joined
  peaframe convert found.tsv found.selections.txt --audio recordings
  peaframe convert night.csv night.parquet --overwrite

formats: {", ".join(formats.names())}

Without --from and --to a file's suffix says its format. OUT is a folder, of a file for each recording, where it is one
already, ends with a slash, or has no suffix and the format holds one recording only. IN may be a folder, too: its
files of one format are joined, also those in folders inside it.

What the new format cannot hold, such as scores, is left out, and a line on standard error says so. A label or name that
it cannot hold is refused. Nothing is written before everything was read and converted.
"""


_EACH = ("durations", "recorded")  # what files say of each recording, not of all alike


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `peaframe convert` takes."""
    parser.add_argument("input", type=Path, metavar="IN", help="a file of events, or a folder of such files")
    parser.add_argument("out", metavar="OUT", help="the file to write, or a folder")
    for name, what in (("from", "IN"), ("to", "OUT")):
        parser.add_argument(
            f"--{name}",
            dest=f"{name}_format",
            choices=formats.names(),
            metavar="FORMAT",
            help=f"the format of {what}; default: by its suffix",
        )
    parser.add_argument(
        "--audio",
        type=Path,
        metavar="DIR",
        help="where the recordings lie; their lengths are looked up, for the formats that hold or need them",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")


def run(args: argparse.Namespace) -> None:
    """Read all, convert all, write all; say what was written and what was left out."""
    source, files = _inputs(args.input, args.from_format)
    target, folder = _target(args.out, args.to_format)
    found, meta = _read(files, source)
    if args.audio is not None:
        meta["durations"] = _durations(args.audio, found)
    parts = _split(found, Path(args.out), target) if folder else {Path(args.out): found}
    _check_free(parts, files, args.overwrite)
    _check_lengths(parts, target, meta)
    left_out = _LeftOut()
    contents: dict[Path, bytes] = {}
    for path, own in parts.items():
        contents[path] = formats.to_bytes(own, target, _meta_of(own, meta))
        left_out.count(own, meta, contents[path], target, path)
    for path, content in contents.items():
        if folder:
            make_folder(path.parent, "give another OUT")
        with atomic_path(path) as temp:
            temp.write_bytes(content)
    events = sum(map(len, found.values()))
    where = f"{_many(len(parts), 'file')}, " if folder else ""
    print_text(
        f"{args.out}: {where}{_many(len(found), 'recording')}, {_many(events, 'event')} ({source} to {target})\n"
    )
    if left_out.counts:
        print(f"{target} leaves out {left_out}", file=sys.stderr)


def _inputs(path: Path, format: str | None) -> tuple[str, list[Path]]:
    """The format that is read, and the files in it."""
    if not path.is_dir():
        if not path.exists():
            raise FormatError(f"{path}: no such file or folder; check the name")
        return format or formats.for_path(path), [path]
    inside = [
        Path(here) / name
        for here, _, names in sorted(os.walk(path))
        for name in sorted(names)
        if not name.startswith(".")
    ]
    kinds = {file: kind for file in inside if (kind := _kind(file, format)) is not None}
    different = list(dict.fromkeys(kinds.values()))
    if len(different) > 1:
        raise OptionError(f"{path}: holds files of {', '.join(sorted(different))}; choose with --from")
    if not different:
        wanted = "known formats" if format is None else f"{format} ({formats.suffix(format)})"
        raise OptionError(f"{path}: holds no files of {wanted}; give another folder")
    return different[0], list(kinds)


def _kind(file: Path, wanted: str | None) -> str | None:
    """The format of a file by its suffix, None where it is none or not the one that is wanted."""
    try:
        kind = formats.for_path(file)
    except FormatError:
        kind = ""
    if wanted is None:
        return kind or None
    ending = formats.suffix(wanted)
    if kind != wanted and formats.for_path(f"x{ending}") != wanted:  # a format that is only told by its name
        return wanted if file.name.lower().endswith(ending.lower()) else None
    return wanted if kind == wanted else None


def _target(out: str, format: str | None) -> tuple[str, bool]:
    """The format that is written, and whether into a folder of files."""
    path = Path(out)
    folder = out.endswith(("/", os.sep)) or path.is_dir()
    if format is None:
        if folder:
            raise OptionError(f"{out}: is a folder; say with --to in which format its files are to be")
        return formats.for_path(path), False
    return format, folder or (formats.holds_one(format) and not path.suffix)


def _read(files: Sequence[Path], format: str) -> tuple[dict[str, list[Event]], dict[str, Any]]:
    """Events by recording and how they were made, which counts where all files say the same."""
    found: dict[str, list[Event]] = {}
    owner: dict[str, Path] = {}
    said: list[dict[str, Any]] = []
    each: dict[str, dict[str, Any]] = {key: {} for key in _EACH}
    for path in files:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise FormatError(
                f"{path}: cannot be read ({error.strerror or error}); check the name"
            ) from error
        for name, events in formats.from_bytes(content, format, source=str(path)).items():
            if name in found:
                raise OptionError(
                    f"{path}: has the recording {name!r}, as {owner[name]} has; rename it in one of them"
                )
            found[name], owner[name] = events, path
        meta = dict(formats.meta_of(content, format, source=str(path)))
        for key, known in each.items():
            own = meta.pop(key, None)
            known |= own if isinstance(own, Mapping) else {}
        said.append(meta)
    meta = said[0] if all(other == said[0] for other in said) else {}
    return found, meta | {key: known for key, known in each.items() if known}


def _durations(folder: Path, names: Mapping[str, object]) -> dict[str, float]:
    """The lengths of all recordings, which lie in the folder under their names, or with any suffix."""
    from peaframe import audio
    from peaframe.eval.benchmarks.audio_files import audio_below

    if not folder.is_dir():
        raise OptionError(f"--audio {folder}: no such folder; give the one that holds the recordings")
    stems: dict[str, list[Path]] = {}
    for path in audio_below(folder):
        for key in {path.name, path.stem}:
            stems.setdefault(key, []).append(path)
    lengths: dict[str, float] = {}
    for name in names:
        there = folder / name
        paths = [there] if there.is_file() else stems.get(PurePath(name).name, [])
        if len(paths) != 1:
            problem = (
                f"no recording {name!r}" if not paths else f"{len(paths)} recordings that may be {name!r}"
            )
            raise OptionError(f"--audio {folder}: holds {problem}; give the folder that has one")
        lengths[name] = audio.probe(paths[0]).duration
    return lengths


def _split(found: EventsByFile, folder: Path, format: str) -> dict[Path, EventsByFile]:
    """A file for each recording, named as it is; those that would take one name keep their own suffix in it."""
    ending = formats.suffix(format)
    places = {name: _place(name) for name in found}
    stems = Counter(place.with_suffix("") for place in places.values())
    parts: dict[Path, EventsByFile] = {}
    for name, place in places.items():
        stem = place if stems[place.with_suffix("")] > 1 else place.with_suffix("")
        path = folder / stem.with_name(stem.name + ending)
        if path in parts:
            raise OptionError(
                f"{path}: would hold {next(iter(parts[path]))!r} and {name!r}; rename one of them"
            )
        parts[path] = {name: found[name]}
    return parts


def _place(name: str) -> PurePath:
    """Where a recording's file goes: inside the folder, whatever its name says."""
    path = PurePath(name)
    inside = path.name if path.is_absolute() or ".." in path.parts else name
    if PurePath(inside).name in ("", "..") or "\0" in inside:
        raise OptionError(
            f"the recording {name!r} cannot be the name of a file; rename it, or give a file OUT"
        )
    return PurePath(inside)


def _check_free(parts: Mapping[Path, object], files: Sequence[Path], overwrite: bool) -> None:
    read = {file.resolve() for file in files}
    for path in parts:
        if path.resolve() in read:
            raise OptionError(f"{path}: is read and cannot be written, too; give another OUT")
        if path.exists() and not overwrite:
            raise OptionError(f"{path}: is there already; give another OUT, or --overwrite")


def _check_lengths(parts: Mapping[Path, EventsByFile], format: str, meta: Mapping[str, Any]) -> None:
    """Say how to get the lengths that Raven's tables of several recordings need."""
    for path, own in parts.items():
        missing = [name for name in own if name not in meta.get("durations", {})]
        if format == "raven" and len(own) > 1 and missing:
            raise OptionError(
                f"{path}: raven counts times over all recordings, and the length of {missing[0]!r} is not known "
                f"({len(missing)} of {len(own)} missing); give --audio DIR, or a folder OUT/ and --to raven"
            )
        if len(own) > 1 and formats.holds_one(format):
            raise OptionError(
                f"{path}: {format} holds one recording, got {len(own)}; give a folder OUT/ and --to {format}"
            )


def _meta_of(own: EventsByFile, meta: Mapping[str, Any]) -> dict[str, Any]:
    """`meta` with the lengths and times of these recordings only."""
    each = {key: {name: meta[key][name] for name in own if name in meta[key]} for key in _EACH if key in meta}
    return {**meta, **each}


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


@dataclass
class _LeftOut:
    """What the new files do not hold, found out by reading them again."""

    counts: Counter[str] = field(default_factory=Counter)

    def count(
        self, own: EventsByFile, meta: Mapping[str, Any], content: bytes, format: str, path: Path
    ) -> None:
        """Compare one new file with what it was to hold."""
        back = formats.from_bytes(content, format, source=str(path))
        before, after = ([e for events in some.values() for e in events] for some in (own, back))
        silent = max(0, len(own) - len(back))
        counts = {
            "event": max(0, len(before) - len(after)),
            "score": sum(e.score is not None for e in before) - sum(e.score is not None for e in after),
            "recording": silent,
            "name": len(set(own) - set(back)) - silent,
            "label": len({e.label for e in before} - {e.label for e in after}),
        }
        if meta.keys() - set(_EACH) and not formats.meta_of(content, format, source=str(path)):
            counts["settings"] = 1
        self.counts.update({what: number for what, number in counts.items() if number > 0})

    def __str__(self) -> str:
        words = {
            "event": "{} joined with others",
            "recording": "{} without events",
            "name": "{} of recordings",
            "label": "{} as it was written",
            "settings": "how the events were made",
        }
        return ", ".join(
            words.get(what, "{}").format(_many(number, what)) for what, number in self.counts.items()
        )
