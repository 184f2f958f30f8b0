"""A worker in a process far away, and what it answers: (kind, value), and what that means to the run."""

from __future__ import annotations

import contextlib
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any

from peaframe import errors
from peaframe.errors import ModelError, PeaframeError
from peaframe.version import __version__
from peaframe.workers.engine import Machine, Worker

HELLO, FACTS, BEGUN, DONE, FAILED, ERROR, BUG = "hello", "facts", "begun", "done", "failed", "error", "bug"
Answer = tuple[str, Any]


class Actor:
    """A worker that is asked one thing after the other, and raises nothing: `error` and `bug` are answers, too."""

    def __init__(self, machine: Machine[Any, Any, Any, Any], folder: str) -> None:
        """Load nothing yet; relative paths mean what they mean in `folder`, where there is one."""
        with contextlib.suppress(OSError):
            os.chdir(folder)
        self._machine = machine

    def hello(self) -> Answer:
        """Say that this process lives: `hello` with the host's name and peaframe's version."""
        return HELLO, (socket.gethostname(), __version__)

    def load(self) -> Answer:
        """Load the model: `facts` with the host's name and `Facts`."""

        def load() -> Answer:
            self._worker = self._machine.worker()
            return FACTS, (socket.gethostname(), self._worker.facts())

        return answered(load)

    def begin(self, orders: Any) -> Answer:
        """Learn what is wanted: `begun`."""

        def begin() -> Answer:
            self._worker.begin(orders)
            return BEGUN, None

        return answered(begin)

    def do(self, unit: Any) -> Answer:
        """Do a unit: `done` with its result, or `failed` with a reason that may lie in this worker alone."""
        return answered(lambda: attempted(self._worker, unit))


class Shared:
    """An object in a process of its own, made when it is first called."""

    def __init__(self, make: Callable[[], Any], folder: str) -> None:
        """Make nothing yet; relative paths mean what they mean in `folder`."""
        with contextlib.suppress(OSError):
            os.chdir(folder)
        self._make: Callable[[], Any] | None = make
        self._thing: Any = None

    def call(self, method: str, given: tuple[Any, ...]) -> Answer:
        """What a method gives: `done`, or `error` or `bug` for what it raises."""

        def call() -> Answer:
            if self._make is not None:
                self._thing, self._make = self._make(), None
            return DONE, getattr(self._thing, method)(*given)

        return answered(call)


def attempted(worker: Worker[Any, Any, Any, Any], unit: Any) -> Answer:
    """Do a unit: `done` with its result, or `failed` with a reason that may lie in this worker alone."""
    try:
        return DONE, worker.do(unit)
    except (MemoryError, RuntimeError, ValueError, OSError) as error:  # of a strange file, or no memory left
        return FAILED, f"{type(error).__name__}: {' '.join(str(error).split())}"


def raised(name: str, message: str) -> PeaframeError:
    """The error of an `error` answer."""
    kind = getattr(errors, name, ModelError)
    error: PeaframeError = PeaframeError.__new__(kind)
    Exception.__init__(error, message)
    return error


def answered(act: Callable[[], Answer]) -> Answer:
    """What something answers; `error` or `bug` for what it raises."""
    try:
        return act()
    except PeaframeError as error:
        return ERROR, (type(error).__name__, str(error))
    except BaseException:
        return BUG, traceback.format_exc()
