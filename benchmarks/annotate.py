"""What does `peaframe annotate` cost beside its model: jobs, tiny files, a second look, a whole day?

    python benchmarks/annotate.py [--parts speed tiny memory] [--files 200] [--tiny 100000] [--hours 24] [--jobs 2]

- speed: 200 files of 30 s, by a loop over `Detector.detect` in one process (with torch's own threads, and with one),
  and by `peaframe annotate` with 1 and with 2 jobs, by turns in one run; all from start-up to the last table.
- tiny: 100 000 files of 0.2 to 1 s: milliseconds each beyond the model's own time, and the same command once more when
  all is done.
- memory: one file of 24 h against one of 10 min: peak memory of the run and of its worker.

Ratios hold; absolute times are this machine's, in this hour.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile

from peaframe import audio
from peaframe.clock import SAMPLE_RATE

QUERIES = ("dog barking", "siren", "speech")
COMMAND = "import sys; from peaframe.cli.main import main; sys.exit(main())"
LOOP = """
import sys, torch
from pathlib import Path
from peaframe.infer.detector import load
if int(sys.argv[1]):
    torch.set_num_threads(int(sys.argv[1]))
detector = load()
for path in sorted(Path(sys.argv[2]).iterdir()):
    detector.detect(path, sys.argv[4:]).save(Path(sys.argv[3]) / f"{path.name}.csv")
"""
DEMO = Path(__file__).parent.parent / "examples" / "demo.flac"
EACH_SECONDS = 30
RATE = 16_000  # of the day: what a field recorder may have


class Run:
    """One command: how long it took, and the most memory of it and of its children (MiB)."""

    def __init__(self, *arguments: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
        began = time.monotonic()
        self.peaks: dict[int, float] = {}
        process = subprocess.Popen(
            [sys.executable, "-c", *arguments], env=environment, stdout=subprocess.DEVNULL
        )
        done = threading.Event()
        watch = threading.Thread(target=self._watch, args=(process.pid, done))
        watch.start()
        self.code = process.wait()
        self.seconds = time.monotonic() - began
        done.set()
        watch.join()
        if self.code:
            raise SystemExit(f"{arguments[1:]} ended with {self.code}")
        self.own = self.peaks.pop(process.pid, 0.0)
        self.workers = sorted(self.peaks.values())[-1:] or [0.0]

    def _watch(self, pid: int, done: threading.Event) -> None:
        while not done.wait(0.2):
            for one in (pid, *_children(pid)):
                if peak := _peak(one):
                    self.peaks[one] = peak


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _peak(pid: int) -> float:
    """The most memory a process has held, MiB; 0 where nobody says."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def annotate(folder: Path, output: Path, jobs: int) -> Run:
    """Run the command."""
    asked = [part for query in QUERIES for part in ("--query", query)]
    return Run(COMMAND, "annotate", str(folder), *asked, "--output", str(output), "--jobs", str(jobs))


def speed(folder: Path, files: int, jobs: int, rounds: int) -> None:
    """Print how many times quicker than a loop."""
    samples = audio.read(DEMO)
    sounds = folder / "files"
    sounds.mkdir()
    for number in range(files):
        turned = np.roll(samples, number * SAMPLE_RATE // 7)[: EACH_SECONDS * SAMPLE_RATE]
        soundfile.write(sounds / f"{number:04d}.flac", turned, SAMPLE_RATE, subtype="PCM_16")
    took: dict[str, list[float]] = {}
    for turn in range(rounds):
        for name, threads in (("loop, torch's own threads", 0), ("loop, one thread", 1)):
            out = folder / f"loop-{turn}-{threads}"
            out.mkdir()
            run = Run(LOOP, str(threads), str(sounds), str(out), *QUERIES)
            took.setdefault(name, []).append(run.seconds)
        for count in dict.fromkeys((1, jobs)):
            run = annotate(sounds, folder / f"jobs-{turn}-{count}", count)
            took.setdefault(f"annotate, {count} job{'s' * (count > 1)}", []).append(run.seconds)
    best = {name: min(seconds) for name, seconds in took.items()}
    print(f"{files} files of {EACH_SECONDS} s, best of {rounds}, from start-up to the last table:")
    for name, seconds in best.items():
        ratios = ", ".join(f"{best[loop] / seconds:.2f} x the {loop}" for loop in list(best)[:2])
        print(f"  {name:28} {seconds:7.1f} s   {ratios}", flush=True)


def tiny(folder: Path, files: int, jobs: int) -> None:
    """Print milliseconds for each tiny file, beside the model, and for a second look."""
    samples = audio.read(DEMO)[::3].copy()
    sounds = folder / "tiny"
    random = np.random.default_rng(20251217)
    for number in range(files):
        if number % 1000 == 0:
            (sounds / f"{number // 1000:03d}").mkdir(parents=True)
        first, length = random.integers(0, len(samples) - RATE), random.integers(RATE // 5, RATE)
        path = sounds / f"{number // 1000:03d}" / f"{number:06d}.wav"
        soundfile.write(path, samples[first : first + length], RATE, subtype="PCM_16")
    out = folder / "tiny-out"
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    asked = [part for query in QUERIES for part in ("--query", query)]
    command = [sys.executable, "-c", COMMAND, "annotate", str(sounds), *asked, "--output", str(out)]
    for name in ("first", "again"):
        began = time.monotonic()
        done = subprocess.run(
            [*command, "--jobs", str(jobs), "--json"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        seconds = time.monotonic() - began
        spent = json.loads(done.stdout)["spent"]
        model = spent.get("hearing", 0.0) / jobs
        each = 1000 * (seconds - model) / files
        print(
            f"{files} tiny files, {name}: {seconds:.1f} s, of which the model {model:.1f} s in each of {jobs} workers; "
            f"{each:.2f} ms a file beside it",
            flush=True,
        )


def memory(folder: Path, hours: float) -> None:
    """Print peak memory for a long recording, and for one of ten minutes."""
    samples = np.ascontiguousarray(audio.read(DEMO)[::3])
    runs = []
    for name, seconds in (("10 min", 600.0), (f"{hours:g} h", hours * 3600)):
        sounds = folder / name.replace(" ", "")
        sounds.mkdir()
        left = round(seconds * RATE)
        with soundfile.SoundFile(sounds / "long.flac", "w", RATE, 1, "PCM_16") as file:
            while left > 0:
                file.write(samples[:left])
                left -= min(left, len(samples))
        run = annotate(sounds, folder / f"out-{sounds.name}", 1)
        runs.append(run)
        print(
            f"{name:>6}: {run.seconds:.1f} s, peak {run.own:.0f} MiB in the run and {run.workers[0]:.0f} MiB in its "
            "worker",
            flush=True,
        )
    more = [
        b - a
        for a, b in zip((runs[0].own, runs[0].workers[0]), (runs[1].own, runs[1].workers[0]), strict=True)
    ]
    print(
        f"{hours:g} h takes {more[0]:+.0f} MiB in the run and {more[1]:+.0f} MiB in the worker, beyond 10 min"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--parts", nargs="+", choices=("speed", "tiny", "memory"), default=["speed", "tiny", "memory"]
    )
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--tiny", type=int, default=100_000)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--folder", type=Path, help="where to work; default: the system's place of temporary files"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        if "speed" in args.parts:
            speed(Path(name), args.files, args.jobs, args.rounds)
        if "tiny" in args.parts:
            tiny(Path(name), args.tiny, args.jobs)
        if "memory" in args.parts:
            memory(Path(name), args.hours)


if __name__ == "__main__":
    main()
