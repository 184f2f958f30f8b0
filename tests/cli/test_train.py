"""`peaframe train`, seen from outside: a tiny model, trained, stopped, refused."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from peaframe import formats
from peaframe.data import manifest
from peaframe.data.manifest_item import Item
from peaframe.events import Event
from peaframe.models.load import load_model, save_model

RATE = 48_000
NAMES = {
    "audioset-strong",
    "desed",
    "distill-pretrainedsed",
    "few-shot",
    "mini",
    "mini-cpu",
    "pe-a-frame",
    "urbansed",
}


@pytest.fixture
def place(tmp_path, monkeypatch, tiny_model, tokenizer_content):
    """A folder to work in, with a tiny model, three recordings and a configuration of two steps."""
    monkeypatch.chdir(tmp_path)
    save_model(tiny_model, tmp_path / "tiny", tokenizer_content)
    random = np.random.default_rng(0)
    for i in range(3):
        samples = 0.1 * random.standard_normal(2 * RATE) * np.repeat([0.1, 1.0, 0.1, 0.1], RATE // 2)
        soundfile.write(tmp_path / f"take_{i}.wav", samples, RATE)
    items = [
        Item(
            tmp_path / f"take_{i}.wav",
            duration=2.0,
            events=(Event(0.5, 1.0, ("beep", "rain")[i % 2]),),
            split="valid" if i == 2 else "train",
        )
        for i in range(3)
    ]
    manifest.save(tmp_path / "all.jsonl", items)
    (tmp_path / "mine.yaml").write_text(
        "model: tiny\n"
        "data: {manifests: [all.jsonl], cache: latents, batch_size: 2}\n"
        "schedule: {steps: 2}\n"
        "device: cpu\n"
    )
    return tmp_path


def one_line(ran, *parts):
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert line.startswith("peaframe: error: ")
    assert [part for part in parts if part not in line] == []


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_it_trains_into_the_folder_of_the_configuration(run, place):
    ran = run("train", "mine.yaml")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.splitlines()[-1] == f"done: {Path('runs/mine')}"
    assert [entry["step"] for entry in log(place / "runs/mine")] == [0, 2, 2]
    before, after = load_model(place / "tiny"), load_model(place / "runs/mine/last")
    assert after.fingerprint() != before.fingerprint()
    detected = run("detect", "take_0.wav", "beep", "--model", "runs/mine/best", "--device", "cpu", "--json")
    assert detected.code == 0, detected.err
    assert len(list(formats.loads(detected.out, "json").values())) <= 1


def test_options_and_changes_stand_in_any_order(run, place):
    ran = run("train", "mine.yaml", "--out", "elsewhere", "schedule.steps=3", "optim.lr=1e-3")
    assert ran.code == 0, ran.err
    settings = json.loads((place / "elsewhere/settings.json").read_text())
    assert (settings["schedule"]["steps"], settings["optim"]["lr"]) == (3, 1e-3)
    assert not (place / "runs").exists()
    again = run("train", "--out", "elsewhere", "mine.yaml", "schedule.steps=4", "optim.lr=1e-3")
    one_line(again, "elsewhere: holds a run with other settings (schedule)")


@pytest.mark.slow
def test_a_dry_run_says_what_it_would_take_and_leaves_nothing(run, place):
    there = sorted(place.iterdir())
    ran = run("train", "mine.yaml", "--dry-run", "schedule.steps=100")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[:3] == [
        "train: 2 items, 0.00 h, 2 events, 0 weak labels",
        "valid: 1 items, 0.00 h, 1 events, 0 weak labels",
        "words: 2 labels, 2 phrases, 0 pairs of labels that are no negatives of each other",
    ]
    assert any(line.startswith("memory of a process") for line in lines)
    assert lines[-1].startswith("100 steps, 100.0 epochs; at least ")
    assert sorted(place.iterdir()) == there


def test_the_list_has_a_line_for_each_configuration(run):
    ran = run("train", "--list")
    assert (ran.code, ran.err) == (0, "")
    head, *lines = ran.out.splitlines()
    found = {line.split()[0]: line for line in lines}
    assert head.split() == ["name", "trains", "what", "for"]
    assert found.keys() >= NAMES
    assert "ten sounds of the home" in found["desed"]
    kinds = {name: line.split()[1] for name, line in found.items()}
    assert {name for name in found if kinds[name] == "pre-training"} == {
        name for name in found if name.startswith("pretrain_")
    }
    assert set(kinds.values()) == {"fine-tuning", "pre-training"}
    assert "python -m peaframe.recipes.mini " in found["mini"]


def test_what_cannot_be_trained_is_one_line(run, place):
    one_line(run("train"), "got no CONFIG", "train --list")
    one_line(run("train", "desed", "--list"), "argument --list: got 'desed'")
    one_line(run("train", "dessed"), "dessed: no such file", "audioset-strong", "desed")
    one_line(
        run("train", "mini"), "mini: is the recipe of the built-in model", "python -m peaframe.recipes.mini"
    )
    one_line(run("train", "mine.yaml", "optim.rate=1"), "unknown key 'optim.rate'")
    one_line(run("train", "mine.yaml", "fast"), "got override 'fast', expected key=value")
    one_line(run("train", "mine.yaml", "best=luck"), "got best 'luck', expected one of psds1")
    one_line(run("train", "mine.yaml", "data.manifests=[none.jsonl]"), "none.jsonl")
    one_line(run("train", "mine.yaml", "model=tinny"), "unknown model 'tinny'")
    one_line(run("train", "mine.yaml", "--dry-run", "data.train=[spring]"), "no items of the splits spring")
    one_line(run("train", "mine.yaml", "--out", "all.jsonl"), "all.jsonl: cannot be made")
    assert not (place / "runs").exists()


@pytest.mark.slow
def test_stopped_it_saves_and_the_same_command_goes_on(run, place):
    command = [str(Path(sysconfig.get_path("scripts")) / "peaframe"), "train", "mine.yaml"]
    command += ["schedule.steps=100000", "--out", "long"]
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=settings) as process:
        until = time.monotonic() + 300
        while not (place / "long/log.jsonl").is_file() and time.monotonic() < until:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "stopped and saved in long; the same command goes on"
    assert "Traceback" not in err
    (steps,) = {entry["step"] for entry in log(place / "long")[-1:]}
    saved = (place / "long/resume.safetensors").stat()
    assert steps % 10 == 0
    assert saved.st_size > 10_000
    one_line(run("train", "mine.yaml", "--out", "long"), "long: holds a run with other settings (schedule)")


@pytest.mark.parametrize("words", [["--help"], ["--list"], ["mini"], ["nothing"], []])
def test_torch_waits_until_it_is_needed(words):
    code = (
        "import sys\nfrom peaframe.cli.main import main\n"
        f"try: main(['train', *{words!r}])\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_help_names_the_examples(run, capsys):
    with pytest.raises(SystemExit) as left:
        run("train", "--help")
    assert left.value.code == 0
    out = capsys.readouterr().out
    for part in ("peaframe train desed --dry-run", "--list", "--out DIR", "key=value", "torchrun"):
        assert part in out
