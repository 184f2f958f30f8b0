"""A worker in a process far away, and what it answers: (kind, value), and what that means to the run."""

from __future__ import annotations

import contextlib
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any

from peaframe import errors
from peaframe.annotate.work import Machine, Orders, Unit, Worker
from peaframe.errors import ModelError, PeaframeError
from peaframe.version import __version__

HELLO, FACTS, BEGUN, DONE, FAILED, ERROR, BUG = "hello", "facts", "begun", "done", "failed", "error", "bug"
Answer = tuple[str, Any]


class Actor:
    """A worker that is asked one thing after the other, and raises nothing: `error` and `bug` are answers, too."""

    def __init__(self, machine: Machine, folder: str) -> None:
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
            self._worker = Worker(self._machine)
            return FACTS, (socket.gethostname(), self._worker.facts())

        return _answered(load)

    def begin(self, orders: Orders) -> Answer:
        """Learn what to listen for: `begun`."""

        def begin() -> Answer:
            self._worker.begin(orders)
            return BEGUN, None

        return _answered(begin)

    def do(self, unit: Unit) -> Answer:
        """Hear a unit: `done` with its result, or `failed` with a reason that may lie in this worker alone."""

        def do() -> Answer:
            try:
                return DONE, self._worker.do(unit)
            except (
                MemoryError,
                RuntimeError,
                ValueError,
                OSError,
            ) as error:  # a strange recording, no memory left
                return FAILED, f"{type(error).__name__}: {' '.join(str(error).split())}"

        return _answered(do)


def raised(name: str, message: str) -> PeaframeError:
    """The error of an `error` answer."""
    kind = getattr(errors, name, ModelError)
    error: PeaframeError = PeaframeError.__new__(kind)
    Exception.__init__(error, message)
    return error


def _answered(act: Callable[[], Answer]) -> Answer:
    try:
        return act()
    except PeaframeError as error:
        return ERROR, (type(error).__name__, str(error))
    except BaseException:
        return BUG, traceback.format_exc()
