"""An item of a manifest: what is known of a recording, or of a part of it; from a line of JSON and back."""

from __future__ import annotations

import difflib
import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from peaframe import clock
from peaframe.errors import ManifestError, OptionError
from peaframe.events import Event

__all__ = ["Item", "Unknown", "from_line", "refuse_doubles", "to_line"]

_KEYS = (
    *("audio", "start", "duration", "events", "weak", "unknown", "negatives", "exhaustive"),
    *("split", "licence", "source"),
)
_EVENT_KEYS = ("onset", "offset", "label", "score")


@dataclass(frozen=True)
class Unknown:
    """A span in which nothing may be said of a label, or of any where `label` is None; seconds.

    Raises:
        OptionError: Not 0 <= onset < offset < infinity, or a blank label.
    """

    onset: float
    offset: float
    label: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.onset < self.offset < math.inf:
            raise OptionError(
                f"an unknown span lasts from {self.onset} s to {self.offset} s; give 0 <= onset < offset"
            )
        if self.label is not None:
            _check_label(self.label, "an unknown span")


@dataclass(frozen=True)
class Item:
    """A recording or a part of it, and what is known of it.

    Attributes:
        audio: The file.
        start: Where the item begins in the file, in seconds.
        duration: How long it is, in seconds; None means to the end of the file.
        events: Labels with their times, from `start` on; all there are of a label that has one.
        weak: Labels that are heard somewhere in it.
        unknown: Where nothing may be said.
        negatives: Labels that are surely not heard in it.
        exhaustive: Whether every label that is not named is absent.
        split: What it is for, such as train or valid.
        licence: What its owners allow.
        source: Where it is from.

    Raises:
        OptionError: A time is outside the item, a label is blank, named twice or in two ways, or an event or span
            is there twice.
    """

    audio: Path
    start: float = 0.0
    duration: float | None = None
    events: tuple[Event, ...] = ()
    weak: tuple[str, ...] = ()
    unknown: tuple[Unknown, ...] = ()
    negatives: tuple[str, ...] = ()
    exhaustive: bool = False
    split: str = "train"
    licence: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if not str(self.audio).strip():
            raise OptionError("audio is blank; give a file")
        if not 0 <= self.start < math.inf:
            raise OptionError(f"start is {self.start}; give seconds, 0 or more")
        if self.duration is not None and not 0 < self.duration < math.inf:
            raise OptionError(f"duration is {self.duration}; give seconds, more than 0")
        if not self.split.strip():
            raise OptionError("split is blank; give a name such as train or valid")
        spans: tuple[Event | Unknown, ...] = (*self.events, *self.unknown)
        for span in spans:
            if self.duration is not None and clock.samples_of_seconds(span.offset) > clock.samples_of_seconds(
                self.duration
            ):
                what = f"an event of {span.label!r}" if isinstance(span, Event) else "an unknown span"
                raise OptionError(
                    f"{what} ends at {span.offset} s of an item of {self.duration} s; give times inside it, "
                    "from its own start"
                )
        for name, values in (("events", self.events), ("unknown spans", self.unknown)):
            refuse_doubles(values, name)
        heard = tuple(dict.fromkeys(event.label for event in self.events))
        for name, labels in (("weak", self.weak), ("negatives", self.negatives)):
            for label in labels:
                _check_label(label, name)
            refuse_doubles(labels, name)
        refuse_doubles((*heard, *self.weak, *self.negatives), "events, weak and negatives")

    @property
    def frames(self) -> int | None:
        """How many frames the item has; None where its duration is not said."""
        return None if self.duration is None else clock.frame_count(clock.samples_of_seconds(self.duration))


def from_line(line: bytes, folder: Path, where: str) -> Item:
    """The item of a line; its audio is named from `folder`.

    Raises:
        ManifestError: The line is no item; the message begins with `where`.
    """
    try:
        values = json.loads(
            line.removeprefix(b"\xef\xbb\xbf"), object_pairs_hook=_keys_once, parse_constant=_no_number
        )
        return _item(values, folder)
    except json.JSONDecodeError as error:
        raise ManifestError(
            f"{where}: not JSON ({error.msg} at character {error.pos + 1}); repair it"
        ) from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{where}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except (OptionError, RecursionError, ValueError, OverflowError) as error:
        raise ManifestError(f"{where}: {error}") from error


