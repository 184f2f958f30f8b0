"""ELAN's eaf: what is written, what is read, and what is refused."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats import elan

DOG, SIREN = Event(0.04, 1.2, 'dogs & "cats"', 0.91), Event(1.0, 2.5, "siren", 0.5)
TEXT = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="peaframe" DATE="1970-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0" \
xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">
    <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
        <MEDIA_DESCRIPTOR MEDIA_URL="./clips/street.wav" MIME_TYPE="audio/x-wav" RELATIVE_MEDIA_URL="./street.wav"/>
        <PROPERTY NAME="peaframe recording">clips/street.wav</PROPERTY>
        <PROPERTY NAME="lastUsedAnnotationId">2</PROPERTY>
    </HEADER>
    <TIME_ORDER>
        <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="40"/>
        <TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="1000"/>
        <TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="1200"/>
        <TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="2500"/>
    </TIME_ORDER>
    <TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID='dogs &amp; "cats"'>
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
                <ANNOTATION_VALUE>dogs &amp; "cats"</ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="siren">
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
                <ANNOTATION_VALUE>siren</ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
    </TIER>
    <LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="default-lt" TIME_ALIGNABLE="true"/>
</ANNOTATION_DOCUMENT>
"""


def bare(event: Event) -> Event:
    return Event(event.onset, event.offset, event.label)


def test_elan() -> None:
    text = elan.dumps({"clips/street.wav": [SIREN, DOG]}, {})
    assert text == TEXT
    assert elan.loads(text, "a.eaf") == {"clips/street.wav": [bare(DOG), bare(SIREN)]}


def test_no_events() -> None:
    text = elan.dumps({"quiet.wav": []}, {})
    root = ElementTree.fromstring(text)
    assert [child.tag for child in root] == ["HEADER", "TIME_ORDER", "LINGUISTIC_TYPE"]
    assert elan.loads(text, "a.eaf") == {"quiet.wav": []}
    assert elan.loads(elan.dumps({}, {}), "a.eaf") == {"a": []}


def test_overlaps_of_one_label_are_one() -> None:
    events = [Event(0, 2, "a"), Event(1, 3, "a"), Event(3, 4, "a"), Event(2, 5, "b")]
    read = elan.loads(elan.dumps({"x": events}, {}), "x.eaf")["x"]
    assert read == [Event(0, 3, "a"), Event(2, 5, "b"), Event(3, 4, "a")]


@pytest.mark.parametrize(
    ("name", "address", "beside"),
    [
        ("/data/a b.mp4", "file:///data/a b.mp4", "./a b.mp4"),
        ("C:\\data\\a.wav", "file:///C:/data/a.wav", "./a.wav"),
        ("a&b.flac", "./a&b.flac", "./a&b.flac"),
    ],
)
def test_the_linked_recording(name: str, address: str, beside: str) -> None:
    text = elan.dumps({name: [SIREN]}, {})
    media = ElementTree.fromstring(text).find("HEADER/MEDIA_DESCRIPTOR")
    assert (media.get("MEDIA_URL"), media.get("RELATIVE_MEDIA_URL")) == (address, beside)
    assert list(elan.loads(text, "a.eaf")) == [name]


