"""Retrieval: the metrics against plain re-computation."""

import tracemalloc

import numpy as np
import pytest

from peaframe.errors import OptionError
from peaframe.eval import retrieval
from peaframe.eval.retrieval import dual_softmax, intervals, retrieve, retrieve_both, retrieve_scores


def by_hand(scores, own):
    """Ranks and precisions by sorting each row, what does not belong first among equals."""
    ranks, precisions = [], []
    for row, mine in zip(scores, own, strict=True):
        order = sorted(range(len(row)), key=lambda c: (-row[c], c in mine))
        places = [place for place, c in enumerate(order, 1) if c in mine]
        ranks.append(places[0])
        hits = [number / place for number, place in enumerate(places, 1) if place <= 10]
        precisions.append(sum(hits) / min(len(mine), 10))
    return ranks, precisions


def five_each(count):
    """Five captions a clip: (5 * count, 2)."""
    return np.stack((np.arange(5 * count), np.arange(5 * count) // 5), axis=1)


@pytest.mark.parametrize("scale", [None, 10.0])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_sorting_by_hand_gives(seed, scale, monkeypatch):
    monkeypatch.setattr(retrieval, "_BLOCK_NUMBERS", 100)
    random = np.random.default_rng(seed)
    clip, text = random.standard_normal((23, 6)), random.standard_normal((115, 6))
    text[7], text[60] = text[3], text[3]  # captions that others have too
    pairs = five_each(23)
    cosines = text @ clip.T / np.linalg.norm(text, axis=1)[:, None] / np.linalg.norm(clip, axis=1)
    there, back = retrieve_both(text, clip, pairs, scale=scale)
    for found, table, own in (
        (there, cosines, [{i // 5} for i in range(115)]),
        (back, cosines.T, [set(range(5 * i, 5 * i + 5)) for i in range(23)]),
    ):
        if scale is not None:  # the formula as it is written down
            s = table * scale
            table = s * (np.exp(s) / np.exp(s).sum(axis=0))
        ranks, precisions = by_hand(np.round(table, 13), own)
        assert found.ranks.tolist() == ranks
        np.testing.assert_allclose(found.precisions, precisions, atol=1e-12)
        assert found.recall == {k: np.mean(np.array(ranks) <= k) for k in (1, 5, 10)}
        assert found.median_rank == np.median(ranks)
        assert found.map10 == pytest.approx(np.mean(precisions))
    assert (there.queries, there.candidates, back.queries, back.candidates) == (115, 23, 23, 115)


def test_a_small_case_worked_out():
    scores = [[0.9, 0.5, 0.1], [0.8, 0.7, 0.6], [0.3, 0.2, 0.1]]
    found = retrieve_scores(scores, [[0, 0], [1, 1], [2, 2]])
    assert found.ranks.tolist() == [1, 2, 3]
    assert found.recall == {1: 1 / 3, 5: 1.0, 10: 1.0}
    assert found.median_rank == 2.0
    assert found.map10 == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_dual_softmax_lowers_what_is_near_to_all():
    scores = np.array([[0.8, 0.7], [0.9, 0.6]])  # candidate 0 is near to both; 1 is the first query's
    pairs = [[0, 1], [1, 0]]
    assert retrieve_scores(scores, pairs).recall[1] == 0.5
    assert retrieve_scores(scores, pairs, scale=10.0).recall[1] == 1.0
    found = dual_softmax(scores)
    assert found[0, 0] == pytest.approx(8 / (1 + np.e))
    assert found[0, 1] == pytest.approx(7 / (1 + 1 / np.e))


def test_scores_that_are_all_equal_earn_nothing():
    same = np.ones((12, 12))
    for scale in (None, 10.0):
        found = retrieve_scores(same, np.stack([np.arange(12)] * 2, axis=1), scale=scale)
        assert found.recall == {1: 0.0, 5: 0.0, 10: 0.0}
        assert (found.median_rank, found.map10) == (12.0, 0.0)
    embeddings = np.tile(np.random.default_rng(0).standard_normal(300), (500, 1))
    found = retrieve(embeddings, embeddings, np.stack([np.arange(500)] * 2, axis=1))
    assert set(found.ranks.tolist()) == {500}  # the last digit of a product breaks no tie


def test_a_query_of_many_needs_one_and_is_precise_with_all():
    scores = [[0.9, 0.8, 0.7, 0.6]]
    found = retrieve_scores(scores, [[0, 1], [0, 3]])
    assert found.ranks.tolist() == [2]
    assert found.map10 == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_large_tables_take_blocks():
    random = np.random.default_rng(0)
    table = random.standard_normal((6000, 8)).astype(np.float32)
    same = np.stack([np.arange(6000)] * 2, axis=1)
    tracemalloc.start()
    found = retrieve(table, table + 0.01, same, scale=10.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6 < 6000 * 6000 * 8  # of all scores at once
    assert found.recall[10] > 0.9


def test_intervals_draw_the_captions_of_a_clip_together():
    random = np.random.default_rng(1)
    scores = random.standard_normal((200, 40)) + 2 * np.repeat(np.eye(40), 5, axis=0)
    pairs = five_each(40)
    found = retrieve_scores(scores, pairs)
    assert found.groups.tolist() == (np.arange(200) // 5).tolist()
    bounds = intervals(found, 300)
    assert set(bounds) == {"r1", "r5", "r10", "map10", "median_rank"}
    for key, value in (("r1", found.recall[1]), ("map10", found.map10), ("median_rank", found.median_rank)):
        assert bounds[key].value == value
        assert bounds[key].low <= value <= bounds[key].high
    hits = (found.ranks <= 1).reshape(40, 5).mean(axis=1)
    expected = 2 * 1.96 * hits.std() / np.sqrt(40)
    assert bounds["r1"].high - bounds["r1"].low == pytest.approx(expected, rel=0.2)
    assert intervals(found, 120)["r5"] == intervals(found, 120)["r5"]


def test_the_median_of_a_draw_is_numpys():
    ranks = np.array([1, 9, 4, 2, 30, 7])
    found = retrieval.Retrieval(6, 40, {1: 0, 5: 0, 10: 0}, 5.5, 0.0, ranks, np.zeros(6), np.arange(6))
    weights = retrieval.resample(6, 20, 0)
    medians = [np.median(np.repeat(ranks, own)) for own in weights]
    expected = retrieval.interval(5.5, medians)
    assert intervals(found, 20)["median_rank"] == expected


def test_what_cannot_be_measured_is_refused(refusal):
    one = np.ones((3, 4))
    assert "4 and 5 channels" in refusal(OptionError, retrieve, one, np.ones((3, 5)), [[0, 0]])
    assert "query 1 has no candidate" in refusal(OptionError, retrieve, one, one, [[0, 0], [2, 2]])
    assert "beyond 3 queries" in refusal(OptionError, retrieve, one, one, [[0, 0], [1, 3], [2, 1]])
    assert "whole numbers" in refusal(OptionError, retrieve, one, one, [[0.5, 0.5]])
    assert "finite" in refusal(OptionError, retrieve, one * np.nan, one, [[0, 0]])
    assert "finite" in refusal(OptionError, retrieve_scores, [[np.inf]], [[0, 0]])
