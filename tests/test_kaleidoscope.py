"""Kaleidoscope's tables: what is written, what is read, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats import kaleidoscope

STREET = [Event(0.04, 1.2, "dog barking", 0.91), Event(1.2, 2.0, 'a "loud", long siren')]
HEAD = "INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,AUTO ID,CONFIDENCE,MANUAL ID\n"


def test_kaleidoscope() -> None:
    events = {
        "clips/day 1/street.wav": STREET,
        "quiet.wav": [],
        "D:\\bats\\x.wav": STREET[:1],
        "still.wav": [],
    }
    text = kaleidoscope.dumps(events, {"durations": {"quiet.wav": 60}})
    assert text == HEAD + (
        "clips/day 1,,street.wav,0,0.040,1.160,dog barking,0.9100,\n"
        'clips/day 1,,street.wav,0,1.200,0.800,"a ""loud"", long siren",,\n'
        ",,quiet.wav,0,0.000,60.000,,,\n"
        "D:\\bats,,x.wav,0,0.040,1.160,dog barking,0.9100,\n"
        ",,still.wav,0,0.000,,,,\n"
    )
    assert kaleidoscope.loads(text, "a.csv") == events
    assert kaleidoscope.dumps({}, {}) == HEAD
    assert kaleidoscope.loads(HEAD, "a.csv") == {}


def test_of_kaleidoscope_itself() -> None:
    # bats, as id.csv has them: other columns, another order, stars, a person's corrections
    text = (
        "INDIR,OUTDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,OUT FILE FS,DATE,TIME,AUTO ID*,PULSES,MATCHING,"
        "MATCH RATIO,MARGIN,Dur,FILES,MANUAL ID\r\n"
        "D:\\bats,,night1,S4U_1.wav,0,0,5,,2024-07-01,21:30:00,PIPPIP,12,10,0.833,0.5,4.4,1,\r\n"
        "D:\\bats,,night1,S4U_1.wav,0,5.5,2.25,,2024-07-01,21:30:05,PIPPIP,12,10,0.5,0.5,4.4,1,PIPPYG\r\n"
        "D:\\bats,,night1,S4U_2.wav,0,0,5,,2024-07-01,21:40:00,NoID,1,0,0,0,4.4,1,\r\n"
        "D:\\bats,,night2,S4U_3.wav,0,0,5,,2024-07-01,21:40:00,PIPPIP,1,1,1,0,4.4,1,PIPPIP\r\n"
    )
    assert kaleidoscope.loads(text, "id.csv") == {
        "D:\\bats\\night1\\S4U_1.wav": [Event(0, 5, "PIPPIP", 0.833), Event(5.5, 7.75, "PIPPYG")],
        "D:\\bats\\night1\\S4U_2.wav": [],
        "D:\\bats\\night2\\S4U_3.wav": [Event(0, 5, "PIPPIP", 1.0)],
    }
    clusters = (
        "MANUAL ID,TOP1DIST,TOP1MATCH*,DURATION,OFFSET,IN FILE,FOLDER,INDIR\n"
        ",0.31,wren.1,1.5,10.25,a.wav,site1,/data/\nwren,0.31,wren.1,1.5,20,a.wav,site1,/data/\n"
    )
    events = [Event(10.25, 11.75, "wren.1"), Event(20, 21.5, "wren")]
    assert kaleidoscope.loads(clusters, "cluster.csv") == {"/data/site1/a.wav": events}


def test_of_birdnet() -> None:
    text = (
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,scientific_name,common_name,confidence,lat,lon,week\n"
        "/data,site1,rec1.wav,3.0,3.0,Turdus merula,Eurasian Blackbird,0.8123,-1,-1,-1\n"
    )
    assert kaleidoscope.loads(text, "a.csv") == {
        "/data/site1/rec1.wav": [Event(3, 6, "Eurasian Blackbird", 0.8123)]
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"^f:1: got an empty file, expected a header INDIR"),
        ("IN FILE,OFFSET,AUTO ID\n", r"^f:1: header .* has no column DURATION, expected INDIR"),
        ("IN FILE,OFFSET,DURATION\n", r"^f:1: header .* has no column AUTO ID or MANUAL ID"),
        ("IN FILE,OFFSET,OFFSET,DURATION,AUTO ID\n", r"^f:1: header .* has a column twice"),
        (HEAD + ",,a.wav,0,0,1,dog,,\n,,a.wav,0,0,1,dog,,,extra\n", r"^f:3: got 10 cells, expected 9"),
        (HEAD + ",,,0,0,1,dog,,\n", r"^f:2: IN FILE is blank"),
        (HEAD + ",,a.wav,0,zero,1,dog,,\n", r"^f:2: got 'zero' for '1', expected numbers"),
        (HEAD + ",,a.wav,0,1,0,dog,,\n", r"^f:2: an event lasts"),
        (HEAD + ",,a.wav,0,0,1,dog,high,\n", r"^f:2: .*'high'"),
        (HEAD + ',,a.wav,0,0,1,"dog,,\n', r"^f:2: not a table"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        kaleidoscope.loads(text, "f")
    assert "\n" not in str(caught.value)


def test_what_cannot_be_written() -> None:
    for name, message in ((" ", "not blank"), ("a/", "ends with a file's"), ("a\0", "null character")):
        with pytest.raises(FormatError, match=message):
            kaleidoscope.dumps({name: []}, {})
    with pytest.raises(FormatError, match="cannot hold the label 'NoID'"):
        kaleidoscope.dumps({"a": [Event(0, 1, "NoID")]}, {})


TEXT = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=20
).filter(str.strip)
NAME = st.builds(
    str.__add__, st.text("a/\\: .\n", max_size=8), TEXT.filter(lambda name: not set("/\\") & set(name))
)
ROW = st.tuples(st.integers(0, 10**9), st.integers(1, 10**7), TEXT, st.integers(0, 10**4) | st.none())


@given(st.dictionaries(NAME, st.lists(ROW, max_size=3), max_size=3))
def test_whole_milliseconds_come_back(rows: dict[str, list[tuple[int, int, str, int | None]]]) -> None:
    events = {
        name: [
            Event(at / 1000, (at + length) / 1000, label, None if part is None else part / 10**4)
            for at, length, label, part in own
        ]
        for name, own in rows.items()
    }
    assert kaleidoscope.loads(kaleidoscope.dumps(events, {}), "f") == events


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    for whole in (text, HEAD + text):
        refusal = "f:"
        try:
            kaleidoscope.loads(whole, "f")
        except FormatError as error:
            refusal = str(error)
        assert refusal.startswith("f:")
        assert "\n" not in refusal
