"""Query vectors: what they learn from a few frames, and that they learn it the same way each time."""

import numpy as np
import pytest
import torch

from peaframe.errors import ModelError, OptionError
from peaframe.infer.detector import Detector
from peaframe.queries import QueryFile, QueryVector
from peaframe.train.query_vectors import TuneOptions, tune_query_vectors

SCALE, BIAS = 14.0, -9.0


@pytest.fixture
def frames(tiny_model):
    """Frames of unit length, and states by a direction that has nothing to do with the text."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((300, tiny_model.embedding_dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    states = np.where(rows[:, 3] > 0.3, 1, -1)
    states[::7] = 0
    return rows, states


def text_of(model, name):
    with torch.no_grad():
        return model.encode_text([name])[0].double().numpy()


def logits(rows, vector, bias=0.0):
    return rows @ np.asarray(vector, dtype=np.float64) * SCALE + BIAS + bias


def balanced(rows, states, vector):
    z = logits(rows, vector)
    return (np.logaddexp(0, -z[states > 0]).mean() + np.logaddexp(0, z[states < 0]).mean()) / 2


def auroc(states, values):
    heard, quiet = values[states > 0], values[states < 0]
    return (heard[:, None] > quiet).mean()


def test_a_vector_learns_what_the_word_did_not_know(tiny_model, frames):
    rows, states = frames
    tuned = tune_query_vectors(tiny_model, rows, {"beep": states}, TuneOptions(pull=1e-3))
    (query,) = tuned.queries
    text = text_of(tiny_model, "beep")
    assert auroc(states, logits(rows, text)) < 0.7
    assert auroc(states, logits(rows, query.vector)) > 0.97
    assert (query.name, query.bias) == ("beep", 0.0)
    assert (tuned.fingerprint, tuned.dim) == (tiny_model.fingerprint(), 16)


def test_nothing_near_a_vector_is_better(tiny_model, frames):
    """The loss as its docstring says it, in numpy: level at the vector, as a convex loss is at its least."""
    rows, states = frames
    pull, text = 0.02, text_of(tiny_model, "a siren")
    (query,) = tune_query_vectors(tiny_model, rows, {"a siren": states}, TuneOptions(pull)).queries

    def loss(vector):
        distance = ((vector - text) ** 2).sum() / np.linalg.norm(text) ** 2
        return balanced(rows, states, vector) + pull * distance

    vector, step = query.vector.astype(np.float64), 1e-4
    slopes = [(loss(vector + way) - loss(vector - way)) / (2 * step) for way in np.eye(16) * step]
    np.testing.assert_allclose(slopes, 0, atol=1e-5)
    assert loss(vector) < loss(text) - 0.1


def test_the_pull_holds_a_vector_at_its_text(tiny_model, frames):
    rows, states = frames
    text = text_of(tiny_model, "beep")
    moved = []
    for pull in (1e6, 1.0, 1e-2, 1e-4):
        (query,) = tune_query_vectors(tiny_model, rows, {"beep": states}, TuneOptions(pull=pull)).queries
        moved.append(np.linalg.norm(query.vector - text))
    assert moved == sorted(moved)
    assert moved[0] < 1e-5 * np.linalg.norm(text)
    assert moved[-1] > 1


def test_active_and_inactive_frames_weigh_the_same_and_unknown_ones_nothing(tiny_model, frames):
    rows, states = frames
    before = tune_query_vectors(tiny_model, rows, {"beep": states}).queries[0].vector
    quiet = rows[states < 0]
    more = np.concatenate([rows, quiet, quiet, -rows])
    marks = np.concatenate([states, np.full(2 * len(quiet), -1), np.zeros(len(rows), int)])
    after = tune_query_vectors(tiny_model, more, {"beep": marks}).queries[0].vector
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_each_vector_is_its_own_and_the_same_again(tiny_model, frames):
    rows, states = frames
    weights = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}
    both = tune_query_vectors(tiny_model, rows, {"beep": states, "buzz": -states})
    again = tune_query_vectors(tiny_model, rows, {"buzz": -states, "beep": states})
    assert both.names == ["beep", "buzz"]
    for name in both.names:
        one, other = ({q.name: q.vector for q in file.queries}[name] for file in (both, again))
        assert one.tobytes() == other.tobytes()
    assert all(torch.equal(weights[name], tensor) for name, tensor in tiny_model.state_dict().items())
    assert all(parameter.grad is None for parameter in tiny_model.parameters())


def test_a_detector_scores_the_vector_and_its_bias_and_leaves_words_alone(tiny_model, frames):
    rows, states = frames
    (found,) = tune_query_vectors(tiny_model, rows, {"beep": states}).queries
    query = QueryVector("beep", found.vector, 9.0)  # to where a sigmoid is steep
    detector = Detector(tiny_model, "cpu")
    sound = np.random.default_rng(1).standard_normal(48_000).astype(np.float32) * 0.1
    plain = detector.score(sound, ["beep", "rain"])
    detector.use_queries(QueryFile("", tiny_model.fingerprint(), (query,)))
    tuned = detector.score(sound, ["beep", "rain"])
    kept = detector.embed(sound)
    expected = 1 / (1 + np.exp(-logits(kept.values.astype(np.float64), query.vector, query.bias)))
    np.testing.assert_allclose(tuned["beep"], expected, atol=5e-3)
    np.testing.assert_allclose(detector.score_embeddings(kept, ["beep"])["beep"], expected, atol=1e-4)
    assert np.array_equal(tuned["rain"], plain["rain"])
    assert 0.2 < np.median(expected) < 0.8
    assert np.ptp(expected) > 0.1
    assert detector.detect(sound, ["rain", "beep"]).settings["tuned"] == ["beep"]


@pytest.mark.parametrize(
    ("embeddings", "states", "message"),
    [
        (np.ones((4, 15)), {"beep": [1, -1, 0, 0]}, "shape (4, 15); expected (frames, 16)"),
        (np.ones(16), {"beep": [1]}, "shape (16,)"),
        (np.full((4, 16), np.nan), {"beep": [1, -1, 0, 0]}, "finite"),
        (np.ones((4, 16)), {}, "no states"),
        (np.ones((4, 16)), {"beep": [1, -1, 0]}, "shape (3,) for 'beep'; expected (4,)"),
        (np.ones((4, 16)), {"beep": [1, -1, 0, 2]}, "of 1, -1 and 0"),
        (np.ones((4, 16)), {"beep": [0, -1, 0, -1]}, "'beep' has no frames where it is heard"),
        (np.ones((4, 16)), {"beep": [0, 1, 0, 1]}, "no frames where it is not heard"),
        (np.ones((2, 16)), {"beep": [1, -1], "beep ": [1, -1]}, "two query vectors named 'beep'"),
    ],
)
def test_what_does_not_fit_is_refused(tiny_model, embeddings, states, message, refusal):
    assert message in refusal(OptionError, tune_query_vectors, tiny_model, embeddings, states)


def test_senseless_options_and_names_are_refused(tiny_model, refusal):
    assert "a pull of 0" in refusal(OptionError, TuneOptions, pull=0)
    assert "a pull of nan" in refusal(OptionError, TuneOptions, pull=float("nan"))
    assert "0 steps" in refusal(OptionError, TuneOptions, steps=0)
    refusal(ModelError, tune_query_vectors, tiny_model, np.ones((2, 16)), {" ": [1, -1]})
