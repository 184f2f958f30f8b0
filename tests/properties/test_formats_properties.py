"""What must hold for any events in any format: found by trying hundreds of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaframe import formats
from peaframe.errors import FormatError
from peaframe.events import Event

TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20).filter(str.strip)
LINE = TEXT.filter(lambda text: not set("\t\n\r\0") & set(text))
MILLISECONDS = st.integers(0, 10**9)


@st.composite
def exact_events(draw: st.DrawFn, label: st.SearchStrategy[str]) -> Event:
    """Whole milliseconds and scores of 4 decimals, which every format keeps."""
    onset, length = draw(MILLISECONDS), draw(st.integers(1, 10**7))
    score = draw(st.one_of(st.none(), st.integers(0, 10_000).map(lambda parts: parts / 10_000)))
    return Event(onset / 1000, (onset + length) / 1000, draw(label), score)


@st.composite
def any_events(draw: st.DrawFn) -> Event:
    onset = draw(st.floats(0, 1e9))
    offset = draw(st.floats(0, 2e9).filter(lambda value: value > onset))
    score = draw(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)))
    return Event(onset, offset, draw(TEXT), score)


def files_of(
    events: st.SearchStrategy[Event], name: st.SearchStrategy[str]
) -> st.SearchStrategy[dict[str, list[Event]]]:
    return st.dictionaries(name, st.lists(events, max_size=4), max_size=3)


def bare(events: list[Event]) -> list[Event]:
    return [Event(event.onset, event.offset, event.label) for event in events]


@given(files_of(any_events(), TEXT))
def test_json_keeps_everything(events: dict[str, list[Event]]) -> None:
    assert formats.loads(formats.dumps(events, "json"), "json") == events


@given(files_of(exact_events(LINE), LINE))
def test_tsv_keeps_all_but_scores(events: dict[str, list[Event]]) -> None:
    read = formats.loads(formats.dumps(events, "tsv"), "tsv")
    assert read == {name: bare(found) for name, found in events.items()}


NO_NULL = TEXT.filter(lambda text: "\0" not in text)


@given(files_of(exact_events(NO_NULL), NO_NULL))
def test_csv_keeps_all_but_empty_recordings(events: dict[str, list[Event]]) -> None:
    read = formats.loads(formats.dumps(events, "csv"), "csv")
    assert read == {name: found for name, found in events.items() if found}


@given(st.lists(exact_events(LINE), max_size=5))
def test_audacity_keeps_times_and_labels(events: list[Event]) -> None:
    assert formats.loads(formats.dumps({"x": events}, "audacity"), "audacity", source="x") == {
        "x": bare(events)
    }


@given(st.sampled_from(["tsv", "csv", "audacity"]), any_events())
def test_rounding_moves_times_by_no_more_than_its_decimals(format: str, event: Event) -> None:
    if set("\0" if format == "csv" else "\0\t\n\r") & set(event.label):
        with pytest.raises(FormatError, match="cannot hold"):
            formats.dumps({"x": [event]}, format)
        return
    (read,) = formats.loads(formats.dumps({"x": [event]}, format), format, source="x")["x"]
    assert read.onset == pytest.approx(event.onset, abs=0.00051)
    assert read.offset == pytest.approx(event.offset, abs=0.00151)
    assert read.label == event.label


@given(st.sampled_from(formats.names()), st.text(max_size=200))
def test_any_text_is_read_or_refused_in_one_line(format: str, text: str) -> None:
    refusal = "f: "
    try:
        formats.loads(text, format, source="f")
    except FormatError as error:
        refusal = str(error)
    assert refusal.startswith("f:")
    assert "\n" not in refusal
