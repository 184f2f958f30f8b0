"""Queries are embedded once; on disk for models whose text tower is slow, and never trusted blindly."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from peaframe.infer.texts import TextEmbeddings, cache_folder
from peaframe.models.load import load_model

QUERIES = ["dog barking", "a siren", "dog barking", "\udcff odd \u00fc"]


class Counting:
    """Lets a model count the texts it embeds."""

    def __init__(self, model, monkeypatch):
        self.texts = []
        encode = type(model).encode_tokens

        def counted(own, input_ids, attention_mask):
            self.texts += [tuple(row) for row in input_ids.tolist()]
            return encode(own, input_ids, attention_mask)

        monkeypatch.setattr(type(model), "encode_tokens", counted)


@pytest.fixture
def model(golden_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PEAFRAME_CACHE", str(tmp_path / "cache"))
    model = load_model(golden_folder / "pe_a_frame_original")
    model.tokenizer = lambda texts: (
        torch.tensor([[len(text), 2 + sum(map(ord, text)) % 50] for text in texts]),
        torch.ones(len(texts), 2, dtype=torch.long),
    )
    return model


def test_each_query_is_embedded_once_ever(model, monkeypatch):
    counting = Counting(model, monkeypatch)
    first = TextEmbeddings(model)
    expected = model.encode_text(QUERIES)
    del counting.texts[:]
    torch.testing.assert_close(first(QUERIES), expected, atol=1e-5, rtol=0)
    assert len(counting.texts) == 3
    assert torch.equal(first(QUERIES), first(QUERIES))
    again = TextEmbeddings(model)(QUERIES)
    assert len(counting.texts) == 3
    assert torch.equal(again, first(QUERIES))


def test_the_file_is_plain_and_named_by_model_and_query(model):
    texts = TextEmbeddings(model)(["dog barking"])
    (file,) = (cache_folder() / "texts" / model.fingerprint()).iterdir()
    np.testing.assert_array_equal(np.load(file, allow_pickle=False), texts[0].numpy())


def test_another_model_finds_nothing(model, monkeypatch):
    TextEmbeddings(model)(QUERIES)
    with torch.no_grad():
        next(model.text.parameters()).mul_(2)
    counting = Counting(model, monkeypatch)
    TextEmbeddings(model)(QUERIES)
    assert len(counting.texts) == 3


def test_another_tokenizer_or_configuration_finds_nothing(model, monkeypatch):
    TextEmbeddings(model)(QUERIES)
    counting = Counting(model, monkeypatch)
    before = model.tokenizer
    model.tokenizer = lambda texts: (before(texts)[0] + 1, before(texts)[1])
    TextEmbeddings(model)(QUERIES)
    assert len(counting.texts) == 3
    model.tokenizer = before
    model.config = replace(model.config, text=replace(model.config.text, window=64))
    TextEmbeddings(model)(QUERIES)
    assert len(counting.texts) == 6


@pytest.mark.parametrize("damage", [b"", b"no array", b"PK\x03\x04 no archive", "words", "archive", None])
def test_a_damaged_file_is_made_again(model, damage):
    texts = TextEmbeddings(model)(["dog barking"])
    (file,) = (cache_folder() / "texts" / model.fingerprint()).iterdir()
    if damage is None:
        np.save(file, np.full(7, np.nan, dtype=np.float32))
    elif damage == "words":
        np.save(file, np.array(["a"] * 32))
    elif damage == "archive":
        with file.open("wb") as open_file:
            np.savez(open_file, np.zeros(32, dtype=np.float32))
    else:
        file.write_bytes(damage)
    assert torch.equal(TextEmbeddings(model)(["dog barking"]), texts)
    np.testing.assert_array_equal(np.load(file), texts[0].numpy())


def test_a_folder_that_cannot_be_written_is_done_without(model, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PEAFRAME_CACHE", str(tmp_path / "file" / "cache"))
    assert TextEmbeddings(model)(["dog barking"]).shape == (1, 32)


def test_a_quick_text_tower_leaves_the_disk_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("PEAFRAME_CACHE", str(tmp_path / "cache"))
    TextEmbeddings(load_model())(["dog barking"])
    assert not (tmp_path / "cache").exists()


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PEAFRAME_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("PEAFRAME_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "peaframe"
