import numpy as np
import pytest
import torch

from peaframe.models.tower import (
    ContrastiveHead,
    MaskedGroupNorm,
    ResnetBlock1d,
    SwiGLU,
    Tower,
    TowerConfig,
    rotary_tables,
    rotate,
)

CONFIG = TowerConfig(width=24, layers=2, heads=3, mlp_width=40)


@pytest.fixture
def tower():
    torch.manual_seed(0)
    return Tower(CONFIG).eval()


def padded(clips):
    """Clips of unequal length as one batch, with loud rubbish behind their ends, and the mask."""
    longest = max(len(clip) for clip in clips)
    batch = torch.full((len(clips), longest, clips[0].shape[1]), 7.0)
    mask = torch.zeros(len(clips), longest, dtype=torch.bool)
    for i, clip in enumerate(clips):
        batch[i, : len(clip)] = clip
        mask[i, : len(clip)] = True
    return batch, mask


@torch.no_grad()
def test_shapes(tower):
    frames, clip = tower(torch.randn(2, 5, 24))
    assert frames.shape == (2, 5, 24)
    assert clip.shape == (2, 24)
    assert ContrastiveHead(24, 10)(frames).shape == (2, 5, 10)


@torch.no_grad()
@pytest.mark.parametrize("lengths", [(9, 1, 6), (1, 2), (17, 16, 3)])
def test_batched_with_a_mask_equals_alone(tower, lengths):
    torch.manual_seed(1)
    clips = [torch.randn(length, 24) for length in lengths]
    frames, tokens = tower(*padded(clips))
    for i, clip in enumerate(clips):
        alone, token = tower(clip[None])
        np.testing.assert_allclose(frames[i, : len(clip)], alone[0], atol=1e-5)
        np.testing.assert_allclose(tokens[i], token[0], atol=1e-5)


@torch.no_grad()
def test_a_full_mask_changes_nothing(tower):
    x = torch.randn(2, 8, 24)
    for masked, plain in zip(tower(x, torch.ones(2, 8, dtype=torch.bool)), tower(x), strict=True):
        np.testing.assert_allclose(masked, plain, atol=1e-5)


@torch.no_grad()
def test_without_a_mask_a_tower_hears_what_lies_behind_the_end(tower):
    clips = [torch.randn(9, 24), torch.randn(4, 24)]
    batch, _ = padded(clips)
    assert (tower(batch)[0][1, :4] - tower(clips[1][None])[0][0]).abs().max() > 1e-2


@torch.no_grad()
def test_masked_group_norm_takes_its_statistics_from_the_mask_alone():
    torch.manual_seed(2)
    norm = MaskedGroupNorm(1, 4)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, 4, 6) * 3 + 5
    mask = torch.tensor([[True] * 6, [True] * 2 + [False] * 4])
    got = norm(x, mask)
    for i, length in enumerate((6, 2)):
        part = x[i, :, :length].double().numpy()
        expected = (part - part.mean()) / np.sqrt(part.var() + norm.eps)
        expected = expected * norm.weight.double().numpy()[:, None] + norm.bias.double().numpy()[:, None]
        np.testing.assert_allclose(got[i, :, :length], expected, atol=1e-5)
    np.testing.assert_allclose(norm(x, torch.ones(2, 6, dtype=torch.bool)), norm(x), atol=1e-5)


@torch.no_grad()
def test_the_resnet_block_adds_to_what_it_was_given():
    block = ResnetBlock1d(4)
    torch.nn.init.zeros_(block.block2.project.weight)
    torch.nn.init.zeros_(block.block2.project.bias)
    x = torch.randn(1, 7, 4)
    assert torch.equal(block(x, None), x)


def test_rotary_positions_are_relative():
    torch.manual_seed(3)
    q, k = torch.randn(8), torch.randn(8)
    cos, sin = rotary_tables(50, 8, 20_000.0, q)
    products = rotate(q.expand(50, 8), cos, sin) @ rotate(k.expand(50, 8), cos, sin).T
    for offset in (-7, 0, 3, 20):
        diagonal = products.diagonal(offset)
        np.testing.assert_allclose(diagonal, diagonal[0].expand(len(diagonal)), atol=1e-5)
    assert products.diagonal(3)[0] != pytest.approx(float(products.diagonal(-3)[0]), abs=1e-3)


def test_rotary_angles_by_hand():
    cos, sin = rotary_tables(4, 6, 100.0, torch.zeros(1))
    angles = np.outer(np.arange(4), 100.0 ** -np.array([0, 2 / 6, 4 / 6]))
    np.testing.assert_allclose(cos, np.cos(np.tile(angles, 2)), atol=1e-6)
    np.testing.assert_allclose(sin, np.sin(np.tile(angles, 2)), atol=1e-6)
    x = torch.randn(4, 6)
    turned = (x[:, :3] + 1j * x[:, 3:]).numpy() * np.exp(1j * angles)
    np.testing.assert_allclose(rotate(x, cos, sin), np.hstack((turned.real, turned.imag)), atol=1e-5)


@torch.no_grad()
def test_swiglu_by_hand():
    torch.manual_seed(4)
    mlp, x = SwiGLU(3, 5), torch.randn(2, 3)
    gate, up = (
        layer.weight.double().numpy() @ x.double().numpy().T for layer in (mlp.gate_proj, mlp.up_proj)
    )
    expected = mlp.down_proj.weight.double().numpy() @ (gate / (1 + np.exp(-gate)) * up)
    np.testing.assert_allclose(mlp(x), expected.T, atol=1e-6)


@torch.no_grad()
def test_frames_know_their_order(tower):
    x = torch.randn(1, 6, 24)
    there, back = tower(x)[0], tower(x.flip(1))[0].flip(1)
    assert (there - back).abs().max() > 1e-3


def test_dropout_acts_in_training_only():
    torch.manual_seed(5)
    tower = Tower(TowerConfig(width=24, layers=1, heads=3, mlp_width=40, dropout=0.5))
    x = torch.randn(1, 4, 24)
    assert not torch.equal(tower(x)[0], tower(x)[0])
    tower.eval()
    assert torch.equal(tower(x)[0], tower(x)[0])


@torch.no_grad()
def test_a_tower_can_start_as_the_identity(tower):
    frames = torch.randn(2, 5, 24)
    tower.start_as_identity()
    out, _ = tower(frames)
    torch.testing.assert_close(out, tower.norm(frames))
    torch.testing.assert_close(out, tower.finish(frames))
