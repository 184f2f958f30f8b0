"""How fast is `peaframe detect`, and how much memory does a long recording take?

    python benchmarks/detect.py [--hours 3] [--recording examples/demo.flac]

Loops the recording to a FLAC file of the length asked for, runs the command on it in a process of its own on one core,
and prints times real time and peak memory, beside the same for a recording a twelfth as long: the ratio of the two
peaks is what tells whether memory grows with length. Absolute times hold for this machine and hour only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from peaframe import audio
from peaframe.clock import SAMPLE_RATE

QUERIES = ("dog barking", "siren", "speech")
COMMAND = "import sys; from peaframe.cli.main import main; sys.exit(main())"


def loop(source: Path, target: Path, seconds: float) -> None:
    """Write `source` again and again until the file is `seconds` long (48 kHz, 16 bit)."""
    samples = audio.read(source)
    left = round(seconds * SAMPLE_RATE)
    with soundfile.SoundFile(target, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        while left > 0:
            file.write(samples[:left])
            left -= min(left, len(samples))


def measure(recording: Path, folder: Path) -> tuple[float, float]:
    """Run the command on one core: (wall seconds, peak MiB of resident memory)."""
    one_core = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-c", COMMAND, "detect", str(recording), *QUERIES]
    began = time.monotonic()
    process = subprocess.Popen(
        [*command, "--format", "csv", "--output", str(folder / "events.csv")], env=one_core
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"detect failed on {recording}")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return time.monotonic() - began, usage.ru_maxrss / unit


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument(
        "--recording", type=Path, default=Path(__file__).parent.parent / "examples" / "demo.flac"
    )
    args = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for hours in (args.hours / 12, args.hours):
            path = folder / "long.flac"
            loop(args.recording, path, hours * 3600)
            seconds, peak = measure(path, folder)
            peaks.append(peak)
            print(
                f"{hours:5.2f} h: {seconds:7.1f} s on one core, {hours * 3600 / seconds:5.0f} x real time, "
                f"peak memory {peak:.0f} MiB",
                flush=True,
            )
    print(f"12 x the length takes {np.divide(peaks[1], peaks[0]):.2f} x the memory")


if __name__ == "__main__":
    main()
