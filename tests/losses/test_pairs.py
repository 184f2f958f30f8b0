import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from peaframe.errors import OptionError
from peaframe.losses.pairs import SIDES, STAGE_1, STAGE_2, PairOptions, PairScales, check_pairs, pair_loss

SCRIPT = Path(__file__).parent / "pair_batches.py"
batches = SimpleNamespace(**runpy.run_path(str(SCRIPT)))


def by_hand(case):
    """Every pair's loss and accuracy by the formula, in plain NumPy, one term after the other."""
    data, present, scales, biases, same = batches.whole()
    options = PairOptions(**batches.CASES[case])
    found = {}
    for pair, (name, (left, right)) in enumerate(SIDES.items()):
        x, y = data[left].numpy(), data[right].numpy()
        if options.unit_length:
            x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
        total, clips, hits = 0.0, 0, 0
        for i in range(batches.CLIPS):
            others, own = [], None
            for j in range(batches.CLIPS):
                if not (present[left][i] and present[right][j]):
                    continue
                if not options.unmatched and not (present[right][i] and present[left][j]):
                    continue
                twins = [ids[i] == ids[j] >= 0 for side, ids in same.items() if side in (left, right)]
                if i != j and any(twins):
                    continue
                z = float(scales[pair]) * np.dot(x[i], y[j]) + float(biases[pair])
                if i == j:
                    clips, own = clips + 1, z
                    total += -np.log(1 / (1 + np.exp(-z)))
                else:
                    others.append(z)
                    total += -np.log(1 / (1 + np.exp(z)))
            hits += own is not None and all(own > z for z in others)
        found[name] = total / clips, hits / clips
    return found


@pytest.mark.parametrize("case", batches.CASES)
def test_all_ten_pairs_are_the_formula_in_numpy(case):
    result, expected = batches.solve(case, range(batches.CLIPS)), by_hand(case)
    assert list(expected) == list(STAGE_2)
    for name, (loss, accuracy) in expected.items():
        assert result["told"][f"{name}/loss"] == pytest.approx(loss, rel=1e-12)
        assert result["told"][f"{name}/accuracy"] == pytest.approx(accuracy, rel=1e-12)
    weights = batches.CASES[case].get("weights", (1,) * 10)
    total = sum(weight * loss for weight, (loss, _) in zip(weights, expected.values(), strict=True))
    assert result["loss"].item() == pytest.approx(total, rel=1e-12)
    assert 0 < sum(accuracy for _, accuracy in expected.values()) < 10


def test_without_anything_missing_it_is_siglip():
    x, y = (
        torch.randn(6, 3, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in (0, 1)
    )
    all_of_them = torch.ones(6, dtype=torch.bool)
    loss, told = pair_loss(
        ["A-V"],
        {"audio": x, "visual": y},
        {"audio": all_of_them, "visual": all_of_them},
        torch.tensor([2.0]),
        torch.tensor([-1.0]),
    )
    labels = 2 * torch.eye(6, dtype=torch.float64) - 1
    expected = -torch.nn.functional.logsigmoid(labels * (2 * x @ y.T - 1)).sum() / 6
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert told["A-V/loss"] == loss.item()


def test_gradients_are_those_of_finite_differences():
    data, present, scales, biases, same = batches.whole()
    leaves = [x.requires_grad_() for x in (*data.values(), scales, biases)]

    def call(*leaves):
        named = dict(zip(batches.NAMES, leaves, strict=False))
        return pair_loss(STAGE_2, named, present, *leaves[-2:], PairOptions(rows=3), same)[0]

    assert torch.autograd.gradcheck(call, leaves, fast_mode=True)


@pytest.mark.parametrize("case", ["plain", "unmatched"])
def test_what_is_absent_gives_nothing_whatever_stands_there(case):
    before = batches.solve(case, range(batches.CLIPS))
    data, present, scales, biases, same = batches.whole()
    for name, rows in batches.ABSENT.items():
        data[name][list(rows)] = float("nan")
        data[name].requires_grad_()
    loss, told = pair_loss(STAGE_2, data, present, scales, biases, PairOptions(**batches.CASES[case]), same)
    loss.backward()
    assert torch.equal(loss.detach(), before["loss"])
    assert told == before["told"]
    for name, rows in batches.ABSENT.items():
        assert not data[name].grad[list(rows)].any()
        torch.testing.assert_close(data[name].grad, before["gradients"][name], atol=1e-14, rtol=0)


def test_a_pair_that_no_clip_has_gives_zero_and_no_gradient():
    data, present, scales, biases, _ = batches.whole()
    present["visual"][:] = False
    x = data["audio"].requires_grad_()
    loss, told = pair_loss(["A-V", "A-AC"], data, present, scales[:2].requires_grad_(), biases[:2])
    assert told["A-V/loss"] == told["A-V/accuracy"] == 0
    assert loss.item() == told["A-AC/loss"] > 0
    loss.backward()
    assert not x.grad[[0, 2, 5]].any()  # clips without a caption have no partner left
    assert (x.grad[[1, 3, 4, 6]] != 0).any(dim=1).all()


def test_any_subset_is_the_sum_of_its_own():
    whole = batches.solve("plain", range(batches.CLIPS))
    data, present, scales, biases, same = batches.whole()
    names = ["V-VC", "A-(V+text)", "A-AC"]
    places = [STAGE_2.index(name) for name in names]
    loss, told = pair_loss(names, data, present, scales[places], biases[places], same=same)
    assert told == {key: pytest.approx(whole["told"][key], rel=1e-12) for key in told}
    assert list(told) == [f"{name}/{what}" for name in names for what in ("loss", "accuracy")]
    assert loss.item() == pytest.approx(sum(whole["told"][f"{name}/loss"] for name in names), rel=1e-12)


def test_it_is_computed_in_float32_under_autocast():
    data, present, scales, biases, _ = batches.whole()
    data = {name: x.bfloat16() for name, x in data.items()}
    expected = pair_loss(STAGE_2, {n: x.float() for n, x in data.items()}, present, scales, biases)[0]
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = pair_loss(STAGE_2, data, present, scales, biases)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)


