"""Numbers and labels as the text formats write them, and events and JSON from what they read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from peaframe.errors import FormatError, OptionError
from peaframe.events import Event

EventsByFile: TypeAlias = Mapping[str, Sequence[Event]]


def times(event: Event, decimals: int) -> tuple[str, str]:
    """Onset and offset in seconds; an event shorter than the last decimal is written as long as that."""
    onset, offset = f"{event.onset:.{decimals}f}", f"{event.offset:.{decimals}f}"
    if float(onset) == float(offset):
        offset = f"{float(onset) + 10.0**-decimals:.{decimals}f}"
    return onset, offset


def require_one_line(text: str, format: str) -> str:
    """The text itself, if it holds no tab, line break or null character.

    Raises:
        FormatError: it does.
    """
    if any(character in text for character in "\t\n\r\0"):
        raise FormatError(f"{format} cannot hold {text!r}: tabs and line breaks; rename it or use json")
    return text


def event_of(onset: str, offset: str, label: str, score: str, where: str) -> Event:
    """An event from its cells; a blank score is none.

    Raises:
        FormatError: a cell is not a number, or the numbers are no event's; the message begins with `where`.
    """
    try:
        return Event(float(onset), float(offset), label, float(score) if score.strip() else None)
    except ValueError as error:
        raise FormatError(f"{where}: got {onset!r} to {offset!r}, expected numbers ({error})") from error
    except OptionError as error:
        raise FormatError(f"{where}: {error}") from error


def parsed(text: str, source: str) -> Any:
    """What a JSON text holds.

    Raises:
        FormatError: it is none; with file and line.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise FormatError(f"{source}:{error.lineno}: not JSON ({error.msg}); repair the file") from error
    except (RecursionError, ValueError) as error:
        raise FormatError(f"{source}:1: not JSON that can be read ({error}); repair the file") from error
