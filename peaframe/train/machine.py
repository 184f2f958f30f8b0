"""What a run would be on, and what it would take there: seconds, days, money. Only arithmetic, without torch."""

from __future__ import annotations

from dataclasses import dataclass

from peaframe.errors import OptionError


@dataclass(frozen=True)
class Machine:
    """What a run would be on. The defaults are of no machine in particular, and their price is made up.

    Attributes:
        gpus: how many, one process each.
        flops: operations a second of one, at its peak, in the run's precision.
        utilisation: share of the peak that is really reached.
        memory: bytes of one.
        price: of one for an hour, in any currency.
    """

    gpus: int = 1
    flops: float = 989e12
    utilisation: float = 0.35
    memory: float = 80e9
    price: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        good = self.gpus >= 1 and self.flops > 0 and self.memory > 0 and self.price >= 0
        if not good or not 0 < self.utilisation <= 1:
            raise OptionError(
                f"got {self.gpus} GPUs of {self.flops:g} FLOP/s, utilisation {self.utilisation:g}, {self.memory:g} "
                f"bytes and price {self.price:g}; expected numbers above 0, and a share up to 1"
            )

    def seconds(self, operations: float) -> float:
        """What one GPU needs for so many operations."""
        return operations / (self.flops * self.utilisation)

    def days(self, seconds: float) -> float:
        """So many seconds in days."""
        return seconds / 86_400

    def cost(self, seconds: float) -> float:
        """Of so many seconds on all GPUs."""
        return self.days(seconds) * 24 * self.gpus * self.price

    def memory_line(self, needed: float, remedy: str) -> str:
        """Whether so many bytes fit on a GPU, and what to do if not; a GB is 1e9 bytes."""
        fits = "fits" if needed < self.memory else f"DOES NOT FIT; use {remedy}"
        return f"{'memory:':<13} {needed / 1e9:9.3f} GB of {self.memory / 1e9:g}: {fits}"

    def step_line(self, clips: int, operations: float) -> str:
        """A step of so many clips on all GPUs, and so many operations on each."""
        return (
            f"a step: {clips} clips, {operations / 1e12:.3f} TFLOP on each of {self.gpus} GPUs, "
            f"{self.seconds(operations):.3f} s at {100 * self.utilisation:g} % of {self.flops / 1e12:g} TFLOP/s"
        )

    def run_line(self, steps: int, seconds: float) -> str:
        """Days and money for so many steps of so many seconds."""
        whole = steps * seconds
        return (
            f"{steps} steps: {self.days(whole):.2f} days, {self.days(whole) * 24 * self.gpus:.1f} GPU-hours, cost "
            f"{self.cost(whole):.2f} at {self.price:g} an hour"
        )
