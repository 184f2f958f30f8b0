"""The loss of a step in pieces and over processes; as a program, one process of several.

python test_finetune_loss.py RANK RANKS FOLDER
"""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import distributed as dist

from peaframe.losses.batch import ActivityOptions
from peaframe.train.finetune_loss import FinetuneLoss, Piece, Step, join
from peaframe.train.pairs import Pairs
from peaframe.train.settings import LossSettings
from peaframe.train.student import Heard

CLIPS, FRAMES, DIM, CLASSES = 4, 6, 3, 2
LENGTHS = (6, 5, 4, 6)
#        clip 0         1     2     3   none
CLIP = (0, 0, 0, 1, 1, 2, 2, 3, -1, -1)
IDS = (0, 1, 2, 1, 3, 0, 4, 5, 3, -1)
CLUSTERS = (0, 1, 0, 2, 0, 1, 0, 2, 1, 0)
WEAK = (2, 7)  # all there is of clip 3
RELATED = torch.tensor([[0, 3]])
LEAVES = ("frames", "texts", "scale", "bias", "clip_scale", "clip_bias")
ALL = LossSettings(
    ActivityOptions(p_local=0.4, positive_weight=1.5, weak_weight=0.7, cluster_weight=2.0),
    clip_weight=0.5,
    prior_weight=0.3,
    teacher_weight=0.8,
    clusters=3,
)
WHOLE = [(0, 1, 2, 3)]
CUTS = {2: [[(0,), (1,)], [(2,), (3,)]], 3: [[(0, 1)], [(2,)], [(3,)]]}  # pieces of each process


