"""Tables in three formats, in and out."""

import csv
import json
import math
import os
from pathlib import Path

import pytest

from peaframe.captions.captioned import Captioned, Failed, Heard, Written
from peaframe.captions.clips import Clip
from peaframe.captions.tables import COLUMNS, read_clips, write_captions, write_failed
from peaframe.errors import FormatError


def written(path, rows):
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_clips_are_read(tmp_path, suffix):
    rows = [
        {"media": "a b.wav", "start": 1, "end": 2.5, "transcript": "hällo, you", "more": "x"},
        {"media": "/far/b.mp4", "start": None, "end": None, "transcript": None, "more": "y"},
    ]
    path = written(tmp_path / f"clips{suffix}", rows)
    first = Clip("a b.wav", tmp_path / "a b.wav", 1.0, 2.5, "hällo, you")
    second = Clip("/far/b.mp4", Path("/far/b.mp4"))
    assert read_clips(path) == [first, second]
    assert read_clips(path, tmp_path / "base")[0].path == tmp_path / "base/a b.wav"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"file": "a.wav"}, "no column media"),
        ({"media": " "}, "row 1 has media ' '"),
        ({"media": "a.wav", "start": "soon"}, "start 'soon', expected seconds"),
        ({"media": "a.wav", "start": -1}, "expected seconds from 0"),
        ({"media": "a.wav", "end": math.inf}, "expected seconds from 0"),
        ({"media": "a.wav", "start": 2, "end": 2}, "ends at 2.0 s, expected more than its start, 2.0 s"),
        ({"media": "a.wav", "end": 0}, "ends at 0.0 s"),
    ],
)
def test_rows_that_make_no_sense(tmp_path, row, expected, refusal):
    assert expected in refusal(FormatError, read_clips, written(tmp_path / "clips.csv", [row]))


def test_tables_that_cannot_be_read(tmp_path, refusal):
    for name, content, expected in (
        ("a.csv", b"media\n", "has no rows"),
        ("b.csv", b"media\n\xff\xfe\n", "cannot be read"),
        ("c.jsonl", b'{"media": "a"}\n[1]\n', "line 2 is no JSON object"),
        ("d.parquet", b"media", "Parquet"),
        ("e.xlsx", b"media", "expected .csv, .tsv, .parquet or .jsonl"),
    ):
        (tmp_path / name).write_bytes(content)
        assert expected in refusal(FormatError, read_clips, tmp_path / name)
    assert "cannot be read" in refusal(FormatError, read_clips, tmp_path / "none.csv")


def captioned(tmp_path):
    both = {
        "audio": Written('A dog, "Rex", barks.'),
        "visual": Written("A dog runs.", ("refusal: it is no caption but says why there is none",), 2),
        "audio_visual": Written("dog", ("empty: it has no words", "too short: it has 1 words"), 2),
    }
    heard = (Heard("one", "dog", "high", 0.5), Heard("two", "", failure="two: HTTP 500, 3 times"))
    return [
        Captioned(
            Clip("a.mp4", tmp_path / "a.mp4", 1.0, 2.5, "hällo\nyou"),
            "d1",
            heard,
            "a dog",
            both,
            ("dog barking",),
        ),
        Captioned(
            Clip("/far/b.wav", Path("/far/b.wav")),
            "d2",
            (Heard("one", "rain"),),
            None,
            {"audio": Written("Rain falls down.")},
        ),
    ]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_captions_are_written_and_read_as_clips_again(tmp_path, suffix):
    path = tmp_path / f"out/captions{suffix}"
    path.parent.mkdir()
    write_captions(path, captioned(tmp_path), {"writer": "pen"})
    if suffix == ".parquet":
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(path)
        assert tuple(table.column_names) == COLUMNS
        rows = table.to_pylist()
    elif suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    else:
        between = "\t" if suffix == ".tsv" else ","
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{**row, "start": float(row["start"])} for row in csv.DictReader(file, delimiter=between)]
            rows = [{**row, "end": float(row["end"]) if row["end"] else None} for row in rows]
    assert [tuple(row[name] for name in COLUMNS if name != "provenance") for row in rows] == [
        (
            *("../a.mp4", 1.0, 2.5, 'A dog, "Rex", barks.', "A dog runs.", "", "hällo\nyou"),
            "audio_visual: too short: it has 1 words",
        ),
        ("/far/b.wav", 0.0, None, "Rain falls down.", "", "", "", ""),
    ]
    origin = json.loads(rows[0]["provenance"])
    assert origin["writer"] == "pen"
    assert (origin["clip"], origin["media"]) == ("d1", "a.mp4")
    assert origin["heard"][0] == {"by": "one", "caption": "dog", "level": "high", "score": 0.5, "failure": ""}
    assert origin["written"]["audio_visual"] == {
        "text": "dog",
        "attempts": 2,
        "reasons": ["empty: it has no words", "too short: it has 1 words"],
    }
    assert (origin["events"], json.loads(rows[1]["provenance"])["events"]) == (["dog barking"], None)
    again = read_clips(path)
    assert os.path.samefile(again[0].path.parent, tmp_path)
    assert [(c.media, c.start, c.end, c.transcript) for c in again] == [
        ("../a.mp4", 1.0, 2.5, "hällo\nyou"),
        ("/far/b.wav", 0.0, None, ""),
    ]


def test_other_tables_are_refused_and_nothing_is_left(tmp_path, refusal):
    assert "expected .csv" in refusal(
        FormatError, write_captions, tmp_path / "a.txt", captioned(tmp_path), {}
    )
    assert list(tmp_path.iterdir()) == []


def test_failures_are_a_table_that_goes_away(tmp_path):
    path = tmp_path / "failed.csv"
    write_failed(path, [Failed(Clip("a.wav", None, 1.0), "a.wav: is empty, really")])
    assert path.read_text() == 'media,start,end,reason\na.wav,1.0,,"a.wav: is empty, really"\n'
    write_failed(path, [])
    assert not path.exists()
