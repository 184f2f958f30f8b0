"""`peaframe train` with configurations of pre-training, and what training takes on a machine that is described."""

import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from peaframe.data import manifest
from peaframe.data.manifest_item import Item
from peaframe.events import Event
from peaframe.models.load import load_audio_video_model, save_model
from peaframe.recipes import config_files

own = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "train" / "pretrain_runs.py")))
pytestmark = pytest.mark.usefixtures("one_thread")
TINY = ("train", "pretrain_tiny", "schedule.steps=10", "schedule.warm_up=0")


def one_line(ran, *parts):
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert line.startswith("peaframe: error: ")
    assert [part for part in parts if part not in line] == []


def number(line, word):
    """The number before a word."""
    words = line.replace(",", "").replace(";", "").split()
    return float(words[words.index(word) - 1])


@pytest.fixture
def mine(tmp_path, monkeypatch, tiny_model, tokenizer_content):
    """A configuration of fine-tuning, with what it needs."""
    monkeypatch.chdir(tmp_path)
    save_model(tiny_model, tmp_path / "tiny", tokenizer_content)
    samples = 0.1 * np.random.default_rng(0).standard_normal(96_000)
    soundfile.write(tmp_path / "take.wav", samples, 48_000)
    item = Item(tmp_path / "take.wav", duration=2.0, events=(Event(0.5, 1.0, "beep"),), split="train")
    manifest.save(tmp_path / "all.jsonl", [item])
    file = tmp_path / "mine.yaml"
    file.write_text(
        "model: tiny\ndata: {manifests: [all.jsonl], cache: latents, batch_size: 2}\nschedule: {steps: 100}\n"
    )
    return file


def test_keys_tell_what_a_configuration_is_for(tmp_path):
    for pretraining in (False, True):
        for name in config_files.known_configs(pretraining):
            assert config_files.is_pretraining(config_files.CONFIGS / f"{name}.yaml") is pretraining
            if name != "mini":
                assert config_files.find_config(name, None).stem == name
    file = tmp_path / "pretrain_or_not.yaml"
    for text, found in (
        ("data: {sources: []}", True),
        ("data: {manifests: [a.jsonl]}", False),
        ("data: 3", False),
        ("[1]", False),
        ("{", False),
    ):
        file.write_text(text)
        assert config_files.is_pretraining(file) is found
    assert config_files.is_pretraining(file, ["data.sources=[{shards: [a]}]"]) is True
    assert config_files.is_pretraining(file, ["data.sourced=1"]) is False


def test_the_first_model_is_written(run, tmp_path, tokenizer_file):
    ran = run(*TINY, "model.codec=null", f"model.tokenizer={tokenizer_file}", "--first", tmp_path / "first")
    assert (ran.code, ran.out) == (0, ""), ran.err
    assert load_audio_video_model(tmp_path / "first").config.video.image.size == 48


@pytest.mark.slow
def test_a_configuration_of_pre_training_is_trained(run, tmp_path, tokenizer_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = own.write_shards(tmp_path / "clips", tokenizer_file)
    file = own.write_config(tmp_path / "mine.yaml", own.values(place, schedule={"steps": 2}))
    ran = run("train", file)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.splitlines()[-1] == f"done: {Path('runs/mine')}"
    assert {path.name for path in Path("runs/mine").iterdir()} >= {"last", "best", "frame"}


@pytest.mark.slow
def test_plans_count_memory_days_and_money(run):
    ran = run(*TINY, "--plan", "--gpus", "4", "--price", "1.5", "--gpu-tflops", "0.001", "--gpu-gb", "0.001")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0] == "clips of 4 s: 100 frames, 120 pictures, 32 word pieces"
    memory, step, read, last = lines[-4:]
    assert memory.startswith("memory:")
    assert "GB of 0.001: DOES NOT FIT; use fsdp" in memory
    assert "on each of 4 GPUs" in step
    assert "at 35 % of 0.001 TFLOP/s" in step
    assert "tokens (frames, pictures, word pieces) a second" in read
    seconds = number(step, "s")
    assert number(read, "tokens") * seconds == pytest.approx(32 * (100 + 120 + 3 * 32), rel=0.01)
    assert last.startswith("10 steps: ")
    assert last.endswith("at 1.5 an hour")
    assert (
        run(*TINY, "--dry-run", "--gpus", "4", "--price", "1.5")
        .out.splitlines()[-1]
        .endswith("at 1.5 an hour")
    )


@pytest.mark.slow
def test_fine_tuning_is_planned_for_another_machine(run, mine):
    there = sorted(mine.parent.iterdir())
    plain = run("train", mine, "--dry-run")
    assert plain.out.splitlines()[-1].startswith("100 steps, 200.0 epochs; at least ")
    few = run("train", mine, "--plan", "--gpu-tflops", "0.001", "--utilisation", "0.5", "--gpu-gb", "0.001")
    many = run("train", mine, "accumulate=2", "--plan", "--gpus", "8", "--gpu-tflops", "1e-5", "--price", "3")
    assert (few.code, many.code) == (0, 0), few.err + many.err
    lines, others = few.out.splitlines(), many.out.splitlines()
    assert lines[:3] == plain.out.splitlines()[:3]
    memory, step, read, last = lines[-4:]
    assert "DOES NOT FIT; use fsdp" in memory
    gflop = float(next(line for line in lines if line.startswith("forward and backward")).split()[-1])
    assert step.startswith("a step: 2 clips, ")
    assert number(step, "s") == pytest.approx(gflop / 0.5, abs=2e-3)
    assert number(read, "clips") == pytest.approx(2 / number(step, "s"), rel=0.01)
    assert last.endswith("at 2 an hour")
    assert others[-3].startswith("a step: 32 clips, ")
    assert "on each of 8 GPUs" in others[-3]
    days, hours = number(others[-1], "days"), number(others[-1], "GPU-hours")
    assert hours == pytest.approx(days * 24 * 8, abs=1.0)
    assert float(others[-1].split()[-5]) == pytest.approx(3 * hours, abs=0.2)
    assert others[-1].endswith("at 3 an hour")
    assert sorted(mine.parent.iterdir()) == there


def test_options_of_the_other_kind_are_refused(run, mine):
    one_line(
        run("train", mine, "--first", "here"),
        "argument --first: got",
        "expected a configuration of pre-training",
    )
    one_line(run("train", mine, "--gpus", "2"), "argument --gpus: got 2 without --plan")
    one_line(run(*TINY, "--gpu-tflops", "2"), "argument --gpu-tflops: got 2 without --plan")
    one_line(run("train", mine, "--plan", "--gpus", "0"), "got 0 GPUs")
    one_line(run("train", mine, "--plan", "--gpus", "x"), "invalid int value: 'x'")
    one_line(run("train", "nothing"), "desed", "pretrain_tiny")
    one_line(run(*TINY, "data.batch=3", "--plan"), "unknown key 'data.batch'")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "config", "command"),
    [
        ("pretrain", "desed", "peaframe train"),
        ("finetune", "pretrain_tiny", "python -m peaframe.recipes.pretrain"),
    ],
)
def test_modules_take_their_own_kind_alone(module, config, command):
    words = [sys.executable, "-m", f"peaframe.recipes.{module}", config]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"peaframe: error: {config}: is a configuration for `{command}`\n"
