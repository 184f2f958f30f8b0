import math

import numpy as np
import pytest
import torch

from peaframe.losses.frame_activity import distillation_loss, frame_activity_loss, frame_ranking_loss

BATCH, FRAMES, TEXTS = 3, 5, 4


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return (torch.randn(BATCH, FRAMES, TEXTS, dtype=torch.float64) * 4).requires_grad_()


@pytest.fixture
def targets():
    """All three states; clip 1 is empty, text 3 is heard all through clip 2."""
    torch.manual_seed(1)
    targets = torch.randint(-1, 2, (BATCH, FRAMES, TEXTS), dtype=torch.int8)
    targets[1] = -1
    targets[2, :, 3] = 1
    targets[0, :, 0] = torch.tensor([1, 0, -1, 1, 0])
    return targets


@pytest.fixture
def rivals(targets):
    """What is not heard, and some of what is unknown; never what is heard."""
    torch.manual_seed(3)
    return (targets < 0) | ((targets == 0) & (torch.rand(BATCH, FRAMES, TEXTS) < 0.5))


def softplus(x):
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def brute_global(logits, targets, positive_weight):
    total = 0.0
    for z, y in zip(logits.flatten().tolist(), targets.flatten().tolist(), strict=True):
        if y != 0:
            total += softplus(-y * z) * (positive_weight if y > 0 else 1.0)
    return total / (logits.shape[0] * logits.shape[1])


def pairs_heard(logits, targets):
    """The clip, logits and targets over its frames, of each (clip, text) pair that is heard somewhere."""
    for b in range(logits.shape[0]):
        for n in range(logits.shape[2]):
            if (targets[b, :, n] > 0).any():
                yield b, logits[b, :, n].tolist(), targets[b, :, n].tolist()


def brute_local(logits, targets):
    values = []
    for _, z, y in pairs_heard(logits, targets):
        active = [softplus(-a) for a, s in zip(z, y, strict=True) if s > 0]
        inactive = [softplus(a) for a, s in zip(z, y, strict=True) if s < 0]
        values.append(
            sum(active) / len(active) / 2 + (sum(inactive) / len(inactive) / 2 if inactive else 0.0)
        )
    return sum(values) / len(values) if values else 0.0


def brute_ranking(logits, targets, rivals):
    values = []
    for b, z, y in pairs_heard(logits, targets):
        terms = []
        for t in range(logits.shape[1]):
            if y[t] > 0:
                others = [logits[b, t, m].item() for m in range(logits.shape[2]) if rivals[b, t, m]]
                own = math.exp(z[t])
                terms.append(-math.log(own / (own + sum(map(math.exp, others)))))
        values.append(sum(terms) / len(terms))
    return sum(values) / len(values) if values else 0.0


@pytest.mark.parametrize("p_local", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("positive_weight", [1.0, 2.5])
def test_it_is_the_mean_of_its_two_parts(logits, targets, p_local, positive_weight):
    loss, parts = frame_activity_loss(logits, targets, p_local, positive_weight)
    everywhere, within = brute_global(logits, targets, positive_weight), brute_local(logits, targets)
    assert loss.item() == pytest.approx((1 - p_local) * everywhere + p_local * within, rel=1e-12)
    assert parts == {
        "global": pytest.approx(everywhere, rel=1e-12),
        "local": pytest.approx(within, rel=1e-12),
    }


def test_ranking_against_loops(logits, targets, rivals):
    expected = brute_ranking(logits, targets, rivals)
    assert frame_ranking_loss(logits, targets, rivals).item() == pytest.approx(expected, rel=1e-9)


def test_distillation_against_loops(logits):
    torch.manual_seed(2)
    probabilities = torch.rand(BATCH, FRAMES, TEXTS, dtype=torch.float64)
    total = 0.0
    for z, p in zip(logits.flatten().tolist(), probabilities.flatten().tolist(), strict=True):
        total += p * softplus(-z) + (1 - p) * softplus(z)
    loss = distillation_loss(logits, probabilities)
    assert loss.item() == pytest.approx(total / (BATCH * FRAMES), rel=1e-12)
    (gradient,) = torch.autograd.grad(loss, logits)
    expected = (torch.sigmoid(logits) - probabilities) / (BATCH * FRAMES)
    np.testing.assert_allclose(gradient, expected.detach(), atol=1e-12)


def test_unknown_frames_count_for_nothing(logits, targets):
    loss = frame_activity_loss(logits, targets, 0.5)[0]
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[targets == 0] == 0).all()
    elsewhere = torch.where(targets == 0, 50.0, logits)
    assert torch.equal(frame_activity_loss(elsewhere, targets, 0.5)[0], loss)