def test_nothing_of_the_size_of_the_batch_squared_is_kept():
    clips, kept = 400, {}
    x = torch.randn(clips, 4, requires_grad=True)
    present = torch.ones(clips, dtype=torch.bool)

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        named = {"audio": x, "visual": x * 2}
        options = PairOptions(rows=10)
        pair_loss(["A-V"], named, dict.fromkeys(named, present), torch.ones(1), torch.zeros(1), options)
    assert sum(kept.values()) < clips**2 / 2  # bytes: half of what one bool for each two clips would take


@pytest.fixture(scope="module", params=[2, 3])
def several(request, as_ranks, tmp_path_factory):
    """What each of several real processes got; one of three has no clips at all."""
    return as_ranks(SCRIPT, request.param, tmp_path_factory.mktemp("ranks"))


@pytest.mark.slow
def test_processes_together_are_one_with_all_clips(several):
    for case in batches.CASES:
        alone, pieces = batches.solve(case, range(batches.CLIPS)), [result[case] for result in several]
        assert sum(piece["loss"] for piece in pieces).item() == pytest.approx(alone["loss"].item(), abs=1e-10)
        for name, value in alone["told"].items():
            assert sum(piece["told"][name] for piece in pieces) == pytest.approx(value, abs=1e-10)
        for name in ("scales", "biases"):
            together = sum(piece[name] for piece in pieces)
            torch.testing.assert_close(together, alone[name], atol=1e-10, rtol=0)
            assert together.abs().min() > 1e-4
        for name, gradient in alone["gradients"].items():
            together = torch.cat([piece["gradients"][name] for piece in pieces])
            torch.testing.assert_close(together, gradient, atol=1e-10, rtol=0)
            assert gradient.abs().max() > 1e-2


@pytest.mark.slow
def test_statistics_of_latents_are_those_of_all_processes(several):
    expected = batches.statistics(range(batches.CLIPS))
    for result in several:
        for own, alone in zip(result["statistics"], expected, strict=True):
            torch.testing.assert_close(own, alone, atol=1e-6, rtol=0)


def test_scales_start_as_siglips_and_are_told_by_name():
    scales = PairScales(STAGE_1)
    assert scales.log_scale.tolist() == pytest.approx([math.log(10)] * 8)
    told = scales.values()
    assert told["AV-AVC/scale"] == pytest.approx(10)
    assert told["AV-AVC/bias"] == -10
    assert len(told) == 16
    loud = PairScales(["A-V"], scale=2.5, bias=-1)
    assert [value.item() for value in loud()] == [pytest.approx(2.5), -1]
    assert len(STAGE_1) == 8
    assert STAGE_2[8:] == ("A-(V+text)", "V-(A+text)")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["A-AC", "a-vv"], ["'a-vv'", "did you mean 'A-V'"]),
        (["V-(A-text)"], ["did you mean 'V-(A+text)'"]),
        ([], ["got pairs []"]),
        (["A-V", "A-V"], ["each once"]),
    ],
)
def test_pairs_that_are_not_known_are_refused(names, words, refusal):
    message = refusal(OptionError, check_pairs, names)
    assert all(word in message for word in words), message


def test_what_does_not_fit_is_refused(refusal):
    data, present, scales, biases, _ = batches.whole()
    message = refusal(OptionError, pair_loss, STAGE_2, {}, present, scales, biases)
    assert "no embeddings or no presence of 'audio'" in message
    message = refusal(OptionError, pair_loss, STAGE_1, data, present, scales, biases)
    assert "got scales of shape (10,), expected one for each of 8 pairs" in message
    short = {**data, "visual": data["visual"][:3]}
    assert "got visual of shape (3, 5)" in refusal(
        OptionError, pair_loss, STAGE_2, short, present, scales, biases
    )
    options = PairOptions(weights=(1.0,))
    message = refusal(OptionError, pair_loss, STAGE_2, data, present, scales, biases, options)
    assert "got 1 weights for 10 pairs" in message
    assert "expected 0 or more" in refusal(OptionError, PairOptions, weights=(-1.0,))
    assert "got rows 0" in refusal(OptionError, PairOptions, rows=0)
    assert "got a scale of 0" in refusal(OptionError, PairScales, STAGE_1, 0)
