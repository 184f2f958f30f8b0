"""What `make_manifest` reads: corpora, annotation files beside their audio, folders of clips; one function for each.

Items of a corpus with few labels name those that are not heard as `negatives`, since its annotators listened for them
all; nothing is said of other labels. The length of an item is what its file says, never what a table says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PureWindowsPath

from peaframe import audio, formats
from peaframe.data.manifest import Item
from peaframe.errors import AudioError, FormatError, OptionError
from peaframe.eval.benchmarks import Recordings, audioset, find, maestro, prompts
from peaframe.eval.benchmarks.annotations import Annotations, read_events
from peaframe.eval.benchmarks.audio_files import AudioFiles, audio_below, first_there, recording_id
from peaframe.eval.benchmarks.desed import ROOTS
from peaframe.eval.benchmarks.mending import Tally
from peaframe.eval.benchmarks.rows import read_rows
from peaframe.events import Event
from peaframe.formats import jams

__all__ = ["SOURCES", "Found", "Wanted"]

_DESED = {
    "train": ("metadata/train/audioset_strong", "audio/train/strong_label_real"),
    "synthetic": (
        "metadata/train/synthetic21_train/soundscapes",
        "audio/train/synthetic21_train/soundscapes",
    ),
    "synthetic-validation": (
        "metadata/validation/synthetic21_validation/soundscapes",
        "audio/validation/synthetic21_validation/soundscapes",
    ),
}
_WEAK = {"train": ("metadata/train/weak", "audio/train/weak")}


@dataclass(frozen=True)
class Wanted:
    """What every source is asked for.

    Attributes:
        part: Which part of a corpus; None means its first one.
        split: What the items are for.
        exhaustive: Whether every label that is not named is absent.
        whole: Whether a clip of a folder is its sound from start to end, instead of having it somewhere.
        licence: What the items say; None means what the corpus says.
    """

    part: str | None = None
    split: str = "train"
    exhaustive: bool = False
    whole: bool = False
    licence: str | None = None


@dataclass(frozen=True)
class Found:
    """Items, what was handled on the way, and recordings that are named and not there."""

    items: list[Item]
    notes: tuple[str, ...]
    missing: tuple[str, ...] = ()


def desed(source: Path, wanted: Wanted) -> Found:
    """DESED's strong labels: real clips, synthetic soundscapes, and the two parts that are for testing."""
    part = _part(wanted, [*_DESED, "validation", "public"])
    if part in _DESED:
        table, files, folder = _desed_files(source, _DESED[part])
        annotations = Annotations(prompts.DESED)
        read_events(table, annotations)
        found = annotations.recordings_of(files, folder)
    else:
        found = find(f"desed-{part}").load(source)
    return _found(found, "desed", wanted, find("desed-public").licence, prompts.DESED)


def desed_weak(source: Path, wanted: Wanted) -> Found:
    """DESED's weak labels: a table `filename event_labels`, labels with commas between them."""
    table, files, folder = _desed_files(source, _WEAK[_part(wanted, list(_WEAK))])
    annotations, weak = Annotations(prompts.DESED), dict[str, list[str]]()
    for where, row in read_rows(table, ("filename", "event_labels")):
        name = recording_id(row["filename"])
        labels = [label.strip() for label in row["event_labels"].split(",")]
        if not row["filename"] or name in weak:
            raise FormatError(f"{where}: got the file {row['filename']!r}, expected each once")
        for label in labels:
            annotations.check("0", "0", label, where)
        annotations.name(name)
        weak[name] = labels
    found = annotations.recordings_of(files, folder)
    return _found(found, "desed-weak", wanted, find("desed-public").licence, prompts.DESED, weak)


def audioset_strong(source: Path, wanted: Wanted) -> Found:
    """AudioSet-Strong's training or evaluation clips, with all labels that have a display name."""
    table = f"audioset_{_part(wanted, ['train', 'eval'])}_strong.tsv"
    path, known = audioset.find_table(source, table), audioset.find_table(source, "mid_to_display_name.tsv")
    if path is None or known is None:
        lacking = table if path is None else "mid_to_display_name.tsv"
        raise FormatError(f"{source}: got no {lacking} in it; get it from AudioSet's page on strong labels")
    annotations, segments = Annotations(), audioset.Segments()
    for where, row in read_rows(path, audioset.COLUMNS):
        segment, onset, offset, label = (row[column] for column in audioset.COLUMNS)
        segments.add(segment, where)
        annotations.add(segment, onset, offset, label, where)
    names = audioset.display_names(known)
    left_out, labels = annotations.relabel(names)
    notes = [f"events left out whose label has no display name: {left_out}, of {labels} labels"]
    folder = first_there(source, "audio") or source
    files = AudioFiles([folder], deep=True, identify=lambda path: segments.named(recording_id(path.name)))
    found = annotations.recordings_of(
        files, folder, clip=audioset.CLIP_SECONDS, longest=audioset.LONGEST, notes=notes if left_out else ()
    )
    return _found(found, "audioset-strong", wanted, find("audioset-strong").licence)


