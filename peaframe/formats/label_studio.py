"""Label Studio's tasks in JSON, to be imported as predictions that a person then corrects; a task for each recording.

    [{"data": {"audio": "street.wav"},
      "predictions": [{"model_version": "peaframe", "score": 0.91,
                       "result": [{"id": "e1", "from_name": "label", "to_name": "audio", "type": "labels",
                                   "score": 0.91,
                                   "value": {"start": 0.04, "end": 1.2, "channel": 0, "labels": ["dog barking"]}}]}]}]

It fits projects with `<Labels name="label" toName="audio">` and `<Audio name="audio" value="$audio">`. Label Studio
needs an address it can open as `data.audio`; here it is the recording's name as it was given. Nothing is rounded. A
task's score is its highest, `model_version` is `meta["model"]`, `original_length` is from `meta["durations"]`; of
`meta` no more is kept, but where `meta["recorded"]` says when the recording was made, `data.recorded` is that, as
ISO 8601.

Read are imports and exports (JSON, not JSON-MIN): regions with `start`, `end` and labels (Labels, TimeSeriesLabels)
count, whatever their tags are called; one with several labels is several events. What people annotated goes before
predictions: these count only where nobody has annotated the task; cancelled annotations never do. A region
that several annotators or models gave alike is one event.
Source: labelstud.io/guide/predictions, /guide/task_format, /tags/audio.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from peaframe.errors import FormatError, OptionError
from peaframe.events import Event
from peaframe.formats.delimited import require_name
from peaframe.formats.pieces import Pieces, Recording, joined
from peaframe.formats.text import EventsByFile, parsed

_KEYS = ("audio", "url", "audio_url", "timeseries", "video")


class _Tasks(Pieces):
    """The list of tasks, recording by recording."""

    def rows(self, recording: Recording) -> str:
        model, seconds, begun = self.meta.get("model"), recording.seconds(), recording.begun
        length = {} if seconds is None else {"original_length": seconds}
        scores = [event.score for event in recording.events if event.score is not None]
        prediction = {
            "model_version": model if isinstance(model, str) and model.strip() else "peaframe",
            **({"score": max(scores)} if scores else {}),
            "result": [
                _region(event, number, length) for number, event in enumerate(recording.events, start=1)
            ],
        }
        data = {"audio": require_name(recording.name)}
        if begun is not None:
            data["recorded"] = begun.start.isoformat()
        task = {"data": data, "predictions": [prediction]}
        text = json.dumps(task, ensure_ascii=False, allow_nan=False, indent=1).replace("\n", "\n ")
        return ("," if self.count else "[") + "\n " + text

    def tail(self) -> str:
        return "\n]\n" if self.count else "[]\n"


def pieces(meta: Mapping[str, Any]) -> Pieces:
    """The list of tasks, recording by recording, for those who write it as it grows."""
    return _Tasks(meta)


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The list of tasks, one also for a recording without events.

    Raises:
        FormatError: a blank name, or a time in `recorded` that is none.
    """
    return joined(pieces(meta), events_by_file)


def loads(text: str, source: str) -> dict[str, list[Event]]:
    """Events by what the tasks name as their recordings, in the order of the tasks and their regions.

    Raises:
        FormatError: no JSON (with file and line), or no list of tasks or a region that is no event (with file and
            place).
    """
    tasks = parsed(text, source)
    if not isinstance(tasks, list):
        raise FormatError(
            f"{source}:1: not Label Studio's tasks; expected a list of {{'data': ..., 'predictions': ...}}"
        )
    found: dict[str, list[Event]] = {}
    for number, task in enumerate(tasks):
        where = f"{source}: [{number}]"
        if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
            raise FormatError(
                f"{where}: got no data, expected a task; export as JSON, not as JSON-MIN or CSV"
            )
        own = found.setdefault(_name(task["data"], where), [])
        for results, place in _results(task, where):
            given = [
                event
                for index, region in enumerate(results)
                for event in _events(region, f"{place}.result[{index}]")
            ]
            before = set(own)
            own.extend(event for event in given if event not in before)
    return found


def event_from(onset: Any, offset: Any, label: Any, score: Any, where: str) -> Event:
    """An event from what JSON holds.

    Raises:
        FormatError: times or score are no numbers, or they and the label are no event's.
    """
    for value, name in ((onset, "onset"), (offset, "offset"), (0 if score is None else score, "score")):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise FormatError(f"{where}: got the {name} {value!r}, expected a number")
    try:
        return Event(onset, offset, label, score)
    except (OptionError, OverflowError) as error:
        raise FormatError(f"{where}: {error}") from error


def _region(event: Event, number: int, length: Mapping[str, Any]) -> dict[str, Any]:
    value = {"start": event.onset, "end": event.offset, "channel": 0, "labels": [event.label]}
    score = {} if event.score is None else {"score": event.score}
    tags = {"id": f"e{number}", "from_name": "label", "to_name": "audio", "type": "labels"}
    return {**tags, **length, **score, "value": value}


def _name(data: Mapping[str, Any], where: str) -> str:
    """The recording of a task: what is under one of the usual keys, else the first text that is not blank."""
    for key in (*_KEYS, *data):
        value = data.get(key)
        if isinstance(value, str) and value.strip():
            return value
    raise FormatError(f"{where}: got no recording in data, expected its name or address under 'audio'")


def _results(task: Mapping[str, Any], where: str) -> Iterator[tuple[Sequence[Any], str]]:
    """The lists of regions that count, and their places."""
    for kind in ("annotations", "predictions"):
        parts = task.get(kind) or []
        if not isinstance(parts, list):
            raise FormatError(f"{where}: got {type(parts).__name__} as {kind}, expected a list")
        counted = False
        for index, part in enumerate(parts):
            place = f"{where}.{kind}[{index}]"
            if not isinstance(part, dict) or not isinstance(part.get("result"), list):
                raise FormatError(f"{place}: got no result, expected a list of regions; export as JSON")
            if not part.get("was_cancelled"):
                counted = True
                yield part["result"], place
        if counted:
            return


def _events(region: Any, where: str) -> list[Event]:
    """A region's events; none of what has no times or no labels, such as choices and transcripts."""
    if not isinstance(region, dict):
        raise FormatError(f"{where}: got {region!r}, expected a region with type and value")
    kind, value = region.get("type"), region.get("value")
    if not isinstance(value, dict) or "start" not in value or "end" not in value:
        return []
    labels = value.get(kind) if kind in ("labels", "timeserieslabels") else None
    if labels is None:
        return []
    if not isinstance(labels, list):
        raise FormatError(f"{where}: got {type(labels).__name__} as {kind}, expected a list of labels")
    return [event_from(value["start"], value["end"], label, region.get("score"), where) for label in labels]
