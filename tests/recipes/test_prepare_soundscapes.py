"""prepare_soundscapes from end to end, on a small sound bank."""

import csv
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from peaframe import audio, formats
from peaframe.data.mix import Mixer
from peaframe.data.soundbank import Bank, Clip, read_manifest
from peaframe.errors import OptionError
from peaframe.eval.bank import MIX, SEED
from peaframe.eval.benchmarks import find
from peaframe.recipes import (
    prepare_soundscapes,
)

CORPORA = Path(__file__).parent.parent / "eval" / "corpora.py"
corpora = SimpleNamespace(**runpy.run_path(str(CORPORA)))
DASH, tabs, text, sound = corpora.DASH, corpora.tabs, corpora.text, corpora.sound


# --- soundscapes

SECONDS = ["--seconds", "2"]


@pytest.fixture
def bank(tmp_path):
    """A sound bank whose valid split has two events of three recordings, one of one, and two backgrounds."""
    random = np.random.default_rng(0)
    clips = [
        *(("beep", "event", f"beep {i}") for i in (0, 0, 1, 2)),
        *(("buzz", "event", f"buzz {i}") for i in range(3)),
        ("once", "event", "once 0"),
        ("rain", "background", "rain 0"),
        ("wind", "background", "wind 0"),
    ]
    header = ("path", "label", "captions", "role", "source", "license", "origin_id", "split")
    folder = tmp_path / "bank"
    folder.mkdir()
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for number, (label, role, origin) in enumerate((*clips, ("beep", "event", "beep 9"))):
            split = "valid" if number < len(clips) else "train"
            path = f"{label}_{number}.wav"
            seconds = 3 if role == "background" else 0.5
            soundfile.write(folder / path, random.normal(0, 0.1, round(seconds * 48_000)), 48_000)
            writer.writerow((path, label, label, role, f"made:{number}", "CC0", origin, split))
    return folder


def soundscapes(bank, out, *more):
    prepare_soundscapes.main(["--data", str(bank), "--out", str(out), *SECONDS, *more])
    return find("folder").load(out)


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_soundscapes_are_those_of_the_valid_split(tmp_path, bank, capsys):
    found = soundscapes(bank, tmp_path / "out", "--scenes", "4")
    clips = [clip for clip in read_manifest(bank) if clip.split == "valid"]
    mixer = Mixer(Bank(clips, 48_000), MIX, SEED)
    assert list(found.audio) == [f"scene_{i:03}" for i in range(4)]
    assert found.durations == dict.fromkeys(found.audio, 2.0)
    assert (found.missing, found.notes) == ((), ())
    for i, (name, path) in enumerate(found.audio.items()):
        scene = mixer.scene(i, 2.0)
        assert found.truth[name] == scene.events()
        assert soundfile.info(path).subtype == "PCM_16"
        np.testing.assert_allclose(audio.read(path), scene.waveform, atol=1 / 32768)
    events = sum(len(own) for own in found.truth.values())
    assert f"4 recordings, 0.00 h, {events} events of" in capsys.readouterr().out


def test_licences_list_the_clips_that_were_mixed_in(tmp_path, bank):
    found = soundscapes(bank, tmp_path / "out", "--scenes", "2")
    rows = rows_of(tmp_path / "out/LICENSES.tsv")
    assert list(rows[0]) == ["clip", "label", "source", "license"]
    heard = {event.label for own in found.truth.values() for event in own}
    assert heard <= {row["label"] for row in rows}
    assert 1 < len(rows) < 10
    assert all((bank / row["clip"]).is_file() and row["license"] == "CC0" for row in rows)


def test_a_scene_in_which_nothing_is_heard_is_still_a_recording(tmp_path, bank, monkeypatch):
    monkeypatch.setattr("peaframe.data.mix.Scene.events", lambda self: [])
    found = soundscapes(bank, tmp_path / "out", "--scenes", "2")
    assert found.truth == {"scene_000": [], "scene_001": []}
    assert formats.load(tmp_path / "out/ground_truth.tsv") == {"scene_000.flac": [], "scene_001.flac": []}


def test_seed_decides_and_the_same_one_gives_the_same(tmp_path, bank):
    tables = []
    for number, seed in enumerate(("1", "1", "2")):
        soundscapes(bank, tmp_path / f"{number}", "--scenes", "3", "--seed", seed)
        tables.append((tmp_path / f"{number}/ground_truth.tsv").read_text())
    assert tables[0] == tables[1] != tables[2]


