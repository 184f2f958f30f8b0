"""LoRA on both kinds of frame models: nothing changes at first, only it learns, and merged it is a checkpoint."""

import copy

import pytest
import torch
from torch import nn

from peaframe.errors import CheckpointError, OptionError
from peaframe.models.load import load_model, save_model, save_pe
from peaframe.train.lora import (
    LoraLinear,
    LoraOptions,
    add_lora,
    is_lora,
    load_lora_state,
    lora_state,
    merge_lora,
)
from peaframe.train.optim import GuardedStep, OptimOptions, make_optimizer

PROJECTIONS = (
    "mlp.down_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    *(f"self_attn.{letter}_proj" for letter in "koqv"),
)


@pytest.fixture
def pe_model(golden_folder):
    return load_model(golden_folder / "pe_a_frame_original")


@pytest.fixture
def latents():
    return torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def line():
    """Gives y = x1 + 2 x2 + 1, with a branch of rank 1."""
    model = nn.Sequential(nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0]]))
        model[0].bias.fill_(1.0)
    add_lora(model, LoraOptions(rank=1, alpha=4.0, layers=("0",)))
    with torch.no_grad():
        model[0].lora_down.copy_(torch.tensor([[1.0, -1.0]]))
        model[0].lora_up.fill_(0.5)
    return model


def learn(model, latents, steps=3):
    """A few steps that pull the frames towards 1."""
    options = OptimOptions(lr=1e-2, weight_decay=0.0)
    step = GuardedStep(make_optimizer(model, options), options)
    losses = []
    for _ in range(steps):
        loss = (model.encode_latents(latents) - 1).square().mean()
        loss.backward()
        step(loss)
        losses.append(float(loss.detach()))
    return losses


def test_the_branch_and_its_merger_are_what_they_are_by_hand(line):
    x = torch.tensor([[3.0, 1.0]])
    assert line(x).item() == (3 + 2 + 1) + 4.0 * 0.5 * (3 - 1)
    assert merge_lora(line) == 1
    assert type(line[0]) is nn.Linear
    assert line[0].weight.tolist() == [[3.0, 0.0]]
    assert line(x).item() == 10.0
    assert line.state_dict().keys() == {"0.weight", "0.bias"}
    assert all(p.requires_grad for p in line.parameters())
    assert merge_lora(line) == 0


def test_dropout_leaves_out_inputs_of_the_branch_in_training_only(line):
    line[0].dropout = 0.5
    x = torch.ones(400, 2)
    torch.manual_seed(0)
    got = line.train()(x)
    assert {round(v, 4) for v in got.flatten().tolist()} == {
        0.0,
        4.0,
        8.0,
    }  # 4 + 2 (2 a - 2 b), a and b 0 or 1
    assert line.eval()(x).unique().tolist() == [4.0]


def test_at_the_start_nothing_changes_and_only_the_branches_learn(pe_model, latents):
    with torch.no_grad():
        before = pe_model.encode_latents(latents)
        names = add_lora(pe_model, LoraOptions(rank=4))
        assert torch.equal(pe_model.encode_latents(latents), before)
    assert sorted(names) == [f"audio.tower.layers.{i}.{p}" for i in range(2) for p in PROJECTIONS]
    learning = {name: tuple(p.shape) for name, p in pe_model.named_parameters() if p.requires_grad}
    assert set(learning) == {f"{n}.{m}" for n in names for m in ("lora_down", "lora_up")}
    assert learning["audio.tower.layers.0.mlp.up_proj.lora_down"] == (4, 64)
    assert learning["audio.tower.layers.0.mlp.up_proj.lora_up"] == (96, 4)


def test_training_moves_the_branches_alone_and_the_merger_is_an_ordinary_checkpoint(
    pe_model, latents, tmp_path
):
    start = {name: tensor.clone() for name, tensor in pe_model.state_dict().items()}
    add_lora(pe_model, LoraOptions(rank=4))
    losses = learn(pe_model, latents)
    assert losses[2] < losses[1] < losses[0]
    now = pe_model.state_dict()
    assert all(torch.equal(now[name], tensor) for name, tensor in start.items())
    assert all(now[name].any() for name in now if is_lora(name))
    merged = copy.deepcopy(pe_model)
    assert merge_lora(merged) == 14
    save_pe(merged, tmp_path, "original")
    again = load_model(tmp_path)
    assert again.state_dict().keys() == start.keys()
    with torch.no_grad():
        learned = pe_model.encode_latents(latents)
        torch.testing.assert_close(again.encode_latents(latents), learned, atol=1e-4, rtol=1e-4)
    changed = {name for name, tensor in again.state_dict().items() if not torch.equal(tensor, start[name])}
    assert changed == {f"audio.tower.layers.{i}.{p}.weight" for i in range(2) for p in PROJECTIONS}
    assert next(m for m in pe_model.modules() if isinstance(m, LoraLinear)).share == 4.0


