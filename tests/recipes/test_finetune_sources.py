"""Runs that learn from soundscapes mixed on the fly, and from shards: they go on bit for bit as all others do."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from peaframe.data import manifest
from peaframe.data.shards import write_shards
from peaframe.errors import ConfigError, ManifestError
from peaframe.recipes import finetune as recipe
from peaframe.recipes.finetune_material import read_material, sounds_of
from peaframe.train.settings import DataSettings, ScenesSettings

runs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent.parent / "train" / "finetuning.py")))
pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = {"schedule": {"steps": 5}, "evaluate_every": 5, "save_every": 5}


@pytest.fixture
def train(tmp_path, tiny_model, tokenizer_content, monkeypatch):
    """Train into a folder, by its name; `stop` steps only, if given."""
    start = runs.make_start(tmp_path, tiny_model, tokenizer_content)

    def train(out, stop=None, **changes):
        config = runs.write_config(tmp_path / f"{out}.yaml", runs.values(*start, **STEPS, **changes))
        with monkeypatch.context() as patch:
            if stop is not None:
                patch.setattr(recipe, "stop_signals", runs.stopping(stop))
            return recipe.finetune(recipe.read_settings(config), tmp_path / out)

    train.manifest = start[1]
    return train


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_scenes_mixed_on_the_fly(train, bank_folder, tmp_path, workers):
    scenes = {"sounds": str(bank_folder), "per_epoch": 6, "mix": {"max_events": 3}}
    data = {"scenes": scenes, "crop_seconds": 1.2}
    assert train("whole", data=data)
    assert not train("parts", stop=3, data={**data, "workers": workers})
    assert train("parts", data=data)
    runs.same_run(tmp_path / "whole", tmp_path / "parts")
    losses = [line["loss"] for line in runs.log(tmp_path / "whole") if "loss" in line]
    assert losses
    assert all(0 < loss < 100 for loss in losses)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_shards(train, tmp_path, accumulate):
    items = [item for item in manifest.load(train.manifest) if item.split == "train"]
    write_shards(items, tmp_path / "shards", shard_bytes=60_000)
    data = {"shards": str(tmp_path / "shards"), "labels": ["beep", "buzz"]}
    assert train("whole", data=data, accumulate=accumulate)
    assert not train("parts", stop=2, data=data, accumulate=accumulate)
    assert train("parts", data=data, accumulate=accumulate)
    runs.same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_a_dry_run_of_both(train, bank_folder, tmp_path):
    for name, data in {
        "scenes": {"scenes": {"sounds": str(bank_folder)}},
        "shards": {"shards": str(tmp_path), "labels": ["beep"]},
    }.items():
        start = (tmp_path / "start", train.manifest, tmp_path / "cache")
        config = runs.write_config(tmp_path / f"{name}.yaml", runs.values(*start, **STEPS, data=data))
        lines = recipe.describe(recipe.read_settings(config))
        assert lines[0].startswith("train: " + name)
        assert lines[1].startswith("valid: 2 items")


def test_the_sounds_of_scenes(bank_folder, tmp_path):
    clips = sounds_of(ScenesSettings(bank_folder))
    assert [(clip.path.name, clip.role) for clip in clips] == [
        ("beep_1.wav", "event"),
        ("beep_2.wav", "event"),
        ("buzz_1.wav", "event"),
        ("buzz_2.wav", "event"),
        ("rain_1.ogg", "background"),
    ]
    without = sounds_of(ScenesSettings(bank_folder, exclude_sources=("other",)))
    assert [clip.path.name for clip in without] == ["beep_1.wav", "beep_2.wav", "buzz_1.wav", "rain_1.ogg"]
    material = read_material(DataSettings(scenes=ScenesSettings(bank_folder)))
    assert material.vocabulary.labels == ("beep", "buzz", "rain")
    plain = tmp_path / "plain"
    (plain / "beep").mkdir(parents=True)
    (plain / "beep" / "a.wav").write_bytes((bank_folder / "beep_1.wav").read_bytes())
    assert [(clip.label, clip.role) for clip in sounds_of(ScenesSettings(plain))] == [
        ("beep", "event"),
        ("", "background"),
    ]
    with_rain = sounds_of(ScenesSettings(plain, backgrounds=bank_folder))
    assert [clip.label for clip in with_rain] == ["beep", "rain"]


def test_what_does_not_go_together(refusal, tmp_path, bank_folder):
    scenes = ScenesSettings(bank_folder)
    assert "one of them" in refusal(ConfigError, DataSettings, shards="a", scenes=scenes)
    assert "without data.labels" in refusal(ConfigError, DataSettings, shards="a")
    assert "needs manifests" in refusal(ConfigError, DataSettings, scenes=scenes, teacher=tmp_path)
    assert "expected one manifest or more" in refusal(ConfigError, DataSettings)
    assert "no such folder" in refusal(ManifestError, sounds_of, ScenesSettings(tmp_path / "none"))
    assert "no sounds of events" in refusal(ManifestError, sounds_of, ScenesSettings(tmp_path))
