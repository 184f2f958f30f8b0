import numpy as np
import pytest
import torch

from peaframe.errors import CheckpointError, ModelError
from peaframe.models.text import QueryTokenizer, SentenceEncoder, TextConfig

CONFIG = TextConfig(vocabulary=30, width=12, layers=2, heads=3, mlp_width=20, max_tokens=9)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    encoder = SentenceEncoder(CONFIG).eval()
    for p in encoder.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return encoder


@pytest.fixture
def tokenizer(tokenizer_file):
    return QueryTokenizer(tokenizer_file, 16)


def layer_norm(x, weight, bias):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12) * weight + bias


def erf(x):
    return torch.erf(torch.from_numpy(x)).numpy()


def plain_bert(encoder, ids):
    """One sentence through BERT with mean pooling, written out in float64."""
    w = {name: p.detach().double().numpy() for name, p in encoder.named_parameters()}
    x = w["words.weight"][ids] + w["positions.weight"][: len(ids)]
    x = layer_norm(x, w["norm.weight"], w["norm.bias"])
    size = CONFIG.width // CONFIG.heads
    for i in range(CONFIG.layers):
        p = {n.removeprefix(f"layers.layers.{i}."): v for n, v in w.items() if f"layers.{i}." in n}
        q, k, v = np.split(x @ p["self_attn.in_proj_weight"].T + p["self_attn.in_proj_bias"], 3, axis=1)
        heads = []
        for head in range(CONFIG.heads):
            part = slice(head * size, (head + 1) * size)
            weights = np.exp(q[:, part] @ k[:, part].T / np.sqrt(size))
            heads.append(weights / weights.sum(axis=1, keepdims=True) @ v[:, part])
        y = np.hstack(heads) @ p["self_attn.out_proj.weight"].T + p["self_attn.out_proj.bias"]
        x = layer_norm(x + y, p["norm1.weight"], p["norm1.bias"])
        y = x @ p["linear1.weight"].T + p["linear1.bias"]
        y = y * (1 + erf(y / np.sqrt(2))) / 2
        x = layer_norm(x + y @ p["linear2.weight"].T + p["linear2.bias"], p["norm2.weight"], p["norm2.bias"])
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)


SENTENCES = ([2, 7, 3], [2, 3], [2, 9, 29, 4, 7, 7, 11, 5, 3])


def as_batch(sentences, pad=0):
    longest = max(map(len, sentences))
    ids = torch.tensor([[*s, *[pad] * (longest - len(s))] for s in sentences])
    mask = torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s in sentences])
    return ids, mask


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
def test_the_encoder_is_bert(encoder, training):
    encoder.train(training)  # the two modes run through different kernels of torch
    got = encoder(*as_batch(SENTENCES))
    for vector, ids in zip(got, SENTENCES, strict=True):
        np.testing.assert_allclose(vector, plain_bert(encoder, ids), atol=1e-5)


@torch.no_grad()
def test_padding_enters_nothing(encoder):
    together = encoder(*as_batch(SENTENCES))
    other_pads = encoder(*as_batch(SENTENCES, pad=13))
    for i, ids in enumerate(SENTENCES):
        alone = encoder(*as_batch([ids]))[0]
        np.testing.assert_allclose(together[i], alone, atol=1e-5)
        np.testing.assert_allclose(other_pads[i], alone, atol=1e-5)


@torch.no_grad()
def test_sentence_vectors_have_unit_length(encoder):
    np.testing.assert_allclose(encoder(*as_batch(SENTENCES)).norm(dim=1), 1, atol=1e-6)


def test_queries_are_padded_to_the_longest(tokenizer, tokenizer_content):
    ids, mask = tokenizer(["dog barking", "siren"])
    v = tokenizer_content["model"]["vocab"]
    assert ids.tolist() == [[2, v["dog"], v["barking"], 3], [2, v["siren"], 3, 0]]
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert ids.dtype == mask.dtype == torch.int64


def test_case_accents_and_spaces_do_not_matter(tokenizer):
    ids, mask = tokenizer(["Dog  BARKING", " dög barking\t", "dog\nbarking"])
    assert ids[0].tolist() == ids[1].tolist() == ids[2].tolist()
    assert mask.all()


def test_unknown_words_are_spelt_from_pieces(tokenizer, tokenizer_content):
    ids, _ = tokenizer(["cat"])
    v = tokenizer_content["model"]["vocab"]
    assert ids[0].tolist() == [2, v["c"], v["##a"], v["##t"], 3]


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_empty_queries_are_refused(tokenizer, refusal, text):
    assert "got an empty query, expected a few words" in refusal(ModelError, tokenizer, ["dog", text])


def test_no_queries_are_refused(tokenizer, refusal):
    assert "expected a list of one or more texts" in refusal(ModelError, tokenizer, [])


def test_a_text_that_is_no_list_is_refused(tokenizer, refusal):
    assert "expected a list" in refusal(ModelError, tokenizer, "dog")


@pytest.mark.parametrize("text", ["\x07", "你好", "🐕 🐕"])
def test_queries_without_a_known_word_are_refused(tokenizer, refusal, text):
    assert "without a known word" in refusal(ModelError, tokenizer, ["dog", text])


def test_a_query_may_fill_all_places_and_no_more(tokenizer, refusal):
    ids, _ = tokenizer(["dog " * 14])
    assert ids.shape == (1, 16)
    message = refusal(ModelError, tokenizer, ["dog " * 15])
    assert "got a query of 15 word pieces" in message
    assert "expected at most 14" in message


def test_a_query_of_many_lines_is_refused_in_one(tokenizer, refusal):
    assert "15 word pieces" in refusal(ModelError, tokenizer, ["dog\n" * 15])


def test_a_query_of_ten_thousand_words_is_refused(tokenizer, refusal):
    message = refusal(ModelError, tokenizer, ["dog " * 10_000])
    assert "got a query of 40000 characters, expected at most 14 word pieces" in message
    assert len(message) < 200


@pytest.mark.parametrize("content", ["", "not JSON", "{}", "[1, 2]"])
def test_a_broken_tokenizer_file_is_refused(tmp_path, refusal, content):
    path = tmp_path / "tokenizer.json"
    path.write_text(content, encoding="utf-8")
    assert f"{path}: not a tokenizer file" in refusal(CheckpointError, QueryTokenizer, path, 16)
