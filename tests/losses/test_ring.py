import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from peaframe.losses.ring import circulate, over_ranks, place, ring_sum

SCRIPT = Path(__file__).parent / "batches.py"
batches = SimpleNamespace(**runpy.run_path(str(SCRIPT)))


@pytest.fixture(scope="module", params=[2, 3])
def several(request, as_ranks, tmp_path_factory):
    """What each of several real processes got: (ranks, one dictionary by case for each)."""
    return request.param, as_ranks(SCRIPT, request.param, tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def alone():
    """What one process gets with the whole batch."""
    return {case: batches.solve(case, batches.whole()) for case in batches.CASES}


def whole_gradient(name, clips_of, pieces):
    """The gradient of one tensor of the whole batch from those of its pieces."""
    if name in ("scale", "bias"):
        return sum(piece[name] for piece in pieces)
    data = batches.whole()
    full = torch.zeros_like(data[name])
    for clips, piece in zip(clips_of, pieces, strict=True):
        if name == "frames":
            for clip, gradient in zip(clips, piece[name], strict=True):
                full[clip, : len(gradient)] = gradient
        else:
            full[torch.isin(data["clip"], torch.tensor(clips))] = piece[name]
    return full


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in batches.CASES if case != "own texts only"])
def test_processes_together_are_one_with_all_of_the_data(several, alone, case):
    ranks, results = several
    pieces, expected = [result[case] for result in results], alone[case]
    assert sum(piece["loss"] for piece in pieces).item() == pytest.approx(expected["loss"].item(), abs=1e-10)
    for name, value in expected["parts"].items():
        assert sum(piece["parts"][name] for piece in pieces) == pytest.approx(value, abs=1e-10)
    moved = 0
    for name in batches.LEAVES:
        gradient = whole_gradient(name, batches.CUTS[ranks], pieces)
        torch.testing.assert_close(gradient, expected[name], atol=1e-10, rtol=0)
        moved += bool(gradient.abs().max() > 1e-3)
    assert moved >= (3 if case == "distillation" else 4)


@pytest.mark.slow
def test_negatives_of_other_processes_move_the_loss(several, alone):
    ranks, results = several
    for rank, clips in enumerate(batches.CUTS[ranks]):
        here = batches.solve("activity", batches.piece(batches.whole(), clips))
        kept = results[rank]["own texts only"]
        assert kept["loss"].item() == pytest.approx(here["loss"].item(), abs=1e-10)
        for name in batches.LEAVES:
            torch.testing.assert_close(kept[name], here[name], atol=1e-10, rtol=0)
    for kind in ("global", "weak"):
        # own terms of all processes, each divided by its own frames: brought to the whole, others' are missing
        lost = alone["activity"]["parts"][kind]
        for clips, result in zip(batches.CUTS[ranks], results, strict=True):
            counted = _counted(clips, kind) / _counted(range(batches.CLIPS), kind)
            lost -= result["own texts only"]["parts"][kind] * counted
        assert lost > 0.5
    assert alone["activity"]["parts"]["local"] == pytest.approx(
        sum(result["activity"]["parts"]["local"] for result in results), abs=1e-10
    )


@pytest.mark.slow
def test_nothing_of_other_processes_is_kept(several):
    """Gradients of the own frames, and of the own texts with a scale and a bias each; no logits, no others' texts."""
    ranks, results = several
    for clips, result in zip(batches.CUTS[ranks], results, strict=True):
        here = batches.piece(batches.whole(), clips)
        expected = here["frames"].numel() + here["texts"].numel() + 2 * len(here["texts"])
        assert result["activity"]["kept"] == expected


def _counted(clips, kind):
    mask = batches.whole()["frame_mask"][list(clips)]
    return int(mask.sum() if kind == "global" else mask.any(dim=1).sum())


def test_without_a_process_group_there_is_one_process():
    assert place() == (0, 1)
    assert over_ranks({"a": torch.tensor(3)}) == {"a": torch.tensor(3)}
    (tally,) = circulate(
        [torch.tensor([1.0, 2.0])], [torch.ones(2)], lambda goods, home: [goods[0] * (10 if home else 0)]
    )
    assert tally.tolist() == [11, 21]


def test_a_ring_sum_is_differentiated_as_any_sum():
    torch.manual_seed(0)
    frames = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    texts = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    factors = torch.arange(4)

    def meeting(frames, travelling, companions, home):
        total = ((frames @ travelling[0].T).sin() * companions[0]).sum()
        return total, torch.stack((total, 2 * total))

    def call(frames, texts):
        return 3 * ring_sum(meeting, frames, [texts], [factors])[0] ** 2

    total, parts = ring_sum(meeting, frames, [texts], [factors])
    expected = ((frames @ texts.T).sin() * factors).sum()
    assert total.item() == pytest.approx(expected.item(), rel=1e-12)
    assert parts.tolist() == pytest.approx([total.item(), 2 * total.item()])
    assert not parts.requires_grad
    assert torch.autograd.gradcheck(call, (frames, texts))
    assert torch.autograd.gradcheck(call, (frames.detach(), texts))
    assert torch.autograd.gradcheck(call, (frames, texts.detach()))
    with torch.no_grad():
        assert not call(frames, texts).requires_grad
