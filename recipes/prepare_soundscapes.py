"""Mix a strong-labelled set of soundscapes from a sound bank's valid split, to be scored as `folder`.

    python -m peaframe.recipes.prepare_soundscapes --data SOUNDBANK --out DIR [--fold 0/2]

Writes `audio/*.flac` (48 kHz, 16 bit), `ground_truth.tsv`, `durations.tsv`, and `LICENSES.tsv`, which lists the clips
that were mixed in. Without --fold these are the soundscapes that evaluate_mini scores.

--fold K/N takes the K-th of N parts of the clips, so that one part can tune what another one scores. Recordings
(`origin_id` in the manifest, else each clip by itself) are never shared between parts: a label's recordings go round
the parts in turn, and one with several labels stays where the first of them put it. An event label of fewer than N
recordings is in part 0 only; background labels of fewer than N take turns, so that each part has some.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from peaframe.clock import SAMPLE_RATE
from peaframe.data.mix import Mixer
from peaframe.data.mix_folder import LICENSE_COLUMNS, LICENSES, write_flac, write_table, write_truth
from peaframe.data.soundbank import Bank, Clip, read_manifest
from peaframe.errors import OptionError
from peaframe.eval.bank import MIX, SCENE_SECONDS, SCENES, SEED
from peaframe.events import Event
from peaframe.recipes.prepare_files import folder_at, run, tell


class ListeningBank(Bank):
    """A bank that remembers which clips were asked for."""

    used: set[int]

    def waveform(self, index: int) -> NDArray[np.float32]:
        """Clip `index` as float32 (samples,), remembered."""
        self.used.add(index)
        return super().waveform(index)


def origins(data: Path) -> dict[Path, str]:
    """The recording each clip was cut from, by the clip's path; nothing where the manifest does not say."""
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return {data / row["path"]: row["origin_id"] for row in csv.DictReader(file) if row.get("origin_id")}


def fold_of(clips: Sequence[Clip], fold: str, origin: dict[Path, str]) -> list[Clip]:
    """The clips of part K of N, as the module says.

    Raises:
        OptionError: `fold` is not K/N with 0 <= K < N, or the part has no events or no backgrounds.
    """
    first, _, second = fold.partition("/")
    if not (first.isdecimal() and second.isdecimal() and int(first) < int(second)):
        raise OptionError(f"got --fold {fold}, expected K/N such as 0/2 or 1/2")
    part, parts = int(first), int(second)
    groups: dict[tuple[str, str], dict[str, list[Clip]]] = {}
    for clip in clips:
        name = origin.get(clip.path, str(clip.path))
        groups.setdefault((clip.role, clip.label), {}).setdefault(name, []).append(clip)
    kept: list[Clip] = []
    placed: dict[str, int] = {}
    turn = 0
    for (role, _), recordings in sorted(groups.items()):
        for i, (name, own) in enumerate(recordings.items()):
            if len(recordings) >= parts:
                place = i % parts
            elif role == "event":
                place = 0
            else:
                place, turn = turn % parts, turn + 1
            if placed.setdefault(name, place) == part:
                kept += own
    roles = {clip.role for clip in kept}
    if len(roles) < 2:
        got = f"no {'backgrounds' if 'event' in roles else 'events'}" if roles else "no clips"
        raise OptionError(f"got {got} in fold {fold} of {len(clips)} clips; expected both, take fewer parts")
    return sorted(kept, key=lambda clip: str(clip.path))


def main(arguments: Sequence[str] | None = None) -> None:
    """Choose the clips, mix, write, print what is there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="sound bank folder")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--scenes", type=int, default=SCENES, help="number of soundscapes")
    parser.add_argument("--seconds", type=float, default=SCENE_SECONDS, help="length of each")
    parser.add_argument("--seed", type=int, default=SEED, help="another one makes other soundscapes")
    parser.add_argument("--fold", help="K/N: use only part K of N of the clips")
    args = parser.parse_args(arguments)
    if args.scenes < 1 or not 1 <= args.seconds <= 600:
        raise OptionError(f"got {args.scenes} scenes of {args.seconds:g} s, expected 1 or more of 1 to 600 s")
    clips = [clip for clip in read_manifest(args.data) if clip.split == "valid"]
    if args.fold is not None:
        clips = fold_of(clips, args.fold, origins(args.data))
    bank = ListeningBank(clips, SAMPLE_RATE)
    bank.used = set()
    mixer = Mixer(bank, MIX, args.seed)
    audio = folder_at(args.out / "audio")
    truth: dict[str, list[Event]] = {}
    samples: dict[str, int] = {}
    for i in tqdm(range(args.scenes), desc="mix", unit="scene", disable=None):
        scene, name = mixer.scene(i, args.seconds), f"scene_{i:03}.flac"
        write_flac(audio / name, scene.waveform)
        truth[name] = scene.events()
        samples[name] = len(scene.waveform)
    write_truth(args.out, truth, samples)
    used = [bank.clips[index] for index in sorted(bank.used)]
    rows = [
        (clip.path.relative_to(args.data).as_posix(), clip.label, clip.source, clip.license) for clip in used
    ]
    write_table(args.out / LICENSES, [LICENSE_COLUMNS, *rows])
    print(f"{len(used)} of {len(clips)} clips mixed, licences in {args.out / LICENSES}")
    tell("folder", args.out)


if __name__ == "__main__":
    run(main)
