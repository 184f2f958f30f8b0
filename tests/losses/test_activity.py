import math
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peaframe.errors import OptionError
from peaframe.losses.activity import activity_counts, activity_loss
from peaframe.losses.batch import ActivityBatch, ActivityOptions
from peaframe.losses.frame_activity import frame_activity_loss

batches = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "batches.py")))

OPTIONS = {
    "defaults": ActivityOptions(),
    "weights": ActivityOptions(p_local=0.7, positive_weight=2.5, weak_weight=0.4, sharpness=5.0),
    "paraphrases": ActivityOptions(same_above=0.6),
    "hard clusters": ActivityOptions(cluster_weight=3.0),
    "no clusters": ActivityOptions(cluster_weight=0.0, same_above=0.9),
}
ROWS = ("texts", "clip", "ids", "states", "weak", "text_mask", "clusters")


@pytest.fixture
def data():
    return batches.whole()


def loss_of(data, options=None, related=None, **changes):
    """Loss, parts, and gradients of frames, texts, scale and bias by name."""
    data = {**data, **changes}
    leaves = {name: data[name].clone().requires_grad_() for name in ("frames", "texts", "scale", "bias")}
    batch = batches.batch_of({**data, **leaves})
    loss, parts = activity_loss(batch, leaves["scale"], leaves["bias"], options, related)
    return loss.detach(), parts, dict(zip(leaves, torch.autograd.grad(loss, leaves.values()), strict=True))


def softplus(x):
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def alike(data, k, n, options, related):
    """Whether texts k and n mean the same."""
    a, b = data["ids"][k].item(), data["ids"][n].item()
    cosine = torch.cosine_similarity(data["texts"][k], data["texts"][n], dim=0).item()
    pairs = [] if related is None else related.tolist()
    return (
        (a == b and a >= 0)
        or (options.same_above is not None and cosine > options.same_above)
        or [a, b] in pairs
        or [b, a] in pairs
    )


def slow_loss(data, options, related):
    """The same, pair by pair."""
    texts = [n for n in range(len(data["texts"])) if data["text_mask"][n]]
    totals = {"global": 0.0, "local": 0.0, "weak": 0.0}
    local = 0
    for b in range(len(data["frames"])):
        times = [t for t in range(data["frames"].shape[1]) if data["frame_mask"][b, t]]
        own = [n for n in texts if data["clip"][n] == b]
        weak_clip = bool(own) and all(data["weak"][n] for n in own)
        for n in texts:
            logits = [
                (data["frames"][b, t] @ data["texts"][n] * data["scale"] + data["bias"]).item() for t in times
            ]
            states = [data["states"][n, t].item() if n in own else -1 for t in times]
            weight = 1.0
            if n not in own:
                if any(alike(data, k, n, options, related) for k in own):
                    continue
                if any(data["clusters"][k] == data["clusters"][n] >= 0 for k in own):
                    weight = options.cluster_weight
            pooled = data["weak"][n] or weak_clip
            if pooled:
                r = options.sharpness
                logits = [math.log(sum(math.exp(r * z) for z in logits) / len(logits)) / r]
                states = [max(states)]
            kind = "weak" if pooled else "global"
            for z, s in zip(logits, states, strict=True):
                if s:
                    totals[kind] += weight * softplus(-s * z) * (options.positive_weight if s > 0 else 1)
            if n in own and not pooled and 1 in states:
                local += 1
                for sign in (1, -1):
                    terms = [softplus(-sign * z) for z, s in zip(logits, states, strict=True) if s == sign]
                    totals["local"] += sum(terms) / len(terms) / 2 if terms else 0
    totals["global"] /= data["frame_mask"].sum().item()
    totals["weak"] /= data["frame_mask"].any(dim=1).sum().item()
    totals["local"] /= max(local, 1)
    return totals


