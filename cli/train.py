"""`peaframe train`: fine-tune a model on labelled recordings of your own, or of a corpus."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from peaframe.cli.output import print_text, table
from peaframe.errors import OptionError

HELP = "fine-tune a model on labelled recordings"
EXAMPLES = """\
examples:
  peaframe train --list
  peaframe train desed --dry-run
  peaframe train desed optim.lr=3e-5 schedule.steps=2000 --out runs/desed_slow
  peaframe train mine.yaml model=pe-a-frame-small "data.manifests=[mine.jsonl, others.jsonl]"
  peaframe detect street.wav "dog barking" --model runs/desed/best

CONFIG says what is learned from, by which model, and how; each one that comes with peaframe begins with the commands
that make its data. The run's folder gets last/ and best/, which --model takes, log.jsonl and what is needed to go on;
a configuration that learns queries leaves queries.json, which `peaframe detect --queries` takes.

Ctrl-C saves and stops (exit code 130); the same command goes on where it was. Several processes:
  torchrun --nproc-per-node 2 -m peaframe.recipes.finetune desed
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `peaframe train` takes."""
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
        "--dry-run", action="store_true", help="say what data there are and what it would take, and stop"
    )
    parser.add_argument("--list", action="store_true", help="list the configurations that come with peaframe")


def run(args: argparse.Namespace) -> None:
    """Train, or say what training would take.

    Raises:
        KeyboardInterrupt: it was stopped, and is saved.
    """
    from peaframe.recipes.config_files import find_config, known_configs

    if args.list:
        if args.config is not None:
            raise OptionError(f"argument --list: got {args.config!r} beside it, expected no configuration")
        print_text(table(("name", "what for"), list(known_configs().items())))
        return
    if args.config is None:
        raise OptionError("got no CONFIG; see peaframe train --list for those that come with peaframe")
    config = find_config(args.config)
    from peaframe.recipes.finetune import describe, finetune, read_settings
    from peaframe.recipes.finetune_material import folder_of_run

    settings = read_settings(config, args.overrides)
    if args.dry_run:
        print_text("".join(f"{line}\n" for line in describe(settings)))
        return
    out = folder_of_run(config) if args.out is None else args.out
    if not finetune(settings, out):
        print(f"stopped and saved in {out}; the same command goes on", file=sys.stderr)
        raise KeyboardInterrupt
    print(f"done: {out}", file=sys.stderr)
