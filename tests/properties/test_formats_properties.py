"""What must hold for any events in any format: found by trying hundreds of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peaframe import formats
from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats.pyannote import from_annotation, to_annotation

TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20).filter(str.strip)
LINE = TEXT.filter(lambda text: not set("\t\n\r\0") & set(text))
LAZY = settings(deadline=None)  # the first call imports pyarrow or pyannote
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


SETTINGS = st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=9), st.integers())


@pytest.mark.parametrize("format", ["json", "jsonl", "parquet"])
@LAZY
@given(files_of(any_events(), TEXT), SETTINGS)
def test_formats_that_keep_everything(
    format: str, events: dict[str, list[Event]], meta: dict[str, int]
) -> None:
    content = formats.to_bytes(events, format, meta)
    read = formats.from_bytes(content, format)
    assert (read, list(read)) == (events, list(events))
    assert formats.meta_of(content, format) == meta


@given(files_of(any_events(), TEXT), files_of(any_events(), TEXT))
def test_lines_of_two_files_are_one(first: dict[str, list[Event]], then: dict[str, list[Event]]) -> None:
    text = formats.dumps(first, "jsonl") + formats.dumps(then, "jsonl", {"seed": 1})
    both = {name: first.get(name, []) + then.get(name, []) for name in first | then}
    assert formats.loads(text, "jsonl") == both


@LAZY
@given(st.lists(any_events(), max_size=5))
def test_pyannote_keeps_times_and_labels(events: list[Event]) -> None:
    read = from_annotation(to_annotation(events))
    shortest = [max(event.offset, event.onset + 2e-6) for event in events]
    wanted = [Event(e.onset, offset, e.label) for e, offset in zip(events, shortest, strict=True)]
    assert read == sorted(wanted)


@given(files_of(exact_events(LINE), LINE))
def test_tsv_keeps_all_but_scores(events: dict[str, list[Event]]) -> None:
    read = formats.loads(formats.dumps(events, "tsv"), "tsv")
    assert read == {name: bare(found) for name, found in events.items()}


NO_NULL = TEXT.filter(lambda text: "\0" not in text)


@given(files_of(exact_events(NO_NULL), NO_NULL))
def test_csv_keeps_all(events: dict[str, list[Event]]) -> None:
    assert formats.loads(formats.dumps(events, "csv"), "csv") == events


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


SCORED = (
    "csv",
    "json",
    "jsonl",
    "parquet",
    "raven",
    "jams",
    "rttm",
    "webvtt",
    "label_studio",
    "kaleidoscope",
)
EXACT = ("json", "jsonl", "parquet", "label_studio", "sam_audio")
NAMED = tuple(name for name in formats.names() if name not in ("audacity", "textgrid", "srt"))


def plain(label: str) -> bool:
    """Whether every format can hold a label: its characters are printed, it is no word for none."""
    return label.isprintable() and label.strip().lower() != "noid"


@st.composite
def events_apart(draw: st.DrawFn) -> list[Event]:
    """Events one after the other, some touching, in whole milliseconds, with labels of one line."""
    steps = st.tuples(st.integers(0, 10**5), st.integers(1, 10**6), LINE, st.integers(0, 10_000))
    end, events = 0, []
    for pause, length, label, parts in draw(st.lists(steps, max_size=6)):
        events.append(Event((end + pause) / 1000, (end + pause + length) / 1000, label, parts / 10_000))
        end += pause + length
    return events


@pytest.mark.parametrize("format", formats.names())
@LAZY
@given(events_apart())
def test_every_format_keeps_times_labels_and_the_scores_it_claims(format: str, events: list[Event]) -> None:
    if format not in EXACT:
        events = [event for event in events if plain(event.label)]
    content = formats.to_bytes({"street": events}, format)
    (read,) = formats.from_bytes(content, format, source="street").values()
    assert sorted(bare(read)) == sorted(bare(events))
    if format in SCORED:
        assert {event.score for event in read} == {event.score for event in events}
    if format in NAMED and (events or format != "raven"):
        assert list(formats.from_bytes(content, format, source="other")) == ["street"]


@LAZY
@given(st.sampled_from(formats.names()), st.text(max_size=200))
def test_any_text_is_read_or_refused_in_one_line(format: str, text: str) -> None:
    refusal = "f: "
    try:
        formats.loads(text, format, source="f")
    except FormatError as error:
        refusal = str(error)
    assert refusal.startswith("f:")
    assert "\n" not in refusal


@LAZY
@given(st.sampled_from(formats.names()), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_one_line(format: str, content: bytes) -> None:
    refusal = "f: "
    for read in (formats.from_bytes, formats.meta_of):
        try:
            read(content, format, source="f")
        except FormatError as error:
            refusal = str(error)
        assert refusal.startswith("f:")
        assert "\n" not in refusal
