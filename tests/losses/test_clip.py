import math

import pytest
import torch

from peaframe.losses.batch import ActivityOptions
from peaframe.losses.clip import clip_loss, mean_of_frames


@pytest.fixture
def data():
    torch.manual_seed(0)
    return {
        "clips": torch.randn(4, 3, dtype=torch.float64),
        "captions": torch.randn(5, 3, dtype=torch.float64),
        "clip": torch.tensor([0, 1, 1, 3, -1]),
        "ids": torch.tensor([7, -1, 2, 7, -1]),
        "scale": torch.tensor(3.0, dtype=torch.float64),
        "bias": torch.tensor(-1.0, dtype=torch.float64),
    }


def test_against_loops(data):
    total = 0.0
    for b in range(4):
        for n in range(5):
            own = data["clip"][n] == b
            if not own and {b, n} in ({0, 3}, {3, 0}):  # captions 0 and 3 are the same words
                continue
            z = (data["clips"][b] @ data["captions"][n] * 3 - 1).item()
            total += math.log1p(math.exp(-z if own else z))
    loss, parts = clip_loss(**data)
    assert loss.item() == pytest.approx(total / 4, rel=1e-12)
    assert parts == {"clip": pytest.approx(total / 4, rel=1e-12)}


def test_masked_clips_and_captions_never_matter(data):
    masks = {
        "clip_mask": torch.tensor([True, True, False, True]),
        "caption_mask": torch.tensor([True, True, False, True, True]),
    }
    loss = clip_loss(**data, **masks)[0]
    clips, captions = data["clips"].clone(), data["captions"].clone()
    clips[2], captions[2] = float("nan"), 1e3
    clips.requires_grad_(), captions.requires_grad_()
    other = clip_loss(**{**data, "clips": clips, "captions": captions}, **masks)[0]
    other.backward()
    assert torch.equal(other, loss)
    assert (clips.grad[2] == 0).all()
    assert (captions.grad[2] == 0).all()
    assert (clips.grad[[0, 1, 3]] != 0).any(dim=1).all()


def test_pieces_with_all_captions_add_up(data):
    counts = {"clip": torch.tensor(4)}
    first = {**data, "clips": data["clips"][:2], "clip": torch.tensor([0, 1, 1, -1, -1])}
    second = {**data, "clips": data["clips"][2:], "clip": torch.tensor([-1, -1, -1, 1, -1])}
    total = sum(clip_loss(**part, counts=counts)[0].item() for part in (first, second))
    assert total == pytest.approx(clip_loss(**data)[0].item(), rel=1e-12)


def test_p_local_is_not_its_business(data):
    expected = clip_loss(**data)[0]
    assert torch.equal(clip_loss(**data, options=ActivityOptions(p_local=1.0))[0], expected)


def test_the_mean_is_over_the_frames_that_count():
    frames = torch.tensor([[[1.0], [3.0], [float("nan")]], [[5.0], [5.0], [5.0]]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert mean_of_frames(frames, mask).tolist() == [[2.0], [0.0]]
