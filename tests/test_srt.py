"""SubRip subtitles: what is written, what is read, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats import srt

STREET = [Event(0.04, 1.2, "dog barking", 0.91), Event(3601.5, 3723.25, "rock & <i>roll</i> {\\an8}")]
TEXT = """1
00:00:00,040 --> 00:00:01,200
dog barking

2
01:00:01,500 --> 01:02:03,250
rock &amp; &lt;i&gt;roll&lt;/i&gt; &#123;\\an8}
"""


def bare(event: Event) -> Event:
    return Event(event.onset, event.offset, event.label)


def test_srt() -> None:
    assert srt.dumps({"street.wav": STREET}, {}) == TEXT
    assert srt.dumps({"street.wav": STREET[::-1]}, {}) == TEXT
    assert srt.loads(TEXT, "out/street.srt") == {"street": [bare(event) for event in STREET]}


def test_no_events() -> None:
    assert srt.dumps({"quiet.wav": []}, {}) == srt.dumps({}, {}) == ""
    assert srt.loads("", "quiet.srt") == {"quiet": []}


def test_of_others() -> None:
    text = (
        "\r\n1\r\n00:00:01,000 --> 00:00:02,500 X1:10 X2:20 Y1:5 Y2:9\r\n"
        '{\\an8}<i>Good</i> <font color="#ff0000">day</font>\r\na < b\r\n \r\n'
        "00:00:03.000 --> 00:00:04.000\r\n12\r\n"
    )
    assert srt.loads(text, "a.srt") == {"a": [Event(1, 2.5, "Good day a < b"), Event(3, 4, "12")]}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("00:00:00,040 --> 00:00:01,200\n", "", r"^f:1: got '1', expected a cue"),
        ("00:00:01,200", "00:00:01", r"^f:2: got the times"),
        ("00:00:01,200", "00:00:00,040", r"^f:2: an event lasts"),
        ("dog barking\n", "", r"^f:2: an event's label is ''"),
        ("01:02:03,250", "01:00:01,500", r"^f:6: an event lasts"),
    ],
)
def test_what_is_refused(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(FormatError, match=message) as caught:
        srt.loads(TEXT.replace(old, new), "f")
    assert "\n" not in str(caught.value)


def test_what_cannot_be_written() -> None:
    with pytest.raises(FormatError, match="srt holds one recording, got 2"):
        srt.dumps({"a": [], "b": []}, {})
    with pytest.raises(FormatError, match="srt cannot hold"):
        srt.dumps({"a": [Event(0, 1, "a\n\nb")]}, {})


LINE = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20).filter(
    lambda text: bool(text.strip()) and not set("\t\n\r\0") & set(text)
)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 10**7), LINE), max_size=4))
def test_whole_milliseconds_come_back(rows: list[tuple[int, int, str]]) -> None:
    events = [Event(at / 1000, (at + length) / 1000, label) for at, length, label in rows]
    read = srt.loads(srt.dumps({"x": events}, {}), "x.srt")
    assert read == {"x": sorted(events, key=lambda event: event.onset)}


@given(st.text(max_size=80), st.integers(0, len(TEXT)))
def test_any_text_is_read_or_refused_in_one_line(text: str, at: int) -> None:
    for whole in (text, TEXT[:at] + text + TEXT[at:]):
        refusal = "f:"
        try:
            srt.loads(whole, "f")
        except FormatError as error:
            refusal = str(error)
        assert refusal.startswith("f:")
        assert "\n" not in refusal
