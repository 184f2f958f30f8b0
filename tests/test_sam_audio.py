"""SAM Audio's anchors: what is written, what is read, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats import sam_audio

STREET = [Event(0.04, 1.2, "dog barking", 0.91), Event(1.2, 2.0, "a siren"), Event(5, 5.9, "dog barking")]
TEXT = """[
{"audio": "street.wav", "description": "dog barking", "anchors": [["+", 0.04, 1.2], ["+", 5.0, 5.9]]},
{"audio": "street.wav", "description": "a siren", "anchors": [["+", 1.2, 2.0]]},
{"audio": "quiet.wav", "description": "", "anchors": []}
]
"""


def bare(event: Event) -> Event:
    return Event(event.onset, event.offset, event.label)


def test_anchors() -> None:
    assert sam_audio.dumps({"street.wav": STREET[::-1], "quiet.wav": []}, {}) == TEXT
    assert sam_audio.loads(TEXT, "a.json") == {
        "street.wav": [bare(event) for event in STREET],
        "quiet.wav": [],
    }
    assert sam_audio.dumps({}, {}) == "[]\n"
    assert sam_audio.loads("[]\n", "a.json") == {}


def test_where_a_sound_is_not() -> None:
    entry = {"audio": "a", "description": "b", "anchors": [["-", 0, 1], ["+", 2, 3]], "more": 1}
    assert sam_audio.loads(json.dumps([entry]), "f") == {"a": [Event(2, 3, "b")]}


def of(*anchors: Any) -> list[Any]:
    return [{"audio": "a", "description": "b", "anchors": [["+", 0, 1], *anchors]}]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"a": 1}, r"^f:1: not SAM Audio's anchors"),
        ([5], r"^f: \[0\]: got int"),
        ([{"audio": "a", "description": "b"}], r"^f: \[0\]: got dict without these"),
        ([{"audio": " ", "description": "b", "anchors": []}], r"^f: \[0\]: got dict"),
        (of(["*", 0, 1]), r"^f: \[0\]\.anchors\[1\]: got \['\*', 0, 1\], expected"),
        (of(["+", 0]), r"^f: \[0\]\.anchors\[1\]: got"),
        (of(["+", 2, 1]), r"^f: \[0\]\.anchors\[1\]: an event lasts"),
        (of(["+", "2", 3]), r"^f: \[0\]\.anchors\[1\]: got the onset '2', expected a number"),
        (of([{}, 0, 1]), r"^f: \[0\]\.anchors\[1\]: got"),
    ],
)
def test_what_is_refused(document: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        sam_audio.loads(json.dumps(document), "f")
    assert "\n" not in str(caught.value)


def test_what_is_no_json_or_has_no_name() -> None:
    with pytest.raises(FormatError, match=r"^f:2: not JSON"):
        sam_audio.loads("[\n{]", "f")
    with pytest.raises(FormatError, match="expected one that is not blank"):
        sam_audio.dumps({" ": []}, {})


WORDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20).filter(str.strip)


@given(WORDS, st.lists(st.tuples(st.floats(0, 1e9), st.floats(1e-3, 1e9), WORDS), max_size=5))
def test_times_and_queries_come_back(name: str, rows: list[tuple[float, float, str]]) -> None:
    events = [Event(at, at + length, label) for at, length, label in rows]
    assert sam_audio.loads(sam_audio.dumps({name: events}, {}), "f") == {name: sorted(events)}
