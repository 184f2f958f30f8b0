"""Events as pyannote's annotations and back."""

from __future__ import annotations

import sys

import pytest
from pyannote.core import Annotation, Segment

from peaframe.errors import FormatError, MissingExtraError
from peaframe.events import Event
from peaframe.formats.pyannote import from_annotation, to_annotation

EVENTS = [Event(0.5, 1.25, "dog barking", 0.9), Event(0.5, 1.25, "dog barking"), Event(1.0, 2.0, "a siren")]


def test_pyannote_sees_every_event() -> None:
    annotation = to_annotation(EVENTS, uri="street")
    assert annotation.uri == "street"
    assert len(annotation) == 2  # segments; two events share one
    assert list(annotation.itertracks(yield_label=True)) == [
        (Segment(0.5, 1.25), 0, "dog barking"),
        (Segment(0.5, 1.25), 1, "dog barking"),
        (Segment(1.0, 2.0), 2, "a siren"),
    ]
    assert annotation.label_duration("dog barking") == 0.75  # as heard, not as counted
    assert from_annotation(annotation) == [Event(e.onset, e.offset, e.label) for e in EVENTS]


def test_nothing_is_an_annotation_too() -> None:
    assert not to_annotation([])
    assert from_annotation(to_annotation([])) == []


def test_a_click_is_not_dropped() -> None:
    assert from_annotation(to_annotation([Event(1, 1 + 1e-9, "click")])) == [Event(1, 1 + 2e-6, "click")]


def test_annotations_of_others() -> None:
    annotation = Annotation(uri="x")
    annotation[Segment(3, 4), "B"] = 7
    annotation[Segment(1, 2)] = "speech"
    assert from_annotation(annotation) == [Event(1, 2, "speech"), Event(3, 4, "7")]
    annotation[Segment(-1, 2)] = "early"
    with pytest.raises(FormatError, match=r"x: an event lasts from -1\.0 s to 2\.0 s"):
        from_annotation(annotation)


def test_without_pyannote_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyannote.core", None)
    with pytest.raises(MissingExtraError, match=r"needs pyannote\.core.*pip install 'peaframe\[pyannote\]'"):
        to_annotation(EVENTS)
