import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from peaframe.eval.matching import groups, largest_matching, matched

pairs = st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12)


def by_trying(links: set[tuple[int, int]]) -> int:
    for size in range(min(6, len(links)), 0, -1):
        for some in itertools.combinations(sorted(links), size):
            if len({a for a, _ in some}) == len({b for _, b in some}) == size:
                return size
    return 0


@given(pairs)
def test_no_larger_matching_can_be_found_by_trying(links: set[tuple[int, int]]) -> None:
    event = np.array([a for a, _ in sorted(links)], dtype=np.intp)
    detection = np.array([b for _, b in sorted(links)], dtype=np.intp)
    grouped: dict[int, list[int]] = {}
    for one, other in links:
        grouped.setdefault(one, []).append(other)

    assert matched(event, detection) == by_trying(links)
    assert largest_matching(grouped) == by_trying(links)


@given(pairs)
def test_groups_hang_together_and_apart(links: set[tuple[int, int]]) -> None:
    event = np.array([a for a, _ in sorted(links)], dtype=np.intp)
    detection = np.array([b for _, b in sorted(links)], dtype=np.intp)
    number = groups(event, detection)
    for i, j in itertools.product(range(len(event)), repeat=2):
        if event[i] == event[j] or detection[i] == detection[j]:
            assert number[i] == number[j]
    for group in set(number.tolist()):  # each group is reached from any of its pairs
        inside = np.flatnonzero(number == group).tolist()
        reached = {inside[0]}
        while True:
            more = {
                j for j in inside for i in reached if event[i] == event[j] or detection[i] == detection[j]
            }
            if more <= reached:
                break
            reached |= more
        assert reached == set(inside)


def test_a_long_chain_needs_a_long_path() -> None:
    # Event i fits detections i and i + 1; the last one fits the first detection only. All can be matched.
    n = 3000
    links = {i: [i, i + 1] for i in range(n)} | {n: [0]}

    assert largest_matching(links) == n + 1