@pytest.mark.parametrize("related", [None, batches.RELATED], ids=["no relations", "relations"])
@pytest.mark.parametrize("name", OPTIONS)
def test_against_loops(data, name, related):
    options = OPTIONS[name]
    expected = slow_loss(data, options, related)
    loss, parts, _ = loss_of(data, options, related)
    assert parts == {kind: pytest.approx(value, rel=1e-11) for kind, value in expected.items()}
    total = (1 - options.p_local) * expected["global"] + options.p_local * expected["local"]
    assert loss.item() == pytest.approx(total + options.weak_weight * expected["weak"], rel=1e-11)


def test_every_option_leaves_out_or_weighs_something(data):
    sums = [
        loss_of(data, options, related)[1]["global"]
        for options, related in (
            (ActivityOptions(cluster_weight=0.0), None),
            (ActivityOptions(same_above=0.6), None),
            (ActivityOptions(), batches.RELATED),
            (ActivityOptions(), None),
            (ActivityOptions(cluster_weight=3.0), None),
        )
    ]
    assert max(sums[:3]) < sums[3] < sums[4]


@pytest.mark.parametrize("name", OPTIONS)
def test_gradients_are_those_of_small_steps(data, name):
    inputs = [data[key].clone().requires_grad_() for key in ("frames", "texts", "scales", "biases")]

    def call(frames, texts, scales, biases):
        batch = batches.batch_of({**data, "frames": frames, "texts": texts})
        return activity_loss(batch, scales, biases, OPTIONS[name], batches.RELATED)[0]

    assert torch.autograd.gradcheck(call, inputs, eps=1e-6, atol=1e-6)


def test_it_is_the_loss_of_peaframe_mini_where_all_is_known(data):
    """Strong texts that mean different things, no padding: the dense loss of `frame_activity`."""
    data = {**data, "weak": torch.zeros_like(data["weak"]), "ids": torch.arange(len(data["ids"]))}
    data["frame_mask"] = torch.ones_like(data["frame_mask"])
    data["text_mask"] = torch.ones_like(data["text_mask"])
    targets = torch.full((batches.CLIPS, batches.FRAMES, len(data["ids"])), -1)
    for n, clip in enumerate(data["clip"].tolist()):
        targets[clip, :, n] = data["states"][n]
    logits = data["frames"] @ data["texts"].T * data["scale"] + data["bias"]
    expected, parts = frame_activity_loss(logits, targets, 0.3, 2.0)
    loss, mine, _ = loss_of(data, ActivityOptions(p_local=0.3, positive_weight=2.0))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert mine == {**{name: pytest.approx(value) for name, value in parts.items()}, "weak": 0}


@pytest.mark.parametrize("poison", [100.0, float("nan")])
def test_what_is_masked_never_matters(data, poison):
    options = ActivityOptions(same_above=0.6, cluster_weight=3.0)
    loss, parts, gradients = loss_of(data, options, batches.RELATED)
    frames, texts, states = data["frames"].clone(), data["texts"].clone(), data["states"].clone()
    frames[~data["frame_mask"]] = poison
    texts[~data["text_mask"]] = poison
    states[~data["text_mask"]] = 1
    own_mask = data["frame_mask"][data["clip"]]
    states[~own_mask] = 1
    ids, clusters = data["ids"].clone(), data["clusters"].clone()
    ids[~data["text_mask"]], clusters[~data["text_mask"]] = 5, 0
    changes = {"frames": frames, "texts": texts, "states": states, "ids": ids, "clusters": clusters}
    other, other_parts, other_gradients = loss_of(data, options, batches.RELATED, **changes)
    assert torch.equal(other, loss)
    assert other_parts == parts
    for name, gradient in other_gradients.items():
        assert torch.equal(gradient, gradients[name])
    assert (other_gradients["frames"][~data["frame_mask"]] == 0).all()
    assert (other_gradients["texts"][~data["text_mask"]] == 0).all()
    assert (other_gradients["texts"][data["text_mask"]] != 0).any(dim=1).all()


