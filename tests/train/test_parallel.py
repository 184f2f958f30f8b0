import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed, nn

from peaframe.errors import OptionError
from peaframe.models import load_model
from peaframe.recipes import finetune as recipe
from peaframe.train.ema import Ema
from peaframe.train.optim import make_optimizer
from peaframe.train.parallel import anywhere, gradients_kept, like, processes, shared, wait_for_all, whole
from peaframe.train.resume import read_facts, read_state
from peaframe.train.student import Student

runs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "finetuning.py")))
SAME = {  # every process draws the same words, and small gradients make small steps
    "schedule": {"steps": 3},
    "optim": {"lr": 1e-2, "eps": 1e-3},
    "loss": {"clip_weight": 0.5, "prior_weight": 0.1},
    "save_every": 2,
    "evaluate_every": 2,
}
DATA = {"batch_size": 2, "negatives": 0}


def two(config, out, *changes):
    """Train on two processes that `torchrun` starts; gives what they said."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "peaframe.recipes.finetune", str(config), *changes, "--out", str(out)),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stderr


def furthest(one, other):
    """The greatest difference between tensors of the same names."""
    assert one.keys() == other.keys()
    return max(float((one[name].squeeze() - other[name].squeeze()).abs().max()) for name in one)


@pytest.mark.slow
def test_two_processes(tmp_path, tiny_model, tokenizer_content, one_thread):
    start = runs.make_start(tmp_path, tiny_model, tokenizer_content)

    def config(name, **changes):
        return runs.write_config(tmp_path / f"{name}.yaml", runs.values(*start, **{**SAME, **changes}))

    alone = config("alone", data=DATA, accumulate=2)
    assert recipe.finetune(recipe.read_settings(alone), tmp_path / "alone")
    shared_out = config("several", data=DATA)
    for kind in ("ddp", "fsdp"):
        code, told = two(shared_out, tmp_path / kind, f"parallel={kind}")
        assert code == 0, told
        assert told.count("step 2: psds1") == 1
        assert "view tensor" not in told
        assert runs.leftovers(tmp_path / kind) == []
        assert len(list((tmp_path / kind / "tensorboard").iterdir())) == 1
        assert [line["step"] for line in runs.log(tmp_path / kind)] == [0, 2, 3, 3]

    before = load_file(start[0] / "model.safetensors")
    weights = {
        name: load_file(tmp_path / name / "last" / "model.safetensors") for name in ("alone", "ddp", "fsdp")
    }
    assert furthest(before, weights["alone"]) > 5e-3
    assert furthest(weights["alone"], weights["ddp"]) < 1e-6
    assert furthest(weights["ddp"], weights["fsdp"]) < 1e-6
    priors = [load_file(tmp_path / name / "last" / "text_prior.safetensors") for name in weights]
    assert max(furthest(priors[0], priors[1]), furthest(priors[1], priors[2])) < 1e-6
    states = {name: runs.state(tmp_path / name) for name in weights}
    for name in ("alone", "fsdp"):
        assert furthest(states[name][0], states["ddp"][0]) < 1e-6
    lines = {name: [own for own in runs.log(tmp_path / name) if "loss" in own] for name in weights}
    for term in ("loss", "global", "local", "clip", "norm", "lr"):
        for name in ("ddp", "fsdp"):
            assert lines[name][0][term] == pytest.approx(lines["alone"][0][term], rel=1e-5)

    # What two sharing processes wrote fits one process, bit for bit; only batches are dealt otherwise.
    settings = recipe.read_settings(shared_out)
    assert recipe.finetune(settings, tmp_path / "fsdp")  # is done
    student = Student(load_model(start[0]), settings)
    optimizer = make_optimizer(student, settings.optim)
    ema = Ema(student, settings.ema)
    read_state(tmp_path / "fsdp", student, optimizer, ema)
    tensors = states["fsdp"][0]
    learning = {name: p for name, p in student.named_parameters() if p.requires_grad}
    assert {f"raw/{name}" for name in learning} == {name for name in tensors if name.startswith("raw/")}
    for name, p in learning.items():
        assert torch.equal(p.squeeze(), tensors[f"raw/{name}"].squeeze())
        assert torch.equal(
            optimizer.state[p]["exp_avg_sq"].squeeze(), tensors[f"exp_avg_sq/{name}"].squeeze()
        )
        assert optimizer.state[p]["exp_avg"].shape == p.shape
        assert torch.equal(ema.average[name].squeeze(), tensors[f"average/{name}"].squeeze())
    assert student.clip_scale.shape == ()


@pytest.mark.slow
def test_going_on_with_the_other_kind(tmp_path, tiny_model, tokenizer_content, one_thread):
    start = runs.make_start(tmp_path, tiny_model, tokenizer_content)
    changes = {
        **SAME,
        "schedule": {"steps": 4},
        "lora": {"rank": 2, "dropout": 0.1},
        "accumulate": 2,
        "precision": "bfloat16",
    }
    config = runs.write_config(tmp_path / "c.yaml", runs.values(*start, **changes, data=DATA))
    assert two(config, tmp_path / "whole", "parallel=fsdp")[0] == 0
    script = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for kind in ("fsdp", "ddp"):
        stopped = subprocess.run(
            [
                *script,
                str(runs.SCRIPT),
                "stopping",
                "2",
                str(config),
                "parallel=fsdp",
                "--out",
                str(tmp_path / kind),
            ],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert "stopped and saved" in stopped.stderr, stopped.stderr
        assert read_facts(tmp_path / kind)["step"] == 2
        code, told = two(config, tmp_path / kind, f"parallel={kind}")
        assert code == 0, told
    runs.same_run(tmp_path / "whole", tmp_path / "fsdp")
    one, other = (load_file(tmp_path / name / "last" / "model.safetensors") for name in ("whole", "ddp"))
    assert furthest(one, other) < 1e-3  # bfloat16 rounds their sums otherwise
    assert furthest(load_file(start[0] / "model.safetensors"), other) > 5e-3


@pytest.fixture
def alone():
    with processes("cpu") as place:
        yield place


def test_one_process_is_the_first_and_shares_nothing(alone):
    assert (alone.rank, alone.world_size, alone.device, alone.first) == (0, 1, torch.device("cpu"), True)
    module = nn.Linear(2, 2)
    assert shared(module, alone, "fsdp") is module
    assert (anywhere(True, alone), anywhere(False, alone)) == (True, False)
    wait_for_all(alone)
    assert not distributed.is_initialized()
    with gradients_kept(module, True):
        module(torch.ones(1, 2)).sum().backward()
    assert torch.equal(module.bias.grad, torch.ones(2))
    assert torch.equal(whole(module.weight), module.weight)
    assert not whole(module.weight).requires_grad


def test_one_number_may_have_a_length_or_none():
    assert torch.equal(like(torch.tensor([3.0]), torch.zeros(())), torch.tensor(3.0))
    assert torch.equal(like(torch.tensor(3.0), torch.zeros(1)), torch.tensor([3.0]))
    assert torch.equal(
        like(torch.arange(6.0).reshape(2, 3), torch.zeros(2, 3)), torch.arange(6.0).reshape(2, 3)
    )


def test_cuda_is_refused_where_there_is_none(refusal, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def join():
        with processes("cuda"):
            pass

    assert refusal(OptionError, join) == (
        "got device cuda, but PyTorch sees no CUDA device here; use device=cpu"
    )
