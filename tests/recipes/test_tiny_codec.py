"""The codec of the tiny PE-AV: a bank of filters, and what reads bands of sound out of it."""

import pytest
import torch

from peaframe.models.pretraining import av_config, new_model, read_tiny_codec
from peaframe.recipes import tiny_codec

RATE = 48_000


def tones(*hertz, loud=0.1):
    return loud * torch.sin(2 * torch.pi * torch.tensor(hertz)[:, None] * torch.arange(RATE) / RATE)


@torch.no_grad()
def blocks(codec, waves):
    """What comes out of the last block, (tones, channels), away from the ends."""
    x = codec.encoder.conv1(waves[:, None])
    for block in codec.encoder.block:
        x = block(x)
    return x[..., 6:-6].mean(dim=-1)


def test_each_filter_hears_its_band_the_loudest():
    codec = tiny_codec.filter_bank()
    wanted = (230.0, 430.0, 660.0, 2500.0, 5600.0)
    told = blocks(codec, tones(*wanted, loud=0.02))[:, :21]  # the least of three gains: none is at its limit
    bands = (*tiny_codec._LOW, *tiny_codec._HIGH)
    assert [bands[i] for i in told.argmax(dim=1)] == list(wanted)
    assert torch.equal(blocks(codec, tones(660.0))[:, :63], blocks(codec, tones(660.0))[:, 64:127])


def test_gains_tell_loud_from_quiet():
    codec = tiny_codec.filter_bank()
    told = torch.stack([blocks(codec, tones(140.0, loud=loud))[0] for loud in (1e-4, 1e-3, 1e-2)])
    at = tiny_codec._LOW.index(140.0)
    low, middle, high = (told[:, at + 21 * gain] for gain in range(3))
    assert (high[:2].diff() > 0.05).all()  # the greatest gain hears the quietest
    assert (middle[1:].diff() > 0.05).all()
    assert low[2] < 0.05 < middle[2]
    # the mean of sin(g x)^2 of a tone of amplitude a is (1 - J0(2 g a)) / 2
    gain = 2 * tiny_codec._GAINS[1] * 1e-3
    assert middle[1].item() == pytest.approx(
        (1 - torch.special.bessel_j0(torch.tensor(gain)).item()) / 2, rel=0.1
    )


def test_the_codec_that_comes_with_peaframe_is_this_one():
    model = new_model(av_config("tiny"))
    read_tiny_codec(model)
    own = tiny_codec.filter_bank().state_dict()
    solved = ("encoder.conv2.", "mean.")
    for name, tensor in model.audio.codec.state_dict().items():
        if not name.startswith(solved):
            assert torch.equal(tensor, own[name].half().float()), name


@pytest.mark.slow
def test_the_last_layers_are_solved(bank_folder, tmp_path, capsys):
    out = tmp_path / "codec" / "model.safetensors"
    tiny_codec.main([str(bank_folder), "--out", str(out), "--crops", "48"])
    told, written = capsys.readouterr().out.splitlines()
    assert float(told.split()[-4]) > 0.2  # of a bank of seven sounds
    assert written == f"{out}: 0.9 MB"
    before = out.read_bytes()
    tiny_codec.main([str(bank_folder), "--out", str(out), "--crops", "48"])
    assert out.read_bytes() == before
