"""JSON lines and Parquet: what is written, what others read of it, what is refused; content that is bytes."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pandas
import pyarrow
import pyarrow.parquet
import pytest

from peaframe import formats
from peaframe.errors import FormatError, MissingExtraError
from peaframe.events import Event
from peaframe.formats import json_lines

STREET = [Event(0.1, 1 / 3, "dog barking", 0.1 + 0.2), Event(1.0, 2.0, "a siren")]
EVENTS = {
    "quiet.wav": [],
    "street.wav": STREET,
    "still.wav": [],
    "yard.flac": [Event(0, 1e-9, "ü\n\t犬", -7.5)],
}
META = {"model": "peaframe-mini", "durations": {"street.wav": 4.5}}
HEAD = '{"format": "peaframe-events-lines", "version": 1, "meta": {}}\n'


def parquet(columns: dict[str, object], metadata: dict[bytes, bytes] | None = None) -> bytes:
    """A file as others write it."""
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns).replace_schema_metadata(metadata), sink)
    return sink.getvalue()


def test_lines_are_these() -> None:
    text = formats.dumps({"street.wav": STREET, "quiet.wav": []}, "jsonl", {"model": "mini"})
    assert text == (
        '{"format": "peaframe-events-lines", "version": 1, "meta": {"model": "mini"}}\n'
        '{"filename": "street.wav", "onset": 0.1, "offset": 0.3333333333333333, "event_label": "dog barking", '
        '"score": 0.30000000000000004}\n'
        '{"filename": "street.wav", "onset": 1.0, "offset": 2.0, "event_label": "a siren", "score": null}\n'
        '{"filename": "quiet.wav"}\n'
    )
    table = pandas.read_json(io.StringIO(text), lines=True).dropna(subset=["onset"])
    assert table.event_label.tolist() == ["dog barking", "a siren"]
    assert table.offset.tolist() == pytest.approx([1 / 3, 2.0], abs=1e-9)


def test_lines_can_be_written_one_by_one_and_heard_of_before_their_events() -> None:
    text = (
        json_lines.line("a.wav") + json_lines.head({"seed": 3}) + json_lines.line("b.wav", Event(0, 1, "x"))
    )
    text += json_lines.line("a.wav", Event(1, 2, "y", 0.5)) + json_lines.head({"seed": 4})
    assert formats.loads(text, "jsonl") == {"a.wav": [Event(1, 2, "y", 0.5)], "b.wav": [Event(0, 1, "x")]}
    assert formats.meta_of(text.encode(), "jsonl") == {"seed": 3}


def test_lines_of_others_need_the_four_columns_only() -> None:
    text = '\ufeff{"offset": 2, "onset": 1, "filename": "a", "event_label": "x", "who": "me"}\r\n\r\n{"filename": "b"}'
    assert formats.loads(text, "jsonl") == {"a": [Event(1, 2, "x")], "b": []}
    assert formats.meta_of(text.encode(), "jsonl") == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"filename": "a", "onset": 1, "off', r"f:2: not a line of JSON \(Unterminated"),
        ("[" * 100_000, r"f:2: not a line of JSON"),
        ("3", r"f:2: got int, expected an object"),
        ("{}", r"f:2: got no filename"),
        ('{"filename": 3}', r"f:2: got no filename"),
        ('{"filename": "a", "onset": 1}', r"f:2: got offset None, expected a number"),
        ('{"filename": "a", "onset": "1", "offset": 2, "event_label": "x"}', r"f:2: got onset '1'"),
        ('{"filename": "a", "onset": true, "offset": 2, "event_label": "x"}', r"f:2: got onset True"),
        (
            '{"filename": "a", "onset": 0, "offset": 1, "event_label": "x", "score": "y"}',
            r"f:2: got score 'y'",
        ),
        (
            '{"filename": "a", "onset": 2, "offset": 1, "event_label": "x"}',
            r"f:2: an event lasts from 2\.0 s to",
        ),
        ('{"filename": "a", "onset": 0, "offset": 1}', r"f:2: an event's label is ''"),
        ('{"filename": "a", "onset": 0, "offset": NaN, "event_label": "x"}', r"f:2: an event lasts"),
        (
            '{"filename": "a", "onset": 0, "offset": 1' + "0" * 400 + ', "event_label": "x"}',
            r"f:2: int too large",
        ),
        (HEAD.replace("1", "2"), r"f:2: got the head 'peaframe-events-lines', version 2, expected"),
        ('{"format": "peaframe-events", "version": 1}', r"f:2: got the head 'peaframe-events', version 1"),
        ('{"format": "peaframe-events-lines", "version": true}', r"version True, expected"),
    ],
)
def test_lines_that_cannot_be_read(line: str, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        formats.loads(HEAD + line, "jsonl", source="f")
    assert "\n" not in str(caught.value)


def test_parquet_is_what_pandas_reads(tmp_path: Path) -> None:
    formats.save(tmp_path / "a.parquet", EVENTS, meta=META)
    table = pandas.read_parquet(tmp_path / "a.parquet")
    assert table.columns.tolist() == ["filename", "onset", "offset", "event_label", "score"]
    assert table.filename.tolist() == ["street.wav", "street.wav", "yard.flac"]
    assert table.offset.tolist() == [1 / 3, 2.0, 1e-9]
    assert table.event_label.dtype == "category"
    assert table.score.isna().tolist() == [False, True, False]
    assert (table.onset.dtype, table.score.dtype) == (float, float)
    table.to_parquet(tmp_path / "b.parquet")  # and back: pandas does not keep what it does not know
    found = {name: events for name, events in EVENTS.items() if events}
    assert formats.load(tmp_path / "b.parquet") == found


def test_parquet_says_its_schema_version_and_who_was_silent() -> None:
    content = formats.to_bytes(EVENTS, "parquet", META)
    schema = pyarrow.parquet.read_schema(io.BytesIO(content))
    assert [(field.name, str(field.type), field.nullable) for field in schema] == [
        ("filename", "string", False),
        ("onset", "double", False),
        ("offset", "double", False),
        ("event_label", "dictionary<values=string, indices=int32, ordered=0>", False),
        ("score", "double", True),
    ]
    assert json.loads(schema.metadata[b"peaframe"]) == {
        "format": "peaframe-events",
        "version": 1,
        "meta": META,
        "without_events": [[0, "quiet.wav"], [2, "still.wav"]],
    }
    assert list(formats.from_bytes(content, "parquet")) == list(EVENTS)


def test_parquet_of_others() -> None:
    content = parquet(
        {
            "event_label": pyarrow.array(["x", "y", None], pyarrow.large_string()),
            "note": [1, 2, 3],
            "offset": pyarrow.array([2, 3, None], pyarrow.int32()),
            "onset": pyarrow.array([1.5, 2.5, None], pyarrow.float32()),
            "score": [float("nan"), 0.5, None],
            "filename": pyarrow.array(["a", "b", "c"]).dictionary_encode(),
        }
    )
    assert formats.from_bytes(content, "parquet") == {
        "a": [Event(1.5, 2, "x")],
        "b": [Event(2.5, 3, "y", 0.5)],
        "c": [],
    }
    assert formats.meta_of(content, "parquet") == {}
    columns = {"filename": ["a"], "onset": [0.0], "offset": [1.0], "event_label": ["x"]}
    assert formats.from_bytes(parquet(columns), "parquet") == {"a": [Event(0, 1, "x")]}


GOOD = {"filename": ["a", "a"], "onset": [0.0, 1.0], "offset": [1.0, 2.0], "event_label": ["x", "y"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filename": ["a", None]}, r"^f: row 2: got no filename; name the recording"),
        ({"onset": [0.0, 3.0]}, r"^f: row 2: an event lasts from 3\.0 s to 2\.0 s"),
        ({"onset": [0.0, None]}, r"^f: row 2: an event's times and score must be numbers"),
        ({"event_label": ["x", None]}, r"^f: row 2: an event's label is None"),
        ({"onset": ["zero", "one"]}, r"^f: column onset is string, expected double"),
        ({"event_label": [[1], [2]]}, r"^f: column event_label is list<.*>, expected string"),
    ],
)
def test_parquet_rows_that_are_no_events(change: dict[str, object], message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        formats.from_bytes(parquet(GOOD | change), "parquet", source="f")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"{", "its metadata are not JSON"),
        (b"[]", "version None, expected 1"),
        (b'{"format": "peaframe-events", "version": 2}', "version 2, expected 1"),
        (b'{"format": "peaframe-events", "version": true}', "version True, expected 1"),
        (
            b'{"format": "peaframe-events", "version": 1, "without_events": ["a"]}',
            "got 'a' in without_events",
        ),
        (b'{"format": "peaframe-events", "version": 1, "without_events": 3}', "got 3 in without_events"),
    ],
)
def test_parquet_metadata_that_are_not_ours(said: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=f"^f: .*{message}"):
        formats.from_bytes(parquet(GOOD, {b"peaframe": said}), "parquet", source="f")


def test_parquet_that_is_none() -> None:
    whole = formats.to_bytes(EVENTS, "parquet")
    for content in (b"", b"PAR1", b"filename,onset\n", whole[:-20], whole[:40] + whole[80:]):
        with pytest.raises(FormatError, match=r"^f: not Parquet that can be read") as caught:
            formats.from_bytes(content, "parquet", source="f")
        assert "\n" not in str(caught.value)
    odd = parquet(GOOD | {"plain": [1, 2]}).replace(b"plain", b"pl\xffin")
    with pytest.raises(FormatError, match=r"^f: not Parquet that can be read \('utf-8' codec"):
        formats.from_bytes(odd, "parquet", source="f")
    columns = {name: values for name, values in GOOD.items() if name != "offset"}
    with pytest.raises(
        FormatError, match=r"^f: got no column offset in \['filename', 'onset', 'event_label'\]"
    ):
        formats.from_bytes(parquet(columns), "parquet", source="f")


def test_parquet_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    for bad in ({"x": float("nan")}, {"x": tmp_path}):
        with pytest.raises(FormatError, match="meta cannot be written as JSON"):
            formats.to_bytes({}, "parquet", bad)
        with pytest.raises(FormatError, match="meta cannot be written as JSON"):
            formats.to_bytes({}, "jsonl", bad)
    with pytest.raises(FormatError, match=r"'a\\udc80' is not valid Unicode; rename"):
        formats.save(tmp_path / "a.parquet", {"x": [Event(0, 1, "a\udc80")]})
    assert list(tmp_path.iterdir()) == []


def test_parquet_is_not_text() -> None:
    with pytest.raises(FormatError, match="parquet is not text; write it to a file"):
        formats.dumps(EVENTS, "parquet")
    with pytest.raises(FormatError, match="f: parquet is not text; read it from a file"):
        formats.loads("PAR1", "parquet", source="f")
    assert [name for name in formats.names() if not formats.is_text(name)] == ["parquet"]


def test_without_pyarrow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = formats.to_bytes(EVENTS, "parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    sentence = r"needs pyarrow, which is not installed; run: pip install 'peaframe\[parquet\]'"
    with pytest.raises(MissingExtraError, match=sentence):
        formats.save(tmp_path / "a.parquet", EVENTS)
    with pytest.raises(MissingExtraError, match=sentence):
        formats.from_bytes(content, "parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_of_other_encodings_is_read_where_it_says_so(encoding: str, tmp_path: Path) -> None:
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    text = mark + formats.dumps({"a.wav": [Event(0, 1, "Tür 犬")]}, "tsv")
    (tmp_path / "a.tsv").write_bytes(text.encode(encoding))
    assert formats.load(tmp_path / "a.tsv") == {"a.wav": [Event(0, 1, "Tür 犬")]}
    (tmp_path / "a.tsv").write_bytes(b"\xff\xfea")
    with pytest.raises(FormatError, match="byte 2 is not UTF-16"):
        formats.load(tmp_path / "a.tsv")


def test_settings_come_back_where_they_are_kept() -> None:
    for format in formats.names():
        content = formats.to_bytes({"street.wav": STREET}, format, META)
        kept = META if format in ("json", "jsonl", "parquet", "jams") else {}
        assert formats.meta_of(content, format) == kept
