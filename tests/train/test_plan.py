"""What a step takes, counted without values, against steps that have them."""

import dataclasses
import math

import pytest
import torch

from peaframe.errors import OptionError
from peaframe.losses.activity import activity_loss
from peaframe.losses.batch import ActivityBatch
from peaframe.models.checkpoint import shapes_only
from peaframe.models.load import load_model
from peaframe.models.pe_frame import PEFrameModel, public_config
from peaframe.train.ema import Ema, EmaOptions
from peaframe.train.optim import OptimOptions, freeze, make_optimizer, parameter_groups, unfreeze
from peaframe.train.plan import plan, seconds_per_step

OPTIONS = OptimOptions()
SIZES = {"batch": 2, "frames": 7, "texts": 3, "tokens": 5}


@pytest.fixture
def pe_model(golden_folder):
    """PE-A-Frame with small towers; all but the codec learns."""
    model = load_model(golden_folder / "pe_a_frame_original")
    unfreeze(model, ["audio", "text", "heads", "scale"])
    freeze(model, ["codec"])
    return model


def planned(model, precision="float32", ema=False, **options):
    sizes = SIZES | options
    return plan(model, parameter_groups(model, OPTIONS), precision=precision, ema=ema, **sizes)


class Counter:
    """Bytes that autograd keeps and that are no weights."""

    def __init__(self, model):
        self.own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
        self.kept = {}

    def __enter__(self):
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self.note, lambda x: x)
        self.hooks.__enter__()
        return self

    def __exit__(self, *error):
        self.hooks.__exit__(*error)

    def note(self, tensor):
        place = tensor.untyped_storage()
        if place.data_ptr() not in self.own:
            self.kept[place.data_ptr()] = tensor, place.nbytes()
        return tensor

    def bytes(self):
        return sum(size for _, size in self.kept.values())


def real_step(model, precision, padded, **options):
    """The bytes that a forward pass with values keeps, and its embeddings of frames and texts."""
    sizes = SIZES | options
    model.train()
    model.products = torch.bfloat16 if precision == "bfloat16" else torch.float32
    if hasattr(model, "audio"):
        model.audio.products = model.products
    torch.manual_seed(0)
    rows = torch.randn(sizes["batch"], sizes["frames"], model.feature_channels)
    mask = torch.ones(rows.shape[:2], dtype=torch.bool)
    mask[0, -2:] = not padded
    ids = torch.randint(5, 20, (sizes["texts"], sizes["tokens"]))
    with Counter(model) as counter, torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        frames = model.encode_features(rows, mask if padded else None)
        texts = model.encode_tokens(ids, torch.ones_like(ids))
    return counter.bytes(), frames, texts, mask


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("still", [[], ["text"], ["audio"], ["text", "audio"]])
def test_activations_are_those_that_a_real_forward_pass_keeps(pe_model, precision, still):
    freeze(pe_model, still)
    counted = planned(pe_model, precision)
    assert counted.activations + counted.casts == real_step(pe_model, precision, padded=True)[0]
    assert (counted.casts > 0) == (precision == "bfloat16")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_minis_activations_are_those_that_a_real_forward_pass_keeps(tiny_model, precision):
    unfreeze(tiny_model, ["front", "audio", "text", "heads", "scale"])
    sizes = {"batch": 3, "frames": 30}
    counted = planned(tiny_model, precision, **sizes)
    assert counted.activations + counted.casts == real_step(tiny_model, precision, padded=False, **sizes)[0]


@pytest.mark.parametrize("ema", [False, True])
def test_weights_gradients_and_moments_are_those_of_a_real_step_of_adamw(pe_model, ema):
    counted = planned(pe_model, ema=ema)
    optimizer = make_optimizer(pe_model, OPTIONS)
    _, frames, texts, _ = real_step(pe_model, "float32", padded=True)
    pe_model.score(frames, texts).square().mean().backward()
    optimizer.step()

    def size(tensors):
        return sum(x.numel() * x.element_size() for x in tensors)

    gradients = [p.grad for p in pe_model.parameters() if p.grad is not None]
    states = optimizer.state.values()
    moments = [state[name] for state in states for name in ("exp_avg", "exp_avg_sq")]
    averages = Ema(pe_model, EmaOptions()).average.values() if ema else []
    assert counted.weights == size([*pe_model.parameters(), *pe_model.buffers()])
    assert counted.gradients == size(gradients)
    assert counted.moments == size(moments)
    assert counted.ema == size(averages)
    assert counted.total == sum(
        getattr(counted, name)
        for name in ("weights", "gradients", "moments", "ema", "casts", "activations", "logits")
    )


