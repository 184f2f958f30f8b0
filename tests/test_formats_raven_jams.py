"""Raven's selection tables and JAMS: what is written, what is read, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaframe import formats
from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats import jams

STREET = [Event(0.04, 1.2, "dog barking", 0.91), Event(1.2, 2.0, "a siren", None)]
YARD = [Event(3.5, 4.25, "door", 0.5)]
HEADER = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tBegin Path\tBegin File\t"
    "File Offset (s)\tAnnotation\tScore\n"
)


def tabs(*rows: str) -> str:
    return "".join("\t".join(cell.strip() for cell in row.split("|")) + "\n" for row in rows)


def test_suffixes() -> None:
    for name in ("a.jams", "x/a.b.JAMS"):
        assert formats.for_path(name) == "jams"
    for name in ("street.Table.1.selections.txt", "a.SELECTIONS.TXT"):
        assert formats.for_path(name) == "raven"
    assert [formats.for_path(name) for name in ("a.txt", "selections.txt", "a.b.txt")] == ["audacity"] * 3


def test_raven_of_one_recording() -> None:
    text = formats.dumps({"street.wav": STREET}, "raven")
    row = "Spectrogram 1\t1\t{}\t0.0\t24000.0\tstreet.wav\tstreet.wav\t{}\n"
    assert text == HEADER + "1\t" + row.format(
        "0.040000\t1.200000", "0.040000\tdog barking\t0.9100"
    ) + "2\t" + row.format("1.200000\t2.000000", "1.200000\ta siren\t")
    assert formats.loads(text, "raven") == {"street.wav": STREET}


def test_raven_of_several_counts_over_all_of_them() -> None:
    events = {"street.wav": STREET, "quiet.wav": [], "clips/yard 2.flac": YARD}
    meta = {"durations": {"street.wav": 2.5, "quiet.wav": 60, "clips/yard 2.flac": 10.0}}
    text = formats.dumps(events, "raven", meta)
    last = text.splitlines()[-1].split("\t")
    assert last[:1] + last[3:5] == ["3", "66.000000", "66.750000"]  # 2.5 + 60 + 3.5
    assert last[7:] == ["clips/yard 2.flac", "yard 2.flac", "3.500000", "door", "0.5000"]
    assert formats.loads(text, "raven") == {"street.wav": STREET, "clips/yard 2.flac": YARD}
    for durations in (
        None,
        {},
        {"street.wav": 2.5, "quiet.wav": 60},
        {**meta["durations"], "quiet.wav": True},
    ):
        with pytest.raises(
            FormatError, match=r'give meta\["durations"\] in seconds, or write a file for each'
        ):
            formats.dumps(events, "raven", {"durations": durations})
    meta["durations"]["street.wav"] = 1.9
    with pytest.raises(FormatError, match=r"street\.wav: got an event until 2\.0 s in a recording of 1\.9 s"):
        formats.dumps(events, "raven", meta)


def test_raven_as_raven_saves_it() -> None:
    # both views of each selection, two channels, other measurements, and no name of the recording
    text = tabs(
        "Selection | View | Channel | Begin Time (s) | End Time (s) | Low Freq (Hz) | High Freq (Hz) | Species | Peak",
        "1 | Waveform 1 | 1 | 0.5 | 1.5 | 0.0 | 8000.0 | owl | 12",
        "1 | Spectrogram 1 | 1 | 0.5 | 1.5 | 200.0 | 900.5 | owl | 12",
        "1 | Spectrogram 1 | 2 | 0.5 | 1.5 | 200.0 | 900.5 | owl | 12",
        "2 | Spectrogram 1 | 1 | 0.5 | 1.5 | 200.0 | 900.5 | owl | 7",
        "3 | Spectrogram 1 | 1 | 4 | 5 | 1 | 2 | frog",
    ).replace("\n", "\r\n")
    owl = Event(0.5, 1.5, "owl")
    read = formats.loads(text, "raven", source="C:\\d\\night 3.Table.2.selections.txt")
    assert read == {"night 3": [owl, owl, Event(4, 5, "frog")]}
    for head in (text.splitlines()[0] + "\n", HEADER):
        assert formats.loads(head, "raven", source="x/night.selections.txt") == {"night": []}


def test_raven_of_several_recordings_from_elsewhere() -> None:
    head = (
        "Selection | Begin Time (s) | End Time (s) | Begin File | File Offset (s) | Common Name | Confidence"
    )
    text = tabs(
        head,
        "1 | 1.0 | 2.5 | a.wav | 1.0 | wren | 0.75",
        "2 | 61.25 | 62.0 | b.wav | 1.25 | wren |",
        "3 | 60.5 | 61 | b.wav | 0.5 | crow | 0.1",
    )
    assert formats.loads(text, "raven") == {
        "a.wav": [Event(1.0, 2.5, "wren", 0.75)],
        "b.wav": [Event(1.25, 2.0, "wren"), Event(0.5, 1.0, "crow", 0.1)],
    }
    without = tabs("Begin Time (s) | End Time (s) | Begin File | Label", "1 | 2 | a | x", "3 | 4 | a | y")
    assert formats.loads(without, "raven") == {"a": [Event(1, 2, "x"), Event(3, 4, "y")]}
    with pytest.raises(FormatError, match=r"^f:4: got a second recording, 'b', expected a File Offset"):
        formats.loads(without + "5\t6\tb\tz\n", "raven", source="f")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"^f\.txt:1: got an empty file"),
        ("\n\na\tb\n", r"^f\.txt:3: header .* no column begin time \(s\), end time \(s\)"),
        (
            "Begin Time (s)\tEnd Time (s)\tPeak\n",
            r"^f\.txt:1: header .* no column of labels, expected one of",
        ),
        ("Begin Time (s)\tEnd Time (s)\tEnd Time (s)\n", r"^f\.txt:1: header .* a column twice"),
        (HEADER + "1\tv\t1\t0,5\t1\t0\t1\t\t\t\tx\t\n", r"^f\.txt:2: got '0,5' to '1', expected numbers"),
        (HEADER + "1\tv\t1\t2\t1\t0\t1\t\t\t\tx\t\n", r"^f\.txt:2: an event lasts from 2\.0 s to 1\.0 s"),
        (HEADER + "1\tv\t1\t0\t1\t0\t1\t\t\t\t\t\n", r"^f\.txt:2: an event's label is ''"),
        (HEADER + "1\tv\t1\t0\t1\t0\t1\ta\ta\tlate\tx\t\n", r"^f\.txt:2: got the file offset 'late'"),
        (HEADER + "1\tv\t1\t0\t1\t0\t1\ta\ta\tnan\tx\t\n", r"^f\.txt:2: an event lasts from nan"),
        (HEADER + "1\tv\t1\t0\t1\t0\t1\ta\ta\t0\tx\t\t\n", r"^f\.txt:2: got 13 cells, expected 12"),
    ],
)
def test_raven_that_is_none(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        formats.loads(text, "raven", source="f.txt")
    assert "\n" not in str(caught.value)


def test_raven_refuses_labels_of_several_cells() -> None:
    for label in ("a\tb", "a\nb", "a\rb", "a\0b"):
        with pytest.raises(FormatError, match="raven cannot hold"):
            formats.dumps({"x": [Event(0, 1, label)]}, "raven")
        with pytest.raises(FormatError, match="raven cannot hold"):
            formats.dumps({label: [Event(0, 1, "x")]}, "raven")


def test_jams_as_it_is_written() -> None:
    meta = {"model": "peaframe-mini", "durations": {"street.wav": 2.5}}
    text = formats.dumps({"street.wav": STREET}, "jams", meta)
    assert json.loads(text) == {
        "file_metadata": {
            "jams_version": "0.3.5",
            "identifiers": {"filename": "street.wav"},
            "duration": 2.5,
        },
        "annotations": [
            {
                "namespace": "segment_open",
                "time": 0,
                "duration": 2.5,
                "annotation_metadata": {"annotation_tools": "peaframe"},
                "sandbox": {},
                "data": [
                    {"time": 0.04, "duration": 1.16, "value": "dog barking", "confidence": 0.91},
                    {"time": 1.2, "duration": 0.8, "value": "a siren", "confidence": None},
                ],
            }
        ],
        "sandbox": {"peaframe": meta},
    }
    assert formats.loads(text, "jams") == {"street.wav": STREET}
    assert formats.loads(formats.dumps({"quiet.wav": []}, "jams"), "jams") == {"quiet.wav": []}
    for events, least in ((STREET, 2.0), ([], 0.0)):  # a length that nobody gave
        bare = json.loads(formats.dumps({"x": events}, "jams"))
        assert (bare["file_metadata"]["duration"], bare["annotations"][0]["duration"]) == (least, None)
    assert formats.loads(formats.dumps({}, "jams"), "jams", source="d/street.jams") == {"street": []}
    with pytest.raises(FormatError, match="jams holds one recording, got 2; write a file for each"):
        formats.dumps({"a": [], "b": []}, "jams")
    with pytest.raises(FormatError, match="expected one that is not blank"):
        formats.dumps({" ": []}, "jams")
    with pytest.raises(FormatError, match="meta cannot be written as JSON"):
        formats.dumps({}, "jams", {"x": float("nan")})


def part(namespace: str, data: object) -> dict[str, object]:
    return {"namespace": namespace, "annotation_metadata": {}, "data": data}


def seen(time: object, duration: object, value: object, confidence: object = None) -> dict[str, object]:
    return {"time": time, "duration": duration, "value": value, "confidence": confidence}


def test_jams_from_elsewhere() -> None:
    scene = [
        seen(0.0, 10.0, {"label": "park", "role": "background", "snr": 0}, 1.0),
        seen(2.1, 0.4, {"label": "siren", "role": "foreground", "snr": 3.5}, 1.0),
    ]
    dense = {"time": [0.1, 3], "duration": [0.2, 1], "value": ["dog", "cat"], "confidence": [0.5, None]}
    document = {
        "file_metadata": {"title": "", "duration": 10.0, "identifiers": {}},
        "annotations": [
            part("scaper", scene),
            part("beat", [seen(0, 0, 1.0)]),
            part("segment_open", dense),
            part("tag_open", [seen(0, 10, "street", 0.9)]),
        ],
    }
    text = json.dumps(document)
    assert formats.loads(text, "jams", source="x/soundscape 1.jams") == {
        "soundscape 1": [
            Event(2.1, 2.5, "siren", 1.0),
            Event(0.1, 0.3, "dog", 0.5),
            Event(3.0, 4.0, "cat"),
            Event(0.0, 10.0, "street", 0.9),
        ]
    }
    told = jams.observations(text, "f")
    assert [(item.namespace, item.label, item.where) for item in told] == [
        ("scaper", "siren", "f: annotations[0].data[1]"),
        ("segment_open", "dog", "f: annotations[2].data[0]"),
        ("segment_open", "cat", "f: annotations[2].data[1]"),
        ("tag_open", "street", "f: annotations[3].data[0]"),
    ]
    point = json.dumps({"annotations": [part("tag_open", [seen(0, 0, "street")])]})
    assert [(item.onset, item.duration) for item in jams.observations(point)] == [(0.0, 0.0)]
    with pytest.raises(
        FormatError, match=r"^f: annotations\[0\]\.data\[0\]: an event lasts from 0\.0 s to 0\.0"
    ):
        formats.loads(point, "jams", source="f")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ('{\n"annotations": }', r"^f:2: not JSON"),
        ("[" * 100_000, r"^f:1: not JSON"),
        ("[]", r"^f:1: not JAMS"),
        ({"annotations": {}}, r"^f:1: not JAMS"),
        ({"annotations": [3]}, r"^f: annotations\[0\]: got no namespace"),
        ({"annotations": [part("segment_open", None)]}, r"^f: annotations\[0\]: got NoneType as data"),
        (
            {"annotations": [part("segment_open", {"time": [1], "value": []})]},
            r"annotations\[0\]: got dict as data, expected a list",
        ),
    ],
)
def test_jams_that_is_none(document: object, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        formats.loads(document if isinstance(document, str) else json.dumps(document), "jams", source="f")


@pytest.mark.parametrize(
    ("namespace", "item"),
    [
        ("segment_open", 5),
        ("segment_open", seen("0", 1, "a")),
        ("segment_open", seen(True, 1, "a")),
        ("segment_open", seen(0, None, "a")),
        ("segment_open", seen(0, 1, {"label": "a"})),
        ("segment_open", seen(0, 1, " ")),
        ("segment_open", seen(-1, 2, "a")),
        ("segment_open", seen(0, float("nan"), "a")),
        ("segment_open", seen(0, 10**400, "a")),
        ("segment_open", seen(0, 0, "a")),
        ("segment_open", seen(0, 1, "a", "sure")),
        ("segment_open", seen(0, 1, "a", float("inf"))),
        ("scaper", seen(0, 1, "a")),
        ("scaper", seen(0, 1, {"label": "a", "role": "star"})),
        ("scaper", seen(0, 1, {"role": "foreground"})),
    ],
)
def test_jams_observations_that_are_none(namespace: str, item: object) -> None:
    first = seen(0, 1, {"label": "ok", "role": "foreground"} if namespace == "scaper" else "ok")
    text = json.dumps({"annotations": [part("beat", []), part(namespace, [first, item])]})
    with pytest.raises(FormatError, match=r"^f: annotations\[1\]\.data\[1\]: ") as caught:
        formats.loads(text, "jams", source="f")
    assert "\n" not in str(caught.value)


def test_files(tmp_path: Path) -> None:
    for name in ("street.jams", "street.selections.txt"):
        formats.save(tmp_path / name, {"street.wav": STREET})
        assert formats.load(tmp_path / name) == {"street.wav": STREET}


TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20).filter(str.strip)
LINE = TEXT.filter(lambda text: not set("\t\n\r\0") & set(text))


@st.composite
def exact(draw: st.DrawFn, label: st.SearchStrategy[str]) -> Event:
    """Whole milliseconds and scores of 4 decimals, which every format keeps."""
    onset, length = draw(st.integers(0, 10**8)), draw(st.integers(1, 10**7))
    score = draw(st.one_of(st.none(), st.integers(0, 10_000).map(lambda parts: parts / 10_000)))
    return Event(onset / 1000, (onset + length) / 1000, draw(label), score)


@given(st.dictionaries(LINE, st.lists(exact(LINE), max_size=4), max_size=3))
def test_raven_keeps_all_but_empty_recordings(events: dict[str, list[Event]]) -> None:
    durations = {name: max((e.offset for e in own), default=1.0) for name, own in events.items()}
    read = formats.loads(formats.dumps(events, "raven", {"durations": durations}), "raven")
    assert read == ({name: own for name, own in events.items() if own} or {"<text>": []})


@given(TEXT, st.lists(exact(TEXT), max_size=5))
def test_jams_keeps_everything(name: str, events: list[Event]) -> None:
    assert formats.loads(formats.dumps({name: events}, "jams"), "jams") == {name: events}


@given(st.floats(0, 1e9), st.floats(0, 2e9), st.floats(allow_nan=False, allow_infinity=False))
def test_any_times_stay_near(onset: float, offset: float, score: float) -> None:
    if not offset > onset:
        return
    event = Event(onset, offset, "a", score)
    for format, fine in (("raven", 1.6e-6), ("jams", 1.1e-9)):
        (read,) = formats.loads(formats.dumps({"x": [event]}, format), format)["x"]
        assert read.onset == pytest.approx(onset, abs=fine, rel=1e-15)
        assert read.offset == pytest.approx(offset, abs=fine, rel=1e-15)
        assert read.score == (score if format == "jams" else float(f"{score:.4f}"))


@given(st.floats(0, 1e9), st.floats(1e-12, 1e9))
def test_raven_keeps_short_events_of_late_recordings(before: float, length: float) -> None:
    durations = {"a": max(before, 1.0), "b": length}
    event = Event(0, length, "x")
    text = formats.dumps({"a": [], "b": [event]}, "raven", {"durations": durations})
    (read,) = formats.loads(text, "raven")["b"]
    assert read.onset == 0
    assert read.offset == pytest.approx(length, abs=2.5e-6, rel=1e-15)
