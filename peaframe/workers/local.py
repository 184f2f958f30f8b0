"""Workers that are processes of this machine.

Each has its own model and one thread, so that as many as there are processors keep all of them busy; with GPUs there is
one for each. A worker that dies, of a damaged recording or for want of memory, is replaced. When the run itself is
killed its workers see their pipe close, and end.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic

from peaframe.errors import ModelError, PeaframeError
from peaframe.workers.answers import attempted, raised
from peaframe.workers.engine import Attempt, FactsT, Machine, OrdersT, ResultT, T, UnitT, Worker, lost

_AHEAD = 2  # units a worker holds: the one it does and the next
_DEATHS = 3  # workers in a row that may die before they say anything


@dataclass
class _Hand:
    """One worker, as seen from here; one that is ready can take units."""

    process: SpawnProcess
    pipe: Connection
    ready: bool = False
    holds: deque[Attempt[Any, Any]] = field(default_factory=deque)


class LocalEngine(Generic[FactsT, OrdersT, UnitT, ResultT]):
    """Processes of this machine; see `Engine`."""

    def __init__(self, machine: Machine[FactsT, OrdersT, UnitT, ResultT], jobs: int | None = None) -> None:
        """Prepare.

        Args:
            machine: what each worker runs.
            jobs: how many there are; None for one to each GPU, or to each processor as far as memory goes.
        """
        self._machine = machine
        self._jobs = jobs
        self._context = multiprocessing.get_context("spawn")
        self._hands: list[_Hand] = []
        self._facts: Any = None
        self._begun = False
        self._orders: OrdersT | None = None
        self._started = 0

    @property
    def jobs(self) -> int:
        """How many workers there are, or will be."""
        if self._jobs is not None:
            return self._jobs
        facts: Any = self.facts()
        if facts.device != "cpu":
            return int(facts.devices)
        room = _available() // facts.memory if facts.memory else processors()
        return max(1, min(processors(), room))

    def facts(self) -> FactsT:
        """See `Engine`; starts the first worker."""
        if self._facts is None:
            hand = self._start()
            self._facts = self._hear_from(hand)
        facts: FactsT = self._facts
        return facts

    def share(self, make: Callable[[], T]) -> Callable[[], T]:
        """See `Engine`; processes of one machine may each make their own."""
        return make

    def begin(self, orders: OrdersT) -> None:
        """See `Engine`; starts all other workers."""
        self.facts()
        self._orders, self._begun = orders, True
        first = self._hands[0]
        first.pipe.send(("begin", orders))
        first.ready = self._hear_from(first) is None  # what the model cannot do is said now, once
        while len(self._hands) < self.jobs:
            self._start()

    def do(self, units: Iterable[UnitT | None]) -> Iterator[ResultT]:
        """See `Engine`."""
        waiting: deque[Attempt[UnitT, ResultT]] = deque()
        left = iter(units)
        deaths = 0
        while True:
            for hand in self._hands:
                while hand.ready and len(hand.holds) < _AHEAD:
                    attempt = waiting.popleft() if waiting else _next(left)
                    if attempt is None:
                        break
                    hand.holds.append(attempt)
                    _send(hand, ("do", attempt.unit))
            if not waiting and not any(hand.holds for hand in self._hands):
                attempt = _next(left)  # there is one only if no worker is ready
                if attempt is None:
                    return
                waiting.append(attempt)
                continue
            for hand in self._ready():
                try:
                    kind, value = hand.pipe.recv()
                except (EOFError, OSError):
                    deaths += not hand.ready
                    if deaths >= _DEATHS:
                        hand.process.join()
                        raise ModelError(
                            f"{_DEATHS} workers died before they did anything ({_death(hand)}); "
                            "use fewer --jobs, or a smaller model"
                        ) from None
                    result = self._replace(hand, waiting)
                else:
                    result = self._told(hand, kind, value, waiting)
                    deaths = deaths if kind == "facts" else 0
                if result is not None:
                    yield result

    def close(self) -> None:
        """See `Engine`."""
        for hand in self._hands:
            hand.pipe.close()
        for hand in self._hands:
            hand.process.join(1)
            if hand.process.is_alive():
                hand.process.kill()
                hand.process.join()
        self._hands.clear()

    def _start(self) -> _Hand:
        ours, theirs = self._context.Pipe()
        machine = self._machine
        if self._facts is not None and self._facts.devices > 1 and self._facts.device == "cuda":
            machine = machine.on(f"cuda:{self._started % self._facts.devices}")
        process = self._context.Process(
            target=_serve, args=(theirs, machine), name="peaframe-worker", daemon=True
        )
        process.start()
        theirs.close()
        self._started += 1
        hand = _Hand(process, ours)
        if self._begun:
            hand.pipe.send(("begin", self._orders))
        self._hands.append(hand)
        return hand

    def _hear_from(self, hand: _Hand) -> Any:
        """The answer of a worker that was asked something; its errors are ours."""
        try:
            kind, value = hand.pipe.recv()
        except (EOFError, OSError):
            hand.process.join()
            raise ModelError(
                f"the worker died while it loaded {self._machine.model} ({_death(hand)}); use a smaller model"
            ) from None
        if kind == "error":
            raise raised(*value)
        if kind == "bug":
            raise RuntimeError(f"a worker failed:\n{value}")
        return value

    def _ready(self) -> list[_Hand]:
        """Workers that have something to say, or have died."""
        pipes: dict[Any, _Hand] = {hand.pipe: hand for hand in self._hands}
        return [pipes[pipe] for pipe in wait(list(pipes))]

    def _told(
        self, hand: _Hand, kind: str, value: Any, waiting: deque[Attempt[UnitT, ResultT]]
    ) -> ResultT | None:
        if kind == "done":
            hand.holds.popleft()
            result: ResultT = value
            return result
        if kind == "failed":
            return lost(hand.holds.popleft(), value, waiting)
        if kind == "error":
            raise raised(*value)
        if kind == "bug":
            raise RuntimeError(f"a worker failed:\n{value}")
        hand.ready = kind == "begun"
        return None

    def _replace(self, hand: _Hand, waiting: deque[Attempt[UnitT, ResultT]]) -> ResultT | None:
        """Put a new worker in the place of one that died over the first unit it held."""
        hand.process.join()
        hand.pipe.close()
        self._hands.remove(hand)
        self._start()
        if not hand.holds:
            return None
        first = hand.holds.popleft()
        waiting.extendleft(reversed(hand.holds))
        return lost(first, _death(hand), waiting)


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _serve(pipe: Connection, machine: Machine[Any, Any, Any, Any]) -> None:
    """A worker's life: load, then do what is asked for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then lets its workers go
    asked: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    ready: list[Worker[Any, Any, Any, Any]] = []

    def listen() -> None:
        with suppress(EOFError, OSError):
            while True:
                asked.put(pipe.recv())
        for worker in ready:
            worker.close()
        os._exit(0)  # the run is gone, and with it whoever wants the result

    threading.Thread(target=listen, name="peaframe-orders", daemon=True).start()
    try:
        worker = machine.worker()
        ready.append(worker)
        pipe.send(("facts", worker.facts()))
        while True:
            kind, value = asked.get()
            if kind == "begin":
                worker.begin(value)
                pipe.send(("begun", None))
                continue
            pipe.send(attempted(worker, value))
    except PeaframeError as error:
        pipe.send(("error", (type(error).__name__, str(error))))
    except (BrokenPipeError, ConnectionError):
        pass
    except BaseException:
        pipe.send(("bug", traceback.format_exc()))


def _next(units: Iterator[UnitT | None]) -> Attempt[UnitT, Any] | None:
    unit = next(units, None)
    return None if unit is None else Attempt(unit)


def _send(hand: _Hand, message: tuple[str, Any]) -> None:
    with suppress(BrokenPipeError, ConnectionError):  # where it has died, `do` will see
        hand.pipe.send(message)


def _death(hand: _Hand) -> str:
    code = hand.process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"killed by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
    return f"exit code {code}"


def resident() -> int:
    """Bytes of memory this process holds; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        try:
            import resource
        except ImportError:
            return 0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if os.uname().sysname == "Darwin" else peak * 1024


def _available() -> int:
    """Bytes of memory that may be used; a great many where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024 * 9 // 10
    except (OSError, KeyError, ValueError):
        return 1 << 50
