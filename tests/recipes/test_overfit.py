"""A tiny PE-A-Frame from random weights learns eight soundscapes by heart, through everything on the way."""

import json

import numpy as np
import pytest
import torch

from peaframe import audio
from peaframe.data import manifest
from peaframe.errors import OptionError
from peaframe.models.load import load_model
from peaframe.recipes import overfit


def test_scenes_are_made_up_with_their_exact_labels(tmp_path):
    items = list(manifest.load(overfit.make_scenes(tmp_path, 0)))
    assert len(items) == 8
    assert {event.label for item in items for event in item.events} == set(overfit.SOUNDS)
    for item in items:
        assert item.exhaustive
        assert item.duration == 10.0
        assert len(item.events) in (2, 3)  # two of a label that touch are one
        frames = np.square(audio.read(item.audio).reshape(250, 1920)).mean(axis=1)
        busy = np.zeros(250, dtype=bool)
        for event in item.events:
            busy[round(event.onset * 25) : round(event.offset * 25)] = True
        assert frames[busy].min() > 10 * frames[~busy].max()


def test_another_seed_makes_other_scenes_and_the_same_one_the_same(tmp_path):
    items = [
        list(manifest.load(overfit.make_scenes(tmp_path / str(i), seed))) for i, seed in enumerate((0, 0, 1))
    ]
    events = [[item.events for item in own] for own in items]
    assert events[0] == events[1] != events[2]
    sounds = [audio.read(own[0].audio) for own in items]
    assert np.array_equal(sounds[0], sounds[1])
    assert not np.array_equal(sounds[0], sounds[2])


def test_the_checkpoint_is_random_by_its_seed_and_knows_the_words(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        overfit.make_checkpoint(tmp_path / name, ["low tone", "High tone"], seed)
    models = [load_model(tmp_path / name) for name in "abc"]
    assert models[0].tokenizer(["low tone", "high"])[0].tolist() == [[2, 6, 7, 3], [2, 5, 3, 0]]
    weights = [model.audio.data_proj.weight for model in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert models[0].embedding_dim == 64


@pytest.mark.slow
def test_a_few_steps_make_a_curve_and_another_seed_is_refused(tmp_path, refusal, capsys):
    with pytest.raises(SystemExit) as caught:
        overfit.main(["--out", str(tmp_path), "--steps", "2"])
    printed = capsys.readouterr().out
    points = overfit.curve(tmp_path / "run" / "log.jsonl")
    assert [step for step, _ in points] == [0, 1, 2]
    assert f"| 2 | {points[2][1]:.4f} |" in printed
    assert "expected 0.99 or more after 2 steps" in str(caught.value)
    cached = sum(path.stat().st_size for path in (tmp_path / "latents").glob("[!.]*.npy"))
    assert cached >= 8 * 250 * 32 * 2
    message = refusal(OptionError, overfit.main, ["--out", str(tmp_path), "--steps", "2", "--seed", "1"])
    assert "another --seed or --steps" in message
    message = refusal(OptionError, overfit.main, ["--out", str(tmp_path), "--steps", "1"])
    assert "got --steps 1" in message


@pytest.mark.slow
def test_eight_soundscapes_are_known_by_heart(tmp_path, capsys):
    overfit.main(["--out", str(tmp_path)])
    points = overfit.curve(tmp_path / "run" / "log.jsonl")
    assert points[0][1] < 0.8
    assert points[-1][0] == 300
    assert points[-1][1] >= 0.99
    final = float(capsys.readouterr().out.rsplit(" ", 1)[1])
    assert final >= 0.99
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < 0.2 * losses[0]
