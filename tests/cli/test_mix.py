"""`peaframe mix`: the real command on small made sounds; its labels and levels are measured in what it wrote."""

import csv
import itertools
import json
import shutil

import numpy as np
import pytest
import soundfile

from peaframe import audio, formats
from peaframe.data import mix_folder
from peaframe.eval.benchmarks import find, folder
from peaframe.events import Event

RATE, HOP = 48_000, 1_920
TONES = {"high_beep": 3000, "low_beep": 1000}
SHORT = ["--scenes", "6", "--seconds", "4"]


def tone(hertz, seconds, amplitude=0.3):
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


def save(path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE)
    return path


@pytest.fixture
def sounds(tmp_path):
    """Two labels of two tones each, of whole cycles a frame, in a plain folder."""
    for label, hertz in TONES.items():
        for number, seconds in enumerate((0.5, 0.9)):
            save(tmp_path / "sounds" / label / f"{number}.wav", tone(hertz, seconds, 0.1 + 0.3 * number))
    return tmp_path / "sounds"


@pytest.fixture
def ambiences(tmp_path):
    """One ambience with a label, none without."""
    noise = np.random.default_rng(0).standard_normal(3 * RATE)
    save(tmp_path / "ambiences/rain/a.wav", 0.05 * noise)
    return tmp_path / "ambiences"


