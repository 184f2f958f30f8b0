"""WebVTT: what is written, what is read, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats import webvtt

STREET = [Event(0.04, 1.2, "dog barking", 0.91), Event(3601.5, 3723.25, "rock & <roll> --> x")]
TEXT = """WEBVTT

NOTE recording: clips/street.wav

1 score=0.9100
00:00:00.040 --> 00:00:01.200
dog barking

2
01:00:01.500 --> 01:02:03.250
rock &amp; &lt;roll&gt; --&gt; x
"""


def test_webvtt() -> None:
    assert webvtt.dumps({"clips/street.wav": STREET}, {}) == TEXT
    assert webvtt.loads(TEXT, "a.vtt") == {"clips/street.wav": STREET}
    assert webvtt.dumps({"clips/street.wav": STREET[::-1]}, {}) == TEXT


def test_no_events() -> None:
    assert webvtt.dumps({"quiet.wav": []}, {}) == "WEBVTT\n\nNOTE recording: quiet.wav\n"
    assert webvtt.loads("WEBVTT\n\nNOTE recording: quiet.wav\n", "a.vtt") == {"quiet.wav": []}
    assert webvtt.dumps({}, {}) == "WEBVTT\n"
    assert webvtt.loads("WEBVTT", "out/a.vtt") == {"a": []}


def test_of_others() -> None:
    text = (
        "WEBVTT - a talk\r\nKind: captions\r\n\r\nSTYLE\r\n::cue { color: red }\r\n\r\nNOTE a --> b\r\n\r\n\r\n"
        "00:01.000 --> 00:02.500 align:start position:10%\r\n<v Ann>Good&nbsp;<i>day</i>\r\nto you\r\n\r\n"
        "intro\r\n100:00:00.000 --> 100:00:01.000\r\nbells"
    )
    events = [Event(1, 2.5, "Good\u00a0day to you"), Event(360000, 360001, "bells")]
    assert webvtt.loads(text.replace("NOTE a --> b", "NOTE a - b"), "a.vtt") == {"a": events}
    with pytest.raises(FormatError, match=r"^a\.vtt:7: got the times 'NOTE a --> b'"):
        webvtt.loads(text, "a.vtt")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("WEBVTT\n", "WEBVTTX\n", r"^f:1: not WebVTT"),
        ("WEBVTT\n", "", r"^f:1: not WebVTT"),
        ("00:00:00.040 --> 00:00:01.200", "0.04 1.2", r"^f:5: got '1 score=0\.9100', expected a cue"),
        ("00:00:01.200", "soon", r"^f:6: got the times '00:00:00\.040 --> soon'"),
        ("00:00:01.200", "00:00:00.040", r"^f:6: an event lasts"),
        ("dog barking\n", "", r"^f:6: an event's label is ''"),
        ("score=0.9100", "score=high", r"^f:6: .*'high'"),
    ],
)
def test_what_is_refused(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(FormatError, match=message) as caught:
        webvtt.loads(TEXT.replace(old, new), "f")
    assert "\n" not in str(caught.value)


def test_what_cannot_be_written() -> None:
    with pytest.raises(FormatError, match="webvtt holds one recording, got 2"):
        webvtt.dumps({"a": [], "b": []}, {})
    with pytest.raises(FormatError, match="webvtt cannot hold"):
        webvtt.dumps({"a": [Event(0, 1, "a\n\nb")]}, {})


LINE = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20).filter(
    lambda text: bool(text.strip()) and not set("\t\n\r\0") & set(text)
)
ROW = st.tuples(st.integers(0, 10**9), st.integers(1, 10**7), LINE, st.integers(0, 10**4) | st.none())


@given(LINE, st.lists(ROW, max_size=4))
def test_whole_milliseconds_come_back(name: str, rows: list[tuple[int, int, str, int | None]]) -> None:
    events = [
        Event(at / 1000, (at + length) / 1000, label, None if part is None else part / 10**4)
        for at, length, label, part in rows
    ]
    read = webvtt.loads(webvtt.dumps({name: events}, {}), "f")
    assert read == {name: sorted(events, key=lambda event: event.onset)}


@given(st.text(max_size=80), st.integers(0, len(TEXT)))
def test_any_text_is_read_or_refused_in_one_line(text: str, at: int) -> None:
    for whole in (text, TEXT[:at] + text + TEXT[at:]):
        refusal = "f:"
        try:
            webvtt.loads(whole, "f")
        except FormatError as error:
            refusal = str(error)
        assert refusal.startswith("f:")
        assert "\n" not in refusal