def test_frames_of_unknown_state_count_for_their_own_text_no_more(data):
    """A batch of one clip: only own terms."""
    data = {name: tensor[:1] if name in ("frames", "frame_mask") else tensor for name, tensor in data.items()}
    data.update({name: data[name][:3] for name in ROWS})
    data["states"] = torch.tensor([[1, 0, -1, 1, 1, 0, -1], [0] * 7, [-1] * 7])
    _, _, gradients = loss_of(data)
    assert (gradients["texts"][1] == 0).all()
    frames = data["frames"].clone().requires_grad_()
    batch = batches.batch_of({**data, "frames": frames, "text_mask": torch.tensor([True, False, False])})
    (gradient,) = torch.autograd.grad(activity_loss(batch, data["scale"], data["bias"])[0], frames)
    assert (gradient[0, [1, 3, 5]] == 0).all()  # frame 3 is a hole of the mask
    assert (gradient[0, [0, 2, 4, 6]] != 0).any(dim=1).all()


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(batches.CLIPS)), st.permutations(range(len(batches.CLIP))))
def test_order_does_not_matter(clips, texts):
    data = batches.whole()
    options = ActivityOptions(same_above=0.6, cluster_weight=2.0)
    loss, parts, gradients = loss_of(data, options, batches.RELATED)
    moved = {name: data[name][list(texts)] for name in ROWS}
    moved["clip"] = torch.tensor([list(clips).index(clip) for clip in moved["clip"].tolist()])
    moved.update({name: data[name][list(clips)] for name in ("frames", "frame_mask")})
    other, other_parts, other_gradients = loss_of(data, options, batches.RELATED, **moved)
    assert other.item() == pytest.approx(loss.item(), rel=1e-12)
    assert other_parts == pytest.approx(parts, rel=1e-12)
    torch.testing.assert_close(other_gradients["frames"], gradients["frames"][list(clips)])
    torch.testing.assert_close(other_gradients["texts"], gradients["texts"][list(texts)])


@pytest.mark.parametrize("name", OPTIONS)
def test_a_batch_in_pieces_is_the_whole(data, name):
    """Clips in pieces, each with all texts; those of clips elsewhere with clip -1."""
    options, related = OPTIONS[name], batches.RELATED
    expected, parts, gradients = loss_of(data, options, related)
    leaves = {key: data[key].clone().requires_grad_() for key in ("frames", "texts", "scale", "bias")}
    pieces = []
    for clips in ([0, 3], [1], [2, 4]):
        here = {**data, **leaves}
        here["frames"], here["frame_mask"] = leaves["frames"][clips], data["frame_mask"][clips]
        numbers = {clip: i for i, clip in enumerate(clips)}
        here["clip"] = torch.tensor([numbers.get(clip, -1) for clip in data["clip"].tolist()])
        pieces.append(batches.batch_of(here))
    counts = {}
    for piece in pieces:
        for key, value in activity_counts(piece).items():
            counts[key] = counts.get(key, 0) + value
    assert counts == activity_counts(batches.batch_of(data))
    told = []
    total = 0.0
    for piece in pieces:
        loss, parts_of = activity_loss(
            piece, leaves["scale"], leaves["bias"], options, related, counts=counts
        )
        loss.backward()
        told.append(parts_of)
        total += loss.item()
    assert total == pytest.approx(expected.item(), rel=1e-12)
    for key, value in parts.items():
        assert sum(part[key] for part in told) == pytest.approx(value, rel=1e-12)
    for key, gradient in gradients.items():
        torch.testing.assert_close(leaves[key].grad, gradient, atol=1e-12, rtol=1e-10)


def test_other_clips_are_negatives(data):
    """A text moves the frames of clips it does not belong to, unless they hold one that means the same."""

    def moved(ids):
        """Which clips' gradients change as text 2, of clip 0, is left out."""
        mask = data["text_mask"].clone()
        mask[2] = False
        options = ActivityOptions(p_local=0.0)
        base = loss_of(data, options, ids=ids)[2]["frames"]
        without = loss_of(data, options, ids=ids, text_mask=mask)[2]["frames"]
        return (base != without).flatten(1).any(dim=1).tolist()

    assert moved(data["ids"]) == [True, True, True, True, True]  # clip 3 has no texts, clip 4 weak ones only
    held = data["ids"].clone()
    held[5] = held[2]  # clip 1 has a text of the same label
    assert moved(held) == [True, False, True, True, True]


