"""JAMS: JSON with the annotations of one recording, version 0.3; written as the namespace `segment_open`.

Read are `segment_open` and `tag_open`, with a label for each span (a tag of a whole recording lasts as long as it),
and `scaper`, of which the foreground counts. Confidence is the score. Times come back to the nanosecond.

The recording's name is under `file_metadata.identifiers.filename`, which others do not write; theirs go by the stem of
the file. Source: github.com/marl/jams, `jams_schema.json` and namespaces of 0.3.5; Humphrey et al., ISMIR 2014.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from peaframe.errors import FormatError, OptionError
from peaframe.events import Event
from peaframe.formats.delimited import require_name
from peaframe.formats.text import EventsByFile, parsed

NAMESPACES = ("segment_open", "scaper", "tag_open")
_VERSION = "0.3.5"
_NANO = 9


@dataclass(frozen=True)
class Observation:
    """One label of a JAMS file.

    Attributes:
        namespace: One of `NAMESPACES`.
        onset: Seconds from the recording's start.
        duration: Seconds; may be 0.
        label: What is heard.
        confidence: How sure somebody was, or None.
        where: Its place in the file, for messages.
    """

    namespace: str
    onset: float
    duration: float
    label: str
    confidence: float | None
    where: str

    def event(self) -> Event:
        """The same as an event.

        Raises:
            FormatError: it lasts no time, or its times, label or confidence are none.
        """
        offset = self.onset + self.duration
        rounded = round(offset, _NANO) if math.isfinite(offset) else offset
        try:
            return Event(self.onset, rounded if rounded > self.onset else offset, self.label, self.confidence)
        except OptionError as error:
            raise FormatError(f"{self.where}: {error}") from error


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The document of the one recording; `meta` goes into its sandbox, of `recorded` what is said of this one.

    The recording's length is that in `meta["durations"]`; where there is none, the end of its last event.

    Raises:
        FormatError: several recordings, a blank name, or `meta` holds what JSON cannot.
    """
    if len(events_by_file) > 1:
        raise FormatError(f"jams holds one recording, got {len(events_by_file)}; write a file for each")
    events = [event for own in events_by_file.values() for event in own]
    about: dict[str, Any] = {"jams_version": _VERSION}
    given, seconds = meta.get("durations"), None
    for name in events_by_file:
        about["identifiers"] = {"filename": require_name(name)}
        seconds = given.get(name) if isinstance(given, Mapping) else None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        seconds = None
    # readers that follow the schema to the letter want a number, so it is the least that is known
    about["duration"] = max((event.offset for event in events), default=0.0) if seconds is None else seconds
    annotation = {
        "namespace": "segment_open",
        "time": 0,
        "duration": seconds,
        "annotation_metadata": {"annotation_tools": "peaframe"},
        "sandbox": {},
        "data": [_observation(event) for event in events],
    }
    own = dict(meta)
    if isinstance(recorded := meta.get("recorded"), Mapping):
        own["recorded"] = {name: recorded[name] for name in events_by_file if name in recorded}
    document = {"file_metadata": about, "annotations": [annotation], "sandbox": {"peaframe": own}}
    try:
        return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    except (TypeError, ValueError) as error:
        raise FormatError(f"meta cannot be written as JSON ({error}); use texts and numbers") from error


def loads(text: str, source: str) -> dict[str, list[Event]]:
    """The events of the one recording, in the order of the document.

    Raises:
        FormatError: no JSON (with file and line), no JAMS, or an observation that is no event (with file,
            annotation and observation).
    """
    document = _document(text, source)
    return {_name(document, source): [item.event() for item in _observations(document, source)]}


def recording(text: str, source: str = "<text>") -> str:
    """The name of a document's recording: what it says, or the stem of `source`.

    Raises:
        FormatError: no JSON, or no JAMS.
    """
    return _name(_document(text, source), source)


def observations(text: str, source: str = "<text>") -> list[Observation]:
    """All labels of a document, for those who need to know tags from segments.

    Raises:
        FormatError: as `loads`, but an observation may last no time.
    """
    return list(_observations(_document(text, source), source))


def _observation(event: Event) -> dict[str, Any]:
    lasts = event.offset - event.onset
    duration = round(lasts, _NANO) or lasts
    return {"time": event.onset, "duration": duration, "value": event.label, "confidence": event.score}


def _document(text: str, source: str) -> dict[str, Any]:
    document = parsed(text, source)
    if not isinstance(document, dict) or not isinstance(document.get("annotations"), list):
        raise FormatError(f'{source}:1: not JAMS; expected {{"annotations": [...], "file_metadata": ...}}')
    return document


def _name(document: Mapping[str, Any], source: str) -> str:
    about = document.get("file_metadata")
    known = about.get("identifiers") if isinstance(about, dict) else None
    name = known.get("filename") if isinstance(known, dict) else None
    return name if isinstance(name, str) and name.strip() else PurePath(source).stem


def _observations(document: Mapping[str, Any], source: str) -> Iterator[Observation]:
    for number, annotation in enumerate(document["annotations"]):
        where = f"{source}: annotations[{number}]"
        if not isinstance(annotation, dict) or not isinstance(annotation.get("namespace"), str):
            raise FormatError(
                f"{where}: got no namespace, expected one of {', '.join(NAMESPACES)}, or another"
            )
        namespace = annotation["namespace"]
        if namespace not in NAMESPACES:
            continue
        for index, item in enumerate(_rows(annotation.get("data"), where)):
            found = _read(namespace, item, f"{where}.data[{index}]")
            if found is not None:
                yield found


def _rows(data: Any, where: str) -> list[Any]:
    """The observations, whether they are a list of objects or an object of lists."""
    if isinstance(data, list):
        return data
    keys = ("time", "duration", "value", "confidence")
    lists = [data.get(key) for key in keys] if isinstance(data, dict) else []
    lengths = {len(values) if isinstance(values, list) else -1 for values in lists}
    if len(lengths) != 1 or -1 in lengths:
        raise FormatError(f"{where}: got {type(data).__name__} as data, expected a list of observations")
    return [dict(zip(keys, row, strict=True)) for row in zip(*lists, strict=True)]


def _read(namespace: str, item: Any, where: str) -> Observation | None:
    """One observation; None for the background of a soundscape."""
    if not isinstance(item, dict):
        raise FormatError(f"{where}: got {item!r}, expected time, duration, value, confidence")
    label = item.get("value")
    if namespace == "scaper":
        if not isinstance(label, dict) or label.get("role") not in ("foreground", "background"):
            raise FormatError(f"{where}: got no role, expected foreground or background in Scaper's value")
        if label["role"] == "background":
            return None
        label = label.get("label")
    if not isinstance(label, str):
        raise FormatError(f"{where}: got the label {label!r}, expected a text")
    onset, duration = (_number(item, key, where) for key in ("time", "duration"))
    confidence = None if item.get("confidence") is None else _number(item, "confidence", where)
    if not (0 <= onset < math.inf and 0 <= duration < math.inf and label.strip()):
        raise FormatError(
            f"{where}: got {label!r} at {onset} s for {duration} s, expected a label that is not blank, and seconds "
            "from 0"
        )
    return Observation(namespace, onset, duration, label, confidence, where)


def _number(item: Mapping[str, Any], key: str, where: str) -> float:
    value = item.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FormatError(f"{where}: got {key} {value!r}, expected a number")
    try:
        return float(value)
    except OverflowError as error:
        raise FormatError(f"{where}: got a {key} that is too large ({error})") from error