def test_what_is_neither_heard_nor_a_rival_is_not_ranked(logits, targets, rivals):
    left_out = ~rivals & (targets <= 0)
    loss = frame_ranking_loss(logits, targets, rivals)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert left_out.any()
    assert (gradient[left_out] == 0).all()
    assert torch.equal(frame_ranking_loss(torch.where(left_out, 50.0, logits), targets, rivals), loss)


@pytest.mark.parametrize("p_local", [0.0, 1.0])
def test_gradients_push_the_right_way(logits, targets, p_local):
    (gradient,) = torch.autograd.grad(frame_activity_loss(logits, targets, p_local)[0], logits)
    own = (targets > 0).any(dim=1, keepdim=True).expand_as(targets)
    counted = own if p_local == 1 else torch.ones_like(own)
    assert (gradient[(targets > 0) & counted] < 0).all()
    assert (gradient[(targets < 0) & counted] > 0).all()
    assert (gradient[~counted] == 0).all()


def test_ranking_gradients_push_the_right_way(logits, targets, rivals):
    (gradient,) = torch.autograd.grad(frame_ranking_loss(logits, targets, rivals), logits)
    contested = (targets > 0).any(dim=2, keepdim=True)
    assert (gradient[(targets > 0) & rivals.any(dim=2, keepdim=True)] < 0).all()
    assert (gradient[rivals & contested] > 0).all()
    assert (gradient[rivals & ~contested] == 0).all()


@pytest.mark.parametrize(("p_local", "moves"), [(0.0, True), (1.0, False)])
def test_texts_of_other_clips_are_negatives_of_the_global_part_alone(logits, targets, p_local, moves):
    more = logits.detach().clone()
    more[1] += 1.0  # clip 1 holds none of the texts
    before, after = (frame_activity_loss(x, targets, p_local)[0].item() for x in (logits, more))
    assert (after > before) if moves else (after == before)


def test_all_frames_weigh_the_same_in_the_global_part_and_all_pairs_in_the_local():
    logits = torch.zeros(1, 10, 2, dtype=torch.float64)
    targets = torch.full((1, 10, 2), -1)
    targets[0, 0, 0] = 1
    parts = frame_activity_loss(logits, targets, 0.5)[1]
    assert parts["global"] == pytest.approx(2 * math.log(2))
    assert parts["local"] == pytest.approx(math.log(2))
    logits[0, 0, 0] = 3.0  # the one active frame is half of the local part, a twentieth of the global
    parts = frame_activity_loss(logits, targets, 0.5)[1]
    assert parts["global"] == pytest.approx(1.9 * math.log(2) + softplus(-3) / 10)
    assert parts["local"] == pytest.approx((softplus(-3) + math.log(2)) / 2)


@pytest.mark.parametrize("state", [-1, 0])
def test_batches_without_events_are_no_trouble(logits, state):
    targets = torch.full((BATCH, FRAMES, TEXTS), state)
    loss, parts = frame_activity_loss(logits, targets, 1.0)
    ranking = frame_ranking_loss(logits, targets, targets < 0)
    assert loss.item() == parts["local"] == ranking.item() == 0
    (gradient,) = torch.autograd.grad(loss + ranking, logits)
    assert (gradient == 0).all()


def test_a_frame_in_which_all_is_heard_has_nothing_to_rank(logits):
    heard = torch.ones(BATCH, FRAMES, TEXTS)
    ranking = frame_ranking_loss(logits, heard, heard < 0)
    assert ranking.item() == 0
    (gradient,) = torch.autograd.grad(ranking, logits)
    assert (gradient == 0).all()


def test_huge_logits_stay_finite(targets):
    logits = (targets.double() * -1e4).requires_grad_()  # all wrong
    loss = frame_activity_loss(logits, targets, 0.5)[0] + frame_ranking_loss(logits, targets, targets < 0)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert math.isfinite(loss.item())
    assert gradient.isfinite().all()
