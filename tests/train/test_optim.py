"""Parameter groups, freezing, the schedule, and steps that are skipped."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from peaframe.errors import OptionError
from peaframe.models.load import load_model
from peaframe.train.lora import LoraOptions, add_lora
from peaframe.train.optim import (
    PARTS,
    GuardedStep,
    OptimOptions,
    Schedule,
    freeze,
    make_optimizer,
    parameter_groups,
    part_of,
    rate_factor,
    set_rates,
    unfreeze,
)

OPTIONS = OptimOptions(
    lr=1e-3, layer_decay=0.5, front_rate=0.25, text_rate=0.125, scale_rate=10.0, weight_decay=0.1
)


@pytest.fixture
def pe_model(golden_folder):
    """PE-A-Frame with small towers of two (audio) and three (text) layers or more."""
    return load_model(golden_folder / "pe_a_frame_original")


def by_parameter(model, options=OPTIONS):
    """Parameter name -> (group, learning rate, weight decay)."""
    groups = parameter_groups(model, options)
    return {name: (g.name, g.lr, g.weight_decay) for g in groups for name in g.names}


def test_every_parameter_of_pe_a_frame_has_one_group_and_the_rate_of_its_depth(pe_model):
    found = by_parameter(pe_model)
    assert sorted(found) == sorted(name for name, _ in pe_model.named_parameters())
    expected = {
        "audio_head.proj.weight": ("heads", 1e-3, 0.1),
        "audio_head.layer_norm.weight": ("heads", 1e-3, 0.0),
        "audio.tower.output.weight": ("audio", 1e-3, 0.1),
        "audio.tower.norm.weight": ("audio", 1e-3, 0.0),
        "audio.tower.layers.1.mlp.up_proj.weight": ("audio.layers.1", 5e-4, 0.1),
        "audio.tower.layers.0.self_attn.q_proj.weight": ("audio.layers.0", 2.5e-4, 0.1),
        "audio.tower.layers.0.self_attn.q_norm.weight": ("audio.layers.0", 2.5e-4, 0.0),
        "audio.tower.resnet.block1.project.weight": ("audio.stem", 1.25e-4, 0.1),
        "audio.tower.resnet.block1.groupnorm.weight": ("audio.stem", 1.25e-4, 0.0),
        "audio.tower.class_embedding": ("audio.stem", 1.25e-4, 0.0),
        "audio.data_proj.weight": ("audio", 1e-3, 0.1),
        "audio.data_proj.bias": ("audio", 1e-3, 0.0),
        "audio.codec.mean.weight": ("codec", 2.5e-4, 0.1),
        "audio.codec.encoder.snake1.alpha": ("codec", 2.5e-4, 0.0),
        "text.layers.0.attn.Wqkv.weight": ("text", 1.25e-4, 0.1),
        "text.layers.2.attn.Wqkv.weight": ("text", 1.25e-4, 0.1),
        "text.layers.2.mlp_norm.weight": ("text", 1.25e-4, 0.0),
        "text.embeddings.tok_embeddings.weight": ("text", 1.25e-4, 0.0),
        "logit_scale": ("scale", 1e-2, 0.0),
        "logit_bias": ("scale", 1e-2, 0.0),
    }
    assert {name: found[name] for name in expected} == expected


def test_minis_parameters_have_the_same_parts(tiny_model):
    found = by_parameter(tiny_model)
    assert {part_of(name) for name in found} == {"front", "audio", "text", "heads", "scale"}
    expected = {
        "front.merge.weight": ("front", 2.5e-4, 0.1),
        "front.conv1.bias": ("front", 2.5e-4, 0.0),
        "tower.layers.1.self_attn.o_proj.weight": ("audio.layers.1", 5e-4, 0.1),
        "tower.class_embedding": ("audio.stem", 1.25e-4, 0.0),
        "text.layers.layers.1.self_attn.in_proj_weight": ("text", 1.25e-4, 0.1),
        "text.layers.layers.1.self_attn.in_proj_bias": ("text", 1.25e-4, 0.0),
        "text.positions.weight": ("text", 1.25e-4, 0.0),
        "text_head.proj.weight": ("heads", 1e-3, 0.1),
    }
    assert {name: found[name] for name in expected} == expected


def test_no_decay_by_depth_gives_the_whole_tower_the_full_rate(pe_model):
    found = by_parameter(pe_model, OptimOptions(lr=1e-3, layer_decay=1.0))
    assert {rate for name, (_, rate, _) in found.items() if part_of(name) == "audio"} == {1e-3}


def test_what_is_no_part_of_a_model_has_the_full_rate():
    found = by_parameter(nn.ModuleDict({"prior": nn.Linear(3, 1)}))
    assert found == {"prior.weight": ("other", 1e-3, 0.1), "prior.bias": ("other", 1e-3, 0.0)}


def test_loras_matrices_have_the_full_rate_at_every_depth(pe_model):
    names = add_lora(pe_model, LoraOptions(rank=2))
    found = by_parameter(pe_model)
    assert found == {
        f"{name}.{matrix}": ("lora", 1e-3, 0.1) for name in names for matrix in ("lora_down", "lora_up")
    }


def test_frozen_parts_are_in_no_group_until_they_are_set_free(pe_model, refusal):
    freeze(pe_model, ("codec", "text", "front"))
    learning = set(by_parameter(pe_model))
    assert {part_of(name) for name in learning} == {"audio", "heads", "scale"}
    unfreeze(pe_model, ["text"])
    gained = set(by_parameter(pe_model)) - learning
    assert gained == {name for name, _ in pe_model.named_parameters() if name.startswith("text.")}
    assert refusal(OptionError, freeze, pe_model, ["video"]) == (
        "got the part 'video' of a model, expected some of codec, front, audio, text, heads, scale"
    )
    freeze(pe_model, PARTS)
    assert "every part frozen" in refusal(OptionError, parameter_groups, pe_model, OPTIONS)


def test_frozen_parts_stay_bit_for_bit_in_a_step_and_all_others_move(pe_model):
    freeze(pe_model, ("codec", "text"))
    start = {name: p.detach().clone() for name, p in pe_model.named_parameters()}
    optimizer = make_optimizer(pe_model, OPTIONS)
    torch.manual_seed(0)
    texts = pe_model.encode_tokens(torch.tensor([[1, 5, 2], [1, 9, 2]]), torch.ones(2, 3).long())
    loss = pe_model.score(pe_model.encode_latents(torch.randn(1, 6, 16)), texts).square().mean()
    loss.backward()
    assert GuardedStep(optimizer, OPTIONS)(loss)[0]
    moved = {name for name, p in pe_model.named_parameters() if not torch.equal(p, start[name])}
    still = {name for name in start if part_of(name) in ("codec", "text")}
    assert moved == set(start) - still


def test_the_first_step_of_adamw_moves_each_weight_by_its_own_rate():
    model = nn.ModuleDict({"audio_head": nn.Linear(1, 1), "text": nn.Linear(1, 1)})
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(2.0)
    optimizer = make_optimizer(model, OPTIONS)
    set_rates(optimizer, 0.5)
    for p in model.parameters():
        p.grad = torch.full_like(p, 3.0)
    GuardedStep(optimizer, OPTIONS)(torch.tensor(1.0))
    rate = 0.5e-3
    assert model["audio_head"].bias.item() == pytest.approx(2 - rate, abs=1e-6)
    assert model["audio_head"].weight.item() == pytest.approx(2 * (1 - rate * 0.1) - rate, abs=1e-6)
    assert model["text"].bias.item() == pytest.approx(2 - rate / 8, abs=1e-6)
    assert [group["peak"] for group in optimizer.param_groups] == [1e-3, 1e-3, 1.25e-4, 1.25e-4]


def test_the_schedule_rises_in_a_line_and_falls_in_a_cosine():
    schedule = Schedule(steps=14, warm_up=4, floor=0.2)
    factors = [rate_factor(step, schedule) for step in range(16)]
    assert factors[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert factors[9] == pytest.approx(0.6)
    assert factors[13] == pytest.approx(0.2 + 0.4 * (1 + math.cos(0.9 * math.pi)))
    assert factors[14] == factors[15] == pytest.approx(0.2)
    assert rate_factor(0, Schedule(steps=1)) == 1.0
    assert rate_factor(2, Schedule(steps=3, warm_up=3)) == 1.0


@pytest.fixture
def line():
    """Two weights at 1."""
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    return model


def sgd_step(model, gradient, loss, options, guard=None):
    guard = guard or GuardedStep(torch.optim.SGD(model.parameters(), lr=1.0), options)
    model.weight.grad = torch.tensor([gradient])
    return guard, guard(torch.tensor(loss))


def test_a_long_gradient_is_cut_to_the_norm_and_a_short_one_is_not(line):
    guard, outcome = sgd_step(line, [3.0, 4.0], 1.0, OptimOptions(clip=0.5))
    assert outcome == (True, 5.0)
    torch.testing.assert_close(line.weight.detach(), torch.tensor([[0.7, 0.6]]))
    assert line.weight.grad is None
    sgd_step(line, [0.3, 0.4], 1.0, None, guard)
    torch.testing.assert_close(line.weight.detach(), torch.tensor([[0.4, 0.2]]))
    nn.init.ones_(line.weight)
    sgd_step(line, [3.0, 4.0], 1.0, OptimOptions(clip=math.inf))
    assert line.weight.tolist() == [[-2.0, -3.0]]


@pytest.mark.parametrize(
    ("gradient", "loss"),
    [([math.nan, 0.0], 1.0), ([0.0, -math.inf], 1.0), ([1.0, 1.0], math.nan), ([1.0, 1.0], math.inf)],
)
def test_what_is_not_finite_moves_nothing_and_is_counted(line, gradient, loss):
    guard, (moved, norm) = sgd_step(line, gradient, loss, OptimOptions())
    assert not moved
    assert math.isfinite(norm) == (gradient == [1.0, 1.0])
    assert line.weight.tolist() == [[1.0, 1.0]]
    assert line.weight.grad is None
    assert guard.state_dict() == {"taken": 0, "skipped": 1, "in_a_row": 1}
    sgd_step(line, [0.5, 0.0], 1.0, None, guard)
    assert line.weight.tolist() == [[0.5, 1.0]]
    assert guard.state_dict() == {"taken": 1, "skipped": 1, "in_a_row": 0}


def test_a_skipped_step_leaves_adamws_moments_alone(line):
    optimizer = make_optimizer(nn.ModuleDict({"audio_head": line}), OPTIONS)
    guard, _ = sgd_step(line, [0.3, 0.4], 1.0, None, GuardedStep(optimizer, OPTIONS))
    before = {key: value.clone() for key, value in optimizer.state[line.weight].items()}
    sgd_step(line, [math.nan, 0.4], 1.0, None, guard)
    after = optimizer.state[line.weight]
    assert after.keys() == before.keys() == {"step", "exp_avg", "exp_avg_sq"}
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_too_many_skips_in_a_row_end_the_run_even_after_a_resumption(line, refusal):
    guard = GuardedStep(torch.optim.SGD(line.parameters(), lr=1.0), OptimOptions(most_skipped=2))
    guard.load_state_dict({"taken": 7, "skipped": 4, "in_a_row": 1})
    sgd_step(line, [math.nan, 0.0], 1.0, None, guard)
    message = refusal(OptionError, sgd_step, line, [math.nan, 0.0], 1.0, None, guard)
    assert "after 3 skipped steps in a row" in message
    assert guard.state_dict() == {"taken": 7, "skipped": 6, "in_a_row": 3}


BEGIN = """
import sys, torch
from torch import distributed as dist
from peaframe.train.ema import Ema, EmaOptions
from peaframe.train.optim import GuardedStep, OptimOptions, make_optimizer
rank = int(sys.argv[1])
dist.init_process_group("gloo", store=dist.FileStore(sys.argv[2], 2), rank=rank, world_size=2)
"""
SKIP = """
weight = torch.nn.Parameter(torch.ones(1))
guard = GuardedStep(torch.optim.SGD([weight], lr=1.0), OptimOptions())
for losses in ((1.0, float("inf")), (1.0, 2.0)):
    weight.grad = torch.tensor([0.5])
    guard(torch.tensor(losses[rank]))
