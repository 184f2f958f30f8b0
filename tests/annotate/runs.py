"""Runs of `annotate` for tests: real recordings, the real model, in this process or as the installed command."""

import json
import os
import runpy
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import soundfile

from peaframe.annotate.job import Job
from peaframe.annotate.progress import Progress
from peaframe.annotate.run import annotate
from peaframe.events import EventOptions

left_of = runpy.run_path(str(Path(__file__).parents[1] / "processes.py"))["left_of"]
DEMO = Path(__file__).parents[2] / "examples" / "demo.flac"
QUERIES = ("dog barking", "caw")
ALL = EventOptions(threshold=0.0, median=0)  # the whole recording is one event
RATE = 48_000


def demo(seconds, rate=RATE, begin=0.0):
    """The demo, tiled, of any length and rate, from any second of it."""
    sound, own = soundfile.read(DEMO, dtype="float32")
    first, count = round(begin * own), round(seconds * own)
    tiled = np.tile(sound, (first + count) // len(sound) + 1)[first : first + count]
    if rate == own:
        return tiled
    at = np.arange(round(seconds * rate)) * own / rate
    return np.interp(at, np.arange(len(tiled)), tiled).astype("float32")


def write(path, seconds, rate=RATE, begin=0.0, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = demo(seconds, rate, begin)
    with soundfile.SoundFile(path, "w", rate, channels) as file:
        for at in range(0, len(sound), rate):  # libsndfile dies of a long write of Vorbis
            file.write(np.stack([sound[at : at + rate]] * channels, axis=1))
    return path


class Here:
    """An engine in this process: one real worker; `units` are those it was given; it can be told to do something."""

    jobs = 1

    def __init__(self, worker, before=None, after=None):
        self._worker, self._before, self._after = worker, before, after
        self.units = []

    def facts(self):
        return self._worker.facts()

    def begin(self, orders):
        self._worker.begin(orders)

    def do(self, units):
        for unit in units:
            self.units.append(unit)
            if self._before is not None:
                self._before(unit)
            result = self._worker.do(unit)
            yield result
            if self._after is not None:
                self._after(unit)

    def close(self):
        pass

    @property
    def heard(self):
        """Names of the files it was given, each once, in order."""
        return list(dict.fromkeys(Path(piece.path).name for unit in self.units for piece in unit.pieces))


class StopError(Exception):
    """What stops a run between two units."""


def stopper(after):
    """Stops a run when so many units are done."""
    left = [after]

    def stop(unit):
        left[0] -= 1
        if left[0] <= 0:
            raise StopError

    return stop


def go(worker, inputs, output, queries=QUERIES, before=None, after=None, **options):
    """Annotate in this process; gives the outcome and the engine."""
    engine = Here(worker, before, after)
    inputs = [str(one) for one in (inputs if isinstance(inputs, list) else [inputs])]
    job = Job(inputs=inputs, output=Path(output), queries=list(queries), **options)
    return annotate(job, engine, Progress("none")), engine


def views(folder):
    """All that a run wrote but its journal: bytes by name below the folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and not path.name.startswith("journal.sqlite")
    }


def times(folder):
    """When each of these was written."""
    return {name: (Path(folder) / name).stat().st_mtime_ns for name in views(folder)}


def rows(path):
    """The lines of a CSV table as dicts."""
    import csv

    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def failed(folder):
    path = Path(folder) / "failed.csv"
    return {row["filename"]: row["reason"] for row in rows(path)} if path.exists() else {}


COMMAND = [str(Path(sysconfig.get_path("scripts")) / "peaframe"), "annotate"]


def command(*arguments):
    """Begin `peaframe annotate` as a process group of its own."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process, timeout=120):
    """Its exit code, and what it said."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def kill(process, how=signal.SIGKILL):
    os.killpg(process.pid, how)


def python(code, *arguments, **options):
    """Begin Python on some code."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def notes(text):
    """The lines of `--progress json`."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