def to_line(item: Item, folder: Path) -> str:
    """The item as a line, with what it does not say left out; audio below `folder` (absolute) is named from there."""
    audio = Path(os.path.abspath(item.audio))
    name = audio.relative_to(folder) if audio.is_relative_to(folder) else audio
    values: dict[str, Any] = {"audio": name.as_posix()}
    if item.start:
        values["start"] = item.start
    if item.duration is not None:
        values["duration"] = item.duration
    if item.events:
        values["events"] = [_event_values(event) for event in item.events]
    if item.unknown:
        spans = [[span.onset, span.offset, span.label] for span in item.unknown]
        values["unknown"] = [span[: 2 if span[2] is None else 3] for span in spans]
    for key, labels in (("weak", item.weak), ("negatives", item.negatives)):
        if labels:
            values[key] = list(labels)
    values.update({"exhaustive": True} if item.exhaustive else {}, split=item.split)
    values.update({key: text for key, text in (("licence", item.licence), ("source", item.source)) if text})
    return json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n"


def _item(values: Any, folder: Path) -> Item:
    if not isinstance(values, dict):
        raise OptionError(f"got {values!r:.60}, expected an object with the key audio")
    _check_keys(values, _KEYS, "")
    audio = _text(values, "audio", None)
    if not audio.strip():
        raise OptionError("audio is blank; give a file")
    exhaustive = values.get("exhaustive", False)
    if not isinstance(exhaustive, bool):
        raise OptionError(f"exhaustive is {exhaustive!r}; give true or false")
    return Item(
        audio=folder / audio,
        start=_seconds(values.get("start", 0.0), "start"),
        duration=None if values.get("duration") is None else _seconds(values["duration"], "duration"),
        events=tuple(_event(row, f"events[{i}]") for i, row in enumerate(_list(values, "events"))),
        weak=tuple(_list(values, "weak")),
        unknown=tuple(_unknown(row, f"unknown[{i}]") for i, row in enumerate(_list(values, "unknown"))),
        negatives=tuple(_list(values, "negatives")),
        exhaustive=exhaustive,
        split=_text(values, "split", "train"),
        licence=_text(values, "licence", ""),
        source=_text(values, "source", ""),
    )


def _event(row: Any, where: str) -> Event:
    if not isinstance(row, dict):
        raise OptionError(f"{where} is {row!r:.60}; give {{onset, offset, label}}")
    _check_keys(row, _EVENT_KEYS, f"{where}.")
    for key in _EVENT_KEYS[:3]:
        if key not in row:
            raise OptionError(f"{where} has no {key}; give {{onset, offset, label}}")
    onset, offset = (_seconds(row[key], f"{where}.{key}") for key in ("onset", "offset"))
    score = None if row.get("score") is None else _seconds(row["score"], f"{where}.score")
    try:
        return Event(onset, offset, row["label"], score)
    except OptionError as error:
        raise OptionError(f"{where}: {error}") from error


def _unknown(row: Any, where: str) -> Unknown:
    if not isinstance(row, list) or len(row) not in (2, 3):
        raise OptionError(f"{where} is {row!r:.60}; give [onset, offset] or [onset, offset, label]")
    times = [_seconds(value, where) for value in row[:2]]
    if len(row) == 3 and row[2] is None:
        raise OptionError(f"{where} has the label null; leave it out for all labels")
    try:
        return Unknown(times[0], times[1], *row[2:])
    except OptionError as error:
        raise OptionError(f"{where}: {error}") from error


def _event_values(event: Event) -> dict[str, Any]:
    values = {"onset": event.onset, "offset": event.offset, "label": event.label}
    return values if event.score is None else {**values, "score": event.score}


def _seconds(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise OptionError(f"{what} is {value!r:.60}; give a number")
    return float(value)


def _text(values: Mapping[str, Any], key: str, default: str | None) -> str:
    value = values.get(key, default)
    if value is None and key not in values:
        raise OptionError(f"no {key} is given; expected {{{key!r}: ...}}")
    if not isinstance(value, str):
        raise OptionError(f"{key} is {value!r:.60}; give a text")
    return value


def _list(values: Mapping[str, Any], key: str) -> list[Any]:
    value = values.get(key, [])
    if not isinstance(value, list):
        raise OptionError(f"{key} is {value!r:.60}; give a list")
    return value


def _check_keys(values: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
            raise OptionError(f"unknown key {where + key!r}; {hint}")


def _keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        refuse_doubles([key for key, _ in pairs], "the keys of one object")
    return values


def _no_number(text: str) -> NoReturn:
    raise OptionError(f"got {text}, expected a finite number")


def _check_label(label: str, what: str) -> None:
    if not isinstance(label, str) or not label.strip():
        raise OptionError(f"a label of {what} is {label!r}; give a text that is not blank")


def refuse_doubles(values: Sequence[Any], what: str) -> None:
    """Do nothing, if no value is there twice.

    Raises:
        OptionError: One is.
    """
    if len(set(values)) < len(values):
        twice = next(value for value, count in Counter(values).items() if count > 1)
        raise OptionError(f"{what} name {twice!r} twice; give it once")
