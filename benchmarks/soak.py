"""Is nothing lost? 500 recordings, 30 of them broken, annotated while the run is killed again and again.

    peaframe mix SOUNDBANK scenes --scenes 60 --seconds 30 --split valid
    python benchmarks/soak.py --scenes scenes/audio [--files 500] [--kills 50] [--ray] [--seed 1]

Makes recordings of 5 s to 2 h out of scenes, in many containers and rates, and breaks 30 in different ways. Annotates
them undisturbed; then again while the run is killed by SIGKILL at random moments, mostly while it hears, by turns alone
(its workers have to notice) and with its workers; then, with --ray, on a local Ray cluster of three nodes, one of which
is lost while it works. All tables, clips and the report must be the same, byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

QUERIES = ("dog barking", "siren", "speech", "music", "bird singing")
COMMAND = "import sys; from peaframe.cli.main import main; sys.exit(main())"
VIEWS = (
    "--format",
    "csv,raven,audacity,jsonl,parquet",
    "--combined",
    "--clips",
    "3",
    "--timezone",
    "Europe/Berlin",
)
KINDS = (
    ("wav", "PCM_16", 48_000, 1),
    ("flac", "PCM_16", 16_000, 1),
    ("wav", "PCM_24", 44_100, 2),
    ("ogg", "VORBIS", 32_000, 1),
    ("wav", "FLOAT", 22_050, 1),
    ("mp3", "MPEG_LAYER_III", 44_100, 2),
    ("wav", "PCM_U8", 8_000, 1),
    ("flac", "PCM_24", 96_000, 1),
    ("opus", "OPUS", 48_000, 1),
    ("aiff", "PCM_16", 24_000, 1),
)
RATE = 48_000


def lengths(count: int, chance: random.Random) -> list[float]:
    """Seconds of recordings: one of 2 h, some of minutes, most of 5 s to a minute."""
    long = [7200.0] if count >= 100 else [1500.0]
    long += [chance.uniform(600, 1800) for _ in range(count // 55)]
    long += [60 * 10 ** chance.uniform(0, 1) for _ in range(count // 8)]
    short = [5 * 12 ** chance.uniform(0, 1) for _ in range(count - len(long))]
    mixed = long + short
    chance.shuffle(mixed)
    return mixed


def record(
    path: Path,
    scenes: list[np.ndarray],
    seconds: float,
    kind: tuple[str, str, int, int],
    chance: random.Random,
) -> None:
    """Write scene after scene until a recording is long enough; a block at a time, as a recorder does."""
    _, subtype, rate, channels = kind
    left = round(seconds * rate)
    container = {"opus": "OGG", "ogg": "OGG"}.get(kind[0], kind[0].upper())
    with soundfile.SoundFile(path, "w", rate, channels, subtype, format=container) as file:
        while left > 0:
            scene = chance.choice(scenes)
            sound = scene if rate == RATE else soxr.resample(scene, RATE, rate)
            sound = np.clip(sound, -0.99, 0.99)[:left]
            for first in range(0, len(sound), rate):  # much Vorbis at once is too much for libsndfile
                block = sound[first : first + rate]
                file.write(block if channels == 1 else np.stack((block, 0.5 * block), axis=1))
            left -= len(sound)


def spoil(folder: Path, good: list[Path], count: int) -> None:
    """Put broken recordings among the good ones."""
    wav = next(path for path in good if path.suffix == ".wav")
    flac = next(path for path in good if path.suffix == ".flac")
    mp3 = next(path for path in good if path.suffix == ".mp3")
    head, whole, flacs = wav.read_bytes()[:44], wav.read_bytes(), flac.read_bytes()
    nan = np.zeros(RATE, np.float32)
    nan[RATE // 2] = np.nan
    for number in range(count):
        path = folder / f"broken_{number:02d}"
        match number % 15:
            case 0:
                path.with_suffix(".wav").write_bytes(b"")
            case 1:
                path.with_suffix(".wav").write_bytes(head)
            case 2:
                path.with_suffix(".wav").write_bytes(whole[: len(whole) // 2])
            case 3:
                path.with_suffix(".flac").write_bytes(flacs[: len(flacs) // 2])
            case 4:
                path.with_suffix(".flac").write_bytes(flacs[:100])
            case 5:
                path.with_suffix(".mp3").write_bytes(random.Random(number).randbytes(50_000))
            case 6:
                path.with_suffix(".ogg").write_text("this is no sound\n" * 100)
            case 7:
                soundfile.write(path.with_suffix(".wav"), nan, RATE, subtype="FLOAT")
            case 8:
                path.with_suffix(".wav").symlink_to(folder / "nowhere.wav")
            case 9:
                path.with_suffix(".m4a").write_bytes(b"\0\0\0\x18ftypM4A " + bytes(500))
            case 10:
                path.with_name(f"broken_{number:02d}\nline.wav").write_bytes(whole)
            case 11:
                soundfile.write(path.with_suffix(".wav"), np.zeros(0, np.float32), RATE)
            case 12:
                path.with_suffix(".wav").write_bytes(
                    whole[:60] + bytes(random.Random(number).randbytes(2000))
                )
            case 13:
                path.with_suffix(".mkv").write_bytes(mp3.read_bytes()[:5])
            case 14:
                Path(os.fsdecode(os.fsencode(folder) + b"/broken_\xff\xfe%02d.wav" % number)).write_bytes(
                    whole
                )


def make(folder: Path, scenes_folder: Path, files: int, broken: int, seed: int) -> float:
    """Make all recordings; returns hours of those that are whole."""
    chance = random.Random(seed)
    scenes = []
    for path in sorted(scenes_folder.iterdir()):
        sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
        scenes.append(soxr.resample(sound.mean(axis=1), rate, RATE))
    good = []
    seconds = lengths(files - broken, chance)
    for number, length in enumerate(seconds):
        kind = KINDS[number % len(KINDS)]
        night = folder / f"night{number % 7}"
        night.mkdir(parents=True, exist_ok=True)
        day, minute = number % 7 + 1, number // 7
        path = night / f"202405{day:02d}_{minute // 60 % 24:02d}{minute % 60:02d}00.{kind[0]}"
        record(path, scenes, length, kind, chance)
        good.append(path)
    spoil(folder / "night3", good, broken)
    return sum(seconds) / 3600


def command(sounds: Path, out: Path, jobs: int) -> list[str]:
    """The command line."""
    asked = [part for query in QUERIES for part in ("--query", query)]
    where = ["--output", str(out), "--jobs", str(jobs), "--progress", "none"]
    return [sys.executable, "-c", COMMAND, "annotate", str(sounds), *asked, *VIEWS, *where]


def environment() -> dict[str, str]:
    """As a user's, without thread counts of somebody's shell."""
    return {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}


def quiet(sounds: Path, out: Path, jobs: int) -> None:
    """Annotate undisturbed."""
    done = subprocess.run(command(sounds, out, jobs), env=environment(), capture_output=True, text=True)
    print(*done.stderr.strip().splitlines()[-4:], sep="\n")
    if done.returncode != 1:  # 1: some could not be heard
        raise SystemExit(f"the undisturbed run ended with {done.returncode}: {done.stderr}")


def killed(sounds: Path, out: Path, jobs: int, kills: int, chance: random.Random) -> None:
    """Annotate while the run is killed, and let it end when it was killed often enough."""
    done = early = 0
    code: int | None = None
    while done < kills or code is None:
        process = subprocess.Popen(
            command(sounds, out, jobs),
            env=environment(),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if done >= kills:
            code = process.wait()
            break
        try:
            code = process.wait(timeout=chance.uniform(1.0, 14.0))
            early += 1
            if early > 3:  # it has ended by itself: begin once more, nothing is left to kill
                break
        except subprocess.TimeoutExpired:
            if done % 2:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            process.wait()
            done += 1
            code = None
    print(f"killed {done} times, then it ended with {code}")
    if code != 1 or done < kills:
        raise SystemExit("the killed run did not end as the undisturbed one did")


def lost_node(sounds: Path, out: Path, lost_after: int) -> None:
    """Annotate on a Ray cluster of three nodes of this machine, one of which is lost."""
    import ray
    from ray.cluster_utils import Cluster

    from peaframe.annotate.job import Job
    from peaframe.annotate.planning import Times
    from peaframe.annotate.run import annotate
    from peaframe.annotate.work import Machine, Unit, UnitResult
    from peaframe.workers.ray_engine import RayEngine

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    room = {"object_store_memory": 100 * 2**20}
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **room}
    )
    nodes = [cluster.add_node(num_cpus=1, **room) for _ in range(2)]

    class Disturbed(RayEngine):
        """Loses a node after some results."""

        def do(self, units: Iterable[Unit]) -> Iterator[UnitResult]:
            """See `Engine`."""
            for count, result in enumerate(super().do(units), start=1):
                yield result
                if count == lost_after and result.number:  # the trial for the estimate has units of number 0
                    cluster.remove_node(nodes.pop(), allow_graceful=False)
                    print(f"a node was lost after {count} units", flush=True)

    engine = Disturbed(Machine("peaframe-mini", "cpu", "exact"), 3, cluster.address)
    job = Job(
        inputs=[str(sounds)],
        output=out,
        queries=QUERIES,
        formats=VIEWS[1].split(","),
        combined=True,
        clips=3,
        times=Times(None, "Europe/Berlin"),
    )
    try:
        outcome = annotate(job, engine)
        print(f"{outcome.recordings} recordings, {outcome.events} events, {outcome.failed} failed")
    finally:
        engine.close()
        ray.shutdown()
        cluster.shutdown()


def content(out: Path) -> dict[str, str]:
    """A hash of every file of a run but its journal."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.name.startswith("journal.sqlite")
    }


