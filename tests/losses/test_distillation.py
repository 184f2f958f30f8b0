import pytest
import torch

from peaframe.errors import OptionError
from peaframe.losses.distillation import distillation_counts, masked_distillation_loss
from peaframe.losses.frame_activity import distillation_loss


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return (3 * torch.randn(2, 5, 3, dtype=torch.float64)).requires_grad_()


@pytest.fixture
def taught():
    torch.manual_seed(1)
    return torch.rand(2, 5, 3, dtype=torch.float64)


def test_with_nothing_masked_it_is_the_plain_one(logits, taught):
    loss, parts = masked_distillation_loss(logits, taught, torch.ones(1, 1, 1, dtype=torch.bool))
    assert loss.item() == pytest.approx(distillation_loss(logits, taught).item(), rel=1e-12)
    assert parts == {"distillation": loss.item()}


def test_what_is_masked_never_matters(logits, taught):
    mask = torch.tensor([True, True, False])[None, None] & (torch.arange(5) < 3)[None, :, None]
    full = mask.expand(2, 5, 3)
    loss, _ = masked_distillation_loss(logits, taught, mask)
    (gradient,) = torch.autograd.grad(loss, logits)
    expected = (torch.sigmoid(logits) - taught) / 6  # 2 clips of 3 frames
    torch.testing.assert_close(gradient[full], expected.detach()[full])
    assert (gradient[~full] == 0).all()
    other = logits.detach().masked_fill(~full, float("inf"))
    nothing = taught.masked_fill(~full, float("nan"))
    assert torch.equal(masked_distillation_loss(other, nothing, mask)[0], loss)
    assert loss.item() == pytest.approx(distillation_loss(logits[:, :3, :2], taught[:, :3, :2]).item())


def test_pieces_add_up(logits, taught):
    mask = taught > 0.7
    counts = distillation_counts(mask)
    assert counts["distillation"] == mask.any(dim=-1).sum()
    total = sum(masked_distillation_loss(logits[i], taught[i], mask[i], counts)[0] for i in range(2))
    assert total.item() == pytest.approx(masked_distillation_loss(logits, taught, mask)[0].item(), rel=1e-12)


def test_nothing_known_is_no_trouble(logits, taught):
    loss, _ = masked_distillation_loss(logits, taught, torch.zeros(2, 5, 1, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0
    assert (gradient == 0).all()


def test_shapes_that_do_not_fit_are_refused(logits, taught, refusal):
    message = refusal(OptionError, masked_distillation_loss, logits, taught[:, :4], taught > 0)
    assert "(2, 5, 3)" in message
    assert "(2, 4, 3)" in message
    message = refusal(OptionError, masked_distillation_loss, logits, taught, torch.ones(4, dtype=torch.bool))
    assert "(4,)" in message