def test_two_folds_share_no_recording_and_both_have_events_and_backgrounds(bank):
    clips = [clip for clip in read_manifest(bank) if clip.split == "valid"]
    origin = prepare_soundscapes.origins(bank)
    parts = [prepare_soundscapes.fold_of(clips, f"{part}/2", origin) for part in (0, 1)]
    assert [clip.path.stem for clip in parts[0]] == [
        "beep_0",
        "beep_1",
        "beep_3",
        "buzz_4",
        "buzz_6",
        "once_7",
        "rain_8",
    ]
    assert [clip.path.stem for clip in parts[1]] == ["beep_2", "buzz_5", "wind_9"]
    first, second = ({origin[clip.path] for clip in part} for part in parts)
    assert not first & second


def test_a_fold_is_mixed_from_its_own_clips_only(tmp_path, bank):
    for part, labels in (("0", {"beep", "buzz", "once", "rain"}), ("1", {"beep", "buzz", "wind"})):
        found = soundscapes(bank, tmp_path / part, "--scenes", "6", "--fold", f"{part}/2")
        assert {row["label"] for row in rows_of(tmp_path / part / "LICENSES.tsv")} <= labels
        assert {event.label for own in found.truth.values() for event in own} <= labels
    clips = [{row["clip"] for row in rows_of(tmp_path / part / "LICENSES.tsv")} for part in "01"]
    assert not clips[0] & clips[1]


def test_without_origins_each_clip_is_its_own_recording():
    clips = [Clip(Path(f"{i}.wav"), "beep", (), "event", "", "", "valid") for i in range(4)]
    clips += [Clip(Path(f"b{i}.wav"), "rain", (), "background", "", "", "valid") for i in range(2)]
    part = prepare_soundscapes.fold_of(clips, "1/2", {})
    assert [clip.path.name for clip in part] == ["1.wav", "3.wav", "b1.wav"]


def test_a_recording_of_two_labels_stays_in_one_part():
    clips = [Clip(Path(f"{i}.wav"), "beep", (), "event", "", "", "valid") for i in range(2)]
    clips += [Clip(Path(f"c{i}.wav"), "chime", (), "event", "", "", "valid") for i in range(2)]
    clips += [Clip(Path(f"b{i}.wav"), "rain", (), "background", "", "", "valid") for i in range(2)]
    origin = {Path("1.wav"): "both", Path("c0.wav"): "both"}
    parts = [prepare_soundscapes.fold_of(clips, fold, origin) for fold in ("0/2", "1/2")]
    assert [clip.path.name for clip in parts[0]] == ["0.wav", "b0.wav"]
    assert [clip.path.name for clip in parts[1]] == ["1.wav", "b1.wav", "c0.wav", "c1.wav"]


@pytest.mark.parametrize("fold", ["2/2", "-1/2", "1", "a/b", "0/0", "1/²"])
def test_a_fold_that_is_none_is_refused(bank, refusal, fold):
    clips = read_manifest(bank)
    message = refusal(OptionError, prepare_soundscapes.fold_of, clips, fold, {})
    assert message == f"got --fold {fold}, expected K/N such as 0/2 or 1/2"


def test_too_many_folds_are_refused(bank, refusal):
    clips = [clip for clip in read_manifest(bank) if clip.split == "valid"]
    origin = prepare_soundscapes.origins(bank)
    message = refusal(OptionError, prepare_soundscapes.fold_of, clips, "2/3", origin)
    assert message == "got no backgrounds in fold 2/3 of 10 clips; expected both, take fewer parts"
    message = refusal(OptionError, prepare_soundscapes.fold_of, clips, "1/4", origin)
    assert message == "got no events in fold 1/4 of 10 clips; expected both, take fewer parts"


@pytest.mark.parametrize("more", [["--scenes", "0"], ["--seconds", "0.5"], ["--seconds", "nan"]])
def test_sizes_that_make_no_sense_are_refused(tmp_path, bank, refusal, more):
    arguments = ["--data", str(bank), "--out", str(tmp_path / "out"), *SECONDS, *more]
    assert "expected 1 or more of 1 to 600 s" in refusal(OptionError, prepare_soundscapes.main, arguments)
