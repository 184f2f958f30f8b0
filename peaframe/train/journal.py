"""What a run tells: a bar for people, `log.jsonl` for machines, TensorBoard for those who have it."""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from tqdm import tqdm

from peaframe.errors import FormatError
from peaframe.train.resume import cut_log

LOG = "log.jsonl"


class Journal:
    """Means over `every` steps, written as a line each, the last one shorter; measurements as they come.

    A line has `step` and the means by name, or `step` and `valid`, the metrics. What is not finite is in no mean; of
    `skipped`, which counts up, it has the last value.
    """

    def __init__(
        self,
        folder: Path,
        step: int,
        steps: int,
        active: bool,
        measured: bool = True,
        carried: Mapping[str, Any] | None = None,
        every: int = 10,
    ) -> None:
        """Begin behind `step`.

        Args:
            folder: of the run; what its log says of later steps is cut off.
            step: how many steps are done.
            steps: how many there will be.
            active: false for all processes but one, which write and say nothing.
            measured: whether there is a measurement at `step`; if not, what the log says of one is cut off, too.
            carried: from `state_dict` at `step`, so that the next line is the one of an uninterrupted run.
            every: steps that a line stands for.
        """
        self._path, self._active, self._every, self._steps = folder / LOG, active, every, steps
        self._sums: dict[str, float] = dict((carried or {}).get("sums", {}))
        self._counts: dict[str, int] = dict((carried or {}).get("counts", {}))
        self._count, self._seconds, self._mark = 0, 0.0, time.monotonic()
        self._bar = tqdm(
            total=steps, initial=step, desc="train", unit="step", disable=None if active else True
        )
        self._board: Any = None
        self._skipped = 0
        if active:
            cut_log(self._path, step, measured)
            self._board = _board(folder, step)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._skipped:
            told = f"{self._skipped} of {self._steps} steps were not finite and changed nothing; see optim.lr"
            print(told, file=sys.stderr)
        if self._board is not None:
            with suppress(OSError):  # the same is in the log
                self._board.close()

    def state_dict(self) -> dict[str, Any]:
        """The sums that no line has yet, to go on from; numbers by name."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Take in what a step gave. Raises FormatError if a line cannot be written."""
        if not self._active:
            return
        for name, value in values.items():
            self._sums.setdefault(name, 0.0)
            self._counts.setdefault(name, 0)
            if name == "skipped":
                self._sums[name], self._counts[name] = value, 1
                self._skipped = int(value)
            elif math.isfinite(value):
                self._sums[name] += value
                self._counts[name] += 1
        self._count += 1
        now = time.monotonic()
        self._seconds, self._mark = self._seconds + now - self._mark, now
        self._bar.update()
        self._bar.set_postfix_str(
            f"loss {values['loss']:.3f}, lr {values['lr']:.1e}, {memory_bytes() / 2**30:.1f} GiB",
            refresh=False,
        )
        if step % self._every == 0 or step == self._steps:
            means = {name: self._sums[name] / n for name, n in self._counts.items() if n}
            self._write({"step": step, **means, "steps_per_second": self._count / max(self._seconds, 1e-9)})
            self._sums, self._counts, self._count, self._seconds = {}, {}, 0, 0.0

    def measured(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in what the model is worth at a step."""
        if self._active:
            self._write({"step": step, "valid": dict(metrics)})
            self._bar.write(
                f"step {step}: " + ", ".join(f"{k} {v:.4f}" for k, v in metrics.items() if "/" not in k),
                file=sys.stderr,
            )
            self._mark = time.monotonic()

    def _write(self, entry: Mapping[str, Any]) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise FormatError(
                f"{self._path}: cannot be written ({error.strerror}); make room and go on"
            ) from error
        if self._board is not None:
            for name, value in entry.get("valid", entry).items():
                if name != "step":
                    place = f"valid/{name}" if "valid" in entry else f"train/{name}"
                    self._board.add_scalar(place, value, entry["step"])


def _board(folder: Path, step: int) -> Any:
    """TensorBoard's writer, or None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)


def memory_bytes() -> int:
    """The most memory that this process has had: the GPU's if it has one, else its own."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
