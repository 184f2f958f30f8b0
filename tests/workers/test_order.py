"""Results in the order of the units, however they come, and few of them waiting."""

import random
from dataclasses import dataclass

import pytest

from peaframe.workers.order import AHEAD, in_order


@dataclass(frozen=True)
class Run:
    """Numbers `first` to `last`, which is not one of them."""

    first: int
    last: int

    def __len__(self):
        return self.last - self.first


def units(sizes, first=0):
    made = []
    for size in sizes:
        made.append(Run(first, first + size))
        first += size
    return made


class Hands:
    """Does units in a random order, as many at a time as workers would hold."""

    def __init__(self, seed, at_once, split=0.0, slow=None):
        self.random, self.at_once, self.split, self.slow = random.Random(seed), at_once, split, slow

    def do(self, given):
        left, held = iter(given), []
        while True:
            while len(held) < self.at_once and (unit := next(left, None)) is not None:
                held.append(unit)
            if not held:
                return
            quick = [unit for unit in held if unit != self.slow] or held
            unit = self.random.choice(quick)
            held.remove(unit)
            if (
                len(unit) > 1 and self.random.random() < self.split
            ):  # its worker died of it, so each thing alone
                held += [Run(i, i + 1) for i in range(unit.first, unit.last)]
                continue
            yield unit


@pytest.mark.parametrize("seed", range(5))
def test_results_come_in_order_from_wherever_the_units_begin(seed):
    rng = random.Random(seed)
    sizes = [rng.randint(1, 4) for _ in range(200)]
    asked = units(sizes, first=7)
    assert list(in_order(Hands(seed, 6).do, asked, lambda: 3)) == asked
    alone = list(in_order(Hands(seed, 6, split=0.3).do, asked, lambda: 3))
    assert len(alone) > len(asked)
    assert [i for run in alone for i in range(run.first, run.last)] == list(range(7, 7 + sum(sizes)))


def test_nobody_goes_far_ahead_of_a_slow_one():
    asked = units([1] * 500)
    taken = []

    def watched():
        for unit in asked:
            taken.append(unit)
            yield unit

    results = in_order(Hands(0, 4, slow=asked[3]).do, watched(), lambda: 2)
    for _ in range(4):
        next(results)
    assert (
        len(taken) == 3 + AHEAD * 2 + 1
    )  # when it is done all that may be ahead of it is; one more waits to be given
    assert [*asked[:4], *results] == asked


def test_nothing_gives_nothing():
    assert list(in_order(Hands(0, 2).do, [], lambda: 1)) == []