def urbansed(source: Path, wanted: Wanted) -> Found:
    """UrbanSED's soundscapes, from their txt or JAMS files."""
    part = _part(wanted, ["train", "validate", "test"])
    folder = first_there(source, f"annotations/{part}", f"URBAN-SED_v2.0.0/annotations/{part}")
    if folder is None:
        raise FormatError(f"{source}: got no annotations/{part} in it; expected URBAN-SED_v2.0.0 as unpacked")
    annotations = Annotations(prompts.URBANSED)
    paths = {path.stem: path for path in sorted(folder.glob("*.jams")) + sorted(folder.glob("*.txt"))}
    for name, path in paths.items():
        annotations.name(name)
        if path.suffix == ".txt":
            for where, row in read_rows(path, ("onset", "offset", "label"), header=False):
                annotations.add(name, row["onset"], row["offset"], row["label"], where)
            continue
        for item in jams.observations(_text(path), str(path)):
            onset, offset = repr(item.onset), repr(round(item.onset + item.duration, 9))
            annotations.add(name, onset, offset, item.label, item.where)
    sounds = folder.parent.parent / "audio" / part
    found = annotations.recordings_of(AudioFiles([sounds]), sounds)
    return _found(found, "urbansed", wanted, find("urbansed").licence, prompts.URBANSED)


def maestro_real(source: Path, wanted: Wanted) -> Found:
    """MAESTRO Real, development: soft labels over 0.5, of the labels that DCASE evaluates."""
    _part(wanted, [])
    benchmark = find("maestro")
    return _found(benchmark.load(source), "maestro", wanted, benchmark.licence, maestro.SCORED)


def dcase(source: Path, wanted: Wanted) -> Found:
    """A folder with a DCASE table `filename onset offset event_label`."""
    _part(wanted, [])
    return _found(find("folder").load(source), "dcase", wanted, "")


def annotated(kind: str, suffix: str, source: Path, wanted: Wanted) -> Found:
    """Annotation files beside their audio: it has their name, or the one they give, and lies below the folder."""
    _part(wanted, [])
    tables = [source] if source.is_file() else sorted(source.rglob(f"*{suffix}"))
    other = ".selections.txt" if kind == "audacity" else None  # Raven's
    tables = [
        p for p in tables if not p.name.startswith(".") and not (other and p.name.lower().endswith(other))
    ]
    if not tables:
        raise FormatError(f"{source}: got no *{suffix} in it; expected files of {kind} beside their audio")
    root = source.parent if source.is_file() else source
    beside = _Beside(root)
    annotations, weak, used = Annotations(), dict[str, list[str]](), set[Path]()
    for table in tables:
        found, tags = _read(kind, table)
        for name, events in found.items():
            path = beside.find(name, table)
            recording = name if path is None else str(path)
            if path is not None:
                used.add(path)
            annotations.name(recording)
            weak.setdefault(recording, []).extend(tags)
            for event in events:
                annotations.add(recording, repr(event.onset), repr(event.offset), event.label, str(table))
    folders = sorted({path.parent for path in used}) or [root]
    files = AudioFiles(folders, identify=lambda path: str(path) if path in used else None)
    return _found(annotations.recordings_of(files, root), kind, wanted, "", weak=weak)


def folders(source: Path, wanted: Wanted) -> Found:
    """A folder for each label, with clips in it; its name is the label."""
    _part(wanted, [])
    items, broken = [], []
    for path in sorted(audio_below(source)):
        inside = path.relative_to(source).parts
        if len(inside) == 1:
            continue
        try:
            seconds = audio.probe(path).duration
        except AudioError:
            broken.append("/".join(inside))
            continue
        events = [Event(0.0, seconds, inside[0])] if wanted.whole else []
        items.append(_item(path, seconds, "folders", wanted, "", events, [] if events else [inside[0]]))
    if not items:
        raise FormatError(f"{source}: got no folders with audio in it; expected one for each label")
    loose = sum(1 for _ in audio_below(source, deep=False))
    notes = [f"audio files left out that are in no label's folder: {loose}"] if loose else []
    notes += [f"files left out that cannot be read: {len(broken)}"] if broken else []
    return Found(items, tuple(notes), tuple(broken))


