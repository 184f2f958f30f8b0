import numpy as np
import pytest
import torch

from peaframe.errors import OptionError
from peaframe.losses.best_rq import BestRq, BestRqOptions, Hidden, best_rq_counts, draw_spans

CLIPS, FRAMES, CHANNELS, WIDTH = 3, 9, 4, 6
LENGTHS = (9, 4, 6)


@pytest.fixture
def mask():
    return torch.arange(FRAMES)[None] < torch.tensor(LENGTHS)[:, None]


@pytest.fixture
def data(mask):
    random = torch.Generator().manual_seed(0)
    return {
        "latents": 5 + 3 * torch.randn(CLIPS, FRAMES, CHANNELS, generator=random, dtype=torch.float64),
        "frames": torch.randn(CLIPS, FRAMES, WIDTH, generator=random, dtype=torch.float64),
        "spans": (torch.rand(CLIPS, FRAMES, generator=random) < 0.5) & mask,
    }


def quantiser(**options):
    made = BestRq(CHANNELS, WIDTH, BestRqOptions(codes=7, code_dim=3, **options)).double()
    torch.nn.init.normal_(made.predict.weight, generator=torch.Generator().manual_seed(1))
    return made


def normed(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("codebooks", [1, 3])
def test_labels_and_loss_are_the_formula_in_numpy(data, mask, codebooks):
    model = quantiser(codebooks=codebooks)
    model.observe(data["latents"], mask)
    hidden = Hidden(data["spans"], None)
    loss, told = model(data["latents"], data["frames"], hidden, best_rq_counts(hidden.spans))
    labels = model.labels(data["latents"])

    latents, frames = data["latents"].numpy(), data["frames"].numpy()
    kept = latents[mask.numpy()]
    scaled = (latents - kept.mean(axis=0)) / kept.std(axis=0)
    weight, bias = model.predict.weight.detach().numpy(), model.predict.bias.detach().numpy()
    total, hits, count = 0.0, 0, 0
    for clip, frame in zip(*np.nonzero(data["spans"].numpy()), strict=True):
        logits = (weight @ frames[clip, frame] + bias).reshape(codebooks, 7)
        for book in range(codebooks):
            code = normed(scaled[clip, frame] @ model.projection[book].numpy())
            distances = ((model.codes[book].numpy() - code) ** 2).sum(axis=-1)
            label = int(distances.argmin())
            assert labels[clip, frame, book] == label
            total -= logits[book, label] - np.log(np.exp(logits[book]).sum())
            hits += int(logits[book].argmax() == label)
            count += 1
    assert count == codebooks * int(data["spans"].sum()) > 5
    assert loss.item() == pytest.approx(total / count, rel=1e-10)
    assert told == {"best_rq/loss": loss.item(), "best_rq/accuracy": pytest.approx(hits / count)}
    assert len(labels.unique()) > 3


def test_codes_have_length_one_and_stand_still(data):
    model = quantiser(codebooks=2)
    torch.testing.assert_close(model.codes.norm(dim=-1), torch.ones(2, 7, dtype=torch.float64))
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        "predict.weight",
        "predict.bias",
    }
    hidden = Hidden(data["spans"], None)
    frames, latents = data["frames"].requires_grad_(), data["latents"].requires_grad_()
    model(latents, frames, hidden, best_rq_counts(hidden.spans))[0].backward()
    assert latents.grad is None
    assert torch.equal(frames.grad.any(dim=-1), data["spans"])


def test_what_a_seed_gives_is_saved_and_comes_back(data, mask):
    first, same, other = quantiser(seed=3), quantiser(seed=3), quantiser(seed=4)
    assert torch.equal(first.codes, same.codes)
    assert torch.equal(first.projection, same.projection)
    assert not torch.equal(first.codes, other.codes)
    first.observe(data["latents"], mask)
    other.load_state_dict(first.state_dict())
    assert torch.equal(other.labels(data["latents"]), first.labels(data["latents"]))
    assert not torch.equal(same.labels(data["latents"]), first.labels(data["latents"]))


def test_mean_and_deviation_leave_padding_out(data, mask):
    model = quantiser()
    data["latents"][~mask] = float("nan")
    model.observe(data["latents"], mask)
    kept = data["latents"][mask].numpy()
    assert model.mean.tolist() == pytest.approx(kept.mean(axis=0).tolist())
    assert model.deviation.tolist() == pytest.approx(kept.std(axis=0).tolist())


