"""What runs units of work: the surface of all engines, and what they do about workers that die.

An engine knows nothing of the work. It is given a `Machine`, which travels to where a worker is to be and makes it
there, and units, which travel to the workers; what they answer travels back.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

TRIES = 3  # a worker may be lost with its machine, twice; three times in a row it is what it works on

FactsT = TypeVar("FactsT")
OrdersT = TypeVar("OrdersT")
UnitT = TypeVar("UnitT")
ResultT = TypeVar("ResultT")
T = TypeVar("T")
_Orders = TypeVar("_Orders", contravariant=True)
_Unit = TypeVar("_Unit", contravariant=True)
_Facts = TypeVar("_Facts", covariant=True)
_Result = TypeVar("_Result", covariant=True)


class Worker(Protocol[_Facts, _Orders, _Unit, _Result]):
    """What a machine makes: something with a model that does units."""

    def facts(self) -> _Facts:
        """What it runs: a frozen dataclass.

        It has the fields `device` (`cpu` or `cuda`), `devices` (how many of them this machine has) and `memory` (bytes
        that it holds, 0 if nobody knows). All others must be the same for all workers, or results would differ.
        """
        ...

    def begin(self, orders: _Orders) -> None:
        """Learn what is wanted; raises PeaframeError where it cannot be done."""
        ...

    def do(self, unit: _Unit) -> _Result:
        """Do a unit. PeaframeError ends the run; MemoryError, RuntimeError, ValueError and OSError lose the unit."""
        ...

    def close(self) -> None:
        """Remove what would stay."""
        ...


class Machine(Protocol[_Facts, _Orders, _Unit, _Result]):
    """What makes workers; it is pickled."""

    @property
    def model(self) -> str:
        """What they load, for people."""
        ...

    @property
    def device(self) -> str:
        """`cpu`, `cuda`, `cuda:1` ..., or `auto`."""
        ...

    def on(self, device: str) -> Machine[_Facts, _Orders, _Unit, _Result]:
        """The same on another device."""
        ...

    def worker(self) -> Worker[_Facts, _Orders, _Unit, _Result]:
        """Load a worker; raises ModelError and OptionError where that cannot be."""
        ...


class Lost(Protocol[_Result]):
    """What engines ask of a unit when workers were lost over it."""

    def alone(self) -> Sequence[Any]:
        """A unit of each single thing in it; one if there is only one."""
        ...

    def failed(self, tries: int, reason: str) -> _Result:
        """The result of a unit of one thing that so many workers were lost over, the last one for this reason."""
        ...


class Engine(Protocol[_Facts, _Orders, _Unit, _Result]):
    """Workers, wherever they are."""

    @property
    def jobs(self) -> int:
        """How many workers there are, or will be."""
        ...

    def facts(self) -> _Facts:
        """What the workers run; raises PeaframeError where they cannot."""
        ...

    def share(self, make: Callable[[], T]) -> Callable[[], T]:
        """What gives each worker an object of all of them, such as a file of this machine that they write to.

        Args:
            make: gives the object; it is pickled, and called in another process, as is all that its methods are given.
        """
        ...

    def begin(self, orders: _Orders) -> None:
        """Tell the workers what is wanted."""
        ...

    def do(self, units: Iterable[_Unit | None]) -> Iterator[_Result]:
        """Have units done, several at a time; few are taken before others are done. Results come as they are ready.

        None among the units means that there is none for now, only when others are done.
        """
        ...

    def close(self) -> None:
        """Let the workers go."""
        ...


@dataclass(frozen=True)
class Attempt(Generic[UnitT, ResultT]):
    """A unit on its way, and how many workers were lost over it."""

    unit: UnitT
    losses: int = 0

    def lost(self, reason: str) -> tuple[list[Attempt[UnitT, ResultT]], ResultT | None]:
        """What to do when a worker died, or failed for no reason of ours, over this unit.

        It is tried again, then each thing in it by itself; one that goes on to end its workers has failed.

        Returns:
            What is to be tried now; or the result.
        """
        if self.losses + 1 < TRIES:
            return [dataclasses.replace(self, losses=self.losses + 1)], None
        unit: Any = self.unit
        alone = unit.alone()
        if len(alone) > 1:
            return [Attempt(one) for one in alone], None
        result: ResultT = unit.failed(TRIES, reason)
        return [], result


def lost(
    attempt: Attempt[UnitT, ResultT], reason: str, waiting: deque[Attempt[UnitT, ResultT]]
) -> ResultT | None:
    """Put what is to be tried again before all that waits; or give the result."""
    again, result = attempt.lost(reason)
    waiting.extendleft(reversed(again))
    return result
