"""Fine-tuning in processes of its own, for tests that stop them: slowly, stopping, full or killed; see there."""

import json
import os
import random
import resource
import runpy
import signal
import sys
import time
from pathlib import Path

from peaframe.models import load_model
from peaframe.recipes.finetune import finetune, read_settings
from peaframe.train.finetune import Finetuning
from peaframe.train.journal import _board
from peaframe.train.resume import read_facts


def slowly(*arguments):
    """Train as the command does, but stay in the second step for a minute."""
    step = Finetuning._step

    def stay(run, batches):
        if run.step == 1:
            before = signal.getsignal(signal.SIGINT)
            print("in the second step", flush=True)
            end, told = time.monotonic() + 60, False
            while time.monotonic() < end:
                if signal.getsignal(signal.SIGINT) != before and not told:
                    print("noted", flush=True)
                    told = True
                time.sleep(0.01)
        return step(run, batches)

    Finetuning._step = stay
    command(*arguments)


def stopping(step, *arguments):
    """Train as the command does; the first process gets a SIGTERM in the step of that number."""
    real = Finetuning._step

    def stop(run, batches):
        if run.step == int(step) - 1 and run.place.first:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(run, batches)

    Finetuning._step = stop
    command(*arguments)


def full(size, *arguments):
    """Train as the command does, with no room for files of more than `size` bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    command(*arguments)


def command(*arguments):
    sys.argv = ["finetune", *arguments]
    sys.modules.pop("peaframe.recipes.finetune")
    runpy.run_module("peaframe.recipes.finetune", run_name="__main__")


def forked(config, out):
    """Train in a process of its own that need not import anything; gives its number, and a pipe that tells of steps."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    code, run = 1, Finetuning.run
    try:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        Finetuning.run = lambda self, stop: os.write(writer, b"!") and run(self, stop)
        code = 0 if finetune(read_settings(Path(config)), Path(out)) else 130
    finally:
        os._exit(code)


def killed(config, folder, kills, seed):
    """Train once whole; then kill as often as asked at random moments, and go on each time, to the end.

    A quarter of the kills are aimed at the time before the first step. Prints as JSON where each kill found a run: the
    step of its state, and what lay in the folder half written; and the folders of the runs that came to their end, in
    spite of it.
    """
    folder, kills, chance = Path(folder), int(kills), random.Random(int(seed))
    _board(folder / "board", 0).close()  # imports it
    marks = [time.monotonic()]
    child, reader = forked(config, folder / "whole")
    assert os.read(reader, 1) == b"!"
    marks.append(time.monotonic())
    assert os.waitpid(child, 0)[1] == 0
    ready, seconds = marks[1] - marks[0], time.monotonic() - marks[1]
    found, ended = [], []
    while True:
        out = folder / f"killed_{len(ended)}"
        child, reader = forked(config, out)
        if len(found) < kills:
            if len(found) % 4:
                os.read(reader, 1)
                time.sleep(chance.uniform(0, 1.6 * seconds / kills))
            else:
                time.sleep(chance.uniform(0, ready))
            os.kill(child, signal.SIGKILL)
        code = os.waitpid(child, 0)[1]
        os.close(reader)
        assert code in (0, signal.SIGKILL), code
        facts = read_facts(out) if out.exists() else None
        for name in ("last", "best"):
            if (out / name).exists():
                load_model(out / name)
        if code == 0:
            ended.append(out.name)
            if len(found) == kills:
                break
        else:
            hidden = sorted(p.name for p in out.glob(".*")) if out.exists() else []
            found.append([0 if facts is None else facts["step"], hidden])
    print(json.dumps({"kills": found, "ended": ended, "seconds": seconds}))


if __name__ == "__main__":
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # which may have been ignored by who began all this
    {"slowly": slowly, "stopping": stopping, "full": full, "killed": killed}[sys.argv[1]](*sys.argv[2:])
