"""Tables of clips in all forms say the same; what makes no sense is refused with the number of its row."""

import json

import pytest

from peaframe.data.clips_table import ClipRow, stream
from peaframe.errors import ManifestError

HEADER = "media,start,end,audio_caption,visual_caption,transcript,source,licence\n"


def write(folder, name, content):
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_a_row_says_what_its_cells_say(tmp_path):
    text = HEADER + 'a.mp4,1.5,3,"[""one"", "" "", ""two""]",[music] plays,hello,web,CC0\nb/c.wav,,,,,,,\n'
    text += "https://host/x.mp4?key=1,0,,x,,,,\n"
    first, second, third = stream(write(tmp_path, "t.csv", text))
    assert first == ClipRow(
        1,
        "a.mp4",
        str(tmp_path / "a.mp4"),
        1.5,
        3.0,
        {"audio": ("one", "two"), "visual": ("[music] plays",)},
        "hello",
        "web",
        {"licence": "CC0"},
    )
    assert second == ClipRow(2, "b/c.wav", str(tmp_path / "b" / "c.wav"))
    assert (third.path, third.start, third.end) == ("https://host/x.mp4?key=1", 0.0, None)


def test_every_form_of_table_says_the_same(tmp_path):
    rows = [
        {"media": "a.mp4", "start": 0.5, "end": 2.0, "audio_caption": ["one", "two"], "n": 3},
        {"media": "/b.wav", "visual_caption": "x, y", "transcript": 'she said "no"', "n": 4},
    ]
    write(tmp_path, "t.jsonl", "".join(json.dumps(row) + "\n\n" for row in rows))
    write(
        tmp_path,
        "t.tsv",
        "\ufeffmedia\tstart\tend\taudio_caption\tvisual_caption\ttranscript\tn\n"
        'a.mp4\t0.5\t2.0\t"[""one"", ""two""]"\t\t\t3\n/b.wav\t\t\t\tx, y\t"she said ""no"""\t4\n',
    )
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(
        pyarrow.Table.from_pylist([{"visual_caption": None, "transcript": None, **rows[0]}, rows[1]]),
        tmp_path / "t.parquet",
    )
    lines = list(stream(tmp_path / "t.jsonl"))
    assert lines[0].captions == {"audio": ("one", "two")}
    assert lines[1] == ClipRow(
        2, "/b.wav", "/b.wav", captions={"visual": ("x, y",)}, transcript='she said "no"', metadata={"n": 4}
    )
    assert list(stream(tmp_path / "t.parquet")) == lines
    cells = list(stream(tmp_path / "t.tsv"))
    assert [row.metadata for row in cells] == [{"n": "3"}, {"n": "4"}]  # cells are texts
    assert [(row.path, row.start, row.end, row.captions, row.transcript) for row in cells] == [
        (row.path, row.start, row.end, row.captions, row.transcript) for row in lines
    ]


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("t.csv", "file,start\na,0\n", "got columns file, start; expected media"),
        ("t.csv", "media,media\na,b\n", "got column 'media' twice"),
        ("t.csv", "media\n", "has no rows"),
        ("t.csv", "media,start\na,0\n,1\n", "row 2: has no media"),
        ("t.csv", "media,start\na,0\nb,soon\n", "row 2: got start 'soon'"),
        ("t.csv", "media,start,end\na,2,1\n", "row 1: got end 1.0 s, expected it behind start 2.0 s"),
        ("t.csv", "media,start\na,0\nb,-1\n", "row 2: got start '-1'"),
        ("t.csv", "media,start\na,nan\n", "row 1: got start 'nan'"),
        (
            "t.csv",
            "media,audio_caption\na,x\nb,one, two\n",
            "row 2: got another number of cells than the 2 columns",
        ),
        ("t.csv", "media,start\na\n", "row 1: got another number of cells"),
        ("t.jsonl", '{"media": "a"}\n{"media": \n', "row 2: is no JSON"),
        ("t.jsonl", '{"media": "a"}\n[1]\n', "row 2: got '[1]', expected an object"),
        ("t.jsonl", '{"media": 7}\n', "row 1: got media 7, expected a text"),
        ("t.jsonl", '{"media": "a", "audio_caption": [1]}\n', "row 1: got audio_caption [1]"),
        ("t.jsonl", '{"media": "a", "n": Infinity}\n', "row 1: holds what JSON or Unicode cannot"),
        ("t.jsonl", '{"media": "a\\ud800"}\n', "row 1: holds what JSON or Unicode cannot"),
        ("t.parquet", "no parquet", "is no Parquet file"),
        ("t.txt", "media\na\n", "expected one of .csv, .tsv, .jsonl, .parquet"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_row(tmp_path, refusal, name, content, part):
    path = write(tmp_path, name, content)
    message = refusal(ManifestError, lambda: list(stream(path)))
    assert part in message
    assert name in message or name == "t.txt"


def test_a_table_that_is_not_there_or_no_text(tmp_path, refusal):
    for name in ("none.csv", "none.jsonl", "none.parquet"):
        assert f"{name}: cannot be read (No such file" in refusal(
            ManifestError, lambda name=name: list(stream(tmp_path / name))
        )
    (tmp_path / "t.csv").write_bytes(b"media\n\xff\xfe\n")
    assert "give a table in UTF-8" in refusal(ManifestError, lambda: list(stream(tmp_path / "t.csv")))


def test_what_pandas_writes_for_nothing_says_nothing(tmp_path):
    import pandas

    rows = [
        {"media": "a.wav", "start": 1.0, "end": 2.0, "audio_caption": "x", "n": 1.5},
        {"media": "b.wav", "visual_caption": "y"},
    ]
    for name, write in (("t.parquet", "to_parquet"), ("t.csv", "to_csv")):
        getattr(pandas.DataFrame(rows), write)(tmp_path / name, index=False)
        first, second = stream(tmp_path / name)
        assert (first.start, first.end, first.captions) == (1.0, 2.0, {"audio": ("x",)})
        assert second == ClipRow(2, "b.wav", str(tmp_path / "b.wav"), captions={"visual": ("y",)})
    (tmp_path / "t.jsonl").write_text('{"media": "a", "end": NaN, "n": NaN}\n')
    assert list(stream(tmp_path / "t.jsonl")) == [ClipRow(1, "a", str(tmp_path / "a"))]
