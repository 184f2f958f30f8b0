"""The recipe of fine-tuning around its loop: what it says beforehand, query vectors, one run on one process."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from peaframe.data import manifest
from peaframe.data.manifest_item import Item, Unknown
from peaframe.errors import ConfigError, ModelError, OptionError
from peaframe.events import Event
from peaframe.infer.detector import Detector
from peaframe.models.load import load_model, save_model
from peaframe.queries import QueryFile
from peaframe.recipes.finetune import describe, find_config, finetune, main, read_settings, tune_queries
from peaframe.recipes.finetune_material import read_material
from peaframe.train.parallel import processes
from peaframe.train.query_vectors import tune_query_vectors

RATE = 48_000


@pytest.fixture
def place(tmp_path, tiny_model, tokenizer_content):
    """A folder with a tiny model, its tokenizer beside it, and a configuration."""
    save_model(tiny_model, tmp_path / "tiny", tokenizer_content)
    (tmp_path / "mine.yaml").write_text(
        f"model: {tmp_path / 'tiny'}\n"
        f"data: {{manifests: [{tmp_path / 'all.jsonl'}], cache: {tmp_path / 'latents'}, batch_size: 2}}\n"
        "schedule: {steps: 3}\n"
        "device: cpu\n"
    )
    return tmp_path


@pytest.fixture
def write(place):
    """Write a manifest of recordings: for each its length in seconds and what else an `Item` says."""

    def write(*rows):
        items = []
        for i, (seconds, more) in enumerate(rows):
            path = place / f"{i}.wav"
            samples = 0.1 * np.random.default_rng(i).standard_normal(round(seconds * RATE))
            samples[RATE // 2 : RATE] += 0.3 * np.sin(
                2 * np.pi * (300 + 500 * i) * np.arange(RATE // 2) / RATE
            )
            soundfile.write(path, samples, RATE)
            items.append(Item(path, duration=seconds, **more))
        manifest.save(place / "all.jsonl", items)
        return items

    return write


def settings(place, *changes):
    return read_settings(place / "mine.yaml", changes)


def beep(onset, offset, label="beep"):
    return Event(onset, offset, label)


# --- what it says beforehand


def test_it_counts_the_data_and_the_work(place, write):
    write(
        (4.0, {"events": (beep(0.5, 1.0), beep(2, 3, "buzz")), "exhaustive": True}),
        (5.0, {"weak": ("rain",)}),
        (9.0, {"events": (beep(1, 2),), "split": "valid"}),
    )
    (place / "words.json").write_text(
        json.dumps({"labels": {"rain": {"phrases": ["rain", "the rain"], "parents": ["buzz"]}}})
    )
    lines = describe(settings(place, f"data.words={place / 'words.json'}", "data.cache=latents"))
    assert lines[:3] == [
        "train: 2 items, 0.00 h, 2 events, 1 weak labels",
        "valid: 1 items, 0.00 h, 1 events, 0 weak labels",
        "words: 3 labels, 4 phrases, 1 pairs of labels that are no negatives of each other",
    ]
    channels = load_model(place / "tiny").feature_channels
    assert lines[-2] == f"latents on disk: {18 * 25 * channels * 2 / 1e9:.2f} GB in latents"
    assert lines[-1].startswith("3 steps, 3.0 epochs; at least ")
    every = next(line for line in lines if line.startswith("all "))
    count = sum(p.numel() for p in load_model(place / "tiny").parameters())
    assert every.split()[1] == f"{count / 1e6:.3f}"
    assert not (place / "latents").exists()


def test_of_queries_it_says_that_the_model_stands_still(place, write):
    write((2.0, {"events": (beep(0.5, 1.0),)}))
    lines = describe(settings(place, "learn=[queries]", "model=not there"))
    assert lines[0] == "train: 1 items, 0.00 h, 1 events, 0 weak labels"
    assert lines[1] == "valid: 0 items, 0.00 h, 0 events, 0 weak labels"
    assert lines[-1] == "one vector for each label is tuned, the model stands still"


def test_a_model_without_a_tokenizer_is_refused(place, write, golden_folder, refusal):
    write((2.0, {"events": (beep(0.5, 1.0),)}))
    bare = settings(place, f"model={golden_folder / 'pe_a_frame_original'}")
    assert "has no tokenizer; put a tokenizer.json" in refusal(ModelError, describe, bare)
    assert "has no tokenizer; put a tokenizer.json" in refusal(ModelError, finetune, bare, place / "run")


# --- query vectors


def marks(place, *changes):
    """What `tune_queries` finds, and what it was made of."""
    chosen = settings(place, "learn=[queries]", *changes)
    material, model = read_material(chosen.data), load_model(chosen.model)
    with processes("cpu") as here:
        return tune_queries(material, chosen, model, here, place / "out"), model


def heard(model, items):
    detector = Detector(model, "cpu")
    return [detector.embed(item.audio).values for item in items]


def same_vectors(one, other, atol):
    assert one.names == other.names
    for a, b in zip(one.queries, other.queries, strict=True):
        np.testing.assert_allclose(a.vector, b.vector, atol=atol)


def test_vectors_are_those_of_the_same_frames_by_hand(place, write):
    unknown = (Unknown(2.0, 3.0),)
    items = write(
        (4.0, {"events": (beep(0.52, 1.0),), "unknown": unknown, "exhaustive": True}),
        (3.0, {"events": (beep(0.52, 1.0, "buzz"),)}),
    )
    found, model = marks(place)
    states = {name: -np.ones(175, np.int8) for name in ("beep", "buzz")}
    states["beep"][13:25] = 1
    states["buzz"][113:125] = 1
    for own in states.values():
        own[50:75] = 0
    rows = np.concatenate(heard(model, items))
    same_vectors(found, tune_query_vectors(model, rows, states), atol=2e-3)
    (kept,) = (place / "out").iterdir()
    assert kept.name == "queries.json"
    same_vectors(QueryFile.load(kept), found, atol=0)
    assert QueryFile.load(kept).fingerprint == model.fingerprint()


def test_what_was_not_searched_for_may_stay_unknown(place, write):
    items = write(
        (4.0, {"events": (beep(0.52, 1.0),)}),
        (3.0, {"events": (beep(0.52, 1.0, "buzz"),), "exhaustive": True}),
    )
    found, model = marks(place, "data.unsaid=unknown")
    states = {"beep": -np.ones(175, np.int8), "buzz": np.r_[np.zeros(100), -np.ones(75)].astype(np.int8)}
    states["beep"][13:25] = 1
    states["buzz"][113:125] = 1
    same_vectors(found, tune_query_vectors(model, np.concatenate(heard(model, items)), states), atol=2e-3)


@pytest.mark.slow
def test_a_long_recording_is_heard_in_windows_as_the_detector_does(
    place, write, golden_folder, tokenizer_content
):
    shutil.copytree(golden_folder / "pe_a_frame_original", place / "pe")
    (place / "pe/tokenizer.json").write_text(json.dumps(tokenizer_content))
    items = write((13.0, {"events": (beep(0.52, 1.0), beep(7.0, 12.0))}))
    found, model = marks(place, f"model={place / 'pe'}")
    states = -np.ones(325, np.int8)
    states[13:25] = 1
    states[175:300] = 1
    (rows,) = heard(model, items)
    same_vectors(found, tune_query_vectors(model, rows, {"beep": states}), atol=5e-3)


def test_labels_that_cannot_be_told_apart_are_refused(place, write, refusal):
    write(
        (2.0, {"events": (beep(0.5, 1.0), beep(0, 1, "tone"))}),
        (2.0, {"events": (beep(0, 2, "rain"),)}),
    )
    words = {"labels": {"tone": {"phrases": ["beep"]}}}
    (place / "words.json").write_text(json.dumps(words))
    told = refusal(OptionError, marks, place, f"data.words={place / 'words.json'}")
    assert "the first phrases of the labels name 'beep' twice" in told
    always = refusal(OptionError, marks, place, "data.unsaid=unknown", "data.labels=[rain]")
    assert "'rain' has no frames where it is not heard" in always
    assert not (place / "out").exists()


# --- a run


@pytest.mark.slow
def test_a_run_on_one_process_learns_what_it_is_told(place, write):
    write(
        (2.0, {"events": (beep(0.5, 1.0),), "exhaustive": True}),
        (2.0, {"events": (beep(0.5, 1.0, "buzz"),), "exhaustive": True}),
    )
    changes = ("schedule.steps=40", "optim.lr=3e-3", "ema.decay=0", "data.negatives=0")
    assert finetune(settings(place, *changes), place / "run") is True
    log = [json.loads(line) for line in (place / "run/log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [10, 20, 30, 40]
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert not (place / "run/best").exists()  # nothing to measure on
    weights = (place / "run/last/model.safetensors").read_bytes()
    assert finetune(settings(place, *changes), place / "run") is True  # it is done
    assert (place / "run/last/model.safetensors").read_bytes() == weights
    shutil.rmtree(place / "run")
    torch.manual_seed(5)  # what else was drawn does not matter
    finetune(settings(place, *changes), place / "run")
    assert (place / "run/last/model.safetensors").read_bytes() == weights


def test_of_queries_nothing_but_the_file_is_left(place, write):
    write(
        (2.0, {"events": (beep(0.5, 1.0),)}),
        (2.0, {"events": (beep(0.5, 1.0),), "split": "valid"}),
    )
    assert finetune(settings(place, "learn=[queries]"), place / "run") is True
    assert [path.name for path in (place / "run").iterdir()] == ["queries.json"]
    assert QueryFile.load(place / "run/queries.json").names == ["beep"]


# --- configurations


def test_configurations_are_found_by_name_and_by_path(place, monkeypatch, refusal):
    monkeypatch.chdir(place)
    assert find_config("mine.yaml").name == "mine.yaml"
    assert find_config("desed").parts[-2:] == ("configs", "desed.yaml")
    (place / "desed").write_text("mine")
    assert find_config("desed").read_text() == "mine"
    assert "some/desed: no such file" in refusal(ConfigError, find_config, "some/desed")
    recipe = find_config("mini-cpu").with_name("mini.yaml")
    for name in ("mini", recipe):
        assert "trained by `python -m peaframe.recipes.mini`" in refusal(ConfigError, find_config, name)


@pytest.mark.slow
def test_the_module_is_a_command(place, write, capsys):
    write((2.0, {"events": (beep(0.5, 1.0),)}))
    assert main([str(place / "mine.yaml"), "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("train: 1 items, 0.00 h, 1 events, 0 weak labels\n")
    command = [sys.executable, "-m", "peaframe.recipes.finetune", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("peaframe: error: nothing: no such file; give a YAML file, or one of ")
    assert done.stderr.count("\n") == 1
