"""RTTM: what is written, what is read, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats import rttm

STREET = [Event(0.04, 1.2, "dog barking", 0.91), Event(1.2, 2.0, "a siren")]


def test_rttm() -> None:
    text = rttm.dumps({"clips/street.wav": STREET, "quiet.wav": [], "yard 2.flac": STREET[:1]}, {})
    assert text == (
        "SPEAKER street 1 0.040 1.160 <NA> <NA> dog%20barking 0.9100 <NA>\n"
        "SPEAKER street 1 1.200 0.800 <NA> <NA> a%20siren <NA> <NA>\n"
        "SPKR-INFO quiet 1 <NA> <NA> <NA> unknown <NA> <NA> <NA>\n"
        "SPEAKER yard%202 1 0.040 1.160 <NA> <NA> dog%20barking 0.9100 <NA>\n"
    )
    read = rttm.loads(text, "all.rttm")
    assert read == {"street": STREET, "quiet": [], "yard 2": STREET[:1]}
    names = ["clips/street.wav", "yard 2.flac", "other.wav"]
    assert rttm.with_names(read, names) == {
        "clips/street.wav": STREET,
        "quiet": [],
        "yard 2.flac": STREET[:1],
    }
    assert rttm.dumps({}, {}) == ""
    assert rttm.loads("", "all.rttm") == {}


def test_recordings_of_one_stem_go_by_their_whole_names() -> None:
    events = {"a/x.wav": STREET, "b/x.wav": [], "y.wav": STREET[:1]}
    text = rttm.dumps(events, {})
    assert [line.split()[1] for line in text.splitlines()] == ["a/x.wav", "a/x.wav", "b/x.wav", "y.wav"]
    assert rttm.loads(text, "f") == events
    assert rttm.with_names({"x": STREET, "b/x.wav": []}, events) == {"x": STREET, "b/x.wav": []}


@pytest.mark.parametrize(
    ("label", "cell"),
    [
        ("dog_bark", "dog_bark"),
        ("50% rain", "50%25%20rain"),
        ("%20", "%2520"),
        ("a\tb\nc", "a%09b%0Ac"),
        ('a "b"', "a%20%22b%22"),
        ("a\u00a0b\u2028", "a%C2%A0b%E2%80%A8"),
        ("nan", "%6Ean"),
        ("<NA>", "%3CNA>"),
        ("犬 ü", "犬%20ü"),
    ],
)
def test_labels_without_blanks(label: str, cell: str) -> None:
    text = rttm.dumps({"x": [Event(1, 2, label)]}, {})
    assert text == f"SPEAKER x 1 1.000 1.000 <NA> <NA> {cell} <NA> <NA>\n"
    assert rttm.loads(text, "f") == {"x": [Event(1, 2, label)]}


def test_of_others() -> None:
    text = (
        ";; a remark\r\n"
        "SPKR-INFO meeting 1 <NA> <NA> <NA> unknown SPEAKER_00 <NA>\r\n"
        "SPEAKER meeting 1 0.1 0.2 <NA> <NA> SPEAKER_00 <NA>\r\n\r\n"
        "LEXEME  meeting 1 0.1 0.2 hello lex SPEAKER_00 0.9 <NA>\r\n"
        "SPEAKER\tmeeting 2 3 1.5 <NA> <NA> 100%!%FF -3.5 <NA>\r\n"
    )
    assert rttm.loads(text, "f") == {
        "meeting": [Event(0.1, 0.3, "SPEAKER_00"), Event(3, 4.5, "100%!%FF", -3.5)]
    }


GOOD = "SPEAKER x 1 0 1 <NA> <NA> a <NA> <NA>\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("SPEAKER x 1 0 1", r"^f:2: got 5 cells, the first 'SPEAKER', expected SPEAKER, recording"),
        ("TALKER x 1 0 1 <NA> <NA> a <NA> <NA>", r"^f:2: got 10 cells, the first 'TALKER'"),
        ("SPEAKER x 1 zero 1 <NA> <NA> a <NA> <NA>", r"^f:2: got 'zero' for '1', expected numbers"),
        ("SPEAKER x 1 1 0 <NA> <NA> a <NA> <NA>", r"^f:2: an event lasts from 1\.0 s to 1\.0 s"),
        ("SPEAKER x 1 1 inf <NA> <NA> a <NA> <NA>", r"^f:2: an event lasts from 1\.0 s to inf"),
        ("SPEAKER x 1 0 1 <NA> <NA> a high <NA>", r"^f:2: .*'high'"),
        ("SPEAKER x 1 0 1 <NA> <NA> %20 <NA> <NA>", r"^f:2: an event's label is ' '"),
    ],
)
def test_what_is_refused(line: str, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        rttm.loads(GOOD + line + "\n", "f")
    assert "\n" not in str(caught.value)


def test_blank_names_are_refused() -> None:
    with pytest.raises(FormatError, match="expected one that is not blank"):
        rttm.dumps({" ": []}, {})


TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20).filter(str.strip)


@given(
    TEXT.filter(lambda name: not set("./\\:") & set(name)),
    st.lists(
        st.tuples(st.integers(0, 10**9), st.integers(1, 10**7), TEXT, st.integers(0, 10**4)), max_size=4
    ),
)
def test_whole_milliseconds_come_back(name: str, rows: list[tuple[int, int, str, int]]) -> None:
    events = [Event(at / 1000, (at + length) / 1000, label, part / 10**4) for at, length, label, part in rows]
    assert rttm.loads(rttm.dumps({name: events}, {}), "f") == {name: events}


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    refusal = "f:"
    try:
        rttm.loads(text, "f")
    except FormatError as error:
        refusal = str(error)
    assert refusal.startswith("f:")
    assert "\n" not in refusal