def test_pooling_does_not_grow_with_the_length_of_a_clip():
    def pooled(frames, sharpness=2.0):
        batch = ActivityBatch(
            frames=torch.tensor(frames, dtype=torch.float64)[None, :, None],
            frame_mask=torch.ones(1, len(frames), dtype=torch.bool),
            texts=torch.ones(1, 1, dtype=torch.float64),
            clip=torch.tensor([0]),
            ids=torch.tensor([0]),
            states=torch.ones(1, len(frames)),
            weak=torch.tensor([True]),
        )
        return activity_loss(
            batch, torch.tensor(1.0), torch.tensor(0.0), ActivityOptions(sharpness=sharpness)
        )[0].item()

    assert pooled([0.5] * 3) == pytest.approx(softplus(-0.5))
    assert pooled([0.5] * 300) == pytest.approx(softplus(-0.5))
    assert pooled([3.0, -1.0], sharpness=1e-6) == pytest.approx(softplus(-1.0), abs=1e-5)
    assert pooled([3.0, -1.0], sharpness=1e3) == pytest.approx(softplus(-3.0), abs=1e-3)


@pytest.mark.parametrize(("clips", "texts"), [(0, 3), (2, 0), (0, 0)])
def test_empty_batches_are_no_trouble(clips, texts):
    frames = torch.zeros(clips, 4, 2, requires_grad=True)
    words = torch.ones(texts, 2, requires_grad=True)
    batch = ActivityBatch(
        frames,
        torch.ones(clips, 4, dtype=torch.bool),
        words,
        torch.full((texts,), -1),
        torch.arange(texts),
        torch.zeros(texts, 4),
        torch.zeros(texts, dtype=torch.bool),
    )
    loss, parts = activity_loss(batch, torch.tensor(1.0), torch.tensor(0.0))
    loss.backward()
    assert loss.item() == 0
    assert parts == {"global": 0, "local": 0, "weak": 0}
    assert frames.grad.shape == frames.shape
    assert (words.grad == 0).all()


def test_a_clip_without_frames_is_nothing(data):
    """Not even where pooled: no infinity, no NaN."""
    mask = data["frame_mask"].clone()
    mask[4] = False
    mask[1] = False
    loss, parts, gradients = loss_of(data, frame_mask=mask)
    assert math.isfinite(loss.item())
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert (gradients["frames"][[1, 4]] == 0).all()
    assert parts["weak"] > 0


def test_half_precision_is_computed_in_single(data):
    data = {
        name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in data.items()
    }
    single = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in data.items()}
    with torch.autocast("cpu", torch.bfloat16):
        loss, _, gradients = loss_of(data)
    expected, _, exact = loss_of(single)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert gradients["frames"].dtype == torch.bfloat16
    torch.testing.assert_close(gradients["frames"].float(), exact["frames"], rtol=0.01, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"texts": torch.zeros(14, 3)}, ("(5, 7, 4)", "(14, 3)", "one dim")),
        ({"frame_mask": torch.ones(5, 6, dtype=torch.bool)}, ("frame_mask", "(5, 6)", "(5, 7)")),
        ({"states": torch.zeros(14, 5)}, ("states", "(14, 5)", "(14, 7)")),
        ({"clip": torch.full((14,), 5)}, ("from 5 to 5", "to 4")),
        ({"clip": torch.full((14,), -2)}, ("from -2 to -2", "from -1")),
    ],
)
def test_what_does_not_fit_is_refused(data, refusal, changes, words):
    message = refusal(OptionError, replace, batches.batch_of(data), **changes)
    assert all(word in message for word in words)


@pytest.mark.parametrize(
    "option",
    [
        {"p_local": 1.1},
        {"weak_weight": -1.0},
        {"cluster_weight": float("inf")},
        {"positive_weight": float("nan")},
        {"sharpness": 0.0},
        {"same_above": 1.5},
    ],
)
def test_senseless_options_are_refused(refusal, option):
    (name, value), *_ = option.items()
    message = refusal(OptionError, ActivityOptions, **option)
    assert name in message
    assert str(value) in message
