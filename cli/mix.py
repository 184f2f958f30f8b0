"""`peaframe mix`: soundscapes with exact labels, from any folder of labelled sounds."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from peaframe.cli.output import print_text
from peaframe.errors import OptionError

if TYPE_CHECKING:
    from peaframe.data.soundbank import Clip

SNR = (-5.0, 25.0)
SNR_OVER_WHISPER = (25.0, 50.0)
MOST_SCENES = 100_000
HELP = "mix soundscapes with exact labels from a folder of labelled sounds"
EXAMPLES = """\
examples:
  peaframe mix my_sounds soundscapes --backgrounds my_ambiences
  peaframe mix my_sounds soundscapes --scenes 1000 --seconds 30 --snr 0 20 --events 8 --format flac
  peaframe mix soundbank valid_set --split valid --seed 7
  peaframe eval run folder --data soundscapes --output runs/soundscapes

SOUNDS has one folder for each label, such as my_sounds/dog_bark/a.wav, or a manifest.csv with the columns path, label,
captions, role, source, license, split. --backgrounds is such a folder, too; sounds that lie in it without a label's
folder are heard and not labelled, the others are labelled for as long as they are heard. Without it a manifest's own
backgrounds are taken, and for plain folders a whisper of white noise.

OUT gets audio/, jams/, ground_truth.tsv and durations.tsv; and LICENSES.tsv, which lists the clips that were mixed in,
where a manifest says licences. Stopped, the same command goes on where it was. The same sounds, options and seed give
the same files, byte for byte.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `peaframe mix` takes."""
    parser.add_argument("sounds", type=Path, metavar="SOUNDS", help="folder of labelled sounds")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make; new, or begun by this command")
    parser.add_argument("--scenes", type=int, default=100, metavar="N", help="how many; default: %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="length of each; default: %(default)g"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="another one, other scenes; default: 0"
    )
    parser.add_argument("--backgrounds", type=Path, metavar="DIR", help="folder of ambiences")
    parser.add_argument(
        "--snr",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="how far events lie over the background, in dB; default: -5 25, over white noise 25 50",
    )
    parser.add_argument(
        "--events",
        type=int,
        default=6,
        metavar="MAX",
        help="a scene of 8 s or more has 0 to this many sounds over its background, a shorter one fewer in "
        "proportion; each may be heard up to three times; default: %(default)s",
    )
    parser.add_argument("--split", choices=("train", "valid"), help="only this part of a manifest's clips")
    parser.add_argument("--format", choices=("wav", "flac"), default="wav", help="default: %(default)s")


def run(args: argparse.Namespace) -> None:
    """Look at what there is, mix, say what was made."""
    _check(args)
    from peaframe.data.augment import AugmentConfig
    from peaframe.data.mix import MixConfig
    from peaframe.data.mix_folder import LICENSES, WHISPER, claim, fingerprint, write_scenes

    clips = _clips(args)
    whisper = not any(clip.role == "background" for clip in clips.values())
    if whisper:
        clips[""] = WHISPER
    low, high = args.snr or (SNR_OVER_WHISPER if whisper else SNR)
    still = AugmentConfig(cut=0.0, speed=0.0, filter=0.0, band_limit=0.0, room=0.0)
    config = MixConfig(
        single=0.0, no_background=0.0, snr_db=(low, high), max_events=args.events, augment=still
    )
    settings = {
        "scenes": args.scenes,
        "seconds": args.seconds,
        "seed": args.seed,
        "format": args.format,
        **dataclasses.asdict(config),
        "sounds": fingerprint(clips),
    }
    claim(args.out, settings)
    truth, used = write_scenes(
        args.out,
        clips,
        config,
        scenes=args.scenes,
        seconds=args.seconds,
        seed=args.seed,
        suffix=f".{args.format}",
    )
    events = [event for own in truth.values() for event in own]
    print_text(
        f"{args.out}: {len(truth)} soundscapes of {args.seconds:g} s, {len(events)} events of "
        f"{len({event.label for event in events})} labels, {len(used)} of {len(clips) - whisper} clips mixed in\n"
        + (f"licences: {args.out / LICENSES}\n" if (args.out / LICENSES).is_file() else "")
    )


def _check(args: argparse.Namespace) -> None:
    if not 1 <= args.scenes <= MOST_SCENES:
        raise OptionError(f"argument --scenes: got {args.scenes}, expected 1 to {MOST_SCENES}")
    if not 1 <= args.seconds <= 600:
        raise OptionError(f"argument --seconds: got {args.seconds:g}, expected 1 to 600")
    if args.seed < 0:
        raise OptionError(f"argument --seed: got {args.seed}, expected 0 or more")
    if not 1 <= args.events <= 100:
        raise OptionError(f"argument --events: got {args.events}, expected 1 to 100")
    if args.snr is not None and not (
        all(map(math.isfinite, args.snr)) and -100 <= args.snr[0] <= args.snr[1] <= 100
    ):
        low, high = args.snr
        raise OptionError(f"argument --snr: got {low:g} {high:g}, expected LOW <= HIGH within -100 to 100 dB")
    out = args.out.resolve()
    for folder in (args.sounds, args.backgrounds):
        if folder is None:
            continue
        if not folder.is_dir():
            raise OptionError(f"{folder}: no such folder; give one that holds labelled sounds")
        if out.is_relative_to(folder.resolve()):
            raise OptionError(f"{args.out}: lies in {folder}, whose sounds are read; give a folder elsewhere")


def _clips(args: argparse.Namespace) -> dict[str, Clip]:
    """All clips in a fixed order: `sounds/PATH`, and `backgrounds/PATH` where --backgrounds has its own."""
    found = {f"sounds/{name}": clip for name, clip in _events_and_more(args).items()}
    if args.backgrounds is not None:
        own = _own_backgrounds(args.backgrounds)
        found = {name: clip for name, clip in found.items() if clip.role == "event"}
        found |= {f"backgrounds/{name}": clip for name, clip in own.items()}
    return found


def _events_and_more(args: argparse.Namespace) -> dict[str, Clip]:
    from peaframe.data.mix_folder import labelled
    from peaframe.eval.benchmarks.audio_files import audio_below

    if _has_manifest(args.sounds):
        clips = _listed(args.sounds, args.split)
    elif args.split is not None:
        raise OptionError(f"argument --split: {args.sounds} has no manifest.csv that says splits")
    else:
        files = list(audio_below(args.sounds))
        if args.backgrounds is not None:
            ambiences = args.backgrounds.resolve()
            files = [file for file in files if not file.resolve().is_relative_to(ambiences)]
        clips = _by_name(args.sounds, labelled(args.sounds, files, "event"))
    if not any(clip.role == "event" for clip in clips.values()):
        raise OptionError(f"{args.sounds}: got no sounds of events; expected SOUNDS/LABEL/a.wav")
    return clips


def _own_backgrounds(folder: Path) -> dict[str, Clip]:
    from peaframe.data.mix_folder import labelled
    from peaframe.eval.benchmarks.audio_files import audio_below

    if _has_manifest(folder):
        clips = {name: clip for name, clip in _listed(folder, None).items() if clip.role == "background"}
    else:
        clips = _by_name(folder, labelled(folder, audio_below(folder), "background", loose=True))
    if not clips:
        raise OptionError(f"{folder}: got no ambiences, expected sounds in it; or leave --backgrounds out")
    return clips


def _has_manifest(folder: Path) -> bool:
    return (folder / "manifest.csv").is_file()


def _listed(folder: Path, split: str | None) -> dict[str, Clip]:
    from peaframe.data.soundbank import read_manifest

    clips = [clip for clip in read_manifest(folder) if split is None or clip.split == split]
    return _by_name(folder, clips)


def _by_name(folder: Path, clips: list[Clip]) -> dict[str, Clip]:
    """Clips by their path from the folder, sorted by it, whatever order they came in."""
    named = {Path(os.path.relpath(clip.path, folder)).as_posix(): clip for clip in clips}
    return dict(sorted(named.items()))
