"""Results in the order of the units, by workers that give them in any order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

AHEAD = 8  # units for each worker that may be ahead of the oldest one that is not done


class Placed(Protocol):
    """A unit of things that stand in a row, or its result."""

    @property
    def first(self) -> int:
        """Number of its first thing, from 0."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...


U = TypeVar("U", bound=Placed)
R = TypeVar("R", bound=Placed)


def in_order(
    do: Callable[[Iterable[U | None]], Iterator[R]], units: Iterable[U], jobs: Callable[[], int]
) -> Iterator[R]:
    """Results as if one worker had done unit by unit.

    However long one of them takes, others go ahead no further than some `AHEAD` units for each worker, so what waits
    here does not grow.

    Args:
        do: that of an `Engine`.
        units: each but the first begins with the thing behind the last of the one before.
        jobs: how many workers there are by now.
    """
    taken: int | None = None  # number of the thing whose result is next
    ends: deque[int] = deque()  # of units that are not done, oldest first
    early: dict[int, R] = {}

    def wanted() -> Iterator[U | None]:
        nonlocal taken
        for unit in units:
            if taken is None:
                taken = unit.first
            while len(ends) >= AHEAD * max(1, jobs()):
                yield None
            ends.append(unit.first + len(unit))
            yield unit

    for result in do(wanted()):
        early[result.first] = result
        while taken is not None and (ready := early.pop(taken, None)) is not None:
            taken += len(ready)
            while ends and ends[0] <= taken:
                ends.popleft()
            yield ready
