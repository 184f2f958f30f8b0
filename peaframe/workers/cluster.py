"""Ray, as far as it has to be known before and beside the engine: whether it is there, and what workers share by it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

from peaframe.errors import MissingExtraError, ModelError, OptionError
from peaframe.workers.answers import BUG, ERROR, raised
from peaframe.workers.engine import T

ANSWER_SECONDS = 60.0  # for a cluster to answer at all
_KNOCK = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False); ray.shutdown()"


@dataclass(frozen=True)
class StandIn(Generic[T]):
    """Gives workers an object that is in another process; its methods are called there, one after the other."""

    actor: Any

    def __call__(self) -> T:
        """What looks like the object: its methods, and nothing else."""
        distant: Any = _Distant(self.actor)
        thing: T = distant
        return thing


class _Distant:
    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*given: Any) -> Any:
            ray = ray_package()
            try:
                kind, value = ray.get(self._actor.call.remote(name, given))
            except ray.exceptions.RayError as error:
                raise ModelError(
                    f"what all workers share is lost ({line(error)}); give the same command again"
                ) from error
            if kind == ERROR:
                raise raised(*value)
            if kind == BUG:
                raise RuntimeError(f"what all workers share failed:\n{value}")
            return value

        return call


def ray_package() -> Any:
    """Ray, or MissingExtraError."""
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray", "--engine ray") from error
    return ray


def knock(address: str) -> None:
    """See that a cluster answers; Ray itself would wait for minutes, print, and end this process."""
    reason = None
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        if host and port.isdigit():
            socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
        command = [sys.executable, "-c", _KNOCK, address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS)
        if done.returncode:
            reason = (done.stderr.split("\n\n")[-1].strip().splitlines() or ["no reason given"])[-1]
    except OSError as error:
        reason = error.strerror or str(error)
    except subprocess.TimeoutExpired:
        reason = f"no answer in {ANSWER_SECONDS:.0f} s"
    if reason is not None:
        raise OptionError(
            f"--ray-address {address}: no Ray cluster can be used there ({reason}); start one with `ray start --head`, "
            "or leave the option out for a Ray of this machine's own"
        )


def line(error: Exception) -> str:
    """An error of Ray's in one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."