class _Beside:
    """Audio files below a folder, to be found by a name that an annotation file gives."""

    def __init__(self, root: Path) -> None:
        self._by_name: dict[str, list[Path]] = {}
        for path in sorted(audio_below(root)):
            self._by_name.setdefault(recording_id(path.name), []).append(path)

    def find(self, name: str, table: Path) -> Path | None:
        """The path itself, from the table's folder; else the file of that name beside the table, or the only one."""
        direct = table.parent / name
        if direct.is_file():
            return direct
        same = self._by_name.get(recording_id(PureWindowsPath(name).name), [])
        near = [path for path in same if path.parent == table.parent]
        return near[0] if near else same[0] if len(same) == 1 else None


def _read(kind: str, path: Path) -> tuple[dict[str, list[Event]], list[str]]:
    """Events by recording, and the tags of a JAMS file: they say what is in it, not when."""
    if kind != "jams":
        return formats.load(path, kind), []
    text = _text(path)
    found = jams.observations(text, str(path))
    events = [item.event() for item in found if item.namespace != "tag_open"]
    tags = [item.label for item in found if item.namespace == "tag_open"]
    return {jams.recording(text, str(path)): events}, tags


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read ({error}); get the file again") from error


def _desed_files(source: Path, place: tuple[str, str]) -> tuple[Path, AudioFiles, Path]:
    stem, folder = place
    table = first_there(source, *(f"{root}/{stem}{suffix}" for root in ROOTS for suffix in (".tsv", ".csv")))
    if table is None:
        raise FormatError(f"{source}: got no {stem}.tsv in it; expected DESED's folder (or its dataset/)")
    root = table.parents[len(Path(stem).parts) - 1]
    return table, AudioFiles([root / folder, root / f"{folder}_16k"]), root / folder


def _part(wanted: Wanted, parts: Sequence[str]) -> str:
    if wanted.part is not None and wanted.part not in parts:
        expected = f"one of {', '.join(parts)}" if parts else "none: this kind has no parts"
        raise OptionError(f"got the part {wanted.part!r}, expected {expected}")
    return wanted.part or (parts[0] if parts else "")


def _found(
    recordings: Recordings,
    kind: str,
    wanted: Wanted,
    licence: str,
    closed: Iterable[str] = (),
    weak: Mapping[str, Sequence[str]] | None = None,
) -> Found:
    """Items of recordings; `closed` are the labels that were all listened for."""
    tally = Tally(None, "events")
    items = []
    for name, path in recordings.audio.items():
        seconds = audio.probe(path).duration
        events = tally.mend([(e.onset, e.offset, e.label) for e in recordings.truth[name]], seconds)
        labels = [] if weak is None else weak.get(name, [])
        items.append(_item(path, seconds, kind, wanted, licence, events, labels, closed))
    return Found(items, (*recordings.notes, *tally.notes()), recordings.missing)


def _item(
    path: Path,
    seconds: float,
    kind: str,
    wanted: Wanted,
    licence: str,
    events: Sequence[Event],
    weak: Iterable[str],
    closed: Iterable[str] = (),
) -> Item:
    heard = {event.label for event in events}
    weak = tuple(label for label in dict.fromkeys(weak) if label not in heard)
    return Item(
        audio=path,
        duration=seconds,
        events=tuple(dict.fromkeys(events)),
        weak=weak,
        negatives=tuple(label for label in closed if label not in heard and label not in weak),
        exhaustive=wanted.exhaustive,
        split=wanted.split,
        licence=licence if wanted.licence is None else wanted.licence,
        source=kind,
    )


SOURCES: dict[str, Callable[[Path, Wanted], Found]] = {
    "desed": desed,
    "desed-weak": desed_weak,
    "audioset-strong": audioset_strong,
    "urbansed": urbansed,
    "maestro": maestro_real,
    "jams": partial(annotated, "jams", ".jams"),
    "audacity": partial(annotated, "audacity", ".txt"),
    "raven": partial(annotated, "raven", ".txt"),
    "dcase": dcase,
    "folders": folders,
}
"""What `--kind` may be."""
