"""What learns in fine-tuning, what stands still, and what comes of it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from peaframe.errors import ModelError
from peaframe.models.load import load_model
from peaframe.models.text import QueryTokenizer
from peaframe.models.text_prior import TextPrior
from peaframe.train.lora import LoraOptions
from peaframe.train.optim import Schedule
from peaframe.train.settings import DataSettings, FinetuneSettings, LossSettings
from peaframe.train.student import Student, Texts, finished, text_states, twin

PHRASES = ("beep", "a dog barking in the distance", "rain")


@pytest.fixture(params=["mini", "pe"])
def model(request, tiny_model, golden_folder, tokenizer_file):
    if request.param == "mini":
        return tiny_model
    model = load_model(golden_folder / "pe_a_frame_original")
    model.tokenizer = QueryTokenizer(tokenizer_file, model.config.text.max_tokens)
    return model


def settings(*learn, **changes):
    return FinetuneSettings("m", DataSettings((Path("m.jsonl"),)), Schedule(1), learn=learn, **changes)


def learning(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


def still_names(model):
    pointers = {tensor.data_ptr() for tensor in model.still_part()[1].values()}
    return {name for name, p in model.named_parameters() if p.data_ptr() in pointers}


def states_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def shift(parameters):
    with torch.no_grad():
        for p in parameters:
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * 0.05)


def heard(student, phrases=PHRASES, learns=False):
    torch.manual_seed(0)
    channels = student.model.feature_channels
    features = torch.rand(2, 30, channels) if channels > 100 else torch.randn(2, 30, channels)
    mask = torch.arange(30) < torch.tensor([[30], [26]])
    return student(features, mask, *Texts(student.model, phrases, learns)(phrases))


# ---- what learns


BEGINNINGS = {
    "front": ("front.merge.",),
    "audio": ("tower.", "audio.tower.", "audio.data_proj."),
    "text": ("text.",),
    "heads": ("audio_head.", "text_head.", "text_adapter."),
    "scale": ("logit_",),
}


@pytest.mark.parametrize("part", BEGINNINGS)
def test_a_part_that_is_named_learns_and_no_other(model, part):
    student = Student(model, settings(part))
    names = learning(model)
    assert names == {n for n, _ in model.named_parameters() if n.startswith(BEGINNINGS[part])}
    assert bool(names) or (part == "front" and not hasattr(model, "front"))
    assert student.text_learns == (part == "text")
    assert learning(student) == {f"model.{name}" for name in names}


def test_codec_and_convolutions_never_learn(model):
    Student(model, settings("front", "audio", "text", "heads", "scale"))
    still = still_names(model)
    beginnings = ("front.conv1.", "front.depthwise.", "front.pointwise.", "audio.codec.")
    assert still == {name for name, _ in model.named_parameters() if name.startswith(beginnings)}
    assert len(still) > 10
    assert learning(model) == {name for name, _ in model.named_parameters()} - still


@pytest.mark.parametrize("prior", [False, True], ids=["one scale", "prior"])
def test_all_that_learns_is_heard_of_in_every_step(model, prior):
    """Copies on several processes wait for the gradients of all of it."""
    loss = LossSettings(prior_weight=1.0 if prior else 0.0, clip_weight=1.0)
    student = Student(model, settings("front", "audio", "text", "heads", "scale", loss=loss))
    got = heard(student, learns=True)
    total = ((got.frames @ got.texts.T) * got.scale + got.bias).sin().sum()
    clips = ((got.frames.mean(dim=1) @ got.texts.T) * got.clip_scale + got.clip_bias).sin().sum()
    torch.autograd.backward(total + clips)
    assert {name for name, p in student.named_parameters() if p.grad is not None} == learning(student)
    assert len(learning(student)) > 30


def test_lora_alone_and_with_a_part(model):
    Student(model, settings("heads", lora=LoraOptions(rank=2)))
    names = learning(model)
    lora = {name for name in names if ".lora_" in name}
    assert len(lora) >= 14
    assert names - lora == {n for n, _ in model.named_parameters() if n.startswith(BEGINNINGS["heads"])}


def test_lora_of_the_text_tower_is_text_that_learns(tiny_model, golden_folder):
    model = load_model(golden_folder / "pe_a_frame_original")
    student = Student(model, settings(lora=LoraOptions(layers=("text.layers.*.W*",))))
    assert student.text_learns
    assert all(name.startswith("text.") and ".lora_" in name for name in learning(model))
    assert not Student(tiny_model, settings(lora=LoraOptions())).text_learns


def test_with_a_prior_the_one_scale_stands_still(model):
    start = model.logit_scale.item(), model.logit_bias.item()
    student = Student(model, settings("heads", "scale", loss=LossSettings(prior_weight=1.0)))
    prior = {name for name in learning(model) if name.startswith("text_prior.")}
    assert len(prior) == 8
    assert not {"logit_scale", "logit_bias"} & learning(model)
    got = heard(student)
    assert got.scale.tolist() == pytest.approx([start[0]] * 3)
    assert got.bias.tolist() == pytest.approx([start[1]] * 3)


def test_a_prior_is_the_same_by_seed_and_leaves_chance_alone(tiny_model):
    loss = LossSettings(prior_weight=1.0)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    Student(tiny_model, settings("heads", loss=loss))
    assert torch.equal(torch.get_rng_state(), before)
    first, tiny_model.text_prior = tiny_model.text_prior.state_dict(), None
    Student(tiny_model, settings("heads", loss=loss))
    assert all(
        torch.equal(first[name], tensor) for name, tensor in tiny_model.text_prior.state_dict().items()
    )
    tiny_model.text_prior = None
    Student(tiny_model, settings("heads", loss=loss, seed=1))
    assert not torch.equal(first["bias.inner.weight"], tiny_model.text_prior.bias.inner.weight)


def test_a_prior_that_is_there_is_kept_and_its_bias_learns_from_the_prior_loss_alone(tiny_model):
    prior = tiny_model.text_prior = TextPrior(16, hidden=4)
    Student(tiny_model, settings("heads"))
    assert tiny_model.text_prior is prior
    names = {name for name in learning(tiny_model) if name.startswith("text_prior.")}
    assert len(names) == 4
    assert all(name.startswith("text_prior.scale.") for name in names)
    Student(tiny_model, settings("heads", loss=LossSettings(prior_weight=0.1)))
    assert tiny_model.text_prior is prior
    assert all(p.requires_grad for p in prior.parameters())


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_clips_have_a_scale_that_learns_if_they_are_asked_for(tiny_model, weight):
    student = Student(tiny_model, settings("scale", loss=LossSettings(clip_weight=weight)))
    assert {"clip_scale", "clip_bias"} <= {name for name, _ in student.named_parameters()}
    assert ({"clip_scale", "clip_bias"} <= learning(student)) == (weight > 0)
    assert (student.clip_scale.item(), student.clip_bias.item()) == (14.0, -9.0)
    shift([student.clip_scale])
    assert tiny_model.logit_scale.item() == 14.0


# ---- what it makes of a batch


@torch.no_grad()
def test_it_hears_as_the_model_does(model):
    student = Student(model.eval(), settings("heads"))
    got = heard(student)
    assert got.frames.shape == (2, 30, model.embedding_dim)
    assert not got.frames[1, 26:].any()
    assert (got.scale.shape, got.bias.shape) == ((), ())
    torch.testing.assert_close(got.texts, model.encode_text(list(PHRASES)), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_texts_are_the_same_from_a_tower_that_stands_still_and_one_that_learns(model):
    student = Student(model, settings("heads")).eval()
    still, learns = Texts(model, PHRASES, False), Texts(model, PHRASES, True)
    for asked in (PHRASES, ("rain", "beep", "rain")):
        states, none = still(asked)
        ids, mask = learns(asked)
        assert none is None
        assert (states.shape[0], ids.shape, ids.dtype) == (3, mask.shape, torch.int64)
        own = model.project_text(states)
        torch.testing.assert_close(own, model.project_text(model.text(ids, mask)), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(own, model.encode_text(list(asked)), atol=1e-5, rtol=1e-5)
    one, other = heard(student), heard(student, learns=True)
    for got, expected in zip(one, other, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_texts_do_not_hang_on_how_many_are_computed_at_once(tiny_model, monkeypatch):
    expected = text_states(tiny_model, PHRASES)
    assert not expected.requires_grad
    monkeypatch.setattr("peaframe.train.student.TEXTS_AT_ONCE", 2)
    torch.testing.assert_close(text_states(tiny_model, PHRASES), expected, atol=1e-5, rtol=1e-5)


def test_a_model_without_a_tokenizer_is_refused(golden_folder, refusal):
    model = load_model(golden_folder / "pe_a_frame_original")
    assert "tokenizer.json" in refusal(ModelError, Texts, model, PHRASES, False)


# ---- what comes of it


@pytest.mark.parametrize("lora", [None, LoraOptions(rank=2)], ids=["plain", "lora"])
def test_a_twin_shares_what_stands_still_alone(model, lora):
    student = Student(model, settings("heads", lora=lora, loss=LossSettings(prior_weight=1.0)))
    copy = twin(model)
    own, theirs = dict(model.named_parameters()), dict(copy.named_parameters())
    assert own.keys() == theirs.keys()
    shared = {name for name in own if own[name].data_ptr() == theirs[name].data_ptr()}
    assert shared == own.keys() - learning(model)
    assert len(shared) > 10
    buffers, others = dict(model.named_buffers()), dict(copy.named_buffers())
    assert {n: b.data_ptr() for n, b in buffers.items()} == {n: b.data_ptr() for n, b in others.items()}
    before = heard(student)
    shift(theirs[name] for name in learning(copy))
    assert all(torch.equal(a, b) for a, b in zip(heard(student), before, strict=True))


@pytest.mark.parametrize("learn", [(), ("heads",)], ids=["lora alone", "and heads"])
def test_finished_merges_lora_and_leaves_the_student_alone(model, learn):
    plain = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    student = Student(model, settings(*learn, lora=LoraOptions(rank=2))).train()
    shift(p for p in student.parameters() if p.requires_grad)
    copy = twin(model)
    before, free = states_of(student), learning(student)
    done = finished(copy)
    assert {name: tuple(t.shape) for name, t in done.state_dict().items()} == plain
    assert learning(done) == set()
    assert not any(module.training for module in done.modules())
    after = states_of(student)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert learning(student) == free
    assert all(module.training for module in student.modules())
    with torch.no_grad():
        features = torch.rand(1, 26, model.feature_channels)
        torch.testing.assert_close(
            done.encode_features(features),
            student.eval().model.encode_features(features),
            atol=2e-4,
            rtol=1e-3,
        )
    again = finished(copy)  # as often as it is measured
    assert all(torch.equal(t, done.state_dict()[name]) for name, t in again.state_dict().items())


def test_finished_without_lora_is_the_twin_at_rest(tiny_model):
    student = Student(tiny_model, settings("heads", "audio")).train()
    copy = twin(tiny_model)
    free = learning(student)
    assert finished(copy) is copy
    assert learning(copy) == set()
    assert not any(module.training for module in copy.modules())
    assert learning(student) == free
    sound = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (1, 48_000)).astype(np.float32))
    with torch.no_grad():
        assert torch.equal(copy.encode_audio(sound), tiny_model.eval().encode_audio(sound))
