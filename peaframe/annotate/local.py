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
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from peaframe import errors
from peaframe.annotate.engine import Attempt
from peaframe.annotate.work import Facts, Machine, Orders, Unit, UnitResult, Worker
from peaframe.errors import ModelError, PeaframeError

_AHEAD = 2  # units a worker holds: the one it hears and the next
_DEATHS = 3  # workers in a row that may die before they say anything


@dataclass
class _Hand:
    """One worker, as seen from here."""

    process: SpawnProcess
    pipe: Connection
    holds: deque[Attempt] = field(default_factory=deque)


class LocalEngine:
    """Processes of this machine; see `Engine`."""

    def __init__(self, machine: Machine, jobs: int | None = None) -> None:
        """Prepare.

        Args:
            machine: what each worker runs.
            jobs: how many there are; None for one to each GPU, or to each processor as far as memory goes.
        """
        self._machine = machine
        self._jobs = jobs
        self._context = multiprocessing.get_context("spawn")
        self._hands: list[_Hand] = []
        self._facts: Facts | None = None
        self._orders: Orders | None = None
        self._started = 0

    @property
    def jobs(self) -> int:
        """How many workers there are, or will be."""
        if self._jobs is not None:
            return self._jobs
        facts = self.facts()
        if facts.device != "cpu":
            return facts.devices
        room = _available() // facts.memory if facts.memory else processors()
        return max(1, min(processors(), room))

    def facts(self) -> Facts:
        """See `Engine`; starts the first worker."""
        if self._facts is None:
            hand = self._start()
            self._facts = self._hear_from(hand)
        return self._facts

    def begin(self, orders: Orders) -> None:
        """See `Engine`; starts all other workers."""
        self._orders = orders
        self.facts()
        first = self._hands[0]
        first.pipe.send(("begin", orders))
        self._hear_from(first)  # what the model cannot do is said now, once
        while len(self._hands) < self.jobs:
            self._start()

    def do(self, units: Iterable[Unit]) -> Iterator[UnitResult]:
        """See `Engine`."""
        waiting: deque[Attempt] = deque()
        left = iter(units)
        deaths = 0
        while True:
            for hand in self._hands:
                while len(hand.holds) < _AHEAD:
                    attempt = waiting.popleft() if waiting else _next(left)
                    if attempt is None:
                        break
                    hand.holds.append(attempt)
                    _send(hand, ("do", attempt.unit))
            if not any(hand.holds for hand in self._hands):
                return
            for hand in self._ready():
                try:
                    kind, value = hand.pipe.recv()
                except (EOFError, OSError):
                    deaths += 1
                    if deaths >= _DEATHS and not hand.holds:
                        raise ModelError(
                            f"{_DEATHS} workers died before they heard anything ({_death(hand)}); "
                            "use fewer --jobs, or a smaller --model"
                        ) from None
                    result = self._replace(hand, waiting)
                else:
                    result = self._told(hand, kind, value, waiting)
                    deaths = 0
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
        if self._facts is not None and self._facts.devices > 1 and self._facts.device in ("cuda",):
            machine = replace(machine, device=f"cuda:{self._started % self._facts.devices}")
        process = self._context.Process(
            target=_serve, args=(theirs, machine), name="peaframe-worker", daemon=True
        )
        process.start()
        theirs.close()
        self._started += 1
        hand = _Hand(process, ours)
        if self._facts is not None and self._orders is not None:
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
                f"the worker died while it loaded {self._machine.model} ({_death(hand)}); use a smaller --model"
            ) from None
        if kind == "error":
            raise _error(*value)
        if kind == "bug":
            raise RuntimeError(f"a worker failed:\n{value}")
        return value

    def _ready(self) -> list[_Hand]:
        """Workers that have something to say, or have died."""
        pipes: dict[Any, _Hand] = {hand.pipe: hand for hand in self._hands}
        return [pipes[pipe] for pipe in wait(list(pipes))]

    def _told(self, hand: _Hand, kind: str, value: Any, waiting: deque[Attempt]) -> UnitResult | None:
        if kind == "done":
            hand.holds.popleft()
            result: UnitResult = value
            return result
        if kind == "failed":
            return _lost(hand.holds.popleft(), value, waiting)
        if kind == "error":
            raise _error(*value)
        if kind == "bug":
            raise RuntimeError(f"a worker failed:\n{value}")
        return None

    def _replace(self, hand: _Hand, waiting: deque[Attempt]) -> UnitResult | None:
        """Put a new worker in the place of one that died over the first unit it held."""
        hand.process.join()
        hand.pipe.close()
        self._hands.remove(hand)
        self._start()
        if not hand.holds:
            return None
        first = hand.holds.popleft()
        waiting.extendleft(reversed(hand.holds))
        return _lost(first, _death(hand), waiting)


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _serve(pipe: Connection, machine: Machine) -> None:
    """A worker's life: load, then do what is asked for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then lets its workers go
    asked: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    ready: list[Worker] = []

    def listen() -> None:
        with suppress(EOFError, OSError):
            while True:
                asked.put(pipe.recv())
        for worker in ready:
            worker.close()
        os._exit(0)  # the run is gone, and with it whoever wants the result

    threading.Thread(target=listen, name="peaframe-orders", daemon=True).start()
    try:
        worker = Worker(machine)
        ready.append(worker)
        pipe.send(("facts", worker.facts()))
        while True:
            kind, value = asked.get()
            if kind == "begin":
                worker.begin(value)
                pipe.send(("begun", None))
                continue
            try:
                result = worker.do(value)
            except (
                MemoryError,
                RuntimeError,
                ValueError,
                OSError,
            ) as error:  # a strange recording, no memory left
                pipe.send(("failed", f"{type(error).__name__}: {' '.join(str(error).split())}"))
            else:
                pipe.send(("done", result))
    except PeaframeError as error:
        pipe.send(("error", (type(error).__name__, str(error))))
    except (BrokenPipeError, ConnectionError):
        pass
    except BaseException:
        pipe.send(("bug", traceback.format_exc()))


def _next(units: Iterator[Unit]) -> Attempt | None:
    unit = next(units, None)
    return None if unit is None else Attempt(unit)


def _send(hand: _Hand, message: tuple[str, Any]) -> None:
    with suppress(BrokenPipeError, ConnectionError):  # where it has died, `do` will see
        hand.pipe.send(message)


def _lost(attempt: Attempt, reason: str, waiting: deque[Attempt]) -> UnitResult | None:
    again, result = attempt.lost(reason)
    waiting.extendleft(reversed(again))
    return result


def _death(hand: _Hand) -> str:
    code = hand.process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"killed by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
    return f"exit code {code}"


def _error(name: str, message: str) -> PeaframeError:
    kind = getattr(errors, name, ModelError)
    error: PeaframeError = PeaframeError.__new__(kind)
    Exception.__init__(error, message)
    return error


def _available() -> int:
    """Bytes of memory that may be used; a great many where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024 * 9 // 10
    except (OSError, KeyError, ValueError):
        return 1 << 50
