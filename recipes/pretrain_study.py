"""What pre-training learns, by which pairs, and whether captions teach it: every thing held out once.

    python -m peaframe.recipes.pretrain_study pretrain_stamps [--shards DIR] [--out DIR] [--only ARM ...]
    python -m peaframe.recipes.pretrain_study pretrain_stamps --only "8 pairs" --held 3 -- schedule.steps=200

SHARDS holds `things_0`, `things_1`, ... and `sounds_train`, as `peaframe.recipes.prepare_stamps` says. For each of the
arms below, as many runs as there are folders of things, each with another one held out. The model of the last step is
measured, by all ten pairs and both ways, whether it has learnt them or not. OUT gets a folder for each run,
results.json and results.md; runs that are there are not trained again, so it goes on where it was stopped.

The figure is the share of wrong clips that a right one is ahead of: 0.5 is chance. Films of one thing count as
one: the mean over its films and then over things, with an interval of 95 % by drawing things (1000 times).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from peaframe.data.clip_reader import ClipReader
from peaframe.errors import FormatError, OptionError
from peaframe.losses.pairs import STAGE_1, STAGE_2
from peaframe.models.checkpoint import write_text
from peaframe.models.load import load_audio_video_model
from peaframe.recipes import program
from peaframe.recipes.config_files import find_config
from peaframe.recipes.pretrain import pretrain, read_settings
from peaframe.recipes.pretrain_data import Start, found_by, valid_batches
from peaframe.train.pretrain_model import PretrainModel, PretrainOptions
from peaframe.train.pretrain_settings import PretrainSettings

# What is changed, by name.
ARMS: dict[str, tuple[str, ...]] = {
    "1 pair": ("options.pairs=[A-AC]",),
    "4 pairs": ("options.pairs=[A-AC, A-V, V-VC, AV-AVC]",),
    "8 pairs": (f"options.pairs=[{', '.join(STAGE_1)}]",),
    "10 pairs": (f"options.pairs=[{', '.join(STAGE_2)}]",),
    "shuffled": (f"options.pairs=[{', '.join(STAGE_1)}]", "data.shuffled_captions=true"),
}
_DRAWS = 1000


def folds_of(shards: Path) -> list[str]:
    """The folders of things in a folder of shards, in order; raises FormatError if there are fewer than two."""
    folds = sorted(str(path) for path in shards.glob("things_*") if (path / "shards.json").is_file())
    if len(folds) < 2:
        raise FormatError(
            f"{shards}: got {len(folds)} folders of things, expected things_0, things_1, ...; see "
            "peaframe.recipes.prepare_stamps"
        )
    return folds


def fold_settings(
    config: Path, arm: str, folds: Sequence[str], held: int, sounds: Path, overrides: Sequence[str]
) -> PretrainSettings:
    """The settings of a run that has not seen one of the folds."""
    learnt = [fold for fold in folds if fold != folds[held]]
    sources: list[dict[str, Any]] = [{"shards": learnt}]
    if (sounds / "shards.json").is_file():
        sources.append({"shards": [str(sounds)]})
    own = (f"data.sources={json.dumps(sources)}", f"data.valid={json.dumps([folds[held]])}")
    return read_settings(config, [*own, *ARMS[arm], *overrides])


def measured(settings: PretrainSettings, run: Path) -> dict[str, NDArray[np.float64]]:
    """What the last model of a run finds among things that it has not seen, by all pairs: `A-V`, `A-V back` ...

    Returns:
        (things,) for each way, the mean of `ahead` over the clips of each thing.
    """
    model = load_audio_video_model(run / "last")
    tokenizer = (run / "last" / "tokenizer.json").read_text(encoding="utf-8")
    batches = valid_batches(settings, Start(model, tokenizer))
    reader = ClipReader(list(settings.data.valid), shuffle=False)
    names = np.array([str(clip.metadata.get("thing", clip.key)) for clip in reader])
    learnt = PretrainModel(model, PretrainOptions(pairs=STAGE_2)).eval()
    out = {}
    for found in found_by(learnt, batches, torch.device("cpu"), STAGE_2):
        own = names[found.clips]
        means = [found.ahead[own == name].mean() for name in np.unique(own)]
        out[f"{found.pair}{' back' if found.back else ''}"] = np.array(means)
    return out


def joined(folds: Sequence[NDArray[np.float64]], seed: int = 0) -> dict[str, float]:
    """The figure of one way through a pair over the things of all folds, with its interval."""
    things = np.concatenate(folds)
    random = np.random.default_rng(seed)
    drawn = things[random.integers(len(things), size=(_DRAWS, len(things)))].mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {
        "ahead": float(things.mean()),
        "low": float(low),
        "high": float(high),
        "things": float(len(things)),
    }


def table(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Markdown: a row for each way, a column for each arm; an interval that holds 0.5 makes the figure plain."""
    arms = list(results)
    ways = list(dict.fromkeys(way for arm in results.values() for way in arm))
    lines = ["| | " + " | ".join(arms) + " |", "|---|" + "---|" * len(arms)]
    for way in ways:
        cells = []
        for arm in arms:
            got = results[arm].get(way)
            text = "" if got is None else f"{got['ahead']:.2f} [{got['low']:.2f}, {got['high']:.2f}]"
            cells.append(f"**{text}**" if got is not None and got["low"] > 0.5 else text)
        lines.append(f"| {_arrow(way)} | " + " | ".join(cells) + " |")
    means = (np.mean([got["ahead"] for got in results[arm].values()]) for arm in arms)
    lines.append("| mean | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return "\n".join(lines) + "\n"


def _arrow(way: str) -> str:
    left, _, right = way.removesuffix(" back").partition("-")
    return f"{right} → {left}" if way.endswith(" back") else f"{left} → {right}"


def study(
    config: Path,
    shards: Path,
    out: Path,
    arms: Sequence[str],
    overrides: Sequence[str],
    held: int | None = None,
) -> bool:
    """Train what is missing, measure all, write the tables; false if a signal stopped it.

    Args:
        config: of the runs.
        shards: has the folds.
        out: gets a folder for each run, and the tables.
        arms: which.
        overrides: changes to the configuration.
        held: how many folds are held out in turn, from the first on; None for all.

    Raises:
        OptionError: an arm is not known, or nothing is held out.
        FormatError: there are no folds.
    """
    if held is not None and held < 1:
        raise OptionError(f"got held {held}, expected 1 or more")
    if odd := [arm for arm in arms if arm not in ARMS]:
        raise OptionError(f"got {odd[0]!r}, expected some of {', '.join(ARMS)}")
    folds = folds_of(shards)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for arm in arms:
        every: dict[str, list[NDArray[np.float64]]] = {}
        for fold in range(len(folds))[:held]:
            run = out / f"{arm.replace(' ', '_')}_{fold}"
            settings = fold_settings(config, arm, folds, fold, shards / "sounds_train", overrides)
            if not pretrain(settings, run):
                return False
            for name, things in measured(settings, run).items():
                every.setdefault(name, []).append(things)
        results[arm] = {name: joined(found) for name, found in every.items()}
        write_text(out / "results.json", json.dumps(results, indent=2) + "\n")
        write_text(out / "results.md", table(results))
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, study, show the table."""
    parser = program.parser(__doc__)
    parser.add_argument("config", help="YAML file, or the name of one that comes with peaframe")
    parser.add_argument("--shards", type=Path, default=Path("shards"), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("runs/study"), help="default: %(default)s")
    parser.add_argument(
        "--only", nargs="+", default=list(ARMS), metavar="NAME", help=f"some of: {', '.join(ARMS)}"
    )
    parser.add_argument(
        "--held", type=int, metavar="N", help="hold out the first N parts only; default: all in turn"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the configuration")
    args = parser.parse_intermixed_args(arguments)
    config = find_config(args.config, pretraining=True)
    if not study(config, args.shards, args.out, args.only, args.overrides, args.held):
        print(f"stopped and saved in {args.out}; the same command goes on", file=sys.stderr)
        return 130
    print((args.out / "results.md").read_text(encoding="utf-8"), end="")
    return 0


if __name__ == "__main__":
    program.run(main)
