import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from peaframe.losses.activity import activity_loss
from peaframe.losses.batch import ActivityOptions
from peaframe.losses.prior import prior_counts, prior_loss
from peaframe.models.text_prior import TextHead, unbiased_scores

batches = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "batches.py")))


@pytest.fixture
def data():
    return batches.whole()


def slow_counts(data):
    """Frames heard and known of each text, by label; no cosines, no relations."""
    texts = [n for n in range(len(data["texts"])) if data["text_mask"][n]]
    counts = [[0.0, 0.0] for _ in data["texts"]]
    for n in texts:
        if data["weak"][n]:
            continue
        for b in range(batches.CLIPS):
            times = data["frame_mask"][b].nonzero()[:, 0].tolist()
            own = [k for k in texts if data["clip"][k] == b]
            same = [k for k in own if k == n or data["ids"][k] == data["ids"][n] >= 0]
            strong = [k for k in same if not data["weak"][k]]
            for k in strong:
                states = [data["states"][k, t].item() for t in times]
                counts[n][0] += states.count(1) / len(strong)
                counts[n][1] += (states.count(1) + states.count(-1)) / len(strong)
            if not same and not (own and all(data["weak"][k] for k in own)):
                counts[n][1] += len(times)
    return torch.tensor(counts, dtype=torch.float64)


def test_counts_against_loops(data):
    data["ids"][1] = 0  # clip 0 has two texts of one label
    torch.testing.assert_close(prior_counts(batches.batch_of(data)), slow_counts(data))


def test_counts_of_pieces_add_up(data):
    pieces = []
    for clips in ([0, 3], [1, 2, 4]):
        here = {**data, "frames": data["frames"][clips], "frame_mask": data["frame_mask"][clips]}
        here["clip"] = torch.tensor([clips.index(c) if c in clips else -1 for c in data["clip"].tolist()])
        pieces.append(prior_counts(batches.batch_of(here), ActivityOptions(same_above=0.6), batches.RELATED))
    whole = prior_counts(batches.batch_of(data), ActivityOptions(same_above=0.6), batches.RELATED)
    torch.testing.assert_close(sum(pieces), whole)
    assert (whole[data["weak"] | ~data["text_mask"]] == 0).all()


def test_the_prior_loss_is_least_at_the_share_of_frames(data):
    counts = prior_counts(batches.batch_of(data))
    known = counts[:, 1] > 0
    share = counts[known, 0] / counts[known, 1]
    biases = torch.zeros(len(counts), dtype=torch.float64)
    biases[known] = torch.logit(share)
    heard = known & (counts[:, 0] > 0)
    biases.requires_grad_()
    loss, parts = prior_loss(biases, counts)
    (gradient,) = torch.autograd.grad(loss, biases)
    torch.testing.assert_close(gradient[heard | ~known], torch.zeros_like(gradient[heard | ~known]))
    entropy = -(torch.xlogy(share, share) + torch.xlogy(1 - share, 1 - share)).mean().item()
    assert loss.item() == pytest.approx(entropy)
    assert parts == {"prior": loss.item()}
    assert prior_loss(biases + 0.1, counts)[0] > loss


def test_texts_known_nowhere_have_no_prior():
    biases = torch.tensor([1.0, float("nan")], requires_grad=True)
    loss, _ = prior_loss(biases, torch.tensor([[1.0, 4.0], [0.0, 0.0]]))
    (gradient,) = torch.autograd.grad(loss, biases)
    assert loss.item() == pytest.approx(0.25 * math.log1p(math.exp(-1)) + 0.75 * math.log1p(math.e))
    assert gradient[1] == 0
    assert gradient[0].item() == pytest.approx(1 / (1 + math.exp(-1)) - 0.25)


def test_the_bias_learns_from_the_prior_alone(data):
    torch.manual_seed(0)
    head = TextHead(batches.DIM, hidden=8).double()
    biases = head(data["texts"])
    torch.testing.assert_close(biases, torch.full_like(biases, -8.0))
    texts = data["texts"].clone().requires_grad_()
    batch = batches.batch_of({**data, "texts": texts})
    loss, _ = activity_loss(batch, data["scale"], head(texts).detach())
    prior, _ = prior_loss(head(texts), prior_counts(batch))
    loss.backward()
    assert all(parameter.grad is None for parameter in head.parameters())
    moved = texts.grad.clone()
    prior.backward()
    assert torch.equal(texts.grad, moved)
    assert head.outer.bias.grad.item() < 0  # -8 is too low
    optimiser = torch.optim.Adam(head.parameters(), lr=0.05)
    counts = prior_counts(batch)
    for _ in range(600):
        optimiser.zero_grad()
        prior_loss(head(data["texts"]), counts)[0].backward()
        optimiser.step()
    known = counts[:, 1] > 0
    share = counts[known, 0] / counts[known, 1]
    assert (torch.sigmoid(head(data["texts"]))[known] - share).abs().max() < 0.1


def test_unbiased_scores():
    logits = torch.tensor([[-3.0, 2.0], [-3.0, 50.0]], dtype=torch.float64)
    biases = torch.tensor([-3.0, -9.0], dtype=torch.float64)
    p, prior = torch.sigmoid(logits), torch.sigmoid(biases)
    scores = unbiased_scores(logits, biases)
    torch.testing.assert_close(scores, p / (p + prior))
    assert scores[0, 0] == 0.5
    rare = unbiased_scores(torch.tensor([-200.0]), torch.tensor([-200.0]))
    assert rare.item() == pytest.approx(0.5)  # no 0 / 0
