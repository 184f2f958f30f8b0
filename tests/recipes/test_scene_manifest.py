"""What is said of soundscapes in a manifest: frame by frame what the trainer of scenes sees; and stopped runs."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from peaframe.config import load
from peaframe.data import manifest
from peaframe.data.manifest import Unknown
from peaframe.data.mix import ACTIVE, INACTIVE, UNKNOWN, Mixer, Scene
from peaframe.data.prompts import read_prompts
from peaframe.data.soundbank import Bank, read_manifest
from peaframe.errors import ConfigError, FormatError, OptionError
from peaframe.events import Event
from peaframe.recipes import prepare_soundscapes, scene_manifest
from peaframe.train.mini import Settings
from peaframe.train.scenes import SceneDataset

LABELS = {"beep": "event", "buzz": "event", "chime": "event", "rain": "background", "wind": "background"}
CONFIG = """
train: {steps: 1}
mix: {single: 0.3, masked_db: 3, snr_db: [-15, 15]}
exclude_sources: [secret]
"""


@pytest.fixture
def folder(tmp_path):
    """A sound bank of three clips a label in each split, and a configuration and prompts beside it."""
    random = np.random.default_rng(0)
    bank = tmp_path / "bank"
    bank.mkdir()
    with (bank / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "captions", "role", "source", "license", "split"))
        for split in ("train", "valid"):
            for label, role in LABELS.items():
                for number in range(3):
                    path = f"{label}_{split}_{number}.wav"
                    seconds = 3 if role == "background" else 0.7
                    x = random.normal(0, 0.1, round(seconds * 48_000)) * np.linspace(
                        1, 0, round(seconds * 48_000)
                    )
                    soundfile.write(bank / path, x, 48_000)
                    source = "secret lab" if number == 2 else "made"
                    writer.writerow((path, label, label, role, source, "CC0", split))
    (tmp_path / "mini.yaml").write_text(CONFIG, encoding="utf-8")
    content = {
        "labels": {},
        "same": [["beep", "chime"], ["rain", "wind", "shower"]],
        "audioset": {},
        "audioset_to_label": {},
        "distractors": [],
        "vague": {},
    }
    (tmp_path / "prompts.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path


def order(folder, out, *more):
    own = {"--data": "bank", "--config": "mini.yaml", "--prompts": "prompts.json", "--out": out}
    arguments = [text for name, value in own.items() for text in (name, str(folder / value))]
    return [*arguments, "--split", "train", "--scenes", "8", "--seconds", "4", "--seed", "3", *more]


def contents(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def drawn(out):
    with (out / "LICENSES.tsv").open(newline="", encoding="utf-8") as file:
        return [row["clip"] for row in csv.DictReader(file, delimiter="\t")]


def scene_of(labels, *columns):
    states = np.array(columns, dtype=np.int8).T
    return Scene(np.zeros(1920 * len(states), np.float32), labels, states)


def test_a_scene_as_an_item():
    scene = scene_of(
        ["dog", "dog", "rain"],
        [ACTIVE, ACTIVE, UNKNOWN, INACTIVE, INACTIVE],
        [INACTIVE, UNKNOWN, ACTIVE, INACTIVE, UNKNOWN],
        [INACTIVE, INACTIVE, INACTIVE, ACTIVE, INACTIVE],
    )
    item = scene_manifest.item_of(scene, {"dog": {"wolf"}}, Path("a.flac"), "valid")
    assert item.events == (Event(0, 0.12, "dog"), Event(0.12, 0.16, "rain"))
    assert item.unknown == (Unknown(0.16, 0.2, "dog"), Unknown(0, 0.12, "wolf"), Unknown(0.16, 0.2, "wolf"))
    assert (item.duration, item.exhaustive, item.split, item.negatives) == (0.2, True, "valid", ())


def test_of_two_that_may_mean_the_same_each_is_known_where_it_is_heard():
    scene = scene_of(["dog", "wolf"], [ACTIVE, ACTIVE, INACTIVE], [INACTIVE, ACTIVE, UNKNOWN])
    others = scene_manifest.alike([["dog", "wolf"], ["wolf", "fox"]])
    assert others == {"dog": {"wolf"}, "wolf": {"dog", "fox"}, "fox": {"wolf"}}
    item = scene_manifest.item_of(scene, others, Path("a.flac"), "train")
    expected = [[1, 0, -1, -1], [1, 1, 0, -1], [0, 0, 0, -1]]
    assert manifest.targets(item, ["dog", "wolf", "fox", "rain"], 3).tolist() == expected


def test_a_scene_without_sources_says_that_nothing_is_heard():
    scene = Scene(np.zeros(3840, np.float32), [], np.zeros((2, 0), np.int8))
    item = scene_manifest.item_of(scene, {}, Path("a.flac"), "train")
    assert (item.events, item.unknown, item.frames) == ((), (), 2)


def test_the_manifest_gives_the_targets_that_the_trainer_of_scenes_sees(folder):
    prepare_soundscapes.main(order(folder, "out", "--scenes", "40"))
    settings = load(Settings, folder / "mini.yaml")
    clips = [c for c in read_manifest(folder / "bank", ["secret"]) if c.split == "train"]
    prompts = read_prompts(folder / "prompts.json", clips)
    dataset = SceneDataset(Mixer(Bank(clips, 48_000), settings.mix, 3), prompts.labels, prompts.overlap())
    items = list(manifest.stream(folder / "out/manifest.jsonl"))
    assert [item.audio for item in items] == [folder / f"out/audio/scene_{i:03}.flac" for i in range(40)]
    assert {(item.split, item.exhaustive, item.duration) for item in items} == {("train", True, 4.0)}
    drowned = 0
    for i, item in enumerate(items):
        scene = dataset.mixer.scene(i, 4.0)
        expected = dataset.targets(scene)
        np.testing.assert_array_equal(manifest.targets(item, prompts.labels, 100), expected)
        drowned += int((scene.states == UNKNOWN).sum())
        sound, rate = soundfile.read(item.audio, dtype="float32")
        assert rate == 48_000
        np.testing.assert_allclose(sound, scene.waveform, atol=1 / 32768)
    assert drowned > 100
    assert {span.label for item in items for span in item.unknown} == {*LABELS, "shower"}


def test_split_and_configuration_choose_the_clips(folder):
    prepare_soundscapes.main(order(folder, "out", "--scenes", "30"))
    assert set(drawn(folder / "out")) == {f"{label}_train_{i}.wav" for label in LABELS for i in (0, 1)}


def test_labels_that_are_left_out_are_in_no_scene(folder):
    (folder / "held.txt").write_text("chime\n\nwind \n", encoding="utf-8")
    prepare_soundscapes.main(order(folder, "out", "--scenes", "20", "--without", str(folder / "held.txt")))
    assert {name.partition("_")[0] for name in drawn(folder / "out")} == {"beep", "buzz", "rain"}
    events = [e for item in manifest.stream(folder / "out/manifest.jsonl") for e in item.events]
    assert {event.label for event in events} == {"beep", "buzz", "rain"}


def test_any_number_of_processes_and_a_cache_give_the_same_files(folder):
    prepare_soundscapes.main(order(folder, "one"))
    prepare_soundscapes.main(order(folder, "two", "--jobs", "2", "--cache", str(folder / "cache")))
    prepare_soundscapes.main(order(folder, "again", "--jobs", "3", "--cache", str(folder / "cache")))
    one = contents(folder / "one")
    assert one == contents(folder / "two") == contents(folder / "again")
    assert sorted(name for name in one if "/" not in name) == [
        "LICENSES.tsv",
        "durations.tsv",
        "ground_truth.tsv",
        "manifest.jsonl",
    ]


@pytest.fixture
def stopping(monkeypatch):
    """Lets a run stop when it mixes a scene; gives the numbers of the scenes that are mixed."""
    mixed, own = [], Mixer.scene

    def stop_at(number):
        def scene(self, index, seconds):
            if index == number:
                raise KeyboardInterrupt
            mixed.append(index)
            return own(self, index, seconds)

        mixed.clear()
        monkeypatch.setattr(Mixer, "scene", scene)
        return mixed

    return stop_at


def test_a_stopped_run_goes_on_with_what_is_lacking(folder, stopping):
    prepare_soundscapes.main(order(folder, "whole"))
    stopping(5)
    with pytest.raises(KeyboardInterrupt):
        prepare_soundscapes.main(order(folder, "out"))
    with (folder / "out/.scenes.jsonl").open("ab") as file:
        file.write(b'[5, [[0.0, 1.0, "be')
    (folder / "out/audio/scene_002.flac").unlink()
    mixed = stopping(None)
    prepare_soundscapes.main(order(folder, "out"))
    assert mixed == [2, 5, 6, 7]
    assert contents(folder / "out") == contents(folder / "whole")


@pytest.mark.parametrize(
    "more", [["--seed", "4"], ["--split", "valid"], ["--fold", "0/2"], ["--seconds", "3"]]
)
def test_what_another_order_began_is_made_anew(folder, stopping, more):
    stopping(5)
    with pytest.raises(KeyboardInterrupt):
        prepare_soundscapes.main(order(folder, "out"))
    mixed = stopping(None)
    prepare_soundscapes.main(order(folder, "out", *more))
    assert mixed == list(range(8))
    prepare_soundscapes.main(order(folder, "new", *more))
    assert contents(folder / "out") == contents(folder / "new")


def test_names_of_many_scenes_have_five_digits():
    names = []
    for scenes in (1, 1000, 1001, 100_000):
        writer = scene_manifest.Writer(None, None, 4.0, Path(), scene_manifest.digits_of(scenes), "train", {})
        names.append(writer.path(scenes - 1).name)
    assert names == ["scene_000.flac", "scene_999.flac", "scene_01000.flac", "scene_99999.flac"]


def test_what_makes_no_sense_is_refused(folder, refusal):
    held = folder / "held.txt"
    command = order(folder, "out", "--without", str(held))
    assert "cannot be read" in refusal(FormatError, prepare_soundscapes.main, command)
    held.write_text("chimes\n", encoding="utf-8")
    message = refusal(OptionError, prepare_soundscapes.main, command)
    assert message == f"{held}: got the label 'chimes'; did you mean 'chime'?"
    held.write_text("\n", encoding="utf-8")
    assert "got no labels" in refusal(OptionError, prepare_soundscapes.main, command)
    command = order(folder, "out", "--jobs", "0")
    assert (
        refusal(OptionError, prepare_soundscapes.main, command)
        == "got --jobs 0, expected 1 or more processes"
    )
    (folder / "mini.yaml").write_text("mixx: {}", encoding="utf-8")
    assert "did you mean 'mix'" in refusal(ConfigError, prepare_soundscapes.main, order(folder, "out"))
