"""Steps of pre-training: their losses and gradients, in pieces, over processes, with dropout and in bfloat16."""

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from peaframe.losses.pairs import STAGE_2, pair_loss
from peaframe.models.tower import Layer
from peaframe.train.pretrain_step import pretrain_step

SCRIPT = Path(__file__).parent / "pretraining.py"
tiny = SimpleNamespace(**runpy.run_path(str(SCRIPT)))
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def batch():
    return tiny.make_batch()


@pytest.mark.parametrize("pairs", [("A-AC",), ("A-V", "V-(A+text)"), STAGE_2])
@pytest.mark.parametrize("lacks", ["sound", "pictures", "words", "all but words"])
def test_every_weight_has_a_gradient_even_of_a_batch_without_what_it_is_for(batch, pairs, lacks):
    none = torch.zeros(6, dtype=torch.int64)
    if lacks in ("sound", "all but words"):
        batch = replace(batch, latents=batch.latents[:, :0], audio_frames=none)
    if lacks in ("pictures", "all but words"):
        batch = replace(batch, video=batch.video[:, :0], video_frames=none)
    if lacks == "words":
        batch = replace(batch, captions={})
    student = tiny.make_student(replace(tiny.OPTIONS, pairs=pairs))
    told = pretrain_step(student, batch, tiny.hide(student, batch), student.options)
    assert all(torch.isfinite(torch.tensor(value)) for value in told.values())
    gradients = tiny.gradients(student)
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients.values())
    if lacks == "all but words":
        assert told["loss"] == 0
        assert not any(gradient.any() for gradient in gradients.values())


@pytest.mark.parametrize("one_pass", [False, True])
def test_a_step_is_its_losses_put_together_by_hand(batch, one_pass):
    student = tiny.make_student(one_pass=one_pass)
    hidden = tiny.hide(student, batch)
    told = pretrain_step(student, batch, hidden, student.options)
    gradients = tiny.gradients(student)
    student.zero_grad()

    noisy = torch.where(hidden.spans[..., None], hidden.noise, batch.latents)
    found = student(replace(batch, latents=noisy) if one_pass else batch)
    same = {"audio_text": torch.tensor([-1, -1, 0, -1, -1, 0])}  # the third clip and the last
    scales = student.scales.log_scale.exp(), student.scales.bias
    pairs, _ = pair_loss(STAGE_2, found.embeddings, found.present, *scales, same=same)
    different, _ = pair_loss(STAGE_2, found.embeddings, found.present, *scales)
    assert different.item() > pairs.item() + 1e-3
    total, count = 0.0, 0
    for clip, frames in enumerate(tiny.AUDIO_FRAMES):
        if frames:
            spans = hidden.spans[clip, :frames]
            heard, _ = student.model.audio(noisy[clip : clip + 1, :frames])
            logits = student.best_rq.predict(heard[0][spans])
            labels = student.best_rq.labels(batch.latents[clip, :frames][spans])[:, 0]
            total = total + torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
            count += int(spans.sum())
    assert count == int(hidden.spans.sum()) > 5
    loss = pairs + 0.7 * total / count
    loss.backward()
    assert told["loss"] == pytest.approx(loss.item(), rel=1e-10)
    assert told["best_rq/loss"] == pytest.approx((total / count).item(), rel=1e-10)
    for name, gradient in tiny.gradients(student).items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-10, rtol=0)


def solve(clips_at_once=None, **changes):
    student, batch = tiny.make_student(**changes), tiny.make_batch()
    told = pretrain_step(student, batch, tiny.hide(student, batch), student.options, clips_at_once)
    return told, tiny.gradients(student)


