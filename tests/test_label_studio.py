"""Label Studio's tasks: what is written, what is read, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats import label_studio

STREET = [Event(0.04, 1.2, "dog barking", 0.91), Event(1.2, 2.0, "a siren")]


def region(start: Any, end: Any, *labels: Any, kind: str = "labels", **more: Any) -> dict[str, Any]:
    value = {"start": start, "end": end, "channel": 0, kind: list(labels)}
    return {"id": "x", "from_name": "l", "to_name": "a", "type": kind, "value": value, **more}


def test_predictions() -> None:
    meta = {"model": "peaframe-mini", "durations": {"street.wav": 2.5}}
    text = label_studio.dumps({"street.wav": STREET, "quiet.wav": []}, meta)
    tags = {"from_name": "label", "to_name": "audio", "type": "labels", "original_length": 2.5}
    assert json.loads(text) == [
        {
            "data": {"audio": "street.wav"},
            "predictions": [
                {
                    "model_version": "peaframe-mini",
                    "score": 0.91,
                    "result": [
                        {
                            "id": "e1",
                            **tags,
                            "score": 0.91,
                            "value": {"start": 0.04, "end": 1.2, "channel": 0, "labels": ["dog barking"]},
                        },
                        {
                            "id": "e2",
                            **tags,
                            "value": {"start": 1.2, "end": 2.0, "channel": 0, "labels": ["a siren"]},
                        },
                    ],
                }
            ],
        },
        {
            "data": {"audio": "quiet.wav"},
            "predictions": [{"model_version": "peaframe-mini", "result": []}],
        },
    ]
    assert label_studio.loads(text, "a.json") == {"street.wav": STREET, "quiet.wav": []}
    assert label_studio.dumps({}, {}) == "[]\n"
    assert label_studio.loads("[]\n", "a.json") == {}
    assert json.loads(label_studio.dumps({"a": []}, {}))[0]["predictions"][0]["model_version"] == "peaframe"


def test_people_go_before_models() -> None:
    guess = [{"model_version": "m", "score": 0.1, "result": [region(0, 9, "guess", score=0.1)]}]
    choice = {"type": "choices", "from_name": "c", "to_name": "a", "value": {"choices": ["loud"]}}
    spoken = region(1, 2, "hello", kind="textarea")
    people: list[dict[str, Any]] = [
        {"id": 1, "was_cancelled": True, "result": [region(5, 6, "wrong")]},
        {"id": 2, "was_cancelled": False, "result": [region(1, 2, "dog", "loud"), choice, spoken]},
        {"id": 3, "result": [region(1, 2, "dog"), region(3, 4, "cat", kind="timeserieslabels")]},
    ]
    tasks = [
        {"id": 7, "data": {"id": 3, "url": "a.wav", "x": "y"}, "annotations": people, "predictions": guess},
        {"id": 8, "data": {"id": 3, "sound": "b.wav"}, "annotations": people[:1], "predictions": guess},
        {"id": 9, "data": {"audio": "c.wav"}, "annotations": [{"result": []}], "predictions": guess},
        {"id": 9, "data": {"audio": "d.wav"}},
    ]
    assert label_studio.loads(json.dumps(tasks), "a.json") == {
        "a.wav": [Event(1, 2, "dog"), Event(1, 2, "loud"), Event(3, 4, "cat")],
        "b.wav": [Event(0, 9, "guess", 0.1)],
        "c.wav": [],
        "d.wav": [],
    }


def of(result: Any) -> list[Any]:
    return [{"data": {"audio": "a"}}, {"data": {"audio": "b"}, "predictions": [{"result": result}]}]


HERE = r"^f: \[1\]\.predictions\[0\]\.result\[1\]: "


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, r"^f:1: not Label Studio's tasks"),
        ([3], r"^f: \[0\]: got no data"),
        ([{"audio": "a", "label": []}], r"^f: \[0\]: got no data, expected a task; export as JSON, not"),
        ([{"data": {"audio": " ", "n": 3}}], r"^f: \[0\]: got no recording in data"),
        ([{"data": {"audio": "a"}, "predictions": {"a": 1}}], r"^f: \[0\]: got dict as predictions"),
        ([{"data": {"audio": "a"}, "annotations": [5]}], r"^f: \[0\]\.annotations\[0\]: got no result"),
        (of([region(0, 1, "a"), 5]), HERE + "got 5, expected a region"),
        (of([region(0, 1, "a"), region(1, 1, "a")]), HERE + "an event lasts"),
        (of([region(0, 1, "a"), region("1", 2, "a")]), HERE + "got the onset '1', expected a number"),
        (of([region(0, 1, "a"), region(1, 2, 7)]), HERE + "an event's label is 7"),
        (of([region(0, 1, "a"), region(1, 2, "a", score=True)]), HERE + "got the score True"),
        (of([region(0, 1, "a"), region(1, 10**400, "a")]), HERE),
        (
            of([region(0, 1, "a"), {"type": "labels", "value": {"start": 0, "end": 1, "labels": "a"}}]),
            HERE + "got str",
        ),
    ],
)
def test_what_is_refused(document: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        label_studio.loads(json.dumps(document), "f")
    assert "\n" not in str(caught.value)


def test_what_is_no_json() -> None:
    for text, message in (("[\n{]", r"^f:2: not JSON"), ("[" * 100_000, r"^f:1: not JSON")):
        with pytest.raises(FormatError, match=message):
            label_studio.loads(text, "f")
    with pytest.raises(FormatError, match="expected one that is not blank"):
        label_studio.dumps({" ": []}, {})


TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20).filter(str.strip)
SCORE = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@given(TEXT, st.lists(st.tuples(st.floats(0, 1e9), st.floats(1e-3, 1e9), TEXT, SCORE), max_size=4))
def test_everything_comes_back(name: str, rows: list[tuple[float, float, str, float | None]]) -> None:
    events = 2 * [Event(at, at + length, label, score) for at, length, label, score in rows]
    assert label_studio.loads(label_studio.dumps({name: events}, {}), "f") == {name: events}
