"""Runs of pre-training: they learn, go on bit for bit, are one on two processes, and hand on what they learnt."""

import json
import os
import runpy
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from peaframe.errors import CheckpointError, ConfigError, OptionError
from peaframe.losses.pairs import STAGE_1, STAGE_2
from peaframe.models.load import load_audio_video_model, load_model
from peaframe.recipes import pretrain as recipe
from peaframe.recipes.pretrain_data import loader_of, start_of
from peaframe.train.parallel import Place, of_all
from peaframe.train.pretrain import BESIDE, QUANTISER, Pretraining, take_over
from peaframe.train.pretrain_model import PretrainModel
from peaframe.train.pretrain_settings import ClipData, ClipSource, PretrainOptim, PretrainSettings
from peaframe.train.resume import read_facts

HERE = Path(__file__).parent
own = SimpleNamespace(**runpy.run_path(str(HERE / "pretrain_runs.py")))
runs = SimpleNamespace(**runpy.run_path(str(HERE / "finetuning.py")))
pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory, tokenizer_file):
    return own.write_shards(tmp_path_factory.mktemp("pretraining"), tokenizer_file)


@pytest.fixture
def config(place, tmp_path):
    def config(name="config", **changes):
        return own.write_config(tmp_path / f"{name}.yaml", own.values(place, **changes))

    return config


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train into a folder, perhaps until the step of that number since the run was taken up."""

    def train(config, name, stop=None):
        settings = recipe.read_settings(config)
        with monkeypatch.context() as patch:
            if stop is not None:
                patch.setattr(recipe, "stop_signals", runs.stopping(stop))
            done = recipe.pretrain(settings, tmp_path / name)
        assert done is (stop is None)
        return tmp_path / name

    return train


@pytest.mark.slow
def test_a_run_leaves_what_is_promised(config, train, place):
    out = train(config(), "run")
    assert sorted(path.name for path in out.iterdir() if path.name != "tensorboard") == [
        *("best", "frame", "last", "log.jsonl", QUANTISER, "resume.safetensors", "settings.json")
    ]
    assert runs.leftovers(out) == []
    assert json.loads((out / "settings.json").read_text())["data"]["batch_size"] == 6
    steps = [line["step"] for line in runs.log(out)]
    assert steps == [0, 4, 8, 8]
    log = runs.log(out)
    assert {f"{pair}/{what}" for pair in STAGE_1 for what in ("loss", "scale", "bias", "accuracy")} <= set(
        log[2]
    )
    assert {"loss", "best_rq/loss", "lr", "norm", "skipped"} <= set(log[2])
    assert {"ahead", "r1", "r10", "V-VC/back/r1"} <= set(log[3]["valid"])

    first, last = load_audio_video_model(place / "first"), load_audio_video_model(out / "last")
    assert last.image.config.size == 42
    before, after = first.state_dict(), last.state_dict()
    still = {name for name in after if name in before and torch.equal(before[name], after[name])}
    assert {name for name in after if ".codec." in name or name.startswith("image.")} <= still
    assert not any(name.startswith(("audio.tower", "video.", "fusion.", "text.layers")) for name in still)
    beside = load_file(out / "last" / BESIDE)
    assert beside["scales.bias"].shape == (8,)
    fixed = load_file(out / QUANTISER)
    assert torch.equal(beside["best_rq.mean"], fixed["mean"])
    assert fixed["deviation"].std() > 0
    frames = load_model(out / "frame")
    assert torch.equal(frames.audio.state_dict()["data_proj.weight"], after["audio.data_proj.weight"])
    assert frames.logit_scale.item() == pytest.approx(beside["scales.log_scale"][0].exp().item())
    assert frames.logit_bias.item() == pytest.approx(beside["scales.bias"][0].item())


@pytest.mark.slow
def test_a_stopped_run_goes_on_bit_for_bit(config, train):
    file = config(options={"best_rq": {**own.BEST_RQ, "fill": "learned"}}, clips_at_once=4)
    whole = train(file, "whole")
    for stop in (5, 1):
        train(file, "stopped", stop)
    assert read_facts(train(file, "stopped"))["step"] == 8
    runs.same_run(whole, whole.parent / "stopped")
    for name in (QUANTISER, "frame/model.safetensors"):
        assert (whole / name).read_bytes() == (whole.parent / "stopped" / name).read_bytes()
    train(file, "stopped")  # what is done stays as it is
    runs.same_run(whole, whole.parent / "stopped")


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(config, train, tmp_path):
    file = config()
    whole, out = train(file, "whole"), tmp_path / "killed"
    command = [sys.executable, str(HERE / "pretrain_runs.py"), str(file), str(out)]
    for saved in (3, 6):
        process = subprocess.Popen(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 120
        while (facts := read_facts(out)) is None or facts["step"] < saved:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        process.kill()
        assert process.wait() == -9
        assert read_facts(out)["step"] == saved
    train(file, "killed")
    runs.same_run(whole, out)


@pytest.mark.slow
def test_pieces_and_recomputing_change_nothing(config, train):
    plain = train(config("plain", schedule={"steps": 3}), "plain")
    changed = train(
        config("pieces", schedule={"steps": 3}, clips_at_once=4, options={"recompute": True}), "b"
    )
    one, other = (load_file(out / "last" / "model.safetensors") for out in (plain, changed))
    assert (
        max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-4
    )  # of Adam's small gradients
    coarse = train(config("coarse", schedule={"steps": 3}, precision="bfloat16"), "coarse")
    logs = [next(line for line in runs.log(out) if "loss" in line) for out in (plain, coarse)]
    assert logs[1]["loss"] == pytest.approx(logs[0]["loss"], rel=0.05)
    assert logs[1]["loss"] != logs[0]["loss"]


def furthest(one, other):
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_are_one(config, tmp_path, kind):
    """The same clips in one process and in two: the same weights behind three steps."""
    file = config(schedule={"steps": 3}, optim={"lr": 1e-3, "eps": 1e-3}, clips_at_once=2, parallel=kind)
    settings = recipe.read_settings(file)
    start = start_of(settings)
    student = PretrainModel(start.model, settings.options)
    before = {name: p.detach().clone() for name, p in student.named_parameters() if p.requires_grad}
    loader = own.Together([loader_of(settings, start, Place(rank, 2, CPU)) for rank in range(2)])
    alone = Pretraining(student, loader, settings, tmp_path / "alone", Place(0, 1, CPU), start.tokenizer)
    assert alone.run()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "peaframe.recipes.pretrain", str(file), "--out", str(tmp_path / "two")),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for name in ("last/model.safetensors", f"last/{BESIDE}", "frame/model.safetensors", QUANTISER):
        assert furthest(load_file(tmp_path / "alone" / name), load_file(tmp_path / "two" / name)) < 1e-6
    one, two = (runs.state(tmp_path / name)[0] for name in ("alone", "two"))
    raw = {name: tensor for name, tensor in one.items() if name.startswith("raw/")}
    assert furthest(raw, {name: two[name] for name in raw}) < 1e-6
    assert min(float((before[name.removeprefix("raw/")] - raw[name]).abs().max()) for name in raw) > 1e-6
    logs = []
    for name in ("alone", "two"):
        line = next(line for line in runs.log(tmp_path / name) if "loss" in line)
        logs.append({key: value for key, value in line.items() if "accuracy" not in key})  # which ties decide
    assert logs[1] == {name: pytest.approx(value, rel=1e-4, abs=1e-5) for name, value in logs[0].items()}


@pytest.mark.parametrize("pairs", [STAGE_1[:1], STAGE_1[:4], STAGE_1, STAGE_2], ids=len)
def test_any_number_of_pairs_trains(config, train, pairs):
    out = train(config(options={"pairs": list(pairs)}, schedule={"steps": 2}), "run")
    line = next(line for line in runs.log(out) if "loss" in line)
    assert [name.removesuffix("/scale") for name in line if name.endswith("/scale")] == list(pairs)
    losses = sum(line[f"{pair}/loss"] for pair in pairs) + 0.1 * line["best_rq/loss"]
    assert line["loss"] == pytest.approx(losses, rel=1e-5)


@pytest.mark.slow
def test_it_learns_what_belongs_together_but_nothing_from_others_captions(config, train):
    given = {"schedule": {"steps": 200, "warm_up": 20}, "evaluate_every": 200, "optim": {"lr": 1e-3}}
    data = {"batch_size": 13}
    log = runs.log(train(config(**given, data=data), "run"))
    losses = [line["loss"] for line in log if "loss" in line]
    before, after = (line["valid"] for line in log if "valid" in line)
    assert losses[-1] < 0.5 * losses[0]
    assert before["ahead"] < 0.65
    assert after["ahead"] > 0.85
    ways = [f"{pair}/{way}ahead" for pair in STAGE_1 for way in ("", "back/")]
    assert min(after[way] for way in ways) > 0.75
    wrong = train(config("wrong", **given, data={**data, "shuffled_captions": True}), "wrong")
    last = runs.log(wrong)[-1]["valid"]
    told = [last[way] for way in ways if "A-V/" not in way]
    assert sum(told) / len(told) < 0.65


@pytest.mark.slow
def test_the_second_stage_begins_where_the_first_one_ended(config, train, tmp_path):
    first = train(config("one"), "one")
    data = {"clips": {"crop_seconds": 0.5, "transcripts": 0.5}}
    given = {"model": {"start": str(first / "last")}, "data": data, "options": {"pairs": list(STAGE_2)}}
    file = config("two", **given, schedule={"steps": 2})
    settings = recipe.read_settings(file)
    start = start_of(settings)
    student = PretrainModel(start.model, settings.options)
    assert take_over(student, first / "last") is True
    beside = load_file(first / "last" / BESIDE)
    assert torch.equal(student.scales.bias[:8], beside["scales.bias"])
    assert student.scales.bias[8:].tolist() == [-10, -10]
    assert not torch.equal(student.scales.bias[:8], torch.full((8,), -10.0))
    assert torch.equal(student.best_rq.predict.weight, beside["best_rq.predict.weight"])
    second = train(file, "two")
    assert (second / QUANTISER).read_bytes() == (first / QUANTISER).read_bytes()
    log = runs.log(second)
    assert log[0]["valid"]["A-AC/ahead"] == runs.log(first)[-1]["valid"]["A-AC/ahead"]
    assert {"A-(V+text)/loss", "V-(A+text)/scale"} <= set(log[1])
    other = replace(settings.options, best_rq=replace(settings.options.best_rq, codes=8))
    assert take_over(PretrainModel(start_of(settings).model, other), first / "last") is False
    assert take_over(student, first) is False  # no checkpoint's folder


def test_what_does_not_fit_is_refused(config, train, place, tmp_path, refusal):
    file = config()
    out = train(file, "run", 4)
    told = refusal(ConfigError, train, config("other", optim={"lr": 1}), "run")
    assert "holds a run with other settings (optim)" in told
    (out / QUANTISER).write_bytes(b"nothing")
    assert QUANTISER in refusal(CheckpointError, train, file, "run")
    settings = recipe.read_settings(file)
    start = start_of(settings)
    odd = refusal(OptionError, loader_of, settings, start, Place(0, 4, CPU))
    assert "got data.batch_size 6 for 4 processes" in odd
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / BESIDE).write_bytes(b"")
    student = PretrainModel(start.model, settings.options)
    assert BESIDE in refusal(CheckpointError, take_over, student, tmp_path / "odd")


def test_settings_that_make_no_sense_are_refused(place, refusal):
    data = ClipData((ClipSource(("here",)),))
    schedule = recipe.read_settings(own.write_config(place / "c.yaml", own.values(place))).schedule
    for change, part in (
        ({"precision": "half"}, "got precision 'half'"),
        ({"observe": 0}, "got observe 0"),
        ({"clips_at_once": 0}, "got clips_at_once 0"),
        ({"seed": -1}, "got seed -1"),
    ):
        assert part in refusal(ConfigError, PretrainSettings, data, schedule, **change)
    assert "got no data.sources" in refusal(ConfigError, ClipData, ())
    assert "got data.batch_size 1" in refusal(ConfigError, ClipData, data.sources, batch_size=1)
    assert "weight 0" in refusal(ConfigError, ClipSource, ("here",), 0)
    assert "got lr -1" in refusal(OptionError, PretrainOptim, lr=-1)
    assert of_all({"a": 1}, Place(0, 1, CPU)) == [{"a": 1}]
