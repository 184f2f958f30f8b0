import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from peaframe.codec.dac_vae import Codec, CodecConfig, receptive_field
from peaframe.errors import ModelError

SMALL = CodecConfig(width=4, hidden=16, latent=8)
HOP = 1920


@pytest.fixture
def codec():
    torch.manual_seed(0)
    return Codec(SMALL).eval().double()


@pytest.fixture
def golden(golden_folder):
    folder = golden_folder / "pe_a_frame_original"
    return (
        load_file(folder / "model.safetensors"),
        np.load(folder / "inputs.npz"),
        np.load(folder / "outputs.npz"),
    )


@torch.no_grad()
def test_latents_are_those_of_the_reference(golden):
    tensors, inputs, outputs = golden
    prefix = "audio_model.dac_vae_encoder."
    state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix + "encoder")}
    for kind in ("weight", "bias"):
        state[f"mean.{kind}"] = tensors[f"{prefix}bottleneck.in_proj.{kind}"][:16]
    codec = Codec(CodecConfig(width=8, hidden=128, latent=16)).eval()
    codec.load_state_dict(state)
    latents = codec(torch.from_numpy(inputs["input_values"][:, 0]))
    expected = torch.from_numpy(outputs["dac_vae_features"])
    assert (latents - expected).abs().max() < 1e-4 * expected.std()


def test_the_field_of_the_public_codec():
    """Measured on transformers' own: [1920 t - 9953, 1920 t + 11872]."""
    assert receptive_field((2, 8, 10, 12)) == (9_953, 11_873)
    assert Codec(CodecConfig(width=1)).context == 6


@pytest.mark.parametrize("strides", [(2, 8, 10, 12), (3, 4), (2, 5, 3)])
def test_the_field_is_what_a_latent_depends_on(strides):
    torch.manual_seed(0)
    codec = Codec(CodecConfig(4, strides, 16, 8)).eval().double()
    hop, (before, behind) = codec.config.hop, receptive_field(strides)
    middle = before // hop + 2
    waveform = torch.randn(1, hop * (middle + behind // hop + 3), dtype=torch.float64, requires_grad=True)
    codec(waveform)[0, middle].sum().backward()
    heard = waveform.grad[0].nonzero()[:, 0]
    assert heard[0].item() == hop * middle - before
    assert heard[-1].item() == hop * middle + behind - 1


@pytest.mark.parametrize("shape", [(1, HOP + 1), (1, 0), (HOP,), (1, 1, HOP)])
def test_other_shapes_are_refused(codec, shape, refusal):
    message = refusal(ModelError, codec, torch.zeros(shape, dtype=torch.float64))
    assert f"a multiple of {HOP}" in message
