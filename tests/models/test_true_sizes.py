"""The public configurations at their true sizes, with random weights: built, saved, loaded and run."""

import shutil

import pytest
import torch

from peaframe.models.load import load_model, save_pe
from peaframe.models.pe_frame import PEFrameModel, public_config


def random_model(size):
    """A model whose weights are small random numbers; scales of norms and snakes are 1, as they begin."""
    with torch.device("meta"):
        model = PEFrameModel(public_config(size))
    model = model.to_empty(device="cpu").eval()
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1 and not name.endswith("alpha"):
                p.uniform_(-1, 1, generator=numbers).mul_((3 / p[0].numel()) ** 0.5)
            else:
                p.fill_(0.0 if name.endswith("bias") else 1.0)
    return model


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize(
    ("size", "layout"), [("small", "original"), ("base", "transformers"), ("large", "transformers")]
)
def test_built_saved_loaded_and_run(size, layout, tmp_path):
    model = random_model(size)
    second = torch.rand(1, 48_000, generator=torch.Generator().manual_seed(1)) - 0.5
    ids = torch.tensor([[50281, 6176, 3069, 50282]])
    frames = model.encode_audio(second)
    texts = model.encode_tokens(ids, torch.ones_like(ids))
    save_pe(model, tmp_path / size, layout)
    del model
    try:
        again = load_model(tmp_path / size)
        assert again.config == public_config(size)
        torch.testing.assert_close(again.encode_audio(second), frames, atol=1e-4, rtol=0)
        torch.testing.assert_close(again.encode_tokens(ids, torch.ones_like(ids)), texts, atol=1e-4, rtol=0)
        stream = again.open_stream()
        rows = torch.cat((stream.push(second[0]), stream.finish()))
        torch.testing.assert_close(again.encode_latents(rows[None]), frames, atol=2e-3, rtol=0)
    finally:
        shutil.rmtree(tmp_path / size)
    assert frames.shape == (1, 25, 1024)
    assert frames.std() > 0.01
    assert texts.shape == (1, 1024)