def test_of_others() -> None:
    # as ELAN writes them: a subdivided tier, values without text, annotations that refer to others
    text = """<?xml version='1.0' encoding='UTF-16'?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2020-01-01T00:00:00+01:00" FORMAT="2.8" VERSION="2.8">
<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
<MEDIA_DESCRIPTOR MEDIA_URL="file:///home/ann/my%20sounds/wood%201.wav" MIME_TYPE="audio/x-wav"/>
<PROPERTY NAME="URN">urn:nl-mpi-tools-elan-eaf:1</PROPERTY></HEADER>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="a" TIME_VALUE="1000"/><TIME_SLOT TIME_SLOT_ID="b"/>
<TIME_SLOT TIME_SLOT_ID="c"/><TIME_SLOT TIME_SLOT_ID="d" TIME_VALUE="4000"/></TIME_ORDER>
<TIER LINGUISTIC_TYPE_REF="t" TIER_ID="bird"><ANNOTATION>
<ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="a" TIME_SLOT_REF2="d"><ANNOTATION_VALUE/>
</ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
<TIER LINGUISTIC_TYPE_REF="t" TIER_ID="syllables" PARENT_REF="bird">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="a" TIME_SLOT_REF2="b">
<ANNOTATION_VALUE>tsi</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="b" TIME_SLOT_REF2="c">
<ANNOTATION_VALUE>tsi</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a4" TIME_SLOT_REF1="c" TIME_SLOT_REF2="d">
<ANNOTATION_VALUE>b&#233;</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
<TIER LINGUISTIC_TYPE_REF="t" TIER_ID="notes" PARENT_REF="bird"><ANNOTATION>
<REF_ANNOTATION ANNOTATION_ID="a5" ANNOTATION_REF="a1"><ANNOTATION_VALUE>loud</ANNOTATION_VALUE></REF_ANNOTATION>
</ANNOTATION></TIER></ANNOTATION_DOCUMENT>"""
    events = [Event(1, 2, "tsi"), Event(1, 4, "bird"), Event(2, 3, "tsi"), Event(3, 4, "bé")]
    assert elan.loads(text, "x.eaf") == {"wood 1.wav": events}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</TIER>", "", r"^f:29: not XML \(mismatched tag\)"),
        ("ANNOTATION_DOCUMENT", "DOCUMENT", r"^f:2: got <DOCUMENT>, expected ELAN's <ANNOTATION_DOCUMENT>"),
        ('"1200"', '"1.2 s"', r"^f:11: got TIME_VALUE '1\.2 s', expected whole milliseconds"),
        ('"1200"', '"20"', r"^f:16: an event lasts from 0\.04 s to 0\.02 s"),
        (' TIME_VALUE="1200"', "", r"^f:16: got an annotation whose time slot 'ts2' has no time"),
        ('"ts4">', '"ts9">', r"^f:23: got an annotation whose time slot 'ts9' has no time"),
        ('"UTF-8"?>\n', '"UTF-8"?><!DOCTYPE a>\n', r"^f:1: got a DOCTYPE"),
    ],
)
def test_what_is_refused(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(FormatError, match=message) as caught:
        elan.loads(TEXT.replace(old, new), "f")
    assert "\n" not in str(caught.value)


def test_what_cannot_be_written() -> None:
    with pytest.raises(FormatError, match="elan holds one recording, got 2"):
        elan.dumps({"a": [], "b": []}, {})
    for label, message in (("a\nb", "tabs and line breaks"), ("a\x01", "that XML does not know")):
        with pytest.raises(FormatError, match=message):
            elan.dumps({"a": [Event(0, 1, label)]}, {})
    with pytest.raises(FormatError, match="expected one that is not blank"):
        elan.dumps({"": []}, {})


LINE = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")), min_size=1, max_size=20).filter(
    str.strip
)


@given(LINE, st.dictionaries(LINE, st.lists(st.integers(0, 10**9), max_size=6, unique=True), max_size=3))
def test_what_does_not_overlap_comes_back(name: str, tiers: dict[str, list[int]]) -> None:
    events = [
        Event(onset / 1000, offset / 1000, label)
        for label, moments in tiers.items()
        for onset, offset in zip(sorted(moments)[::2], sorted(moments)[1::2], strict=False)
    ]
    assert elan.loads(elan.dumps({name: events}, {}), "f") == {name: sorted(events)}


@given(st.text(max_size=100), st.integers(0, len(TEXT)))
def test_any_text_is_read_or_refused_in_one_line(text: str, at: int) -> None:
    for whole in (text, TEXT[:at] + text + TEXT[at:]):
        refusal = "f:"
        try:
            elan.loads(whole, "f")
        except FormatError as error:
            refusal = str(error)
        assert refusal.startswith("f:")
        assert "\n" not in refusal
