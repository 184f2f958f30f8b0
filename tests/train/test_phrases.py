import numpy as np
import torch

from peaframe.data.prompts import TEMPLATES
from peaframe.errors import ModelError
from peaframe.models.frame import MiniFrameModel
from peaframe.train.phrases import LIKE_A_SOUND, phrase_table

CLASSES = ("Beep", "Siren")


def own_vectors(model, phrases):
    """The sentence vectors a group of phrases may give: each phrase plain and in every template."""
    texts = list(dict.fromkeys([*phrases, *(t.format(p) for p in phrases for t in TEMPLATES)]))
    with torch.no_grad():
        return model.text(*model.tokenizer(texts))


def is_among(vector, vectors):
    return bool((vectors - vector).abs().amax(dim=1).min() < 1e-5)


def test_each_label_and_class_is_drawn_from_its_own_phrases(tiny_model, prompts, table):
    assert (table.labels, table.classes) == (3, 2)
    groups = [prompts.phrases[label] for label in prompts.labels] + [("beep", "beeping"), ("siren",)]
    allowed = [own_vectors(tiny_model, phrases) for phrases in groups]
    rng = np.random.default_rng(0)
    for _ in range(20):
        drawn = table.draw(rng, 4)
        assert drawn.shape == (3 + 2 + 4, 48)
        assert all(is_among(vector, vectors) for vector, vectors in zip(drawn, allowed, strict=False))


def test_the_labels_own_name_comes_up_most(tiny_model, prompts, table):
    name = own_vectors(tiny_model, ["rain"])[:1]
    rng = np.random.default_rng(0)
    share = np.mean([is_among(table.draw(rng, 1)[2], name) for _ in range(400)])
    assert 0.25 < share < 0.45  # a quarter of the time, and as one of ten or so for the rest


def test_the_same_generator_draws_the_same_and_no_distractor_twice(table):
    first, second = (table.draw(np.random.default_rng(5), 6) for _ in range(2))
    assert torch.equal(first, second)
    others = first[5:]
    assert len({tuple(row.tolist()) for row in others}) == 6


def test_distractors_that_are_like_a_sound_are_left_out(table):
    sounds = table.vectors[np.concatenate(table.groups[:5])]
    others = table.vectors[np.concatenate(table.groups[5:])]
    assert 6 <= len(others) < 79
    assert (others @ sounds.T).max() < LIKE_A_SOUND


def test_all_vectors_have_unit_length_and_no_gradient(table):
    np.testing.assert_allclose(table.vectors.norm(dim=1), 1, atol=1e-5)
    assert not table.vectors.requires_grad


def test_a_model_without_a_tokenizer_is_refused(tiny_model, prompts, refusal):
    model = MiniFrameModel(tiny_model.config)
    assert "without tokenizer" in refusal(ModelError, phrase_table, model, prompts, CLASSES)