def test_logits_are_what_the_loss_keeps(pe_model):
    sizes = {"batch": 4, "frames": 50, "texts": 40}
    counted = planned(pe_model, **sizes)
    _, frames, texts, mask = real_step(pe_model, "float32", padded=True, **sizes)
    states = torch.ones(40, 50, dtype=torch.int8)
    weak = torch.zeros(40, dtype=torch.bool)
    batch = ActivityBatch(frames, mask, texts, torch.arange(40) % 4, torch.arange(40), states, weak)
    with Counter(pe_model) as counter:
        activity_loss(batch, pe_model.logit_scale, pe_model.logit_bias)
    pairs = [size for tensor, size in counter.kept.values() if tensor.shape == (4, 50, 40)]
    assert pairs == [4 * 50 * 40 * 4] * 2  # dot products, for the scale's gradient; logits, for their own
    embeddings = frames.numel() * 4 + texts.numel() * 4
    assert counted.logits == sum(pairs) + embeddings


def deeper(layers):
    """A PE-A-Frame of which only the audio tower and the scale learn, without values."""
    config = public_config("small")
    codec = dataclasses.replace(config.audio.codec, width=8, hidden=128)
    tower = dataclasses.replace(config.audio.tower, width=64, layers=layers, heads=2, mlp_width=96)
    text = dataclasses.replace(config.text, vocabulary=50, width=32, layers=1, heads=2, mlp_width=16)
    config = dataclasses.replace(
        config, audio=dataclasses.replace(config.audio, codec=codec, tower=tower), text=text
    )
    with shapes_only():
        model = PEFrameModel(config)
    freeze(model, ["codec", "text", "heads"])
    return model


@pytest.mark.slow
def test_a_layer_costs_its_products_and_with_checkpointing_keeps_its_input():
    def both(**options):
        two, four = (planned(deeper(layers), **options) for layers in (2, 4))
        return two, [(getattr(four, n) - getattr(two, n)) / 2 for n in ("forward", "flops", "activations")]

    rows = 2 * (7 + 1)  # a token of the clip before the frames
    products = 2 * rows * (4 * 64 * 64 + 3 * 64 * 96)
    attention = 4 * rows * 8 * 64
    _, (forward, flops, kept) = both()
    assert forward == products + attention
    assert flops == 3 * products + (1 + 2.5) * attention
    _, (forward_again, flops_again, inputs) = both(checkpointing=True)
    assert forward_again == forward
    assert flops_again == flops + forward
    assert inputs == rows * 64 * 4
    assert kept > 10 * inputs


def test_what_stands_still_keeps_nothing_and_costs_its_forward_pass_alone(pe_model):
    whole = planned(pe_model)
    freeze(pe_model, ["codec", "text", "audio", "heads"])
    still = planned(pe_model)
    assert still.forward == whole.forward
    products = 2 * (2 * 7) * 3 * pe_model.embedding_dim
    assert still.flops - still.forward == 0  # scale and bias have no products of their own
    assert still.activations == 0
    assert (still.gradients, still.moments) == (2 * 4, 2 * 2 * 4)
    assert whole.flops - whole.forward > 1.9 * whole.forward
    alone, among = planned(pe_model), planned(pe_model, world_size=3)
    assert among.forward - alone.forward == 2 * products