def test_spans_have_their_length_and_end_with_the_clip(mask):
    options = BestRqOptions(probability=0.2, length=3)
    for seed in range(50):
        spans = draw_spans(mask, options, torch.Generator().manual_seed(seed))
        starts = torch.rand(mask.shape, generator=torch.Generator().manual_seed(seed)) < 0.2
        for clip, length in enumerate(LENGTHS):
            expected = {
                frame for start in starts[clip].nonzero()[:, 0].tolist() for frame in range(start, start + 3)
            }
            assert set(spans[clip].nonzero()[:, 0].tolist()) == {
                frame for frame in expected if frame < length
            }


def test_by_default_a_third_is_hidden():
    mask = torch.ones(200, 250, dtype=torch.bool)
    spans = draw_spans(mask, BestRqOptions(), torch.Generator().manual_seed(0))
    assert spans.float().mean().item() == pytest.approx(1 - 0.96**10, abs=0.02)
    assert not draw_spans(mask, BestRqOptions(probability=0.0), torch.Generator()).any()
    assert draw_spans(mask, BestRqOptions(probability=1.0), torch.Generator()).all()


def test_hidden_frames_become_noise_about_the_mean():
    latents = torch.full((2, 4000, CHANNELS), 7.0, dtype=torch.float64)
    model = quantiser(probability=0.5, length=1)
    model.mean.copy_(torch.tensor([1.0, 2, 3, 4]))
    model.deviation.copy_(torch.tensor([1.0, 10, 1, 1]))
    hidden = model.hide(latents, torch.ones(2, 4000, dtype=torch.bool), torch.Generator().manual_seed(0))
    given = model.hidden_latents(latents, hidden)
    assert (given[~hidden.spans] == 7).all()
    instead = given[hidden.spans]
    assert instead.mean(dim=0).tolist() == pytest.approx([1, 2, 3, 4], abs=0.1)
    assert instead.std(dim=0).tolist() == pytest.approx([0.1, 1.0, 0.1, 0.1], rel=0.1)


def test_a_learnt_vector_learns(data, mask):
    model = quantiser(fill="learned", probability=1.0)
    hidden = model.hide(data["latents"], mask, torch.Generator())
    assert hidden.noise is None
    given = model.hidden_latents(data["latents"], hidden)
    assert (given[mask] == 0).all()
    assert torch.equal(given[~mask], data["latents"][~mask])
    given.sum().backward()
    assert model.vector.grad.tolist() == [sum(LENGTHS)] * CHANNELS


def test_pieces_add_up_to_the_whole(data):
    model = quantiser(codebooks=2)
    counts = best_rq_counts(data["spans"])
    hidden = Hidden(data["spans"], None)
    whole, told = model(data["latents"], data["frames"], hidden, counts)
    parts = [
        model(data["latents"][rows], data["frames"][rows], hidden.part(rows), counts)
        for rows in (slice(0, 1), slice(1, 3))
    ]
    assert sum(part[0].item() for part in parts) == pytest.approx(whole.item(), rel=1e-12)
    for name, value in told.items():
        assert sum(part[1][name] for part in parts) == pytest.approx(value, rel=1e-12)


def test_nothing_hidden_gives_zero():
    model = quantiser()
    frames = torch.randn(1, 2, WIDTH, dtype=torch.float64, requires_grad=True)
    hidden = Hidden(torch.zeros(1, 2, dtype=torch.bool), None)
    loss, _ = model(torch.zeros(1, 2, CHANNELS).double(), frames, hidden, best_rq_counts(hidden.spans))
    loss.backward()
    assert loss.item() == 0
    assert not frames.grad.any()
    assert not model.predict.weight.grad.any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"codes": 1}, "got codes 1, expected 2 or more"),
        ({"length": 0}, "got length 0"),
        ({"probability": 1.5}, "got probability 1.5"),
        ({"noise": -1.0}, "got noise -1.0"),
        ({"fill": "zeros"}, "got fill 'zeros', expected noise or learned"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words, refusal):
    assert words in refusal(OptionError, BestRqOptions, **options)


def test_statistics_of_nothing_are_refused(mask, refusal):
    message = refusal(
        OptionError, quantiser().observe, torch.zeros(CLIPS, FRAMES, CHANNELS), torch.zeros_like(mask)
    )
    assert "got 0 frames of latents" in message