print(weight.item(), guard.taken, guard.skipped)
"""
SHARD = """
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
torch.manual_seed(0)
model = torch.nn.ModuleDict({"audio_head": torch.nn.Linear(4, 4)})
if sys.argv[3] == "sharded":
    fully_shard(model["audio_head"], mesh=init_device_mesh("cpu", (2,)))
options = OptimOptions(lr=1e-2, clip=0.1)
ema, guard = Ema(model, EmaOptions(decay=0.5, warm=False)), GuardedStep(make_optimizer(model, options), options)
loss = model["audio_head"](torch.ones(2, 4)).square().mean()
loss.backward()
moved, norm = guard(loss)
ema.update(model)
whole = lambda w: (w.full_tensor() if hasattr(w, "full_tensor") else w).detach().double()
with ema.swapped(model):
    averaged = whole(model["audio_head"].weight)
own = whole(model["audio_head"].weight)
print(int(moved), norm, *averaged.flatten().tolist(), *own.flatten().tolist())
"""
END = """
dist.destroy_process_group()
"""


@pytest.fixture
def both(tmp_path):
    """Run a script in two processes that know of each other; gives the numbers that each printed."""

    def both(script, *arguments):
        store = tmp_path / "-".join(("store", *arguments))
        command = [sys.executable, "-c", BEGIN + script + END]
        started = [
            subprocess.Popen([*command, str(rank), str(store), *arguments], stdout=subprocess.PIPE, text=True)
            for rank in range(2)
        ]
        return [[float(v) for v in p.communicate(timeout=120)[0].split()] for p in started]

    return both


@pytest.mark.slow
def test_two_processes_skip_together(both):
    assert both(SKIP) == [[0.5, 1, 1]] * 2


@pytest.mark.slow
def test_weights_spread_over_two_processes_move_as_whole_ones_do(both):
    """The gradient is clipped by its whole norm, not by that of each process's part."""
    whole = both(SHARD, "whole")[0]
    assert whole[0] == 1
    assert whole[1] == pytest.approx(1.665724, abs=1e-5)
    assert whole[2:18] != whole[18:]
    for spread in both(SHARD, "sharded"):
        assert spread == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "values", "named"),
    [
        (OptimOptions, {"lr": 0.0}, "lr 0.0"),
        (OptimOptions, {"clip": math.nan}, "clip nan"),
        (OptimOptions, {"layer_decay": 1.1}, "layer_decay 1.1"),
        (OptimOptions, {"text_rate": -0.1}, "text_rate -0.1"),
        (Schedule, {"steps": 0}, "warm_up 0 of 0 steps"),
        (Schedule, {"steps": 5, "warm_up": 6}, "warm_up 6 of 5 steps"),
        (Schedule, {"steps": 5, "floor": 2.0}, "floor 2.0"),
    ],
)
def test_options_that_make_no_sense_are_refused(refusal, kind, values, named):
    assert f"got {named}" in refusal(OptionError, lambda: kind(**values))
