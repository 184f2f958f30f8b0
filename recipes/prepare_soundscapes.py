"""Mix a strong-labelled set of soundscapes from a sound bank: to be scored as `folder`, or to train on.

    python -m peaframe.recipes.prepare_soundscapes --data SOUNDBANK --out DIR [--fold 0/2]
    python -m peaframe.recipes.prepare_soundscapes --data SOUNDBANK --out DIR --split train --config mini.yaml

Writes `audio/*.flac` (48 kHz, 16 bit), `ground_truth.tsv`, `durations.tsv`, `LICENSES.tsv`, which lists the clips
that were mixed in, and `manifest.jsonl`. Without options these are the soundscapes that evaluate_mini scores. If it
is stopped, the same command goes on with the scenes that are lacking.

`ground_truth.tsv` has what a listener would mark. `manifest.jsonl` (see peaframe.data.manifest) has the frames in which
a label is surely heard as events, and as unknown those in which it is drowned out or a label that may mean the same
(`same` in --prompts) is there: what peaframe-mini's own trainer takes as targets.

--fold K/N takes the K-th of N parts of the clips, so that one part can tune what another one scores. Recordings
(`origin_id` in the manifest, else each clip by itself) are never shared between parts: a label's recordings go round
the parts in turn, and one with several labels stays where the first of them put it. An event label of fewer than N
recordings is in part 0 only; background labels of fewer than N take turns, so that each part has some.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from peaframe.clock import SAMPLE_RATE, frames_of_seconds
from peaframe.config import as_dict, load
from peaframe.data import manifest
from peaframe.data.manifest_item import from_line
from peaframe.data.mix import MixConfig, Mixer
from peaframe.data.mix_folder import LICENSE_COLUMNS, LICENSES, write_table, write_truth
from peaframe.data.prompts import read_prompts
from peaframe.data.soundbank import Clip, read_manifest
from peaframe.errors import FormatError, OptionError
from peaframe.eval.bank import MIX, SCENE_SECONDS, SCENES, SEED
from peaframe.events import Event
from peaframe.recipes import program
from peaframe.recipes.prepare_files import folder_at, tell
from peaframe.recipes.scene_manifest import JOURNAL, ListeningBank, Writer, alike, digits_of, write_scenes
from peaframe.train.mini import Settings

PROMPTS = Path(__file__).parent / "mini_data" / "prompts.json"
MANIFEST = "manifest.jsonl"


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


def labels_in(path: Path, known: Iterable[str]) -> set[str]:
    """The labels of a file, one a line; blank lines are passed over.

    Raises:
        FormatError: it cannot be read.
        OptionError: it names a label that is not known, or none.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read ({error}); expected a text with a label a line") from error
    labels, all_known = {line.strip() for line in lines} - {""}, sorted(set(known))
    if not labels:
        raise OptionError(f"{path}: got no labels, expected one or more, each in its own line")
    for label in sorted(labels.difference(all_known)):
        near = difflib.get_close_matches(label, all_known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "expected labels of the sound bank"
        raise OptionError(f"{path}: got the label {label!r}; {hint}")
    return labels


def order_of(clips: Sequence[Clip], data: Path, config: MixConfig, *more: object) -> str:
    """All that scenes depend on, as one number."""
    files = []
    for clip in clips:
        stat = clip.path.stat()
        name = clip.path.relative_to(data).as_posix()
        files.append([name, clip.label, clip.role, stat.st_size, stat.st_mtime_ns])
    return hashlib.sha256(json.dumps([files, as_dict(config), *more]).encode()).hexdigest()


def main(arguments: Sequence[str] | None = None) -> None:
    """Choose the clips, mix, write, print what is there."""
    parser = program.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="sound bank folder")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--scenes", type=int, default=SCENES, help="number of soundscapes")
    parser.add_argument("--seconds", type=float, default=SCENE_SECONDS, help="length of each")
    parser.add_argument("--seed", type=int, default=SEED, help="another one makes other soundscapes")
    parser.add_argument("--fold", help="K/N: use only part K of N of the clips")
    parser.add_argument("--split", choices=("train", "valid"), default="valid", help="which clips")
    parser.add_argument(
        "--config", type=Path, help="configuration of recipes.mini: its mix and exclude_sources"
    )
    parser.add_argument("--without", type=Path, help="labels, one a line, whose clips are left out")
    parser.add_argument("--prompts", type=Path, default=PROMPTS, help="says which labels may mean the same")
    parser.add_argument("--cache", type=Path, help="where decoded audio is kept; by default in memory")
    parser.add_argument("--jobs", type=int, default=1, help="processes that mix")
    args = parser.parse_args(arguments)
    if args.scenes < 1 or not 1 <= args.seconds <= 600:
        raise OptionError(f"got {args.scenes} scenes of {args.seconds:g} s, expected 1 or more of 1 to 600 s")
    if args.jobs < 1:
        raise OptionError(f"got --jobs {args.jobs}, expected 1 or more processes")
    settings = None if args.config is None else load(Settings, args.config)
    every = read_manifest(args.data, settings.exclude_sources if settings else ())
    clips = [clip for clip in every if clip.split == args.split]
    if args.without is not None:
        without = labels_in(args.without, (clip.label for clip in read_manifest(args.data)))
        clips = [clip for clip in clips if clip.label not in without]
    if args.fold is not None:
        clips = fold_of(clips, args.fold, origins(args.data))
    others = alike(read_prompts(args.prompts, clips).same)
    bank = ListeningBank(clips, SAMPLE_RATE, args.cache)
    mixer = Mixer(bank, settings.mix if settings else MIX, args.seed)
    folder_at(args.out / "audio")
    digits = digits_of(args.scenes)
    writer = Writer(mixer, bank, args.seconds, args.out, digits, args.split, others)
    groups = {label: sorted(own) for label, own in sorted(others.items())}
    order = order_of(clips, args.data, mixer.config, args.seed, args.seconds, args.split, digits, groups)
    done = write_scenes(writer, args.scenes, order, args.jobs)

    truth = {writer.path(w.index).name: [Event(*values) for values in w.events] for w in done}
    write_truth(args.out, truth, dict.fromkeys(truth, frames_of_seconds(args.seconds) * mixer.hop))
    used = [bank.clips[index] for index in sorted({index for w in done for index in w.used})]
    rows = [
        (clip.path.relative_to(args.data).as_posix(), clip.label, clip.source, clip.license) for clip in used
    ]
    write_table(args.out / LICENSES, [LICENSE_COLUMNS, *rows])
    lines = ((w.line.encode("utf-8"), f"{args.out / JOURNAL}: scene {w.index}") for w in done)
    manifest.save(args.out / MANIFEST, (from_line(line, args.out.absolute(), where) for line, where in lines))
    (args.out / JOURNAL).unlink()
    print(f"{len(used)} of {len(clips)} clips mixed, licences in {args.out / LICENSES}")
    tell("folder", args.out)


if __name__ == "__main__":
    program.run(main)
