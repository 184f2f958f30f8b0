"""Averages of the weights, by hand and on a small model."""

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from peaframe.errors import CheckpointError, OptionError
from peaframe.train.ema import Ema, EmaOptions, decay_at


@pytest.fixture
def line():
    """One weight at 1, one bias at 4 that is frozen."""
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, 1.0)
    nn.init.constant_(model.bias, 4.0)
    model.bias.requires_grad_(False)
    return model


def move(model, value):
    with torch.no_grad():
        model.weight.fill_(value)


def test_the_share_kept_grows_until_it_is_the_decay():
    options = EmaOptions(decay=0.5)
    assert [decay_at(n, options) for n in (0, 1, 5, 8, 9, 1000)] == [0.1, 2 / 11, 6 / 15, 0.5, 0.5, 0.5]
    assert decay_at(0, EmaOptions(decay=0.5, warm=False)) == 0.5


def test_an_average_is_what_it_is_by_hand(line):
    ema = Ema(line, EmaOptions(decay=0.75, warm=False))
    assert ema.average.keys() == {"weight"}
    for value, expected in ((5.0, 2.0), (6.0, 3.0), (3.0, 3.0)):
        move(line, value)
        ema.update(line)
        assert ema.average["weight"].item() == expected
    assert ema.updates == 3


def test_a_warm_start_forgets_the_weights_of_the_start(line):
    ema = Ema(line, EmaOptions(decay=0.999))
    move(line, 11.0)
    ema.update(line)
    assert ema.average["weight"].item() == pytest.approx(0.1 * 1 + 0.9 * 11)
    ema.update(line)
    assert ema.average["weight"].item() == pytest.approx(2 / 11 * 10 + 9 / 11 * 11)


def test_averages_of_half_precision_are_kept_in_float32(line):
    """Steps of a thousandth are lost in bfloat16 next to 1."""
    line.to(torch.bfloat16)
    ema = Ema(line, EmaOptions(decay=0.999, warm=False))
    move(line, 2.0)
    ema.update(line)
    assert ema.average["weight"].dtype == torch.float32
    assert ema.average["weight"].item() == pytest.approx(1.001, abs=1e-6)
    with ema.swapped(line):
        assert line.weight.dtype == torch.bfloat16
        assert line.weight.item() == 1.0
    assert line.weight.item() == 2.0


def test_doubles_stay_doubles(line):
    assert Ema(line.double(), EmaOptions()).average["weight"].dtype == torch.float64


def test_swapped_in_for_evaluation_and_back_bit_for_bit(tiny_model):
    ema = Ema(tiny_model, EmaOptions())
    start = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}
    waveform = torch.randn(1, 48_000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first = tiny_model.encode_audio(waveform)
        for p in tiny_model.parameters():
            p.add_(0.01)
        own = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}
        parameters = list(tiny_model.parameters())
        with ema.swapped(tiny_model):
            assert torch.equal(tiny_model.encode_audio(waveform), first)
            assert all(torch.equal(t, start[n]) for n, t in tiny_model.state_dict().items())
        assert all(torch.equal(t, own[n]) for n, t in tiny_model.state_dict().items())
        assert not torch.equal(tiny_model.encode_audio(waveform), first)
    assert all(a is b for a, b in zip(parameters, tiny_model.parameters(), strict=True))


def test_an_error_in_the_evaluation_gives_the_weights_back(line):
    ema = Ema(line, EmaOptions())
    move(line, 7.0)
    seen = []

    def evaluate():
        with ema.swapped(line):
            seen.append(line.weight.item())
            raise KeyError

    with pytest.raises(KeyError):
        evaluate()
    assert seen == [1.0]
    assert line.weight.item() == 7.0


def test_what_is_set_free_later_enters_with_its_value_then(line):
    ema = Ema(line, EmaOptions(decay=0.5, warm=False))
    with torch.no_grad():
        line.bias.fill_(8.0)
    line.bias.requires_grad_(True)
    ema.update(line)
    assert ema.average["bias"].item() == 8.0
    with torch.no_grad():
        line.bias.fill_(10.0)
    line.requires_grad_(False)
    ema.update(line)
    assert ema.average["bias"].item() == 9.0


def test_a_resumed_average_goes_on_bit_for_bit(tiny_model):
    ema = Ema(tiny_model, EmaOptions())
    with torch.no_grad():
        for p in tiny_model.parameters():
            p.mul_(1.5)
    ema.update(tiny_model)
    stored = save(ema.state_dict())
    again = Ema(tiny_model, EmaOptions())
    again.load_state_dict(load(stored), tiny_model)
    for one in (ema, again):
        one.update(tiny_model)
    assert again.updates == ema.updates == 2
    assert again.average.keys() == ema.average.keys()
    assert all(torch.equal(again.average[name], tensor) for name, tensor in ema.average.items())


def test_an_average_of_another_model_is_refused(line, refusal):
    ema = Ema(line, EmaOptions())
    state = ema.state_dict()
    other = nn.Linear(2, 1, bias=False)
    assert "of shape (1, 1), expected (1, 2)" in refusal(CheckpointError, ema.load_state_dict, state, other)
    message = refusal(CheckpointError, ema.load_state_dict, state, nn.Identity())
    assert "expected no such parameter" in message
    line.bias.requires_grad_(True)
    assert "no averaged weights for 'bias'" in refusal(CheckpointError, ema.load_state_dict, state, line)
    del state["updates"]
    assert "number of updates" in refusal(CheckpointError, ema.load_state_dict, state, line)
    assert ema.average["weight"].item() == 1.0


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_that_makes_no_sense_is_refused(refusal, decay):
    assert f"EMA decay of {decay}" in refusal(OptionError, EmaOptions, decay)
