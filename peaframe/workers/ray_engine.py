"""Workers that are actors of a Ray cluster, or of a Ray of this machine's own.

Each actor has one model, loaded once, and one processor, or one GPU and one processor. It needs the files under
the paths or URLs they have here, the model, and the same peaframe; what it found comes back to this process, the only
one that writes. Every actor holds two units at most, so neither this process nor the object store grows with the run.

An actor that dies, or is lost with its node, is replaced: by one elsewhere, or on a node that comes later. What it was
at counts as lost (`Attempt.lost`), what waited for it is given to another. Ray itself tries nothing again.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Generic

from peaframe.errors import ModelError, OptionError
from peaframe.version import __version__
from peaframe.workers.answers import BEGUN, BUG, DONE, ERROR, FACTS, FAILED, HELLO, Actor, Shared, raised
from peaframe.workers.cluster import StandIn, knock, line, ray_package
from peaframe.workers.engine import Attempt, FactsT, Machine, OrdersT, ResultT, T, UnitT, lost
from peaframe.workers.local import processors

_AHEAD = 2  # units an actor holds: the one it does and the next
_DEATHS = 3  # actors in a row that may die before they are ready
_LOOK_SECONDS = 5.0  # how often the cluster is looked at for new nodes
_PATIENCE_SECONDS = 300.0  # for the cluster to find room for an actor; nodes in clouds take minutes to come
_STORE_BYTES = 256 << 20  # of this machine's own Ray; results that find no room are written to disk by it
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@dataclass(frozen=True)
class _Task:
    """Something an actor was asked: its answer to be, and the unit if it is one."""

    ref: Any
    attempt: Attempt[Any, Any] | None = None


@dataclass
class _Hand:
    """One actor, as seen from here: whether the cluster has found room for it, and whether it can take units."""

    actor: Any
    placed: bool = False
    ready: bool = False
    holds: deque[_Task] = field(default_factory=deque)


class RayEngine(Generic[FactsT, OrdersT, UnitT, ResultT]):
    """Actors of a Ray cluster; see `Engine`."""

    def __init__(
        self,
        machine: Machine[FactsT, OrdersT, UnitT, ResultT],
        jobs: int | None = None,
        address: str | None = None,
    ) -> None:
        """Prepare; Ray is started, or connected to, when the workers are first asked for.

        Args:
            machine: what each worker runs; `auto` means GPUs if the cluster has any.
            jobs: how many workers there are; None for as many as the cluster has room for, now and later.
            address: of a cluster, as `ray.init` knows it; None for a Ray of this machine's own.

        Raises:
            OptionError: the device names one GPU of many, which is for the cluster to choose.
        """
        if machine.device.startswith("cuda:"):
            raise OptionError(f"--device {machine.device}: Ray chooses among GPUs; give --device cuda")
        self._machine = machine
        self._asked, self._count = jobs, jobs or 0
        self._address = address
        self._ray: Any = None
        self._ours = False
        self._hands: list[_Hand] = []
        self._facts: Any = None
        self._told = False
        self._begun = False
        self._orders: OrdersT | None = None
        self._shared: list[Any] = []
        self._deaths = 0
        self._looked = 0.0
        self._print: Callable[..., None] | None = None

    @property
    def jobs(self) -> int:
        """How many workers there are, or will be."""
        self.facts()
        return self._count

    def facts(self) -> FactsT:
        """See `Engine`; connects, and starts the first worker."""
        if self._facts is None:
            self._connect()
            self._start()
            while not self._told:
                for _ in self._step(deque()):
                    pass
            self._count = self._asked or max(1, self._room())
        facts: FactsT = self._facts
        return facts

    def share(self, make: Callable[[], T]) -> Callable[[], T]:
        """See `Engine`; the object is in a process of its own on this machine."""
        self.facts()
        here = self._ray.get_runtime_context().get_node_id()
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        kind = self._ray.remote(max_restarts=0, num_cpus=0, scheduling_strategy=strategy)(Shared)
        actor = kind.remote(make, os.getcwd())
        self._shared.append(actor)
        return StandIn(actor)

    def begin(self, orders: OrdersT) -> None:
        """See `Engine`; starts all other workers."""
        self.facts()
        self._orders, self._begun = orders, True
        for hand in self._hands:
            hand.ready = False
            hand.holds.append(_Task(hand.actor.begin.remote(orders)))
        while not any(hand.ready for hand in self._hands):  # what the model cannot do is said now
            for _ in self._step(deque()):
                pass
        self._grow()

    def do(self, units: Iterable[UnitT | None]) -> Iterator[ResultT]:
        """See `Engine`."""
        waiting: deque[Attempt[UnitT, ResultT]] = deque()
        left = iter(units)
        while True:
            self._grow()
            self._give(waiting, left)
            if not waiting and not any(task.attempt for hand in self._hands for task in hand.holds):
                unit = next(left, None)  # there is one only if no worker is ready
                if unit is None:
                    return
                waiting.append(Attempt(unit))
            yield from self._step(waiting)

    def close(self) -> None:
        """See `Engine`; what was started by us is shut down."""
        for hand in self._hands:
            self._kill(hand.actor)
        for actor in self._shared:
            self._kill(actor)
        self._hands.clear()
        self._shared.clear()
        if self._ours:
            self._ours = False
            self._ray.shutdown()
        if self._print is not None:
            self._ray._private.worker.print_to_stdstream = self._print
            self._print = None

    # -- the cluster

    def _connect(self) -> None:
        if self._ray is not None:
            return
        before = {name: os.environ.get(name) for name in _QUIET}
        os.environ.update(_QUIET)  # only while Ray starts; its own processes inherit it
        try:
            ray = ray_package()
            if not ray.is_initialized():
                self._init(ray)
                self._ours = True
            elif self._address is not None:
                raise OptionError(
                    f"--ray-address {self._address}: this process has a Ray already; leave it out to use that"
                )
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        self._ray = ray
        self._hush()
        device = self._machine.device
        if device == "auto":
            self._machine = self._machine.on("cuda" if self._total("GPU") >= 1 else "cpu")

    def _init(self, ray: Any) -> None:
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._address is not None:
            knock(self._address)
            where: dict[str, Any] = {"address": self._address}
        else:
            count = max(processors(), self._asked or 1)
            where = {"address": "local", "num_cpus": count, "include_dashboard": False}
            where["object_store_memory"] = _STORE_BYTES
        try:
            ray.init(**where, **quiet)
        except Exception as error:
            name = f"--ray-address {self._address}" if self._address else "--engine ray"
            raise OptionError(f"{name}: Ray did not start ({line(error)}); look at its logs") from error

    def _hush(self) -> None:
        """Keep Ray from printing deaths, which are our business, among the results on standard output."""
        worker = sys.modules.get("ray._private.worker")
        self._print = getattr(worker, "print_to_stdstream", None)
        if worker is not None and self._print is not None:
            worker.__dict__["print_to_stdstream"] = lambda *_, **__: None

    def _total(self, kind: str) -> float:
        return float(self._ray.cluster_resources().get(kind, 0))

    def _needs(self) -> dict[str, float]:
        """What Ray is to set aside for an actor; its memory once we know it."""
        needs = {"CPU": 1.0}
        if self._machine.device == "cuda":
            needs["GPU"] = 1.0
        if self._facts is not None and self._facts.memory:
            needs["memory"] = float(self._facts.memory)
        return needs

    def _room(self) -> int:
        """How many actors all living nodes have room for, whoever else uses them."""
        needs = self._needs()
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return sum(
            math.floor(min(node.get(name, 0) / need for name, need in needs.items())) for node in nodes
        )

    def _grow(self) -> None:
        """Start the workers that are missing; on clusters that grow, there are more from time to time."""
        now = time.monotonic()
        if self._asked is None and now - self._looked > _LOOK_SECONDS:
            self._looked = now
            self._count = max(self._count, self._room())
        while len(self._hands) < self._count:
            self._start()

    def _start(self) -> None:
        needs = self._needs()
        options = {
            "num_cpus": needs["CPU"],
            "num_gpus": needs.get("GPU", 0),
            "memory": needs.get("memory"),
        }
        kind = self._ray.remote(max_restarts=0, max_task_retries=0, **options)(Actor)
        actor = kind.remote(self._machine, os.getcwd())
        hand = _Hand(actor)
        hand.holds += [_Task(actor.hello.remote()), _Task(actor.load.remote())]
        if self._begun:
            hand.holds.append(_Task(actor.begin.remote(self._orders)))
        self._hands.append(hand)

    def _kill(self, actor: Any) -> None:
        with contextlib.suppress(Exception):  # it may be dead, and Ray with it
            self._ray.kill(actor, no_restart=True)

    # -- the work

    def _give(self, waiting: deque[Attempt[UnitT, ResultT]], left: Iterator[UnitT | None]) -> None:
        """Give units to all that are ready, one each before anyone gets a second."""
        for count in range(1, _AHEAD + 1):
            for hand in self._hands:
                if not hand.ready or len(hand.holds) >= count:
                    continue
                if waiting:
                    attempt = waiting.popleft()
                else:
                    unit = next(left, None)
                    if unit is None:
                        return
                    attempt = Attempt(unit)
                hand.holds.append(_Task(hand.actor.do.remote(attempt.unit), attempt))

    def _step(self, waiting: deque[Attempt[UnitT, ResultT]]) -> Iterator[ResultT]:
        """Wait until some actors have answered, and take what they say; or for a while, if none does."""
        first = {hand.holds[0].ref: hand for hand in self._hands if hand.holds}
        patience = time.monotonic() + _PATIENCE_SECONDS
        answered, _ = self._ray.wait(list(first), num_returns=1, timeout=_LOOK_SECONDS)
        while not answered and not any(hand.placed for hand in self._hands):
            left = patience - time.monotonic()
            if left <= 0:
                raise self._no_room()
            answered, _ = self._ray.wait(list(first), num_returns=1, timeout=min(_LOOK_SECONDS, left))
        if answered:
            answered, _ = self._ray.wait(list(first), num_returns=len(first), timeout=0)
        for ref in answered:
            result = self._take(first[ref], waiting)
            if result is not None:
                yield result

    def _take(self, hand: _Hand, waiting: deque[Attempt[UnitT, ResultT]]) -> ResultT | None:
        task = hand.holds[0]
        errors = self._ray.exceptions
        try:
            kind, value = copy.deepcopy(self._ray.get(task.ref))  # Ray's arrays hold on to its store
        except errors.RayTaskError as error:
            raise RuntimeError(f"a worker failed:\n{error}") from error
        except errors.RayError as error:
            if isinstance(error, errors.ObjectLostError) and task.attempt is not None:
                waiting.appendleft(task.attempt)  # it was done, and its result lost with the node
                hand.holds.popleft()
                return None
            return self._replace(hand, error, waiting)
        hand.holds.popleft()
        if kind == ERROR:
            raise raised(*value)
        if kind == BUG:
            raise RuntimeError(f"a worker failed:\n{value}")
        if kind == HELLO:
            hand.placed = True
            self._check_version(*value)
            return None
        self._deaths = 0
        if kind == FAILED and task.attempt is not None:
            return lost(task.attempt, value, waiting)
        if kind == DONE:
            result: ResultT = value
            return result
        if kind == FACTS:
            self._check_facts(*value)
        hand.ready = kind == BEGUN
        return None

    def _replace(
        self, hand: _Hand, error: Exception, waiting: deque[Attempt[UnitT, ResultT]]
    ) -> ResultT | None:
        """Put a new actor in the place of one that died over the first thing it held."""
        self._kill(hand.actor)
        self._hands.remove(hand)
        if not hand.ready:
            self._deaths += 1
            if self._deaths >= max(_DEATHS, self._count):  # all of a node may be lost at once
                raise ModelError(
                    f"{self._deaths} workers died before they did anything ({line(error)}); see that all nodes have "
                    f"peaframe {__version__}, {self._machine.model} and memory for it"
                ) from error
        self._start()
        first, *rest = (task.attempt for task in hand.holds)
        waiting.extendleft(reversed([attempt for attempt in rest if attempt is not None]))
        if first is None:
            return None
        memory = "OutOfMemory" in type(error).__name__
        reason = "out of memory" if memory else "killed, or lost with its node"
        return lost(first, reason, waiting)

    def _check_version(self, host: str, version: str) -> None:
        if version != __version__:
            raise ModelError(
                f"{host}: has peaframe {version}, this machine {__version__}; install the same on all nodes"
            )

    def _check_facts(self, host: str, facts: Any) -> None:
        """All must give the same numbers."""
        if self._facts is None:
            self._facts, self._told = facts, True
        for name in (each.name for each in fields(facts) if each.name not in ("devices", "memory")):
            got, expected = getattr(facts, name), getattr(self._facts, name)
            if got != expected:
                raise ModelError(
                    f"{host}: its workers have {name} {got}, others {expected}, so results would differ; "
                    "use nodes of one kind, with one model"
                )

    def _no_room(self) -> ModelError:
        def text(resources: dict[str, float]) -> str:
            return ", ".join(f"{resources.get(name, 0):g} {name}" for name in ("CPU", "GPU"))

        free, total = self._ray.available_resources(), self._ray.cluster_resources()
        return ModelError(
            f"Ray found no room for a worker in {_PATIENCE_SECONDS:.0f} s: it needs {text(self._needs())}; there are "
            f"{text(total)}, free of them {text(free)}; add nodes, or give another --device"
        )