def compare(one: Path, other: Path) -> None:
    """Say whether two runs are the same, and stop if not."""
    first, second = content(one), content(other)
    different = sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
    print(f"{other.name}: {len(second)} files, {len(different)} of them not as in {one.name}", flush=True)
    if different:
        raise SystemExit(f"not the same: {different[:10]}")


def main() -> None:
    """Soak."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=Path, required=True, help="folder of sounds")
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--broken", type=int, default=30)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ray", action="store_true", help="on a local cluster, too")
    parser.add_argument(
        "--folder", type=Path, help="where to work; default: the system's place of temporary files"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        work = Path(name)
        sounds = work / "recordings"
        hours = make(sounds, args.scenes, args.files, args.broken, args.seed)
        print(f"{args.files} recordings, {args.broken} of them broken, {hours:.1f} h", flush=True)
        began = time.monotonic()
        quiet(sounds, work / "quiet", args.jobs)
        print(f"undisturbed: {time.monotonic() - began:.0f} s", flush=True)
        killed(sounds, work / "killed", args.jobs, args.kills, random.Random(args.seed))
        compare(work / "quiet", work / "killed")
        if args.ray:
            lost_node(sounds, work / "ray", lost_after=8)
            compare(work / "quiet", work / "ray")
        shutil.rmtree(sounds)


if __name__ == "__main__":
    main()
