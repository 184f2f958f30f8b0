"""Compiled layers: the same losses, on one process and several, with all that changes what happens around a layer."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from peaframe.models.tower import Layer, TowerConfig, rotary_tables
from peaframe.recipes import finetune as tuning
from peaframe.recipes import pretrain as recipe
from peaframe.train.finetune import Finetuning
from peaframe.train.layers import compile_layers, recompute_layers
from peaframe.train.pretrain import Pretraining
from peaframe.train.resume import read_facts

HERE = Path(__file__).parent
own = SimpleNamespace(**runpy.run_path(str(HERE / "pretrain_runs.py")))
runs = SimpleNamespace(**runpy.run_path(str(HERE / "finetuning.py")))
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
STEPS = {"schedule": {"steps": 3}, "optim": {"lr": 1e-3, "eps": 1e-3}}


@pytest.fixture(scope="module")
def place(tmp_path_factory, tokenizer_file):
    return own.write_shards(tmp_path_factory.mktemp("pretraining"), tokenizer_file)


@pytest.fixture
def losses(monkeypatch):
    """Train, and give the loss of every step."""

    def losses(kind, recipe, *given):
        found, step = [], kind._step
        with monkeypatch.context() as patch:
            patch.setattr(kind, "_step", lambda *a: found.append(step(*a)) or found[-1])
            assert (recipe.pretrain if kind is Pretraining else recipe.finetune)(*given)
        return [values["loss"] for values in found]

    return losses


@pytest.mark.parametrize("again", [False, True])
def test_a_compiled_layer_is_the_layer(again):
    torch.manual_seed(0)
    plain = Layer(TowerConfig(32, 1, 2, 64))
    quick = Layer(TowerConfig(32, 1, 2, 64))
    quick.load_state_dict(plain.state_dict())
    if again:
        recompute_layers(quick)
    compile_layers(quick)
    assert list(quick.state_dict()) == list(plain.state_dict())
    for batch, tokens in ((2, 5), (3, 9)):
        x = torch.randn(batch, tokens, 32)
        given = rotary_tables(tokens, 16, 2e4, x), torch.rand(batch, 1, 1, tokens) < 0.8
        given[1][..., 0] = True
        outs = [layer(x, *given) for layer in (plain, quick)]
        assert outs[1] is not outs[0]
        assert torch.allclose(*outs, atol=1e-5)
        grads = [
            torch.autograd.grad(out.square().sum(), list(layer.parameters()))
            for out, layer in zip(outs, (plain, quick), strict=True)
        ]
        for one, other in zip(*grads, strict=True):
            assert torch.allclose(one, other, atol=1e-4)


def test_pre_training_compiled_has_the_same_losses(place, tmp_path, losses):
    def of(name, **changes):
        file = own.write_config(tmp_path / f"{name}.yaml", own.values(place, **STEPS, **changes))
        return losses(Pretraining, recipe, recipe.read_settings(file), tmp_path / name)

    plain = of("plain")
    assert of("compiled", compile=True) == pytest.approx(plain, abs=1e-4)
    pieces = {"clips_at_once": 4, "options": {"recompute": True}}
    assert of("pieces", compile=True, **pieces) == pytest.approx(plain, abs=1e-4)
    assert len(set(plain)) == 3
    one, other = (load_file(tmp_path / name / "last" / "model.safetensors") for name in ("plain", "pieces"))
    assert one.keys() == other.keys()
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-4


def test_fine_tuning_compiled_has_the_same_losses_and_goes_on_without(
    tmp_path, tiny_model, tokenizer_content, losses, monkeypatch
):
    start = runs.make_start(tmp_path, tiny_model, tokenizer_content)

    def of(name, out, **changes):
        file = runs.write_config(tmp_path / f"{name}.yaml", runs.values(*start, **{**STEPS, **changes}))
        return losses(Finetuning, tuning, tuning.read_settings(file), tmp_path / out)

    plain = of("plain", "plain")
    assert of("compiled", "compiled", compile=True) == pytest.approx(plain, abs=1e-4)
    with monkeypatch.context() as patch:
        patch.setattr(tuning, "stop_signals", runs.stopping(2))
        with pytest.raises(AssertionError):
            of("compiled", "changed", compile=True)
    assert read_facts(tmp_path / "changed")["step"] == 2
    assert of("plain", "changed") == pytest.approx(plain[2:], abs=1e-4)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_compiled_have_the_same_losses(place, tmp_path, kind):
    def of(name, *changes):
        few = {"options": {"pairs": ["A-AC"], "best_rq": None}, "clips_at_once": 2, "parallel": kind}
        file = own.write_config(tmp_path / "c.yaml", own.values(place, **STEPS, **few))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
                *("-m", "peaframe.recipes.pretrain", str(file), "--out", str(tmp_path / name), *changes),
            ],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stderr
        line = next(line for line in runs.log(tmp_path / name) if "loss" in line)
        return line["loss"], load_file(tmp_path / name / "last" / "model.safetensors")

    (loss, weights), (found, others) = of("plain"), of("compiled", "compile=true")
    assert found == pytest.approx(loss, abs=1e-4)
    assert max(float((weights[name] - others[name]).abs().max()) for name in weights) < 1e-4


def test_without_a_compiler_one_line_says_so(place, tmp_path):
    file = own.write_config(tmp_path / "c.yaml", own.values(place, **STEPS, compile=True))
    done = subprocess.run(
        [sys.executable, "-m", "peaframe.recipes.pretrain", str(file), "--out", str(tmp_path / "run")],
        env={**os.environ, "PATH": str(tmp_path), "CXX": "nowhere"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("peaframe: error: got compile true, but nothing can be compiled for this cpu")
    assert line.endswith("install a C++ compiler, such as g++, or use compile=false")
    assert not (tmp_path / "run").exists()