def test_mini_learns_the_same_way_and_is_saved_as_mini(tiny_model, tokenizer_content, tmp_path):
    waveform = torch.randn(1, 48_000, generator=torch.Generator().manual_seed(0))
    assert len(add_lora(tiny_model, LoraOptions(rank=2))) == 14
    with torch.no_grad():
        for name, p in tiny_model.named_parameters():
            if name.endswith("lora_up"):
                p.fill_(0.02)
        learned = tiny_model.encode_audio(waveform)
        merge_lora(tiny_model)
        save_model(tiny_model, tmp_path, tokenizer_content)
        torch.testing.assert_close(load_model(tmp_path).encode_audio(waveform), learned, atol=1e-5, rtol=0)


def test_the_text_tower_takes_it_by_its_own_names(pe_model):
    ids, mask = torch.tensor([[1, 5, 9, 2]]), torch.ones(1, 4).long()
    names = add_lora(pe_model, LoraOptions(rank=2, layers=("text.layers.*.Wqkv", "text.layers.0.*.W[io]")))
    inner = ["attn.Wo", "attn.Wqkv", "mlp.Wi", "mlp.Wo"]
    assert {n for n in names if n.startswith("text.layers.0.")} == {f"text.layers.0.{n}" for n in inner}
    assert {n.rpartition(".")[2] for n in names if not n.startswith("text.layers.0.")} == {"Wqkv"}
    before = pe_model.encode_tokens(ids, mask)
    before.sum().backward()
    assert pe_model.text.layers[0].mlp.Wo.lora_up.grad.any()
    assert pe_model.text.layers[0].mlp.Wo.weight.grad is None


def test_the_seed_fixes_the_start_and_spreads_it_by_the_width(golden_folder):
    models = [load_model(golden_folder / "pe_a_frame_original") for _ in range(3)]
    for i, (model, seed) in enumerate(zip(models, (0, 0, 1), strict=True)):
        torch.manual_seed(i)
        add_lora(model, LoraOptions(rank=8, seed=seed))
    first, same, other = (lora_state(model) for model in models)
    assert all(torch.equal(same[name], tensor) for name, tensor in first.items())
    name = "audio.tower.layers.0.mlp.down_proj.lora_down"
    assert not torch.equal(other[name], first[name])
    assert first[name].shape == (8, 96)
    assert float(first[name].std()) == pytest.approx(96**-0.5, rel=0.1)
    assert not first[name.replace("down_proj.lora_down", "down_proj.lora_up")].any()


def test_branches_go_from_one_model_to_the_next(pe_model, latents, golden_folder, refusal):
    other = load_model(golden_folder / "pe_a_frame_original")
    for seed, model in enumerate((pe_model, other)):
        add_lora(model, LoraOptions(rank=4, seed=seed))
    learn(pe_model, latents)
    state = lora_state(pe_model)
    assert sum(t.numel() for t in state.values()) == 2 * 4 * (4 * (64 + 64) + 3 * (64 + 96))
    load_lora_state(other, state)
    with torch.no_grad():
        assert torch.equal(other.encode_latents(latents), pe_model.encode_latents(latents))
    state["audio.tower.layers.0.mlp.up_proj.lora_down"] = torch.zeros(2, 64)
    message = refusal(CheckpointError, load_lora_state, other, state)
    assert "of shape (2, 64), expected (4, 64)" in message
    merge_lora(other)
    assert "expected None" in refusal(CheckpointError, load_lora_state, other, state)


def test_half_precision_weights_have_branches_of_their_type(pe_model):
    add_lora(pe_model.to(torch.bfloat16), LoraOptions(rank=2))
    assert {tensor.dtype for tensor in lora_state(pe_model).values()} == {torch.bfloat16}


def test_layers_that_would_not_hear_it_are_refused(tiny_model, pe_model, refusal):
    def add(model, *layers):
        return refusal(OptionError, add_lora, model, LoraOptions(layers=layers))

    assert "'text.layers.layers.0.linear1', expected layers outside" in add(tiny_model, "text.*.linear1")
    assert "out_proj" in add(tiny_model, "text.*.out_proj")
    assert all(p.requires_grad for p in tiny_model.parameters())
    message = add(pe_model, "audio_head.proj", "nothing.*")
    assert "got LoRA for 'nothing.*', which fits no layer" in message
    assert "text_head.proj" in message
    add_lora(pe_model, LoraOptions())
    assert "has LoRA already" in add(pe_model, "audio_head.proj")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"rank": 0}, "rank 0"),
        ({"layers": ()}, "no layers"),
        ({"alpha": 0.0}, "alpha 0.0"),
        ({"dropout": 1.0}, "dropout 1.0"),
    ],
)
def test_options_that_make_no_sense_are_refused(refusal, values, named):
    assert named in refusal(OptionError, lambda: LoraOptions(**values))
