"""What runs units of work: the surface of all engines, and what they do about workers that die."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from peaframe.annotate.work import Facts, Orders, PieceResult, Unit, UnitResult

TRIES = 3  # a worker may be lost with its machine, twice; three times in a row it is the recording


class Engine(Protocol):
    """Workers, wherever they are."""

    @property
    def jobs(self) -> int:
        """How many workers there are, or will be."""
        ...

    def facts(self) -> Facts:
        """What the workers run; raises PeaframeError where they cannot."""
        ...

    def begin(self, orders: Orders) -> None:
        """Tell the workers what to listen for."""
        ...

    def do(self, units: Iterable[Unit]) -> Iterator[UnitResult]:
        """Have units done, several at a time; few are taken before others are done. Results come as they are ready."""
        ...

    def close(self) -> None:
        """Let the workers go."""
        ...


@dataclass(frozen=True)
class Attempt:
    """A unit on its way, and how many workers were lost over it."""

    unit: Unit
    losses: int = 0

    def lost(self, reason: str) -> tuple[list[Attempt], UnitResult | None]:
        """What to do when a worker died, or failed for no reason of ours, over this unit.

        It is tried again, then each of its recordings by itself; one that goes on to end its workers has failed.

        Returns:
            What is to be tried now; or the result.
        """
        if self.losses + 1 < TRIES:
            return [dataclasses.replace(self, losses=self.losses + 1)], None
        pieces = self.unit.pieces
        if len(pieces) > 1:
            return [Attempt(Unit(self.unit.number, (piece,))) for piece in pieces], None
        error = f"{pieces[0].path}: ended {TRIES} workers that heard it ({reason}); it may be damaged"
        return [], UnitResult(self.unit.number, (PieceResult(pieces[0].part, error=error, retry=True),))
