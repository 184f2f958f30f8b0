"""Train by a configuration, of fine-tuning or pre-training: `peaframe train`, and what both recipes do as programs.

Nothing heavy is imported before a configuration is known to be there.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from peaframe.errors import OptionError
from peaframe.recipes import program
from peaframe.recipes.config_files import find_config, folder_of_run, is_pretraining
from peaframe.train.machine import Machine

_PLAN = Machine()
_CLIPS = {"pictures": 30.0, "words": 32}
_NUMBERS = (
    ("gpus", _PLAN.gpus, "GPUs, one process each"),
    ("gpu-tflops", _PLAN.flops / 1e12, "peak of one, 1e12 operations a second"),
    ("utilisation", _PLAN.utilisation, "share of the peak that is reached"),
    ("gpu-gb", _PLAN.memory / 1e9, "memory of one"),
    ("price", _PLAN.price, "of one for an hour"),
    ("pictures", _CLIPS["pictures"], "a second, in shards to pre-train on"),
    ("words", _CLIPS["words"], "word pieces of a caption to pre-train on"),
)


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare what training takes."""
    config = parser.add_argument(
        "config", metavar="CONFIG", help="a YAML file, or the name of one that comes with peaframe"
    )
    changes = parser.add_argument(
        "overrides",
        nargs="+",
        default=[],
        metavar="key=value",
        help="changes to the configuration, such as optim.lr=1e-4",
    )
    config.required = changes.required = False  # with "?" and "*" no option may stand between the words
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the run; default: runs/NAME-OF-CONFIG"
    )
    parser.add_argument(
        "--first",
        type=Path,
        metavar="DIR",
        help="write the model that pre-training begins with there, and stop",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what data there are and what it would take here, and stop"
    )
    parser.add_argument(
        "--plan", action="store_true", help="say what it would take on a machine that you describe, and stop"
    )
    for name, default, what in _NUMBERS:
        parser.add_argument(
            f"--{name}", type=type(default), metavar="N", help=f"with --plan: {what}; default: {default:g}"
        )


def train(
    args: argparse.Namespace,
    pretraining: bool | None = None,
    tell: Callable[[str], object] | None = None,
) -> int:
    """Train, or say what it would take.

    Args:
        args: what `declare` declares.
        pretraining: whether the configuration must be for pre-training, or for fine-tuning; None if either will do.
        tell: takes text for standard output; None prints it.

    Returns:
        The exit code: 0, or 130 if the run was stopped and saved.
    """
    if args.config is None:
        raise OptionError("got no CONFIG; see peaframe train --list for those that come with peaframe")
    config = find_config(args.config, pretraining, args.overrides)
    if pretraining is None:
        pretraining = is_pretraining(config, args.overrides)
    given = {name.replace("-", "_"): getattr(args, name.replace("-", "_")) for name, *_ in _NUMBERS}
    numbers = {name: value for name, value in given.items() if value is not None}
    if numbers and not (args.plan or args.dry_run):
        option = next(iter(numbers)).replace("_", "-")
        raise OptionError(f"argument --{option}: got {next(iter(numbers.values())):g} without --plan")
    planned = args.plan or bool(numbers)
    out = folder_of_run(config) if args.out is None else args.out
    say = tell or partial(print, end="")
    if pretraining:
        from peaframe.recipes import pretrain
        from peaframe.recipes.pretrain_data import start_of

        settings = pretrain.read_settings(config, args.overrides)
        if args.first is not None:
            pretrain.write_first(start_of(settings), args.first)
            return 0
        if planned or args.dry_run:
            clips = {**_CLIPS, **{name: numbers[name] for name in _CLIPS if name in numbers}}
            say(_text(pretrain.describe(settings, _machine(numbers), clips["pictures"], int(clips["words"]))))
            return 0
        done = pretrain.pretrain(settings, out)
    else:
        from peaframe.recipes import finetune

        if args.first is not None:
            raise OptionError(
                f"argument --first: got {config} beside it, expected a configuration of pre-training"
            )
        tuning = finetune.read_settings(config, args.overrides)
        if planned or args.dry_run:
            say(_text(finetune.describe(tuning, _machine(numbers) if planned else None)))
            return 0
        done = finetune.finetune(tuning, out)
    told = f"done: {out}" if done else f"stopped and saved in {out}; the same command goes on"
    if os.environ.get("RANK", "0") == "0":  # of several processes, the first one speaks
        print(told, file=sys.stderr)
    return 0 if done else 130


def _machine(numbers: dict[str, float]) -> Machine:
    return Machine(
        int(numbers.get("gpus", _PLAN.gpus)),
        numbers.get("gpu_tflops", _PLAN.flops / 1e12) * 1e12,
        numbers.get("utilisation", _PLAN.utilisation),
        numbers.get("gpu_gb", _PLAN.memory / 1e9) * 1e9,
        numbers.get("price", _PLAN.price),
    )


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def parse(text: str | None, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of a module whose docstring is `text`."""
    parser = program.parser(text)
    declare(parser)
    return parser.parse_intermixed_args(arguments)