@pytest.mark.parametrize("changes", [{}, {"one_pass": True}, {"recompute": True}], ids=str)
def test_pieces_give_the_gradients_of_one_large_step(changes):
    told, expected = solve()
    if "one_pass" in changes:
        told, expected = solve(**changes)
    assert told["loss"] == pytest.approx(
        sum(told[f"{pair}/loss"] for pair in STAGE_2) + 0.7 * told["best_rq/loss"], rel=1e-12
    )
    for clips in (None, 4, 1):
        other, gradients = solve(clips, **changes)
        assert other == {name: pytest.approx(value, abs=1e-10) for name, value in told.items()}
        for name, gradient in expected.items():
            torch.testing.assert_close(gradients[name], gradient, atol=1e-10, rtol=0)
    moved = {name for name, gradient in expected.items() if gradient.abs().max() > 1e-8}
    assert moved == set(expected)


def test_dropout_is_the_same_in_both_passes():
    """With the same random numbers in both, gradients are those of the losses that were told."""

    def student():
        made = tiny.make_student(best_rq=None)
        for module in made.modules():
            if isinstance(module, Layer):
                module.dropout.p = 0.5
        return made.train()

    batch, found = tiny.make_batch(), []
    for name in ("scales.bias", "model.heads.audio.proj.weight"):
        torch.manual_seed(0)
        one = student()
        weight = dict(one.named_parameters())[name]
        pretrain_step(one, batch, None, one.options, 3)
        after = torch.rand(1)
        direction, step = (
            torch.randn(weight.shape, generator=torch.Generator().manual_seed(4)).to(weight),
            1e-5,
        )
        losses = []
        for sign in (1, -1):
            torch.manual_seed(0)
            other = student()
            with torch.no_grad():
                dict(other.named_parameters())[name].add_(sign * step * direction)
            losses.append(pretrain_step(other, batch, None, other.options, 3)["loss"])
            assert torch.equal(torch.rand(1), after)
        found.append(((losses[0] - losses[1]) / (2 * step), float((weight.grad * direction).sum())))
    for slope, expected in found:
        assert slope == pytest.approx(expected, rel=1e-5)
        assert abs(expected) > 1e-3


def test_losses_are_in_float32_under_autocast(batch):
    single = replace(batch, latents=batch.latents.float(), video=batch.video.float())
    student = tiny.make_student().float()
    with torch.autocast("cpu", torch.bfloat16):
        found = student(single)
    assert {x.dtype for x in found.embeddings.values()} == {torch.float32}
    hidden = tiny.hide(student, single)
    exact = pretrain_step(student, single, hidden, student.options)
    student.zero_grad()
    coarse = pretrain_step(student, single, hidden, student.options, 3, autocast=torch.bfloat16)
    assert coarse["loss"] == pytest.approx(exact["loss"], rel=0.02)
    assert coarse["loss"] != exact["loss"]


@pytest.mark.slow
def test_it_learns_which_clips_belong_together(batch):
    options = replace(tiny.OPTIONS, pairs=("A-AC", "A-V", "V-(A+text)"))
    student = tiny.make_student(options).float()
    single = replace(batch, latents=batch.latents.float(), video=batch.video.float())
    optimiser = torch.optim.AdamW([p for p in student.parameters() if p.requires_grad], lr=3e-3)
    told = []
    for step in range(40):
        optimiser.zero_grad()
        hidden = student.hide(single, torch.Generator().manual_seed(step))
        told.append(pretrain_step(student, single, hidden, options))
        optimiser.step()
    print([round(t["A-V/loss"], 2) for t in told][::5])
    assert told[-1]["loss"] < 0.6 * told[0]["loss"]
    assert [told[-1][f"{pair}/accuracy"] for pair in options.pairs] == [1, 1, 1]
    assert told[-1]["A-AC/scale"] != told[0]["A-AC/scale"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "ddp", "fsdp"])
def test_two_processes_are_one(as_ranks, tmp_path, kind):
    told, expected = solve()
    results = as_ranks(SCRIPT, 2, tmp_path, kind)
    for result in results:
        assert result["told"] == {name: pytest.approx(value, abs=1e-9) for name, value in told.items()}
    for name, gradient in expected.items():
        pieces = [result["gradients"][name] for result in results]
        together = pieces[0] + pieces[1] if kind == "plain" else pieces[1]
        torch.testing.assert_close(together, gradient, atol=1e-9, rtol=0)
