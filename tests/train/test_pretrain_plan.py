"""What pre-training takes, counted without values, against steps that have them."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from peaframe.errors import OptionError
from peaframe.losses.best_rq import BestRqOptions, best_rq_counts
from peaframe.losses.pairs import STAGE_1, STAGE_2
from peaframe.models.pretraining import av_config, new_model
from peaframe.recipes import pretrain as recipe
from peaframe.recipes.config_files import find_config
from peaframe.train.ema import Ema, EmaOptions
from peaframe.train.machine import Machine
from peaframe.train.optim import make_optimizer
from peaframe.train.plan_counting import OPERATIONS
from peaframe.train.pretrain_batch import CAPTIONS, PretrainBatch, Tokens
from peaframe.train.pretrain_model import PretrainModel, PretrainOptions
from peaframe.train.pretrain_plan import Clips, plan_pretraining
from peaframe.train.pretrain_settings import PretrainOptim
from peaframe.train.pretrain_step import pretrain_step

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = Clips(frames=30, pictures=8, tokens=7)
COUNT = 10
TINY = av_config("tiny")
BEST_RQ = BestRqOptions(codes=64, code_dim=4, probability=0.2, length=3)
CASES = {
    "no best_rq": PretrainOptions(best_rq=None),
    "best_rq": PretrainOptions(best_rq=BEST_RQ),
    "ten pairs in one pass": PretrainOptions(STAGE_2, best_rq=BEST_RQ, one_pass=True),
    "one pair": PretrainOptions(("A-AC",), best_rq=None),
    "recomputed": PretrainOptions(best_rq=None, recompute=True),
}


def make_batch():
    random = torch.Generator().manual_seed(0)
    words = torch.ones(COUNT, SIZES.tokens, dtype=torch.int64)
    return PretrainBatch(
        torch.randn(COUNT, SIZES.frames, TINY.audio.codec.latent, generator=random),
        torch.full((COUNT,), SIZES.frames),
        torch.randn(COUNT, SIZES.pictures, TINY.video.features, generator=random),
        torch.full((COUNT,), SIZES.pictures),
        {kind: Tokens(torch.randint(5, 500, words.shape, generator=random), words) for kind in CAPTIONS},
    )


def hidden_of(student, batch):
    return student.hide(batch, torch.Generator().manual_seed(1))


def planned(options, clips_at_once=None, machine=None, **changes):
    student = PretrainModel(new_model(av_config("tiny")), replace(options, recompute=False))
    given = {"batch": COUNT, "steps": 100, "recompute": options.recompute} | changes
    return plan_pretraining(student, machine or Machine(), SIZES, clips_at_once=clips_at_once, **given)


@pytest.mark.parametrize("clips_at_once", [None, 4])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.slow
def test_operations_are_those_of_a_real_step(case, clips_at_once):
    options = CASES[case]
    student, batch = PretrainModel(new_model(av_config("tiny")), options), make_batch()
    hidden = hidden_of(student, batch)
    with FlopCounterMode(display=False, custom_mapping=OPERATIONS) as counter:
        pretrain_step(student, batch, hidden, options, clips_at_once)
    counted = planned(options, clips_at_once).flops
    if options.recompute:  # a layer is not computed to its very end again
        assert 1 < counted / counter.get_total_flops() < 1.05
    elif options.best_rq is None:
        assert counted == counter.get_total_flops()
    else:  # what is hidden is drawn
        assert counted == pytest.approx(counter.get_total_flops(), rel=2e-3)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("case", [case for case in CASES if case != "recomputed"])
def test_activations_are_what_a_real_forward_pass_keeps(case, half):
    options = CASES[case]
    student, batch = PretrainModel(new_model(av_config("tiny")), options), make_batch()
    hidden, kept = hidden_of(student, batch), {}
    own = {x.untyped_storage().data_ptr() for x in (*student.parameters(), *student.buffers())}

    def note(tensor):
        place = tensor.untyped_storage()
        if place.data_ptr() not in own:
            kept[place.data_ptr()] = tensor, place.nbytes()
        return tensor

    counts = None if hidden is None else best_rq_counts(hidden.spans)
    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=half),
    ):
        found = student(batch, hidden, counts)
    assert set(found.embeddings) == set(student.sides)
    counted = planned(options, half=half).activations
    assert counted == pytest.approx(sum(size for _, size in kept.values()), rel=0.08)


@pytest.mark.slow
def test_recomputing_keeps_less_and_takes_longer():
    plain, again = planned(CASES["no best_rq"]), planned(CASES["recomputed"])
    assert again.activations < 0.6 * plain.activations
    assert 1.15 < again.flops / plain.flops < 4 / 3
    pieces = planned(CASES["no best_rq"], 5)
    assert pieces.activations == pytest.approx(plain.activations / 2, rel=0.05)
    assert pieces.flops > 1.3 * plain.flops


def test_weights_and_moments_are_those_of_a_real_step():
    options = CASES["best_rq"]
    student, batch = PretrainModel(new_model(av_config("tiny")), options), make_batch()
    optimizer = make_optimizer(student, PretrainOptim().options())
    pretrain_step(student, batch, hidden_of(student, batch), options)
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    optimizer.step()

    def size(tensors):
        return sum(x.numel() * x.element_size() for x in tensors)

    counted = planned(options)
    assert counted.weights == size([*student.parameters(), *student.buffers()])
    assert counted.gradients == size(gradients)
    states = optimizer.state.values()
    assert counted.moments == size(state[name] for state in states for name in ("exp_avg", "exp_avg_sq"))
    assert counted.averages == 2 * size(Ema(student, EmaOptions()).average.values())
    assert counted.learning + counted.still == sum(p.numel() for p in student.parameters())


@pytest.mark.slow
def test_days_and_money_are_arithmetic():
    machine = Machine(gpus=2, flops=1e12, utilisation=0.5, memory=1e6, price=3.0)
    found = planned(CASES["no best_rq"], machine=machine, steps=7200)
    assert found.seconds == found.flops / 5e11
    assert found.days == pytest.approx(7200 * found.seconds / 86400)
    assert found.cost == pytest.approx(found.days * 24 * 2 * 3)
    assert found.tokens == 10 * (30 + 8 + 3 * 7)
    half = planned(CASES["no best_rq"], batch=COUNT // 2)
    pairs = 8 * len(STAGE_1) * 5 * 32  # of embeddings of 32 channels
    assert found.flops - half.flops == pairs * (10 - 5)
    lines = "\n".join(found.lines())
    assert "DOES NOT FIT" in lines
    assert f"cost {found.cost:.2f} at 3 an hour" in lines
    alone = planned(CASES["no best_rq"])
    assert found.gradients == 2 * alone.gradients
    spread = planned(CASES["no best_rq"], machine=machine, sharded=True)
    assert (spread.gradients, spread.moments) == (alone.gradients // 2, alone.moments // 2)
    assert alone.weights - spread.weights == 2 * alone.learning
    assert "fits" in "\n".join(alone.lines())


@pytest.mark.slow
def test_true_sizes_are_counted_without_weights_or_data(capsys):
    settings = recipe.read_settings(find_config("pretrain_stage1", pretraining=True))
    lines = recipe.describe(settings, Machine(gpus=126))
    assert lines[0] == "clips of 30 s: 750 frames, 900 pictures, 32 word pieces"
    assert lines[1].startswith("parameters: 505.0 million learn")
    assert any(line.startswith("a step: 3024 clips") for line in lines)
    changes = ["pretrain_tiny", "--dry-run", "--gpus", "4", "--price", "1.5", "schedule.steps=10"]
    assert recipe.main([*changes, "schedule.warm_up=0", "data.sources=[{shards: [nowhere]}]"]) == 0
    assert "at 1.5 an hour" in capsys.readouterr().out


def test_what_makes_no_sense_is_refused(refusal):
    assert "got 0 GPUs" in refusal(OptionError, Machine, 0)
    assert "utilisation 2" in refusal(OptionError, Machine, utilisation=2)
    assert "frames=0" in refusal(OptionError, Clips, 0, 1, 1)
    assert "a batch of 10 on 3 GPUs" in refusal(OptionError, planned, CASES["one pair"], None, Machine(3))
    student = PretrainModel(new_model(av_config("tiny")), CASES["recomputed"])
    told = refusal(OptionError, plan_pretraining, student, Machine(), SIZES, batch=2, steps=1)
    assert "recomputes" in told
