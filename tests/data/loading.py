"""What every loader promises, as checks that the tests of each share.

`make(**options)` gives a loader of eleven items in batches of three, always the same one for the same options. Loaded
with runpy by the tests that need it: pytest does not put tests on the path.
"""

import itertools

import numpy as np
import torch

from peaframe.errors import OptionError


def same(one, other):
    """Whether two batches are equal in all that they hold."""
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in vars(one))


def all_same(some, others):
    return all(same(*pair) for pair in zip(some, others, strict=True))


def numbers(batches):
    """The items of each batch."""
    return [batch.items.tolist() for batch in batches]


def signs(frames, labels=3):
    """Targets of items of so many frames: -1, but +1 in column i % labels from frame 1 on."""

    def targets(item):
        out = np.full((frames[item], labels), -1, np.int8)
        out[1:, item % labels] = 1
        return out

    return targets


def workers_change_nothing(make):
    """Two workers give what none gives, and nobody else's random numbers move; gives the batches."""
    alone = list(make())
    torch.manual_seed(3)
    before = torch.get_rng_state()
    shared = list(make(workers=2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all_same(alone, shared)
    return alone


def goes_on(make, given, workers, epochs=3):
    """A loader left after so many batches and taken up by another gives the rest of the epochs; gives its state.

    Four batches an epoch: `given` may be in the middle of one, at its end, or in the middle of the next.
    """

    def batches(one):
        for _ in range(epochs):
            yield from one

    whole = list(batches(make()))
    one = make(workers=workers)
    running = batches(one)
    for _ in range(given):
        next(running)
    state = one.state_dict()
    running.close()
    other = make(workers=workers)
    other.load_state_dict(state)
    rest = []
    while other.epoch < epochs:
        rest += list(other)
    assert len(rest) == 4 * epochs - given
    assert all_same(whole[given:], rest)
    return state


def other_states_are_refused(make, refusal, *changes):
    """A state is refused where items or options are others, and taken where only the number of workers is."""
    state = make().state_dict()
    for options in changes:
        message = refusal(OptionError, make(**options).load_state_dict, state)
        assert "other items or options" in message
    other = make(workers=1)  # how it is computed does not matter
    other.load_state_dict({**state, "batch": 2})
    assert [len(items) for items in numbers(other)] == [3, 2]


def ranks_share_an_epoch(make, world_size):
    """Ranks take the batches in turn, as many each; what is short is filled up from the beginning."""
    whole = list(make())
    ranks = [list(make(rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert len({len(batches) for batches in ranks}) == 1
    dealt = list(itertools.chain(*zip(*ranks, strict=True)))
    assert all_same(dealt, (whole + whole)[: len(dealt)])
    assert len(whole) <= len(dealt) < len(whole) + world_size
    return ranks