def test_processes_share_what_is_sharded_and_meet_the_texts_of_all(pe_model):
    alone = planned(pe_model, ema=True)
    copies = planned(pe_model, ema=True, world_size=4)
    shares = planned(pe_model, ema=True, world_size=4, sharded=True)
    meeting = 2 * (2 * 7) * 3 * pe_model.embedding_dim
    assert copies == dataclasses.replace(
        alone, forward=alone.forward + 3 * meeting, flops=alone.flops + 3 * 3 * meeting
    )
    divided = {
        name: math.ceil(getattr(alone, name) / 4) for name in ("weights", "gradients", "moments", "ema")
    }
    assert shares == dataclasses.replace(copies, **divided)


def test_parameters_are_counted_by_group_and_shown(pe_model):
    freeze(pe_model, ["text"])
    counted = planned(pe_model, precision="bfloat16", ema=True)
    sizes = {(g.name, g.learns): (g.count, g.lr) for g in counted.parameters}
    text = sum(p.numel() for p in pe_model.text.parameters())
    assert sizes["text", False] == (text, 0.0)
    assert sizes["scale", True] == (2, 1e-4)
    depth = pe_model.config.audio.tower.layers
    layer = sum(p.numel() for p in pe_model.audio.tower.layers[0].parameters())
    assert sizes["audio.layers.0", True] == (layer, pytest.approx(1e-4 * 0.9**depth))
    assert sum(g.count for g in counted.parameters) == sum(p.numel() for p in pe_model.parameters())
    lines = counted.lines()
    assert (
        f"{f'audio.layers 0 to {depth - 1}':<24} {layer * depth / 1e6:>10.3f}   8.1e-05 to 9.0e-05" in lines
    )
    assert f"{'text':<24} {text / 1e6:>10.3f}   stands still" in lines
    assert f"{'total':<24} {counted.total / 1e9:>10.3f}" in lines
    assert f"{'forward and backward':<24} {counted.flops / 1e9:>10.3f}" in lines
    assert max(map(len, lines)) < 80


def test_planning_leaves_the_model_as_it_was(pe_model):
    pe_model.eval()
    pe_model.text.train()
    freeze(pe_model, ["text"])

    def state():
        flags = [(m.training, getattr(m, "products", None)) for m in pe_model.modules()]
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pe_model.modules()]
        return flags, hooks, [(id(p), p._version, p.requires_grad, p.grad) for p in pe_model.parameters()]

    before = state()
    planned(pe_model, "bfloat16", checkpointing=True)
    assert state() == before


def test_the_time_of_a_step_grows_with_its_work(pe_model):
    counted = planned(pe_model)
    seconds = seconds_per_step(counted, "cpu")
    assert 0 < seconds < math.inf
    assert seconds_per_step(dataclasses.replace(counted, flops=0), "cpu") == 0


@pytest.mark.slow
def test_a_step_of_the_true_small_size_fits_a_card_of_24_gb():
    with shapes_only():
        model = PEFrameModel(public_config("small"))
    freeze(model, ["codec"])
    sizes = {"batch": 16, "frames": 250, "texts": 64, "tokens": 12}
    counted = planned(model, "bfloat16", ema=True, **sizes)
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert (counted.gradients, counted.moments, counted.ema) == (4 * learning, 8 * learning, 4 * learning)
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    assert 2 * sum(p.numel() for p in matrices) * 0.8 < counted.casts < 2 * sum(p.numel() for p in matrices)
    assert 3.3e9 < counted.activations < 3.5e9
    assert 12.4e9 < counted.total < 12.6e9
    assert 3.5e12 < counted.flops < 3.6e12
    again = planned(model, "bfloat16", ema=True, checkpointing=True, **sizes)
    assert 0.45e9 < again.activations < 0.55e9


def test_sizes_precisions_and_groups_of_another_model_are_refused(pe_model, tiny_model, refusal):
    message = refusal(OptionError, lambda: planned(pe_model, batch=0))
    assert message == "got batch 0, expected at least 1"
    message = refusal(OptionError, lambda: planned(pe_model, "float16"))
    assert message == "got precision 'float16', expected float32 or bfloat16"
    groups = parameter_groups(tiny_model, OPTIONS)
    call = {"precision": "float32", "ema": False, **SIZES}
    message = refusal(OptionError, lambda: plan(pe_model, groups, **call))
    assert "expected parameters of this model alone" in message
