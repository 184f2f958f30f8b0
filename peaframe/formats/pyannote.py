"""Events as an `Annotation` of pyannote.core, and back; objects, not files.

An `Annotation` holds one recording's times and labels, and no scores. Its name (`uri`) is the caller's business.
pyannote takes what is no longer than a microsecond for empty and drops it, so such events are written longer.

Source: pyannote.core 5 and 6, `Annotation`, `Segment` and `SEGMENT_PRECISION`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from peaframe.errors import FormatError, MissingExtraError, OptionError
from peaframe.events import Event

if TYPE_CHECKING:
    from pyannote.core import Annotation

_SHORTEST = 2e-6  # seconds


def to_annotation(events: Sequence[Event], uri: str | None = None) -> Annotation:
    """One recording's events; scores are left out.

    Args:
        events: The events, each a track of its own, named by its number from 0.
        uri: The recording's name.

    Raises:
        MissingExtraError: pyannote.core is not installed.
    """
    try:
        from pyannote.core import Annotation, Segment
    except ImportError as error:
        raise MissingExtraError("pyannote.core", "pyannote", "an Annotation of pyannote") from error
    annotation = Annotation(uri=uri)
    for number, event in enumerate(events):
        segment = Segment(event.onset, max(event.offset, event.onset + _SHORTEST))
        annotation[segment, number] = event.label
    return annotation


def from_annotation(annotation: Annotation) -> list[Event]:
    """The events of an annotation, by time; labels that are no text become one.

    Raises:
        FormatError: a segment begins before the recording, or its label is blank.
    """
    where = annotation.uri or "annotation"
    tracks = annotation.itertracks(yield_label=True)
    return sorted(_event(segment.start, segment.end, label, where) for segment, _, label in tracks)


def _event(onset: float, offset: float, label: object, where: str) -> Event:
    try:
        return Event(onset, offset, str(label))
    except OptionError as error:
        raise FormatError(f"{where}: {error}") from error
