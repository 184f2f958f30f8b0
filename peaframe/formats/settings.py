"""How events were made (`meta`), into formats of JSON and out of those that are one document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from peaframe.errors import FormatError
from peaframe.formats.pieces import Recording

_KEYS = {"duration": "durations", "recorded": "recorded"}


def as_json(said: Any) -> str:
    """Something of `meta` as JSON in one line.

    Raises:
        FormatError: it holds what JSON cannot.
    """
    try:
        return json.dumps(
            dict(said) if isinstance(said, Mapping) else said, ensure_ascii=False, allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise FormatError(f"meta cannot be written as JSON ({error}); use texts and numbers") from error


def of(recording: Recording) -> dict[str, Any]:
    """What `meta` says of one recording, under the keys it has there."""
    said = {"duration": recording.duration, "recorded": recording.recorded}
    return {key: value for key, value in said.items() if value is not None}


class Gathered:
    """`meta` put together: what was said of all recordings, and of each."""

    def __init__(self) -> None:
        self._each: dict[str, dict[str, Any]] = {key: {} for key in _KEYS.values()}

    def note(self, filename: str, entry: Mapping[str, Any]) -> None:
        """Take note of what an entry says of its recording."""
        for key, name in _KEYS.items():
            if entry.get(key) is not None:
                self._each[name][filename] = entry[key]

    def join(self, meta: Mapping[str, Any]) -> dict[str, Any]:
        """What was said of all, with what was said of each."""
        whole = dict(meta)
        for name, found in self._each.items():
            if found:
                before = meta.get(name)
                whole[name] = {**before, **found} if isinstance(before, Mapping) else found
        return whole


def of_json(text: str, source: str) -> dict[str, Any]:
    """What is under `meta` of our own JSON; nothing in anything else."""
    return _inside(text, "meta")


def of_jams(text: str, source: str) -> dict[str, Any]:
    """What we put into a JAMS file's sandbox; nothing in files of others."""
    return _inside(text, "sandbox", "peaframe")


def _inside(text: str, *keys: str) -> dict[str, Any]:
    try:
        found: Any = json.loads(text)
    except (RecursionError, ValueError):
        return {}
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}
