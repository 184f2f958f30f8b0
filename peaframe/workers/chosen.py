"""An engine as people ask for it: `--engine`, `--jobs`, `--ray-address`."""

from __future__ import annotations

from peaframe.errors import OptionError
from peaframe.workers.engine import Engine, FactsT, Machine, OrdersT, ResultT, UnitT

ENGINES = ("local", "ray")


def check(engine: str, jobs: int | None, address: str | None) -> None:
    """See that what was asked for makes sense; raises OptionError."""
    if jobs is not None and jobs < 1:
        raise OptionError(f"--jobs: got {jobs}, expected 1 or more")
    if address is not None and engine != "ray":
        raise OptionError("--ray-address needs --engine ray; give both")


def engine_of(
    machine: Machine[FactsT, OrdersT, UnitT, ResultT], engine: str, jobs: int | None, address: str | None
) -> Engine[FactsT, OrdersT, UnitT, ResultT]:
    """An engine, not yet started.

    Args:
        machine: makes its workers.
        engine: one of `ENGINES`.
        jobs: how many workers; None for as many as there is room for.
        address: of a Ray cluster; None for a Ray of this machine's own.

    Raises:
        OptionError: what was asked for makes no sense.
    """
    check(engine, jobs, address)
    if engine == "ray":
        from peaframe.workers.ray_engine import RayEngine

        return RayEngine(machine, jobs, address)
    from peaframe.workers.local import LocalEngine

    return LocalEngine(machine, jobs)
