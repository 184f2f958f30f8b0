"""Each prepare recipe from end to end, on a miniature of the form the corpus' authors give it."""

import csv
import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from peaframe import audio
from peaframe.errors import FormatError, OptionError
from peaframe.eval.benchmarks import find
from peaframe.events import Event
from peaframe.recipes import (
    prepare_asfx,
    prepare_audioset_strong,
    prepare_desed,
    prepare_files,
    prepare_maestro,
    prepare_urbansed,
)

CORPORA = Path(__file__).parent.parent / "eval" / "corpora.py"
corpora = SimpleNamespace(**runpy.run_path(str(CORPORA)))
DASH, tabs, text, sound = corpora.DASH, corpora.tabs, corpora.text, corpora.sound


@pytest.fixture
def prepare(tmp_path, capsys):
    """Run a recipe from `source` to `out` below tmp_path; gives the lines it printed."""

    def prepare(recipe):
        recipe.main([str(tmp_path / "source"), str(tmp_path / "out")])
        return capsys.readouterr().out.splitlines()

    return prepare


def below(folder):
    """All files of a folder, by their paths inside it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# --- placing


def test_a_file_is_linked_and_stays_where_it_was(tmp_path):
    source = text(tmp_path / "a.wav", "sound")
    target = tmp_path / "deep/b.wav"
    assert prepare_files.place(source, target)
    assert os.path.samefile(source, target)
    assert not prepare_files.place(source, target)


def test_a_copy_can_be_edited_alone_and_is_renewed_when_it_differs(tmp_path):
    source, target = text(tmp_path / "a.tsv", "one"), tmp_path / "b.tsv"
    assert prepare_files.place(source, target, link=False)
    assert not prepare_files.place(source, target, link=False)
    text(target, "two")
    assert source.read_text() == "one\n"
    assert prepare_files.place(source, target, link=False)
    assert target.read_text() == "one\n"


def test_half_a_file_is_replaced(tmp_path):
    source, target = text(tmp_path / "a.wav", "sound"), text(tmp_path / "b.wav", "so")
    assert prepare_files.place(source, target)
    assert target.read_text() == source.read_text() == "sound\n"


def test_another_disk_gets_a_copy(tmp_path, monkeypatch):
    def no_link(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_link)
    source, target = text(tmp_path / "a.wav", "sound"), tmp_path / "b.wav"
    assert prepare_files.place(source, target)
    assert target.read_text() == "sound\n"
    assert not os.path.samefile(source, target)


def test_a_file_where_a_folder_should_be_is_refused(tmp_path, refusal):
    text(tmp_path / "out", "x")
    source = text(tmp_path / "a.wav", "sound")
    message = refusal(FormatError, prepare_files.place, source, tmp_path / "out/b.wav")
    assert message.startswith(f"{tmp_path / 'out'}: cannot be made (")


def test_a_source_that_is_not_there_is_refused(tmp_path, refusal):
    message = refusal(OptionError, prepare_desed.main, [str(tmp_path / "none"), str(tmp_path / "out")])
    assert message == f"got the source {tmp_path / 'none'}, expected a folder with the unpacked corpus"


# --- corpora


def test_desed(tmp_path, prepare):
    corpora.desed(tmp_path / "source")
    corpora.public(tmp_path / "source/dataset")
    printed = prepare(prepare_desed)
    assert below(tmp_path / "out") == [
        "audio/eval/public/1Ro0FgMWTUE_120_130.wav",
        "audio/eval/public/b_20_30.wav",
        f"audio/validation/Y{DASH}_30.000_40.000.wav",
        "audio/validation/Y00pbt6aJV8Y_350.000_360.000.wav",
        "audio/validation/Yquiet, one_5.000_15.000.wav",
        "audio/validation/Yzero0000000_1.000_11.000.flac",
        "metadata/eval/public.tsv",
        "metadata/validation/validation.tsv",
        "metadata/validation/validation_durations.tsv",
    ]
    for part in ("validation", "public"):
        there, made = (find(f"desed-{part}").load(tmp_path / folder) for folder in ("source", "out"))
        assert (made.truth, made.durations, made.missing) == (there.truth, there.durations, there.missing)
    assert printed[0] == "4 files placed, 0 were there already"
    assert printed[1].startswith(
        f"desed-validation in {tmp_path / 'out'}: 4 of 1168 recordings, 0.01 h, 5 events"
    )
    assert "  missing: 1 (Ygone0000000_0.000_10.000)" in printed
    assert prepare(prepare_desed)[0] == "0 files placed, 4 were there already"


def test_desed_of_2019_had_its_table_as_csv_and_one_part_only(tmp_path, prepare):
    table = corpora.desed(tmp_path / "source", "real") / "real/metadata/validation/validation.tsv"
    table.rename(table.with_suffix(".csv"))
    printed = prepare(prepare_desed)
    assert (tmp_path / "out/metadata/validation/validation.tsv").is_file()
    assert printed[-1] == f"desed-public: no metadata/eval/public.tsv in {tmp_path / 'source'}, left out"


def test_a_folder_without_desed_is_refused(tmp_path, refusal):
    message = refusal(FormatError, prepare_desed.main, [str(tmp_path), str(tmp_path / "out")])
    assert message == f"{tmp_path}: holds no part of DESED; expected metadata/ and audio/ in it"


def test_audioset_strong(tmp_path, prepare):
    source = corpora.audioset(tmp_path / "source")
    text(source / "audio/lostlostlos.wav", "not sound")
    printed = prepare(prepare_audioset_strong)
    assert below(tmp_path / "out") == [
        f"audio/{DASH}_30000.wav",
        f"audio/{corpora.OTHER}_0.flac",
        "audio/abcdefghij1_10000.ogg",
        "audio/abcdefghij2_500.mp3",
        "audio/whole_video_12000.wav",
        "audioset_eval_strong.tsv",
        "audioset_eval_strong_framed_posneg.tsv",
        "audioset_train_strong.tsv",
        "mid_to_display_name.tsv",
    ]
    made = find("audioset-strong").load(tmp_path / "out")
    assert made.truth["whole_video_12000"] == [Event(1, 2, "Clink, chink")]
    assert made.durations["whole_video_12000"] == 10.0
    assert made.missing == ("lostlostlos_40000",)
    assert os.path.samefile(made.audio[f"{DASH}_30000"], source / f"audio/Y{DASH}.wav")
    assert printed[0] == "4 clips linked, 1 clips cut, 0 clips already there"
    assert printed[1].startswith(f"  left out: {source / 'audio/lostlostlos.wav'}: ")
    assert prepare(prepare_audioset_strong)[0] == "0 clips linked, 0 clips cut, 5 clips already there"


def test_a_segment_is_cut_where_it_lies_in_its_video(tmp_path, prepare):
    source = corpora.audioset(tmp_path / "source", audio=False)
    ramp = np.linspace(-0.9, 0.9, 20 * 48_000, dtype=np.float32)
    audio.write_wav(source / "Ywhole_video.wav", ramp)
    prepare(prepare_audioset_strong)
    cut = audio.read(tmp_path / "out/audio/whole_video_12000.wav")
    np.testing.assert_allclose(cut, ramp[12 * 48_000 :], atol=1e-4)


def test_urbansed(tmp_path, prepare):
    corpora.urbansed(tmp_path / "source")
    printed = prepare(prepare_urbansed)
    name = "soundscape_test_bimodal"
    assert below(tmp_path / "out") == [
        *(f"annotations/test/{name}{i}.{kind}" for i, kind in enumerate(("txt", "jams", "txt", "txt"))),
        *(f"audio/test/{name}{i}.wav" for i in range(3)),
    ]
    there, made = (find("urbansed").load(tmp_path / folder) for folder in ("source", "out"))
    assert made.truth == there.truth
    assert printed[2].endswith(": 3 of 2000 recordings, 0.01 h, 3 events of 3 labels")
    assert printed[-1] == f"  missing: 1 ({name}3)"


def test_maestro(tmp_path, prepare):
    source = corpora.maestro(tmp_path / "source")
    durations = tabs("filename | duration", "cafe_restaurant_00 | 12.5")
    text(source / "development_metadata.csv", *durations)
    printed = prepare(prepare_maestro)
    assert below(tmp_path / "out") == [
        "audio/cafe_restaurant_00.wav",
        "audio/residential_area_03.wav",
        "development_metadata.csv",
        "soft_labels/cafe_restaurant_00.txt",
        "soft_labels/residential_area_03.txt",
    ]
    there, made = (find("maestro").load(tmp_path / folder) for folder in ("source", "out"))
    assert (made.truth, made.durations) == (there.truth, there.durations)
    assert printed[2].endswith(": 2 of 49 recordings, 0.01 h, 4 events of 3 labels")


def test_maestro_from_a_table(tmp_path, prepare):
    source = tmp_path / "source"
    text(source / "gt_dev.csv", *tabs(corpora.DCASE, "cafe_restaurant_00.wav | 1 | 2 | car"))
    sound(source / "audio/cafe_restaurant_00.wav", 3.0)
    prepare(prepare_maestro)
    assert below(tmp_path / "out") == ["audio/cafe_restaurant_00.wav", "gt_dev.csv"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_asfx(tmp_path, prepare, suffix):
    source = tmp_path / "source"
    rows = [
        ("id", "Audio_Path", "start", "end", "caption"),
        ("1", "sfx/door.wav", "0.25", "1.5", "a heavy door, slammed\tshut"),
        ("2", "sfx\\door.wav", "1.5", "3.5", "steps"),
        ("3", "wind.flac", "", "", ""),
    ]
    path = text(source / f"events{suffix}")
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",").writerows(rows)
    text(source / f"notes{suffix}", "nothing of use")
    sound(source / "sfx/door.wav", 3.0)
    sound(source / "wind.flac", 1.0)
    sound(source / "other.wav", 1.0)
    printed = prepare(prepare_asfx)
    assert below(tmp_path / "out") == ["audio/door.wav", "audio/wind.flac", "ground_truth.tsv"]
    found = find("asfx-sed").load(tmp_path / "out")
    assert found.truth == {
        "door": [Event(0.25, 1.5, "a heavy door, slammed shut"), Event(1.5, 3, "steps")],
        "wind": [],
    }
    assert printed[1].endswith(": 2 recordings, 0.00 h, 2 events of 2 labels")
    assert printed[2] == "  true events cut that reach beyond their clip's end: 1"


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["file,onset,offset", "a.wav,0,1"], "got none among 1 tables, expected one .csv or .tsv with file"),
        (["file,start,end,label", "a.wav,0,1"], "events.csv:2: got 3 cells, expected 4 as in the header"),
        (
            ["file,start,end,label", "a.wav,0,soon,x"],
            "ground_truth.tsv:2: got offset 'soon', expected seconds",
        ),
    ],
)
def test_bad_tables_of_asfx_are_refused(tmp_path, refusal, lines, complaint):
    text(tmp_path / "source/events.csv", *lines)
    sound(tmp_path / "source/a.wav", 1.0)
    arguments = [str(tmp_path / "source"), str(tmp_path / "out")]
    assert complaint in refusal(FormatError, prepare_asfx.main, arguments)
