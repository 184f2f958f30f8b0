"""Sample clips: what is cut out, what the files are called, and what becomes of a listener's answers."""

import csv
import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from peaframe.annotate.annotated import Annotated
from peaframe.annotate.clips import COLUMNS, Clips, cut_clips, safe_name, span
from peaframe.annotate.summary import summarise
from peaframe.audio.recorded import Recorded
from peaframe.errors import AudioError, FormatError
from peaframe.events import Event

RATE = 48_000


@contextmanager
def opened(path: str) -> Iterator[Path]:
    if path.startswith("s3://"):
        raise AudioError(f"{path}: no such file")
    yield Path(path)


@pytest.fixture
def ramp(tmp_path: Path) -> str:
    """20 s whose samples say where they are: a sample's value in thousandths is its second."""
    seconds = np.arange(20 * RATE) // RATE
    path = tmp_path / "ramp.wav"
    soundfile.write(path, (seconds / 1000).astype(np.float32), RATE, subtype="FLOAT")
    return str(path)


def cut(folder: Path, run: list[Annotated], queries: list[str], count: int = 5) -> Clips:
    return cut_clips(folder, lambda: run, summarise(lambda: run, queries), count, opened)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "clips.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_cut(tmp_path: Path, ramp: str) -> None:
    recorded = Recorded(dt.datetime(2024, 4, 25, 20, 0, tzinfo=dt.timezone.utc), "guano", None, True)
    events = [
        Event(0.5, 2.0, "dog", 0.5),
        Event(3, 19, "dog", 0.7),
        Event(18.5, 19.5, "dog", 0.87),
    ]
    run = [Annotated("site/night 1.wav", ramp, 20.0, recorded, events)]

    clips = cut(tmp_path / "clips", run, ["dog"])

    assert clips.gone == ()
    assert clips.files == (
        "dog/0.50_site_night_1_0.50.wav",
        "dog/0.70_site_night_1_3.00.wav",
        "dog/0.87_site_night_1_18.50.wav",
    )
    info = soundfile.info(tmp_path / "clips" / clips.files[0])
    assert (info.samplerate, info.subtype, info.channels) == (RATE, "PCM_16", 1)
    heard = [soundfile.read(tmp_path / "clips" / file)[0] for file in clips.files]
    assert [len(one) for one in heard] == [3 * RATE, 10 * RATE, 2.5 * RATE]
    assert [(round(one[0] * 1000), round(one[-1] * 1000)) for one in heard] == [(0, 2), (2, 11), (17, 19)]
    rows = table(tmp_path / "clips")
    assert tuple(rows[0]) == COLUMNS
    assert list(rows[2].values()) == [
        "dog/0.87_site_night_1_18.50.wav",
        "dog",
        "0.8700",
        "site/night 1.wav",
        "18.500",
        "19.500",
        "1.000",
        "2024-04-25T20:00:18.500+00:00",
        "",
    ]
    assert [row["start_in_clip"] for row in rows] == ["0.500", "1.000", "1.000"]


def test_hostile_names_stay_inside(tmp_path: Path, ramp: str) -> None:
    queries = ["../../etc/passwd", "..", "con", "Dog!", "dog?", "C:\\x\0y", "=cmd|' /C calc'!A1", "鳥" * 99]
    run = [
        Annotated(name, ramp, 20.0, None, [Event(1, 2, query, 0.5) for query in queries[:5] + queries[6:]])
        for name in ("../../../a.wav", "A.flac", "a.wav", "/abs/a.wav")
    ]
    before = set(tmp_path.rglob("*"))

    clips = cut(tmp_path / "out" / "clips", run, queries)

    new = {path for path in set(tmp_path.rglob("*")) - before if path.is_file()}
    assert {path.relative_to(tmp_path / "out" / "clips").as_posix() for path in new} == {
        *clips.files,
        "clips.csv",
    }
    assert len({file.casefold() for file in clips.files}) == len(clips.files) == 28
    assert all(len(part.encode()) <= 200 for file in clips.files for part in file.split("/"))
    assert {file.split("/")[0] for file in clips.files} == {
        "etc_passwd",
        "query",
        "_con",
        "Dog",
        "dog_2",
        "cmd_C_calc_A1",
        "鳥" * 33,
    }
    assert {file for file in clips.files if file.startswith("Dog/")} == {
        "Dog/0.50_a_1.00.wav",
        "Dog/0.50_A_1.00_2.wav",
        "Dog/0.50_a_1.00_3.wav",
        "Dog/0.50_abs_a_1.00.wav",
    }


