"""Checkpoints whose scores allow for how rare a query is."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from peaframe.errors import CheckpointError, ModelError
from peaframe.infer.detector import Detector
from peaframe.models.load import TEXT_PRIOR, load_model, save_frame_model, save_model
from peaframe.models.text_prior import TextPrior, unbiased_scores
from peaframe.queries import QueryFile, QueryVector
from peaframe.train.query_vectors import tune_query_vectors


@pytest.fixture(params=["mini", "pe"])
def source(request, tiny_model, tokenizer_content, tokenizer_file, golden_folder, tmp_path):
    """A checkpoint folder without a prior, with a tokenizer and event options."""
    folder = tmp_path / "source"
    if request.param == "mini":
        save_model(tiny_model, folder, tokenizer_content)
    else:
        model = load_model(golden_folder / "pe_a_frame_original")
        model.name = "pe"
        (tmp_path / "words").mkdir()
        (tmp_path / "words" / "tokenizer.json").write_text(tokenizer_file.read_text())
        save_frame_model(model, folder, tmp_path / "words")
    (folder / "events.json").write_text(json.dumps({"threshold": 0.4, "median": 3}))
    return folder


@pytest.fixture
def plain(source):
    return load_model(source)


def random_prior(model, hidden=12):
    torch.manual_seed(3)
    prior = TextPrior(model.embedding_dim, model.logit_scale.item(), model.logit_bias.item(), hidden)
    with torch.no_grad():
        for head in (prior.scale, prior.bias):
            torch.nn.init.normal_(head.outer.weight)
    return prior


@pytest.fixture
def with_prior(source):
    model = load_model(source)
    model.text_prior = random_prior(model)
    return model


@torch.no_grad()
def test_saved_and_loaded_it_scores_the_same(plain, with_prior, source, tmp_path):
    save_frame_model(with_prior, tmp_path / "saved", source)
    assert with_prior.text_prior is not None  # still has it
    files = {path.name for path in (tmp_path / "saved").iterdir()}
    assert files == {"config.json", "events.json", "model.safetensors", "tokenizer.json", TEXT_PRIOR}
    loaded = load_model(tmp_path / "saved")
    assert loaded.event_options == plain.event_options
    assert loaded.fingerprint() == with_prior.fingerprint() != plain.fingerprint()
    frames = torch.randn(2, 9, plain.embedding_dim)
    texts = plain.encode_text(["beep", "a dog barking", "rain"])
    assert torch.equal(loaded.encode_text(["beep", "a dog barking", "rain"]), texts)
    scores = loaded.score(frames, texts)
    assert torch.equal(scores, with_prior.score(frames, texts))
    logits = frames @ texts.T * loaded.text_prior.scale(texts) + loaded.text_prior.bias(texts)
    expected = unbiased_scores(logits, loaded.text_prior.bias(texts))
    torch.testing.assert_close(scores.sigmoid(), expected, atol=1e-5, rtol=1e-4)
    assert (scores - plain.score(frames, texts)).abs().max() > 1


@torch.no_grad()
def test_a_prior_as_it_starts_is_the_plain_model_with_its_bias_taken_off(plain):
    texts = plain.encode_text(["beep", "rain"])
    frames = torch.randn(1, 5, plain.embedding_dim)
    expected = unbiased_scores(plain.score(frames, texts), plain.logit_bias)
    plain.text_prior = TextPrior(plain.embedding_dim, plain.logit_scale.item(), plain.logit_bias.item())
    torch.testing.assert_close(plain.score(frames, texts).sigmoid(), expected, atol=1e-6, rtol=1e-4)
    nothing = plain.text_prior.score(torch.zeros(1, 2), texts)
    torch.testing.assert_close(nothing, torch.zeros(1, 2))


def test_it_detects_with_it(plain, with_prior):
    sound = np.random.default_rng(0).normal(0, 0.1, 72_000).astype(np.float32)
    queries = ["beep", "rain"]
    before = Detector(plain, "cpu").detect(sound, queries).scores.values
    detector = Detector(with_prior, "cpu")
    after = detector.detect(sound, queries).scores.values
    assert before.shape == after.shape == (38, 2)
    assert np.abs(after - before).max() > 0.01
    with torch.no_grad():
        texts = with_prior.encode_text(queries)
        expected = with_prior.score(with_prior.encode_audio(torch.from_numpy(sound)[None]), texts)[
            0
        ].sigmoid()
    np.testing.assert_allclose(after, expected.numpy(), atol=2e-3)
    kept = detector.score_embeddings(detector.embed(sound), queries).values
    np.testing.assert_allclose(kept, after, atol=0.05)


def test_a_model_without_one_leaves_none_behind(plain, with_prior, source, tmp_path):
    save_frame_model(with_prior, tmp_path / "saved", source)
    save_frame_model(plain, tmp_path / "saved", source)
    again = load_model(tmp_path / "saved")
    assert again.text_prior is None
    assert again.fingerprint() == plain.fingerprint()


@pytest.mark.parametrize("damage", ["cut", "no tensors", "missing", "surplus", "other width", "a number"])
def test_a_file_that_does_not_fit_is_refused_by_name(with_prior, source, tmp_path, refusal, damage):
    save_frame_model(with_prior, tmp_path / "saved", source)
    path = tmp_path / "saved" / TEXT_PRIOR
    tensors, expected = load_file(path), "bias.outer.weight"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-7])
        expected = "not a readable safetensors file"
    elif damage == "no tensors":
        path.write_text("{}")
        expected = "not a readable safetensors file"
    else:
        if damage == "missing":
            tensors.pop(expected)
        elif damage == "surplus":
            tensors[expected := "more"] = torch.zeros(2)
        elif damage == "other width":
            tensors[expected := "scale.inner.weight"] = torch.zeros(12, with_prior.embedding_dim + 1)
        else:
            tensors["bias.inner.weight"], expected = torch.tensor(1.0), "bias.inner"
        save_file(tensors, path)
    message = refusal(CheckpointError, load_model, tmp_path / "saved")
    assert str(path) in message
    assert expected in message


def test_query_vectors_are_refused_as_they_have_no_words(with_prior, refusal):
    rows = np.random.default_rng(0).normal(size=(20, with_prior.embedding_dim))
    states = {"beep": np.where(np.arange(20) < 5, 1, -1)}
    assert "text_prior" in refusal(ModelError, tune_query_vectors, with_prior, rows, states)
    vectors = QueryFile(
        with_prior.name, with_prior.fingerprint(), (QueryVector("mine", np.ones(with_prior.embedding_dim)),)
    )
    detector = Detector(with_prior, "cpu")
    message = refusal(ModelError, detector.use_queries, vectors)
    assert "text_prior" in message
    assert with_prior.name in message
