"""Praat's TextGrid: what is written, what is read, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats import textgrid

# by hand, from Praat's manual
LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.5
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "a ""big"" dog"
        xmin = 0
        xmax = 2.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.04
            text = ""
        intervals [2]:
            xmin = 0.04
            xmax = 1.2
            text = "a ""big"" dog"
        intervals [3]:
            xmin = 1.2
            xmax = 2.5
            text = ""
    item [2]:
        class = "IntervalTier"
        name = "siren"
        xmin = 0
        xmax = 2.5
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 1
            text = ""
        intervals [2]:
            xmin = 1
            xmax = 2.5
            text = "siren"
"""
SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
2.5
<exists>
3
"IntervalTier"
"words"
0
2.5
2
0
1.25
"hello"
1.25
2.5
" "
"TextTier"
"bells"
0
2.5
1
0.75
"ding"
"IntervalTier"
"birds"
0 2.5 1 ! a remark "as Praat allows"
0 2.5 "tit
or wren"
"""
DOG, SIREN = Event(0.04, 1.2, 'a "big" dog', 0.91), Event(1.0, 2.5, "siren", 0.5)


def bare(event: Event) -> Event:
    return Event(event.onset, event.offset, event.label)


def test_long_form() -> None:
    text = textgrid.dumps({"street.wav": [SIREN, DOG]}, {"durations": {"street.wav": 2.5}})
    assert text == LONG
    assert textgrid.loads(text, "out/street.TextGrid") == {"street": [bare(DOG), bare(SIREN)]}
    assert textgrid.dumps({"street.wav": [SIREN, DOG]}, {}) == LONG
    assert textgrid.dumps({"street.wav": [SIREN, DOG]}, {"durations": {"street.wav": 2.0}}) == LONG


def test_short_form() -> None:
    events = [Event(0, 1.25, "hello"), Event(0, 2.5, "tit\nor wren")]
    assert textgrid.loads(SHORT, "a.TextGrid") == {"a": events}
    assert textgrid.loads(SHORT.replace("\n", "\r\n").replace("tit\r\n", "tit\n"), "a.TextGrid") == {
        "a": events
    }


def test_overlaps_of_one_label_are_one() -> None:
    events = [Event(0, 2, "a"), Event(1, 3, "a"), Event(1.5, 1.75, "a"), Event(3, 4, "a"), Event(2, 5, "b")]
    read = textgrid.loads(textgrid.dumps({"x": events}, {}), "x")["x"]
    assert read == [Event(0, 3, "a"), Event(2, 5, "b"), Event(3, 4, "a")]


def test_no_events() -> None:
    text = textgrid.dumps({"quiet.wav": []}, {"durations": {"quiet.wav": 60}})
    lines = [line.strip() for line in text.splitlines()]
    assert lines[4:7] == ["xmax = 60", "tiers? <exists>", "size = 1"]
    assert lines[-6:] == [
        "xmax = 60",
        "intervals: size = 1",
        "intervals [1]:",
        "xmin = 0",
        "xmax = 60",
        'text = ""',
    ]
    assert textgrid.loads(text, "quiet.TextGrid") == {"quiet": []}
    assert textgrid.loads(textgrid.dumps({}, {}), "x") == {"x": []}
    absent = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n1\n<absent>\n'
    assert textgrid.loads(absent, "x") == {"x": []}


def test_what_cannot_be_written() -> None:
    with pytest.raises(FormatError, match="textgrid holds one recording, got 2"):
        textgrid.dumps({"a": [], "b": []}, {})
    with pytest.raises(FormatError, match="textgrid cannot hold"):
        textgrid.dumps({"a": [Event(0, 1, "a\nb")]}, {})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ooTextFile", "ooBinaryFile", r'^f:1: not a TextGrid; expected "ooTextFile"'),
        ('"TextGrid"', '"PitchTier"', r"^f:2: not a TextGrid"),
        (
            "xmax = 2.5\ntiers",
            "xmax = long\ntiers",
            r"^f:6: got the flag '<exists>', expected a number: xmax",
        ),
        ("size = 2\nitem", "size = 1.5\nitem", r"^f:7: got 1\.5 as size, expected a count"),
        (
            "size = 2\nitem",
            "size = 3\nitem",
            r"^f:40: got the end of the file, expected a text: IntervalTier",
        ),
        (
            '"IntervalTier"\n        name = "siren"',
            '"Tier"\n        name = "siren"',
            r"^f:28: got a tier 'Tier'",
        ),
        ("xmax = 1.2", "xmax = 0.01", r"^f:21: an event lasts from 0\.04 s to 0\.01 s"),
        ('text = "siren"', 'text = "siren', r"^f:40: got the quote"),
    ],
)
def test_what_is_refused(old: str, new: str, message: str) -> None:
    assert LONG.count(old) >= 1
    with pytest.raises(FormatError, match=message) as caught:
        textgrid.loads(LONG.replace(old, new, 1), "f")
    assert "\n" not in str(caught.value)


TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20).filter(str.strip)
LINE = TEXT.filter(lambda text: not set("\t\n\r\0") & set(text))


@given(st.dictionaries(LINE, st.lists(st.integers(0, 10**7), max_size=6, unique=True), max_size=3))
def test_what_does_not_overlap_comes_back(tiers: dict[str, list[int]]) -> None:
    events = [
        Event(onset / 1000, offset / 1000, label)
        for label, moments in tiers.items()
        for onset, offset in zip(sorted(moments)[::2], sorted(moments)[1::2], strict=False)
    ]
    assert textgrid.loads(textgrid.dumps({"x": events}, {}), "x") == {"x": sorted(events)}


@given(st.floats(0, 1e9), st.floats(1e-12, 1e9))
def test_times_move_by_no_more_than_a_microsecond(onset: float, length: float) -> None:
    if onset + length > onset:
        event = Event(onset, onset + length, "a")
        (read,) = textgrid.loads(textgrid.dumps({"x": [event]}, {}), "x")["x"]
        assert read.onset == pytest.approx(event.onset, abs=1e-6, rel=1e-15)
        assert read.offset == pytest.approx(event.offset, abs=2e-6, rel=1e-15)


@given(st.text('"!<exists> \n01.x=[]', max_size=80))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n'
    for whole in (text, head + text):
        refusal = "f:"
        try:
            textgrid.loads(whole, "f")
        except FormatError as error:
            refusal = str(error)
        assert refusal.startswith("f:")
        assert "\n" not in refusal
