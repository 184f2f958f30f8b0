import pytest
import torch

from peaframe.errors import OptionError
from peaframe.losses.meaning import cluster_centres, nearest_centre, same_meaning

IDS = torch.tensor([3, -1, 8, 5])
OTHERS = torch.tensor([5, -1, 3, 40, 8])
TEXTS = torch.eye(4)
OTHER_TEXTS = torch.tensor([[0, 3.0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 2, 0]])


def true_pairs(same):
    return {tuple(pair) for pair in same.nonzero().tolist()}


def test_the_same_label_means_the_same():
    assert true_pairs(same_meaning(IDS, OTHERS, TEXTS, OTHER_TEXTS)) == {(0, 2), (2, 4), (3, 0)}


def test_embeddings_above_a_cosine_mean_the_same():
    by_label = {(0, 2), (2, 4), (3, 0)}
    assert true_pairs(same_meaning(IDS, OTHERS, TEXTS, OTHER_TEXTS, above=0.99)) == by_label | {
        (1, 0),
        (3, 1),
    }
    assert true_pairs(same_meaning(IDS, OTHERS, TEXTS, OTHER_TEXTS, above=0.7)) == by_label | {
        (1, 0),
        (3, 1),
        (2, 2),
        (3, 2),
        (0, 3),
        (1, 3),
    }


def test_relations_hold_in_either_order():
    related = torch.tensor([[40, 3], [8, 5], [99, 7]])
    expected = {(0, 2), (2, 4), (3, 0), (0, 3), (2, 0), (3, 4)}
    assert true_pairs(same_meaning(IDS, OTHERS, TEXTS, OTHER_TEXTS, related=related)) == expected
    nothing = torch.zeros(0, 2, dtype=torch.int64)
    assert true_pairs(same_meaning(IDS, OTHERS, TEXTS, OTHER_TEXTS, related=nothing)) == {
        (0, 2),
        (2, 4),
        (3, 0),
    }


def test_large_ids_do_not_run_over():
    huge = torch.tensor([2**62, 2**62 + 1, 2**61])
    same = same_meaning(huge, huge, torch.eye(3), torch.eye(3), related=torch.tensor([[2**61, 2**62]]))
    assert true_pairs(same) == {(0, 0), (1, 1), (2, 2), (0, 2), (2, 0)}


def test_clusters_are_found_by_direction():
    torch.manual_seed(0)
    axes = torch.eye(3, dtype=torch.float64)[torch.arange(60) % 3]
    texts = (axes + 0.1 * torch.randn(60, 3, dtype=torch.float64)) * (1 + torch.arange(60)[:, None])
    centres = cluster_centres(texts, 3)
    torch.testing.assert_close(centres.norm(dim=1), torch.ones(3, dtype=torch.float64))
    found = nearest_centre(texts, centres)
    assert sorted(found[:3].tolist()) == [0, 1, 2]
    assert torch.equal(found, found[:3].repeat(20))
    assert torch.equal(cluster_centres(texts, 3), centres)
    torch.testing.assert_close(cluster_centres(texts, 60)[0], texts[0] / texts[0].norm())


@pytest.mark.parametrize("count", [0, 5])
def test_a_senseless_number_of_clusters_is_refused(count, refusal):
    message = refusal(OptionError, cluster_centres, torch.eye(4), count)
    assert f"got {count} clusters of 4 texts" in message