def whole(per_text=True):
    """All clips, texts and classes, float64; behind the texts stand the classes."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=random, dtype=torch.float64)

    states = torch.randint(-1, 2, (len(CLIP), FRAMES), generator=random).to(torch.int8)
    states[1] = 0  # clip 0 may hold what clip 1 holds
    states[3] = torch.tensor([1, 1, -1, -1, 0, 0])
    states[4] = torch.tensor([-1, -1, 0, 0, -1, -1])
    states[5] = torch.tensor([-1, -1, -1, -1, 1, 1])  # known, and not heard where it counts
    states[list(WEAK)] = 1
    states[8:] = -1
    counted = torch.arange(FRAMES) < torch.tensor(LENGTHS)[:, None]
    counted[0, 2] = False
    many = (len(CLIP) + CLASSES,) if per_text else ()
    return {
        "frames": normal(CLIPS, FRAMES, DIM),
        "texts": normal(len(CLIP) + CLASSES, DIM),
        "scale": 1 + normal(*many).abs(),
        "bias": normal(*many),
        "clip_scale": torch.tensor(1.3, dtype=torch.float64),
        "clip_bias": torch.tensor(-0.4, dtype=torch.float64),
        "states": states,
        "counted": counted,
        "taught": torch.rand(CLIPS, FRAMES, CLASSES, generator=random, dtype=torch.float64),
        "taught_mask": (counted & (torch.arange(CLIPS) != 2)[:, None])[..., None],
    }


def solve(settings, pieces, related=RELATED, **changes):
    """Loss, terms and gradients of everything (zero for what is not in these pieces), summed over the pieces."""
    data = {**whole(), **changes}
    leaves = {name: data[name].clone().requires_grad_() for name in LEAVES}
    clips = [clip for piece in pieces for clip in piece]
    rows = [n for n, clip in enumerate(CLIP) if clip in clips or (clip < 0 and 0 in clips)]

    def cut(piece):
        at, length = list(piece), max(LENGTHS[clip] for clip in piece)
        return Piece(
            torch.zeros(len(at), length, 2, dtype=torch.float64),
            data["counted"][at, :length],
            data["counted"][at, :length],
            torch.tensor([at.index(CLIP[n]) if CLIP[n] in at else -1 for n in rows]),
            torch.stack(
                [data["states"][n] if CLIP[n] in at else torch.full_like(data["states"][n], -1) for n in rows]
            )[:, :length],
            data["taught"][at, :length] if settings.teacher_weight else None,
            data["taught_mask"][at, :length] if settings.teacher_weight else None,
        )

    step = Step(
        [cut(piece) for piece in pieces],
        tuple(map(str, rows)),
        torch.tensor(IDS)[rows],
        torch.tensor([n in WEAK for n in rows]),
        torch.tensor(CLUSTERS)[rows] if settings.clusters else None,
    )
    loss = FinetuneLoss(settings, related)
    counts = loss.counts(step)
    texts = [*rows, *range(len(CLIP), len(CLIP) + CLASSES)] if settings.teacher_weight else rows
    total, terms = 0.0, {}
    for number, piece in enumerate(pieces):
        length = max(LENGTHS[clip] for clip in piece)
        per_text = [leaves[n][texts] if leaves[n].dim() else leaves[n] for n in ("scale", "bias")]
        heard = Heard(
            leaves["frames"][list(piece), :length],
            leaves["texts"][texts],
            *per_text,
            leaves["clip_scale"],
            leaves["clip_bias"],
        )
        value, told = loss(step, number, heard, counts)
        assert float(value.detach()) == told["loss"]
        torch.autograd.backward(value)
        total += float(value.detach())
        for name, term in told.items():
            terms[name] = terms.get(name, 0.0) + term
    gradients = {n: torch.zeros_like(t) if t.grad is None else t.grad for n, t in leaves.items()}
    return {"loss": total, "terms": terms, **gradients}


def assert_equal(got, expected):
    assert got["loss"] == pytest.approx(expected["loss"], abs=1e-10)
    assert got["terms"] == {n: pytest.approx(value, abs=1e-10) for n, value in expected["terms"].items()}
    for name in LEAVES:
        torch.testing.assert_close(got[name], expected[name], atol=1e-10, rtol=0)


# ---- pieces


@pytest.mark.parametrize("per_text", [True, False], ids=["a scale for each text", "one scale"])
@pytest.mark.parametrize(
    "pieces", [[(0, 1), (2, 3)], [(3,), (0, 1, 2)], [(0,), (1,), (2,), (3,)]], ids=["two", "uneven", "four"]
)
def test_a_step_in_pieces_is_the_step(pieces, per_text):
    settings = ALL if per_text else replace(ALL, prior_weight=0.0)
    scales = {name: whole(per_text)[name] for name in ("scale", "bias")}
    expected = solve(settings, WHOLE, **scales)
    assert all(expected[name].abs().max() > 1e-3 for name in LEAVES)
    assert all(value > 0 for value in expected["terms"].values())
    assert_equal(solve(settings, pieces, **scales), expected)


@pytest.mark.parametrize("pieces", [WHOLE, [(0,), (1,), (2,), (3,)]])
def test_all_clips_against_all_texts(pieces):
    """The clip term in loops: what may be heard in a clip, and what is related to a text of it, is left out."""
    data = whole()
    total = 0.0
    for b in range(CLIPS):
        own = [n for n in range(len(CLIP)) if CLIP[n] == b]
        inside = data["counted"][b]
        mean = data["frames"][b][inside].mean(dim=0)
        for n in range(len(CLIP)):
            state = int(data["states"][n][inside].max()) if n in own else -1
            alike = {IDS[k] for k in own if IDS[k] >= 0}
            alike |= {3} & {3 for i in alike if i == 0} | {0} & {0 for i in alike if i == 3}
            if state == 0 or (n not in own and IDS[n] in alike):
                continue
            z = float(mean @ data["texts"][n] * data["clip_scale"] + data["clip_bias"])
            total += math.log1p(math.exp(-state * z)) * (1.5 if state > 0 else 1.0)
    assert solve(ALL, pieces)["terms"]["clip"] == pytest.approx(total / CLIPS, rel=1e-12)


def test_the_teachers_classes_have_their_own_scales():
    data = whole()
    classes = slice(len(CLIP), None)
    logits = data["frames"] @ data["texts"][classes].T * data["scale"][classes] + data["bias"][classes]
    terms = torch.nn.functional.softplus(logits) - data["taught"] * logits
    expected = (terms * data["taught_mask"]).sum() / data["taught_mask"].sum()
    got = solve(ALL, WHOLE)
    assert got["terms"]["distillation"] == pytest.approx(expected.item(), rel=1e-12)
    changed = {**data, "texts": data["texts"].clone()}
    changed["texts"][classes] *= 2
    other = solve(ALL, WHOLE, texts=changed["texts"])["terms"]
    assert {n for n, value in other.items() if value != got["terms"][n]} == {"loss", "distillation"}


def test_with_a_prior_the_biases_learn_from_it_alone():
    """The mean over the texts that are known somewhere: sigmoid minus share, by FLAM; nothing for the classes."""
    data, got = whole(), solve(ALL, WHOLE)
    assert not got["bias"][len(CLIP) :].any()
    assert not got["bias"][list(WEAK)].any()
    other = solve(replace(ALL, activity=replace(ALL.activity, p_local=0.9), teacher_weight=2.0), WHOLE)
    torch.testing.assert_close(other["bias"], got["bias"], atol=0, rtol=0)
    known = [n for n in range(len(CLIP)) if n not in WEAK]
    share = data["bias"][9].sigmoid()  # the text of no label is heard nowhere
    assert got["bias"][9].item() == pytest.approx(0.3 * share.item() / len(known), rel=1e-12)


# ---- terms


@pytest.mark.parametrize(
    ("weight", "term"),
    [("clip_weight", "clip"), ("prior_weight", "prior"), ("teacher_weight", "distillation")],
)
def test_each_term_moves_the_loss_by_its_weight(weight, term):
    with_it = solve(ALL, WHOLE)
    without = solve(replace(ALL, **{weight: 0.0}), WHOLE)
    twice = solve(replace(ALL, **{weight: 2 * getattr(ALL, weight)}), WHOLE)
    assert term not in without["terms"]
    assert with_it["terms"][term] > 0.1
    assert with_it["terms"][term] == pytest.approx(twice["terms"][term], rel=1e-12)
    moved = getattr(ALL, weight) * with_it["terms"][term]
    assert with_it["loss"] - without["loss"] == pytest.approx(moved, rel=1e-9)
    assert twice["loss"] - without["loss"] == pytest.approx(2 * moved, rel=1e-9)


@pytest.mark.parametrize(
    ("options", "related"),
    [
        ({"p_local": 0.9}, RELATED),
        ({"weak_weight": 0.1}, RELATED),
        ({"cluster_weight": 1.0}, RELATED),
        ({"positive_weight": 1.0}, RELATED),
        ({}, None),
    ],
    ids=["p_local", "weak", "clusters", "heard pairs", "related"],
)
def test_each_option_of_the_frames_moves_the_loss(options, related):
    before = solve(ALL, WHOLE)["loss"]
    settings = replace(ALL, activity=replace(ALL.activity, **options))
    assert abs(solve(settings, WHOLE, related)["loss"] - before) > 0.01


def test_related_labels_are_no_negatives_in_frames_and_clips():
    with_them, without = solve(ALL, WHOLE)["terms"], solve(ALL, WHOLE, None)["terms"]
    assert with_them["global"] < without["global"] - 0.01
    assert with_them["clip"] < without["clip"] - 0.01


def test_texts_of_several_batches():
    one = Pairs(
        ("a", "b"),
        torch.tensor([1, -1]),
        torch.tensor([4, -1]),
        torch.tensor([[1, 0, -1], [-1, -1, -1]], dtype=torch.int8),
        torch.tensor([False, False]),
    )
    two = Pairs(
        ("c",), torch.tensor([0]), torch.tensor([2]), torch.ones(1, 2, dtype=torch.int8), torch.tensor([True])
    )
    phrases, ids, weak, ((clip, states), (clip2, states2)) = join([one, two])
    assert phrases == ("a", "b", "c")
    assert ids.tolist() == [4, -1, 2]
    assert weak.tolist() == [False, False, True]
    assert (clip.tolist(), clip2.tolist()) == ([1, -1, -1], [-1, -1, 0])
    assert states.tolist() == [[1, 0, -1], [-1, -1, -1], [-1, -1, -1]]
    assert states2.tolist() == [[-1, -1], [-1, -1], [1, 1]]


# ---- processes


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_processes_together_are_one_with_all_of_the_data(as_ranks, ranks, tmp_path):
    results = as_ranks(__file__, ranks, tmp_path)
    together = {name: sum(result[name] for result in results) for name in ("loss", *LEAVES)}
    together["terms"] = {n: sum(result["terms"][n] for result in results) for n in results[0]["terms"]}
    assert_equal(together, solve(ALL, WHOLE))


def main():
    rank, ranks, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    store = dist.FileStore(str(folder / "store"), ranks)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks)
    torch.save(solve(ALL, CUTS[ranks][rank]), folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