def test_safe_names() -> None:
    assert [
        safe_name(text) for text in ("a/b\\c:d*e", "...", "", "nul.txt", "e\u0301tude", "a.b-c_d", "-x")
    ] == [
        "a_b_c_d_e",
        "unnamed",
        "unnamed",
        "_nul.txt",
        "étude",
        "a.b-c_d",
        "x",
    ]


def test_parts_of_recordings() -> None:
    assert span(5, 6, 100) == (4, 7)
    assert span(0.25, 0.5, 1) == (0, 1)
    assert span(50, 90, 100) == (49, 59)
    assert span(50, 90, 100, longest=6) == (49, 55)


def test_a_recording_that_is_gone_is_left_out(tmp_path: Path, ramp: str) -> None:
    shorter = tmp_path / "shorter.wav"
    soundfile.write(shorter, np.zeros(RATE), RATE)
    run = [
        Annotated("a.wav", str(tmp_path / "gone.wav"), 20.0, None, [Event(1, 2, "dog", 0.3)]),
        Annotated(
            "b.wav", "s3://bucket/b.wav", 20.0, None, [Event(1, 2, "dog", 0.4), Event(3, 4, "dog", 0.5)]
        ),
        Annotated("c.wav", str(shorter), 20.0, None, [Event(10, 12, "dog", 0.6)]),
        Annotated("d.wav", ramp, 20.0, None, [Event(1, 2, "dog", 0.7)]),
    ]

    clips = cut(tmp_path / "clips", run, ["dog"])

    assert clips.files == ("dog/0.70_d_1.00.wav",)
    assert [name for name, _ in clips.gone] == ["a.wav", "b.wav", "c.wav"]
    assert clips.gone[0][1] == f"{tmp_path / 'gone.wav'}: no such file; check the name"
    assert clips.gone[1][1] == "s3://bucket/b.wav: no such file"
    assert [row["name"] for row in table(tmp_path / "clips")] == ["d.wav"]
    assert sorted(path.name for path in (tmp_path / "clips" / "dog").iterdir()) == ["0.70_d_1.00.wav"]


def test_no_events_make_an_empty_table(tmp_path: Path) -> None:
    assert cut(tmp_path / "clips", [], ["dog"]) == Clips((), ())
    assert (tmp_path / "clips" / "clips.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_answers_are_kept(tmp_path: Path, ramp: str) -> None:
    folder = tmp_path / "clips"
    run = [
        Annotated("a.wav", ramp, 20.0, None, [Event(n, n + 0.5, "dog", 0.3 + n / 100) for n in range(1, 9)])
    ]
    cut(folder, run, ["dog"], 4)
    first = (folder / "clips.csv").read_bytes()
    cut(folder, run, ["dog"], 4)
    assert (folder / "clips.csv").read_bytes() == first

    # As a spreadsheet with a decimal comma saves it.
    rows = table(folder)
    for row, answer in zip(rows, "101 ", strict=True):
        row.update(correct=answer, onset=row["onset"].rstrip("0").replace(".", ","))
    with (folder / "clips.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    cut(folder, run, ["dog"], 4)
    again = table(folder)
    assert [row["correct"] for row in again] == ["1", "0", "1", ""]
    assert next(row["onset"] for row in again).endswith(".000")

    # Answers of clips that are not chosen any more are not lost.
    cut(folder, run, ["dog"], 1)
    rows = table(folder)
    assert sorted(row["correct"] for row in rows if row["correct"]) == ["0", "1", "1"]
    assert 3 <= len(rows) <= 4


def test_a_table_that_cannot_be_read_is_not_overwritten(tmp_path: Path, ramp: str, refusal) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "clips.csv").write_text("clip,query\nx,y\n")
    run = [Annotated("a.wav", ramp, 20.0, None, [Event(1, 2, "dog", 0.5)])]
    message = refusal(FormatError, cut, folder, run, ["dog"])
    assert message.startswith(f"{folder / 'clips.csv'}: the answers in it cannot be read (no column score, ")
    assert (folder / "clips.csv").read_text() == "clip,query\nx,y\n"


def test_a_folder_that_cannot_be_written(tmp_path: Path, ramp: str, refusal) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "dog").write_text("a file in the way")
    run = [Annotated("a.wav", ramp, 20.0, None, [Event(1, 2, "dog", 0.5)])]
    message = refusal(FormatError, cut, tmp_path / "clips", run, ["dog"])
    assert message == f"{tmp_path / 'clips' / 'dog'}: cannot be made (File exists)"
    assert not (tmp_path / "clips" / "clips.csv").exists()