def files(folder):
    """The bytes of all files, by path."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def power(x, hertz):
    """Power of a tone in each frame."""
    wave = np.exp(-2j * np.pi * hertz * np.arange(HOP) / RATE)
    return 2 * np.abs(x.reshape(-1, HOP).astype(np.float64) @ wave / HOP) ** 2


def spans(active, bridge=5):
    """Runs of frames, pauses up to `bridge` frames bridged."""
    found = []
    for frame in np.flatnonzero(active).tolist():
        if found and frame - found[-1][1] <= bridge:
            found[-1][1] = frame + 1
        else:
            found.append([frame, frame + 1])
    return found


def refused(ran, *parts):
    assert ran.code == 2, ran.err
    assert ran.out == ""
    (line,) = ran.err.splitlines()
    assert [part for part in parts if part not in line] == []


def test_what_is_written_is_a_folder_that_eval_reads(run, sounds, ambiences, tmp_path):
    out = tmp_path / "out"
    ran = run("mix", sounds, out, *SHORT, "--backgrounds", ambiences)
    assert ran.code == 0, ran.err
    names = [f"scene_{i:05}" for i in range(6)]
    expected = {f"audio/{name}.wav" for name in names} | {f"jams/{name}.jams" for name in names}
    assert set(files(out)) == expected | {
        "durations.tsv",
        "ground_truth.tsv",
        "mix.json",
    }  # no licence is known
    found = find("folder").load(out)
    assert list(found.audio) == names
    assert found.durations == dict.fromkeys(names, 4.0)
    assert (found.missing, found.notes) == ((), ())
    events = sum(map(len, found.truth.values()))
    assert f"6 soundscapes of 4 s, {events} events of 3 labels, " in ran.out
    for name in names:
        assert Event(0.0, 4.0, "rain") in found.truth[name]
        assert formats.load(out / f"jams/{name}.jams") == {f"{name}.wav": found.truth[name]}
        info = soundfile.info(out / f"audio/{name}.wav")
        assert (info.samplerate, info.channels, info.frames, info.subtype) == (RATE, 1, 4 * RATE, "PCM_16")
    assert (mix_folder.TRUTH, mix_folder.DURATIONS) == (folder.TRUTH, folder.DURATIONS)


@pytest.mark.slow
def test_the_real_command_scores_what_it_mixed(shell, sounds, tmp_path):
    out = tmp_path / "out"
    ran = shell("mix", sounds, out, "--scenes", 3, "--seconds", 4, "--format", "flac")
    assert ran.code == 0, ran.err
    scored = shell(
        "eval", "run", "folder", "--data", out, "--output", tmp_path / "run", "--resamples", 0, "--json"
    )
    assert scored.code == 0, scored.err
    document = json.loads(scored.out)
    truth = formats.load(out / "ground_truth.tsv")
    assert list(truth) == [f"scene_{i:05}.flac" for i in range(3)]
    assert document["events"] == sum(map(len, truth.values())) > 0
    assert document["complete"]


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_same_seed_same_bytes_and_another_seed_other_ones(run, sounds, tmp_path, format):
    folders = [tmp_path / f"out{number}" for number in range(3)]
    for out, seed in zip(folders, (3, 3, 4), strict=True):
        assert run("mix", sounds, out, *SHORT, "--seed", seed, "--format", format).code == 0
    first, again, other = map(files, folders)
    assert first == again
    assert first["ground_truth.tsv"] != other["ground_truth.tsv"]
    audio = [content for name, content in first.items() if name.startswith("audio/")]
    assert len(set(audio)) == 6


def test_the_order_of_files_and_rows_and_the_number_of_scenes_change_nothing(run, bank_folder, tmp_path):
    copy = tmp_path / "bank"
    copy.mkdir()
    header, *lines = (bank_folder / "manifest.csv").read_text().splitlines()
    (copy / "manifest.csv").write_text("\n".join([header, *lines[::-1]]) + "\n")
    for path in sorted(bank_folder.iterdir(), reverse=True):
        if path.name != "manifest.csv":
            shutil.copyfile(path, copy / path.name)
    assert run("mix", bank_folder, tmp_path / "a", *SHORT).code == 0
    assert run("mix", copy, tmp_path / "b", *SHORT).code == 0
    assert run("mix", copy, tmp_path / "c", "--seconds", 4, "--scenes", 2).code == 0
    a, b, c = (files(tmp_path / name) for name in "abc")
    assert a == b
    scenes = [name for name in c if name.startswith(("audio/", "jams/"))]
    assert len(scenes) == 4
    assert {name: a[name] for name in scenes} == {name: c[name] for name in scenes}


def test_a_run_that_was_stopped_goes_on_and_ends_the_same(run, sounds, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert run("mix", sounds, whole, *SHORT).code == 0
    mix = mix_folder.Mixer.scene
    made = []

    def stopped(mixer, index, seconds):
        made.append(index)
        if len(made) == 4:
            raise KeyboardInterrupt
        return mix(mixer, index, seconds)

    monkeypatch.setattr(mix_folder.Mixer, "scene", stopped)
    assert run("mix", sounds, out, *SHORT).code == 130
    assert not (out / "ground_truth.tsv").exists()
    (out / "audio/scene_00001.wav").unlink()  # and one got lost
    assert run("mix", sounds, out, *SHORT).code == 0
    assert made == [0, 1, 2, 3, 1, 3, 4, 5]
    assert files(out) == files(whole)


def test_labels_are_where_the_sounds_are(run, sounds, tmp_path):
    out = tmp_path / "out"
    assert run("mix", sounds, out, "--scenes", 12, "--seconds", 8, "--snr", 40, 46).code == 0
    truth = formats.load(out / "ground_truth.tsv")
    together = 0
    for name, events in truth.items():
        x = audio.read(out / "audio" / name)
        for label, hertz in TONES.items():
            own = power(x, hertz)
            loudest = max(power(x, other).max() for other in TONES.values())
            heard = spans(own > max(loudest / 1000, 20 * power(x, 7000).max()))
            grid = np.zeros(len(own), bool)
            for event in (event for event in events if event.label == label):
                grid[round(event.onset * 25) : round(event.offset * 25)] = True
            told = spans(grid)  # two sounds of one label that nearly touch stay two in the table
            # a frame by itself is a sliver of a sound at the scene's end, which a tone's power hardly shows
            told, heard = ([span for span in found if span[1] - span[0] > 1] for found in (told, heard))
            assert len(told) == len(heard)
            assert np.abs(np.array(told) - np.array(heard)).max(initial=0) <= 1
            together += len(told)
    assert together > 20


def test_labels_are_exact_to_the_frame_for_a_sound_alone(run, tmp_path):
    square = np.where(np.arange(RATE) % 96 < 48, 0.5, -0.5)  # as loud in every sample
    save(tmp_path / "sounds/square/a.wav", square)
    out = tmp_path / "out"
    words = ["--scenes", 12, "--seconds", 8, "--snr", 60, 60, "--events", 1]
    assert run("mix", tmp_path / "sounds", out, *words).code == 0
    checked = 0
    for name, events in formats.load(out / "ground_truth.tsv").items():
        x = audio.read(out / "audio" / name).reshape(-1, HOP)
        assert {event.label for event in events} <= {"square"}
        if events:
            # a whisper at -60 dB, a sound at 0 dB: what is over -20 dB of the peak is the sound
            heard = spans((np.abs(x) > 0.1 * np.abs(x).max()).any(axis=1))
            assert [[round(e.onset * 25), round(e.offset * 25)] for e in events] == heard
            checked += len(events)
    assert checked > 4


def test_snr_is_that_of_the_loud_frames_over_the_background(run, tmp_path):
    save(tmp_path / "sounds/beep/a.wav", tone(1000, 1.0, 0.01))
    noise = 0.2 * np.random.default_rng(1).standard_normal(4 * RATE)
    save(tmp_path / "hiss/a.wav", noise)
    measured = {}
    for low, high in ((10, 10), (0, 30)):
        out = tmp_path / f"out{high}"
        words = ["--scenes", 16, "--seconds", 8, "--snr", low, high, "--events", 1]
        assert run("mix", tmp_path / "sounds", out, "--backgrounds", tmp_path / "hiss", *words).code == 0
        measured[high] = []
        for name, events in formats.load(out / "ground_truth.tsv").items():
            x = audio.read(out / "audio" / name)
            assert {event.label for event in events} <= {"beep"}  # an ambience in no label's folder has none
            inside = np.zeros(len(x) // HOP, bool)
            middle = inside.copy()
            for event in events:
                on, off = round(event.onset * 25), round(event.offset * 25)
                inside[on:off] = True
                middle[on + 1 : off - 1] = True
            if middle.any():
                quiet = np.mean(x.reshape(-1, HOP)[~inside].astype(np.float64) ** 2)
                sounding = np.mean(power(x, 1000)[middle])
                measured[high].append(10 * np.log10(sounding / quiet))
    np.testing.assert_allclose(measured[10], 10, atol=0.4)
    assert len(measured[10]) > 4
    assert -0.5 < min(measured[30]) < 12 < 18 < max(measured[30]) < 30.5


def test_events_is_how_many_sounds_a_scene_may_have(run, tmp_path):
    for number in range(20):
        save(tmp_path / f"sounds/{number}/a.wav", tone(300 * (number + 1), 0.2))
    for most in (1, 4):
        out = tmp_path / f"out{most}"
        assert (
            run("mix", tmp_path / "sounds", out, "--scenes", 30, "--seconds", 8, "--events", most).code == 0
        )
        sheets = [json.loads(path.read_text()) for path in sorted((out / "jams").iterdir())]
        counts = [len(sheet["sandbox"]["peaframe"]["clips"]) for sheet in sheets]
        assert max(counts) == most
        assert min(counts) == 0


def test_licences_list_the_clips_mixed_in_and_a_split_is_kept_to(run, bank_folder, tmp_path):
    out = tmp_path / "out"
    ran = run("mix", bank_folder, out, "--scenes", 20, "--seconds", 4, "--split", "valid")
    assert ran.code == 0, ran.err
    assert "2 of 2 clips mixed in" in ran.out
    assert rows(out / "LICENSES.tsv") == [
        {"clip": "sounds/beep_3.wav", "label": "beep", "source": "made:3", "license": "CC0"},
        {"clip": "sounds/rain_2.ogg", "label": "rain", "source": "made:7", "license": "CC0"},
    ]
    labels = {event.label for events in formats.load(out / "ground_truth.tsv").values() for event in events}
    assert labels == {"beep", "rain"}


def test_backgrounds_given_take_the_place_of_the_manifests_own(run, bank_folder, ambiences, tmp_path):
    (ambiences / "rain").rename(ambiences / "wind")
    out = tmp_path / "out"
    assert run("mix", bank_folder, out, *SHORT, "--backgrounds", ambiences).code == 0
    clips = {row["clip"]: row["license"] for row in rows(out / "LICENSES.tsv")}
    assert clips["backgrounds/wind/a.wav"] == ""
    labels = {event.label for events in formats.load(out / "ground_truth.tsv").values() for event in events}
    assert labels == {"beep", "buzz", "wind"}


def test_ambiences_inside_the_sounds_are_no_label(run, sounds, tmp_path):
    save(sounds / "ambience/a.wav", 0.1 * np.random.default_rng(0).standard_normal(RATE))
    out = tmp_path / "out"
    assert run("mix", sounds, out, *SHORT, "--backgrounds", sounds / "ambience").code == 0
    labels = {event.label for events in formats.load(out / "ground_truth.tsv").values() for event in events}
    assert labels == set(TONES)


def test_other_settings_other_sounds_and_other_things_are_refused(run, sounds, tmp_path):
    out = tmp_path / "out"
    assert run("mix", sounds, out, *SHORT).code == 0
    before = files(out)
    refused(run("mix", sounds, out, *SHORT, "--seed", 1), "other seed", "new folder")
    refused(run("mix", sounds, out, "--seconds", 5, "--scenes", 7), "other scenes, seconds;")
    refused(run("mix", sounds, out, *SHORT, "--snr", 0, 3, "--events", 2), "other max_events, snr_db;")
    save(sounds / "low_beep/new.wav", tone(900, 0.5))
    refused(run("mix", sounds, out, *SHORT), "other sounds")
    assert files(out) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    refused(run("mix", sounds, tmp_path / "mine"), "holds other things")
    assert files(tmp_path / "mine") == {"notes.txt": b"keep"}
    refused(run("mix", sounds, tmp_path / "mine/notes.txt"), "holds other things")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--scenes", "0"], "--scenes: got 0, expected 1 to"),
        (["--seconds", "0.5"], "--seconds: got 0.5, expected 1 to 600"),
        (["--seconds", "nan"], "--seconds: got nan"),
        (["--seed", "-1"], "--seed: got -1"),
        (["--events", "0"], "--events: got 0"),
        (["--snr", "5", "-5"], "--snr: got 5 -5, expected LOW <= HIGH"),
        (["--snr", "nan", "5"], "--snr: got nan 5"),
        (["--format", "mp3"], "mp3"),
        (["--split", "valid"], "no manifest.csv"),
        (["--backgrounds", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_options_that_make_no_sense(run, sounds, tmp_path, words, told):
    refused(run("mix", sounds, tmp_path / "out", *words), told)
    assert not (tmp_path / "out").exists()


def test_sounds_that_cannot_be_used(run, sounds, tmp_path):
    out = tmp_path / "out"
    refused(run("mix", tmp_path / "missing", out), "missing: no such folder")
    refused(run("mix", sounds, sounds / "out"), "lies in")
    (tmp_path / "empty").mkdir()
    refused(run("mix", tmp_path / "empty", out), "expected SOUNDS/LABEL/a.wav")
    refused(run("mix", sounds, out, "--backgrounds", tmp_path / "empty"), "got no ambiences")
    (sounds / "low_beep/text.wav").write_text("This is no sound. " * 100)
    refused(run("mix", sounds, out), "text.wav")
    (sounds / "low_beep/text.wav").unlink()
    loose = save(sounds / "loose.wav", tone(500, 0.5))
    refused(run("mix", sounds, out), "loose.wav: is in no label's folder")
    loose.unlink()
    assert not out.exists()
    save(tmp_path / "still/hush/a.wav", np.zeros(RATE))
    refused(run("mix", tmp_path / "still", out, *SHORT), "a.wav: is silent")


def test_a_manifest_without_a_label_is_refused(run, bank_folder, tmp_path):
    copy = shutil.copytree(bank_folder, tmp_path / "bank")
    text = (copy / "manifest.csv").read_text().replace("buzz_1.wav,buzz,", "buzz_1.wav, ,")
    (copy / "manifest.csv").write_text(text)
    refused(run("mix", copy, tmp_path / "out"), "buzz_1.wav: has no label")
    assert not (tmp_path / "out").exists()


def test_scenes_need_no_memory_of_all_clips(sounds, monkeypatch):
    """A bank keeps the latest clips only, and gives the same samples again."""
    monkeypatch.setattr(mix_folder, "_KEPT_SAMPLES", 2 * RATE)
    clips = mix_folder.labelled(sounds, sounds.rglob("*.wav"), "event")
    assert [clip.path.relative_to(sounds).as_posix() for clip in clips] == [
        f"{label}/{number}.wav" for label, number in itertools.product(TONES, (0, 1))
    ]
    bank = mix_folder.FolderBank(clips)
    first = [bank.waveform(index) for index in range(4)]
    assert sum(map(len, bank._kept.values())) <= 2 * RATE
    for index in (2, 0, 3, 1):
        np.testing.assert_array_equal(bank.waveform(index), first[index])
        np.testing.assert_array_equal(first[index], audio.read(clips[index].path))


def test_help_has_examples(run, capsys):
    with pytest.raises(SystemExit) as left:
        run("mix", "--help")
    assert left.value.code == 0
    assert "peaframe mix my_sounds soundscapes --backgrounds my_ambiences" in capsys.readouterr().out
